/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What one address may cost us before we know who it is: connections at a time, and
 * failures in a row.
 *
 * An address is an IPv4 address, or the first 64 bits of an IPv6 address (one customer
 * has all the rest); an IPv4 address that comes as IPv6 is the former.  Each failure (a
 * handshake or greeting that went wrong or never came, an identity nobody knows, a wrong
 * invitation) is a strike; STRIKES_FREE of them cost nothing, then the address is held
 * off for a time that doubles with each, up to the configured maximum.  A known client
 * that comes in wipes the strikes out; so does STRIKES_FORGET_MS without another, after
 * the address was held off.  ADDRESSES_MAX addresses with strikes are remembered; when
 * there are more, the one that matters least is forgotten, never one that is held off
 * for longer than a newcomer would be.  Others are known only while they have
 * connections.
 *
 * Pure but for memory; the time is an argument (CLOCK_MONOTONIC).  The main thread's.
 */
#ifndef SOCKD_GUARD_H
#define SOCKD_GUARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "os/sock.h"

#define ADDRESSES_MAX     16384
#define STRIKES_FREE      4
#define PENALTY_FIRST_MS  1000 /* of the first strike that costs */
#define STRIKES_FORGET_MS (10 * 60 * 1000)

struct guard;

struct guard_key {
	uint8_t bytes[9]; /* the family's size, then the address; size 0: no address of
			   * the Internet, never kept out */
};

enum guard_verdict {
	GUARD_LET_IN,
	GUARD_CROWDED,  /* as many connections as an address may have */
	GUARD_HELD_OFF, /* too many strikes: come back later */
};

enum outcome_of_conn {
	CONN_KNOWN,   /* came to a request with a known identity, or with rights */
	CONN_NEUTRAL, /* neither: went away by itself, was closed by us */
	CONN_STRIKE,
};

struct guard *guard_new(void); /* NULL without memory */
void guard_free(struct guard *g);
/* Both may change while the daemon runs. PENALTY_MAX_MS 0: strikes do not count. */
void guard_configure(struct guard *g, uint32_t max_per_address, int penalty_max_ms);

struct guard_key guard_key_of(const struct sock_addr *addr);
#define GUARD_TEXT_MAX 56
/* "192.0.2.1", "2001:db8:1:2::/64".  Returns OUT. */
char *guard_key_format(char out[GUARD_TEXT_MAX], const struct guard_key *key);

/* WAIT_MS_OUT (may be NULL): for how long an address is still held off, else 0. */
enum guard_verdict guard_ask(
	struct guard *g, const struct guard_key *key, int64_t now_ms, int *wait_ms_out);
/* A connection begins (whatever guard_ask says), or -ERR_RESOURCE; it ends.  Each
 * guard_enter has its guard_leave. */
int guard_enter(struct guard *g, const struct guard_key *key) MUST_CHECK;
/* How long the address is held off now, in ms: not 0 when this strike did it.
 * *STRIKES_OUT (may be NULL): how many there are now. */
int guard_leave(struct guard *g, const struct guard_key *key,
	enum outcome_of_conn outcome, int64_t now_ms, unsigned *strikes_out);

/* How many addresses it knows of, for the tests. */
size_t guard_count(const struct guard *g);

#endif
