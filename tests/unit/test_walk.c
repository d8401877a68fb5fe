/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/walk.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <stdio.h>

#include "base/err.h"
#include "os/fd.h"
#include "scratch.h"

static struct scratch top;

static void setup(void)
{
	scratch_init(&top);
}

static void teardown(void)
{
	scratch_fini(&top);
}

TestSuite(walk, .init = setup, .fini = teardown, .timeout = 120);

static char type_letter(const struct walk_entry *e)
{
	switch (e->type) {
	case S_IFREG:
		return 'f';
	case S_IFDIR:
		return e->leave ? '<' : '>';
	case S_IFLNK:
		return 'l';
	case S_IFIFO:
		return 'p';
	default:
		return e->type == 0 && e->error ? '!' : '?';
	}
}

/* One line an entry: its type's letter, its path, and its error if any.  What
 * must hold of every entry is checked here. */
static void write_entry(FILE *out, const struct walk_entry *e)
{
	unsigned depth = e->path[0] != '\0';
	struct stat st;

	for (const char *p = e->path; *p; p++)
		depth += *p == '/';
	cr_assert_eq(e->depth, depth, "%s", e->path);
	cr_assert_str_eq(e->name, path_leaf(e->path));
	if (!e->error) {
		cr_assert_eq(fstatat(e->parent_fd, e->name, &st, AT_SYMLINK_NOFOLLOW), 0);
		cr_assert_eq(st.st_mode & S_IFMT, e->type, "%s", e->path);
	}
	fprintf(out, "%c %s", type_letter(e), e->path);
	if (e->error)
		fprintf(out, " %d", e->error);
	fputc('\n', out);
}

/* The whole walk as text; SKIP (or NULL) is a name that is not entered. */
static char *walk_text(const char *path, bool recursive, size_t window, const char *skip)
{
	struct walk *w = NULL;
	struct walk_entry e;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int r;

	if (!out)
		abort();
	cr_assert_eq(walk_new_window(&w, top.fd, path, recursive, window), 0);
	while ((r = walk_next(w, &e)) > 0) {
		write_entry(out, &e);
		if (skip && strcmp(e.name, skip) == 0)
			walk_skip(w);
	}
	cr_assert_eq(r, 0);
	cr_assert_eq(walk_next(w, &e), 0, "the end stays the end");
	walk_free(w);
	fclose(out);
	return text;
}

static void assert_walk(
	const char *path, bool recursive, const char *skip, const char *expected)
{
	const size_t windows[] = {WALK_WINDOW, 64, 1};

	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		char *text = walk_text(path, recursive, windows[i], skip);
		cr_assert_str_eq(text, expected, "window %zu", windows[i]);
		free(text);
	}
}

static void make_tree(void)
{
	scratch_mkdir(top.fd, "d");
	scratch_mkdir(top.fd, "d/sub");
	scratch_mkdir(top.fd, "d/sub/empty");
	scratch_file(top.fd, "d/sub/x", "");
	scratch_file(top.fd, "d/b", "");
	scratch_file(top.fd, "d/B", "");
	scratch_file(top.fd, "d.txt", "");
	scratch_file(top.fd, "a", "");
	scratch_link(top.fd, "d", "link");
	scratch_link(top.fd, "nowhere", "dangling");
	cr_assert_eq(mkfifoat(top.fd, "pipe", 0644), 0);
	scratch_mkdir(top.fd, PATH_RESERVED);
	scratch_file(top.fd, PATH_RESERVED "/t-1", "");
	scratch_mkdir(top.fd, "d/" PATH_RESERVED);
	scratch_file(top.fd, "d/sub/" PATH_RESERVED, "a file of that name is shown");
}

Test(walk, recursive)
{
	make_tree();
	assert_walk("", true, NULL,
		"f a\n"
		"> d\n"
		"f d/B\n"
		"f d/b\n"
		"> d/sub\n"
		"f d/sub/.sockd-partial\n"
		"> d/sub/empty\n"
		"< d/sub/empty\n"
		"f d/sub/x\n"
		"< d/sub\n"
		"< d\n"
		"f d.txt\n"
		"l dangling\n"
		"l link\n"
		"p pipe\n");
	assert_walk("d/sub", true, NULL,
		"f .sockd-partial\n"
		"> empty\n"
		"< empty\n"
		"f x\n");
	assert_walk("d/sub/empty", true, NULL, "");
}

Test(walk, flat)
{
	make_tree();
	assert_walk("", false, NULL,
		"f a\n"
		"> d\n"
		"f d.txt\n"
		"l dangling\n"
		"l link\n"
		"p pipe\n");
}

Test(walk, skip)
{
	make_tree();
	assert_walk("d", true, "sub",
		"f B\n"
		"f b\n"
		"> sub\n");
	assert_walk("d", true, "x",
		"f B\n"
		"f b\n"
		"> sub\n"
		"f sub/.sockd-partial\n"
		"> sub/empty\n"
		"< sub/empty\n"
		"f sub/x\n"
		"< sub\n");
}

static const struct {
	const char *path;
	int expected;
} starts[] = {
	{"a", -ERR_NOT_DIR},
	{"missing", -ERR_NOT_FOUND},
	{"dangling", -ERR_NOT_FOUND},
	{"..", -ERR_ESCAPE},
	{"link", 0},
};

Test(walk, start)
{
	make_tree();
	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		struct walk *w = NULL;
		cr_assert_eq(walk_new(&w, top.fd, starts[i].path, true),
			starts[i].expected, "%s", starts[i].path);
		walk_free(w);
	}
}

Test(walk, may_be_left_anywhere)
{
	struct walk_entry e;

	make_tree();
	for (int steps = 0; steps < 16; steps++) {
		struct walk *w;
		cr_assert_eq(walk_new(&w, top.fd, "", true), 0);
		for (int i = 0; i < steps; i++)
			cr_assert_geq(walk_next(w, &e), 0);
		walk_free(w);
	}
}

/* Every byte that a name can have, in the order of bytes. */
Test(walk, any_byte)
{
	struct walk *w;
	struct walk_entry e;
	int byte = 1;

	for (int i = 1; i < 256; i++) {
		char name[] = {(char)i, '~', '\0'};
		if (i != '/')
			scratch_file(top.fd, name, "");
	}
	cr_assert_eq(walk_new_window(&w, top.fd, "", true, 100), 0);
	for (; walk_next(w, &e) > 0; byte++) {
		byte += byte == '/';
		cr_assert_eq((unsigned char)e.name[0], byte);
		cr_assert_str_eq(e.name + 1, "~");
	}
	cr_assert_eq(byte, 256);
	walk_free(w);
}

#define MANY 100000

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Far more names than a window holds, in no order of creation. */
Test(walk, many_names)
{
	static char *names[MANY];
	struct walk *w;
	struct walk_entry e;
	size_t count = 0;

	for (unsigned i = 0; i < MANY; i++) {
		cr_assert_geq(asprintf(&names[i], "%x-%u", i * 2654435761u, i), 0);
		cr_assert_eq(mknodat(top.fd, names[i], S_IFREG | 0644, 0), 0);
	}
	qsort(names, MANY, sizeof(names[0]), compare_strings);
	cr_assert_eq(walk_new_window(&w, top.fd, "", true, 1u << 18), 0);
	for (; walk_next(w, &e) > 0; count++)
		cr_assert_str_eq(e.name, names[count]);
	cr_assert_eq(count, MANY);
	walk_free(w);
	for (size_t i = 0; i < MANY; i++)
		free(names[i]);
}

/* Makes LEVELS directories of one name, each in the one before, and a file
 * in the last. */
static void make_deep(const char *name, int levels)
{
	int at = dup(top.fd);

	for (int i = 0; i < levels; i++) {
		scratch_mkdir(at, name);
		int next = openat(at, name, O_RDONLY | O_DIRECTORY);
		cr_assert_geq(next, 0);
		close(at);
		at = next;
	}
	scratch_file(at, "file", "");
	close(at);
}

/* What a walk of a chain of directories gave. */
struct depths {
	unsigned entered, left, files, errors, error_depth;
	int error;
	size_t longest;
};

static struct depths walk_depths(void)
{
	struct depths d = {0};
	struct walk *w;
	struct walk_entry e;
	int r;

	cr_assert_eq(walk_new(&w, top.fd, "", true), 0);
	while ((r = walk_next(w, &e)) > 0) {
		size_t len = strlen(e.path);
		d.longest = len > d.longest ? len : d.longest;
		d.left += e.leave;
		d.entered += e.type == S_IFDIR && !e.leave;
		d.files += e.type == S_IFREG;
		if (e.error) {
			d.errors++;
			d.error = e.error;
			d.error_depth = e.depth;
		}
	}
	cr_assert_eq(r, 0);
	walk_free(w);
	return d;
}

static const char *name_of_255(void)
{
	static char name[256];

	memset(name, 'n', 255);
	return name;
}

Test(walk, forty_levels_of_long_names)
{
	make_deep(name_of_255(), 40);
	struct depths d = walk_depths();
	cr_assert_eq(d.entered, 40);
	cr_assert_eq(d.left, 40);
	cr_assert_eq(d.files, 1);
	cr_assert_eq(d.errors, 0);
	cr_assert_eq(d.longest, 40 * 256 + 4);
}

/* 64 names of 255 bytes are 16383 bytes; anything below is too long. */
Test(walk, too_long)
{
	make_deep(name_of_255(), 66);
	scratch_file(top.fd, "z", "the walk goes on");
	struct depths d = walk_depths();
	cr_assert_eq(d.entered, 64);
	cr_assert_eq(d.left, 64);
	cr_assert_eq(d.files, 1);
	cr_assert_eq(d.errors, 1);
	cr_assert_eq(d.error, -ERR_NAME_TOO_LONG);
	cr_assert_eq(d.error_depth, 65);
}

Test(walk, too_deep)
{
	make_deep("d", PATH_DEPTH_MAX + 3);
	scratch_file(top.fd, "z", "the walk goes on");
	struct depths d = walk_depths();
	cr_assert_eq(d.entered, PATH_DEPTH_MAX);
	cr_assert_eq(d.left, PATH_DEPTH_MAX);
	cr_assert_eq(d.files, 1);
	cr_assert_eq(d.errors, 1);
	cr_assert_eq(d.error, -ERR_NAME_TOO_LONG);
	cr_assert_eq(d.error_depth, PATH_DEPTH_MAX + 1);
}

Test(walk, directory_that_cannot_be_opened)
{
	scratch_mkdir(top.fd, "closed");
	scratch_mkdir(top.fd, "open");
	cr_assert_eq(fchmodat(top.fd, "closed", 0, 0), 0);
	cr_assert_eq(fchmod(top.fd, 0755), 0);
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	char expected[64];
	snprintf(
		expected, sizeof(expected), "! closed %d\n> open\n< open\n", -ERR_ACCESS);
	assert_walk("", true, NULL, expected);
	assert_walk("", false, NULL, "> closed\n> open\n");
	if (getuid() == 0)
		cr_assert_eq(seteuid(0), 0);
}

/* A directory removed between its entry and its reading cannot be read. */
Test(walk, directory_that_cannot_be_read)
{
	struct walk *w;
	struct walk_entry e;

	scratch_mkdir(top.fd, "d");
	scratch_file(top.fd, "e", "");
	cr_assert_eq(walk_new(&w, top.fd, "", true), 0);
	cr_assert_eq(walk_next(w, &e), 1);
	cr_assert_str_eq(e.path, "d");
	cr_assert_eq(unlinkat(top.fd, "d", AT_REMOVEDIR), 0);
	cr_assert_eq(walk_next(w, &e), 1);
	cr_assert_str_eq(e.path, "d");
	cr_assert_eq(e.error, -ERR_NOT_FOUND);
	cr_assert_eq(walk_next(w, &e), 1);
	cr_assert(e.leave);
	cr_assert_eq(walk_next(w, &e), 1);
	cr_assert_str_eq(e.path, "e");
	cr_assert_eq(walk_next(w, &e), 0);
	walk_free(w);
}

/* Random directories below AT, each with some files. */
static void make_random(int at, int depth)
{
	int files = rand() % 20;

	for (int i = 0; i < files; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%x", (unsigned)rand() & 0xfff);
		scratch_file(at, name, "");
	}
	for (int i = rand() % 4; depth > 0 && i >= 0; i--) {
		char name[16];
		snprintf(name, sizeof(name), "%x.d", (unsigned)rand() & 0xfff);
		if (mkdirat(at, name, 0755) < 0)
			continue;
		int child = openat(at, name, O_RDONLY | O_DIRECTORY);
		make_random(child, depth - 1);
		close(child);
	}
}

/* Windows that are dropped and read again give what one large window gives. */
Test(walk, windows_make_no_difference)
{
	unsigned seed = (unsigned)getpid();
	const size_t windows[] = {1, 50, 200, 1000};

	srand(seed);
	make_random(top.fd, 4);
	char *whole = walk_text("", true, WALK_WINDOW, NULL);
	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		char *text = walk_text("", true, windows[i], NULL);
		cr_assert_str_eq(text, whole, "seed %u, window %zu", seed, windows[i]);
		free(text);
	}
	free(whole);
}

#define FULL_LEVELS 60
#define FULL_WINDOW 8192

/* Without a bound, the windows of all levels together would hold 9 KiB each. */
Test(walk, memory_is_bounded)
{
	int at = dup(top.fd);
	struct walk *w;
	struct walk_entry e;
	size_t before = mallinfo2().uordblks, most = 0;

	if (before == 0) {
		teardown();
		cr_skip_test("a sanitizer counts the memory");
	}
	for (int level = 0; level < FULL_LEVELS; level++) {
		for (int i = 0; i < 100; i++) {
			char name[64];
			snprintf(name, sizeof(name), "%040d", i);
			scratch_file(at, name, "");
		}
		scratch_mkdir(at, "+");
		int next = openat(at, "+", O_RDONLY | O_DIRECTORY);
		close(at);
		at = next;
	}
	close(at);
	before = mallinfo2().uordblks;
	cr_assert_eq(walk_new_window(&w, top.fd, "", true, FULL_WINDOW), 0);
	size_t fixed = mallinfo2().uordblks - before;
	while (walk_next(w, &e) > 0) {
		size_t now = mallinfo2().uordblks - before;
		most = now > most ? now : most;
	}
	cr_assert_leq(most - fixed, 8 * FULL_WINDOW, "%zu", most - fixed);
	cr_assert_leq(fixed, 128 * 1024, "%zu", fixed);
	walk_free(w);
}
