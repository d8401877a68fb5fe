/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The order in which a batch works: this program has its own fsync, syncfs, renameat2,
 * fchmod and futimens, which write down what they were called for, and fail or dawdle
 * where a test asks for it.
 */
#include "transfer/batch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/err.h"
#include "os/fd.h"
#include "scratch.h"

#define MEGA (1u << 20)

/* -- What was called, in order -------------------------------------------- */

static char events[1 << 16]; /* one line each */
static const char *failing;  /* the event that fails, */
static int failing_error;    /* with this, */
static int failing_skip;     /* after so many that do not */
static int flush_ms;         /* how long a flush takes */

/* Writes the event down; -1 with errno when it is to fail.  Only once: the second flush
 * after a failed one succeeds, without the data. */
PRINTF_LIKE(1, 2) static int note(const char *format, ...)
{
	size_t len = strlen(events);
	va_list args;

	va_start(args, format);
	vsnprintf(events + len, sizeof(events) - len - 1, format, args);
	va_end(args);
	bool fails = failing && strcmp(events + len, failing) == 0 && failing_skip-- == 0;
	strcat(events, "\n");
	if (!fails)
		return 0;
	failing = NULL;
	errno = failing_error;
	return -1;
}

static void fail_at(const char *event, int skip, int errnum)
{
	failing = event;
	failing_skip = skip;
	failing_error = errnum;
}

/* The last component of the path of a directory, or the first byte in a file. */
static const char *name_of(int fd, char out[64])
{
	char link[64], path[4096];
	struct stat st;

	snprintf(out, 64, "?");
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		if (pread(fd, out, 1, 0) == 1)
			out[1] = '\0';
		return out;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n > 0) {
		path[n] = '\0';
		snprintf(out, 64, "%.63s", strrchr(path, '/') + 1);
	}
	return out;
}

int fsync(int fd)
{
	char name[64];
	struct stat st;

	if (flush_ms > 0)
		poll(NULL, 0, flush_ms);
	return note("%s %s", fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? "dir" : "data",
		name_of(fd, name));
}

int syncfs(int fd)
{
	(void)fd;
	return note("all");
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
	if (note("name %s", new) < 0)
		return -1;
	return (int)syscall(SYS_renameat2, from, old, to, new, flags);
}

int fchmod(int fd, mode_t mode)
{
	char name[64];

	if (note("mode %s %o", name_of(fd, name), mode) < 0)
		return -1;
	return (int)syscall(SYS_fchmod, fd, mode);
}

int futimens(int fd, const struct timespec times[2])
{
	char name[64];

	if (note("time %s %lld", name_of(fd, name), (long long)times[1].tv_sec) < 0)
		return -1;
	return (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

static int events_count(const char *event)
{
	size_t len = strlen(event);
	int count = 0;

	for (const char *line = events; *line; line = strchr(line, '\n') + 1)
		count += strncmp(line, event, len) == 0;
	return count;
}

/* -- A batch, and things to put in it ---------------------------------------- */

static struct scratch top;
static struct stage_area area;
static struct dir_cache cache;
static struct batch *batch;
static char text[64];
static int done_error; /* what the done function answers */
static struct batch_tag last_tag;

static int note_done(void *ctx, const struct batch_tag *tag, int result)
{
	cr_assert_eq(ctx, &top);
	note("done %s %d", path_leaf(tag->path), result);
	last_tag = *tag;
	last_tag.path = NULL;
	return done_error;
}

static void batch_begin(bool sync)
{
	batch_free(batch);
	cr_assert_eq(batch_new(&batch, top.fd, sync, note_done, &top), 0);
	*events = '\0';
}

static void setup_descriptors(void)
{
	cr_assert_eq(stage_area_init(&area, top.fd), 0);
	dir_cache_init(&cache, top.fd);
	batch_begin(true);
}

static void setup(void)
{
	scratch_init(&top);
	umask(022);
	setup_descriptors();
}

static void teardown_descriptors(void)
{
	batch_free(batch);
	batch = NULL;
	dir_cache_fini(&cache);
	stage_area_fini(&area);
}

static void teardown(void)
{
	teardown_descriptors();
	scratch_fini(&top);
}

TestSuite(batch, .init = setup, .fini = teardown, .timeout = 120);

static struct dir *parent_of(const char *path)
{
	struct dir *dir;
	const char *leaf;

	cr_assert_eq(dir_cache_parent(&cache, path, true, &dir, &leaf), 0);
	return dir;
}

static void stage_fill(struct stage *s, const char *path)
{
	cr_assert_eq(fd_write_full(s->fd, path_leaf(path), strlen(path_leaf(path))), 0);
}

/* A file whose content is its own name. */
static int add_sized(const char *path, uint64_t size, bool no_clobber)
{
	struct batch_tag tag = {.id = 1, .path = path, .is_file = true, .size = size};
	struct dir *parent = parent_of(path);
	struct stage s;

	cr_assert_eq(stage_create(&area, parent, &s), 0);
	stage_fill(&s, path);
	int err = batch_add_stage(batch, &tag, &s, parent, no_clobber);
	cr_assert_eq(s.fd, -1, "it was taken over");
	cr_assert_eq(s.dirfd, -1, "it was taken over");
	dir_put(parent);
	return err;
}

static void add(const char *path)
{
	cr_assert_eq(add_sized(path, 1, false), 0);
}

static void add_many(int count, const char *format)
{
	for (int i = 0; i < count; i++) {
		char path[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(path, sizeof(path), format, i);
#pragma GCC diagnostic pop
		add(path);
	}
}

static void add_made(const char *path, const char *data)
{
	struct batch_tag tag = {.id = 2, .path = path};
	struct dir *parent = parent_of(path);
	int fd = data ? openat(top.fd, data, O_RDONLY | O_CLOEXEC) : -1;

	cr_assert_eq(batch_add_made(batch, &tag, parent, fd), 0);
	dir_put(parent);
}

static void add_attr(const char *path, uint32_t mode, int64_t sec)
{
	struct batch_tag tag = {.id = 3, .path = path};
	int fd = openat(top.fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(
		batch_add_attr(batch, &tag, fd, mode, &(struct msg_time){.sec = sec}), 0);
}

static void add_result(const char *path, int result)
{
	struct batch_tag tag = {.id = 4, .path = path};

	cr_assert_eq(batch_add_result(batch, &tag, result), 0);
}

static void commit(void)
{
	cr_assert_eq(batch_commit(batch), 0);
	cr_assert(batch_is_empty(batch));
}

static const char *read_top(const char *path)
{
	return scratch_read(top.fd, path, text);
}

/* Nothing unfinished is left behind. */
static void assert_no_stages(void)
{
	int fd = openat(top.fd, PATH_RESERVED, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	for (const struct dirent *e; dir && (e = readdir(dir));)
		cr_assert_eq(e->d_name[0], '.', "%s is left", e->d_name);
	if (dir)
		closedir(dir);
}

/* The scratch directory has a name of its own in the events. */
static void assert_events(const char *want)
{
	const char *own = strrchr(top.path, '/') + 1;
	char got[sizeof(events)] = "", *out = got;

	for (const char *in = events; *in;) {
		if (strncmp(in, own, strlen(own)) == 0) {
			*out++ = '.';
			in += strlen(own);
		} else {
			*out++ = *in++;
		}
	}
	*out = '\0';
	cr_assert_str_eq(got, want);
}

/* -- Order -------------------------------------------------------------------- */

Test(batch, data_names_directories_results)
{
	scratch_mkdir(top.fd, "sub");
	add("a");
	add("c");
	add("sub/b");
	assert_events("");
	cr_assert_not(batch_is_empty(batch));
	cr_assert_str_eq(read_top("a"), "(absent)");
	commit();
	assert_events("data a\ndata c\ndata b\nname a\nname c\nname b\ndir .\ndir sub\n"
		      "done a 0\ndone c 0\ndone b 0\n");
	cr_assert_str_eq(read_top("a"), "a");
	cr_assert_str_eq(read_top("sub/b"), "b");
	assert_no_stages();
}

Test(batch, an_empty_commit_does_nothing)
{
	cr_assert(batch_is_empty(batch));
	commit();
	assert_events("");
}

Test(batch, a_directory_is_flushed_again_for_the_next_commit)
{
	add("a");
	commit();
	*events = '\0';
	add("b");
	commit();
	assert_events("data b\nname b\ndir .\ndone b 0\n");
}

Test(batch, without_sync_all_is_published_at_once)
{
	batch_begin(false);
	add("a");
	assert_events("name a\ndone a 0\n");
	cr_assert(batch_is_empty(batch));
	add_made("m", NULL);
	add_result("r", -ERR_IO);
	commit();
	assert_events("name a\ndone a 0\ndone m 0\ndone r -17\n");
}

Test(batch, other_durability_begins_with_a_commit)
{
	add("a");
	cr_assert_eq(batch_set_sync(batch, true), 0);
	assert_events("");
	cr_assert_eq(batch_set_sync(batch, false), 0);
	assert_events("data a\nname a\ndir .\ndone a 0\n");
	*events = '\0';
	add("b");
	assert_events("name b\ndone b 0\n");
	cr_assert_eq(batch_set_sync(batch, true), 0);
	*events = '\0';
	add("c");
	assert_events("");
	commit();
	assert_events("data c\nname c\ndir .\ndone c 0\n");
}

Test(batch, what_is_already_there_is_flushed)
{
	scratch_mkdir(top.fd, "sub");
	scratch_file(top.fd, "sub/w", "whole");
	add_made("sub/w", "sub/w");
	add_made("made", NULL);
	commit();
	assert_events("data w\ndir sub\ndir .\ndone w 0\ndone made 0\n");
}

Test(batch, a_link_has_no_descriptor_and_waits_for_syncfs)
{
	struct batch_tag tag = {.id = 1, .path = "link"};
	struct dir *parent = parent_of("link");
	struct stage s;

	cr_assert_eq(stage_link(&area, parent, "target", &s), 0);
	cr_assert_eq(batch_add_stage(batch, &tag, &s, parent, false), 0);
	dir_put(parent);
	commit();
	assert_events("all\nname link\ndir .\ndone link 0\n");
	cr_assert_eq(readlinkat(top.fd, "link", text, sizeof(text)), 6);
}

/* A time that is set before the last name is in place does not stay. */
Test(batch, attributes_come_after_the_names)
{
	struct stat st;

	scratch_mkdir(top.fd, "sub");
	add("sub/a");
	add("sub/b");
	add_attr("sub", 0750, 1000000);
	commit();
	assert_events("data a\ndata b\nname a\nname b\nmode sub 750\ntime sub 1000000\n"
		      "dir sub\ndir sub\ndone a 0\ndone b 0\ndone sub 0\n");
	cr_assert_eq(fstatat(top.fd, "sub", &st, 0), 0);
	cr_assert_eq(st.st_mtim.tv_sec, 1000000);
	cr_assert_gt(st.st_atim.tv_sec, 1000000);
	cr_assert_eq(st.st_mode & 07777, 0750);
}

Test(batch, results_are_told_in_their_turn)
{
	add("a");
	add_result("x", -ERR_MISMATCH);
	add("b");
	add_result("y", 0);
	commit();
	assert_events("data a\ndata b\nname a\nname b\ndir .\n"
		      "done a 0\ndone x -21\ndone b 0\ndone y 0\n");
	*events = '\0';
	add_result("alone", -ERR_IO);
	commit();
	assert_events("done alone -17\n");
}

Test(batch, what_is_known_of_an_item_comes_back)
{
	char path[] = "sub/name";
	struct batch_tag tag = {.id = 99,
		.path = path,
		.is_file = true,
		.size = 4,
		.resumed_from = 3,
		.started_ms = 12345,
		.digest = {1, 2, 3}};

	scratch_mkdir(top.fd, "sub");
	cr_assert_eq(batch_add_result(batch, &tag, 0), 0);
	memset(path, 'x', strlen(path));
	commit();
	assert_events("done name 0\n");
	cr_assert(last_tag.id == 99 && last_tag.is_file && last_tag.size == 4 &&
		  last_tag.resumed_from == 3 && last_tag.started_ms == 12345);
	cr_assert_arr_eq(last_tag.digest, tag.digest, DIGEST_LEN);
}

/* -- Failures ------------------------------------------------------------------ */

Test(batch, a_failed_flush_condemns_the_file)
{
	scratch_file(top.fd, "b", "old");
	add("a");
	add("b");
	add("c");
	fail_at("data b", 0, EIO);
	commit();
	assert_events("data a\ndata b\ndata c\nname a\nname c\ndir .\n"
		      "done a 0\ndone b -17\ndone c 0\n");
	cr_assert_str_eq(read_top("b"), "old");
	cr_assert_str_eq(read_top("c"), "c");
	commit();
	batch_free(batch);
	batch = NULL;
	cr_assert_eq(events_count("data b"), 1, "never tried again");
	assert_no_stages();
}

Test(batch, a_full_disk_is_told_as_such)
{
	add("a");
	fail_at("data a", 0, ENOSPC);
	commit();
	assert_events("data a\ndir .\ndone a -15\n");
	cr_assert_str_eq(read_top("a"), "(absent)");
	assert_no_stages();
}

Test(batch, a_failed_flush_of_a_finished_file_is_told)
{
	scratch_file(top.fd, "w", "whole");
	add_made("w", "w");
	fail_at("data w", 0, EIO);
	commit();
	cr_assert_eq(events_count("done w -17"), 1);
	cr_assert_eq(events_count("data w"), 1);
	cr_assert_str_eq(read_top("w"), "whole");
}

Test(batch, a_failed_flush_of_a_directory_is_told)
{
	scratch_mkdir(top.fd, "sub");
	add("sub/a");
	add("sub/b");
	add("c");
	fail_at("dir sub", 0, EIO);
	commit();
	assert_events("data a\ndata b\ndata c\nname a\nname b\nname c\ndir sub\ndir .\n"
		      "done a -17\ndone b -17\ndone c 0\n");
	cr_assert_str_eq(read_top("sub/a"), "a", "the name is there, but may not stay");
}

Test(batch, attributes_that_cannot_be_kept_are_told)
{
	static const char *const steps[] = {"mode sub 700", "time sub 5", "dir sub"};

	scratch_mkdir(top.fd, "sub");
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		batch_begin(true);
		add_attr("sub", 0700, 5);
		fail_at(steps[i], 0, EROFS);
		commit();
		cr_assert_eq(events_count("done sub -16"), 1, "%s", steps[i]);
		cr_assert_null(failing, "%s", steps[i]);
	}
}

Test(batch, a_name_that_cannot_be_given_is_told)
{
	scratch_mkdir(top.fd, "b");
	add("a");
	add("b");
	cr_assert_eq(add_sized("c", 1, true), 0);
	scratch_file(top.fd, "c", "first");
	commit();
	assert_events("data a\ndata b\ndata c\nname a\nname b\nname c\ndir .\n"
		      "done a 0\ndone b -9\ndone c -8\n");
	cr_assert_str_eq(read_top("c"), "first");
	assert_no_stages();
}

Test(batch, no_clobber_makes_what_is_not_there)
{
	cr_assert_eq(add_sized("new", 1, true), 0);
	commit();
	cr_assert_str_eq(read_top("new"), "new");
}

Test(batch, the_first_error_of_the_done_function_ends_it)
{
	add("a");
	add("b");
	done_error = -ERR_CLOSED;
	cr_assert_eq(batch_commit(batch), -ERR_CLOSED);
	assert_events("data a\ndata b\nname a\nname b\ndir .\ndone a 0\n");
	cr_assert(batch_is_empty(batch));
}

Test(batch, what_was_not_committed_is_discarded)
{
	scratch_file(top.fd, "a", "old");
	add("a");
	add_many(30, "many%d");
	add_attr(PATH_RESERVED, 0700, 0);
	batch_free(batch);
	batch = NULL;
	assert_events("");
	cr_assert_str_eq(read_top("a"), "old");
	cr_assert_str_eq(read_top("many0"), "(absent)");
	assert_no_stages();
}

/* -- Many ------------------------------------------------------------------------ */

Test(batch, sixteen_files_are_flushed_one_by_one)
{
	add_many(16, "%x");
	commit();
	cr_assert_eq(events_count("data "), 16);
	cr_assert_eq(events_count("all"), 0);
	cr_assert_eq(events_count("dir "), 1);
	cr_assert_eq(events_count("done "), 16);
}

Test(batch, more_share_one_flush)
{
	char names[100];

	add_many(100, "f%d");
	commit();
	cr_assert_eq(events_count("data "), 0);
	cr_assert_eq(events_count("all"), 1);
	cr_assert_eq(events_count("dir "), 1);
	cr_assert_eq(
		strncmp(events, "all\nname f0\nname f1\n", 20), 0, "data before names");
	snprintf(names, sizeof(names), "dir %s\ndone f0 0\n", strrchr(top.path, '/') + 1);
	cr_assert_not_null(strstr(events, names), "directory before results");
	cr_assert_eq(events_count("name "), 100);
	cr_assert_eq(events_count("done "), 100);
	cr_assert_str_eq(read_top("f99"), "f99");
}

Test(batch, a_failed_shared_flush_condemns_all)
{
	scratch_file(top.fd, "f3", "old");
	add_many(20, "f%d");
	fail_at("all", 0, EIO);
	commit();
	cr_assert_eq(events_count("name "), 0);
	cr_assert_eq(events_count("data "), 0, "the second flush would succeed");
	for (int i = 0; i < 20; i++) {
		snprintf(text, sizeof(text), "done f%d -17", i);
		cr_assert_eq(events_count(text), 1, "%s", text);
	}
	cr_assert_str_eq(read_top("f3"), "old");
	assert_no_stages();
}

Test(batch, many_directories_share_one_flush)
{
	add_many(16, "d%x/f");
	commit();
	cr_assert_eq(events_count("dir "), 16);
	batch_begin(true);
	add_many(17, "e%x/f");
	commit();
	cr_assert_eq(events_count("dir "), 0);
	cr_assert_eq(events_count("all"), 2, "one for the data, one for the names");
	cr_assert_eq(events_count("done f 0"), 17);
}

/* What was made on the way to a name stands in directories that nobody has opened. */
Test(batch, new_directories_on_the_way_are_flushed)
{
	add("a");
	batch_made_dirs(batch);
	commit();
	assert_events("data a\nname a\nall\ndone a 0\n");
	*events = '\0';
	add("b");
	commit();
	assert_events("data b\nname b\ndir .\ndone b 0\n");
	batch_begin(true);
	add("c");
	batch_made_dirs(batch);
	fail_at("all", 0, EIO);
	commit();
	assert_events("data c\nname c\nall\ndone c -17\n");
}

static void mount_in_top(const char *name)
{
	char target[sizeof(top.path) + 8];

	snprintf(target, sizeof(target), "%s/%s", top.path, name);
	scratch_mkdir(top.fd, name);
	if (unshare(CLONE_NEWNS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", target, "tmpfs", 0, NULL) < 0)
		cr_skip_test("needs to mount");
	/* The descriptors so far see the mounts of the old namespace. */
	teardown_descriptors();
	close(top.fd);
	top.fd = open(top.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	setup_descriptors();
}

/* syncfs is for one file system: on another one each is flushed by itself. */
Test(batch, another_file_system_is_not_forgotten)
{
	char target[sizeof(top.path) + 8];

	mount_in_top("mnt");
	add_many(20, "mnt/m%d");
	add_many(20, "f%d");
	batch_made_dirs(batch);
	commit();
	cr_assert_eq(events_count("data m"), 20);
	cr_assert_eq(events_count("dir mnt"), 1);
	cr_assert_eq(events_count("all"), 2);
	cr_assert_eq(events_count("done "), 40);
	cr_assert_str_eq(read_top("mnt/m7"), "m7");
	snprintf(target, sizeof(target), "%s/mnt", top.path);
	cr_assert_eq(umount2(target, MNT_DETACH), 0);
}

/* -- Full ------------------------------------------------------------------------- */

Test(batch, is_committed_when_full)
{
	for (int i = 0; i < BATCH_MAX - 1; i++)
		add_result("r", 0);
	assert_events("");
	add_result("r", 0);
	cr_assert_eq(events_count("done r 0"), BATCH_MAX);
	cr_assert(batch_is_empty(batch));
}

Test(batch, is_committed_before_it_holds_too_many_directories)
{
	add_many(64, "d%d/f");
	assert_events("");
	add("d64/f");
	cr_assert_eq(events_count("done f 0"), 64);
	cr_assert_not(batch_is_empty(batch));
	commit();
	cr_assert_eq(events_count("done f 0"), 65);
	cr_assert_str_eq(read_top("d64/f"), "f");
}

/* The descriptor of a resumable stage holds its lock, and is kept. */
Test(batch, is_committed_before_it_holds_too_many_descriptors)
{
	struct dir *parent = parent_of("p");

	for (uint8_t i = 0; i < 64; i++) {
		uint8_t key[STAGE_KEY_LEN] = {i};
		struct batch_tag tag = {.id = 1, .path = "p", .is_file = true, .size = 1};
		struct stage s;

		assert_events("");
		cr_assert_eq(stage_resume(&area, parent, key, true, &s), 0);
		stage_fill(&s, "p");
		cr_assert_eq(batch_add_stage(batch, &tag, &s, parent, false), 0);
	}
	dir_put(parent);
	cr_assert_eq(events_count("done p 0"), 64);
	cr_assert(batch_is_empty(batch));
	assert_no_stages();
}

Test(batch, is_committed_when_much_data_waits)
{
	cr_assert_eq(add_sized("a", 32 * MEGA, false), 0);
	cr_assert_eq(add_sized("b", 32 * MEGA - 1, false), 0);
	assert_events("");
	cr_assert_eq(add_sized("c", 1, false), 0);
	cr_assert_eq(events_count("done "), 3);
	*events = '\0';
	cr_assert_eq(add_sized("d", UINT64_MAX / 2, false), 0);
	cr_assert_eq(events_count("done "), 1);
}

Test(batch, is_committed_when_there_is_no_room_for_names)
{
	static char path[PATH_WIRE_MAX + 1];

	memset(path, 'p', PATH_WIRE_MAX);
	for (int i = 0; i < 3; i++)
		add_result(path, 0);
	assert_events("");
	add_result(path, 0);
	cr_assert_eq(events_count("done "), 3);
	commit();
	cr_assert_eq(events_count("done "), 4);
}

/* The connection has ended, and nobody else knows of the stage any more. */
Test(batch, a_failed_commit_on_the_way_in_leaves_nothing)
{
	add_many(64, "d%d/f");
	done_error = -ERR_CLOSED;
	cr_assert_eq(add_sized("d64/f", 1, false), -ERR_CLOSED);
	assert_no_stages();
}

/* -- While the disk works ------------------------------------------------------------ */

static void count_beat(void *ctx)
{
	++*(int *)ctx;
}

Test(batch, beats_while_the_disk_is_slow)
{
	int beats = 0;

	batch_on_beat(batch, count_beat, &beats);
	add("a");
	commit();
	cr_assert_eq(beats, 0);
	*events = '\0';
	flush_ms = 1500;
	add("b");
	commit();
	assert_events("data b\nname b\ndir .\ndone b 0\n");
	cr_assert(beats >= 1 && beats <= 3, "%d", beats);
}
