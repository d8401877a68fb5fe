/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/beneath.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>

#include "base/err.h"
#include "os/fd.h"
#include "os/resolve.h"
#include "scratch.h"

static struct scratch top;
static int root; /* a directory in it, so that there is something above */

static void setup(void)
{
	scratch_init(&top);
	scratch_mkdir(top.fd, "root");
	scratch_file(top.fd, "secret", "outside");
	root = openat(top.fd, "root", O_RDONLY | O_DIRECTORY);
	scratch_mkdir(root, "a");
	scratch_mkdir(root, "a/b");
	scratch_mkdir(root, "c");
	scratch_file(root, "a/b/f", "inside");
	scratch_file(root, "c/g", "beside");
	scratch_link(root, "b", "a/down");
	scratch_link(root, "../c", "a/over");
	scratch_link(root, "f", "a/b/l");
	scratch_link(root, "../../c/g", "a/b/far");
	scratch_link(root, "../../../secret", "a/b/out");
	scratch_link(root, "..", "up");
	scratch_link(root, "/", "abs");
	scratch_link(root, "loop", "loop");
	scratch_link(root, "nowhere", "dangling");
	scratch_link(root, "/proc/self/root", "magic");
	cr_assert_eq(mkfifoat(root, "a/fifo", 0644), 0);
}

static void teardown(void)
{
	close(root);
	scratch_fini(&top);
}

TestSuite(beneath, .init = setup, .fini = teardown, .timeout = 60);

static const struct {
	const char *path;
	int expected;
} opens[] = {
	{"", 0},
	{"a", 0},
	{"a/b/f", 0},
	{"a/down/f", 0},
	{"a/over/g", 0},
	{"a/b/l", 0},
	{"a/b/far", 0},
	{"a/../c/g", 0},
	{"missing", -ERR_NOT_FOUND},
	{"dangling", -ERR_NOT_FOUND},
	{"a/b/f/x", -ERR_NOT_DIR},
	{"..", -ERR_ESCAPE},
	{"../secret", -ERR_ESCAPE},
	{"a/../../secret", -ERR_ESCAPE},
	{"a/b/out", -ERR_ESCAPE},
	{"up/secret", -ERR_ESCAPE},
	{"up", -ERR_ESCAPE},
	{"abs", -ERR_ESCAPE},
	{"abs/etc/passwd", -ERR_ESCAPE},
	{"magic/etc/passwd", -ERR_ESCAPE},
	{"/etc/passwd", -ERR_ESCAPE},
	{"loop", -ERR_ESCAPE},
};

/* By hand it is as by the kernel, with every kind of flags. */
Test(beneath, resolves_by_hand)
{
	static const int flags[] = {
		O_RDONLY,
		O_PATH,
		O_PATH | O_NOFOLLOW,
		O_RDONLY | O_NOFOLLOW,
		O_RDONLY | O_DIRECTORY,
		O_PATH | O_DIRECTORY,
	};
	static const char *const more[] = {"a/b/l", "a/down/", "a/b/f/", "a/./b//f", "up/root/c",
		"a/over/../a/b", "a/down/../over/g", "a/b/..", "a/..", "a/fifo/x", "dangling/x"};

	for (size_t f = 0; f < ARRAY_LEN(flags); f++)
		for (size_t i = 0; i < ARRAY_LEN(opens) + ARRAY_LEN(more); i++) {
			const char *path = i < ARRAY_LEN(opens) ? opens[i].path
								: more[i - ARRAY_LEN(opens)];
			FD_OWNED kernel = beneath_open(root, path, flags[f], 0);
			FD_OWNED ours = resolve_open(root, path, flags[f], 0);
			struct stat a = {0}, b = {0};
			cr_assert_eq(ours < 0 ? ours : 0, kernel < 0 ? kernel : 0,
				"'%s' flags %o: %d, by the kernel %d", path,
				(unsigned)flags[f], ours, kernel);
			if (kernel < 0)
				continue;
			cr_assert_eq(fstat(kernel, &a) | fstat(ours, &b), 0);
			cr_assert(a.st_ino == b.st_ino && a.st_dev == b.st_dev, "'%s'", path);
		}
}

Test(beneath, open)
{
	for (size_t i = 0; i < ARRAY_LEN(opens); i++) {
		FD_OWNED fd = beneath_open(root, opens[i].path, O_RDONLY, 0);

		cr_assert_eq(fd < 0 ? fd : 0, opens[i].expected, "'%s': %d",
			opens[i].path, fd);
		if (fd >= 0)
			cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	}
}

Test(beneath, open_creates_with_mode)
{
	struct stat st;

	umask(022);
	FD_OWNED fd = beneath_open(root, "c/new", O_WRONLY | O_CREAT | O_EXCL, 0666);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0644);
	cr_assert_eq(beneath_open(root, "c/new", O_WRONLY | O_CREAT | O_EXCL, 0666),
		-ERR_EXISTS);
}

static const struct {
	const char *path;
	int expected;
	mode_t type;
} stats[] = {
	{"", 0, S_IFDIR},
	{"a/b/f", 0, S_IFREG},
	{"a/b/out", 0, S_IFLNK},
	{"abs", 0, S_IFLNK},
	{"loop", 0, S_IFLNK},
	{"a/down", 0, S_IFLNK},
	{"a/down/f", 0, S_IFREG},
	{"a/fifo", 0, S_IFIFO},
	{"up/secret", -ERR_ESCAPE, 0},
	{"..", -ERR_ESCAPE, 0},
	{"missing", -ERR_NOT_FOUND, 0},
};

Test(beneath, lstat)
{
	for (size_t i = 0; i < ARRAY_LEN(stats); i++) {
		struct stat st = {0};

		cr_assert_eq(beneath_lstat(root, stats[i].path, &st), stats[i].expected,
			"'%s'", stats[i].path);
		cr_assert_eq(st.st_mode & S_IFMT, stats[i].type, "'%s'", stats[i].path);
	}
}

static const struct {
	const char *path;
	int expected;
	unsigned made;
} mkdirs[] = {
	{"", 0, 0},
	{"a/b", 0, 0},
	{"n1", 0, 1},
	{"n1/n2/n3/n4", 0, 3},
	{"a/down/x", 0, 1},
	{"a/over/y/z", 0, 2},
	{"a/b/f", -ERR_NOT_DIR, 9},
	{"a/b/f/x", -ERR_NOT_DIR, 9},
	{"dangling", -ERR_NOT_FOUND, 9},
	{"dangling/x", -ERR_NOT_FOUND, 9},
	{"up/evil", -ERR_ESCAPE, 9},
	{"abs/evil", -ERR_ESCAPE, 9},
	{"../evil", -ERR_ESCAPE, 9},
};

Test(beneath, mkdirs)
{
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(mkdirs); i++) {
		unsigned made = 9;
		FD_OWNED fd = beneath_mkdirs(root, mkdirs[i].path, &made);

		cr_assert_eq(fd < 0 ? fd : 0, mkdirs[i].expected, "'%s': %d",
			mkdirs[i].path, fd);
		cr_assert_eq(made, mkdirs[i].made, "'%s': %u", mkdirs[i].path, made);
		if (fd < 0)
			continue;
		struct stat named;
		cr_assert_eq(fstat(fd, &st), 0);
		cr_assert_eq(fstatat(root, mkdirs[i].path, &named, AT_EMPTY_PATH), 0);
		cr_assert_eq(st.st_ino, named.st_ino, "'%s'", mkdirs[i].path);
	}
	cr_assert_eq(fstatat(root, "c/y/z", &st, 0), 0, "made behind the link");
	cr_assert_neq(fstatat(top.fd, "evil", &st, 0), 0);
	FD_OWNED fd = beneath_mkdirs(root, "uncounted", NULL);
	cr_assert_geq(fd, 0);
}

#define LEVELS 40

/* LEVELS names of 255 bytes: two and a half times PATH_MAX. */
static char *long_path(void)
{
	static char path[LEVELS * 256 + 8];

	memset(path, 'x', LEVELS * 256 - 1);
	for (int i = 1; i < LEVELS; i++)
		path[i * 256 - 1] = '/';
	path[LEVELS * 256 - 1] = '\0';
	return path;
}

Test(beneath, long_paths)
{
	char *path = long_path();
	unsigned made = 0;
	struct stat st;

	FD_OWNED dir = beneath_mkdirs(root, path, &made);
	cr_assert_geq(dir, 0);
	cr_assert_eq(made, LEVELS);
	scratch_file(dir, "file", "deep");

	strcat(path, "/file");
	FD_OWNED fd = beneath_open(root, path, O_RDONLY, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(beneath_lstat(root, path, &st), 0);
	cr_assert_eq(st.st_size, 4);
	path[1] = 'y';
	cr_assert_eq(beneath_open(root, path, O_RDONLY, 0), -ERR_NOT_FOUND);
}

Test(beneath, too_long_component)
{
	static char path[6001];

	memset(path, 'x', sizeof(path) - 1);
	cr_assert_eq(beneath_open(root, path, O_RDONLY, 0), -ERR_NAME_TOO_LONG);
	path[256] = '\0';
	cr_assert_eq(beneath_open(root, path, O_RDONLY, 0), -ERR_NAME_TOO_LONG);
}

static void *mkdirs_many(void *arg)
{
	unsigned *total = arg;

	for (int i = 0; i < 300; i++) {
		char path[64];
		unsigned made = 0;
		snprintf(path, sizeof(path), "race/%d/x/y/z", i);
		int fd = beneath_mkdirs(root, path, &made);
		cr_assert_geq(fd, 0, "%s: %d", path, fd);
		close(fd);
		*total += made;
	}
	return NULL;
}

Test(beneath, mkdirs_races)
{
	pthread_t threads[3];
	unsigned made[3] = {0};

	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, mkdirs_many, &made[i]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(made[0] + made[1] + made[2], 300 * 4 + 1, "each was made once");
}

Test(beneath, cache_keeps_the_last_parent)
{
	struct dir_cache c;
	struct dir *d1, *d2, *d3;
	const char *leaf;

	dir_cache_init(&c, root);
	cr_assert_eq(dir_cache_parent(&c, "a/b/f", false, &d1, &leaf), 0);
	cr_assert_str_eq(leaf, "f");
	cr_assert_str_eq(d1->path, "a/b");
	cr_assert_eq(d1->made, 0);
	cr_assert_eq(dir_cache_parent(&c, "a/b/zzz", false, &d2, &leaf), 0);
	cr_assert_str_eq(leaf, "zzz");
	cr_assert_eq(d1, d2);
	cr_assert_eq(d1->refs, 3);

	cr_assert_eq(dir_cache_parent(&c, "a/bb", false, &d3, &leaf), 0);
	cr_assert_str_eq(d3->path, "a");
	cr_assert_eq(d1->refs, 2, "the cache holds another now");
	dir_put(d3);
	cr_assert_eq(dir_cache_parent(&c, "top", false, &d3, &leaf), 0);
	cr_assert_str_eq(d3->path, "");
	cr_assert_str_eq(leaf, "top");

	int fd = d1->fd;
	dir_put(d1);
	cr_assert_geq(fcntl(fd, F_GETFD), 0);
	dir_put(d2);
	cr_assert_lt(fcntl(fd, F_GETFD), 0);
	dir_cache_fini(&c);
	dir_put(d3);
	dir_put(NULL);
}

Test(beneath, cache_makes_parents_when_asked)
{
	struct dir_cache c;
	struct dir *d = NULL;
	const char *leaf;

	dir_cache_init(&c, root);
	cr_assert_eq(dir_cache_parent(&c, "", true, &d, &leaf), -ERR_IS_DIR);
	cr_assert_eq(dir_cache_parent(&c, "m/n/f", false, &d, &leaf), -ERR_NOT_FOUND);
	cr_assert_eq(dir_cache_parent(&c, "m/n/f", true, &d, &leaf), 0);
	cr_assert_eq(d->made, 2);
	scratch_file(d->fd, leaf, "");
	cr_assert_eq(faccessat(root, "m/n/f", F_OK, 0), 0);
	dir_put(d);
	cr_assert_eq(dir_cache_parent(&c, "up/evil/f", true, &d, &leaf), -ERR_ESCAPE);
	cr_assert_eq(dir_cache_parent(&c, "a/b/f/x", true, &d, &leaf), -ERR_NOT_DIR);
	dir_cache_fini(&c);
	dir_cache_fini(&c);
}

static const struct {
	const char *path;
	int follow, nofollow;
} cache_opens[] = {
	{"a/b/f", 0, 0},
	{"a/b/l", 0, -ERR_ESCAPE},
	{"a/b/far", 0, -ERR_ESCAPE},
	{"a/over/g", 0, 0},
	{"a/fifo", 0, 0},
	{"a", 0, 0},
	{"a/b/out", -ERR_ESCAPE, -ERR_ESCAPE},
	{"a/..", 0, -ERR_ESCAPE},
	{"..", -ERR_ESCAPE, -ERR_ESCAPE},
	{"up/secret", -ERR_ESCAPE, -ERR_ESCAPE},
	{"loop", -ERR_ESCAPE, -ERR_ESCAPE},
	{"a/missing", -ERR_NOT_FOUND, -ERR_NOT_FOUND},
	{"missing/f", -ERR_NOT_FOUND, -ERR_NOT_FOUND},
	{"", -ERR_IS_DIR, -ERR_IS_DIR},
};

Test(beneath, cache_open)
{
	struct dir_cache c;

	dir_cache_init(&c, root);
	for (size_t i = 0; i < ARRAY_LEN(cache_opens); i++) {
		FD_OWNED followed = dir_cache_open(&c, cache_opens[i].path, false);
		FD_OWNED itself = dir_cache_open(&c, cache_opens[i].path, true);

		cr_assert_eq(followed < 0 ? followed : 0, cache_opens[i].follow,
			"'%s': %d", cache_opens[i].path, followed);
		cr_assert_eq(itself < 0 ? itself : 0, cache_opens[i].nofollow, "'%s': %d",
			cache_opens[i].path, itself);
	}
	dir_cache_fini(&c);
}

/* Links that stay inside are followed by all the others; here they are somebody else's. */
Test(beneath, entering_follows_no_link)
{
	struct stat there, entered;

	cr_assert_eq(mkdirat(root, "real", 0700), 0);
	cr_assert_eq(symlinkat("real", root, "link"), 0);
	FD_OWNED made = beneath_enter(root, "real/new/dir");
	cr_assert_geq(made, 0);
	cr_assert_eq(fstatat(root, "real/new/dir", &there, AT_SYMLINK_NOFOLLOW), 0);
	cr_assert_eq(fstat(made, &entered), 0);
	cr_expect_eq(there.st_ino, entered.st_ino);
	cr_expect_lt(beneath_enter(root, "link"), 0);
	cr_expect_lt(beneath_enter(root, "link/new"), 0);
	FD_OWNED control = beneath_open(root, "link", O_RDONLY | O_DIRECTORY, 0);
	cr_expect_geq(control, 0, "control: it stays inside");
	FD_OWNED itself = beneath_enter(root, "");
	cr_expect_geq(itself, 0);
}
