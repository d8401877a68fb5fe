/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/listing.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void listing_init(struct listing *l)
{
	*l = (struct listing){0};
}

void listing_fini(struct listing *l)
{
	free(l->bytes);
	l->bytes = NULL;
}

void listing_restart(struct listing *l)
{
	/* Not when it was lost before it came to anything new. */
	if (path_compare(l->last, l->resume_after) > 0)
		memcpy(l->resume_after, l->last, sizeof(l->last));
	*l->last = '\0';
	l->asked = l->started = false;
	l->part = 0;
}

/* Room for LEN more bytes; what was taken makes way first. */
static int listing_reserve(struct listing *l, size_t len)
{
	if (l->pos == l->len)
		l->pos = l->len = 0;
	if (l->cap - l->len >= len)
		return 0;
	if (l->pos > 0)
		memmove(l->bytes, l->bytes + l->pos, l->len - l->pos);
	l->len -= l->pos;
	l->pos = 0;
	if (l->cap - l->len >= len)
		return 0;
	size_t cap = (l->len + len) * 2;
	uint8_t *bigger = realloc(l->bytes, cap);
	if (!bigger)
		return -ERR_RESOURCE;
	l->bytes = bigger;
	l->cap = cap;
	return 0;
}

/* Whether what PATH stands in was listed as a directory: the way to it leads through no
 * link that this listing had us make, also when another connection says otherwise of it.
 */
static bool listing_has_parent(const struct listing *l, const char *path)
{
	size_t len = path_parent_len(path);
	return len == 0 || (strncmp(l->dir, path, len) == 0 &&
				   (l->dir[len] == '/' || l->dir[len] == '\0'));
}

int listing_part_ends(struct listing *l, bool more)
{
	/* Else it could go on for ever. */
	if (more && l->part == 0)
		return -ERR_PROTOCOL;
	l->asked = false;
	l->ended = !more;
	l->part = 0;
	return 0;
}

int listing_add(struct listing *l, const uint8_t *payload, size_t len)
{
	struct msg_entry e;
	char path[PATH_WIRE_MAX + 1];
	int err = msg_entry_decode(&e, payload, len);
	if (err < 0 || ++l->part > LISTING_PART)
		return -ERR_PROTOCOL;
	memcpy(path, e.path.bytes, e.path.len);
	path[e.path.len] = '\0';
	/* An error can also be about a directory that came before what is in it. */
	if (e.kind != ENTRY_ERROR) {
		bool is_new = path_compare(path, l->resume_after) > 0;
		if (!*path || path_compare(path, l->last) <= 0 ||
			(is_new && !listing_has_parent(l, path)))
			return -ERR_PROTOCOL;
		memcpy(l->last, path, e.path.len + 1);
	}
	/* Errors behind the last entry may not have come on that connection. */
	int ahead = path_compare(l->last, l->resume_after);
	if (ahead < 0 || (ahead == 0 && e.kind != ENTRY_ERROR))
		return 0;
	if (e.kind == ENTRY_DIR)
		memcpy(l->dir, path, e.path.len + 1);
	uint32_t size = (uint32_t)len;
	err = listing_reserve(l, sizeof(size) + len);
	if (err < 0)
		return err;
	memcpy(l->bytes + l->len, &size, sizeof(size));
	memcpy(l->bytes + l->len + sizeof(size), payload, len);
	l->len += sizeof(size) + len;
	l->count++;
	return 0;
}

bool listing_take(struct listing *l, struct msg_entry *out)
{
	uint32_t size;
	if (l->count == 0)
		return false;
	memcpy(&size, l->bytes + l->pos, sizeof(size));
	/* It was decoded once already. */
	if (msg_entry_decode(out, l->bytes + l->pos + sizeof(size), size) < 0)
		return false;
	l->pos += sizeof(size) + size;
	l->count--;
	return true;
}
