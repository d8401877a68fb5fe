/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/throttle.h"

#define NS_PER_SEC 1000000000ull
/* Below this a system call costs more than it moves. */
#define QUANTUM_MIN 1024
/* What accrues while one wakes late for a quantum is not lost. */
#define BURST_MIN (2 * QUANTUM_MIN)
/* No debt and no burst is larger: half of what the sums can hold. */
#define TOKENS_MAX (INT64_MAX / 2)

static int64_t burst_of(const struct throttle *t)
{
	uint64_t tenth = t->rate / 10;
	return tenth > BURST_MIN ? (int64_t)tenth : BURST_MIN;
}

void throttle_init(struct throttle *t, uint64_t rate, uint64_t now_ns)
{
	*t = (struct throttle){.rate = rate, .last_ns = now_ns};
	pthread_mutex_init(&t->lock, NULL);
}

void throttle_fini(struct throttle *t)
{
	pthread_mutex_destroy(&t->lock);
}

void throttle_set_rate(struct throttle *t, uint64_t rate, uint64_t now_ns)
{
	pthread_mutex_lock(&t->lock);
	if (rate != t->rate) {
		__atomic_store_n(&t->rate, rate, __ATOMIC_RELAXED);
		t->tokens = 0;
		t->last_ns = now_ns;
	}
	pthread_mutex_unlock(&t->lock);
}

bool throttle_has_limit(const struct throttle *t)
{
	return t && __atomic_load_n(&t->rate, __ATOMIC_RELAXED) != 0;
}

/* Adds what has accrued; time that makes less than a byte stays on the clock.  For
 * whoever read the time and was then overtaken on the way here, there is nothing new. */
static void throttle_accrue(struct throttle *t, uint64_t now_ns)
{
	if (now_ns <= t->last_ns)
		return;
	int64_t burst = burst_of(t);
	__uint128_t fresh = (__uint128_t)(now_ns - t->last_ns) * t->rate / NS_PER_SEC;
	if (fresh >= (__uint128_t)(burst - t->tokens)) {
		t->tokens = burst;
		t->last_ns = now_ns;
	} else {
		t->tokens += (int64_t)fresh;
		t->last_ns += (uint64_t)((fresh * NS_PER_SEC + t->rate - 1) / t->rate);
	}
}

static size_t take_locked(
	struct throttle *t, uint64_t now_ns, size_t want, int *wait_ms_out)
{
	if (t->rate == 0)
		return want;
	throttle_accrue(t, now_ns);
	int64_t least = want < QUANTUM_MIN ? (int64_t)want : QUANTUM_MIN;
	if (t->tokens >= least) {
		size_t taken = (uint64_t)t->tokens < want ? (size_t)t->tokens : want;
		t->tokens -= (int64_t)taken;
		return taken;
	}
	__uint128_t wait_ms = (__uint128_t)(least - t->tokens) * 1000 / t->rate + 1;
	*wait_ms_out = wait_ms < 1000 ? (int)wait_ms : 1000;
	return 0;
}

size_t throttle_take(struct throttle *t, uint64_t now_ns, size_t want, int *wait_ms_out)
{
	*wait_ms_out = 0;
	if (!throttle_has_limit(t))
		return want;
	pthread_mutex_lock(&t->lock);
	size_t taken = take_locked(t, now_ns, want, wait_ms_out);
	pthread_mutex_unlock(&t->lock);
	return taken;
}

size_t throttle_take_both(struct throttle *a, struct throttle *b, uint64_t now_ns,
	size_t want, int *wait_ms_out)
{
	size_t of_a = throttle_take(a, now_ns, want, wait_ms_out);
	if (of_a == 0)
		return 0;
	size_t of_both = throttle_take(b, now_ns, of_a, wait_ms_out);
	throttle_settle(a, of_a, of_both);
	return of_both;
}

/* The tokens with COUNT added, or taken away; never more than a burst. */
static int64_t tokens_with(const struct throttle *t, size_t count, bool add)
{
	int64_t by = count < TOKENS_MAX ? (int64_t)count : TOKENS_MAX;
	int64_t tokens = t->tokens + (add ? by : -by);
	if (tokens < -TOKENS_MAX)
		return -TOKENS_MAX;
	return tokens < burst_of(t) ? tokens : burst_of(t);
}

void throttle_settle(struct throttle *t, size_t taken, size_t passed)
{
	if (taken == passed || !throttle_has_limit(t))
		return;
	bool add = passed < taken;
	pthread_mutex_lock(&t->lock);
	t->tokens = tokens_with(t, add ? taken - passed : passed - taken, add);
	pthread_mutex_unlock(&t->lock);
}
