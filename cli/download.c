/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "base/text.h"
#include "cli/listing.h"
#include "crypto/digest.h"
#include "os/beneath.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/sock.h"
#include "os/stage.h"
#include "transfer/batch.h"
#include "transfer/prefix.h"
#include "transfer/receiver.h"
#include "transfer/source.h"

/* Requests under way, a power of two. */
#define SLOTS_MAX 1024
/* Bytes of unanswered requests: the server takes them in while it sends (channel.h). */
#define REQUEST_BYTES_MAX (96u << 10)
/* Rather than let so much pass that is of no use any more, connect anew. */
#define DRAIN_MAX (8u << 20)
#define ID_RANGE  (1u << 30)

enum slot_kind { SLOT_FILE, SLOT_LIST, SLOT_ATTR };

struct slot {
	enum slot_kind kind;
	uint32_t id;
	const struct download_tree *tree; /* borrowed */
	char *path;        /* owned, used again: below the tree */
	size_t path_cap;
	struct remote_stat stat; /* as listed; size MSG_SIZE_UNKNOWN when not asked */
	size_t request_len;
	unsigned tries;
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
	struct slot slots[SLOTS_MAX];
	uint64_t capacity;
	uint64_t first;        /* the one whose answer comes next */
	uint64_t end;
	size_t request_bytes;
	const struct download_tree *done_tree; /* of the items in the batch */
	uint64_t streamed;     /* bytes written to standard output */
	bool leave;            /* the rest of this connection is of no use */
};

#define NAME_CAP (PATH_WIRE_MAX + 4096)

static const struct options *opts_of(const struct downloads *d)
{
	return d->job->opts;
}

static struct channel *channel_of(const struct downloads *d)
{
	return d->job->peer->channel;
}

static struct slot *slot_at(struct downloads *d, uint64_t pos)
{
	return &d->slots[pos % SLOTS_MAX];
}

/* The path below the base directory. */
static int slot_local(const struct slot *s, char out[PATH_WIRE_MAX + 1])
{
	return path_join(out, PATH_WIRE_MAX + 1, s->tree->local, s->path);
}

static int slot_remote(const struct slot *s, char out[PATH_WIRE_MAX + 1])
{
	return path_join(out, PATH_WIRE_MAX + 1, s->tree->remote, s->path);
}

/* What the user would call the file that is written. */
static const char *local_name(const struct download_tree *tree, const char *local, char *buf,
	size_t cap)
{
	if (!*local)
		return tree->shown;
	return path_join(buf, cap, tree->shown, local) == 0 ? buf : local;
}

static void fail_path(struct downloads *d, const struct download_tree *tree, const char *local,
	enum side side, int err, const char *detail)
{
	char name[NAME_CAP];
	report_failure(d->job->report, local_name(tree, local, name, sizeof(name)), side, err,
		detail);
}

static void slot_fail(struct downloads *d, const struct slot *s, enum side side, int err,
	const char *detail)
{
	char local[PATH_WIRE_MAX + 1], name[NAME_CAP];
	if (side == SIDE_SERVER && slot_remote(s, local) == 0)
		report_failure(d->job->report, *local ? local : "/", side, err, detail);
	else if (slot_local(s, local) == 0)
		report_failure(d->job->report, local_name(s->tree, local, name, sizeof(name)), side,
			err, detail);
	else
		report_failure(d->job->report, s->path, side, err, detail);
}

/* -- Requests ----------------------------------------------------------- */

static void slot_forget_offer(struct slot *s)
{
	stage_keep(&s->stage);
	s->stage = STAGE_NONE;
	digest_free(s->digest);
	s->digest = NULL;
	s->offset = 0;
}

static int partial_key(const struct downloads *d, const struct slot *s, const char *local,
	uint8_t key[STAGE_KEY_LEN])
{
	char remote[PATH_WIRE_MAX + 1], host[SOCK_HOST_MAX + 8];
	int err = slot_remote(s, remote);
	if (err < 0)
		return err;
	snprintf(host, sizeof(host), "%s:%u", d->job->peer->host, opts_of(d)->port);
	return prefix_key(key, host, local, remote, strlen(remote));
}

/* The partial of an earlier connection or run; none is no error. */
static int find_partial(struct downloads *d, struct slot *s)
{
	uint8_t key[STAGE_KEY_LEN];
	char local[PATH_WIRE_MAX + 1];
	struct dir *parent;
	const char *leaf;
	struct stat st;
	bool small = s->stat.size < CHECKPOINT_INTERVAL;
	if (!opts_of(d)->resume || d->base_fd < 0 || small || slot_local(s, local) < 0 ||
		partial_key(d, s, local, key) < 0 ||
		dir_cache_parent(&d->dirs, local, false, &parent, &leaf) < 0)
		return 0;
	int err = stage_resume(&d->area, parent, key, false, &s->stage);
	dir_put(parent);
	if (err < 0)
		return 0;
	if (fstat(s->stage.fd, &st) == 0)
		s->offset = prefix_usable((uint64_t)st.st_size, s->stat.size);
	if (s->offset > 0)
		s->digest = digest_new();
	if (!s->digest)
		slot_forget_offer(s);
	return 0;
}

/* Standard output cannot be taken back: what was written is the prefix. */
static int offer_streamed(struct downloads *d, struct slot *s)
{
	s->offset = d->streamed;
	return 0;
}

static int send_proof(struct downloads *d, struct slot *s)
{
	if (d->base_fd < 0)
		return prefix_send_proof(channel_of(d), s->id, d->digest);
	/* The server digests its side at the same time. */
	int err = channel_flush(channel_of(d));
	if (err == 0)
		err = prefix_digest(s->digest, s->stage.fd, s->offset, channel_of(d));
	return err < 0 ? err : prefix_send_proof(channel_of(d), s->id, s->digest);
}

static int send_get(struct downloads *d, struct slot *s)
{
	char remote[PATH_WIRE_MAX + 1];
	int err = slot_remote(s, remote);
	if (err == 0)
		err = d->base_fd < 0 ? offer_streamed(d, s) : find_partial(d, s);
	if (err < 0)
		return err;
	struct msg_get m = {.alg = DIGEST_SHA256, .offset = s->offset};
	m.path = (struct wire_str){remote, strlen(remote)};
	struct wcur w;
	channel_begin(channel_of(d), &w);
	msg_get_encode(&w, &m);
	err = channel_end(channel_of(d), &w, MSG_GET, s->id);
	return err == 0 && s->offset > 0 ? send_proof(d, s) : err;
}

static int send_list(struct downloads *d, struct slot *s)
{
	struct wcur w;
	channel_begin(channel_of(d), &w);
	if (d->listing.started) {
		msg_next_encode(&w, &(struct msg_next){.max = LISTING_PART});
		return channel_end(channel_of(d), &w, MSG_NEXT, s->id);
	}
	d->listing.started = true;
	const char *remote = s->tree->remote;
	struct msg_list m = {.flags = LIST_RECURSIVE, .max = LISTING_PART};
	m.path = (struct wire_str){remote, strlen(remote)};
	msg_list_encode(&w, &m);
	return channel_end(channel_of(d), &w, MSG_LIST, s->id);
}

static int send_request(struct downloads *d, struct slot *s)
{
	return s->kind == SLOT_FILE ? send_get(d, s) : s->kind == SLOT_LIST ? send_list(d, s) : 0;
}

/* -- Publishing --------------------------------------------------------- */

static int download_done(void *ctx, const struct batch_tag *tag, int result)
{
	struct downloads *d = ctx;
	char name[NAME_CAP];
	if (result < 0) {
		fail_path(d, d->done_tree, tag->path, SIDE_LOCAL, result, NULL);
		return 0;
	}
	if (!tag->is_file)
		return 0;
	struct file_result r = {
		.path = local_name(d->done_tree, tag->path, name, sizeof(name)),
		.outcome = OUTCOME_MOVED,
		.size = tag->size,
		.resumed_from = tag->resumed_from,
		.digest = tag->digest,
		.durability = opts_of(d)->sync ? DURABLE_DISK : DURABLE_NOT,
	};
	report_file_done(d->job->report, &r);
	return 0;
}

static int set_file_attr(const struct downloads *d, const struct stage *stage,
	const struct msg_file *file)
{
	bool preserve = opts_of(d)->preserve;
	mode_t mode = preserve ? file->mode : file->mode & ~d->job->umask;
	bool as_made = !stage->resumable && mode == (0666 & ~d->job->umask);
	struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = file->mtime.sec, .tv_nsec = (long)file->mtime.nsec},
	};
	if (!as_made && fchmod(stage->fd, mode & 0777) < 0)
		return -err_from_errno(errno);
	if (preserve && futimens(stage->fd, times) < 0)
		return -err_from_errno(errno);
	return 0;
}

static void note_made(struct downloads *d, struct dir *parent)
{
	if (parent->made > 0)
		batch_made_dirs(d->batch);
	parent->made = 0;
}

/* The parent of LOCAL, made where it is missing. */
static int open_parent(struct downloads *d, const char *local, struct dir **out)
{
	const char *leaf;
	int err = dir_cache_parent(&d->dirs, local, true, out, &leaf);
	if (err == 0)
		note_made(d, *out);
	return err;
}

/* -- Receiving a file ---------------------------------------------------- */

/* One file on its way in. */
struct reception {
	struct downloads *d;
	struct slot *slot;
	struct msg_file file;
	char local[PATH_WIRE_MAX + 1];
	struct dir *parent; /* owned reference */
	uint64_t arrived;
};

static void reception_progress(void *ctx, uint64_t bytes)
{
	struct reception *rx = ctx;
	rx->arrived += bytes;
	rx->d->streamed += bytes;
	report_bytes(rx->d->job->report, bytes, false);
}

/* Wrong bytes are fetched again on a new connection; and no one waits for
 * gigabytes that the disk has no room for. */
static int reception_failed(void *ctx, int err)
{
	struct reception *rx = ctx;
	uint64_t left = rx->file.size - rx->file.offset - rx->arrived;
	if (err == -ERR_MISMATCH || rx->file.size == MSG_SIZE_UNKNOWN || left > DRAIN_MAX) {
		rx->d->leave = true;
		return err;
	}
	return 0;
}

static int check_space(const struct reception *rx)
{
	struct statvfs fs;
	uint64_t need = rx->file.size - rx->file.offset;
	if (rx->file.size == MSG_SIZE_UNKNOWN || need < CHECKPOINT_INTERVAL ||
		fstatvfs(rx->parent->fd, &fs) < 0)
		return 0;
	return need > (uint64_t)fs.f_bavail * fs.f_frsize ? -ERR_NO_SPACE : 0;
}

static int open_stage(struct reception *rx)
{
	struct downloads *d = rx->d;
	struct slot *s = rx->slot;
	uint8_t key[STAGE_KEY_LEN];
	if (s->stage.fd >= 0) {
		/* Ours was not the beginning of what the server has. */
		if (rx->file.offset == 0 && ftruncate(s->stage.fd, 0) < 0)
			return -err_from_errno(errno);
		return 0;
	}
	bool resumable = opts_of(d)->resume && rx->file.size >= CHECKPOINT_INTERVAL;
	int err = resumable ? partial_key(d, s, rx->local, key) : -ERR_BUSY;
	if (err == 0)
		err = stage_resume(&d->area, rx->parent, key, true, &s->stage);
	if (err == 0 && ftruncate(s->stage.fd, 0) < 0)
		err = -err_from_errno(errno);
	return err == -ERR_BUSY ? stage_create(&d->area, rx->parent, &s->stage) : err;
}

static int open_reception(struct reception *rx)
{
	int err = slot_local(rx->slot, rx->local);
	if (err == 0)
		err = open_parent(rx->d, rx->local, &rx->parent);
	if (err == 0)
		err = check_space(rx);
	return err < 0 ? err : open_stage(rx);
}

/* The digest that stands for the first FILE.offset bytes. */
static int use_digest(struct reception *rx, struct digest **out)
{
	struct downloads *d = rx->d;
	if (rx->file.offset == 0) {
		*out = d->digest;
		d->streamed = 0;
		return digest_start(d->digest);
	}
	char name[NAME_CAP], local[PATH_WIRE_MAX + 1], size[TEXT_SIZE_MAX];
	*out = d->base_fd < 0 ? d->digest : rx->slot->digest;
	report_bytes(d->job->report, rx->file.offset, true);
	if (slot_local(rx->slot, local) == 0)
		report_note(d->job->report, "%s: continuing at %s",
			local_name(rx->slot->tree, local, name, sizeof(name)),
			text_format_size(size, rx->file.offset));
	return 0;
}

static int publish(struct reception *rx, const struct received *got)
{
	struct downloads *d = rx->d;
	struct batch_tag tag = {
		.id = rx->slot->id,
		.path = rx->local,
		.is_file = true,
		.size = got->size,
		.resumed_from = rx->file.offset,
	};
	memcpy(tag.digest, got->digest, DIGEST_LEN);
	d->done_tree = rx->slot->tree;
	int err = set_file_attr(d, &rx->slot->stage, &rx->file);
	if (err < 0)
		return batch_add_result(d->batch, &tag, err);
	return batch_add_stage(d->batch, &tag, &rx->slot->stage, rx->parent,
		opts_of(d)->no_clobber);
}

static void report_streamed(struct reception *rx, const struct received *got)
{
	struct file_result r = {
		.path = "-",
		.outcome = OUTCOME_MOVED,
		.size = got->size,
		.resumed_from = 0,
		.digest = got->digest,
		.durability = DURABLE_NOT,
	};
	report_file_done(rx->d->job->report, &r);
}

/* What is kept of a file that did not arrive whole. */
static void leave_stage(struct slot *s, const struct received *got, bool useless)
{
	bool keep = s->stage.fd >= 0 && s->stage.resumable && got->good > 0 && !useless;
	if (keep && ftruncate(s->stage.fd, (off_t)got->good) == 0)
		stage_keep(&s->stage);
	else
		stage_discard(&s->stage);
	s->stage = STAGE_NONE;
}

/* A reception failed with ERR: 0 when that is this file's end, else what the connection
 * has to be made again for. */
static int settle_failure(struct reception *rx, const struct received *got, int err)
{
	struct downloads *d = rx->d;
	struct slot *s = rx->slot;
	bool unexpected = err == -ERR_MISMATCH && got->good == got->size && got->size > 0;
	if (got->good > rx->file.offset)
		peer_progress(d->job->peer);
	leave_stage(s, got, unexpected || got->aborted == ERR_CHANGED);
	if (err_is_connection(err))
		return err;
	if (err == -ERR_MISMATCH && !unexpected && d->base_fd >= 0 &&
		s->tries++ < opts_of(d)->retries)
		return err;
	if (got->aborted)
		slot_fail(d, s, SIDE_SERVER, -got->aborted, NULL);
	else
		slot_fail(d, s, SIDE_LOCAL, err, NULL);
	return 0;
}

static int receive_opened(struct reception *rx)
{
	struct downloads *d = rx->d;
	struct receiver r = {
		.channel = channel_of(d),
		.fd = d->base_fd < 0 ? STDOUT_FILENO : rx->slot->stage.fd,
		.stream = d->base_fd < 0,
		.write_behind = opts_of(d)->sync && rx->file.size >= CHECKPOINT_INTERVAL,
		.progress = reception_progress,
		.failed = reception_failed,
		.ctx = rx,
		.expected = opts_of(d)->has_sha256 ? opts_of(d)->sha256 : NULL,
	};
	struct received got = {0};
	int err = use_digest(rx, &r.digest);
	if (err == 0)
		err = receiver_receive(&r, &rx->file, &got);
	if (err < 0)
		return settle_failure(rx, &got, err);
	peer_progress(d->job->peer);
	if (d->base_fd >= 0)
		return publish(rx, &got);
	report_streamed(rx, &got);
	return 0;
}

/* It cannot be stored: said, and what comes of it passed over. */
static int refuse_file(struct reception *rx, int err)
{
	slot_fail(rx->d, rx->slot, SIDE_LOCAL, err, NULL);
	if (rx->file.size - rx->file.offset > DRAIN_MAX) {
		rx->d->leave = true;
		return 0;
	}
	return channel_drain(channel_of(rx->d));
}

static int receive_file(struct downloads *d, struct slot *s, const struct channel_msg *m)
{
	struct reception rx = {.d = d, .slot = s};
	char name[NAME_CAP];
	int err = msg_file_decode(&rx.file, m->payload, m->len);
	if (err < 0)
		return err;
	if (rx.file.offset != 0 && rx.file.offset != s->offset)
		return -ERR_PROTOCOL;
	/* What is on standard output cannot be unsaid. */
	if (d->base_fd < 0 && rx.file.offset != s->offset)
		err = -ERR_CHANGED;
	if (err == 0 && d->base_fd >= 0)
		err = open_reception(&rx);
	report_file_begin(d->job->report, local_name(s->tree, rx.local, name, sizeof(name)),
		rx.file.size);
	err = err < 0 ? refuse_file(&rx, err) : receive_opened(&rx);
	dir_put(rx.parent);
	return err;
}

static int receive_error(struct downloads *d, struct slot *s, const struct channel_msg *m)
{
	struct msg_error e;
	char text[MSG_TEXT_MAX + 1];
	int err = msg_error_decode(&e, m->payload, m->len);
	if (err < 0)
		return err;
	memcpy(text, e.text.bytes, e.text.len);
	text[e.text.len] = '\0';
	bool plain = strcmp(text, err_text(e.code)) == 0;
	slot_fail(d, s, SIDE_SERVER, -(int)e.code, plain ? NULL : text);
	return 0;
}

/* -- Answers in order ---------------------------------------------------- */

static void slot_release(struct slot *s)
{
	stage_keep(&s->stage);
	s->stage = STAGE_NONE;
	digest_free(s->digest);
	s->digest = NULL;
}

static void pop(struct downloads *d)
{
	struct slot *s = slot_at(d, d->first);
	slot_release(s);
	d->request_bytes -= s->request_len;
	d->first++;
}

static int take_listing(struct downloads *d, const struct channel_msg *m)
{
	struct msg_listed listed;
	int err = msg_listed_decode(&listed, m->payload, m->len);
	if (err < 0)
		return err;
	d->listing.asked = false;
	d->listing.ended = !listed.more;
	report_total(d->job->report, d->listing.files, d->listing.bytes_total, !listed.more);
	pop(d);
	return 0;
}

static int take_attr(struct downloads *d, struct slot *s)
{
	char local[PATH_WIRE_MAX + 1];
	int err = slot_local(s, local);
	int fd = err < 0 ? err : beneath_open(d->base_fd, local, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0) {
		fail_path(d, s->tree, local, SIDE_LOCAL, fd, NULL);
		return 0;
	}
	d->done_tree = s->tree;
	struct batch_tag tag = {.path = local};
	return batch_add_attr(d->batch, &tag, fd, s->stat.mode, &s->stat.mtime);
}

/* Takes the next answer, or does the next thing that needs none. */
static int take_next(struct downloads *d)
{
	struct slot *s = slot_at(d, d->first);
	struct channel_msg m;
	int err;
	if (s->kind == SLOT_ATTR) {
		err = take_attr(d, s);
		pop(d);
		return err;
	}
	err = channel_read(channel_of(d), &m);
	if (err < 0)
		return err;
	if (m.id != s->id)
		return -ERR_PROTOCOL;
	if (s->kind == SLOT_LIST && m.type == MSG_ENTRY)
		return listing_add(&d->listing, m.payload, m.len);
	if (s->kind == SLOT_LIST && m.type == MSG_LISTED)
		return take_listing(d, &m);
	if (m.type == MSG_ERROR) {
		err = receive_error(d, s, &m);
		if (s->kind == SLOT_LIST)
			d->listing.ended = true;
	} else if (s->kind == SLOT_FILE && m.type == MSG_FILE) {
		err = receive_file(d, s, &m);
	} else {
		err = -ERR_PROTOCOL;
	}
	if (err == 0)
		pop(d);
	return err;
}

/* Sends again all that is unanswered. */
static int request_again(struct downloads *d)
{
	d->leave = false;
	listing_restart(&d->listing);
	for (uint64_t pos = d->first; pos < d->end; pos++) {
		struct slot *s = slot_at(d, pos);
		slot_forget_offer(s);
		d->listing.asked = d->listing.asked || s->kind == SLOT_LIST;
		int err = send_request(d, s);
		if (err < 0)
			return err;
	}
	return 0;
}

static int recover(struct downloads *d, int err)
{
	while (err < 0) {
		if (!err_is_connection(err) && err != -ERR_MISMATCH)
			return err;
		const char *fault = channel_fault(channel_of(d));
		if (*fault)
			report_note(d->job->report, "the server says: %s", fault);
		err = peer_reconnect(d->job->peer, err);
		if (err < 0)
			return err;
		err = request_again(d);
	}
	return 0;
}

/* One step of the pipeline, on as many connections as it takes. */
static int step(struct downloads *d)
{
	int err = take_next(d);
	if (err == 0 && d->leave) {
		err = peer_renew(d->job->peer);
		if (err == 0)
			err = request_again(d);
	}
	return recover(d, err);
}

static int slot_set_path(struct slot *s, const char *path, size_t len)
{
	if (s->path_cap < len + 1) {
		char *bigger = realloc(s->path, len + 64);
		if (!bigger)
			return -ERR_RESOURCE;
		s->path = bigger;
		s->path_cap = len + 64;
	}
	memcpy(s->path, path, len);
	s->path[len] = '\0';
	return 0;
}

static int add(struct downloads *d, enum slot_kind kind, const struct download_tree *tree,
	const char *path, size_t path_len, const struct remote_stat *st)
{
	size_t request_len = strlen(tree->remote) + path_len + 64;
	int err = 0;
	while (err == 0 && d->first < d->end &&
		(d->end - d->first >= d->capacity ||
			d->request_bytes + request_len > REQUEST_BYTES_MAX))
		err = step(d);
	if (err < 0)
		return err;
	struct slot *s = slot_at(d, d->end);
	*s = (struct slot){
		.kind = kind,
		.id = (uint32_t)(d->end % ID_RANGE) + SLOTS_MAX,
		.tree = tree,
		.path = s->path,
		.path_cap = s->path_cap,
		.stat = *st,
		.request_len = request_len,
		.stage = STAGE_NONE,
	};
	err = slot_set_path(s, path, path_len);
	if (err < 0)
		return err;
	d->request_bytes += request_len;
	d->end++;
	return recover(d, send_request(d, s));
}

/* -- Trees -------------------------------------------------------------- */

/* Whether what stands at LOCAL settles it: told, and 1. */
static int already_settled(struct downloads *d, const struct download_tree *tree,
	const char *local, const struct remote_stat *st)
{
	const struct options *o = opts_of(d);
	struct stat here;
	char name[NAME_CAP];
	if (d->base_fd < 0)
		return 0;
	bool exists = (o->update || o->no_clobber) && beneath_lstat(d->base_fd, local, &here) == 0;
	struct file_result r = {
		.path = local_name(tree, local, name, sizeof(name)),
		.outcome = OUTCOME_SKIPPED,
		.size = st->size,
	};
	struct msg_time mtime = exists ? msg_time_of(&here.st_mtim) : st->mtime;
	if (exists && o->update && S_ISREG(here.st_mode) && (uint64_t)here.st_size == st->size &&
		mtime.sec == st->mtime.sec && mtime.nsec == st->mtime.nsec) {
		report_file_done(d->job->report, &r);
		return 1;
	}
	if (exists && o->no_clobber) {
		fail_path(d, tree, local, SIDE_LOCAL, -ERR_EXISTS, NULL);
		return 1;
	}
	if (o->dry_run) {
		r.outcome = OUTCOME_WOULD;
		report_file_done(d->job->report, &r);
	}
	return o->dry_run;
}

static int add_file(struct downloads *d, const struct download_tree *tree, const char *path,
	size_t path_len, const struct remote_stat *st)
{
	char rel[PATH_WIRE_MAX + 1], local[PATH_WIRE_MAX + 1];
	memcpy(rel, path, path_len);
	rel[path_len] = '\0';
	int err = path_join(local, sizeof(local), tree->local, rel);
	if (err < 0) {
		fail_path(d, tree, rel, SIDE_LOCAL, err, NULL);
		return 0;
	}
	return already_settled(d, tree, local, st) ? 0
						  : add(d, SLOT_FILE, tree, path, path_len, st);
}

/* Makes LOCAL, open to us whatever its mode, or finds it there. */
static int make_dir(struct downloads *d, const char *local, uint32_t mode)
{
	struct dir *parent;
	if (!*local)
		return 0;
	int err = open_parent(d, local, &parent);
	if (err < 0)
		return err;
	struct batch_tag tag = {.path = local};
	if (mkdirat(parent->fd, path_leaf(local), (mode & 0777) | 0700) == 0) {
		err = batch_add_made(d->batch, &tag, parent, -1);
	} else if (errno == EEXIST) {
		FD_OWNED fd = beneath_open(d->base_fd, local, O_PATH | O_DIRECTORY, 0);
		err = fd < 0 ? fd : 0;
	} else {
		err = -err_from_errno(errno);
	}
	dir_put(parent);
	return err;
}

/* Directories that PATH is not below are complete: their attributes follow. */
static int leave_dirs(struct downloads *d, const struct download_tree *tree, const char *path)
{
	while (d->open_dir_count > 0) {
		struct open_dir *top = &d->open_dirs[d->open_dir_count - 1];
		size_t len = strlen(top->path);
		bool below = path && (len == 0 || (strncmp(path, top->path, len) == 0 &&
							 path[len] == '/'));
		if (below)
			return 0;
		struct remote_stat st = {.mode = top->mode, .mtime = top->mtime};
		int err = add(d, SLOT_ATTR, tree, top->path, len, &st);
		free(top->path);
		d->open_dir_count--;
		if (err < 0)
			return err;
	}
	return 0;
}

static int enter_dir(struct downloads *d, const struct download_tree *tree, const char *path,
	const struct remote_stat *st)
{
	char local[PATH_WIRE_MAX + 1] = "";
	if (opts_of(d)->dry_run)
		return 0;
	int err = path_join(local, sizeof(local), tree->local, path);
	d->done_tree = tree;
	if (err == 0)
		err = make_dir(d, local, st->mode);
	if (err < 0) {
		fail_path(d, tree, local, SIDE_LOCAL, err, NULL);
		return 0;
	}
	if (!opts_of(d)->preserve || d->open_dir_count == PATH_DEPTH_MAX)
		return 0;
	char *copy = strdup(path);
	if (!copy)
		return -ERR_RESOURCE;
	d->open_dirs[d->open_dir_count++] = (struct open_dir){copy, st->mode, st->mtime};
	return 0;
}

static int make_link(struct downloads *d, const struct download_tree *tree, const char *path,
	const struct msg_entry *e)
{
	char local[PATH_WIRE_MAX + 1] = "", target[PATH_TARGET_MAX + 1];
	struct dir *parent = NULL;
	struct stage stage = STAGE_NONE;
	if (opts_of(d)->dry_run)
		return 0;
	memcpy(target, e->target.bytes, e->target.len);
	target[e->target.len] = '\0';
	int err = path_join(local, sizeof(local), tree->local, path);
	if (err == 0 && !path_link_stays_inside(path, target))
		err = -ERR_ESCAPE;
	if (err == 0)
		err = open_parent(d, local, &parent);
	if (err == 0)
		err = stage_link(&d->area, parent, target, &stage);
	if (err == 0) {
		struct batch_tag tag = {.path = local};
		d->done_tree = tree;
		err = batch_add_stage(d->batch, &tag, &stage, parent, opts_of(d)->no_clobber);
	}
	dir_put(parent);
	if (err < 0)
		fail_path(d, tree, local, SIDE_LOCAL, err, NULL);
	return 0;
}

static int take_entry(struct downloads *d, const struct download_tree *tree,
	const struct msg_entry *e)
{
	char path[PATH_WIRE_MAX + 1], remote[PATH_WIRE_MAX + 1];
	memcpy(path, e->path.bytes, e->path.len);
	path[e->path.len] = '\0';
	struct remote_stat st = {e->kind, e->size, e->mode, e->mtime};
	int err = leave_dirs(d, tree, path);
	if (err < 0)
		return err;
	switch ((enum entry_kind)e->kind) {
	case ENTRY_FILE:
		return add_file(d, tree, path, e->path.len, &st);
	case ENTRY_DIR:
		return enter_dir(d, tree, path, &st);
	case ENTRY_LINK:
		return make_link(d, tree, path, e);
	case ENTRY_OTHER:
	case ENTRY_ERROR:
		break;
	}
	const char *shown = path_join(remote, sizeof(remote), tree->remote, path) == 0 ? remote : path;
	report_failure(d->job->report, shown, SIDE_SERVER,
		e->kind == ENTRY_OTHER ? -ERR_NOT_REGULAR : -(int)e->code, NULL);
	return 0;
}

/* Keeps a part of the listing ahead of the requests that come from it. */
static int ask_listing(struct downloads *d, const struct download_tree *tree)
{
	struct remote_stat none = {.size = 0};
	if (d->listing.asked || d->listing.ended || d->listing.count > LISTING_PART)
		return 0;
	d->listing.asked = true;
	return add(d, SLOT_LIST, tree, "", 0, &none);
}

int downloads_tree(struct downloads *d, const struct download_tree *tree,
	const struct remote_stat *st)
{
	listing_fini(&d->listing);
	listing_init(&d->listing);
	int err = enter_dir(d, tree, "", st);
	while (err == 0) {
		struct msg_entry e;
		err = ask_listing(d, tree);
		if (err == 0 && listing_take(&d->listing, &e))
			err = take_entry(d, tree, &e);
		else if (err == 0 && d->first < d->end)
			err = step(d);
		else
			break;
	}
	if (err == 0)
		err = leave_dirs(d, tree, NULL);
	return err < 0 ? err : downloads_settle(d);
}

int downloads_file(struct downloads *d, const struct download_tree *tree,
	const struct remote_stat *st)
{
	struct remote_stat unknown = {.kind = ENTRY_FILE, .size = MSG_SIZE_UNKNOWN};
	return add_file(d, tree, "", 0, st ? st : &unknown);
}

int downloads_settle(struct downloads *d)
{
	int err = 0;
	while (err == 0 && d->first < d->end)
		err = step(d);
	if (err == 0 && d->batch)
		err = batch_commit(d->batch);
	return err;
}

/* -- Life --------------------------------------------------------------- */

static int open_base(struct downloads *d, int base_fd)
{
	d->base_fd = base_fd;
	d->area.fd = -1;
	if (base_fd < 0)
		return 0;
	dir_cache_init(&d->dirs, base_fd);
	int err = stage_area_init(&d->area, base_fd);
	if (err == 0)
		err = batch_new(&d->batch, base_fd, opts_of(d)->sync, download_done, d);
	return err;
}

int downloads_new(struct downloads **out, const struct job *job, int base_fd)
{
	struct downloads *d = calloc(1, sizeof(*d));
	if (!d)
		return -ERR_RESOURCE;
	d->job = job;
	listing_init(&d->listing);
	for (size_t i = 0; i < SLOTS_MAX; i++)
		d->slots[i].stage = STAGE_NONE;
	d->capacity = job->peer->depth < SLOTS_MAX ? job->peer->depth : SLOTS_MAX;
	d->digest = digest_new();
	int err = d->digest ? open_base(d, base_fd) : -ERR_RESOURCE;
	if (err < 0) {
		downloads_free(d);
		return err;
	}
	*out = d;
	return 0;
}

void downloads_free(struct downloads *d)
{
	if (!d)
		return;
	/* What was verified is published even when the rest did not arrive. */
	if (d->batch && batch_commit(d->batch) < 0)
		d->done_tree = NULL;
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		slot_release(&d->slots[i]);
		free(d->slots[i].path);
	}
	while (d->open_dir_count > 0)
		free(d->open_dirs[--d->open_dir_count].path);
	batch_free(d->batch);
	listing_fini(&d->listing);
	digest_free(d->digest);
	if (d->base_fd >= 0) {
		dir_cache_fini(&d->dirs);
		stage_area_fini(&d->area);
	}
	free(d);
}
