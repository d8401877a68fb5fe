/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * INI files, strictly: libinih reads the pairs, and what it would take in silence is an
 * error here: NUL bytes, lines that it would cut, section names that it would cut, text
 * behind a section's ']'.  Sections without a key are seen too, and a line that begins
 * with a space continues nothing.  A comment begins with ';' or '#' as the first
 * character of a line, or with ';' behind a space; so whoever writes a file looks
 * whether it reads back the same.  Any thread.
 */
#ifndef SOCKD_INI_H
#define SOCKD_INI_H

#include <stddef.h>

#include "base/compiler.h"

#define INI_SECTION_MAX 128 /* bytes, without NUL */
#define INI_WHY_MAX     256 /* of a complaint, with its NUL */

/* What is wrong, for people; what came from the file is escaped. */
struct ini_error {
	unsigned line; /* from 1; 0 when it is about no single line */
	char why[INI_WHY_MAX];
};

/* One line of the file.  The strings live until the handler returns. */
struct ini_item {
	unsigned line;
	const char *section; /* "" before the first */
	const char *key;     /* NULL: SECTION begins here */
	const char *value;   /* NULL with KEY; else without space around it */
};

/* 0, or -ERR_… that ends the reading; by ini_complain, when err_text does not say it. */
typedef int ini_item_fn(void *ctx, const struct ini_item *item, struct ini_error *error);

/*
 * Calls FN for each section and each key of the LEN bytes, in order, until it complains.
 * 0; what FN returned; -ERR_USAGE when it is no INI file.  ERROR_OUT is filled when the
 * result is not 0, its line by us.
 */
int ini_read(const char *text, size_t len, ini_item_fn *fn, void *ctx,
	struct ini_error *error_out) MUST_CHECK;

/* Says in ERROR (its line is left alone) what is wrong; -ERR_USAGE.  A %s from the file
 * is escaped by whoever calls (text_escape). */
int ini_complain(struct ini_error *error, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
