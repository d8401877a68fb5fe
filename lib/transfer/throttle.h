/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A token bucket: bytes per second on average, a tenth of a second (2 KiB at least) of
 * burst.  The time is an argument (CLOCK_MONOTONIC).
 *
 * Bytes are taken before they pass, and settled when it is known how many did: so the sum
 * is exact however many ask at once.  Guarded by a lock of its own, held for arithmetic
 * only: several connections may share one.
 */
#ifndef SOCKD_TRANSFER_THROTTLE_H
#define SOCKD_TRANSFER_THROTTLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct throttle {
	pthread_mutex_t lock;
	uint64_t rate;    /* bytes per second; 0: no limit.  Written under the lock;
			   * atomic, as it is also read without */
	int64_t tokens;   /* guarded by lock: bytes that may pass now; or a debt */
	uint64_t last_ns; /* guarded by lock: when tokens were last added */
};

void throttle_init(struct throttle *t, uint64_t rate, uint64_t now_ns);
void throttle_fini(struct throttle *t);
/* For all who share it, from here on.  Another rate begins with an empty bucket. */
void throttle_set_rate(struct throttle *t, uint64_t rate, uint64_t now_ns);
/* NULL has none. */
bool throttle_has_limit(const struct throttle *t);

/* Takes up to WANT bytes, which may pass now; the count, or 0 with a time to come back
 * after in *WAIT_MS_OUT.  T may be NULL: no limit. */
size_t throttle_take(struct throttle *t, uint64_t now_ns, size_t want, int *wait_ms_out);
/* The same of two buckets: what both let pass is taken from both.  Each may be NULL. */
size_t throttle_take_both(struct throttle *a, struct throttle *b, uint64_t now_ns,
	size_t want, int *wait_ms_out);
/* Of TAKEN bytes PASSED have passed: the rest is given back.  Should it have been more,
 * the next ones wait for it.  T may be NULL. */
void throttle_settle(struct throttle *t, size_t taken, size_t passed);

#endif
