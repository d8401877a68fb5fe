/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of downloads, for download.c (the pipeline), download_file.c (one file on
 * its way in) and download_tree.c (what a listing says is to be made).
 */
#ifndef SOCKCP_DOWNLOAD_IMPL_H
#define SOCKCP_DOWNLOAD_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/path.h"
#include "cli/download.h"
#include "cli/listing.h"
#include "crypto/digest.h"
#include "os/beneath.h"
#include "os/stage.h"
#include "transfer/batch.h"
#include "transfer/channel.h"

/* Requests under way, a power of two. */
#define SLOTS_MAX 1024
/* Room for what the user would call a file. */
#define NAME_CAP (PATH_WIRE_MAX + 4096)

enum slot_kind { SLOT_FILE, SLOT_LIST, SLOT_ATTR };

struct download_slot {
	enum slot_kind kind;
	uint32_t id;
	const struct download_tree *tree; /* borrowed */
	char *path;                       /* owned, used again: below the tree */
	size_t path_cap;
	struct remote_stat stat; /* as listed; size MSG_SIZE_UNKNOWN when not asked */
	size_t request_len;
	unsigned tries;
	uint64_t best; /* as far as it was ever verified */
	/* what we have of it already */
	struct stage stage;
	struct digest *digest; /* owned: of the first OFFSET bytes; NULL for none */
	uint64_t offset;
};

/* A directory on the way out of which its attributes are set. */
struct open_dir {
	char *path; /* owned */
	uint32_t mode;
	struct msg_time mtime;
};

struct downloads {
	const struct job *job; /* borrowed */
	int base_fd;           /* borrowed; -1 for standard output */
	struct dir_cache dirs;
	struct stage_area area;
	struct batch *batch;   /* owned */
	struct digest *digest; /* owned */
	struct listing listing;
	struct open_dir open_dirs[PATH_DEPTH_MAX];
	size_t open_dir_count;
	struct download_slot slots[SLOTS_MAX];
	uint64_t capacity;
	uint64_t first; /* the one whose answer comes next */
	uint64_t end;
	size_t request_bytes;
	const struct download_tree *done_tree; /* of the items in the batch */
	uint64_t streamed;                     /* bytes written to standard output */
	bool leave; /* the rest of this connection is of no use */
};

static inline struct channel *download_channel(const struct downloads *d)
{
	return d->job->peer->channel;
}

/* -- download.c ----------------------------------------------------------- */

/* The path of a slot below the base directory, and on the server. */
int download_local(const struct download_slot *s, char out[PATH_WIRE_MAX + 1]) MUST_CHECK;
int download_remote(
	const struct download_slot *s, char out[PATH_WIRE_MAX + 1]) MUST_CHECK;
/* What the user would call the file that is written. */
const char *download_name(
	const struct download_tree *tree, const char *local, char *buf, size_t cap);
/* The key of the partial of a slot. */
int download_key(const struct downloads *d, const struct download_slot *s,
	const char *local, uint8_t key[STAGE_KEY_LEN]) MUST_CHECK;

/* Tells the user. */
void download_fail_path(struct downloads *d, const struct download_tree *tree,
	const char *local, enum side side, int err, const char *detail);
void download_fail(struct downloads *d, const struct download_slot *s, enum side side,
	int err, const char *detail);

/* The parent of LOCAL, made where it is missing; a new reference. */
int download_open_parent(
	struct downloads *d, const char *local, struct dir **out) MUST_CHECK;

/* Adds a request, when there is room for it; and takes the next answer, on as many
 * connections as that takes.  What is returned ends the job. */
int download_add(struct downloads *d, enum slot_kind kind,
	const struct download_tree *tree, const char *path, size_t path_len,
	const struct remote_stat *st) MUST_CHECK;
int download_step(struct downloads *d) MUST_CHECK;

/* -- download_file.c ------------------------------------------------------ */

/* Receives the file that the FILE message M begins, as the answer to S.  0, also when the
 * file failed and that was said; -ERR_MISMATCH to have it again; or the error of the
 * connection. */
int download_receive(struct downloads *d, struct download_slot *s,
	const struct channel_msg *m) MUST_CHECK;

/* -- download_tree.c ------------------------------------------------------ */

/* Adds PATH below TREE, unless what stands there already settles it. */
int download_add_file(struct downloads *d, const struct download_tree *tree,
	const char *path, size_t path_len, const struct remote_stat *st) MUST_CHECK;

#endif
