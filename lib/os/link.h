/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SOCKD_OS_LINK_H
#define SOCKD_OS_LINK_H

#include "base/compiler.h"
#include "base/path.h"

/*
 * Reads the symbolic link NAME in the directory PARENT_FD, which stands at
 * PATH below the directory BASE, if it stays inside BASE: by its letters, and, when what it
 * leads to exists, by the way the kernel takes through other links.
 * 0; -ERR_ESCAPE when it leaves BASE; -ERR_….
 */
int link_read_inside(int base, const char *path, int parent_fd, const char *name,
	char target_out[PATH_TARGET_MAX + 1]) MUST_CHECK;

#endif
