/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files before they have a name: promise 2 of the design.
 *
 * A stage is a file in the directory PATH_RESERVED of its root (mode 0700),
 * or, when the target lies on another file system or behind a mount, in one
 * beside the target.  One that belongs to another user, or is no directory, is
 * refused (-ERR_ACCESS).
 *
 * Life of a stage:
 *	stage_create   a fresh unique name, nobody comes back for it
 *	stage_resume   a name derived from a key, locked (flock), kept for resume
 *	stage_publish  renamed to its final name; the stage is over
 *	stage_keep     closed, left to be resumed
 *	stage_discard  removed
 * Exactly one of the last three ends it.  One thread.  Data is flushed by
 * whoever publishes (transfer/batch.h), not here.
 */
#ifndef SOCKD_OS_STAGE_H
#define SOCKD_OS_STAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "os/beneath.h"

#define STAGE_KEY_LEN  16
#define STAGE_NAME_MAX 40 /* "p-" + hex of the key, and NUL */

struct stage_area {
	int root;        /* borrowed */
	int fd;          /* owned: the PATH_RESERVED directory, or -1 */
	dev_t dev;       /* of root */
	uint64_t mount;  /* of root, see fd_locate */
	uint64_t prefix; /* random, so that two areas never meet */
	uint64_t counter;
};

struct stage {
	int fd;    /* owned; -1 when there is no stage */
	int dirfd; /* owned when own_dir, else borrowed from the area */
	bool own_dir;
	bool resumable; /* from stage_resume */
	char name[STAGE_NAME_MAX];
};

#define STAGE_NONE ((struct stage){.fd = -1, .dirfd = -1})

/* Looks at ROOT (borrowed for life); makes nothing yet. */
int stage_area_init(struct stage_area *a, int root) MUST_CHECK;
/* Closes; removes the directory when it is empty. */
void stage_area_fini(struct stage_area *a);

/* A new empty file, open for reading and writing, to be published in PARENT.
 * Its mode is 0666 less the umask: nobody else can enter the directory. */
int stage_create(
	struct stage_area *a, const struct dir *parent, struct stage *out) MUST_CHECK;

/*
 * The file of this key: the one that stands there, or a new empty one, locked.
 * Its mode is 0600; whoever publishes it gives it the mode it is to have.
 * With CREATE false, -ERR_NOT_FOUND when there is none.  -ERR_BUSY when another
 * open stage holds it.
 */
int stage_resume(struct stage_area *a, const struct dir *parent,
	const uint8_t key[STAGE_KEY_LEN], bool create, struct stage *out) MUST_CHECK;

/*
 * Renames it over LEAF in PARENT; with NO_CLOBBER, -ERR_EXISTS when LEAF
 * exists.  -ERR_IS_DIR when LEAF is a directory.  On failure the stage stands
 * as before.  On success its descriptor is closed.
 */
int stage_publish(
	struct stage *s, int parent_fd, const char *leaf, bool no_clobber) MUST_CHECK;
/* The same for a stage whose descriptor was closed by stage_close. */
void stage_close(struct stage *s); /* closes the descriptor, keeps the rest */

void stage_keep(struct stage *s);
void stage_discard(struct stage *s);
/* What was written broke off: of a resumable stage the first GOOD bytes are kept, for
 * stage_resume; without any, or of another, nothing. */
void stage_break_off(struct stage *s, uint64_t good);

/* A symbolic link, staged under a fresh name; stage_publish moves it. */
int stage_link(struct stage_area *a, const struct dir *parent, const char *target,
	struct stage *out) MUST_CHECK;

/*
 * Removes stages in ROOT's area that nobody holds and that were not changed
 * for AGE_SEC seconds before NOW_SEC (CLOCK_REALTIME).  The number removed, or -ERR_….
 * Fresh stages are not locked: AGE_SEC must be longer than a transfer can pause.
 */
int stage_sweep(int root, int64_t now_sec, int64_t age_sec) MUST_CHECK;

/* How many bytes lie in the PATH_RESERVED directory of PARENT, if there is one, to be
 * resumed: held by somebody at this moment or not.  Fresh stages do not count. */
int stage_kept(int parent, uint64_t *bytes_out) MUST_CHECK;

#endif
