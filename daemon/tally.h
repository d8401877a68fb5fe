/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How much lies below a directory: names (files, links, directories and whatever else),
 * the bytes of files by their sizes, and the bytes of partials that wait to be resumed,
 * which have no name of the user's.  What cannot be looked at counts as a name.
 */
#ifndef SOCKD_TALLY_H
#define SOCKD_TALLY_H

#include <stdint.h>

#include "base/compiler.h"

struct tally {
	uint64_t names;
	uint64_t bytes;
};

/* Called about once a second while it takes long; what it returns ends the counting when
 * it is not 0. */
typedef int tally_beat_fn(void *ctx);

/* BEAT may be NULL.  -ERR_… when the tree cannot be walked, or what BEAT returned. */
int tally_tree(int root_fd, tally_beat_fn *beat, void *ctx, struct tally *out) MUST_CHECK;

#endif
