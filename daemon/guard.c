/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Addresses stand in a hash table by a keyed hash, so that nobody can choose two that
 * meet.  Those with strikes stand in a heap besides, the one that matters least on top:
 * the one that is let in again, or was, before all others.
 */
#include "daemon/guard.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "os/clock.h"

#define BUCKET_BITS 14
#define KEY_WORDS   3
/* Twice as long for each; so often, every maximum that can be configured is reached. */
#define DOUBLINGS_MAX 20

/* Known while it has connections or strikes. */
struct address {
	struct address *next; /* in its bucket */
	struct guard_key key;
	uint32_t connections;
	uint32_t strikes;  /* not 0: it is in the heap */
	size_t at;         /* in the heap */
	int64_t struck_ms; /* the last time */
	int64_t until_ms;  /* held off, by what was configured at that time */
};

struct guard {
	uint64_t seed[KEY_WORDS + 1];
	uint32_t max_per_address;
	int penalty_max_ms;
	size_t count;
	size_t struck;                              /* in the heap */
	struct address *heap[ADDRESSES_MAX];        /* owned by the buckets */
	struct address *buckets[1u << BUCKET_BITS]; /* owned */
};

struct guard *guard_new(void)
{
	struct guard *g = calloc(1, sizeof(*g));

	if (g && random_bytes(g->seed, sizeof(g->seed)) < 0) {
		free(g);
		return NULL;
	}
	return g;
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < 1u << BUCKET_BITS; i++)
		for (struct address *a = g->buckets[i], *next; a; a = next) {
			next = a->next;
			free(a);
		}
	free(g);
}

void guard_configure(struct guard *g, uint32_t max_per_address, int penalty_max_ms)
{
	g->max_per_address = max_per_address;
	g->penalty_max_ms = penalty_max_ms;
}

size_t guard_count(const struct guard *g)
{
	return g->count;
}

/* -- Addresses ------------------------------------------------------------- */

struct guard_key guard_key_of(const struct sock_addr *addr)
{
	struct guard_key key = {0};
	const struct sockaddr_in *v4 = (const void *)&addr->ss;
	const struct sockaddr_in6 *v6 = (const void *)&addr->ss;

	if (addr->ss.ss_family == AF_INET) {
		key.bytes[0] = 4;
		memcpy(key.bytes + 1, &v4->sin_addr, 4);
	} else if (addr->ss.ss_family == AF_INET6 &&
		   IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		key.bytes[0] = 4;
		memcpy(key.bytes + 1, v6->sin6_addr.s6_addr + 12, 4);
	} else if (addr->ss.ss_family == AF_INET6) {
		key.bytes[0] = 8;
		memcpy(key.bytes + 1, v6->sin6_addr.s6_addr, 8);
	}
	return key;
}

char *guard_key_format(char out[GUARD_TEXT_MAX], const struct guard_key *key)
{
	struct in6_addr v6 = {0};
	char text[INET6_ADDRSTRLEN] = "local";
	bool is_v6 = key->bytes[0] == 8;

	memcpy(v6.s6_addr, key->bytes + 1, 8);
	if (key->bytes[0] == 4)
		inet_ntop(AF_INET, key->bytes + 1, text, sizeof(text));
	else if (is_v6)
		inet_ntop(AF_INET6, &v6, text, sizeof(text));
	snprintf(out, GUARD_TEXT_MAX, "%s%s", text, is_v6 ? "/64" : "");
	return out;
}

static bool key_is_exempt(const struct guard_key *key)
{
	return key->bytes[0] == 0;
}

/* Multiply and shift over the words of the key: universal for a random seed
 * (Dietzfelbinger 1996, "Universal hashing and k-wise independent random variables"). */
static struct address **bucket_of(struct guard *g, const struct guard_key *key)
{
	uint32_t words[KEY_WORDS] = {key->bytes[0]};
	uint64_t sum = g->seed[KEY_WORDS];

	memcpy(words + 1, key->bytes + 1, sizeof(key->bytes) - 1);
	for (size_t i = 0; i < KEY_WORDS; i++)
		sum += g->seed[i] * words[i];
	return &g->buckets[sum >> (64 - BUCKET_BITS)];
}

/* The link that leads to the address of KEY, or to NULL. */
static struct address **address_find(struct guard *g, const struct guard_key *key)
{
	struct address **link = bucket_of(g, key);

	while (*link && memcmp(&(*link)->key, key, sizeof(*key)) != 0)
		link = &(*link)->next;
	return link;
}

/* Forgets LINK's address when there is nothing left to know of it. */
static void address_drop_idle(struct guard *g, struct address **link)
{
	struct address *a = *link;

	if (a->connections > 0 || a->strikes > 0)
		return;
	*link = a->next;
	free(a);
	g->count--;
}

/* -- Strikes ---------------------------------------------------------------- */

static void heap_set(struct guard *g, size_t at, struct address *a)
{
	g->heap[at] = a;
	a->at = at;
}

/* Moves A, which belongs at AT or below or above, to where it does. */
static void heap_settle(struct guard *g, size_t at, struct address *a)
{
	for (size_t up; at > 0 && a->until_ms < g->heap[up = (at - 1) / 2]->until_ms;
		at = up)
		heap_set(g, at, g->heap[up]);
	for (size_t down; (down = 2 * at + 1) < g->struck; at = down) {
		if (down + 1 < g->struck &&
			g->heap[down + 1]->until_ms < g->heap[down]->until_ms)
			down++;
		if (a->until_ms <= g->heap[down]->until_ms)
			break;
		heap_set(g, at, g->heap[down]);
	}
	heap_set(g, at, a);
}

static void strikes_wipe(struct guard *g, struct address *a)
{
	struct address *last;

	if (a->strikes == 0)
		return;
	a->strikes = 0;
	last = g->heap[--g->struck];
	if (last != a)
		heap_settle(g, a->at, last);
}

static void strikes_forget(struct guard *g, struct address *a)
{
	strikes_wipe(g, a);
	address_drop_idle(g, address_find(g, &a->key));
}

static void strikes_forget_old(struct guard *g, int64_t now_ms)
{
	while (g->struck > 0 && g->heap[0]->until_ms + STRIKES_FORGET_MS <= now_ms)
		strikes_forget(g, g->heap[0]);
}

static int penalty_of(const struct guard *g, uint32_t strikes)
{
	uint32_t doublings = strikes - STRIKES_FREE - 1;
	int64_t ms;

	if (strikes <= STRIKES_FREE)
		return 0;
	ms = (int64_t)PENALTY_FIRST_MS
	     << (doublings < DOUBLINGS_MAX ? doublings : DOUBLINGS_MAX);
	return ms < g->penalty_max_ms ? (int)ms : g->penalty_max_ms;
}

/* Whether there is a place in the heap for one that is not held off. */
static bool heap_make_room(struct guard *g, int64_t now_ms)
{
	if (g->struck < ADDRESSES_MAX)
		return true;
	if (g->heap[0]->until_ms > now_ms)
		return false;
	strikes_forget(g, g->heap[0]);
	return true;
}

static int address_strike(struct guard *g, struct address *a, int64_t now_ms)
{
	int penalty_ms;

	if (g->penalty_max_ms == 0)
		return 0;
	if (a->strikes == 0) {
		if (!heap_make_room(g, now_ms))
			return 0;
		a->at = g->struck++;
	}
	if (a->strikes < UINT32_MAX)
		a->strikes++;
	penalty_ms = penalty_of(g, a->strikes);
	a->struck_ms = now_ms;
	a->until_ms = now_ms + penalty_ms;
	heap_settle(g, a->at, a);
	return penalty_ms;
}

/* -- Connections ------------------------------------------------------------- */

/* By what is configured now, if that is less than it was. */
static int address_wait_ms(const struct guard *g, const struct address *a, int64_t now_ms)
{
	int64_t until_ms = a->struck_ms + penalty_of(g, a->strikes);

	if (a->until_ms < until_ms)
		until_ms = a->until_ms;
	return now_ms < until_ms ? (int)(until_ms - now_ms) : 0;
}

enum guard_verdict guard_ask(
	struct guard *g, const struct guard_key *key, int64_t now_ms, int *wait_ms_out)
{
	const struct address *a;
	int wait_ms = 0;

	strikes_forget_old(g, now_ms);
	a = *address_find(g, key);
	if (a && a->strikes > 0)
		wait_ms = address_wait_ms(g, a, now_ms);
	if (wait_ms_out)
		*wait_ms_out = wait_ms;
	if (wait_ms > 0)
		return GUARD_HELD_OFF;
	return a && a->connections >= g->max_per_address ? GUARD_CROWDED : GUARD_LET_IN;
}

int guard_enter(struct guard *g, const struct guard_key *key)
{
	struct address **link = address_find(g, key);

	if (key_is_exempt(key))
		return 0;
	if (!*link) {
		*link = calloc(1, sizeof(**link));
		if (!*link)
			return -ERR_RESOURCE;
		(*link)->key = *key;
		g->count++;
	}
	(*link)->connections++;
	return 0;
}

int guard_leave(struct guard *g, const struct guard_key *key,
	enum outcome_of_conn outcome, int64_t now_ms, unsigned *strikes_out)
{
	struct address *a;
	int penalty_ms = 0;

	if (strikes_out)
		*strikes_out = 0;
	if (key_is_exempt(key))
		return 0;
	strikes_forget_old(g, now_ms);
	a = *address_find(g, key);
	assert(a && a->connections > 0);
	if (outcome == CONN_KNOWN)
		strikes_wipe(g, a);
	else if (outcome == CONN_STRIKE)
		penalty_ms = address_strike(g, a, now_ms);
	if (strikes_out)
		*strikes_out = a->strikes;
	a->connections--;
	address_drop_idle(g, address_find(g, key));
	return penalty_ms;
}
