/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One connection: what its handlers share.  One thread, from conn_serve to
 * its end; straight-line blocking code with a deadline on every wait.
 *
 * A handler is called with a request that the session table has let through.
 * It returns 0 when the connection goes on (also when the request failed and
 * was answered by ERROR), else the -ERR_… that ends the connection.
 */
#ifndef SOCKD_CONN_H
#define SOCKD_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/digest.h"
#include "crypto/identity.h"
#include "daemon/account.h"
#include "daemon/claim.h"
#include "daemon/client.h"
#include "daemon/server.h"
#include "os/beneath.h"
#include "os/stage.h"
#include "os/walk.h"
#include "transfer/batch.h"
#include "transfer/channel.h"

/* What was found for an ASK and offered: kept until the next PUT, which may take it up,
 * or the next ASK. */
struct offer {
	uint32_t id;                /* of the ASK; 0: nothing is on offer */
	uint8_t key[STAGE_KEY_LEN]; /* of its path and tag */
	enum offer_kind kind;       /* OFFER_PARTIAL or OFFER_WHOLE */
	uint64_t offset;
	struct stage stage; /* owned: OFFER_PARTIAL */
	int fd;             /* owned: OFFER_WHOLE, the finished file */
	struct digest
		*digest; /* owned: of the first OFFSET bytes; made when first needed */
};

/* Requests a client may leave unanswered: enough to fill a batch while the last one is
 * flushed, and as many on the way. */
#define CONN_DEPTH (4 * BATCH_MAX)

#define CONN_LABEL_MAX (SOCK_NAME_MAX + CLIENT_NAME_MAX + 1)

struct conn {
	const struct conn_env *env; /* borrowed */
	struct channel *channel;    /* owned */
	char label[CONN_LABEL_MAX]; /* in the log: address, and name if it is known */
	const char *why; /* what the peer is told when it is over: static, or REFUSAL */
	char refusal[192];

	/* Who it is: after the greeting. */
	bool has_fingerprint;
	uint8_t fingerprint[FINGERPRINT_LEN];
	char identity[FINGERPRINT_TEXT_MAX]; /* the same as text, or "" */
	bool known;                          /* to the registry; else it is anonymous */
	struct client *client;               /* owned reference: what it may do */
	int root_fd;                         /* owned: its root; -1 without any right */
	struct account *account;             /* owned; NULL without any right */
	bool confined;                       /* to its root, for good */

	struct digest *digest; /* owned */
	struct dir_cache dirs;
	struct stage_area area;
	struct batch *batch; /* owned; NULL until the first upload */
	bool batch_sync;     /* what its answers tell */
	struct offer offer;
	struct claim claim;
	struct walk *walk; /* owned: the last LIST, while NEXT may follow; or NULL */
	int walk_base;     /* owned: where it starts; or -1 */
	uint8_t run[MSG_RUN_LEN];
};

typedef int conn_handler_fn(struct conn *c, const struct channel_msg *m);

conn_handler_fn conn_ask;                                     /* ask.c */
conn_handler_fn conn_put;                                     /* put.c */
conn_handler_fn conn_get;                                     /* get.c */
conn_handler_fn conn_list, conn_next, conn_stat;              /* list.c */
conn_handler_fn conn_mkdir, conn_link, conn_attr, conn_flush; /* tree.c */
conn_handler_fn conn_join;                                    /* join.c */

/* A request that the client has no right to: refused, with what belongs to it passed
 * over. */
conn_handler_fn conn_get_denied;

/* greet.c: all that comes before the first request. */
int conn_greet(struct conn *c) MUST_CHECK;

/*
 * What this thread, and those that it starts, can still reach from here on: the
 * client's root, or nothing; with JOIN also our list of clients.  Before the first
 * request of either sort; the second can only take away.  0 or -ERR_….
 */
int conn_confine(struct conn *c, bool join) MUST_CHECK;

/* This connection counts against its address (daemon/guard.h). */
void conn_strike(struct conn *c);

/* Makes the partial of KEY ours, for CLAIM; see claim_take.  ask.c. */
int conn_claim(
	struct conn *c, struct claim *claim, const uint8_t key[STAGE_KEY_LEN]) MUST_CHECK;

/* Releases what an ASK put on offer; the partial stays. */
void conn_offer_drop(struct conn *c);

/* The batch, made when first needed, set to SYNC. */
int conn_batch(struct conn *c, bool sync) MUST_CHECK;
/* Directories that were made on the way to D are flushed with the batch. */
void conn_note_made(struct conn *c, struct dir *d);
/* Publishes and answers what is pending; before any answer that does not go through the
 * batch. */
int conn_commit(struct conn *c) MUST_CHECK;

/* Answers request ID by ERROR, after all that is pending.  TEXT may be NULL. */
int conn_refuse(struct conn *c, uint32_t id, int err, const char *text) MUST_CHECK;

/* Copies a wire string into a NUL-terminated buffer of PATH_WIRE_MAX + 1. */
void conn_path(char out[PATH_WIRE_MAX + 1], const struct wire_str *s);

/* One log line of what became of an operation. */
struct conn_event {
	const char *op;
	const char *path; /* or NULL */
	uint64_t bytes;
	const uint8_t *digest; /* or NULL */
	int64_t started_ms;
	int result; /* 0 or -ERR_… */
};
void conn_log(const struct conn *c, const struct conn_event *event);

#endif
