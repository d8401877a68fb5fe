/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All time here is made up: no test waits. */
#include "daemon/guard.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"

#define START_MS    ((int64_t)1000000)
#define PENALTY_MAX 60000
#define PER_ADDRESS 3

TestSuite(guard, .timeout = 60);

static void random_seed(void)
{
	const char *given = getenv("SOCKD_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

	fprintf(stderr, "SOCKD_TEST_SEED=%u\n", seed);
	srandom(seed);
}

static struct guard_key key_of(const char *text)
{
	struct sock_addr a = {.len = sizeof(a.ss)};
	struct sockaddr_in *v4 = (void *)&a.ss;
	struct sockaddr_in6 *v6 = (void *)&a.ss;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6;
	else
		cr_assert_fail("not an address: %s", text);
	return guard_key_of(&a);
}

static struct guard_key key_number(uint32_t n)
{
	struct sock_addr a = {.len = sizeof(a.ss)};
	struct sockaddr_in *v4 = (void *)&a.ss;

	v4->sin_family = AF_INET;
	v4->sin_addr.s_addr = n;
	return guard_key_of(&a);
}

static struct guard *guard_made(void)
{
	struct guard *g = guard_new();

	cr_assert_not_null(g);
	guard_configure(g, PER_ADDRESS, PENALTY_MAX);
	return g;
}

/* One whole connection, with the penalty that comes of it. */
static int visit(struct guard *g, const struct guard_key *key, enum outcome_of_conn how,
	int64_t now_ms)
{
	cr_assert_eq(guard_enter(g, key), 0);
	return guard_leave(g, key, how, now_ms, NULL);
}

static int strikes(
	struct guard *g, const struct guard_key *key, unsigned count, int64_t now_ms)
{
	int penalty_ms = 0;

	for (unsigned i = 0; i < count; i++)
		penalty_ms = visit(g, key, CONN_STRIKE, now_ms);
	return penalty_ms;
}

/* -- Keys ------------------------------------------------------------------- */

Test(guard, what_counts_as_one_address)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.2", false},
		{"::ffff:192.0.2.1", "::ffff:198.51.100.1", false},
		{"192.0.2.1", "::192.0.2.1", false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"::1", "::2", true},
		{"0.0.0.0", "::", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct guard_key a = key_of(rows[i].a), b = key_of(rows[i].b);
		cr_expect_eq(memcmp(&a, &b, sizeof(a)) == 0, rows[i].same, "%s and %s",
			rows[i].a, rows[i].b);
	}
}

Test(guard, keys_are_told_in_words)
{
	static const char *const rows[][2] = {
		{"192.0.2.1", "192.0.2.1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"2001:db8:1:2:3::1", "2001:db8:1:2::/64"},
		{"2001:db8:1111:2222:ffff::1", "2001:db8:1111:2222::/64"},
		{"::1", "::/64"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct guard_key key = key_of(rows[i][0]);
		char text[GUARD_TEXT_MAX];
		cr_expect_str_eq(guard_key_format(text, &key), rows[i][1]);
	}
}

Test(guard, what_has_no_address_is_never_kept_out)
{
	struct sock_addr local = {.ss.ss_family = AF_UNIX};
	struct guard_key key = guard_key_of(&local);
	struct guard *g = guard_made();

	for (int i = 0; i < 100; i++) {
		cr_assert_eq(guard_enter(g, &key), 0);
		cr_assert_eq(guard_ask(g, &key, START_MS, NULL), GUARD_LET_IN);
	}
	for (int i = 0; i < 100; i++)
		cr_assert_eq(guard_leave(g, &key, CONN_STRIKE, START_MS, NULL), 0);
	cr_assert_eq(guard_ask(g, &key, START_MS, NULL), GUARD_LET_IN);
	guard_free(g);
}

/* -- Connections -------------------------------------------------------------- */

Test(guard, an_address_has_its_connections_and_others_have_theirs)
{
	struct guard_key key = key_of("2001:db8:1:2::1"), other = key_of("192.0.2.1");
	struct guard_key neighbour = key_of("2001:db8:1:2::2");
	struct guard *g = guard_made();

	for (int i = 0; i < PER_ADDRESS; i++) {
		cr_assert_eq(guard_ask(g, &key, START_MS, NULL), GUARD_LET_IN);
		cr_assert_eq(guard_enter(g, &key), 0);
	}
	cr_assert_eq(guard_ask(g, &key, START_MS, NULL), GUARD_CROWDED);
	cr_assert_eq(guard_ask(g, &neighbour, START_MS, NULL), GUARD_CROWDED);
	cr_assert_eq(guard_ask(g, &other, START_MS, NULL), GUARD_LET_IN);
	guard_leave(g, &neighbour, CONN_NEUTRAL, START_MS, NULL);
	cr_assert_eq(guard_ask(g, &key, START_MS, NULL), GUARD_LET_IN);
	guard_configure(g, PER_ADDRESS - 1, 0);
	cr_assert_eq(guard_ask(g, &key, START_MS, NULL), GUARD_CROWDED);
	guard_leave(g, &key, CONN_KNOWN, START_MS, NULL);
	guard_leave(g, &key, CONN_NEUTRAL, START_MS, NULL);
	cr_assert_eq(guard_count(g), 0, "nothing is left to know");
	guard_free(g);
}

/* -- Strikes ------------------------------------------------------------------- */

Test(guard, penalties_double_up_to_the_maximum)
{
	struct guard_key key = key_of("192.0.2.1"), other = key_of("192.0.2.2");
	struct guard *g = guard_made();
	int64_t now_ms = START_MS, due_ms = PENALTY_FIRST_MS;
	int wait_ms = -1;

	cr_assert_eq(strikes(g, &key, STRIKES_FREE, now_ms), 0);
	cr_assert_eq(guard_ask(g, &key, now_ms, &wait_ms), GUARD_LET_IN);
	cr_assert_eq(wait_ms, 0);
	for (int i = 0; i < 40; i++) {
		cr_assert_eq(visit(g, &key, CONN_STRIKE, now_ms), due_ms);
		cr_assert_eq(guard_ask(g, &key, now_ms, &wait_ms), GUARD_HELD_OFF);
		cr_assert_eq(wait_ms, due_ms);
		cr_assert_eq(guard_ask(g, &other, now_ms, NULL), GUARD_LET_IN);
		now_ms += due_ms - 1;
		cr_assert_eq(guard_ask(g, &key, now_ms, &wait_ms), GUARD_HELD_OFF);
		cr_assert_eq(wait_ms, 1);
		cr_assert_eq(guard_ask(g, &key, ++now_ms, NULL), GUARD_LET_IN);
		due_ms = 2 * due_ms < PENALTY_MAX ? 2 * due_ms : PENALTY_MAX;
	}
	guard_free(g);
}

Test(guard, strikes_are_counted)
{
	struct guard_key key = key_of("192.0.2.1");
	struct guard *g = guard_made();
	unsigned count = 99;

	for (unsigned i = 1; i < 100; i++) {
		cr_assert_eq(guard_enter(g, &key), 0);
		guard_leave(g, &key, CONN_STRIKE, START_MS, &count);
		cr_assert_eq(count, i);
	}
	cr_assert_eq(guard_enter(g, &key), 0);
	guard_leave(g, &key, CONN_KNOWN, START_MS, &count);
	cr_assert_eq(count, 0);
	guard_free(g);
}

Test(guard, a_day_at_the_most)
{
	struct guard_key key = key_of("192.0.2.1");
	struct guard *g = guard_made();
	int day_ms = 24 * 3600 * 1000;

	guard_configure(g, PER_ADDRESS, day_ms);
	cr_assert_eq(strikes(g, &key, 1000, START_MS), day_ms);
	guard_free(g);
}

Test(guard, being_held_off_comes_before_being_crowded)
{
	struct guard_key key = key_of("192.0.2.1");
	struct guard *g = guard_made();

	strikes(g, &key, STRIKES_FREE + 1, START_MS);
	for (int i = 0; i < PER_ADDRESS; i++)
		cr_assert_eq(guard_enter(g, &key), 0);
	cr_assert_eq(guard_ask(g, &key, START_MS, NULL), GUARD_HELD_OFF);
	cr_assert_eq(
		guard_ask(g, &key, START_MS + PENALTY_FIRST_MS, NULL), GUARD_CROWDED);
	guard_free(g);
}

Test(guard, a_known_client_wipes_strikes_out)
{
	struct guard_key key = key_of("192.0.2.1");
	struct guard *g = guard_made();

	strikes(g, &key, STRIKES_FREE, START_MS);
	cr_assert_eq(visit(g, &key, CONN_KNOWN, START_MS), 0);
	cr_assert_eq(strikes(g, &key, STRIKES_FREE, START_MS), 0);
	cr_assert_eq(visit(g, &key, CONN_NEUTRAL, START_MS), 0, "changes nothing");
	cr_assert_eq(visit(g, &key, CONN_STRIKE, START_MS), PENALTY_FIRST_MS);
	guard_free(g);
}

Test(guard, time_wipes_strikes_out)
{
	struct guard_key key = key_of("192.0.2.1"), other = key_of("192.0.2.2");
	struct guard *g = guard_made();
	int64_t last_ms = START_MS + PENALTY_FIRST_MS + STRIKES_FORGET_MS;

	strikes(g, &key, STRIKES_FREE + 1, START_MS);
	guard_ask(g, &other, last_ms - 1, NULL);
	cr_assert_eq(guard_count(g), 1);
	guard_ask(g, &other, last_ms, NULL);
	cr_assert_eq(guard_count(g), 0);
	cr_assert_eq(strikes(g, &key, STRIKES_FREE, last_ms), 0);
	cr_assert_eq(visit(g, &key, CONN_STRIKE, last_ms), PENALTY_FIRST_MS);
	guard_free(g);
}

Test(guard, a_smaller_maximum_counts_at_once)
{
	struct guard_key key = key_of("192.0.2.1");
	struct guard *g = guard_made();
	int wait_ms;

	cr_assert_eq(strikes(g, &key, 100, START_MS), PENALTY_MAX);
	guard_configure(g, PER_ADDRESS, 2000);
	cr_assert_eq(guard_ask(g, &key, START_MS, &wait_ms), GUARD_HELD_OFF);
	cr_assert_eq(wait_ms, 2000);
	guard_configure(g, PER_ADDRESS, 0);
	cr_assert_eq(guard_ask(g, &key, START_MS, &wait_ms), GUARD_LET_IN);
	cr_assert_eq(visit(g, &key, CONN_STRIKE, START_MS), 0, "strikes do not count");
	guard_configure(g, PER_ADDRESS, 2 * PENALTY_MAX);
	guard_ask(g, &key, START_MS, &wait_ms);
	cr_assert_eq(wait_ms, PENALTY_MAX, "what was said is not made longer");
	guard_free(g);
}

/* -- A full table --------------------------------------------------------------- */

Test(guard, many_addresses_cost_a_bounded_memory)
{
	struct guard *g = guard_made();
	size_t most = 0;

	random_seed();
	for (int i = 0; i < 100000; i++) {
		struct guard_key key = key_number((uint32_t)random());
		strikes(g, &key, 1 + (unsigned)random() % 8, START_MS + i);
		most = guard_count(g) > most ? guard_count(g) : most;
	}
	cr_assert_eq(most, ADDRESSES_MAX);
	/* Not one by one, but in the first turn after it. */
	struct guard_key any = key_number(0);
	guard_ask(g, &any, START_MS + 100000 + PENALTY_MAX + STRIKES_FORGET_MS, NULL);
	cr_assert_eq(guard_count(g), 0);
	guard_free(g);
}

Test(guard, whoever_is_held_off_longest_is_not_forgotten)
{
	struct guard_key held = key_of("192.0.2.1");
	struct guard *g = guard_made();

	strikes(g, &held, 100, START_MS);
	for (uint32_t i = 0; i < 3 * ADDRESSES_MAX; i++) {
		struct guard_key key = key_number(i);
		strikes(g, &key, STRIKES_FREE + i % 3, START_MS + 1);
	}
	cr_assert_eq(
		guard_ask(g, &held, START_MS + PENALTY_MAX - 1, NULL), GUARD_HELD_OFF);
	guard_free(g);
}

/* When all places are of such as are held off, a newcomer is not written down. */
Test(guard, newcomers_do_not_push_out_those_who_are_held_off)
{
	struct guard *g = guard_made();

	for (uint32_t i = 0; i < ADDRESSES_MAX; i++) {
		struct guard_key key = key_number(i);
		strikes(g, &key, STRIKES_FREE + 1, START_MS);
	}
	struct guard_key newcomer = key_of("::1");
	cr_assert_eq(strikes(g, &newcomer, 100, START_MS), 0);
	for (uint32_t i = 0; i < ADDRESSES_MAX; i++) {
		struct guard_key key = key_number(i);
		cr_assert_eq(guard_ask(g, &key, START_MS, NULL), GUARD_HELD_OFF);
	}
	cr_assert_eq(guard_count(g), ADDRESSES_MAX);
	/* Once they may come again, each of them matters less than a newcomer. */
	cr_assert_gt(strikes(g, &newcomer, 100, START_MS + PENALTY_FIRST_MS), 0);
	cr_assert_eq(guard_count(g), ADDRESSES_MAX);
	guard_free(g);
}

/* An address that is forgotten while it has connections keeps these. */
Test(guard, counts_survive_forgetting)
{
	struct guard_key key = key_of("192.0.2.1");
	struct guard *g = guard_made();

	strikes(g, &key, 1, START_MS);
	for (int i = 0; i < PER_ADDRESS; i++)
		cr_assert_eq(guard_enter(g, &key), 0);
	for (uint32_t i = 0; i < 2 * ADDRESSES_MAX; i++) {
		struct guard_key other = key_number(i);
		strikes(g, &other, 1, START_MS + 1);
	}
	cr_assert_eq(guard_count(g), ADDRESSES_MAX + 1);
	cr_assert_eq(guard_ask(g, &key, START_MS + 1, NULL), GUARD_CROWDED);
	for (int i = 0; i < PER_ADDRESS; i++)
		guard_leave(g, &key, CONN_NEUTRAL, START_MS + 1, NULL);
	cr_assert_eq(guard_count(g), ADDRESSES_MAX);
	guard_free(g);
}

/* -- A model ---------------------------------------------------------------------- */

#define MODEL_ADDRESSES 40
#define MODEL_STEPS     200000

/* The contract, without table, heap or forgetting: all addresses, each for itself. */
struct model {
	uint32_t connections;
	uint32_t strikes;
	int64_t until_ms;
};

static void model_expire(struct model *m, int64_t now_ms)
{
	if (m->strikes > 0 && m->until_ms + STRIKES_FORGET_MS <= now_ms)
		m->strikes = 0;
}

static enum guard_verdict model_ask(struct model *m, int64_t now_ms)
{
	model_expire(m, now_ms);
	if (m->strikes > 0 && now_ms < m->until_ms)
		return GUARD_HELD_OFF;
	return m->connections >= PER_ADDRESS ? GUARD_CROWDED : GUARD_LET_IN;
}

static int model_leave(struct model *m, enum outcome_of_conn how, int64_t now_ms)
{
	double penalty_ms = 0;

	model_expire(m, now_ms);
	m->connections--;
	if (how == CONN_KNOWN)
		m->strikes = 0;
	if (how != CONN_STRIKE)
		return 0;
	if (++m->strikes > STRIKES_FREE) {
		penalty_ms = PENALTY_FIRST_MS;
		for (uint32_t i = STRIKES_FREE + 1; i < m->strikes; i++)
			penalty_ms *= 2;
	}
	if (penalty_ms > PENALTY_MAX)
		penalty_ms = PENALTY_MAX;
	m->until_ms = now_ms + (int64_t)penalty_ms;
	return (int)penalty_ms;
}

static size_t model_count(struct model *models, int64_t now_ms)
{
	size_t count = 0;

	for (size_t i = 0; i < MODEL_ADDRESSES; i++) {
		model_expire(&models[i], now_ms);
		count += models[i].connections > 0 || models[i].strikes > 0;
	}
	return count;
}

Test(guard, does_what_a_simple_model_does)
{
	struct model models[MODEL_ADDRESSES] = {0};
	struct guard *g = guard_made();
	int64_t now_ms = START_MS;

	random_seed();
	for (int step = 0; step < MODEL_STEPS; step++) {
		uint32_t who = (uint32_t)random() % MODEL_ADDRESSES;
		struct model *m = &models[who];
		struct guard_key key = key_number(who);
		/* Mostly moments, now and then long enough to be let in or forgotten. */
		now_ms += random() % 100 ? random() % 50
					 : random() % (STRIKES_FORGET_MS / 4);
		if (random() % 2) {
			cr_assert_eq(guard_ask(g, &key, now_ms, NULL),
				model_ask(m, now_ms), "step %d", step);
			if (model_ask(m, now_ms) != GUARD_LET_IN)
				continue;
			cr_assert_eq(guard_enter(g, &key), 0);
			m->connections++;
		} else if (m->connections > 0) {
			enum outcome_of_conn how =
				random() % 30 ? random() % 3 ? CONN_STRIKE : CONN_NEUTRAL
					      : CONN_KNOWN;
			cr_assert_eq(guard_leave(g, &key, how, now_ms, NULL),
				model_leave(m, how, now_ms), "step %d", step);
			cr_assert_eq(guard_count(g), model_count(models, now_ms),
				"step %d", step);
		}
	}
	guard_free(g);
}
