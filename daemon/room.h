/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the items of a connection take of its client's quota (daemon/account.h): reserved
 * before anything is made or written, and told in words when there is not enough.
 * Without a quota all of it costs nothing.
 */
#ifndef SOCKD_ROOM_H
#define SOCKD_ROOM_H

#include "base/compiler.h"
#include "daemon/conn.h"

#define ROOM_TEXT_MAX 128

/* Of one item: what it has reserved and neither settled nor released. */
struct room {
	uint64_t files, bytes;
};

/* More room: what is pending in the batch is committed where that may help.  TEXT says
 * why after -ERR_QUOTA, and else is left as it is. */
int room_take(struct conn *c, struct room *r, uint64_t files, uint64_t bytes,
	char text[ROOM_TEXT_MAX]) MUST_CHECK;
/* So much of it is there now, or as much as there was; the rest never will be. */
void room_settle(struct conn *c, struct room *r, uint64_t files, uint64_t bytes);
/* BYTES are enough. */
void room_shrink(struct conn *c, struct room *r, uint64_t bytes);
/* FD has so many bytes, of which only LEN count from here on: it is cut. */
int room_cut(struct conn *c, int fd, uint64_t len) MUST_CHECK;

/* The item goes into the batch with what it has reserved; and what became of it. */
void room_give(struct room *r, struct batch_tag *tag);
void room_done(struct conn *c, const struct batch_tag *tag, int result);

/* As dir_cache_parent, with room for the directories that MAKE makes.  Where some have to
 * be made, R (which is empty) has room for PATH itself, too: or else none is. */
int room_parent(struct conn *c, struct room *r, const char *path, bool make,
	struct dir **dir_out, const char **leaf_out, char text[ROOM_TEXT_MAX]) MUST_CHECK;

#endif
