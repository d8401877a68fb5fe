/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All time here is made up, but for the last test: none of the others waits. */
#include "transfer/throttle.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <time.h>

#include "base/compiler.h"
#include "os/clock.h"

#define NS_PER_SEC 1000000000ull
#define NS_PER_MS  1000000ull
#define START_NS   (5 * NS_PER_SEC)
#define KIB        1024ull

/* The least that may be had at once, and what a system call is worth. */
#define BURST_MIN 2048u

TestSuite(throttle, .timeout = 60);

static uint64_t burst_of(uint64_t rate)
{
	return rate / 10 > BURST_MIN ? rate / 10 : BURST_MIN;
}

/* Who asks: for how much, and how long after it was told to come back. */
struct asker {
	size_t want;
	uint64_t late_ns;
	uint64_t pause_ns; /* what it does between two portions */
};

/* Bytes that ASKER gets of a throttle in SECONDS; no more than may pass at any time. */
static uint64_t bytes_passed(uint64_t rate, const struct asker *a, uint64_t seconds)
{
	uint64_t now = START_NS, end = START_NS + seconds * NS_PER_SEC, passed = 0;
	struct throttle t;

	throttle_init(&t, rate, now);
	while (now < end) {
		int wait_ms = -1;
		size_t n = throttle_take(&t, now, a->want, &wait_ms);
		cr_assert_leq(n, a->want);
		cr_assert_eq(n == 0, wait_ms > 0, "bytes or a time to wait");
		cr_assert_leq(wait_ms, 1000);
		passed += n;
		uint64_t due = (uint64_t)((double)rate * (double)(now - START_NS) /
					  (double)NS_PER_SEC);
		cr_assert_leq(passed, due + burst_of(rate) + 1, "rate %" PRIu64, rate);
		now += n > 0 ? a->pause_ns : (unsigned)wait_ms * NS_PER_MS + a->late_ns;
	}
	return passed;
}

static const uint64_t rates[] = {1, 10, 1000, 1500, 10 * KIB, 12345, 100 * KIB, 1000003,
	10 * KIB *KIB, 1000 * KIB *KIB, 20000000000};

static const struct asker askers[] = {
	{256 * KIB, 0, 1000},
	{256 * KIB, 2 * NS_PER_MS, 50000}, /* woken late, as one is on a busy machine */
	{4096, NS_PER_MS / 10, 3000}, {1448, 60000, 60000},
	{1, 0, 700}, /* counted to the byte */
};

/* As many seconds as make the burst small beside what passes. */
Test(throttle, keeps_the_rate_within_a_percent)
{
	for (size_t i = 0; i < ARRAY_LEN(rates); i++)
		for (size_t j = 0; j < ARRAY_LEN(askers); j++) {
			uint64_t rate = rates[i];
			uint64_t seconds = rate < 10 * KIB ? 200 * KIB / rate : 20;
			/* An asker that is slower than the rate proves nothing about it.
			 */
			double its_own =
				(double)askers[j].want * 1e9 / (double)askers[j].pause_ns;
			if (its_own < 4 * (double)rate ||
				(askers[j].want == 1 && rate > 20 * KIB))
				continue;
			double got = (double)bytes_passed(rate, &askers[j], seconds);
			double due = (double)rate * (double)seconds;
			cr_expect(got > 0.99 * due && got < 1.01 * due + BURST_MIN,
				"rate %" PRIu64 ", asker %zu: %.0f bytes for %.0f", rate,
				j, got, due);
		}
}

/* A connection asks also where it then moves nothing: that must not cost. */
Test(throttle, loses_nothing_to_questions)
{
	uint64_t rate = 1500, now = START_NS, passed = 0;
	struct throttle t;
	int wait_ms;

	throttle_init(&t, rate, now);
	for (; now < START_NS + 60 * NS_PER_SEC; now += NS_PER_MS + 1) {
		size_t n = throttle_take(&t, now, 100000, &wait_ms);
		size_t moved = now / NS_PER_MS % 3 == 0 ? n : 0;
		throttle_settle(&t, n, moved);
		passed += moved;
	}
	cr_assert(passed > 59 * rate && passed < 61 * rate, "%" PRIu64, passed);
}

Test(throttle, no_rate_is_no_limit)
{
	struct throttle t;
	int wait_ms = -1;

	throttle_init(&t, 0, START_NS);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(throttle_take(&t, START_NS, SIZE_MAX, &wait_ms), SIZE_MAX);
		cr_assert_eq(wait_ms, 0);
		throttle_settle(&t, 0, SIZE_MAX);
	}
	cr_assert_not(throttle_has_limit(&t));
	cr_assert_not(throttle_has_limit(NULL));
	cr_assert_eq(throttle_take(NULL, START_NS, 7, &wait_ms), 7);
	throttle_settle(NULL, 7, 0);
}

Test(throttle, begins_with_nothing)
{
	struct throttle t;
	int wait_ms = 0;

	throttle_init(&t, 100 * KIB, START_NS);
	cr_assert_eq(throttle_take(&t, START_NS, 1 << 20, &wait_ms), 0);
	cr_assert_gt(wait_ms, 0);
}

/* After any silence, a tenth of a second of the rate and not more. */
Test(throttle, saves_up_no_more_than_the_burst)
{
	static const uint64_t silences[] = {NS_PER_SEC / 5, NS_PER_SEC, NS_PER_SEC + 1,
		3600 * NS_PER_SEC, UINT64_MAX - START_NS};

	for (size_t i = 0; i < ARRAY_LEN(rates); i++)
		for (size_t j = 0; j < ARRAY_LEN(silences); j++) {
			uint64_t rate = rates[i], most = burst_of(rate);
			double due = (double)rate * (double)silences[j] / 1e9;
			int wait_ms;
			struct throttle t;

			throttle_init(&t, rate, START_NS);
			size_t n = throttle_take(
				&t, START_NS + silences[j], SIZE_MAX, &wait_ms);
			cr_expect(n <= most && (double)n <= due,
				"rate %" PRIu64 ", silence %zu", rate, j);
			cr_expect(due < (double)most || n == most,
				"rate %" PRIu64 ", silence %zu", rate, j);
		}
}

Test(throttle, extreme_rates_do_not_overflow)
{
	static const uint64_t extremes[] = {
		UINT64_MAX, UINT64_MAX / 2, INT64_MAX, UINT32_MAX, 1};
	static const uint64_t silences[] = {0, 1, NS_PER_SEC, UINT64_MAX - START_NS};

	for (size_t i = 0; i < ARRAY_LEN(extremes); i++)
		for (size_t j = 0; j < ARRAY_LEN(silences); j++) {
			uint64_t rate = extremes[i];
			int wait_ms = -1;
			struct throttle t;

			throttle_init(&t, rate, START_NS);
			size_t n = throttle_take(
				&t, START_NS + silences[j], SIZE_MAX, &wait_ms);
			cr_expect_leq(n, burst_of(rate));
			cr_expect(wait_ms >= 0 && wait_ms <= 1000, "wait %d", wait_ms);
			/* More may have passed than was taken. */
			throttle_settle(&t, n, SIZE_MAX);
			throttle_settle(&t, n, SIZE_MAX);
			cr_expect_eq(
				throttle_take(&t, START_NS + silences[j], 1, &wait_ms),
				0);
			cr_expect(wait_ms >= 0 && wait_ms <= 1000, "wait %d", wait_ms);
			throttle_settle(&t, SIZE_MAX, 0);
			throttle_settle(&t, SIZE_MAX, 0);
			throttle_settle(&t, SIZE_MAX, 0);
			cr_expect_leq(throttle_take(&t, START_NS + silences[j], SIZE_MAX,
					      &wait_ms),
				burst_of(rate));
		}
}

/* Not a byte at a time, and no longer than it takes. */
Test(throttle, waits_for_a_portion)
{
	static const struct {
		uint64_t rate;
		size_t want;
		int wait_ms;
	} rows[] = {
		{1024, 1 << 20, 1000},
		{10 * KIB, 1 << 20, 101},
		{100 * KIB, 1 << 20, 11},
		{100 * KIB, 512, 6},
		{1000 * KIB * KIB, 1 << 20, 1},
		{1, 1 << 20, 1000},
		{1, 1, 1000},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct throttle t;
		int wait_ms;

		throttle_init(&t, rows[i].rate, START_NS);
		cr_assert_eq(throttle_take(&t, START_NS, rows[i].want, &wait_ms), 0);
		cr_expect_eq(wait_ms, rows[i].wait_ms, "row %zu: %d", i, wait_ms);
	}
}

Test(throttle, what_did_not_pass_is_given_back)
{
	uint64_t now = START_NS + NS_PER_SEC;
	struct throttle t;
	int wait_ms;

	throttle_init(&t, 100 * KIB, START_NS);
	size_t burst = throttle_take(&t, now, SIZE_MAX, &wait_ms);
	cr_assert_eq(burst, 10 * KIB);
	cr_assert_eq(throttle_take(&t, now, 1, &wait_ms), 0);
	throttle_settle(&t, burst, burst - 3000);
	cr_assert_eq(throttle_take(&t, now, SIZE_MAX, &wait_ms), 3000);
	throttle_settle(&t, 3000, 1000);
	cr_assert_eq(throttle_take(&t, now, 1500, &wait_ms), 1500);
	cr_assert_eq(throttle_take(&t, now, SIZE_MAX, &wait_ms), 0);
}

/* TLS sends a record that had to wait as it was, however many may pass now. */
Test(throttle, what_passed_too_early_is_a_debt)
{
	uint64_t now = START_NS + NS_PER_SEC;
	struct throttle t;
	int wait_ms;

	throttle_init(&t, 100 * KIB, START_NS);
	size_t taken = throttle_take(&t, now, SIZE_MAX, &wait_ms);
	throttle_settle(&t, taken, taken + 20 * KIB);
	now += NS_PER_SEC / 5;
	cr_assert_eq(throttle_take(&t, now, SIZE_MAX, &wait_ms), 0);
	cr_assert_eq(wait_ms, 11, "%d", wait_ms);
	cr_assert_eq(
		throttle_take(&t, now + NS_PER_SEC / 20, SIZE_MAX, &wait_ms), 5 * KIB);
}

Test(throttle, a_new_rate_begins_empty)
{
	uint64_t now = START_NS + NS_PER_SEC;
	struct throttle t;
	int wait_ms;

	throttle_init(&t, 100 * KIB, START_NS);
	throttle_set_rate(&t, 100 * KIB, now);
	cr_assert_eq(throttle_take(&t, now, SIZE_MAX, &wait_ms), 10 * KIB);
	throttle_settle(&t, 10 * KIB, 0);
	throttle_set_rate(&t, 200 * KIB, now);
	cr_assert_eq(throttle_take(&t, now, SIZE_MAX, &wait_ms), 0);
	now += NS_PER_SEC / 10;
	cr_assert_eq(throttle_take(&t, now, SIZE_MAX, &wait_ms), 20 * KIB);
	throttle_set_rate(&t, 0, now);
	cr_assert_eq(throttle_take(&t, now, SIZE_MAX, &wait_ms), SIZE_MAX);
}

Test(throttle, of_two_the_smaller_counts_and_the_other_loses_nothing)
{
	uint64_t now = START_NS + NS_PER_SEC;
	struct throttle slow, fast;
	int wait_ms;

	throttle_init(&slow, 100 * KIB, START_NS);
	throttle_init(&fast, 500 * KIB, START_NS);
	for (int i = 0; i < 2; i++) {
		struct throttle *a = i == 0 ? &slow : &fast;
		struct throttle *b = i == 0 ? &fast : &slow;
		size_t n = throttle_take_both(a, b, now, SIZE_MAX, &wait_ms);
		cr_assert_eq(n, 10 * KIB);
		cr_assert_eq(throttle_take_both(a, b, now, SIZE_MAX, &wait_ms), 0);
		cr_assert_eq(wait_ms, 11, "%d", wait_ms);
		throttle_settle(&slow, n, 0);
		throttle_settle(&fast, n, 0);
		cr_assert_eq(throttle_take(&fast, now, SIZE_MAX, &wait_ms), 50 * KIB);
		throttle_settle(&fast, 50 * KIB, 0);
	}
	cr_assert_eq(throttle_take_both(NULL, &slow, now, SIZE_MAX, &wait_ms), 10 * KIB);
	cr_assert_eq(throttle_take_both(NULL, NULL, now, 12345, &wait_ms), 12345);
}

/* -- Several at once: these wait, for what a lock guards shows only in real time --- */

#define THREADS     6
#define SHARED_RATE (4ull << 20)
#define SHARED_MS   2000

struct sharer {
	struct throttle *shared;
	struct throttle own;
	uint64_t end_ns;
	size_t want;
	uint64_t passed;
};

static void *sharer_main(void *arg)
{
	struct sharer *s = arg;
	uint64_t now;

	for (unsigned turn = 0; (now = clock_now_ns()) < s->end_ns; turn++) {
		int wait_ms;
		size_t n = throttle_take_both(&s->own, s->shared, now, s->want, &wait_ms);
		/* Every third time the socket has less, or nothing. */
		size_t moved = turn % 3 == 0 ? n / 2 : turn % 7 == 0 ? 0 : n;
		throttle_settle(&s->own, n, moved);
		throttle_settle(s->shared, n, moved);
		s->passed += moved;
		struct timespec t = {.tv_nsec = wait_ms > 0 ? wait_ms * 1000000L : 20000};
		nanosleep(&t, NULL);
	}
	return NULL;
}

Test(throttle, several_threads_share_one_rate)
{
	struct throttle shared;
	struct sharer sharers[THREADS];
	pthread_t threads[THREADS];
	uint64_t start = clock_now_ns(), passed = 0;

	throttle_init(&shared, SHARED_RATE, start);
	for (size_t i = 0; i < THREADS; i++) {
		sharers[i] = (struct sharer){
			.shared = &shared,
			.end_ns = start + SHARED_MS * NS_PER_MS,
			.want = i % 2 ? 1448 : 256 * KIB,
		};
		throttle_init(&sharers[i].own, i == 0 ? SHARED_RATE / 8 : 0, start);
		cr_assert_eq(
			pthread_create(&threads[i], NULL, sharer_main, &sharers[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		passed += sharers[i].passed;
		cr_expect_gt(sharers[i].passed, 0, "thread %zu", i);
	}
	double seconds = (double)(clock_now_ns() - start) / 1e9;
	double due = (double)SHARED_RATE * seconds;
	cr_expect((double)passed > 0.95 * due && (double)passed < 1.05 * due,
		"%" PRIu64 " bytes for %.0f", passed, due);
	cr_expect_lt(sharers[0].passed, (uint64_t)(1.05 * due / 8));
}
