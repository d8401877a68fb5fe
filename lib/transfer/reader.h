/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading a file for sending: chunk by chunk, each hashed while it is in cache, with the
 * digest of all before where a checkpoint is.  The sender does that itself, or has a
 * thread do it ahead of it, which pays where a processor is free.
 */
#ifndef SOCKD_TRANSFER_READER_H
#define SOCKD_TRANSFER_READER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/digest.h"
#include "transfer/ring.h"
#include "transfer/source.h"

/* What is next of a source: LEN bytes, or a HOLE of so many; 0: the end. */
struct extent {
	size_t len;
	bool hole;
};

/* The chunk at POS, of CAP bytes at the most: none crosses a checkpoint, wherever a
 * resume began. */
struct extent reader_next(struct source *source, uint64_t pos, size_t cap);

/*
 * Reads the chunk NEXT at POS into CHUNK->bytes and hashes it, and fills in the rest.  A
 * hole is read and hashed like all else, and counts as one when it is nothing but zeros:
 * to find that out costs a fraction of the hashing.  Fewer bytes come only where the size
 * is not known, none at the end.  -ERR_IO, -ERR_CHANGED, -ERR_RESOURCE.
 */
int reader_chunk(struct source *source, struct digest *digest, uint64_t pos,
	const struct extent *next, struct block *chunk) MUST_CHECK;

/* The thread, which has SOURCE and DIGEST for itself until reader_join. */
struct reader {
	struct source *source; /* borrowed */
	struct digest *digest; /* borrowed; covers the first OFFSET bytes */
	uint64_t offset;
	size_t cap;
	struct ring *ring; /* owned */
	pthread_t thread;
};

/* SOURCE must be seekable; chunks have CAP bytes at the most.  Its blocks are for
 * ring_use.  -ERR_RESOURCE: nothing was started. */
int reader_start(struct reader *r, struct source *source, struct digest *digest,
	uint64_t offset, size_t cap) MUST_CHECK;
/* Ends it, at the end of the source or before.  Why it did not come to the end, if it is
 * not because of us; or 0. */
int reader_join(struct reader *r) MUST_CHECK;

#endif
