/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Resume: which partial belongs to a transfer, and the proof that it is a
 * beginning of the source.  sockd-protocol(7), "Resume".
 */
#ifndef SOCKD_TRANSFER_PREFIX_H
#define SOCKD_TRANSFER_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/digest.h"
#include "os/stage.h"
#include "transfer/channel.h"

/* The name of the partial of this transfer: a digest over who sends, from what, and to
 * where, each preceded by its length. */
int prefix_key(uint8_t out[STAGE_KEY_LEN], const char *identity, const char *path,
	const void *tag, size_t tag_len) MUST_CHECK;

/* How much of a partial of HAVE bytes is worth a proof when the source has SIZE bytes:
 * down to a checkpoint; 0 when the partial is longer than the source or shorter than a
 * checkpoint. */
uint64_t prefix_usable(uint64_t have, uint64_t size);

/*
 * Starts DIGEST and feeds it the first LEN bytes of FD.  Every so often the peer is told
 * by NOTE on CHANNEL that we are at work.  0; -ERR_CHANGED when FD is shorter; -ERR_IO;
 * or the error of the connection.
 */
int prefix_digest(
	struct digest *digest, int fd, uint64_t len, struct channel *channel) MUST_CHECK;

int prefix_send_proof(
	struct channel *c, uint32_t id, const struct digest *digest) MUST_CHECK;

#endif
