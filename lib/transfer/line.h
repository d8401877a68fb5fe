/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The bytes of one connection: a socket that never blocks, with or without TLS over it,
 * waits with a deadline, rates upper and lower.
 *
 * What the channel (transfer/channel.h) stands on; nobody else uses it.  After any error
 * the line is unusable and every later call returns the same one.  One thread.
 */
#ifndef SOCKD_TRANSFER_LINE_H
#define SOCKD_TRANSFER_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "crypto/tls.h"
#include "transfer/throttle.h"

struct line {
	int fd;            /* owned */
	struct tls *tls;   /* owned; NULL: plaintext */
	int error;         /* sticky */
	int timeout_ms;    /* without a byte of progress; -1 for none */
	uint32_t min_rate; /* see channel_limits */
	int stop_fd;       /* borrowed, or -1 */
	int64_t deadline_ms;
	uint64_t received, sent; /* bytes, without what TLS adds */
	uint64_t credited;       /* which count as moved, too */
	uint64_t stop_checked;   /* of what has moved */
	struct throttle own;     /* of this connection */
	struct throttle *shared; /* borrowed: of all connections of one client; or NULL */
	/* The minimum rate is over the time spent waiting for the peer, not over
	 * the time our own disk takes. */
	int64_t waited_ms;
	uint64_t waited_from; /* received + sent when waited_ms was 0 */
	/* What TLS waits for before it can read or write; it may be the other of the two.
	 */
	short read_events, write_events;
	size_t retry_len; /* TLS wants a write that had to wait again with as much */
};

/* Takes FD over. */
void line_init(struct line *l, int fd, int timeout_ms, uint32_t min_rate, int stop_fd);
void line_fini(struct line *l); /* closes */

/* TLS from here on; the handshake, within the deadline.  HOST as for tls_new.  A server
 * that answers in plaintext instead has no place for us: -ERR_BUSY. */
int line_start_tls(struct line *l, struct tls_context *ctx, const char *host) MUST_CHECK;

/* N bytes count as moved that did not go over the line. */
int line_credit(struct line *l, uint64_t n) MUST_CHECK;

/* Makes ERR the line's end; the first one counts, and is returned. */
int line_fail(struct line *l, int err);

/* What is there, up to CAP bytes, without waiting: the count, or -ERR_AGAIN, or what is
 * to end the connection (not yet made its end: the peer's last words may still be read).
 */
ssize_t line_receive(struct line *l, void *buf, size_t cap) MUST_CHECK;
ssize_t line_send(struct line *l, const void *bytes, size_t len) MUST_CHECK;

/* What line_send took may stand in a buffer of TLS; sending nothing sends that: 0 when it
 * is all gone. */
bool line_has_unsent(const struct line *l);
/* Gives buffers back. */
void line_relax(struct line *l);

/* Whether line_receive may have bytes that poll(2) does not see. */
bool line_has_pending(const struct line *l);

/*
 * Waits until the line can be read (and with WRITE: or written).  MOVING: the peer owes
 * us progress, so the minimum rate counts.  What it can be is in *READABLE_OUT.  0,
 * -ERR_TIMEOUT, -ERR_INTERRUPTED.
 */
int line_poll(struct line *l, bool read, bool write, bool moving,
	bool *readable_out) MUST_CHECK;

/* Looks without waiting whether the peer has sent something. */
bool line_is_readable(struct line *l);
/* The same of the socket alone: TLS may hold half a record. */
bool line_is_ready(struct line *l);

/* Ends our side, and lets what still comes pass for MS at the most. */
void line_linger(struct line *l, int ms);

#endif
