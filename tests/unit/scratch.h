/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A directory of a test's own, and what lies in it. */
#ifndef SOCKD_TESTS_SCRATCH_H
#define SOCKD_TESTS_SCRATCH_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
	int fd;
	char path[4096];
};

static inline void scratch_init(struct scratch *s)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(s->path, sizeof(s->path), "%s/sockd-unit-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(s->path));
	s->fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(s->fd, 0);
}

/* Removes all that is in FD, which may be deeper than PATH_MAX; closes it. */
static inline void scratch_empty(int fd)
{
	DIR *dir = fdopendir(fd);

	cr_assert_not_null(dir);
	for (const struct dirent *e; (e = readdir(dir));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			unlinkat(fd, e->d_name, 0) == 0)
			continue;
		int child = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
		cr_assert_geq(child, 0);
		scratch_empty(child);
		cr_assert_eq(unlinkat(fd, e->d_name, AT_REMOVEDIR), 0);
	}
	closedir(dir);
}

static inline void scratch_fini(struct scratch *s)
{
	scratch_empty(s->fd);
	cr_assert_eq(rmdir(s->path), 0);
}

static inline void scratch_mkdir(int at, const char *path)
{
	cr_assert_eq(mkdirat(at, path, 0755), 0, "mkdir %s", path);
}

static inline void scratch_link(int at, const char *target, const char *path)
{
	cr_assert_eq(symlinkat(target, at, path), 0, "symlink %s", path);
}

static inline void scratch_file(int at, const char *path, const char *text)
{
	int fd = openat(at, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0, "create %s", path);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* What is in the file PATH (at most 63 bytes), or "(absent)". */
static inline const char *scratch_read(int at, const char *path, char out[64])
{
	int fd = openat(at, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return "(absent)";
	ssize_t n = read(fd, out, 63);
	cr_assert_geq(n, 0);
	out[n] = '\0';
	close(fd);
	return out;
}

#endif
