/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/download.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "cli/download_impl.h"
#include "os/sock.h"
#include "transfer/prefix.h"

/* Bytes of unanswered requests: the server takes them in while it sends (channel.h). */
#define REQUEST_BYTES_MAX (96u << 10)
#define ID_RANGE          (1u << 30)
/* Partials that nobody came back for are removed, as by the daemon's default. */
#define PARTIAL_AGE_SEC (7 * 24 * 3600)

static struct download_slot *slot_at(struct downloads *d, uint64_t pos)
{
	return &d->slots[pos % SLOTS_MAX];
}

int download_local(const struct download_slot *s, char out[PATH_WIRE_MAX + 1])
{
	return path_join(out, PATH_WIRE_MAX + 1, s->tree->local, s->path);
}

int download_remote(const struct download_slot *s, char out[PATH_WIRE_MAX + 1])
{
	return path_join(out, PATH_WIRE_MAX + 1, s->tree->remote, s->path);
}

const char *download_name(
	const struct download_tree *tree, const char *local, char *buf, size_t cap)
{
	if (!*local)
		return tree->shown;
	return path_join(buf, cap, tree->shown, local) == 0 ? buf : local;
}

void download_fail_path(struct downloads *d, const struct download_tree *tree,
	const char *local, enum side side, int err, const char *detail)
{
	char name[NAME_CAP];
	report_failure(d->job->report, download_name(tree, local, name, sizeof(name)),
		side, err, detail);
}

void download_fail(struct downloads *d, const struct download_slot *s, enum side side,
	int err, const char *detail)
{
	char local[PATH_WIRE_MAX + 1], name[NAME_CAP];
	if (side == SIDE_SERVER && download_remote(s, local) == 0)
		report_failure(d->job->report, *local ? local : "/", side, err, detail);
	else if (download_local(s, local) == 0)
		report_failure(d->job->report,
			download_name(s->tree, local, name, sizeof(name)), side, err,
			detail);
	else
		report_failure(d->job->report, s->path, side, err, detail);
}

/* -- Requests ----------------------------------------------------------- */

static void slot_forget_offer(struct download_slot *s)
{
	stage_keep(&s->stage);
	s->stage = STAGE_NONE;
	digest_free(s->digest);
	s->digest = NULL;
	s->offset = 0;
}

int download_key(const struct downloads *d, const struct download_slot *s,
	const char *local, uint8_t key[STAGE_KEY_LEN])
{
	char remote[PATH_WIRE_MAX + 1], host[SOCK_HOST_MAX + 8];
	int err = download_remote(s, remote);
	if (err < 0)
		return err;
	snprintf(host, sizeof(host), "%s:%u", d->job->peer->host, d->job->opts->port);
	return prefix_key(key, host, local, remote, strlen(remote));
}

/* The partial of an earlier connection or run; none is no error. */
static int find_partial(struct downloads *d, struct download_slot *s)
{
	uint8_t key[STAGE_KEY_LEN];
	char local[PATH_WIRE_MAX + 1];
	struct dir *parent;
	const char *leaf;
	struct stat st;
	bool small = s->stat.size < CHECKPOINT_INTERVAL;
	if (!d->job->opts->resume || d->base_fd < 0 || small ||
		download_local(s, local) < 0 || download_key(d, s, local, key) < 0 ||
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
static int offer_streamed(struct downloads *d, struct download_slot *s)
{
	s->offset = d->streamed;
	return 0;
}

static int send_proof(struct downloads *d, struct download_slot *s)
{
	if (d->base_fd < 0)
		return prefix_send_proof(download_channel(d), s->id, d->digest);
	/* The server digests its side at the same time. */
	int err = channel_flush(download_channel(d));
	if (err == 0)
		err = prefix_digest(
			s->digest, s->stage.fd, s->offset, download_channel(d));
	return err < 0 ? err : prefix_send_proof(download_channel(d), s->id, s->digest);
}

static int send_get(struct downloads *d, struct download_slot *s)
{
	char remote[PATH_WIRE_MAX + 1];
	int err = download_remote(s, remote);
	if (err == 0)
		err = d->base_fd < 0 ? offer_streamed(d, s) : find_partial(d, s);
	if (err < 0)
		return err;
	struct msg_get m = {.alg = DIGEST_SHA256, .offset = s->offset};
	channel_expect_work(download_channel(d), s->offset);
	m.path = (struct wire_str){remote, strlen(remote)};
	struct wcur w;
	channel_begin(download_channel(d), &w);
	msg_get_encode(&w, &m);
	err = channel_end(download_channel(d), &w, MSG_GET, s->id);
	return err == 0 && s->offset > 0 ? send_proof(d, s) : err;
}

static int send_list(struct downloads *d, struct download_slot *s)
{
	struct wcur w;
	channel_begin(download_channel(d), &w);
	if (d->listing.started) {
		msg_next_encode(&w, &(struct msg_next){.max = LISTING_PART});
		return channel_end(download_channel(d), &w, MSG_NEXT, s->id);
	}
	d->listing.started = true;
	const char *remote = s->tree->remote;
	struct msg_list m = {.flags = LIST_RECURSIVE, .max = LISTING_PART};
	m.path = (struct wire_str){remote, strlen(remote)};
	msg_list_encode(&w, &m);
	return channel_end(download_channel(d), &w, MSG_LIST, s->id);
}

static int send_request(struct downloads *d, struct download_slot *s)
{
	return s->kind == SLOT_FILE   ? send_get(d, s)
	       : s->kind == SLOT_LIST ? send_list(d, s)
				      : 0;
}

/* -- Publishing --------------------------------------------------------- */

static int download_done(void *ctx, const struct batch_tag *tag, int result)
{
	struct downloads *d = ctx;
	char name[NAME_CAP];
	if (result < 0) {
		download_fail_path(d, d->done_tree, tag->path, SIDE_LOCAL, result, NULL);
		return 0;
	}
	if (!tag->is_file)
		return 0;
	struct file_result r = {
		.path = download_name(d->done_tree, tag->path, name, sizeof(name)),
		.outcome = OUTCOME_MOVED,
		.size = tag->size,
		.resumed_from = tag->resumed_from,
		.digest = tag->digest,
		.durability = d->job->opts->sync ? DURABLE_DISK : DURABLE_NOT,
	};
	report_file_done(d->job->report, &r);
	return 0;
}

static void note_made(struct downloads *d, struct dir *parent)
{
	if (parent->made > 0)
		batch_made_dirs(d->batch);
	parent->made = 0;
}

int download_open_parent(struct downloads *d, const char *local, struct dir **out)
{
	const char *leaf;
	int err = dir_cache_parent(&d->dirs, local, true, out, &leaf);
	if (err == 0)
		note_made(d, *out);
	return err;
}

/* -- Answers in order ---------------------------------------------------- */

static int receive_error(
	struct downloads *d, struct download_slot *s, const struct channel_msg *m)
{
	struct msg_error e;
	char text[MSG_TEXT_MAX + 1];
	int err = msg_error_decode(&e, m->payload, m->len);
	if (err < 0)
		return err;
	memcpy(text, e.text.bytes, e.text.len);
	text[e.text.len] = '\0';
	bool plain = strcmp(text, err_text(e.code)) == 0;
	download_fail(d, s, SIDE_SERVER, -(int)e.code, plain ? NULL : text);
	return 0;
}

static void slot_release(struct download_slot *s)
{
	stage_keep(&s->stage);
	s->stage = STAGE_NONE;
	digest_free(s->digest);
	s->digest = NULL;
}

static void pop(struct downloads *d)
{
	struct download_slot *s = slot_at(d, d->first);
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
	err = listing_part_ends(&d->listing, listed.more);
	if (err == 0)
		pop(d);
	return err;
}

static int take_attr(struct downloads *d, struct download_slot *s)
{
	char local[PATH_WIRE_MAX + 1];
	int err = download_local(s, local);
	int fd = err < 0 ? err
			 : beneath_open(d->base_fd, local, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0) {
		download_fail_path(d, s->tree, local, SIDE_LOCAL, fd, NULL);
		return 0;
	}
	d->done_tree = s->tree;
	struct batch_tag tag = {.path = local};
	return batch_add_attr(d->batch, &tag, fd, s->stat.mode, &s->stat.mtime);
}

/* Takes the next answer, or does the next thing that needs none. */
static int take_next(struct downloads *d)
{
	struct download_slot *s = slot_at(d, d->first);
	struct channel_msg m;
	int err;
	if (s->kind == SLOT_ATTR) {
		err = take_attr(d, s);
		pop(d);
		return err;
	}
	err = channel_read(download_channel(d), &m);
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
		err = download_receive(d, s, &m);
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
		struct download_slot *s = slot_at(d, pos);
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
		err = peer_reconnect(d->job->peer, err);
		if (err < 0)
			return err;
		err = request_again(d);
	}
	return 0;
}

int download_step(struct downloads *d)
{
	int err = take_next(d);
	if (err == 0 && d->leave) {
		err = peer_renew(d->job->peer);
		if (err == 0)
			err = request_again(d);
	}
	return recover(d, err);
}

static int slot_set_path(struct download_slot *s, const char *path, size_t len)
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

int download_add(struct downloads *d, enum slot_kind kind,
	const struct download_tree *tree, const char *path, size_t path_len,
	const struct remote_stat *st)
{
	size_t request_len = strlen(tree->remote) + path_len + 64;
	int err = 0;
	while (err == 0 && d->first < d->end &&
		(d->end - d->first >= d->capacity ||
			d->request_bytes + request_len > REQUEST_BYTES_MAX))
		err = download_step(d);
	if (err < 0)
		return err;
	struct download_slot *s = slot_at(d, d->end);
	*s = (struct download_slot){
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

int downloads_file(struct downloads *d, const struct download_tree *tree,
	const struct remote_stat *st)
{
	struct remote_stat unknown = {.kind = ENTRY_FILE, .size = MSG_SIZE_UNKNOWN};
	return download_add_file(d, tree, "", 0, st ? st : &unknown);
}

int downloads_settle(struct downloads *d)
{
	int err = 0;
	while (err == 0 && d->first < d->end)
		err = download_step(d);
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
	/* What killed runs have left; it is no matter when it fails. */
	(void)!stage_sweep(base_fd, time(NULL), PARTIAL_AGE_SEC);
	int err = stage_area_init(&d->area, base_fd);
	if (err == 0)
		err = batch_new(&d->batch, base_fd, d->job->opts->sync, download_done, d);
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
