/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Descriptors that close themselves, and reads and writes that finish. */
#ifndef SOCKD_OS_FD_H
#define SOCKD_OS_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"

/* Closes FD unless it is negative; keeps errno. */
void fd_close(int fd);
void fd_closep(int *fd); /* for CLEANUP: an owned local, born as -1 */
/* Gives the descriptor away: *FD becomes -1. */
int fd_take(int *fd);
#define FD_OWNED CLEANUP(fd_closep) int

/* Like read(2) and write(2), but go on after EINTR and short counts.  The
 * read returns less than LEN only at the end of the file.  -ERR_… on failure. */
ssize_t fd_read_full(int fd, void *buf, size_t len) MUST_CHECK;
int fd_write_full(int fd, const void *buf, size_t len) MUST_CHECK;

/*
 * Where FD lies: a rename works only within one file system and through one
 * mount of it (a bind mount has the device of its origin).  Kernels before
 * 5.8 do not tell the mount; it is 0 then.  0 or -ERR_….
 */
int fd_locate(int fd, dev_t *dev_out, uint64_t *mount_out) MUST_CHECK;

#endif
