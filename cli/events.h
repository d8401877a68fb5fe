/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The events of --json: sockcp(1), "JSON EVENTS".  One object a line, flushed at once.
 * All numbers are integers; a path that is not UTF-8 is given escaped, and as "path_hex".
 */
#ifndef SOCKCP_EVENTS_H
#define SOCKCP_EVENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/options.h"
#include "cli/report.h"
#include "cli/verdict.h"

/* How far a file has come. */
struct file_state {
	const char *path; /* borrowed */
	uint64_t done;    /* bytes worked through */
	uint64_t size;    /* or MSG_SIZE_UNKNOWN */
};

/* How far a run has come. */
struct tally {
	uint64_t files;       /* moved, or would be */
	uint64_t size;        /* of these */
	uint64_t resumed;     /* how much of SIZE was there already */
	uint64_t skipped;     /* files */
	uint64_t failed;      /* files */
	bool flushed;         /* all that was moved is on disk */
	uint64_t done;        /* bytes worked through, also of files that are not done */
	uint64_t total_files; /* as far as they are known */
	uint64_t total_bytes;
	bool total_final;
	uint64_t rate; /* bytes per second, of late */
	int64_t elapsed_ms;
};

void event_start(FILE *out, enum command_id command, const char *server);
/* FILE is under way, or NULL. */
void event_progress(FILE *out, const struct file_state *file, const struct tally *t);
void event_file(FILE *out, const struct file_result *res);
/* The server knows us as SELF from now on, and we know it as PEER. */
void event_joined(FILE *out, const char *server, const char *self, const char *peer);
/* PATH and DETAIL may be NULL. */
void event_error(FILE *out, const char *path, enum side side, int code,
	const struct verdict *v, const char *detail);
void event_end(FILE *out, const struct tally *t, int status);

#endif
