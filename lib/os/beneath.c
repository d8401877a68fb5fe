/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "os/fd.h"
#include "os/resolve.h"

/* Longest path given to the kernel at once; PATH_MAX is 4096 with the NUL. */
#define PIECE_MAX 4000

/* A rename elsewhere in the tree can make openat2 give up with EAGAIN. */
#define RACE_TRIES 64

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY)

static int open_piece(int dir, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -1;

	for (int tries = 0; tries < RACE_TRIES; tries++) {
		fd = syscall(SYS_openat2, dir, path[0] ? path : ".", &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	if (fd < 0 && errno == ENOSYS)
		return resolve_open(dir, path, flags, mode);
	return fd >= 0 ? (int)fd : -err_from_errno(errno);
}

/*
 * Goes down from ROOT until the rest of *PATH fits one call, and leaves that
 * rest in *PATH.  Returns the directory it is to be resolved in: ROOT, or *AT.
 */
static int enter_long(int root, const char **path, int *at)
{
	int dir = root;

	while (strlen(*path) > PIECE_MAX) {
		char piece[PIECE_MAX + 1];
		const char *slash = memrchr(*path, '/', PIECE_MAX);
		if (!slash)
			return -ERR_NAME_TOO_LONG;
		size_t len = (size_t)(slash - *path);
		memcpy(piece, *path, len);
		piece[len] = '\0';
		dir = open_piece(dir, piece, O_PATH | O_DIRECTORY, 0);
		if (dir < 0)
			return dir;
		fd_close(*at);
		*at = dir;
		*path = slash + 1;
	}
	return dir;
}

int beneath_open(int root, const char *path, int flags, mode_t mode)
{
	FD_OWNED at = -1;
	int dir = enter_long(root, &path, &at);

	return dir < 0 ? dir : open_piece(dir, path, flags, mode);
}

int beneath_lstat(int root, const char *path, struct stat *out)
{
	FD_OWNED fd = beneath_open(root, path, O_PATH | O_NOFOLLOW, 0);

	if (fd < 0)
		return fd;
	return fstat(fd, out) < 0 ? -err_from_errno(errno) : 0;
}

static void free_path(char **path)
{
	free(*path);
}

/*
 * Cuts components off the end of PATH (by NUL) until what is left exists, and
 * returns that directory.
 */
static int open_existing(int root, char *path)
{
	for (;;) {
		int fd = beneath_open(root, path, DIR_FLAGS, 0);
		if (fd != -ERR_NOT_FOUND || !path[0])
			return fd;
		size_t len = path_parent_len(path);
		path[len] = '\0';
	}
}

int beneath_mkdirs(int root, const char *path, unsigned *made_out)
{
	size_t full = strlen(path);
	CLEANUP(free_path) char *part = strdup(path);
	unsigned made = 0;

	if (!part)
		return -ERR_RESOURCE;
	FD_OWNED fd = open_existing(root, part);
	while (fd >= 0 && strlen(part) < full) {
		size_t len = strlen(part);
		part[len] = path[len];
		/* Another may make it first; the open below decides. */
		if (mkdirat(fd, path_leaf(part), 0777) == 0)
			made++;
		else if (errno != EEXIST)
			return -err_from_errno(errno);
		/* From the root: the component may be a link to elsewhere in the tree. */
		fd_close(fd);
		fd = beneath_open(root, part, DIR_FLAGS, 0);
	}
	if (fd >= 0 && made_out)
		*made_out = made;
	return fd_take(&fd);
}

/* The directory NAME in DIR itself, made when it is missing. */
static int enter_directory(int dir, const char *name)
{
	int flags = DIR_FLAGS | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, flags);
	if (fd < 0 && errno == ENOENT &&
		(mkdirat(dir, name, 0777) == 0 || errno == EEXIST))
		fd = openat(dir, name, flags);
	return fd < 0 ? -err_from_errno(errno) : fd;
}

int beneath_enter(int root, const char *path)
{
	char name[PATH_COMPONENT_MAX + 1];
	FD_OWNED at = openat(root, ".", DIR_FLAGS | O_CLOEXEC);
	if (at < 0)
		return -err_from_errno(errno);
	while (*path) {
		size_t len = strcspn(path, "/");
		memcpy(name, path, len);
		name[len] = '\0';
		int next = enter_directory(at, name);
		if (next < 0)
			return next;
		fd_close(at);
		at = next;
		path += len + (path[len] == '/');
	}
	return fd_take(&at);
}

struct dir *dir_get(struct dir *d)
{
	d->refs++;
	return d;
}

void dir_put(struct dir *d)
{
	if (!d || --d->refs > 0)
		return;
	fd_close(d->fd);
	free(d);
}

int dir_make(const struct dir *d, int root, const char *path, mode_t mode)
{
	if (mkdirat(d->fd, path_leaf(path), (mode & 0777) | 0700) == 0)
		return 1;
	if (errno != EEXIST)
		return -err_from_errno(errno);
	FD_OWNED fd = beneath_open(root, path, O_PATH | O_DIRECTORY, 0);
	return fd < 0 ? fd : 0;
}

static void dir_putp(struct dir **d)
{
	dir_put(*d);
}

/* The directory named by the first LEN bytes of PATH, with one reference. */
static int dir_open(int root, const char *path, size_t len, bool make, struct dir **out)
{
	CLEANUP(dir_putp) struct dir *d = calloc(1, sizeof(*d) + len + 1);

	if (!d)
		return -ERR_RESOURCE;
	d->refs = 1;
	memcpy(d->path, path, len);
	d->fd = make ? beneath_mkdirs(root, d->path, &d->made)
		     : beneath_open(root, d->path, DIR_FLAGS, 0);
	if (d->fd < 0)
		return d->fd;
	int r = fd_locate(d->fd, &d->dev, &d->mount);
	if (r < 0)
		return r;
	*out = d;
	d = NULL;
	return 0;
}

void dir_cache_init(struct dir_cache *c, int root)
{
	*c = (struct dir_cache){.root = root};
}

void dir_cache_fini(struct dir_cache *c)
{
	dir_put(c->dir);
	c->dir = NULL;
}

static bool dir_is_at(const struct dir *d, const char *path, size_t len)
{
	return strncmp(d->path, path, len) == 0 && d->path[len] == '\0';
}

int dir_cache_parent(struct dir_cache *c, const char *path, bool make,
	struct dir **dir_out, const char **leaf_out)
{
	size_t len = path_parent_len(path);

	if (!path[0])
		return -ERR_IS_DIR;
	if (!c->dir || !dir_is_at(c->dir, path, len)) {
		struct dir *d = NULL;
		int r = dir_open(c->root, path, len, make, &d);
		if (r < 0)
			return r;
		dir_put(c->dir);
		c->dir = d;
	}
	*dir_out = dir_get(c->dir);
	*leaf_out = path_leaf(path);
	return 0;
}

int dir_cache_open(struct dir_cache *c, const char *path, bool nofollow)
{
	const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY;
	CLEANUP(dir_putp) struct dir *d = NULL;
	const char *leaf;

	int r = dir_cache_parent(c, path, false, &d, &leaf);
	if (r < 0)
		return r;
	int fd = open_piece(d->fd, leaf, flags | O_NOFOLLOW, 0);
	/* A link may lead out of its directory and still stay below the root. */
	if (fd == -ERR_ESCAPE && !nofollow)
		fd = beneath_open(c->root, path, flags, 0);
	return fd;
}
