/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SOCKD_OS_CLOCK_H
#define SOCKD_OS_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* CLOCK_MONOTONIC in milliseconds, and in nanoseconds. */
int64_t clock_now_ms(void);
uint64_t clock_now_ns(void);

/* Milliseconds from NOW_MS until DEADLINE_MS for poll(2): 0 when it has
 * passed, -1 (for ever) when DEADLINE_MS is negative. */
int clock_poll_ms(int64_t deadline_ms, int64_t now_ms);

/* Random bytes from the kernel; 0 or -ERR_RESOURCE. */
int random_bytes(void *out, size_t len) MUST_CHECK;

#endif
