/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Digests as sha256sum(1) prints them and `sha256sum -c` reads them.
 *
 * Life of a manifest:
 *	sums_open    an empty file beside its final name
 *	sums_add     one line for each file moved
 *	sums_commit  flushed, and renamed to its name; the manifest is over
 *	sums_free    removed, unless it was committed
 * One thread.
 */
#ifndef SOCKCP_SUMS_H
#define SOCKCP_SUMS_H

#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "wire/msg.h"

/* "DIGEST  NAME"; a line that begins with a backslash has \\, \n and \r in its NAME. */
void sums_print(FILE *out, const uint8_t digest[DIGEST_LEN], const char *name);

struct sums; /* opaque */

/* NAME is borrowed until sums_free.  -ERR_NOT_REGULAR, -ERR_IS_DIR: what stands there is
 * no file that could be replaced by one, such as /dev/stdout. */
int sums_open(struct sums **out, const char *name) MUST_CHECK;
/* A failure to write is kept for sums_commit. */
void sums_add(struct sums *s, const uint8_t digest[DIGEST_LEN], const char *name);
/* 0 or -ERR_…; on failure what stood under NAME before is untouched. */
int sums_commit(struct sums *s) MUST_CHECK;
void sums_free(struct sums *s); /* NULL is fine */

#endif
