/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The sending role: a file as FILE, DATA, HOLE, CHECK, END.  The same code sends
 * the client's put and the daemon's get.
 *
 * Each byte is read into a buffer and hashed there, by the thread that calls or, where
 * that pays, by a second one ahead of it (transfer/reader.h); the thread that calls sends
 * it from there, and makes all callbacks.
 */
#ifndef SOCKD_TRANSFER_SENDER_H
#define SOCKD_TRANSFER_SENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/digest.h"
#include "transfer/channel.h"
#include "transfer/source.h"

struct sender {
	struct channel *channel; /* borrowed */
	struct digest *digest;   /* borrowed; covers the first OFFSET bytes */
	bool parallel; /* a second thread reads, if the source is seekable: see ring_pays
			*/
	/* Optional: BYTES more were sent. */
	void (*progress)(void *ctx, uint64_t bytes);
	/* Optional: asked once a chunk; nonzero (-ERR_…) gives this file up. */
	int (*interrupt)(void *ctx);
	void *ctx;
	const uint8_t
		*expected; /* DIGEST_LEN bytes that the digest must equal, or NULL */
};

struct sent {
	uint64_t size;
	uint8_t digest[DIGEST_LEN];
};

/*
 * Sends SOURCE from OFFSET on as the file of request ID.  0 with *OUT; or
 * the error of the connection; or -ERR_IO, -ERR_CHANGED, -ERR_MISMATCH (not EXPECTED)
 * and what interrupt returned, after the peer has been told by ABORT and the connection
 * goes on.
 */
int sender_send(const struct sender *s, uint32_t id, struct source *source,
	uint64_t offset, struct sent *out) MUST_CHECK;

/* Tells the receiver of ID that nothing (more) comes. */
int sender_abort(struct channel *c, uint32_t id, int code) MUST_CHECK;

#endif
