/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file being read for sending: what it was when it was opened, so that a
 * change under way is noticed before anything is published.  One thread at a time: a
 * reader has it until it is joined.
 */
#ifndef SOCKD_TRANSFER_SOURCE_H
#define SOCKD_TRANSFER_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "wire/msg.h"

struct source {
	int fd;        /* owned */
	bool seekable; /* a regular file: size known, read by offset */
	uint64_t size; /* MSG_SIZE_UNKNOWN unless seekable */
	uint32_t mode; /* permission bits, 0777 */
	struct msg_time mtime;
	struct stat opened; /* as fstat saw it */
	/* It takes less room than its size: it has holes, or is compressed.  False from
	 * where the file system does not tell. */
	bool sparse;
	/* The stretch that was looked at last, of one kind. */
	uint64_t stretch, stretch_end;
	bool stretch_is_hole;
};

/* Takes FD over on success.  STREAM admits what has no size (standard input), which is
 * read until it ends.  -ERR_IS_DIR, -ERR_NOT_REGULAR. */
int source_init(struct source *s, int fd, bool stream) MUST_CHECK;
void source_fini(struct source *s);

/* How many of the LEN bytes at OFFSET are of one kind, and whether that is a hole, as the
 * file system says.  File systems have been wrong about it: look at the bytes. */
size_t source_extent(struct source *s, uint64_t offset, size_t len, bool *hole_out);

/* LEN bytes at OFFSET, fewer only at the end.  The count or -ERR_…. */
ssize_t source_read(struct source *s, void *buf, size_t len, uint64_t offset) MUST_CHECK;

/* Whether size, modification or change time differ from what they were at the
 * start.  The change time is in it because it cannot be set back: at worst a
 * chmod under way costs a retry.  To lose its name to another file is no change. */
bool source_has_changed(const struct source *s);

struct msg_time msg_time_of(const struct timespec *ts);

#endif
