/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The names that travel: rules for paths on the wire, without a system call.
 *
 * A wire path is relative, its components are separated by one '/', none is
 * empty, "." or "..", none is longer than PATH_COMPONENT_MAX bytes, and none
 * is PATH_RESERVED, the directory in which unfinished transfers stand.  The
 * empty path is the root itself.  Any other byte but NUL is allowed.
 */
#ifndef SOCKD_BASE_PATH_H
#define SOCKD_BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

#define PATH_COMPONENT_MAX 255
#define PATH_WIRE_MAX      16384 /* bytes, without NUL */
#define PATH_DEPTH_MAX     256   /* components */
#define PATH_TARGET_MAX    4095  /* bytes of a symbolic link's target */
#define PATH_RESERVED      ".sockd-partial"

/* 0, or -ERR_BAD_NAME, -ERR_NAME_TOO_LONG. */
int path_check(const char *path, size_t len) MUST_CHECK;

/* Brings what a user typed behind "HOST:" to wire form in place: drops
 * leading and repeated '/', "." components and a trailing '/'.  ".." stays
 * and is refused by path_check.  *WAS_DIR_OUT tells whether the name ended in
 * '/', was empty or ended in a "." component. */
void path_normalise(char *path, bool *was_dir_out);

/* Where the last component begins; PATH itself when there is no '/'. */
const char *path_leaf(const char *path);

/* Length of the parent part, without the '/'; 0 when PATH has one component. */
size_t path_parent_len(const char *path);

/* Joins A and B with '/' (none where either is empty) into OUT.
 * -ERR_NAME_TOO_LONG when CAP does not hold it with its NUL. */
int path_join(char *out, size_t cap, const char *a, const char *b) MUST_CHECK;

/* The order in which a walk shows paths: each directory before what is in it, the names
 * in a directory by their bytes.  Less than, equal to or greater than 0. */
int path_compare(const char *a, const char *b);

/*
 * Whether a symbolic link at LINK (a path below some tree) with this TARGET
 * stays inside the tree by its letters alone: not absolute, never climbing
 * above the tree's top, and not by way of PATH_RESERVED.  What it says of a
 * link below other links is only about the letters; the kernel decides when
 * the link is used.
 */
bool path_link_stays_inside(const char *link, const char *target);

#endif
