/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of connections: a slot and a thread for each.
 *
 * A slot is running from table_start until conn_serve returns, then ended
 * until the main thread has joined its thread; the table never starts
 * more threads than it has slots; a connection may start others beside its own
 * (os/thread.h), and joins them.  The table is the main thread's, but for the slot_
 * functions.
 */
#ifndef SOCKD_TABLE_H
#define SOCKD_TABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/compiler.h"
#include "daemon/guard.h"
#include "daemon/server.h"

enum slot_stage {
	SLOT_FRESH,   /* has made no request */
	SLOT_ACTIVE,  /* has made one */
	SLOT_EVICTED, /* had made none when its place was needed */
};

struct conn_slot {
	struct conn_env env;         /* frozen after start */
	struct table *table;         /* borrowed */
	struct guard_key guard_key;  /* frozen after start: where it comes from */
	pthread_t thread;            /* the main thread's */
	TAILQ_ENTRY(conn_slot) link; /* guarded by table.lock, as all below */
	enum slot_stage stage;
	bool busy;                    /* a transfer runs */
	struct client *client;        /* owned reference: once it is known who it is */
	enum outcome_of_conn outcome; /* as far as it has come */
	atomic_bool revoked; /* any thread: what it asks for is not done any more */
	int fd;              /* borrowed (until slot_release): the socket; or -1 */
};

TAILQ_HEAD(slot_list, conn_slot);

struct table {
	pthread_mutex_t lock;
	struct guard *guard;      /* borrowed, or NULL: the main thread's */
	struct slot_list running; /* guarded by lock: owned, the oldest first */
	struct slot_list ended;   /* guarded by lock: owned, to be joined */
	unsigned transfers;       /* guarded by lock: the slots that are busy */
	unsigned count;           /* the main thread's: running and ended */
	unsigned max;             /* frozen after start */
	int ended_fd;             /* owned; readable when ended is not empty */
	pthread_attr_t attr;      /* frozen after start */
};

/* 0 or -ERR_RESOURCE; either way table_fini is due. */
int table_init(struct table *t, unsigned max) MUST_CHECK;
void table_fini(struct table *t); /* when it is empty */

/* Starts a connection from KEY with a copy of ENV, in which slot is filled in.
 * 0; or -ERR_RESOURCE without memory or threads, and FD stays the caller's. */
int table_start(struct table *t, const struct conn_env *env, const struct guard_key *key,
	int fd) MUST_CHECK;

/* Joins the threads that have ended, and tells the guard what became of them. */
void table_reap(struct table *t);

/* Shuts down the oldest connection that has made no request (of those from KEY, unless
 * that is NULL) and joins it, waiting about a second at the most.  Whether one has ended
 * now. */
bool table_evict(struct table *t, const struct guard_key *key);

/* Shuts all sockets down, under the feet of their threads. */
void table_shutdown(struct table *t);

/* Whether those who came in as CLIENT may still do what CLIENT may. */
typedef bool table_keep_fn(void *ctx, const struct client *client);
/* So many connections of CLIENT were ended. */
typedef void table_ended_fn(void *ctx, const struct client *client, unsigned count);
/* Ends the connections of clients that KEEP does not keep; both are called without any
 * lock.  0; or -ERR_RESOURCE, and all go on. */
int table_revise(struct table *t, table_keep_fn *keep, table_ended_fn *ended,
	void *ctx) MUST_CHECK;

unsigned table_transfers(struct table *t);

/* -- any thread --------------------------------------------------------- */

void slot_set_active(struct conn_slot *slot);
void slot_set_busy(struct conn_slot *slot, bool busy);
/* Once; the reference is kept until the slot is over. */
void slot_set_client(struct conn_slot *slot, struct client *client);
/* What it came to; the last word counts. */
void slot_set_outcome(struct conn_slot *slot, enum outcome_of_conn outcome);
bool slot_is_revoked(const struct conn_slot *slot);
/* The socket is about to be closed: nobody shuts it down from here on. */
void slot_release(struct conn_slot *slot);

#endif
