/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Uploads in a pipeline: what was added is sent in order, without waiting for
 * the answer to the one before; what is not answered yet is remembered, so
 * that a new connection can continue.  One thread.
 *
 * Life of an item (enum slot_state in upload.c):
 *
 *	NEW ──ask──▶ ASKED ──answer──▶ (skipped: DONE)
 *	 │             │
 *	 └──send───────┴──▶ SENT ──DONE, OK, ERROR──▶ DONE
 *	                     │
 *	                     └──wrong bytes──▶ AGAIN ──▶ as NEW
 *
 *	and from each of them back to NEW when the connection is lost, but for DONE.
 */
#ifndef SOCKCP_UPLOAD_H
#define SOCKCP_UPLOAD_H

#include <stdbool.h>

#include "base/compiler.h"
#include "cli/job.h"
#include "os/beneath.h"

/* Where items come from and go to.  Lives until uploads_settle. */
struct upload_tree {
	int root_fd;           /* owned: a directory; -1: LOCAL is one file */
	struct dir_cache dirs; /* below root_fd */
	const char *local;     /* borrowed: as the user named it; "-" is standard input */
	char *remote;          /* owned: where it goes, in wire form */
};

enum upload_kind {
	UPLOAD_FILE,
	UPLOAD_DIR,
	UPLOAD_LINK,
	UPLOAD_ATTR, /* mode and times of a directory, when all in it was added */
};

struct uploads;

int uploads_new(struct uploads **out, const struct job *job) MUST_CHECK;
void uploads_free(struct uploads *u);

/*
 * Adds PATH below TREE ("" for the tree's own top, or its only file); sends what there
 * is room for.  Failures of items are reported; what is returned ends the job.
 */
int uploads_add(struct uploads *u, enum upload_kind kind, struct upload_tree *tree,
	const char *path) MUST_CHECK;

/* Waits until everything added is answered and, unless --no-sync, on disk. */
int uploads_settle(struct uploads *u) MUST_CHECK;

#endif
