/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/claim.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "os/clock.h"

#define NEVER_MS 1000000

static const uint8_t key_a[STAGE_KEY_LEN] = "the first key..";
static const uint8_t key_b[STAGE_KEY_LEN] = "the second key.";
static const uint8_t run_1[MSG_RUN_LEN] = "one client run.";
static const uint8_t run_2[MSG_RUN_LEN] = "another client.";

static struct claims *claims;
static int sockets[2]; /* the holder's, and its peer */

static void setup(void)
{
	claims = claims_new();
	cr_assert_not_null(claims);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
}

static void teardown(void)
{
	close(sockets[0]);
	close(sockets[1]);
	claims_free(claims);
}

TestSuite(claim, .init = setup, .fini = teardown, .timeout = 30);

/* Whether the socket of the holder was shut down: its peer sees the end. */
static bool holder_was_shut_down(void)
{
	struct pollfd p = {.fd = sockets[1], .events = POLLIN};
	char byte;

	return poll(&p, 1, 0) == 1 && read(sockets[1], &byte, 1) == 0;
}

Test(claim, a_free_key_is_ours_at_once)
{
	struct claim c = {0}, other = {0};

	cr_assert_eq(claim_take(claims, &c, key_a, run_1, sockets[0], NEVER_MS, 0), 0);
	cr_assert(c.held);
	cr_assert_eq(claim_take(claims, &other, key_b, run_1, sockets[0], NEVER_MS, 0), 0,
		"another key is free");
	cr_assert_not(holder_was_shut_down());
	claim_drop(claims, &c);
	cr_assert_not(c.held);
	cr_assert_eq(claim_take(claims, &c, key_a, run_2, sockets[0], NEVER_MS, 0), 0,
		"it was let go");
	claim_drop(claims, &other);
	claim_drop(claims, &c);
}

Test(claim, drop_is_harmless_when_not_held)
{
	struct claim c = {0};

	claim_drop(claims, &c);
	cr_assert_eq(claim_take(claims, &c, key_a, run_1, sockets[0], NEVER_MS, 0), 0);
	claim_drop(claims, &c);
	claim_drop(claims, &c);
}

/* What happens to a holder that does not let go. */
static const struct {
	const char *name;
	const uint8_t *run;
	int stall_ms;
	int wait_ms;
	bool shut_down;
} contests[] = {
	{"another run that moves is left alone", run_2, NEVER_MS, 20, false},
	{"the same run is ended", run_1, NEVER_MS, 20, true},
	{"the same run is ended without a wait", run_1, NEVER_MS, 0, true},
	{"a stalled one is ended", run_2, 0, 20, true},
	{"one that stalls while we wait is ended", run_2, 60, 300, true},
	{"one that would stall later is left alone", run_2, 5000, 60, false},
};

Test(claim, contest)
{
	for (size_t i = 0; i < ARRAY_LEN(contests); i++) {
		struct claim holder = {0}, taker = {0};
		int64_t start_ms = clock_now_ms();

		teardown();
		setup();
		cr_assert_eq(claim_take(claims, &holder, key_a, run_1, sockets[0],
				     NEVER_MS, 0),
			0);
		cr_assert_eq(claim_take(claims, &taker, key_a, contests[i].run, -1,
				     contests[i].stall_ms, contests[i].wait_ms),
			-ERR_BUSY, "%s", contests[i].name);
		cr_assert_not(taker.held, "%s", contests[i].name);
		cr_assert_geq(clock_now_ms() - start_ms, contests[i].wait_ms, "%s",
			contests[i].name);
		cr_assert_eq(holder_was_shut_down(), contests[i].shut_down, "%s",
			contests[i].name);
		claim_drop(claims, &holder);
	}
}

Test(claim, progress_puts_the_stall_off)
{
	struct claim holder = {0}, taker = {0};

	cr_assert_eq(
		claim_take(claims, &holder, key_a, run_1, sockets[0], NEVER_MS, 0), 0);
	poll(NULL, 0, 120);
	claim_progress(claims, &holder);
	cr_assert_eq(claim_take(claims, &taker, key_a, run_2, -1, 100, 0), -ERR_BUSY);
	cr_assert_not(holder_was_shut_down());
	poll(NULL, 0, 120);
	cr_assert_eq(claim_take(claims, &taker, key_a, run_2, -1, 100, 0), -ERR_BUSY);
	cr_assert(holder_was_shut_down());
	claim_drop(claims, &holder);
}

/* A connection: holds its claim until its socket ends. */
static void *connection_main(void *arg)
{
	struct claim *c = arg;
	char byte;

	cr_assert_eq(read(sockets[0], &byte, 1), 0);
	claim_drop(claims, c);
	return NULL;
}

/* Who takes over from a holder that ends when it is shut down, long before
 * the wait is over. */
static const struct {
	const char *name;
	const uint8_t *run;
	int stall_ms;
} takeovers[] = {
	{"the same run", run_1, NEVER_MS},
	{"another run, from one that has stalled", run_2, 0},
	{"another run, from one that stalls while we wait", run_2, 100},
};

Test(claim, takeover)
{
	for (size_t i = 0; i < ARRAY_LEN(takeovers); i++) {
		struct claim old = {0}, fresh = {0};
		int64_t start_ms = clock_now_ms();
		pthread_t thread;

		teardown();
		setup();
		cr_assert_eq(
			claim_take(claims, &old, key_a, run_1, sockets[0], NEVER_MS, 0),
			0);
		cr_assert_eq(pthread_create(&thread, NULL, connection_main, &old), 0);
		cr_assert_eq(claim_take(claims, &fresh, key_a, takeovers[i].run, -1,
				     takeovers[i].stall_ms, 10000),
			0, "%s", takeovers[i].name);
		cr_assert_lt(clock_now_ms() - start_ms, 5000, "%s", takeovers[i].name);
		pthread_join(thread, NULL);
		claim_drop(claims, &fresh);
	}
}

#define CONTENDERS 8
#define ROUNDS     200

static unsigned inside; /* guarded by the claim: that is the test */

static void *contender_main(void *arg)
{
	struct claim c = {0};

	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		cr_assert_eq(
			claim_take(claims, &c, key_a, run_1, -1, NEVER_MS, 20000), 0);
		cr_assert_eq(inside++, 0);
		claim_progress(claims, &c);
		cr_assert_eq(--inside, 0);
		claim_drop(claims, &c);
	}
	return NULL;
}

Test(claim, one_holder_at_a_time)
{
	pthread_t threads[CONTENDERS];

	for (size_t i = 0; i < CONTENDERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, contender_main, NULL), 0);
	for (size_t i = 0; i < CONTENDERS; i++)
		pthread_join(threads[i], NULL);
}
