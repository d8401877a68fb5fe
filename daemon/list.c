/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Listings, in parts that the client asks for, so that neither side holds a
 * tree in memory. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "daemon/conn.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/link.h"
#include "transfer/source.h"

#define PART_DEFAULT 1024

static int send_entry(struct conn *c, uint32_t id, const struct msg_entry *e)
{
	struct wcur w;
	channel_begin(c->channel, &w);
	msg_entry_encode(&w, e);
	return channel_end(c->channel, &w, MSG_ENTRY, id);
}

static int send_listed(struct conn *c, uint32_t id, bool more)
{
	struct wcur w;
	channel_begin(c->channel, &w);
	msg_listed_encode(&w, &(struct msg_listed){.more = more});
	return channel_end(c->channel, &w, MSG_LISTED, id);
}

static void entry_set_stat(struct msg_entry *e, const struct stat *st)
{
	e->kind = S_ISREG(st->st_mode)   ? ENTRY_FILE
		  : S_ISDIR(st->st_mode) ? ENTRY_DIR
		  : S_ISLNK(st->st_mode) ? ENTRY_LINK
					 : ENTRY_OTHER;
	e->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	e->mode = st->st_mode & 0777;
	e->mtime = msg_time_of(&st->st_mtim);
}

static void entry_set_error(struct msg_entry *e, int err)
{
	e->size = 0;
	e->kind = ENTRY_ERROR;
	e->code = (uint16_t)-err;
}

/* The root itself, or what a single path leads to (links are followed). */
int conn_stat(struct conn *c, const struct channel_msg *m)
{
	struct msg_stat request;
	int err = msg_stat_decode(&request, m->payload, m->len);
	if (err < 0)
		return err == -ERR_PROTOCOL ? err : conn_refuse(c, m->id, err, NULL);
	char path[PATH_WIRE_MAX + 1];
	conn_path(path, &request.path);
	struct stat st;
	FD_OWNED fd = beneath_open(c->root_fd, path, O_PATH, 0);
	if (fd < 0)
		return conn_refuse(c, m->id, fd, NULL);
	if (fstat(fd, &st) < 0)
		return conn_refuse(c, m->id, -ERR_IO, NULL);
	struct msg_entry e = {.path = {"", 0}, .target = {"", 0}};
	entry_set_stat(&e, &st);
	return send_entry(c, m->id, &e);
}

/* What no message can name is told of as the directory in which it stands. */
static struct wire_str entry_path(const struct walk_entry *w)
{
	size_t len = strlen(w->path);
	if (path_check(w->path, len) < 0)
		len = path_parent_len(w->path);
	return (struct wire_str){w->path, len};
}

static int list_entry(struct conn *c, uint32_t id, int base, const struct walk_entry *w)
{
	char target[PATH_TARGET_MAX + 1] = "";
	struct stat st;
	struct msg_entry e = {.path = entry_path(w), .target = {"", 0}};
	int err = w->error ? w->error : path_check(w->path, strlen(w->path));
	if (err == 0 && fstatat(w->parent_fd, w->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		err = -ERR_NOT_FOUND;
	if (err == 0)
		entry_set_stat(&e, &st);
	if (err == 0 && e.kind == ENTRY_LINK)
		err = link_read_inside(base, w->path, w->parent_fd, w->name, target);
	if (err < 0)
		entry_set_error(&e, err);
	else
		e.target = (struct wire_str){target, strlen(target)};
	return send_entry(c, id, &e);
}

static void list_end(struct conn *c)
{
	walk_free(c->walk);
	c->walk = NULL;
	fd_close(c->walk_base);
	c->walk_base = -1;
}

/* The next MAX entries of the walk. */
static int list_part(struct conn *c, uint32_t id, uint32_t max)
{
	struct walk_entry w;
	int got = 1, err = 0;
	for (uint32_t i = 0; i < (max ? max : PART_DEFAULT) && err == 0; i++) {
		do
			got = walk_next(c->walk, &w);
		while (got > 0 && w.leave);
		if (got <= 0)
			break;
		err = list_entry(c, id, c->walk_base, &w);
	}
	if (err < 0)
		return err;
	if (got <= 0)
		list_end(c);
	return got < 0 ? conn_refuse(c, id, got, NULL) : send_listed(c, id, got > 0);
}

int conn_list(struct conn *c, const struct channel_msg *m)
{
	struct msg_list list;
	int err = msg_list_decode(&list, m->payload, m->len);
	if (err < 0)
		return err == -ERR_PROTOCOL ? err : conn_refuse(c, m->id, err, NULL);
	char path[PATH_WIRE_MAX + 1];
	conn_path(path, &list.path);
	list_end(c);
	struct conn_event event = {
		.op = "list", .path = path, .started_ms = clock_now_ms()};
	c->walk_base = beneath_open(c->root_fd, path, O_RDONLY | O_DIRECTORY, 0);
	err = c->walk_base < 0
		      ? c->walk_base
		      : walk_new(&c->walk, c->walk_base, "", list.flags & LIST_RECURSIVE);
	event.result = err;
	conn_log(c, &event);
	if (err < 0) {
		list_end(c);
		return conn_refuse(c, m->id, err, NULL);
	}
	return list_part(c, m->id, list.max);
}

int conn_next(struct conn *c, const struct channel_msg *m)
{
	struct msg_next next;
	int err = msg_next_decode(&next, m->payload, m->len);
	if (err < 0)
		return err;
	/* Silence about the rest of a listing would pass for its end. */
	if (!c->walk)
		return -ERR_PROTOCOL;
	return list_part(c, m->id, next.max);
}
