/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "base/text.h"
#include "os/clock.h"
#include "os/fd.h"

/* How often to go on when others take a name from under us.  Each loss is about
 * even odds while many stages come and go in an otherwise empty directory. */
#define RACE_TRIES 1000

#define HEX "0123456789abcdef"

/* -- The directory ------------------------------------------------------- */

/* A directory of another user is not to be trusted with names. */
static int reserved_check(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -err_from_errno(errno);
	if (st.st_uid != geteuid())
		return -ERR_ACCESS;
	if ((st.st_mode & 0777) != 0700 && fchmod(fd, 0700) < 0)
		return -err_from_errno(errno);
	return 0;
}

/* Opens the PATH_RESERVED directory in AT, making it when MAKE. */
static int reserved_open(int at, bool make)
{
	for (int tries = 0; tries < RACE_TRIES; tries++) {
		FD_OWNED fd = openat(at, PATH_RESERVED,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0) {
			int r = reserved_check(fd);
			return r < 0 ? r : fd_take(&fd);
		}
		if (errno == ELOOP || errno == ENOTDIR)
			return -ERR_ACCESS;
		if (errno != ENOENT || !make)
			return -err_from_errno(errno);
		if (mkdirat(at, PATH_RESERVED, 0700) < 0 && errno != EEXIST)
			return -err_from_errno(errno);
	}
	return -ERR_RESOURCE;
}

/* Whether somebody who found the directory empty has removed it. */
static bool dir_is_gone(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 || st.st_nlink == 0;
}

int stage_area_init(struct stage_area *a, int root)
{
	struct stage_area area = {.root = root, .fd = -1};

	int r = fd_locate(root, &area.dev, &area.mount);
	if (r == 0)
		r = random_bytes(&area.prefix, sizeof(area.prefix));
	if (r == 0)
		*a = area;
	return r;
}

void stage_area_fini(struct stage_area *a)
{
	int saved = errno;

	if (a->fd >= 0)
		unlinkat(a->root, PATH_RESERVED, AT_REMOVEDIR);
	fd_close(fd_take(&a->fd));
	errno = saved;
}

static int area_open(struct stage_area *a, bool make)
{
	FD_OWNED fd = reserved_open(a->root, make);

	if (fd < 0)
		return fd;
	if (a->fd < 0)
		a->fd = fd_take(&fd);
	/* Under the same number, which stages that stand have borrowed. */
	else if (dup3(fd, a->fd, O_CLOEXEC) < 0)
		return -err_from_errno(errno);
	return 0;
}

/* -- Beginning ----------------------------------------------------------- */

/* Finds the directory from which S can be renamed into PARENT.  AGAIN when the
 * one that the area knows is gone. */
static int stage_enter(struct stage *s, struct stage_area *a, const struct dir *parent,
	bool make, bool again)
{
	s->own_dir = parent->dev != a->dev || parent->mount != a->mount;
	if (s->own_dir) {
		s->dirfd = reserved_open(parent->fd, make);
		return s->dirfd < 0 ? s->dirfd : 0;
	}
	int r = a->fd < 0 || again ? area_open(a, make) : 0;
	if (r == 0)
		s->dirfd = a->fd;
	return r;
}

/* Leaves that directory, and removes it when it is the stage's own and empty. */
static void stage_leave(struct stage *s)
{
	if (s->own_dir && s->dirfd >= 0) {
		unlinkat(s->dirfd, "../" PATH_RESERVED, AT_REMOVEDIR);
		fd_close(s->dirfd);
	}
	s->dirfd = -1;
}

/* Makes or opens S->name in S->dirfd; 0 with S->fd set, or -ERR_…. */
typedef int stage_make_fn(struct stage *s, const void *arg);

static int stage_make(struct stage *s, struct stage_area *a, const struct dir *parent,
	bool make_dir, stage_make_fn *fn, const void *arg)
{
	int r = -ERR_RESOURCE;

	for (int tries = 0; tries < RACE_TRIES; tries++) {
		r = stage_enter(s, a, parent, make_dir, tries > 0);
		if (r < 0)
			return r;
		r = fn(s, arg);
		if (r == 0)
			return 0;
		bool gone = dir_is_gone(s->dirfd);
		stage_leave(s);
		if (!gone)
			return r;
	}
	return r;
}

static struct stage stage_fresh(struct stage_area *a)
{
	struct stage s = STAGE_NONE;

	snprintf(s.name, sizeof(s.name), "t-%016" PRIx64 "-%" PRIx64, a->prefix,
		a->counter++);
	return s;
}

static int make_file(struct stage *s, const void *arg)
{
	(void)arg;
	s->fd = openat(s->dirfd, s->name,
		O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	return s->fd < 0 ? -err_from_errno(errno) : 0;
}

int stage_create(struct stage_area *a, const struct dir *parent, struct stage *out)
{
	struct stage s = stage_fresh(a);

	int r = stage_make(&s, a, parent, true, make_file, NULL);
	if (r == 0)
		*out = s;
	return r;
}

static int make_link(struct stage *s, const void *target)
{
	return symlinkat(target, s->dirfd, s->name) < 0 ? -err_from_errno(errno) : 0;
}

int stage_link(struct stage_area *a, const struct dir *parent, const char *target,
	struct stage *out)
{
	struct stage s = stage_fresh(a);

	int r = stage_make(&s, a, parent, true, make_link, target);
	if (r == 0)
		*out = s;
	return r;
}

/*
 * Whether the locked FD may be written as the stage S.  It may not when,
 * between our open and our lock, it was published or removed; nor when it has a
 * second name: publish_by_link was killed halfway, and it is the user's file now.
 */
static bool resumed_is_ours(const struct stage *s, int fd)
{
	struct stat st, named;

	if (fstat(fd, &st) < 0 ||
		fstatat(s->dirfd, s->name, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
		st.st_ino != named.st_ino || st.st_dev != named.st_dev)
		return false;
	if (st.st_nlink == 1)
		return true;
	unlinkat(s->dirfd, s->name, 0);
	return false;
}

static int make_resumed(struct stage *s, const void *create)
{
	int flags =
		O_RDWR | O_NOFOLLOW | O_CLOEXEC | (*(const bool *)create ? O_CREAT : 0);

	for (int tries = 0; tries < RACE_TRIES; tries++) {
		FD_OWNED fd = openat(s->dirfd, s->name, flags, 0600);
		if (fd < 0)
			return -err_from_errno(errno);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return errno == EWOULDBLOCK ? -ERR_BUSY : -err_from_errno(errno);
		if (resumed_is_ours(s, fd)) {
			s->fd = fd_take(&fd);
			return 0;
		}
	}
	return -ERR_BUSY;
}

int stage_resume(struct stage_area *a, const struct dir *parent,
	const uint8_t key[STAGE_KEY_LEN], bool create, struct stage *out)
{
	struct stage s = STAGE_NONE;

	s.resumable = true;
	memcpy(s.name, "p-", 2);
	text_hex(s.name + 2, key, STAGE_KEY_LEN);
	int r = stage_make(&s, a, parent, create, make_resumed, &create);
	if (r == 0)
		*out = s;
	return r;
}

/* -- Ending -------------------------------------------------------------- */

void stage_close(struct stage *s)
{
	fd_close(fd_take(&s->fd));
}

void stage_keep(struct stage *s)
{
	int saved = errno;

	stage_close(s);
	stage_leave(s);
	*s = STAGE_NONE;
	errno = saved;
}

void stage_discard(struct stage *s)
{
	int saved = errno;

	/* Before the close: what is locked is nobody else's to lose. */
	if (s->dirfd >= 0)
		unlinkat(s->dirfd, s->name, 0);
	stage_keep(s);
	errno = saved;
}

void stage_break_off(struct stage *s, uint64_t good)
{
	bool worth = s->fd >= 0 && s->resumable && good > 0;

	if (worth && ftruncate(s->fd, (off_t)good) == 0)
		stage_keep(s);
	else
		stage_discard(s);
}

/* For file systems without RENAME_NOREPLACE.  A crash in between leaves two
 * names of whole data, see resumed_is_ours. */
static int publish_by_link(const struct stage *s, int parent_fd, const char *leaf)
{
	if (linkat(s->dirfd, s->name, parent_fd, leaf, 0) < 0)
		return -1;
	unlinkat(s->dirfd, s->name, 0);
	return 0;
}

int stage_publish(struct stage *s, int parent_fd, const char *leaf, bool no_clobber)
{
	int r = renameat2(
		s->dirfd, s->name, parent_fd, leaf, no_clobber ? RENAME_NOREPLACE : 0);

	if (r < 0 && errno == EINVAL && no_clobber)
		r = publish_by_link(s, parent_fd, leaf);
	if (r < 0)
		return -err_from_errno(errno);
	stage_keep(s);
	return 0;
}

/* -- Sweeping ------------------------------------------------------------ */

/* Whether NAME is one that stage_fresh or stage_resume gives. */
static bool name_is_stage(const char *name)
{
	if (strncmp(name, "p-", 2) == 0)
		return strspn(name + 2, HEX) == 2 * STAGE_KEY_LEN &&
		       name[2 + 2 * STAGE_KEY_LEN] == '\0';
	if (strncmp(name, "t-", 2) != 0 || strspn(name + 2, HEX) != 16 || name[18] != '-')
		return false;
	size_t digits = strspn(name + 19, HEX);
	return digits > 0 && digits <= 16 && name[19 + digits] == '\0';
}

/* Removes NAME if it was last changed before BEFORE and nobody holds it.  The time of
 * modification does not count: it may already be that of the source. */
static bool sweep_one(int dirfd, const char *name, int64_t before)
{
	FD_OWNED fd = -1;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ctime > before)
		return false;
	if (S_ISREG(st.st_mode)) {
		fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			return false;
		/* It may have been resumed and written before we held it. */
		if (fstat(fd, &st) < 0 || st.st_ctime > before)
			return false;
	}
	return unlinkat(dirfd, name, 0) == 0;
}

int stage_sweep(int root, int64_t now_sec, int64_t age_sec)
{
	FD_OWNED fd = reserved_open(root, false);
	int removed = 0;

	if (fd < 0)
		return fd == -ERR_NOT_FOUND ? 0 : fd;
	DIR *dir = fdopendir(fd);
	if (!dir)
		return -err_from_errno(errno);
	fd_take(&fd);
	for (const struct dirent *e; (e = readdir(dir));)
		if (name_is_stage(e->d_name) &&
			sweep_one(dirfd(dir), e->d_name, now_sec - age_sec))
			removed++;
	closedir(dir);
	return removed;
}

/* -- Counting ------------------------------------------------------------ */

int stage_kept(int parent, uint64_t *bytes_out)
{
	uint64_t bytes = 0;
	struct stat st;
	FD_OWNED fd = openat(
		parent, PATH_RESERVED, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	*bytes_out = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -err_from_errno(errno);
	DIR *dir = fdopendir(fd);
	if (!dir)
		return -err_from_errno(errno);
	fd_take(&fd);
	for (const struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] == 'p' && name_is_stage(e->d_name) &&
			fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	closedir(dir);
	*bytes_out = bytes;
	return 0;
}
