/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server, as a connection that is made again when it breaks: connecting,
 * greeting, backing off.  One thread.
 */
#ifndef SOCKCP_PEER_H
#define SOCKCP_PEER_H

#include <stdint.h>

#include "base/compiler.h"
#include "cli/options.h"
#include "cli/report.h"
#include "transfer/channel.h"

struct peer {
	const struct options *opts; /* borrowed */
	struct report *report;      /* borrowed */
	const char *host;           /* borrowed */
	int stop_fd;                /* borrowed: readable on SIGINT, SIGTERM */
	struct channel *channel;    /* owned; NULL while there is none */
	uint32_t depth;             /* requests we may leave unanswered */
	uint8_t run[MSG_RUN_LEN];   /* tells our connections from those of other runs */
	unsigned failures;          /* in a row, without progress in between */
};

int peer_init(struct peer *p, const struct options *opts, struct report *report,
	const char *host, int stop_fd) MUST_CHECK;
void peer_fini(struct peer *p);

/* The first connection: tries again only while the server is busy or stopping. */
int peer_connect(struct peer *p) MUST_CHECK;

/*
 * After the connection failed with WHY: says so, waits, connects again; and
 * again, --retries times.  0; or the error to end with: WHY itself when it is not worth
 * another try (interrupted, refused, out of retries).
 */
int peer_reconnect(struct peer *p, int why) MUST_CHECK;

/* A new connection in place of one that is of no more use to us. */
int peer_renew(struct peer *p) MUST_CHECK;

/* Something was verified: the count of failures starts anew. */
void peer_progress(struct peer *p);

#endif
