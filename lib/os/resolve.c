/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "os/fd.h"

/* As path_resolution(7) has it. */
#define LINKS_MAX  40
#define STEP_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct resolver {
	int top; /* borrowed */
	int at;  /* owned: the directory DONE; -1 for TOP itself */
	unsigned links;
	char done[PATH_WIRE_MAX + 1]; /* resolved so far: without links, "." and ".." */
	char todo[PATH_WIRE_MAX + 1];
};

static int resolver_dir(const struct resolver *r)
{
	return r->at < 0 ? r->top : r->at;
}

/* The next component that means something; false at the end. */
static bool resolver_next(
	struct resolver *r, char name[PATH_COMPONENT_MAX + 1], int *err_out)
{
	for (;;) {
		size_t skip = strspn(r->todo, "/"), len = strcspn(r->todo + skip, "/");
		*err_out = len > PATH_COMPONENT_MAX ? -ERR_NAME_TOO_LONG : 0;
		if (len == 0 || *err_out)
			return false;
		memcpy(name, r->todo + skip, len);
		name[len] = '\0';
		memmove(r->todo, r->todo + skip + len, strlen(r->todo + skip + len) + 1);
		if (strcmp(name, ".") != 0)
			return true;
	}
}

/* Goes down from the top again; there are no links on this way. */
static int resolver_reopen(struct resolver *r)
{
	char *rest = r->done;
	fd_close(fd_take(&r->at));
	while (*rest) {
		char name[PATH_COMPONENT_MAX + 1];
		size_t len = strcspn(rest, "/");
		memcpy(name, rest, len);
		name[len] = '\0';
		int fd = openat(resolver_dir(r), name, STEP_FLAGS);
		if (fd < 0)
			return -err_from_errno(errno);
		fd_close(r->at);
		r->at = fd;
		rest += rest[len] ? len + 1 : len;
	}
	return 0;
}

static int resolver_up(struct resolver *r)
{
	if (!*r->done)
		return -ERR_ESCAPE;
	r->done[path_parent_len(r->done)] = '\0';
	return resolver_reopen(r);
}

/* NAME was a link: what it leads to comes before the rest of the way. */
static int resolver_link(struct resolver *r, const char *target)
{
	char todo[sizeof(r->todo)];
	if (*target == '/' || ++r->links > LINKS_MAX)
		return -ERR_ESCAPE;
	/* The rest begins with its slash, if there is any. */
	size_t len = strlen(target), rest = strlen(r->todo);
	if (len + rest >= sizeof(todo))
		return -ERR_NAME_TOO_LONG;
	memcpy(todo, target, len);
	memcpy(todo + len, r->todo, rest + 1);
	memcpy(r->todo, todo, len + rest + 1);
	return 0;
}

/* If NAME is a link, 1 with its target taken up; 0 when it is none. */
static int resolver_try_link(struct resolver *r, const char *name)
{
	char target[PATH_TARGET_MAX + 1];
	ssize_t n = readlinkat(resolver_dir(r), name, target, sizeof(target));
	if (n < 0)
		return errno == EINVAL ? 0 : -err_from_errno(errno);
	if ((size_t)n == sizeof(target))
		return -ERR_NAME_TOO_LONG;
	target[n] = '\0';
	int err = resolver_link(r, target);
	return err < 0 ? err : 1;
}

static int resolver_down(struct resolver *r, const char *name)
{
	int fd = openat(resolver_dir(r), name, STEP_FLAGS);
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
		int link = resolver_try_link(r, name);
		return link > 0 ? 0 : link < 0 ? link : -ERR_NOT_DIR;
	}
	if (fd < 0)
		return -err_from_errno(errno);
	fd_close(r->at);
	r->at = fd;
	size_t len = strlen(r->done);
	if (len + strlen(name) + 2 > sizeof(r->done))
		return -ERR_NAME_TOO_LONG;
	if (len > 0)
		r->done[len++] = '/';
	memcpy(r->done + len, name, strlen(name) + 1);
	return 0;
}

/* O_PATH | O_NOFOLLOW opens a link itself, which only some callers want. */
static bool is_unwanted_link(int fd, int flags)
{
	struct stat st;
	return (flags & O_PATH) && !(flags & O_NOFOLLOW) && fstat(fd, &st) == 0 &&
	       S_ISLNK(st.st_mode);
}

/* The last component.  -ERR_AGAIN when it was a link that is followed now. */
static int resolver_last(struct resolver *r, const char *name, int flags, mode_t mode)
{
	FD_OWNED fd = openat(resolver_dir(r), name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
	int saved = errno;
	if (fd >= 0 && !is_unwanted_link(fd, flags))
		return fd_take(&fd);
	if (fd < 0 && saved != ELOOP && !(saved == ENOTDIR && (flags & O_DIRECTORY)))
		return -err_from_errno(saved);
	if (flags & O_NOFOLLOW)
		return -err_from_errno(saved);
	int link = resolver_try_link(r, name);
	return link > 0 ? -ERR_AGAIN : link < 0 ? link : -err_from_errno(saved);
}

static int resolver_run(struct resolver *r, int flags, mode_t mode)
{
	char name[PATH_COMPONENT_MAX + 1];
	int err;
	while (resolver_next(r, name, &err)) {
		bool last = r->todo[strspn(r->todo, "/")] == '\0';
		/* A slash at the end asks for a directory, and follows a link to it. */
		int how = *r->todo ? (flags & ~O_NOFOLLOW) | O_DIRECTORY : flags;
		if (strcmp(name, "..") == 0)
			err = resolver_up(r);
		else if (!last)
			err = resolver_down(r, name);
		else
			err = resolver_last(r, name, how, mode);
		if (last && err != -ERR_AGAIN && strcmp(name, "..") != 0)
			return err;
		if (err < 0 && err != -ERR_AGAIN)
			return err;
	}
	if (err < 0)
		return err;
	int fd = openat(resolver_dir(r), ".", flags | O_CLOEXEC, mode);
	return fd < 0 ? -err_from_errno(errno) : fd;
}

int resolve_open(int dir, const char *path, int flags, mode_t mode)
{
	struct resolver r = {.top = dir, .at = -1};
	size_t len = strlen(path);
	if (*path == '/')
		return -ERR_ESCAPE;
	if (len > PATH_WIRE_MAX)
		return -ERR_NAME_TOO_LONG;
	memcpy(r.todo, path, len + 1);
	int fd = resolver_run(&r, flags, mode);
	fd_close(r.at);
	return fd;
}
