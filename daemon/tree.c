/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What makes a tree beside its files: directories, links, attributes.  All
 * are answered through the batch, in order with the uploads around them. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "daemon/conn.h"
#include "daemon/room.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/link.h"

static struct batch_tag tag_of(const struct channel_msg *m, const char *path)
{
	return (struct batch_tag){
		.id = m->id, .path = path, .started_ms = clock_now_ms()};
}

/* The batch as it is: the request does not say whether it is to be flushed. */
static int any_batch(struct conn *c)
{
	return conn_batch(c, c->batch ? c->batch_sync : true);
}

/* Ends a request that was decoded with ERR or failed with it; TEXT (or NULL) may
 * say more. */
static int fail(struct conn *c, const struct channel_msg *m, const char *path, int err,
	const char *text)
{
	if (err == -ERR_PROTOCOL || channel_error(c->channel))
		return err;
	bool explained = err == -ERR_QUOTA && text && *text;
	if (explained || any_batch(c) < 0)
		return conn_refuse(c, m->id, err, explained ? text : NULL);
	struct batch_tag tag = tag_of(m, path);
	return batch_add_result(c->batch, &tag, err);
}

/* The directory that a new name goes into; parents are made when FLAGS say so. */
static int open_parent(struct conn *c, struct room *room, const char *path,
	uint32_t flags, struct dir **out, char text[ROOM_TEXT_MAX])
{
	const char *leaf;
	int err = conn_batch(c, !(flags & PUT_NO_SYNC));
	if (err == 0)
		err = room_parent(c, room, path, flags & PUT_PARENTS, out, &leaf, text);
	if (err == 0)
		conn_note_made(c, *out);
	return err;
}

/* Room for the name of PATH in PARENT, unless it is there.  Whether it is, is not to be
 * learnt from the quota by a client that may not know, or must not replace it:
 * MAY_BE_NEW.
 */
static int room_for_name(struct conn *c, struct room *room, const struct dir *parent,
	const char *path, bool may_be_new, char text[ROOM_TEXT_MAX])
{
	struct stat st;
	if (room->files > 0 || !account_has_quota(c->account))
		return 0;
	bool is_new = may_be_new ||
		      fstatat(parent->fd, path_leaf(path), &st, AT_SYMLINK_NOFOLLOW) < 0;
	return room_take(c, room, is_new, 0, text);
}

/* 1 when it was made, 0 when it was there. */
static int make_with_room(struct conn *c, struct room *room, const struct dir *parent,
	const char *path, mode_t mode, char text[ROOM_TEXT_MAX])
{
	bool blind = !(channel_session(c->channel)->rights & RIGHTS_SEE);
	int err = room_for_name(c, room, parent, path, blind, text);
	return err < 0 ? err : dir_make(parent, c->root_fd, path, mode);
}

int conn_mkdir(struct conn *c, const struct channel_msg *m)
{
	struct msg_mkdir mk;
	char path[PATH_WIRE_MAX + 1] = "", text[ROOM_TEXT_MAX] = "";
	int err = msg_mkdir_decode(&mk, m->payload, m->len);
	if (err < 0)
		return fail(c, m, path, err, text);
	conn_path(path, &mk.path);
	struct dir *parent = NULL;
	struct room room = {0};
	if (*path) {
		err = open_parent(c, &room, path, mk.flags, &parent, text);
		if (err == 0)
			err = make_with_room(c, &room, parent, path, mk.mode, text);
	} else { /* the root is there */
		err = any_batch(c);
	}
	room_settle(c, &room, err == 1, 0);
	struct batch_tag tag = tag_of(m, path);
	err = err < 0 ? fail(c, m, path, err, text)
		      : batch_add_made(c->batch, &tag, parent, -1);
	dir_put(parent);
	return err;
}

int conn_link(struct conn *c, const struct channel_msg *m)
{
	struct msg_link link;
	char path[PATH_WIRE_MAX + 1] = "", target[PATH_TARGET_MAX + 1];
	char text[ROOM_TEXT_MAX] = "";
	struct room room = {0};
	int err = msg_link_decode(&link, m->payload, m->len);
	if (err < 0)
		return fail(c, m, path, err, text);
	conn_path(path, &link.path);
	memcpy(target, link.target.bytes, link.target.len);
	target[link.target.len] = '\0';
	struct dir *parent = NULL;
	struct stage stage = STAGE_NONE;
	bool may_replace = channel_session(c->channel)->rights & RIGHT_WRITE;
	bool no_clobber = (link.flags & PUT_NO_CLOBBER) || !may_replace;
	err = open_parent(c, &room, path, link.flags, &parent, text);
	if (err == 0)
		err = room_for_name(c, &room, parent, path, no_clobber, text);
	if (err == 0)
		err = link_check_target(c->root_fd, parent->fd, target);
	if (err == 0)
		err = stage_link(&c->area, parent, target, &stage);
	struct batch_tag tag = tag_of(m, path);
	tag.must_be_new = !may_replace && !(link.flags & PUT_NO_CLOBBER);
	if (err == 0)
		room_give(&room, &tag);
	err = err < 0 ? fail(c, m, path, err, text)
		      : batch_add_stage(c->batch, &tag, &stage, parent, no_clobber);
	room_settle(c, &room, 0, 0);
	dir_put(parent);
	return err;
}

int conn_attr(struct conn *c, const struct channel_msg *m)
{
	struct msg_attr attr;
	char path[PATH_WIRE_MAX + 1] = "";
	int err = msg_attr_decode(&attr, m->payload, m->len);
	if (err < 0)
		return fail(c, m, path, err, NULL);
	conn_path(path, &attr.path);
	/* The mode of the root is for nobody. */
	if (!*path)
		return fail(c, m, path, -ERR_DENIED, NULL);
	int fd = beneath_open(c->root_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fail(c, m, path, fd, NULL);
	err = any_batch(c);
	if (err < 0) {
		fd_close(fd);
		return fail(c, m, path, err, NULL);
	}
	struct batch_tag tag = tag_of(m, path);
	return batch_add_attr(c->batch, &tag, fd, attr.mode, &attr.mtime);
}

/* Everything before it has been committed by the dispatcher. */
int conn_flush(struct conn *c, const struct channel_msg *m)
{
	struct msg_ok ok = {.durability = c->batch_sync ? DURABLE_DISK : DURABLE_NOT};
	if (m->len != 0)
		return -ERR_PROTOCOL;
	struct wcur w;
	channel_begin(c->channel, &w);
	msg_ok_encode(&w, &ok);
	return channel_end(c->channel, &w, MSG_OK, m->id);
}
