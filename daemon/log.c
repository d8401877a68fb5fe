/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN 2048 /* below PIPE_BUF, so that lines never mix in a pipe */

static bool to_journal, is_plain; /* frozen after log_init and log_plain */

void log_init(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return;
	snprintf(own, sizeof(own), "%" PRIuMAX ":%" PRIuMAX, (uintmax_t)st.st_dev,
		(uintmax_t)st.st_ino);
	to_journal = strcmp(stream, own) == 0;
}

void log_plain(void)
{
	is_plain = true;
}

/* The priority or the time, and the level where people must see it; its length. */
static size_t prefix_write(char *out, size_t cap, enum log_level level)
{
	const char *word = level <= LOG_LEVEL_ERR       ? "error: "
			   : level == LOG_LEVEL_WARNING ? "warning: "
							: "";
	time_t now = time(NULL);
	struct tm tm;
	size_t len;

	if (is_plain)
		return (size_t)snprintf(
			out, cap, "sockd: %s", level == LOG_LEVEL_WARNING ? word : "");
	if (to_journal)
		return (size_t)snprintf(out, cap, "<%d>", level);
	len = strftime(out, cap, "%Y-%m-%dT%H:%M:%SZ ", gmtime_r(&now, &tm));
	return len + (size_t)snprintf(out + len, cap - len, "%s", word);
}

/* Whoever logs a peer's word escapes it; this only keeps one event one line. */
static void controls_replace(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	size_t cap = sizeof(line) - 1; /* for the newline */
	int saved = errno;
	size_t len = prefix_write(line, cap, level);
	ssize_t unused;
	va_list args;

	va_start(args, fmt);
	vsnprintf(line + len, cap - len, fmt, args);
	va_end(args);
	controls_replace(line + len);
	len += strlen(line + len);
	line[len++] = '\n';
	/* There is no one left to tell when this fails. */
	unused = write(STDERR_FILENO, line, len);
	(void)unused;
	errno = saved;
}
