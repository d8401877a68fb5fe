/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/beneath.h"
#include "os/fd.h"

/* Ancestors keep so many windows together; beyond that they read again. */
#define HELD_WINDOWS 4

#define DENTS_SIZE 32768
#define DIR_FLAGS  (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

struct slot {
	uint32_t off; /* of the name in bytes */
	uint8_t type; /* DT_… */
};

/* An open directory on the way down, and its window of names. */
struct level {
	int fd;          /* owned */
	size_t path_len; /* of the directory's own path */
	size_t name_at;  /* where the names in it begin in the walk's path */
	char *bytes;     /* owned: the names, each with its NUL */
	size_t byte_cap;
	size_t used;
	struct slot *slots; /* owned: in the order of their names once read */
	size_t slot_cap;
	size_t count;
	size_t next;    /* slot that comes next */
	bool cut;       /* names beyond the one at bound were left out */
	uint32_t bound; /* like slot.off */
	bool complete;  /* nothing follows the last slot */
};

struct walk {
	bool recursive;
	size_t window;
	unsigned depth; /* of the level we are in; the start is 0 */
	int child;      /* owned: the directory last given, to be entered; or -1 */
	/* Room behind the longest path for the name that makes it too long. */
	char path[PATH_WIRE_MAX + 1 + PATH_MAX];
	_Alignas(struct dirent64) char dents[DENTS_SIZE];
	struct level levels[PATH_DEPTH_MAX + 1];
};

/* -- The window of a level ------------------------------------------------ */

static size_t level_size(const struct level *l)
{
	return l->byte_cap + l->slot_cap * sizeof(struct slot);
}

/* Gives the window back; what was not given from it is read again. */
static void level_drop(struct level *l)
{
	l->complete = l->complete && l->next == l->count;
	free(l->bytes);
	free(l->slots);
	l->bytes = NULL;
	l->slots = NULL;
	l->byte_cap = l->slot_cap = l->used = l->count = l->next = 0;
	l->cut = false;
}

static int compare_names(const void *a, const void *b, void *bytes)
{
	const struct slot *x = a, *y = b;

	return strcmp((char *)bytes + x->off, (char *)bytes + y->off);
}

static void level_sort(struct level *l)
{
	if (l->count > 1)
		qsort_r(l->slots, l->count, sizeof(*l->slots), compare_names, l->bytes);
}

/* Makes room for one more name of LEN bytes with its NUL. */
static int level_grow(struct level *l, size_t len)
{
	if (l->count == l->slot_cap) {
		size_t cap = l->slot_cap ? l->slot_cap * 2 : 64;
		struct slot *slots = reallocarray(l->slots, cap, sizeof(*slots));
		if (!slots)
			return -ERR_RESOURCE;
		l->slots = slots;
		l->slot_cap = cap;
	}
	if (l->byte_cap - l->used < len) {
		size_t cap = l->byte_cap ? l->byte_cap * 2 : PATH_MAX;
		char *bytes = realloc(l->bytes, cap);
		if (!bytes)
			return -ERR_RESOURCE;
		l->bytes = bytes;
		l->byte_cap = cap;
	}
	return 0;
}

/* Keeps the smallest names only, half a window of them, and at least one. */
static int level_halve(struct level *l, size_t window)
{
	char *bytes = malloc(l->byte_cap);
	size_t count = 0, used = 0;

	if (!bytes)
		return -ERR_RESOURCE;
	level_sort(l);
	while (count == 0 || used + count * sizeof(*l->slots) < window / 2) {
		const char *name = l->bytes + l->slots[count].off;
		size_t len = strlen(name) + 1;
		memcpy(bytes + used, name, len);
		l->slots[count++].off = (uint32_t)used;
		used += len;
	}
	free(l->bytes);
	l->bytes = bytes;
	l->used = used;
	l->count = count;
	l->cut = true;
	l->bound = l->slots[count - 1].off;
	return 0;
}

/* Takes NAME in unless it lies outside of what the window is to hold. */
static int level_add(
	struct level *l, const char *name, uint8_t type, const char *last, size_t window)
{
	size_t len = strlen(name) + 1;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		strcmp(name, last) <= 0 ||
		(l->cut && strcmp(name, l->bytes + l->bound) > 0))
		return 0;
	/* No system call could say such a name. */
	if (len > PATH_MAX)
		return 0;
	int r = level_grow(l, len);
	if (r < 0)
		return r;
	memcpy(l->bytes + l->used, name, len);
	l->slots[l->count++] = (struct slot){.off = (uint32_t)l->used, .type = type};
	l->used += len;
	return l->used + l->count * sizeof(*l->slots) > window && l->count > 1
		       ? level_halve(l, window)
		       : 0;
}

/* Fills the window with the names that follow the last one given. */
static int level_read(struct walk *w, struct level *l)
{
	const char *last = w->path + l->name_at;

	l->used = l->count = l->next = 0;
	l->cut = false;
	if (last[0] && lseek(l->fd, 0, SEEK_SET) < 0)
		return -err_from_errno(errno);
	for (;;) {
		ssize_t len = getdents64(l->fd, w->dents, sizeof(w->dents));
		if (len < 0)
			return -err_from_errno(errno);
		if (len == 0)
			break;
		for (ssize_t at = 0; at < len;) {
			const struct dirent64 *d = (const void *)(w->dents + at);
			int r = level_add(l, d->d_name, d->d_type, last, w->window);
			if (r < 0)
				return r;
			at += d->d_reclen;
		}
	}
	level_sort(l);
	l->complete = !l->cut;
	return 0;
}

/* -- The walk ------------------------------------------------------------- */

int walk_new_window(
	struct walk **out, int root, const char *path, bool recursive, size_t window)
{
	FD_OWNED fd = beneath_open(root, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	struct walk *w = calloc(1, sizeof(*w));
	if (!w)
		return -ERR_RESOURCE;
	w->recursive = recursive;
	w->window = window;
	w->child = -1;
	w->levels[0].fd = fd_take(&fd);
	*out = w;
	return 0;
}

int walk_new(struct walk **out, int root, const char *path, bool recursive)
{
	return walk_new_window(out, root, path, recursive, WALK_WINDOW);
}

static void level_fini(struct level *l)
{
	level_drop(l);
	fd_close(l->fd);
}

void walk_free(struct walk *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i <= w->depth; i++)
		level_fini(&w->levels[i]);
	fd_close(w->child);
	free(w);
}

void walk_skip(struct walk *w)
{
	fd_close(fd_take(&w->child));
}

/* Ancestors give their windows back from the start on: those of the start are
 * the last to be needed again. */
static void walk_relieve(struct walk *w)
{
	size_t held = 0;

	for (unsigned i = 0; i <= w->depth; i++)
		held += level_size(&w->levels[i]);
	for (unsigned i = 0; i <= w->depth && held > HELD_WINDOWS * w->window; i++) {
		held -= level_size(&w->levels[i]);
		level_drop(&w->levels[i]);
	}
}

/* Goes into the directory last given. */
static void walk_enter(struct walk *w)
{
	size_t len = strlen(w->path);

	walk_relieve(w);
	w->levels[++w->depth] = (struct level){
		.fd = fd_take(&w->child),
		.path_len = len,
		.name_at = len + 1,
	};
	w->path[len + 1] = '\0';
}

/* The directory of level DEPTH itself, as an entry of the one above. */
static struct walk_entry walk_self(struct walk *w, unsigned depth)
{
	w->path[w->levels[depth].path_len] = '\0';
	return (struct walk_entry){
		.path = w->path,
		.name = depth > 0 ? w->path + w->levels[depth - 1].name_at : w->path,
		.parent_fd = depth > 0 ? w->levels[depth - 1].fd : -1,
		.depth = depth,
	};
}

/* Goes back up. */
static struct walk_entry walk_leave(struct walk *w)
{
	struct walk_entry e = walk_self(w, w->depth);

	level_fini(&w->levels[w->depth--]);
	e.type = S_IFDIR;
	e.leave = true;
	return e;
}

/* Finds out the type of E, and opens it when it is a directory to enter. */
static int walk_look(struct walk *w, struct walk_entry *e, uint8_t d_type)
{
	mode_t type = (mode_t)DTTOIF(d_type);
	struct stat st;

	if (e->depth > PATH_DEPTH_MAX || strlen(e->name) > PATH_COMPONENT_MAX ||
		strlen(e->path) > PATH_WIRE_MAX)
		return -ERR_NAME_TOO_LONG;
	if (d_type == DT_UNKNOWN) {
		if (fstatat(e->parent_fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -err_from_errno(errno);
		type = st.st_mode & S_IFMT;
	}
	if (S_ISDIR(type) && w->recursive && strcmp(e->name, PATH_RESERVED) != 0) {
		w->child = openat(e->parent_fd, e->name, DIR_FLAGS);
		if (w->child < 0)
			return -err_from_errno(errno);
	}
	e->type = type;
	return 0;
}

/* The next slot of the window as an entry; false when it is not to be shown. */
static bool walk_give(struct walk *w, struct walk_entry *out)
{
	struct level *l = &w->levels[w->depth];
	const struct slot *slot = &l->slots[l->next++];
	const char *name = l->bytes + slot->off;
	char *last = w->path + l->name_at;

	/* A directory that is changed while it is read may give a name twice. */
	if (strcmp(name, last) == 0)
		return false;
	memcpy(last, name, strlen(name) + 1);
	if (w->depth > 0)
		w->path[l->path_len] = '/';
	*out = (struct walk_entry){
		.path = w->path,
		.name = last,
		.parent_fd = l->fd,
		.depth = w->depth + 1,
	};
	out->error = walk_look(w, out, slot->type);
	return !S_ISDIR(out->type) || strcmp(name, PATH_RESERVED) != 0;
}

int walk_next(struct walk *w, struct walk_entry *out)
{
	if (w->child >= 0)
		walk_enter(w);
	for (;;) {
		struct level *l = &w->levels[w->depth];
		if (l->next < l->count) {
			if (walk_give(w, out))
				return 1;
		} else if (!l->complete) {
			int r = level_read(w, l);
			if (r == -ERR_RESOURCE)
				return r;
			if (r < 0) {
				l->next = l->count;
				l->complete = true;
				*out = walk_self(w, w->depth);
				out->error = r;
				return 1;
			}
		} else if (w->depth > 0) {
			*out = walk_leave(w);
			return 1;
		} else {
			return 0;
		}
	}
}
