/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Blocks of a file on their way from one thread to another: one fills them, the other
 * uses them, in order, and whoever is ahead waits.
 *
 * A block belongs to the thread that ring_fill or ring_use gave it to, until ring_filled
 * or ring_used.  All else is guarded by the ring's own lock.
 */
#ifndef SOCKD_TRANSFER_RING_H
#define SOCKD_TRANSFER_RING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/msg.h" /* DIGEST_LEN */

/* Bytes of a block, two of which fit a processor's cache; and how many there are, so that
 * neither thread is often at rest. */
#define RING_BLOCK (256u << 10)
#define RING_COUNT 6

/* A file with less to move is not worth a thread. */
#define RING_FILE_MIN (8u << 20)

/*
 * Whether a second thread pays for BYTES over the connection FD, for one of TRANSFERS
 * that run at once on PROCESSORS.  Each would keep two of them busy; where the peer is on
 * this machine, too, it needs as many for itself.  Where they are short, the threads only
 * take each other's place in the caches.
 */
bool ring_pays(uint64_t bytes, unsigned processors, unsigned transfers, int fd);

struct block {
	uint8_t *bytes; /* owned: RING_BLOCK of them, and FRAME_HEADER_LEN before them */
	size_t len;
	size_t hole;    /* instead of bytes, so many zeros; or 0 */
	bool has_check; /* the file up to the end of this block has this digest */
	uint8_t check[DIGEST_LEN];
};

struct ring;

/* -ERR_RESOURCE without memory. */
int ring_new(struct ring **out) MUST_CHECK;
void ring_free(struct ring *r); /* NULL is fine */
/* A ring, and THREAD that works on it.  -ERR_RESOURCE: *OUT is NULL, and nothing was
 * started. */
int ring_start(struct ring **out, pthread_t *thread, void *(*main)(void *),
	void *ctx) MUST_CHECK;
/* The thread has ended, told so by ring_end or ring_stop: what either was told, see
 * ring_error.  *R is NULL from here on. */
int ring_join(struct ring **r, pthread_t thread) MUST_CHECK;

/* The filling thread: an empty block; or NULL, when the other one has stopped. */
struct block *ring_fill(struct ring *r);
void ring_filled(struct ring *r);
/* No more comes; ERR (-ERR_… or 0) is why. */
void ring_end(struct ring *r, int err);

/* The using thread: the next block; or NULL when no more comes, or one has stopped. */
struct block *ring_use(struct ring *r);
void ring_used(struct ring *r);

/* The filling thread: waits until all is used, or the other one has stopped. */
void ring_settle(struct ring *r);

/* Either: it is over, whatever is left; ERR is why. */
void ring_stop(struct ring *r, int err);
/* What ring_end or ring_stop was told: the first that was not 0. */
int ring_error(struct ring *r);

#endif
