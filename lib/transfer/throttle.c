/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/throttle.h"

#define NS_PER_SEC 1000000000ull
#define NS_PER_MS  1000000ull
/* Below this a system call costs more than it moves. */
#define QUANTUM_MIN 1024u
/* What accrues while one wakes late for a quantum is not lost. */
#define BURST_MIN (2 * QUANTUM_MIN)

static uint64_t burst_of(const struct throttle *t)
{
	uint64_t tenth = t->rate / 10;
	return tenth > BURST_MIN ? tenth : BURST_MIN;
}

void throttle_init(struct throttle *t, uint64_t rate, uint64_t now_ns)
{
	*t = (struct throttle){.rate = rate, .last_ns = now_ns};
}

/* Adds what has accrued; time that makes less than a byte stays on the clock. */
static void throttle_accrue(struct throttle *t, uint64_t now_ns)
{
	uint64_t burst = burst_of(t);
	__uint128_t fresh = (__uint128_t)(now_ns - t->last_ns) * t->rate / NS_PER_SEC;
	if (fresh >= burst - t->tokens) {
		t->tokens = burst;
		t->last_ns = now_ns;
	} else {
		t->tokens += (uint64_t)fresh;
		t->last_ns += (uint64_t)((fresh * NS_PER_SEC + t->rate - 1) / t->rate);
	}
}

size_t throttle_ask(struct throttle *t, uint64_t now_ns, size_t want, int *wait_ms_out)
{
	*wait_ms_out = 0;
	if (t->rate == 0)
		return want;
	throttle_accrue(t, now_ns);
	uint64_t least = want < QUANTUM_MIN ? want : QUANTUM_MIN;
	if (t->tokens >= least)
		return t->tokens < want ? (size_t)t->tokens : want;
	uint64_t wait_ms = (least - t->tokens) * 1000 / t->rate + 1;
	*wait_ms_out = wait_ms < 1000 ? (int)wait_ms : 1000;
	return 0;
}

void throttle_use(struct throttle *t, size_t count)
{
	if (t->rate != 0)
		t->tokens -= count < t->tokens ? count : t->tokens;
}
