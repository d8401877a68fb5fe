/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory tree, depth first, each directory before what is in it and its
 * entries in the order of their bytes.
 *
 * Memory is bounded whatever the size of a directory: names are read in
 * windows of WALK_WINDOW bytes, the smallest names beyond the last one given,
 * so a huge directory is read several times instead of being held.  The window
 * of a directory grows as needed; those above the current one hold at most four
 * windows together, and are read again when they were given back: less than
 * eight windows in all.  One descriptor per level, at most PATH_DEPTH_MAX + 1
 * levels.  One thread.
 * PATH_RESERVED directories are never shown.  Links are shown, not followed.
 */
#ifndef SOCKD_OS_WALK_H
#define SOCKD_OS_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/compiler.h"
#include "base/path.h"

#define WALK_WINDOW (1u << 20)

struct walk;

struct walk_entry {
	const char *path; /* borrowed (until the next walk_next): below the start */
	const char *name; /* the last component, within path */
	int parent_fd;    /* borrowed (until the next walk_next); -1 for the start */
	unsigned depth;   /* components in path */
	mode_t type;      /* S_IFREG, S_IFDIR, S_IFLNK …; 0 when error is set */
	bool leave;       /* a directory again, after everything in it */
	int error;        /* -ERR_…: this name could not be looked at or into; the
			   * walk goes on with the next */
};

/*
 * A directory that cannot be opened comes once, with its error and no LEAVE.
 * One that cannot be read to the end comes again, with its error, before LEAVE;
 * the start does so as the empty path.
 */

/* Starts at the directory PATH below ROOT (borrowed until walk_free).
 * RECURSIVE false gives only its direct entries. */
int walk_new(struct walk **out, int root, const char *path, bool recursive) MUST_CHECK;
/* The same with windows of WINDOW bytes, for tests of what happens beyond one. */
int walk_new_window(struct walk **out, int root, const char *path, bool recursive,
	size_t window) MUST_CHECK;
void walk_free(struct walk *w);

/* 1 with an entry, 0 at the end, -ERR_RESOURCE without memory.  Directories
 * come twice: on the way in, and with LEAVE set on the way out (only if RECURSIVE). */
int walk_next(struct walk *w, struct walk_entry *out) MUST_CHECK;

/* The directory last given (on the way in) is not to be entered, nor left. */
void walk_skip(struct walk *w);

#endif
