/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The receiving role: DATA, HOLE, CHECK, END written to a stage and verified.  The
 * same code receives the client's get and the daemon's put: in the thread that calls or,
 * where that pays, with a second one behind it (transfer/writer.h), after which `failed`
 * comes some blocks late.  All callbacks are made by the thread that calls.
 */
#ifndef SOCKD_TRANSFER_RECEIVER_H
#define SOCKD_TRANSFER_RECEIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/digest.h"
#include "transfer/channel.h"

struct receiver {
	struct channel *channel; /* borrowed */
	struct digest *digest;   /* borrowed; covers the first FILE.offset bytes */
	int fd;                  /* borrowed: the stage */
	bool stream;             /* fd is a pipe or the like, written from where it is */
	bool write_behind;       /* write to the disk while receiving */
	bool parallel; /* a second thread hashes and writes, if not to a stream; ring_pays
			*/
	/* Optional: may the file have END bytes?  Asked before they are written; an error
	 * fails the file, or ends the connection. */
	int (*admit)(void *ctx, uint64_t end);
	/* Optional: BYTES more have arrived. */
	void (*progress)(void *ctx, uint64_t bytes);
	/*
	 * Called once when the file can no longer succeed here (disk full, digest
	 * mismatch): tells the peer.  What it returns ends the reception when it is
	 * not 0; else the rest is drained.
	 */
	int (*failed)(void *ctx, int err);
	void *ctx;
	const uint8_t
		*expected; /* DIGEST_LEN bytes that the digest must equal, or NULL */
};

struct received {
	uint64_t size; /* bytes of the file, from its beginning */
	uint64_t good; /* the first so many bytes are verified, written to fd or not */
	uint8_t digest[DIGEST_LEN];
	int aborted; /* the code with which the sender gave up, or 0 */
};

/*
 * Receives what follows FILE (already read as *FILE).  *OUT is filled in
 * every case.  0: the whole file is in FD, and its digest is the sender's.
 * A file's own failure (-ERR_NO_SPACE, -ERR_MISMATCH, -ERR_ABORTED …): the connection
 * goes on.  err_is_connection(): it does not, and FD holds the bytes that arrived, of
 * which the first OUT->good are verified.
 */
int receiver_receive(const struct receiver *r, const struct msg_file *file,
	struct received *out) MUST_CHECK;

#endif
