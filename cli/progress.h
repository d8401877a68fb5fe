/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The line on the terminal that tells how far things are.
 *
 * Rewritten in place with a carriage return and spaces, so that any terminal will do.
 * What it says is a pure function of what is known and of the width; time is an argument.
 * One thread.
 */
#ifndef SOCKCP_PROGRESS_H
#define SOCKCP_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* "Once in every_ms": due at the first call, then not before the time is over. */
struct pace {
	int64_t every_ms;
	int64_t next_ms;
};

bool pace_is_due(struct pace *p, int64_t now_ms);

/* A rate that follows changes within seconds and does not jump about. */
struct rate {
	int64_t at_ms;  /* of the last sample */
	uint64_t bytes; /* at the last sample */
	double per_sec;
};

void rate_sample(struct rate *r, uint64_t bytes, int64_t now_ms);

struct progress_state {
	const char *name; /* escaped by text_escape */
	uint64_t done;
	uint64_t total;   /* as far as it is known */
	bool total_final; /* total is all there will be */
	uint64_t rate;    /* bytes per second */
};

#define PROGRESS_WIDTH_MAX 400  /* columns; a wider terminal is not filled */
#define PROGRESS_LINE_MAX  2048 /* bytes of a line, with NUL */

/*
 * "report.pdf    42%  1.2 G/2.8 G   350 M/s   0:05" in WIDTH columns exactly.  Where it
 * is narrow the time left goes first, then the rate and the sizes; a long name is
 * shortened in its middle.  Characters are measured by wcwidth(3) in the locale's
 * LC_CTYPE.
 */
void progress_format(
	char out[PROGRESS_LINE_MAX], const struct progress_state *s, unsigned width);

struct progress {
	FILE *out;      /* borrowed; NULL: nothing is shown */
	unsigned shown; /* columns that stand on the terminal now */
};

void progress_draw(struct progress *p, const struct progress_state *s);
/* Makes room for another message, or for the prompt. */
void progress_erase(struct progress *p);

#endif
