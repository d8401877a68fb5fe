/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Promises 2 and 3 for many files at once: the data of a batch is on disk before
 * its names are visible, the names are on disk before success is said, and
 * the flushes are shared.
 *
 * Verified stages are added; at the latest when the batch is full they are
 * committed, in this order:
 *	1. data      fsync of each file, or one syncfs where there are many
 *	2. names     rename of each, in the order they were added
 *	3. dirs      fsync of each directory that changed, or one syncfs
 *	4. results   the done function is called for each, in the order added
 * A failed flush condemns what it covered and is never tried again: the
 * second fsync after a failed one succeeds without the data.
 *
 * Without SYNC each addition is published at once and nothing is flushed.
 * One thread; a commit borrows a second one for its waiting, where it has to beat.
 * No allocation per file.
 */
#ifndef SOCKD_TRANSFER_BATCH_H
#define SOCKD_TRANSFER_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "os/beneath.h"
#include "os/stage.h"
#include "wire/msg.h"

/* A batch never holds more; peers may count on a commit after so many. */
#define BATCH_MAX 512

struct batch;

/* What is to be known of an item when it is done. */
struct batch_tag {
	uint32_t id;      /* of the request */
	const char *path; /* below the root; copied by the batch */
	bool is_file;     /* size and digest mean something */
	uint64_t size;
	uint64_t resumed_from; /* bytes that were there already */
	int64_t started_ms;
	bool must_be_new; /* for the caller: why it did not replace */
	uint8_t digest[DIGEST_LEN];
	/* For whoever adds it: what it has reserved of a quota. */
	uint64_t room_files, room_bytes;
};

/* RESULT: 0, published and as durable as the batch; or -ERR_…, and the name is as before,
 * except when only the flush of its directory failed. */
typedef int batch_done_fn(void *ctx, const struct batch_tag *tag, int result);

/* ROOT: the directory that the stage area belongs to; borrowed for the call. */
int batch_new(struct batch **out, int root, bool sync, batch_done_fn *done,
	void *ctx) MUST_CHECK;
/*
 * BEAT is called about once a second while a commit waits for the disk, which may take
 * longer than a peer waits in silence.
 */
typedef void batch_beat_fn(void *ctx);
void batch_on_beat(struct batch *b, batch_beat_fn *beat, void *ctx);
/* Discards what was not committed. */
void batch_free(struct batch *b);

bool batch_is_empty(const struct batch *b);
/* Changes what durability is asked for; commits first when that is needed. */
int batch_set_sync(struct batch *b, bool sync) MUST_CHECK;

/* All of these return 0, or the first error of the done function, which ends the
 * connection. */

/* Takes the stage over, to be published in PARENT under the last component of TAG->path.
 */
int batch_add_stage(struct batch *b, const struct batch_tag *tag, struct stage *stage,
	struct dir *parent, bool no_clobber) MUST_CHECK;
/* Something that is already in place and only has to be on disk: DIR (may be NULL) is the
 * directory whose entry changed; FD (owned, or -1) a file to flush. */
int batch_add_made(
	struct batch *b, const struct batch_tag *tag, struct dir *dir, int fd) MUST_CHECK;
/* Mode and times for the directory FD (owned), after all names before it are in place. */
int batch_add_attr(struct batch *b, const struct batch_tag *tag, int fd, uint32_t mode,
	const struct msg_time *mtime) MUST_CHECK;
/* Directories were made on the way to one of the items: the commit flushes them too. */
void batch_made_dirs(struct batch *b);
/* A result that is known already, told in its turn. */
int batch_add_result(struct batch *b, const struct batch_tag *tag, int result) MUST_CHECK;

int batch_commit(struct batch *b) MUST_CHECK;

#endif
