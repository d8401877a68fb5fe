/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The attributes that travel with a file or directory: permission bits and the time of
 * the last modification. */
#ifndef SOCKD_TRANSFER_ATTR_H
#define SOCKD_TRANSFER_ATTR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "wire/msg.h"

/* Gives the file or directory FD exactly these.  0 or -ERR_…. */
int attr_set(int fd, uint32_t mode, const struct msg_time *mtime) MUST_CHECK;

/*
 * What a received file gets before its name is visible: with PRESERVE mode and time of
 * FILE, else only the mode, less the umask MASK.  FRESH: FD is from stage_create, which
 * has made it with 0666 less MASK; what it has already is not set again.  0 or -ERR_….
 */
int attr_set_received(int fd, const struct msg_file *file, bool preserve, mode_t mask,
	bool fresh) MUST_CHECK;

/* Whether the times are equal as far as both are known: some file systems keep whole
 * seconds only. */
bool attr_same_time(const struct msg_time *a, const struct msg_time *b);

#endif
