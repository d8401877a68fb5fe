/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/room.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"

/* A large tree takes its time to walk: the client is not to take us for dead. */
static int room_beat(void *ctx)
{
	struct conn *c = ctx;

	return channel_send_note(c->channel, 0);
}

static void room_explain(const struct room *r, const struct account_room *left,
	uint64_t files, uint64_t bytes, char text[ROOM_TEXT_MAX])
{
	char needs[TEXT_SIZE_MAX], has[TEXT_SIZE_MAX];

	if (bytes > left->bytes)
		snprintf(text, ROOM_TEXT_MAX, "needs %s, has %s",
			text_format_size(needs, r->bytes + bytes),
			text_format_size(has, r->bytes + left->bytes));
	else
		snprintf(text, ROOM_TEXT_MAX,
			"needs %" PRIu64 " more names, has %" PRIu64, files, left->files);
}

int room_take(struct conn *c, struct room *r, uint64_t files, uint64_t bytes,
	char text[ROOM_TEXT_MAX])
{
	struct account_room left;
	int err;

	if (!c->account || (files == 0 && bytes == 0))
		return 0;
	account_on_beat(c->account, room_beat, c);
	err = account_reserve(c->account, files, bytes, &left);
	/* What is published can be seen to replace something. */
	if (err == -ERR_QUOTA && c->batch && !batch_is_empty(c->batch)) {
		err = conn_commit(c);
		if (err == 0)
			err = account_reserve(c->account, files, bytes, &left);
	}
	if (err == -ERR_QUOTA)
		room_explain(r, &left, files, bytes, text);
	if (err < 0)
		return err;
	r->files += files;
	r->bytes += bytes;
	return 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void room_settle(struct conn *c, struct room *r, uint64_t files, uint64_t bytes)
{
	struct room there = {
		.files = smaller(files, r->files),
		.bytes = smaller(bytes, r->bytes),
	};

	if (!c->account)
		return;
	if (there.files > 0 || there.bytes > 0)
		account_settle(c->account, there.files, there.bytes);
	account_release(c->account, r->files - there.files, r->bytes - there.bytes);
	*r = (struct room){0};
}

void room_shrink(struct conn *c, struct room *r, uint64_t bytes)
{
	if (bytes >= r->bytes)
		return;
	account_release(c->account, 0, r->bytes - bytes);
	r->bytes = bytes;
}

int room_cut(struct conn *c, int fd, uint64_t len)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || ftruncate(fd, (off_t)len) < 0)
		return -err_from_errno(errno);
	if (c->account && (uint64_t)st.st_size > len)
		account_forget(c->account);
	return 0;
}

void room_give(struct room *r, struct batch_tag *tag)
{
	tag->room_files = r->files;
	tag->room_bytes = r->bytes;
	*r = (struct room){0};
}

void room_done(struct conn *c, const struct batch_tag *tag, int result)
{
	struct room r = {.files = tag->room_files, .bytes = tag->room_bytes};

	if (r.files > 0 || r.bytes > 0)
		room_settle(c, &r, result == 0 ? r.files : 0, result == 0 ? r.bytes : 0);
}

/* How many of the directories on the way to PATH's parent are not there. */
static unsigned parents_missing(const struct conn *c, const char *path)
{
	char at[PATH_WIRE_MAX + 1];
	struct stat st;
	unsigned count = 0;

	snprintf(at, sizeof(at), "%s", path);
	for (size_t len; (len = path_parent_len(at)) > 0; count++) {
		at[len] = '\0';
		if (beneath_lstat(c->root_fd, at, &st) != -ERR_NOT_FOUND)
			break;
	}
	return count;
}

int room_parent(struct conn *c, struct room *r, const char *path, bool make,
	struct dir **dir_out, const char **leaf_out, char text[ROOM_TEXT_MAX])
{
	unsigned before, after, made;
	int err;

	if (!make || !account_has_quota(c->account))
		return dir_cache_parent(&c->dirs, path, make, dir_out, leaf_out);
	err = dir_cache_parent(&c->dirs, path, false, dir_out, leaf_out);
	if (err != -ERR_NOT_FOUND)
		return err;
	before = parents_missing(c, path);
	err = room_take(c, r, before + 1, 0, text);
	if (err < 0)
		return err;
	err = dir_cache_parent(&c->dirs, path, true, dir_out, leaf_out);
	/* Some may be there even when this failed. */
	after = parents_missing(c, path);
	made = after < before ? before - after : 0;
	account_settle(c->account, made, 0);
	account_release(c->account, before - made, 0);
	r->files = 1;
	return err;
}
