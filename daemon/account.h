/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a client uses at this moment, all its connections together: connections, rate,
 * and how much lies below its root.
 *
 * What lies there is counted by walking the tree when a quota is first asked for room,
 * and kept up as uploads come in: reserved before the first byte, settled when published,
 * released otherwise.  Partials that wait to be resumed are the client's, too.  What a
 * file replaces is counted until the next walk, and what came in during a walk may be
 * counted twice until then; a walk comes when a quota seems used up and something was
 * replaced since the last one, or RESCAN_MS have passed.  So it is never too little: a
 * quota is never exceeded by what comes through us; what others do in the tree is noticed
 * late.
 *
 * What a client uses is known as long as anybody has an account of it open.  Guarded by
 * locks of its own, which are not held while a tree is walked; an account itself is its
 * connection's.
 */
#ifndef SOCKD_ACCOUNT_H
#define SOCKD_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "daemon/client.h"
#include "transfer/throttle.h"

#define RESCAN_MS 1000

struct accounts; /* all of them; one per daemon */
struct account;  /* one connection's share in what its client uses */

struct accounts *accounts_new(void); /* NULL without memory */
void accounts_free(struct accounts *as);

/*
 * One more connection of CLIENT's name; ROOT_FD, its root, is borrowed until it is
 * closed.  CLIENT's numbers count from here on for all.  -ERR_BUSY when its connections
 * are all taken.
 */
int account_open(struct accounts *as, const struct client *client, int root_fd,
	struct account **out) MUST_CHECK;
/* Releases what it still has reserved.  NULL is fine. */
void account_close(struct account *a);

/* FN is called about once a second while account_reserve walks or waits; a
 * negative return ends that. */
typedef int account_beat_fn(void *ctx);
void account_on_beat(struct account *a, account_beat_fn *fn, void *ctx);

/* The one bucket of all its connections, with or without a limit, as long as the account
 * is open.  NULL for NULL. */
struct throttle *account_throttle(struct account *a);

/* Whether there is anything to reserve room in.  NULL has no quota. */
bool account_has_quota(struct account *a);

struct account_room {
	uint64_t files, bytes; /* more than any disk has where there is no quota */
};

/*
 * Room for FILES more names and BYTES more bytes.  -ERR_QUOTA when a quota does not
 * have it, with what there is in *LEFT_OUT; or another error, of the walk.
 */
int account_reserve(struct account *a, uint64_t files, uint64_t bytes,
	struct account_room *left_out) MUST_CHECK;
/* So much of what was reserved is there now (bytes without a name may have replaced
 * others); or never will be. */
void account_settle(struct account *a, uint64_t files, uint64_t bytes);
void account_release(struct account *a, uint64_t files, uint64_t bytes);
/* Some of what was settled is there no more: a walk is worth while. */
void account_forget(struct account *a);

#endif
