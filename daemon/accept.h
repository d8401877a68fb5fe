/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a listening socket to a running connection, or to a readable "busy".
 *
 * The guard is asked first: for an address that is held off, or that has all the
 * connections it may have, neither a thread nor a byte of TLS is spent.  An address that
 * has too many gives up its own oldest one that has made no request.
 *
 * Whatever runs out (places, descriptors, threads), the oldest connection
 * that has made no request gives way to the new one; only when there is
 * none is the new one turned away.  The main thread's.
 */
#ifndef SOCKD_ACCEPT_H
#define SOCKD_ACCEPT_H

#include <stdint.h>

#include "base/compiler.h"
#include "daemon/table.h"

struct acceptor {
	struct table *table;        /* borrowed */
	struct guard *guard;        /* borrowed, or NULL: everybody may come in */
	const struct conn_env *env; /* borrowed: what every connection is given */
	int spare_fd;               /* owned: given up for an accept when descriptors
				     * run out; or -1 */
	int64_t resume_ms;          /* do not accept before (CLOCK_MONOTONIC) */
	int64_t complain_ms;        /* do not complain again before */
};

/* GUARD is TABLE's from here on, too. */
void acceptor_init(struct acceptor *a, struct table *table, struct guard *guard,
	const struct conn_env *env);
void acceptor_fini(struct acceptor *a);

/* Accepts one connection from LISTEN_FD, which is readable. */
void acceptor_accept(struct acceptor *a, int listen_fd);

#endif
