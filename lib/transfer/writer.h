/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What arrives of a file: hashed and written while it is in cache, and held against the
 * sender's digest at each checkpoint.  The receiver does that itself, or has a thread do
 * it behind it, which pays where a processor is free.
 */
#ifndef SOCKD_TRANSFER_WRITER_H
#define SOCKD_TRANSFER_WRITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/digest.h"
#include "transfer/ring.h"

struct writer {
	int fd;      /* borrowed */
	bool stream; /* fd is a pipe or the like, written from where it is */
	/* Start writing to the disk at each checkpoint, and wait for what was started
	 * WRITE_BEHIND_MAX ago. */
	bool write_behind;
	struct digest *digest; /* borrowed; covers the first POS bytes */
	uint64_t pos;          /* bytes of the file that are hashed and written */
	uint64_t good;         /* the first so many are verified */
	struct ring *ring;     /* owned; NULL: there is no thread */
	pthread_t thread;      /* has all above for itself until writer_join */
};

/* Each is 0 or -ERR_…, after which the file cannot succeed.  With a thread the error may
 * be that of what was handed over before. */
int writer_store(struct writer *w, const uint8_t *bytes, size_t len) MUST_CHECK;
int writer_hole(struct writer *w, size_t len) MUST_CHECK;
int writer_check(struct writer *w, const uint8_t digest[DIGEST_LEN]) MUST_CHECK;

/* From here on bytes are handed over by ring_fill and ring_filled instead of
 * writer_store. -ERR_RESOURCE: nothing was started. */
int writer_start(struct writer *w) MUST_CHECK;
/* Waits for the thread, if there is one, to have done what was handed over; why it did
 * not, or 0. */
int writer_settle(struct writer *w) MUST_CHECK;
/* The same, and ends it. */
int writer_join(struct writer *w) MUST_CHECK;

#endif
