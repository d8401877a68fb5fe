/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/ring.h"

#include <sched.h>
#include <stdatomic.h>

#include "os/fd.h"
#include "pair.h"

#define MANY 1000
#define M    RING_FILE_MIN

static struct ring *ring;
static atomic_uint used, filled;

static void setup(void)
{
	cr_assert_eq(ring_new(&ring), 0);
	atomic_store(&used, 0);
	atomic_store(&filled, 0);
}

static void teardown(void)
{
	ring_free(ring);
	ring = NULL;
}

TestSuite(ring, .init = setup, .fini = teardown, .timeout = 60);

/* Uses blocks until there are no more, or *STOP_AFTER were used; each must be the one
 * that was filled next. */
static void *use(void *arg)
{
	const unsigned *stop_after = arg;
	struct block *b;
	unsigned n = 0;
	while (n < *stop_after && (b = ring_use(ring))) {
		cr_assert_eq(b->hole, n);
		cr_assert_eq(b->len, n % RING_BLOCK);
		cr_assert_eq(b->has_check, n % 7 == 0);
		cr_assert(b->len == 0 || (b->bytes[0] == (uint8_t)n &&
						 b->bytes[b->len - 1] == (uint8_t)n));
		ring_used(ring);
		atomic_store(&used, ++n);
	}
	if (n == *stop_after)
		ring_stop(ring, -ERR_NO_SPACE);
	return NULL;
}

/* Fills MANY blocks, or as many as it may; how many. */
static unsigned fill(void)
{
	struct block *b;
	unsigned n = 0;
	while (n < MANY && (b = ring_fill(ring))) {
		cr_assert(b->len == 0 && b->hole == 0 && !b->has_check, "it is empty");
		b->hole = n;
		b->len = n % RING_BLOCK;
		b->has_check = n % 7 == 0;
		memset(b->bytes - FRAME_HEADER_LEN, (int)(uint8_t)n,
			b->len + FRAME_HEADER_LEN);
		ring_filled(ring);
		atomic_store(&filled, ++n);
		cr_assert_leq(n - atomic_load(&used), RING_COUNT + 1);
	}
	return n;
}

Test(ring, what_was_filled_is_used_in_order)
{
	unsigned never = MANY + 1;
	pthread_t thread = pair_thread(use, &never);
	cr_assert_eq(fill(), MANY);
	ring_end(ring, 0);
	pthread_join(thread, NULL);
	cr_assert_eq(atomic_load(&used), MANY);
	cr_assert_eq(ring_error(ring), 0);
}

Test(ring, an_end_says_why)
{
	unsigned never = MANY + 1;
	pthread_t thread = pair_thread(use, &never);
	ring_end(ring, -ERR_CHANGED);
	pthread_join(thread, NULL);
	cr_assert_eq(ring_error(ring), -ERR_CHANGED);
}

Test(ring, who_uses_may_stop)
{
	unsigned few = 10;
	pthread_t thread = pair_thread(use, &few);
	unsigned n = fill();
	pthread_join(thread, NULL);
	cr_assert(n >= few && n < MANY, "%u", n);
	cr_assert_eq(ring_error(ring), -ERR_NO_SPACE);
	cr_assert_null(ring_fill(ring));
	/* Also when no more was to come anyway. */
	ring_end(ring, 0);
	cr_assert_eq(ring_error(ring), -ERR_NO_SPACE);
}

static void *fill_to_the_brim(void *unused)
{
	(void)unused;
	fill();
	return NULL;
}

Test(ring, who_waits_for_room_is_told_to_stop)
{
	pthread_t thread = pair_thread(fill_to_the_brim, NULL);
	while (atomic_load(&filled) < RING_COUNT)
		sched_yield();
	usleep(10000); /* most likely it waits by now */
	ring_stop(ring, 0);
	pthread_join(thread, NULL);
	cr_assert_null(ring_use(ring), "what is left does not count");
}

Test(ring, what_is_settled_was_used)
{
	unsigned few = 10;
	pthread_t thread = pair_thread(use, &few);
	struct block *b;
	for (unsigned n = 0; n < few - 1; n++) {
		b = ring_fill(ring);
		b->hole = b->len = n;
		b->has_check = n % 7 == 0;
		memset(b->bytes, (int)n, b->len);
		ring_filled(ring);
		ring_settle(ring);
		cr_assert_geq(atomic_load(&used) + 1, n + 1,
			"it has been used, or is about to be counted");
	}
	/* The last one, after which nobody uses any: it does not wait for ever. */
	b = ring_fill(ring);
	b->hole = b->len = few - 1;
	memset(b->bytes, (int)few - 1, b->len);
	b->has_check = (few - 1) % 7 == 0;
	ring_filled(ring);
	pthread_join(thread, NULL);
	ring_settle(ring);
	cr_assert_eq(ring_error(ring), -ERR_NO_SPACE);
}

Test(ring, pays_where_processors_are_free)
{
	int here[2];
	pair_tcp(here);
	cr_assert_not(ring_pays(M, 1, 1, here[0]));
	cr_assert_not(ring_pays(M, 3, 1, here[0]), "the peer needs two as well");
	cr_assert(ring_pays(M, 4, 1, here[0]));
	cr_assert_not(ring_pays(M, 7, 2, here[0]));
	cr_assert(ring_pays(M, 8, 2, here[0]));
	/* Without a connection nobody is known to be here. */
	cr_assert_not(ring_pays(M, 1, 1, -1));
	cr_assert(ring_pays(M, 2, 1, -1));
	cr_assert_not(ring_pays(M, 3, 2, -1));
	cr_assert_not(ring_pays(M - 1, 8, 1, here[0]), "for a file that is large");
	fd_close(here[0]);
	fd_close(here[1]);
}
