/* SPDX-License-Identifier: GPL-3.0-or-later */
/* PUT: receive into a stage, verify, hand it to the batch, which publishes and answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "daemon/conn.h"
#include "daemon/room.h"
#include "os/clock.h"
#include "os/fd.h"
#include "transfer/attr.h"
#include "transfer/prefix.h"
#include "transfer/receiver.h"
#include "transfer/source.h"

/* Of a file of unknown size so much room is reserved ahead, where there is so much. */
#define ROOM_STEP (4u << 20)

/* One upload on its way. */
struct upload {
	struct conn *conn; /* borrowed */
	uint32_t id;
	struct msg_put put;
	struct msg_file file;
	char path[PATH_WIRE_MAX + 1];
	struct dir *parent;       /* owned reference */
	const char *leaf;         /* within path */
	struct stage stage;       /* owned */
	struct room room;         /* reserved for what is to come */
	char text[ROOM_TEXT_MAX]; /* why it is refused, where a code is not enough */
	int whole_fd; /* owned: the finished file that was offered and taken up */
	struct claim own_claim;
	struct claim *claim; /* borrowed: own_claim, or the one of the offer that was
				taken up */
	uint8_t key[STAGE_KEY_LEN]; /* of path and tag; when something is offered or kept
				     */
	bool offered;               /* the offer is for this and is taken up */
	bool must_be_new;           /* the client did not ask for that, but may no more */
	bool answered;              /* an ERROR was sent; the rest is drained */
	int64_t started_ms;
};

/* -- Before the data ----------------------------------------------------- */

static bool is_large(const struct msg_file *file)
{
	return file->size >= CHECKPOINT_INTERVAL;
}

/* A partial is continued or begun anew; of a whole file nothing is sent. */
static bool offer_fits(const struct offer *o, const struct msg_file *file)
{
	if (o->kind == OFFER_WHOLE)
		return file->offset == o->offset && file->size == o->offset;
	return file->offset == o->offset || file->offset == 0;
}

/* Finds out whether this is what was offered, by its id, name and tag.  An offer for
 * anything else is over. */
static int upload_match_offer(struct upload *u)
{
	struct offer *o = &u->conn->offer;
	int err = 0;
	if (o->id == u->id || (u->put.flags & PUT_RESUMABLE))
		err = prefix_key(
			u->key, u->conn->identity, u->path, u->put.tag, MSG_TAG_LEN);
	u->offered = err == 0 && o->id == u->id &&
		     memcmp(o->key, u->key, STAGE_KEY_LEN) == 0 &&
		     offer_fits(o, &u->file);
	if (!u->offered && o->id != 0)
		conn_offer_drop(u->conn);
	return !u->offered && u->file.offset != 0 ? -ERR_PROTOCOL : err;
}

/* Who must not replace a file needs a name for it, be there one or not: a client that may
 * not know which names exist does not learn it from its quota. */
static bool upload_is_new(const struct upload *u)
{
	struct stat st;
	return (u->put.flags & PUT_NO_CLOBBER) ||
	       fstatat(u->parent->fd, u->leaf, &st, AT_SYMLINK_NOFOLLOW) < 0;
}

/* Room for what is to come; of unknown size nothing yet. */
static int upload_reserve(struct upload *u)
{
	struct conn *c = u->conn;
	struct offer *o = &c->offer;
	int err = 0;
	if ((u->offered && o->kind == OFFER_WHOLE) || !account_has_quota(c->account))
		return 0;
	/* What is not continued makes room first. */
	if (u->offered)
		err = room_cut(c, o->stage.fd, u->file.offset);
	uint64_t bytes = msg_file_left(&u->file);
	bool needs_name = u->room.files == 0 && upload_is_new(u);
	return err < 0 ? err : room_take(c, &u->room, needs_name, bytes, u->text);
}

/* Says early what would only fail at the end: a name that is taken, a disk
 * that is too small.  Small files are cheaper tried than asked about. */
static int upload_precheck(struct upload *u)
{
	struct stat st;
	bool no_clobber = u->put.flags & PUT_NO_CLOBBER;
	if (u->offered && u->conn->offer.kind == OFFER_WHOLE)
		return 0;
	if ((no_clobber || is_large(&u->file)) &&
		fstatat(u->parent->fd, u->leaf, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (S_ISDIR(st.st_mode))
			return -ERR_IS_DIR;
		if (no_clobber)
			return u->must_be_new ? -ERR_DENIED : -ERR_EXISTS;
	}
	struct statvfs fs;
	if (!is_large(&u->file) || u->file.size == MSG_SIZE_UNKNOWN ||
		(u->file.flags & FILE_SPARSE) || fstatvfs(u->parent->fd, &fs) < 0)
		return 0;
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize,
		 need = u->file.size - u->file.offset;
	if (need <= room)
		return 0;
	char needs[TEXT_SIZE_MAX], has[TEXT_SIZE_MAX];
	snprintf(u->text, sizeof(u->text), "the disk is full (needs %s, has %s)",
		text_format_size(needs, need), text_format_size(has, room));
	return -ERR_NO_SPACE;
}

/* The stage or file that was offered, with the digest of its beginning. */
static void upload_take_offer(struct upload *u)
{
	struct offer *o = &u->conn->offer;
	u->stage = o->stage;
	o->stage = STAGE_NONE;
	u->whole_fd = fd_take(&o->fd);
	u->claim = &u->conn->claim;
	o->id = 0;
	if (u->file.offset == 0)
		return;
	struct digest *d = u->conn->digest;
	u->conn->digest = o->digest;
	o->digest = d;
}

/* A stage that is kept when this breaks off; a private one while another
 * connection holds the place. */
static int upload_open_resumable(struct upload *u)
{
	struct conn *c = u->conn;
	int err = conn_claim(c, u->claim, u->key);
	if (err == 0)
		err = stage_resume(&c->area, u->parent, u->key, true, &u->stage);
	if (err == -ERR_BUSY)
		err = stage_create(&c->area, u->parent, &u->stage);
	return err;
}

static int upload_open_stage(struct upload *u)
{
	struct conn *c = u->conn;
	int err = 0;
	if (u->offered)
		upload_take_offer(u);
	else if (u->put.flags & PUT_RESUMABLE)
		err = upload_open_resumable(u);
	else
		err = stage_create(&c->area, u->parent, &u->stage);
	if (err == 0 && u->stage.resumable)
		err = room_cut(c, u->stage.fd, u->file.offset);
	if (err == 0 && u->file.offset == 0)
		err = digest_start(c->digest);
	return err;
}

static int upload_open(struct upload *u)
{
	struct conn *c = u->conn;
	bool parents = u->put.flags & PUT_PARENTS;
	if (u->put.alg != DIGEST_SHA256)
		return -ERR_UNSUPPORTED;
	if (!(channel_session(c->channel)->rights & RIGHT_WRITE)) {
		u->must_be_new = !(u->put.flags & PUT_NO_CLOBBER);
		u->put.flags |= PUT_NO_CLOBBER;
	}
	int err = upload_match_offer(u);
	if (err == 0)
		err = conn_batch(c, !(u->put.flags & PUT_NO_SYNC));
	if (err == 0)
		err = room_parent(
			c, &u->room, u->path, parents, &u->parent, &u->leaf, u->text);
	if (err < 0)
		return err;
	/* Now: they stay when this fails, and the next to come here does not know them as
	 * new. */
	conn_note_made(c, u->parent);
	err = upload_reserve(u);
	if (err == 0)
		err = upload_precheck(u);
	if (err == 0)
		err = upload_open_stage(u);
	return err;
}

/* -- The data and after --------------------------------------------------- */

/* A file of unknown size grows to END bytes. */
static int upload_admit(void *ctx, uint64_t end)
{
	struct upload *u = ctx;
	uint64_t has = u->file.offset + u->room.bytes;
	int err = -ERR_QUOTA;
	if (end <= has)
		return 0;
	if (end - has < ROOM_STEP)
		err = room_take(u->conn, &u->room, 0, ROOM_STEP, u->text);
	if (err == -ERR_QUOTA)
		err = room_take(u->conn, &u->room, 0, end - has, u->text);
	return err;
}

static void upload_progress(void *ctx, uint64_t bytes)
{
	struct upload *u = ctx;
	(void)bytes;
	if (u->claim->held)
		claim_progress(u->conn->env->claims, u->claim);
}

/* Why, where a code is not enough; or NULL. */
static const char *upload_words(const struct upload *u, int err)
{
	bool has = (err == -ERR_NO_SPACE || err == -ERR_QUOTA) && *u->text;
	return has ? u->text : NULL;
}

/* Answers as soon as it is clear that this file fails, so that the client stops. */
static int upload_failed(void *ctx, int err)
{
	struct upload *u = ctx;
	u->answered = true;
	conn_log(u->conn,
		&(struct conn_event){
			.op = "put",
			.path = u->path,
			.bytes = u->file.size == MSG_SIZE_UNKNOWN ? 0 : u->file.size,
			.started_ms = u->started_ms,
			.result = err,
		});
	int failed = conn_refuse(u->conn, u->id, err, upload_words(u, err));
	return failed < 0 ? failed : channel_flush(u->conn->channel);
}

static int upload_set_attr(const struct upload *u)
{
	bool whole = u->whole_fd >= 0;
	/* What stands there is not to be replaced, so it is not changed either. */
	if (whole && (u->put.flags & PUT_NO_CLOBBER))
		return 0;
	return attr_set_received(whole ? u->whole_fd : u->stage.fd, &u->file,
		u->put.flags & PUT_PRESERVE, u->conn->env->umask,
		!whole && !u->stage.resumable);
}

static int upload_publish(struct upload *u, const struct received *got)
{
	struct conn *c = u->conn;
	struct batch_tag tag = {
		.id = u->id,
		.path = u->path,
		.is_file = true,
		.size = got->size,
		.resumed_from = u->file.offset,
		.must_be_new = u->must_be_new,
		.started_ms = u->started_ms,
	};
	memcpy(tag.digest, got->digest, DIGEST_LEN);
	room_shrink(c, &u->room, got->size - u->file.offset);
	room_give(&u->room, &tag);
	int err = upload_set_attr(u);
	if (err < 0)
		return batch_add_result(c->batch, &tag, err);
	if (u->whole_fd >= 0)
		return batch_add_made(c->batch, &tag, u->parent, fd_take(&u->whole_fd));
	return batch_add_stage(
		c->batch, &tag, &u->stage, u->parent, u->put.flags & PUT_NO_CLOBBER);
}

/* What is left of an upload that broke off: its verified beginning, or nothing. */
static void upload_leave(struct upload *u, const struct received *got, int err)
{
	struct conn *c = u->conn;
	bool keep = u->stage.resumable && got->aborted != ERR_CHANGED &&
		    !(err == -ERR_ABORTED && got->aborted == ERR_MISMATCH);
	uint64_t kept = keep ? got->good : 0;
	stage_break_off(&u->stage, kept);
	if (u->whole_fd < 0 && kept < u->file.offset && c->account)
		account_forget(c->account);
	room_settle(c, &u->room, 0, kept > u->file.offset ? kept - u->file.offset : 0);
}

static int upload_receive(struct upload *u)
{
	struct conn *c = u->conn;
	struct receiver r = {
		.channel = c->channel,
		.digest = c->digest,
		.fd = u->stage.fd,
		.write_behind = c->batch_sync && is_large(&u->file),
		.parallel = server_ring_pays(
			c->env->server, channel_fd(c->channel), msg_file_left(&u->file)),
		.admit = u->file.size == MSG_SIZE_UNKNOWN && account_has_quota(c->account)
				 ? upload_admit
				 : NULL,
		.progress = upload_progress,
		.failed = upload_failed,
		.ctx = u,
	};
	struct received got;
	int err = receiver_receive(&r, &u->file, &got);
	if (err == 0 && server_conn_is_revoked(c->env->slot))
		err = -ERR_CLOSED;
	if (err == 0)
		return upload_publish(u, &got);
	upload_leave(u, &got, err);
	if (err_is_connection(err) && !u->answered)
		conn_log(c, &(struct conn_event){.op = "put",
				    .path = u->path,
				    .bytes = got.good,
				    .started_ms = u->started_ms,
				    .result = err});
	if (err_is_connection(err) || u->answered)
		return err_is_connection(err) ? err : 0;
	return conn_refuse(c, u->id, err, NULL);
}

/* Refuses before any data was looked at, and lets it pass.  A small file is refused in
 * its turn with the batch, so that many of them do not make many small batches. */
static int upload_refuse(struct upload *u, int err)
{
	struct conn *c = u->conn;
	struct batch_tag tag = {.id = u->id,
		.path = u->path,
		.is_file = true,
		.started_ms = u->started_ms};
	const char *text = upload_words(u, err);
	int failed;
	if (c->batch && !is_large(&u->file) && !text) {
		failed = batch_add_result(c->batch, &tag, err);
	} else {
		conn_log(c, &(struct conn_event){.op = "put",
				    .path = u->path,
				    .started_ms = u->started_ms,
				    .result = err});
		failed = conn_refuse(c, u->id, err, text);
		if (failed == 0)
			failed = channel_flush(c->channel);
	}
	return failed < 0 ? failed : channel_drain(c->channel);
}

static int upload_run(struct upload *u)
{
	struct channel_msg m;
	int err = channel_read(u->conn->channel, &m);
	if (err < 0)
		return err;
	if (m.type == MSG_ABORT)
		return conn_refuse(u->conn, u->id, -ERR_ABORTED, NULL);
	err = msg_file_decode(&u->file, m.payload, m.len);
	if (err < 0)
		return err;
	err = upload_open(u);
	if (err == -ERR_PROTOCOL || channel_error(u->conn->channel))
		return err;
	return err < 0 ? upload_refuse(u, err) : upload_receive(u);
}

int conn_put(struct conn *c, const struct channel_msg *m)
{
	struct upload u = {
		.conn = c,
		.id = m->id,
		.stage = STAGE_NONE,
		.whole_fd = -1,
		.started_ms = clock_now_ms(),
	};
	u.claim = &u.own_claim;
	int err = msg_put_decode(&u.put, m->payload, m->len);
	if (err == -ERR_PROTOCOL)
		return err;
	if (err < 0) {
		int failed = conn_refuse(c, m->id, err, NULL);
		return failed < 0 ? failed : channel_drain(c->channel);
	}
	conn_path(u.path, &u.put.path);
	err = upload_run(&u);
	stage_discard(&u.stage);
	room_settle(c, &u.room, 0, 0);
	fd_close(u.whole_fd);
	dir_put(u.parent);
	claim_drop(c->env->claims, u.claim);
	return err;
}
