/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SOCKD_OS_LINK_H
#define SOCKD_OS_LINK_H

#include "base/compiler.h"
#include "base/path.h"

/*
 * Reads the symbolic link NAME in the directory PARENT_FD, which stands at
 * PATH below the directory BASE, if it stays inside BASE: by its letters, and, when what
 * it leads to exists, by the way the kernel takes through other links. 0; -ERR_ESCAPE
 * when it leaves BASE; -ERR_….
 */
int link_read_inside(int base, const char *path, int parent_fd, const char *name,
	char target_out[PATH_TARGET_MAX + 1]) MUST_CHECK;

/*
 * Whether a link with this TARGET may be made in the directory PARENT_FD: it is not
 * absolute, has no PATH_RESERVED in it, climbs only at its beginning, and no higher than
 * the directory TOP, counted by where PARENT_FD really stands and not by the letters of a
 * path to it, which may lead through other links.  0, -ERR_ESCAPE, -ERR_….
 */
int link_check_target(int top, int parent_fd, const char *target) MUST_CHECK;

#endif
