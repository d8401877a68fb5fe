/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the compiler checks for us: attributes, and nothing else. */
#ifndef SOCKD_BASE_COMPILER_H
#define SOCKD_BASE_COMPILER_H

/* The result is an error code or a count and must be looked at. */
#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Runs FN(&variable) when the variable leaves its scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
