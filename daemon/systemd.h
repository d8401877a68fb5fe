/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What we tell systemd and take from it: sd_notify(3), sd_listen_fds(3),
 * sd_watchdog_enabled(3).  Built without libsystemd, or not started by
 * systemd, all of it does nothing.  One thread: the main one.
 */
#ifndef SOCKD_SYSTEMD_H
#define SOCKD_SYSTEMD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/* The number of sockets passed to us and the FIRST of these descriptors, or -ERR_…. */
int systemd_sockets(int *first_out) MUST_CHECK;

void systemd_ready(void);
void systemd_stopping(void);

/* What was last told, and when. */
struct systemd_beat {
	bool listened;       /* someone takes notifications */
	int64_t watchdog_ms; /* how often the watchdog wants to hear; 0: never */
	int64_t alive_ms;    /* when it last did */
	int64_t status_ms;   /* when the status was last told */
	unsigned connections;
	unsigned transfers;
};

void systemd_beat_init(struct systemd_beat *b, int64_t now_ms);

/*
 * Tells the watchdog that we live, and the counts when they changed, each no
 * more often than it should be.  When to call it again (CLOCK_MONOTONIC), INT64_MAX
 * for never.
 */
int64_t systemd_beat(
	struct systemd_beat *b, unsigned connections, unsigned transfers, int64_t now_ms);

#endif
