/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A token bucket: bytes per second on average, a tenth of a second (2 KiB at least) of
 * burst. Pure: the time is an argument (CLOCK_MONOTONIC).  One thread. */
#ifndef SOCKD_TRANSFER_THROTTLE_H
#define SOCKD_TRANSFER_THROTTLE_H

#include <stddef.h>
#include <stdint.h>

struct throttle {
	uint64_t rate;    /* bytes per second; 0: no limit */
	uint64_t tokens;  /* bytes that may pass now */
	uint64_t last_ns; /* when tokens were last added */
};

void throttle_init(struct throttle *t, uint64_t rate, uint64_t now_ns);

/* How many of WANT bytes may pass now; 0 with *WAIT_MS_OUT when none may yet. */
size_t throttle_ask(struct throttle *t, uint64_t now_ns, size_t want, int *wait_ms_out);

/* COUNT bytes have passed. */
void throttle_use(struct throttle *t, size_t count);

#endif
