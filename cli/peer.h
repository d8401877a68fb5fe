/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server, as a connection that is made again when it breaks: connecting, TLS, making
 * sure that it is the one that is meant, greeting, backing off.  One thread.
 */
#ifndef SOCKCP_PEER_H
#define SOCKCP_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/text.h"
#include "cli/options.h"
#include "cli/report.h"
#include "crypto/identity.h"
#include "transfer/channel.h"

struct tls_context;

struct peer {
	const struct options *opts; /* borrowed */
	struct report *report;      /* borrowed */
	const char *host;           /* borrowed */
	int stop_fd;                /* borrowed: readable on SIGINT, SIGTERM */
	struct channel *channel;    /* owned; NULL while there is none */
	uint32_t depth;             /* requests we may leave unanswered */
	uint8_t run[MSG_RUN_LEN];   /* tells our connections from those of other runs */
	unsigned failures;          /* in a row, without progress in between */
	const char *why; /* borrowed, static: more about the last failure; or NULL */
	char fault[TEXT_ESCAPED_MAX(
		MSG_TEXT_MAX)]; /* what the server said last, escaped */

	/* Unless plaintext was asked for. */
	struct tls_context *tls; /* owned: who we are; made with the first connection */
	int dirfd;               /* owned: see trust_directory; or -1 */
	bool trusted;            /* it was this server ... */
	uint8_t server[FINGERPRINT_LEN]; /* ... and is it again, or refused */
};

int peer_init(struct peer *p, const struct options *opts, struct report *report,
	const char *host, int stop_fd) MUST_CHECK;
/* The same for another connection beside MODEL's: to a server that it trusts already. */
int peer_init_like(struct peer *p, const struct peer *model, const struct options *opts,
	int stop_fd) MUST_CHECK;
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

/* What the server said of the connection's end, escaped, or else TLS; NULL for nothing.
 * Borrowed until the next call for this peer. */
const char *peer_why(const struct peer *p);

/* Something was verified: the count of failures starts anew. */
void peer_progress(struct peer *p);

#endif
