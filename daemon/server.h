/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The daemon's frame: listening sockets, the accept loop, a thread for each
 * connection, signals and the end.  server_run is the main thread.
 *
 * Locks: table.lock guards the table of connections (table.h), the lock in
 * claim.c the partials in use; no two are held at once, and each is held for
 * memory work and shutdown(2) only.
 */
#ifndef SOCKD_SERVER_H
#define SOCKD_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "daemon/config.h"
#include "daemon/guard.h"
#include "os/sock.h"

struct accounts;
struct claims;
struct client;
struct registry;
struct server;
struct tls_context;
struct conn_slot; /* a place in the table, one per connection */

/* What a connection's thread is given.  Frozen for the life of the connection. */
struct conn_env {
	struct config *config;     /* owned reference: the one in force when it came */
	struct tls_context *tls;   /* owned reference, likewise */
	struct server *server;     /* borrowed */
	struct conn_slot *slot;    /* borrowed */
	struct claims *claims;     /* borrowed; daemon/claim.h */
	struct registry *registry; /* borrowed */
	struct accounts *accounts; /* borrowed */
	int root_fd;               /* borrowed */
	int state_fd;              /* borrowed: the state directory */
	int landlock_abi;          /* 0: none */
	int drain_fd;              /* borrowed: readable once the daemon is stopping */
	mode_t umask;              /* of the process, read before there were threads */
	char peer[SOCK_NAME_MAX];
};

/*
 * The life of a connection (daemon/conn.c), on its own thread; returns when it has
 * ended.  FD (non-blocking, close-on-exec) is its own to close, but the main
 * thread may shut it down at any time: server_conn_closing comes before close(2).
 */
void conn_serve(const struct conn_env *env, int fd);

/* -- for conn_serve; any thread ----------------------------------------- */

/* The first request has arrived: the connection is no longer a candidate for
 * being closed in favour of a new one. */
void server_conn_active(struct conn_slot *slot);
/* What this connection says of its address (daemon/guard.h), CONN_NEUTRAL until then; the
 * last word counts, when it has ended. */
void server_conn_outcome(struct conn_slot *slot, enum outcome_of_conn outcome);
/* For the status line and the drain: a transfer begins or ends. */
void server_conn_busy(struct conn_slot *slot, bool busy);
/* It is known who it is: the connection ends when CLIENT may no longer do the same. */
void server_conn_client(struct conn_slot *slot, struct client *client);
/* Whether that has come to pass: nothing it has asked for is done any more. */
bool server_conn_is_revoked(const struct conn_slot *slot);
/* FD is about to be closed, so that its number may soon be another's: the main thread
 * does not touch it from here on.  Once in every connection. */
void server_conn_closing(struct conn_slot *slot);
/* Whether a second thread pays for a transfer of BYTES on the connection FD
 * (transfer/ring.h). */
bool server_ring_pays(struct server *s, int fd, uint64_t bytes);
/* Whether the daemon is stopping. */
bool server_is_draining(const struct server *s);

/* Opens root and sockets, runs until told to stop.  The exit status. */
int server_run(struct config *config);
/* Looks whether server_run could open the directories, for --check.  The exit status. */
int server_check(const struct config *config);

#endif
