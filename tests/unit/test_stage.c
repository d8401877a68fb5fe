/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/stage.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/err.h"
#include "os/fd.h"
#include "scratch.h"

#define AREA "/" PATH_RESERVED

static struct scratch top;
static struct stage_area area;
static struct dir *parent; /* the root itself */
static char text[64];

static struct dir *dir_of(int root, const char *path)
{
	struct dir_cache cache;
	struct dir *dir = NULL;
	const char *leaf;

	dir_cache_init(&cache, root);
	cr_assert_eq(dir_cache_parent(&cache, path, false, &dir, &leaf), 0);
	dir_cache_fini(&cache);
	return dir;
}

static void setup_descriptors(void)
{
	cr_assert_eq(stage_area_init(&area, top.fd), 0);
	parent = dir_of(top.fd, "leaf");
}

static void setup(void)
{
	scratch_init(&top);
	umask(022);
	setup_descriptors();
}

static void teardown_descriptors(void)
{
	dir_put(parent);
	stage_area_fini(&area);
}

static void teardown(void)
{
	teardown_descriptors();
	scratch_fini(&top);
}

TestSuite(stage, .init = setup, .fini = teardown, .timeout = 120);

static int entries_of(int at, const char *path)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int count = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static void stage_begin(struct stage *s, const char *bytes)
{
	cr_assert_eq(stage_create(&area, parent, s), 0);
	cr_assert_eq(fd_write_full(s->fd, bytes, strlen(bytes)), 0);
}

static const uint8_t key[STAGE_KEY_LEN] = {0xde, 0xad, 1, 2};

Test(stage, publish_makes_the_file_and_leaves_nothing)
{
	struct stage s = STAGE_NONE;
	struct stat st;

	cr_assert_eq(
		entries_of(top.fd, PATH_RESERVED), -1, "nothing before the first stage");
	stage_begin(&s, "new");
	int fd = s.fd;
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(fstatat(top.fd, PATH_RESERVED, &st, 0), 0);
	cr_assert_eq(st.st_mode & 0777, 0700);
	cr_assert_str_eq(scratch_read(top.fd, "leaf", text), "(absent)");

	cr_assert_eq(stage_publish(&s, parent->fd, "leaf", false), 0);
	cr_assert_str_eq(scratch_read(top.fd, "leaf", text), "new");
	cr_assert_eq(fstatat(top.fd, "leaf", &st, 0), 0);
	cr_assert_eq(st.st_mode & 07777, 0644);
	cr_assert_eq(s.fd, -1);
	cr_assert_lt(fcntl(fd, F_GETFD), 0);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), 0);
	stage_area_fini(&area);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), -1);
}

Test(stage, publish_replaces)
{
	struct stage s;

	scratch_file(top.fd, "leaf", "old");
	FD_OWNED reader = openat(top.fd, "leaf", O_RDONLY);
	stage_begin(&s, "new");
	stage_close(&s);
	cr_assert_eq(s.fd, -1);
	cr_assert_eq(stage_publish(&s, parent->fd, "leaf", false), 0);
	cr_assert_str_eq(scratch_read(top.fd, "leaf", text), "new");
	cr_assert_eq(fd_read_full(reader, text, 3), 3);
	cr_assert_eq(memcmp(text, "old", 3), 0);
}

/* What publish does over each kind of entry; the stage stands after a failure. */
static const struct {
	const char *leaf;
	bool no_clobber;
	int expected;
} publishes[] = {
	{"absent", false, 0},
	{"absent", true, 0},
	{"file", false, 0},
	{"file", true, -ERR_EXISTS},
	{"link", false, 0},
	{"link", true, -ERR_EXISTS},
	{"dangling", true, -ERR_EXISTS},
	{"dir", false, -ERR_IS_DIR},
	{"dir", true, -ERR_EXISTS},
};

static void check_publishes(void)
{
	for (size_t i = 0; i < ARRAY_LEN(publishes); i++) {
		const char *leaf = publishes[i].leaf;
		struct stage s;
		scratch_file(top.fd, "file", "old");
		(void)!symlinkat("file", top.fd, "link"); /* it may stand from before */
		(void)!symlinkat("nowhere", top.fd, "dangling");
		mkdirat(top.fd, "dir", 0755);

		stage_begin(&s, "new");
		int r = stage_publish(&s, parent->fd, leaf, publishes[i].no_clobber);
		cr_assert_eq(r, publishes[i].expected, "row %zu: %d", i, r);
		if (r == 0) {
			cr_assert_str_eq(scratch_read(top.fd, leaf, text), "new");
			unlinkat(top.fd, leaf, 0);
		} else {
			cr_assert_eq(stage_publish(&s, parent->fd, "other", false), 0);
			cr_assert_str_eq(scratch_read(top.fd, "other", text), "new");
			cr_assert_str_eq(scratch_read(top.fd, "file", text), "old");
		}
		cr_assert_eq(entries_of(top.fd, PATH_RESERVED), 0, "row %zu", i);
	}
}

Test(stage, publish_over_what_is_there)
{
	check_publishes();
}

/* Makes renameat2 with RENAME_NOREPLACE fail as on file systems without it. */
static void forbid_noreplace(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
		BPF_STMT(
			BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RENAME_NOREPLACE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = ARRAY_LEN(code), .filter = code};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
	cr_assert_lt(renameat2(top.fd, "x", top.fd, "y", RENAME_NOREPLACE), 0);
	cr_assert_eq(errno, EINVAL);
}

Test(stage, publish_without_noreplace)
{
	forbid_noreplace();
	check_publishes();
}

Test(stage, discard_and_keep)
{
	struct stage s;

	stage_begin(&s, "x");
	errno = ENOSPC;
	stage_discard(&s);
	cr_assert_eq(errno, ENOSPC);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), 0);
	stage_discard(&s);
	stage_keep(&s);
	s = STAGE_NONE;
	stage_discard(&s);

	stage_begin(&s, "x");
	stage_keep(&s);
	cr_assert_eq(s.fd, -1);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), 1);
	stage_area_fini(&area);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), 1, "what is kept stays");
}

Test(stage, resume_continues)
{
	struct stage s = STAGE_NONE;
	struct stat st;

	cr_assert_eq(stage_resume(&area, parent, key, false, &s), -ERR_NOT_FOUND);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), -1, "looking makes nothing");
	cr_assert_eq(stage_resume(&area, parent, key, true, &s), 0);
	cr_assert(s.resumable);
	cr_assert_str_eq(s.name, "p-dead0102000000000000000000000000");
	cr_assert_eq(fstat(s.fd, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	cr_assert_eq(fd_write_full(s.fd, "half", 4), 0);
	stage_keep(&s);

	cr_assert_eq(stage_resume(&area, parent, key, false, &s), 0);
	cr_assert_eq(fd_read_full(s.fd, text, sizeof(text)), 4);
	cr_assert_eq(fd_write_full(s.fd, "+rest", 5), 0);
	cr_assert_eq(stage_publish(&s, parent->fd, "leaf", false), 0);
	cr_assert_str_eq(scratch_read(top.fd, "leaf", text), "half+rest");
	cr_assert_eq(stage_resume(&area, parent, key, false, &s), -ERR_NOT_FOUND);
}

Test(stage, resume_is_for_one_at_a_time)
{
	struct stage first, second = STAGE_NONE;
	struct stage_area other;

	cr_assert_eq(stage_area_init(&other, top.fd), 0);
	cr_assert_eq(stage_resume(&area, parent, key, true, &first), 0);
	cr_assert_eq(stage_resume(&other, parent, key, true, &second), -ERR_BUSY);
	cr_assert_eq(stage_resume(&area, parent, key, false, &second), -ERR_BUSY);
	cr_assert_eq(second.fd, -1);
	stage_keep(&first);
	cr_assert_eq(stage_resume(&other, parent, key, false, &second), 0);
	stage_discard(&second);
	cr_assert_eq(stage_resume(&area, parent, key, false, &first), -ERR_NOT_FOUND);
	stage_area_fini(&other);
}

/* A publish by link that died before its unlink: the file has both names. */
Test(stage, resume_never_writes_a_published_file)
{
	struct stage s;

	cr_assert_eq(stage_resume(&area, parent, key, true, &s), 0);
	cr_assert_eq(fd_write_full(s.fd, "whole", 5), 0);
	cr_assert_eq(linkat(s.dirfd, s.name, top.fd, "leaf", 0), 0);
	stage_keep(&s);

	cr_assert_eq(stage_resume(&area, parent, key, true, &s), 0);
	cr_assert_eq(lseek(s.fd, 0, SEEK_END), 0, "it begins anew");
	cr_assert_eq(fd_write_full(s.fd, "other", 5), 0);
	cr_assert_str_eq(scratch_read(top.fd, "leaf", text), "whole");
	stage_discard(&s);
}

#define ROUNDS 1000

/* Whoever gets the stage writes it whole and publishes it: if it is ever not
 * empty, somebody was given a file that had been published. */
static void *resume_and_publish(void *arg)
{
	struct stage_area mine;
	char leaf[32];

	cr_assert_eq(stage_area_init(&mine, top.fd), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct stage s;
		int r = stage_resume(&mine, parent, key, true, &s);
		if (r == -ERR_BUSY)
			continue;
		cr_assert_eq(r, 0, "%d", r);
		cr_assert_eq(lseek(s.fd, 0, SEEK_END), 0);
		cr_assert_eq(fd_write_full(s.fd, "x", 1), 0);
		snprintf(leaf, sizeof(leaf), "leaf-%s", (const char *)arg);
		cr_assert_eq(stage_publish(&s, parent->fd, leaf, false), 0);
	}
	stage_area_fini(&mine);
	return NULL;
}

/* Stages come and go while others remove the directory that they find empty. */
static void *create_and_tidy(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct stage_area mine;
		struct stage s;
		cr_assert_eq(stage_area_init(&mine, top.fd), 0);
		int r = stage_create(&mine, parent, &s);
		cr_assert_eq(r, 0, "%d", r);
		cr_assert_eq(stage_publish(&s, parent->fd, arg, false), 0);
		stage_area_fini(&mine);
	}
	return NULL;
}

static void run_threads(void *(*fn)(void *))
{
	pthread_t threads[4];
	char names[4][2] = {"a", "b", "c", "d"};

	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, fn, names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

Test(stage, resume_races_with_publish)
{
	run_threads(resume_and_publish);
}

Test(stage, create_races_with_fini)
{
	run_threads(create_and_tidy);
}

Test(stage, area_may_be_removed_by_another)
{
	struct stage s;
	struct stage_area other;

	stage_begin(&s, "x");
	stage_discard(&s);
	cr_assert_eq(unlinkat(top.fd, PATH_RESERVED, AT_REMOVEDIR), 0);
	stage_begin(&s, "x");
	stage_discard(&s);

	cr_assert_eq(unlinkat(top.fd, PATH_RESERVED, AT_REMOVEDIR), 0);
	cr_assert_eq(stage_area_init(&other, top.fd), 0);
	cr_assert_eq(stage_resume(&other, parent, key, true, &s), 0);
	stage_keep(&s);
	cr_assert_eq(
		stage_resume(&area, parent, key, false, &s), 0, "found in the new one");
	stage_discard(&s);
	stage_area_fini(&other);
}

Test(stage, names_are_unique)
{
	struct stage a, b, c;
	struct stage_area other;

	cr_assert_eq(stage_area_init(&other, top.fd), 0);
	cr_assert_neq(area.prefix, other.prefix);
	stage_begin(&a, "");
	stage_begin(&b, "");
	cr_assert_eq(stage_create(&other, parent, &c), 0);
	cr_assert_str_neq(a.name, b.name);
	cr_assert_str_neq(a.name, c.name);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), 3);
	stage_discard(&a);
	stage_discard(&b);
	stage_discard(&c);
	stage_area_fini(&other);
}

Test(stage, link)
{
	struct stage s;

	scratch_file(top.fd, "leaf", "old");
	cr_assert_eq(stage_link(&area, parent, "some/../target", &s), 0);
	cr_assert_eq(s.fd, -1);
	cr_assert_eq(stage_publish(&s, parent->fd, "leaf", true), -ERR_EXISTS);
	cr_assert_eq(stage_publish(&s, parent->fd, "leaf", false), 0);
	cr_assert_eq(readlinkat(top.fd, "leaf", text, sizeof(text)), 14);
	cr_assert_eq(memcmp(text, "some/../target", 14), 0);
	cr_assert_eq(stage_link(&area, parent, "gone", &s), 0);
	stage_discard(&s);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), 0);
}

/* -- The directory ------------------------------------------------------- */

static void refuse_area(void)
{
	struct stage s = STAGE_NONE;

	cr_assert_eq(stage_create(&area, parent, &s), -ERR_ACCESS);
	cr_assert_eq(stage_resume(&area, parent, key, true, &s), -ERR_ACCESS);
	cr_assert_eq(stage_link(&area, parent, "t", &s), -ERR_ACCESS);
	cr_assert_eq(stage_sweep(top.fd, 0, 0), -ERR_ACCESS);
	cr_assert_eq(s.dirfd, -1);
}

Test(stage, area_is_not_a_link)
{
	scratch_mkdir(top.fd, "elsewhere");
	scratch_link(top.fd, "elsewhere", PATH_RESERVED);
	refuse_area();
	cr_assert_eq(entries_of(top.fd, "elsewhere"), 0);
}

Test(stage, area_is_not_a_file)
{
	scratch_file(top.fd, PATH_RESERVED, "");
	refuse_area();
}

Test(stage, area_is_not_of_another_user)
{
	scratch_mkdir(top.fd, PATH_RESERVED);
	if (fchownat(top.fd, PATH_RESERVED, 12345, 12345, 0) < 0)
		cr_skip_test("needs root");
	refuse_area();
}

Test(stage, area_is_closed_to_others)
{
	struct stage s;
	struct stat st;

	scratch_mkdir(top.fd, PATH_RESERVED);
	stage_begin(&s, "");
	cr_assert_eq(fstatat(top.fd, PATH_RESERVED, &st, 0), 0);
	cr_assert_eq(st.st_mode & 0777, 0700);
	stage_discard(&s);
}

/* Publishes below "m", which a rename from the area cannot reach. */
static void check_mounted(void)
{
	struct dir *dir = dir_of(top.fd, "m/leaf");
	struct stage s;

	cr_assert_eq(stage_create(&area, dir, &s), 0);
	cr_assert(s.own_dir);
	cr_assert_eq(entries_of(top.fd, "m" AREA), 1);
	cr_assert_eq(fd_write_full(s.fd, "there", 5), 0);
	cr_assert_eq(stage_publish(&s, dir->fd, "leaf", true), 0);
	cr_assert_str_eq(scratch_read(top.fd, "m/leaf", text), "there");
	cr_assert_eq(entries_of(top.fd, "m" AREA), -1, "it goes with its last stage");

	cr_assert_eq(stage_resume(&area, dir, key, false, &s), -ERR_NOT_FOUND);
	cr_assert_eq(stage_resume(&area, dir, key, true, &s), 0);
	cr_assert_eq(fd_write_full(s.fd, "half", 4), 0);
	stage_keep(&s);
	cr_assert_eq(stage_resume(&area, dir, key, false, &s), 0);
	cr_assert_eq(fd_read_full(s.fd, text, 9), 4);
	stage_discard(&s);
	cr_assert_eq(entries_of(top.fd, PATH_RESERVED), -1, "the root's was not needed");
	cr_assert_eq(unlinkat(top.fd, "m/leaf", 0), 0);
	dir_put(dir);
	cr_assert_eq(entries_of(top.fd, "m"), 0);
}

static void mount_on_m(const char *source, const char *type, unsigned long flags)
{
	char target[sizeof(top.path) + 2];

	snprintf(target, sizeof(target), "%s/m", top.path);
	scratch_mkdir(top.fd, "m");
	if (unshare(CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount(source, target, type, flags, NULL) < 0)
		cr_skip_test("needs to mount");
	/* The descriptors so far see the mounts of the old namespace. */
	teardown_descriptors();
	close(top.fd);
	top.fd = open(top.path, O_RDONLY | O_DIRECTORY);
	setup_descriptors();
	check_mounted();
	cr_assert_eq(umount2(target, MNT_DETACH), 0);
}

Test(stage, other_file_system)
{
	mount_on_m("none", "tmpfs", 0);
}

Test(stage, same_file_system_mounted_again)
{
	char source[sizeof(top.path) + 8];

	snprintf(source, sizeof(source), "%s/source", top.path);
	scratch_mkdir(top.fd, "source");
	mount_on_m(source, NULL, MS_BIND);
}
