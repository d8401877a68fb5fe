/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The inside of the server, for server.c (its life) and reload.c (what changes in it). */
#ifndef SOCKD_SERVER_IMPL_H
#define SOCKD_SERVER_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/accept.h"
#include "daemon/listen.h"
#include "daemon/server.h"
#include "daemon/systemd.h"
#include "daemon/table.h"

enum phase {
	/* Until a signal. */
	PHASE_RUN,
	/* No new connections; until all have ended, a signal, or the drain timeout. */
	PHASE_DRAIN,
	/* Sockets shut down; until all threads are joined, or END_TIMEOUT_MS. */
	PHASE_END,
};

/* The main thread's, but for draining and what conn_env lends out. */
struct server {
	struct config *config;     /* owned reference: the one in force */
	struct tls_context *tls;   /* owned reference, likewise */
	struct registry *registry; /* owned */
	struct accounts *accounts; /* owned */
	struct guard *guard;       /* owned */
	uint64_t registry_version; /* that connections were last held against */
	bool revise;               /* that has failed: to be done again */
	int root_fd;               /* owned */
	int state_fd;              /* owned */
	int drain_fd;              /* owned: an eventfd, readable once draining */
	int signal_fd;             /* owned */
	unsigned processors;       /* frozen after start */
	atomic_bool draining;
	enum phase phase;
	int64_t phase_end_ms;  /* CLOCK_MONOTONIC; INT64_MAX in PHASE_RUN */
	struct claims *claims; /* owned */
	struct sweep *sweep;   /* owned, or NULL */
	struct listeners listeners;
	struct table table;
	struct conn_env env; /* what the next connection is given */
	struct acceptor acceptor;
	struct systemd_beat beat;
};

/* The list of clients may have changed: whoever may no longer do what it could when it
 * came loses its connections. */
void server_look_at_clients(struct server *s);

/* All of it or nothing: whatever is wrong, the daemon goes on as it was. */
void server_reload(struct server *s);

#endif
