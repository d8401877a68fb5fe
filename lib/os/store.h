/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Small private files that are never seen half written: keys, lists of identities.
 *
 * A store is a directory that its owner alone can write to.  Its files have mode 0600
 * and belong to the owner of the directory also when root writes them, so that an
 * administrator can change what a daemon without privileges reads.  Names are single
 * components; links are never followed: -ERR_NOT_REGULAR, as for a FIFO or a device.
 *
 * A file is written beside, as ".NAME.new", flushed, renamed, and the directory is
 * flushed.  What an interrupted writer left under that name goes with the next one.
 * Any thread.
 */
#ifndef SOCKD_OS_STORE_H
#define SOCKD_OS_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

#define STORE_FILE_MAX (16u << 20) /* a larger file is refused */

/* Opens the directory PATH, which may be a link; with MAKE, makes it (0700) and what is
 * missing on the way.  The descriptor; -ERR_ACCESS also when the group or others could
 * write to it or it belongs to somebody else (root may use everybody's). */
int store_open(const char *path, bool make) MUST_CHECK;

/* Holds everybody else off (flock on the file "lock") until the descriptor is closed;
 * waits up to ten seconds for that.  The descriptor; -ERR_BUSY when another holds it for
 * longer; or -ERR_…. */
int store_lock(int dirfd) MUST_CHECK;

/*
 * The whole file, NUL-terminated beyond its LEN bytes, for the caller to free; 0 or
 * -ERR_….  -ERR_ACCESS when the group or others could read or write it, or it belongs
 * neither to us nor to root (root may use everybody's).  -ERR_CHANGED when somebody
 * writes to it.  DIRFD may be AT_FDCWD and NAME a path: it is read through links then.
 *
 * A file of root:root may be readable by its group: that group is root's own, and for a
 * credential of systemd (systemd.exec(5), LoadCredential=) the bit stands for the access
 * list, which names the service's user alone.
 */
int store_read(int dirfd, const char *name, char **out, size_t *len_out) MUST_CHECK;

/* In place of what was there, atomically, on disk.  Needs no store_lock, but whoever
 * changes what it has read holds one. */
int store_write(int dirfd, const char *name, const void *bytes, size_t len) MUST_CHECK;

/* The same, but -ERR_EXISTS when there is such a file: it is never overwritten. */
int store_create(int dirfd, const char *name, const void *bytes, size_t len) MUST_CHECK;

#endif
