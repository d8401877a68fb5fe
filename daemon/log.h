/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One line an event on stderr, in one write(2); with "<N>" priority prefixes
 * (sd-daemon(3)) when run by systemd ($JOURNAL_STREAM names our stderr), else
 * with the time (UTC, ISO 8601).  Any thread.
 */
#ifndef SOCKD_LOG_H
#define SOCKD_LOG_H

#include "base/compiler.h"

enum log_level {
	LOG_LEVEL_ERR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6
};

void log_init(void); /* before threads */
/* A command reports to whoever gave it: "sockd: " in place of the time. */
void log_plain(void);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
