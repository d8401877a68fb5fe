/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Paths below a root, resolved by the kernel: openat2(2), RESOLVE_BENEATH; by hand
 * (os/resolve.h) where that call may not be made.
 *
 * Every path that a peer has a say in goes through here.  The root is a
 * directory descriptor and the path is in wire form (base/path.h); symbolic
 * links are followed as long as they stay below the root.  Paths beyond
 * PATH_MAX are resolved in pieces, each beneath the one before.
 */
#ifndef SOCKD_OS_BENEATH_H
#define SOCKD_OS_BENEATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/path.h"

/* Opens PATH ("" is the root itself) with FLAGS (O_CLOEXEC is added) and MODE.
 * The descriptor or -ERR_…; -ERR_ESCAPE when the path leaves the root. */
int beneath_open(int root, const char *path, int flags, mode_t mode) MUST_CHECK;

/* The same for a directory, making it and missing parents (mode 0777 less
 * the umask).  *MADE_OUT (may be NULL) counts the directories made: these are
 * the last components of PATH.  Flushing their parents is up to the caller. */
int beneath_mkdirs(int root, const char *path, unsigned *made_out) MUST_CHECK;

/* The same, but through no link at all: where others may write on the way, a link would
 * be theirs. */
int beneath_enter(int root, const char *path) MUST_CHECK;

/* fstatat of PATH itself, not following a link in the last component.
 * 0 or -ERR_…. */
int beneath_lstat(int root, const char *path, struct stat *out) MUST_CHECK;

/*
 * A directory that several operations hold: opened once, closed by the last
 * dir_put.  One thread.
 */
struct dir {
	int fd;         /* owned */
	dev_t dev;      /* of its file system */
	uint64_t mount; /* see fd_locate */
	unsigned made;  /* so many of the last components of path did not exist
			 * before: the entries in their parents are not flushed */
	unsigned refs;
	bool dirty;  /* for the caller: an entry changed and is not flushed */
	char path[]; /* in wire form, below the root it was opened from */
};

struct dir *dir_get(struct dir *d);
void dir_put(struct dir *d); /* NULL is fine */

/* Makes the directory PATH below ROOT, which stands in D, with MODE but open to us
 * whatever that is; or finds one there, also by a link.  1 when it was made, 0 when it
 * was there, -ERR_…. */
int dir_make(const struct dir *d, int root, const char *path, mode_t mode) MUST_CHECK;

/*
 * The last parent directory used, since files of one directory come one after
 * the other.  One thread; ROOT is borrowed for the life of the cache.  It does
 * not see that the directory was moved or removed: empty it between batches.
 */
struct dir_cache {
	int root;        /* borrowed */
	struct dir *dir; /* owned reference, or NULL */
};

void dir_cache_init(struct dir_cache *c, int root);
void dir_cache_fini(struct dir_cache *c); /* also empties it for further use */

/*
 * The parent directory of PATH as a new reference in *DIR_OUT, and the last
 * component in *LEAF_OUT (borrowed from PATH).  MAKE makes missing parents.
 * -ERR_IS_DIR for the empty path.
 */
int dir_cache_parent(struct dir_cache *c, const char *path, bool make,
	struct dir **dir_out, const char **leaf_out) MUST_CHECK;

/* Opens a file for reading through the cache; not through a link in its last
 * component when NOFOLLOW (-ERR_ESCAPE).  Never blocks on a fifo.  Descriptor or
 * -ERR_…. */
int dir_cache_open(struct dir_cache *c, const char *path, bool nofollow) MUST_CHECK;

#endif
