/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Downloads in a pipeline: requests go out ahead of the answers, which come
 * in order; what is received is verified in a stage and published by a batch,
 * as on the server.  One thread.
 *
 * What the server sends is held against what was asked: an answer to another
 * request, data beyond the announced size, or a listing that is not in order (and so
 * could name a file twice) end the connection.
 */
#ifndef SOCKCP_DOWNLOAD_H
#define SOCKCP_DOWNLOAD_H

#include "base/compiler.h"
#include "cli/job.h"
#include "cli/query.h"

struct downloads;

/* What is fetched and where to.  Lives until downloads_settle. */
struct download_tree {
	const char *remote; /* borrowed: path on the server */
	const char *local;  /* borrowed: path below the base directory */
	const char *shown;  /* borrowed: the base as the user named it, for messages */
};

/* BASE_FD (borrowed): the directory that everything is written below; -1: standard
 * output. */
int downloads_new(struct downloads **out, const struct job *job, int base_fd) MUST_CHECK;
void downloads_free(struct downloads *d);

/* One file; ST is what the server said of it, or NULL when it was not asked. */
int downloads_file(struct downloads *d, const struct download_tree *tree,
	const struct remote_stat *st) MUST_CHECK;
/* A directory ST with everything in it. */
int downloads_tree(struct downloads *d, const struct download_tree *tree,
	const struct remote_stat *st) MUST_CHECK;
/* Waits until everything is received and, unless --no-sync, on disk. */
int downloads_settle(struct downloads *d) MUST_CHECK;

#endif
