/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text for people and from people: quoting, sizes, durations, hex. */
#ifndef SOCKD_BASE_TEXT_H
#define SOCKD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* Longest text that text_escape makes of LEN bytes, with its NUL. */
#define TEXT_ESCAPED_MAX(len) ((len)*4 + 1)

/*
 * Writes LEN bytes into OUT so that they are safe on a terminal and in a log line:
 * control characters (C0, DEL, C1), those that turn the direction of a text or end a
 * line (U+202E and its like), backslash and bytes that are not valid UTF-8 become \n,
 * \t, \\ or \xHH; all else is copied.  Always ends with NUL; what does not fit is cut
 * at a character and marked by a final "…" when CAP is at least 4.  Returns OUT.
 */
char *text_escape(char *out, size_t cap, const char *bytes, size_t len);

/* The same for what will stand between quotes: '"' becomes \x22. */
char *text_quote(char *out, size_t cap, const char *bytes, size_t len);

/* Whether the LEN bytes are well-formed UTF-8 (RFC 3629). */
bool text_is_utf8(const char *bytes, size_t len);

/* Decimal digits with an optional suffix K, M, G or T (powers of 1024), as
 * in SIZE and RATE arguments.  -ERR_USAGE when it is not a number, has
 * anything behind it, or does not fit. */
int text_parse_size(const char *s, uint64_t *out) MUST_CHECK;

/* Decimal digits only, MIN <= value <= MAX, else -ERR_USAGE. */
int text_parse_uint(const char *s, uint64_t min, uint64_t max, uint64_t *out) MUST_CHECK;

/* "1.2 G", "300 M", "17 B": at most 10 characters and a NUL. */
#define TEXT_SIZE_MAX 16
char *text_format_size(char out[TEXT_SIZE_MAX], uint64_t bytes);

/* "0.42 s", "3:07", "2:10:44": at most 15 characters and a NUL. */
#define TEXT_DURATION_MAX 16
char *text_format_duration(char out[TEXT_DURATION_MAX], uint64_t ms);

/* Lower-case hexadecimal, 2 * LEN characters and a NUL. */
char *text_hex(char *out, const uint8_t *bytes, size_t len);

/* Exactly 2 * LEN hexadecimal digits of either case, else -ERR_USAGE. */
int text_unhex(const char *s, uint8_t *out, size_t len) MUST_CHECK;

#endif
