/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "os/fd.h"

#define LOCK_WAIT_MS  10000
#define LOCK_RETRY_MS 10
#define LOCK_NAME     "lock"

/* A single component, so that no name leaves the directory. */
static int name_check(const char *name)
{
	return !*name || strchr(name, '/') ? -ERR_BAD_NAME
					   : path_check(name, strlen(name));
}

/* What O_NOFOLLOW says of a link is no matter of leaving a tree. */
static int open_error(int errnum)
{
	return errnum == ELOOP ? -ERR_NOT_REGULAR : -err_from_errno(errnum);
}

static int regular_check(const struct stat *st)
{
	if (S_ISREG(st->st_mode))
		return 0;
	return S_ISDIR(st->st_mode) ? -ERR_IS_DIR : -ERR_NOT_REGULAR;
}

/* -- The directory ------------------------------------------------------- */

static int dir_check(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -err_from_errno(errno);
	if ((st.st_mode & 022) != 0 || (geteuid() != 0 && st.st_uid != geteuid()))
		return -ERR_ACCESS;
	return 0;
}

/* A directory that was made is on disk when its parent AT is.  One that cannot be opened
 * for reading cannot be flushed. */
static int dir_flush(int at)
{
	FD_OWNED fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && fsync(fd) < 0 ? -err_from_errno(errno) : 0;
}

/* Goes from AT to its entry NAME, making it if need be: a descriptor or -ERR_…. */
static int dir_enter(int at, const char *name)
{
	FD_OWNED fd = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT) {
		if (mkdirat(at, name, 0700) == 0) {
			int r = dir_flush(at);
			if (r < 0)
				return r;
		} else if (errno != EEXIST) {
			return -err_from_errno(errno);
		}
		fd = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return fd < 0 ? -err_from_errno(errno) : fd_take(&fd);
}

/* As mkdir -p, through links too: PATH is our own user's. */
static int dir_make(const char *path)
{
	char name[PATH_COMPONENT_MAX + 1];
	FD_OWNED at = open(*path == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (at < 0)
		return -err_from_errno(errno);
	for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
		size_t len = strcspn(path, "/");
		if (len > PATH_COMPONENT_MAX)
			return -ERR_NAME_TOO_LONG;
		memcpy(name, path, len);
		name[len] = '\0';
		int next = dir_enter(at, name);
		if (next < 0)
			return next;
		fd_close(at);
		at = next;
		path += len;
	}
	return 0;
}

int store_open(const char *path, bool make)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	FD_OWNED fd = open(path, flags);

	if (fd < 0 && errno == ENOENT && make && *path) {
		int r = dir_make(path);
		if (r < 0)
			return r;
		fd = open(path, flags);
	}
	if (fd < 0)
		return -err_from_errno(errno);
	int r = dir_check(fd);
	return r < 0 ? r : fd_take(&fd);
}

/* -- Locks --------------------------------------------------------------- */

/* Whoever has it needs milliseconds.  There is no flock(2) with a deadline, so it is
 * tried now and then: somebody who never lets go must not keep a client from being
 * revoked without a word. */
static int lock_wait(int fd)
{
	const struct timespec pause = {.tv_nsec = LOCK_RETRY_MS * 1000000L};

	for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) < 0;
		waited_ms += LOCK_RETRY_MS) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -err_from_errno(errno);
		if (waited_ms >= LOCK_WAIT_MS)
			return -ERR_BUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* What root makes belongs to the owner of the directory.  A file with a second name
 * may be anybody's, put there for us to give away. */
static int owner_set(int dirfd, int fd)
{
	struct stat dir, st;

	if (geteuid() != 0)
		return 0;
	if (fstat(dirfd, &dir) < 0 || fstat(fd, &st) < 0)
		return -err_from_errno(errno);
	if (dir.st_uid == 0 || st.st_uid != 0 || st.st_nlink != 1)
		return 0;
	return fchown(fd, dir.st_uid, dir.st_gid) < 0 ? -err_from_errno(errno) : 0;
}

/* Only one that this call makes is given away: another may have been put here by the
 * owner of the directory, who gets no file of root's by that. */
static int lock_open(int dirfd)
{
	int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	FD_OWNED fd = openat(dirfd, LOCK_NAME, flags | O_CREAT | O_EXCL, 0600);

	if (fd < 0 && errno == EEXIST) {
		fd = openat(dirfd, LOCK_NAME, flags);
		return fd < 0 ? open_error(errno) : fd_take(&fd);
	}
	if (fd < 0)
		return open_error(errno);
	int r = owner_set(dirfd, fd);
	return r < 0 ? r : fd_take(&fd);
}

int store_lock(int dirfd)
{
	struct stat st;
	FD_OWNED fd = lock_open(dirfd);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -err_from_errno(errno);
	int r = regular_check(&st);
	if (r == 0)
		r = lock_wait(fd);
	return r < 0 ? r : fd_take(&fd);
}

/* -- Reading ------------------------------------------------------------- */

/* The group root may read what is root's: a credential from systemd has mode 0440, where
 * the group's bit is the mask of the access list that names the service's user. */
static int private_check(const struct stat *st)
{
	mode_t others = st->st_uid == 0 && st->st_gid == 0 ? 037 : 077;
	bool ours = st->st_uid == 0 || geteuid() == 0 || st->st_uid == geteuid();

	return ours && (st->st_mode & others) == 0 ? 0 : -ERR_ACCESS;
}

static int read_bytes(int fd, size_t len, char **out)
{
	/* One more byte is asked for: the file may have grown. */
	char *bytes = malloc(len + 1);

	if (!bytes)
		return -ERR_RESOURCE;
	ssize_t n = fd_read_full(fd, bytes, len + 1);
	if (n != (ssize_t)len) {
		explicit_bzero(bytes, len + 1);
		free(bytes);
		return n < 0 ? (int)n : -ERR_CHANGED;
	}
	bytes[len] = '\0';
	*out = bytes;
	return 0;
}

int store_read(int dirfd, const char *name, char **out, size_t *len_out)
{
	bool by_path = dirfd == AT_FDCWD;
	int r = by_path ? 0 : name_check(name);
	struct stat st;

	if (r < 0)
		return r;
	/* A FIFO opens without waiting, and is refused below. */
	FD_OWNED fd = openat(dirfd, name,
		O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |
			(by_path ? 0 : O_NOFOLLOW));
	if (fd < 0)
		return by_path ? -err_from_errno(errno) : open_error(errno);
	if (fstat(fd, &st) < 0)
		return -err_from_errno(errno);
	r = regular_check(&st);
	if (r == 0)
		r = private_check(&st);
	if (r == 0 && st.st_size > (off_t)STORE_FILE_MAX)
		r = -ERR_TOO_LARGE;
	if (r == 0)
		r = read_bytes(fd, (size_t)st.st_size, out);
	if (r == 0)
		*len_out = (size_t)st.st_size;
	return r;
}

/* -- Writing ------------------------------------------------------------- */

/* Makes TEMP, whole and on disk.  What has this name is left of a writer that was killed:
 * a living one holds the lock. */
static int temp_write(int dirfd, const char *temp, const void *bytes, size_t len)
{
	if (unlinkat(dirfd, temp, 0) < 0 && errno != ENOENT)
		return -err_from_errno(errno);
	FD_OWNED fd = openat(
		dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -err_from_errno(errno);
	int r = owner_set(dirfd, fd);
	if (r == 0)
		r = fd_write_full(fd, bytes, len);
	if (r == 0 && fsync(fd) < 0)
		r = -err_from_errno(errno);
	return r;
}

/* As stage_publish: some file systems have no RENAME_NOREPLACE. */
static int temp_publish(int dirfd, const char *temp, const char *name, bool replace)
{
	int r = renameat2(dirfd, temp, dirfd, name, replace ? 0 : RENAME_NOREPLACE);

	if (r < 0 && errno == EINVAL && !replace) {
		r = linkat(dirfd, temp, dirfd, name, 0);
		if (r == 0)
			r = unlinkat(dirfd, temp, 0);
	}
	if (r == 0)
		r = fsync(dirfd);
	return r < 0 ? -err_from_errno(errno) : 0;
}

static int file_put(
	int dirfd, const char *name, const void *bytes, size_t len, bool replace)
{
	char temp[NAME_MAX + 1];
	int r = name_check(name);

	if (r < 0)
		return r;
	if (len > STORE_FILE_MAX)
		return -ERR_TOO_LARGE;
	if (snprintf(temp, sizeof(temp), ".%s.new", name) >= (int)sizeof(temp))
		return -ERR_NAME_TOO_LONG;
	/* Writers exclude each other by a lock on the directory itself: our caller may
	 * hold the other one, and a descriptor of its own is what flock goes by. */
	FD_OWNED dir = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -err_from_errno(errno);
	r = lock_wait(dir);
	if (r < 0)
		return r;
	r = temp_write(dir, temp, bytes, len);
	if (r == 0)
		r = temp_publish(dir, temp, name, replace);
	if (r < 0)
		unlinkat(dir, temp, 0);
	return r;
}

int store_write(int dirfd, const char *name, const void *bytes, size_t len)
{
	return file_put(dirfd, name, bytes, len, true);
}

int store_create(int dirfd, const char *name, const void *bytes, size_t len)
{
	return file_put(dirfd, name, bytes, len, false);
}
