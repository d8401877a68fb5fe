/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"

#define BYTES(s) s, sizeof(s) - 1

static const struct {
	const char *path;
	size_t len;
	int want;
} paths[] = {
	{BYTES(""), 0},
	{BYTES("a"), 0},
	{BYTES("a/b/c"), 0},
	{BYTES("..."), 0},
	{BYTES(".hidden/..x/x.."), 0},
	{BYTES(" "), 0},
	{BYTES("a\nb\\\xff\x1b"), 0},
	{BYTES("-rf"), 0},
	{BYTES(".sockd-partia"), 0},
	{BYTES(".sockd-partials"), 0},
	{BYTES("/"), -ERR_BAD_NAME},
	{BYTES("/a"), -ERR_BAD_NAME},
	{BYTES("a/"), -ERR_BAD_NAME},
	{BYTES("a//b"), -ERR_BAD_NAME},
	{BYTES("."), -ERR_BAD_NAME},
	{BYTES("./a"), -ERR_BAD_NAME},
	{BYTES("a/."), -ERR_BAD_NAME},
	{BYTES(".."), -ERR_BAD_NAME},
	{BYTES("../a"), -ERR_BAD_NAME},
	{BYTES("a/../b"), -ERR_BAD_NAME},
	{BYTES("a/.."), -ERR_BAD_NAME},
	{BYTES("a\0b"), -ERR_BAD_NAME},
	{BYTES("\0"), -ERR_BAD_NAME},
	{BYTES("a\0"), -ERR_BAD_NAME},
	{BYTES(".sockd-partial"), -ERR_BAD_NAME},
	{BYTES(".sockd-partial/x"), -ERR_BAD_NAME},
	{BYTES("a/.sockd-partial/x"), -ERR_BAD_NAME},
	{BYTES("a/.sockd-partial"), -ERR_BAD_NAME},
};

static int check_exact(const char *path, size_t len)
{
	char *exact = malloc(len + 1);
	memcpy(exact + 1, path, len); /* ends with the allocation, has no NUL */
	int err = path_check(exact + 1, len);
	free(exact);
	return err;
}

Test(path, checks_what_travels)
{
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		cr_assert_eq(check_exact(paths[i].path, paths[i].len), paths[i].want,
			"row %zu: %s", i, paths[i].path);
}

Test(path, component_length)
{
	char path[300];

	memset(path, 'x', sizeof(path));
	cr_assert_eq(check_exact(path, PATH_COMPONENT_MAX), 0);
	cr_assert_eq(check_exact(path, PATH_COMPONENT_MAX + 1), -ERR_NAME_TOO_LONG);
	path[1] = '/';
	cr_assert_eq(check_exact(path, PATH_COMPONENT_MAX + 2), 0);
	cr_assert_eq(check_exact(path, PATH_COMPONENT_MAX + 3), -ERR_NAME_TOO_LONG);
}

Test(path, depth)
{
	char path[2 * (PATH_DEPTH_MAX + 1)];

	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 2 ? '/' : 'x';
	cr_assert_eq(check_exact(path, 2 * PATH_DEPTH_MAX - 1), 0);
	cr_assert_eq(check_exact(path, 2 * PATH_DEPTH_MAX), -ERR_NAME_TOO_LONG);
	cr_assert_eq(check_exact(path, 2 * PATH_DEPTH_MAX + 1), -ERR_NAME_TOO_LONG);
}

Test(path, whole_length)
{
	static char path[PATH_WIRE_MAX + 1];

	memset(path, 'x', sizeof(path));
	for (size_t i = 200; i < sizeof(path); i += 201)
		path[i] = '/';
	cr_assert_eq(check_exact(path, PATH_WIRE_MAX), 0);
	cr_assert_eq(check_exact(path, PATH_WIRE_MAX + 1), -ERR_NAME_TOO_LONG);
}

static const struct {
	const char *typed, *want;
	bool was_dir;
	int err; /* of path_check afterwards */
} typed[] = {
	{"", "", true, 0},
	{"/", "", true, 0},
	{"//", "", true, 0},
	{".", "", true, 0},
	{"./", "", true, 0},
	{"/./.", "", true, 0},
	{"a", "a", false, 0},
	{"/a", "a", false, 0},
	{"a/", "a", true, 0},
	{"a//", "a", true, 0},
	{"a/.", "a", true, 0},
	{"a/./", "a", true, 0},
	{"./a", "a", false, 0},
	{"/a//b/./c", "a/b/c", false, 0},
	{"///a/b///", "a/b", true, 0},
	{".a/..b/c.", ".a/..b/c.", false, 0},
	{"..", "..", false, -ERR_BAD_NAME},
	{"a/..", "a/..", false, -ERR_BAD_NAME},
	{"a/../", "a/..", true, -ERR_BAD_NAME},
	{"./../x", "../x", false, -ERR_BAD_NAME},
};

Test(path, normalises_what_was_typed)
{
	for (size_t i = 0; i < ARRAY_LEN(typed); i++) {
		char *path = strdup(typed[i].typed);
		bool was_dir = !typed[i].was_dir;

		path_normalise(path, &was_dir);
		cr_assert_str_eq(path, typed[i].want, "%s", typed[i].typed);
		cr_assert_eq(was_dir, typed[i].was_dir, "%s", typed[i].typed);
		cr_assert_eq(path_check(path, strlen(path)), typed[i].err, "%s", path);
		free(path);
	}
}

static const struct {
	const char *path, *leaf;
	size_t parent_len;
} leaves[] = {
	{"", "", 0},
	{"a", "a", 0},
	{"a/b", "b", 1},
	{"dir/sub/file", "file", 7},
};

Test(path, splits_off_the_leaf)
{
	for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
		cr_assert_str_eq(path_leaf(leaves[i].path), leaves[i].leaf);
		cr_assert_eq(path_parent_len(leaves[i].path), leaves[i].parent_len);
	}
}

static const struct {
	const char *a, *b, *want;
} joins[] = {
	{"", "", ""},
	{"a", "", "a"},
	{"", "b", "b"},
	{"a", "b", "a/b"},
	{"dir/sub", "x/y", "dir/sub/x/y"},
};

Test(path, joins)
{
	for (size_t i = 0; i < ARRAY_LEN(joins); i++) {
		size_t len = strlen(joins[i].want);
		char *out = malloc(len + 1);

		cr_assert_eq(path_join(out, len + 1, joins[i].a, joins[i].b), 0);
		cr_assert_str_eq(out, joins[i].want);
		memset(out, '#', len + 1);
		cr_assert_eq(
			path_join(out, len, joins[i].a, joins[i].b), -ERR_NAME_TOO_LONG);
		cr_assert(out[0] == '#', "written on failure");
		free(out);
	}
}

static const struct {
	const char *link, *target;
	bool inside;
} links[] = {
	{"l", "x", true},
	{"l", "d/x", true},
	{"l", ".", true},
	{"l", "./x", true},
	{"l", "..", false},
	{"l", "../x", false},
	{"l", "d/..", true},
	{"l", "d/../..", false},
	{"l", "d/../../l", false}, /* out and in again */
	{"l", "/", false},
	{"l", "/etc/passwd", false},
	{"l", "..x", true},
	{"l", "...", true},
	{"d/l", "..", true},
	{"d/l", "../x", true},
	{"d/l", "../..", false},
	{"d/l", "..//../x", false},
	{"d/l", ".././../x", false},
	{"d/l", "../../d/x", false},
	{"d/e/l", "../../x", true},
	{"d/e/l", "../../../x", false},
	{"d/e/l", "x/../../../x", true},
	{"d/e/l", "x//../../../x", true},
	{"d/e/l", "x/./../../../../x", false},
};

Test(path, links_by_their_letters)
{
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		cr_assert_eq(path_link_stays_inside(links[i].link, links[i].target),
			links[i].inside, "%s -> %s", links[i].link, links[i].target);
}

/* In the order of a walk: each comes before all below it. */
static const char *const in_order[] = {"", "a", "a/-", "a/b", "a/b/c", "a/b.d", "a/ba",
	"a\x01", "a\x01/x", "a-", "a-b/c", "a.b", "a0", "aa", "aa/a", "ab", "b", "b/\x01",
	"b/a", "b\x7f", "b\x80", "b\xff", "b\xff/a", "\xc3\xa4"};

Test(path, compares_as_a_walk_shows)
{
	for (size_t i = 0; i < ARRAY_LEN(in_order); i++)
		for (size_t j = 0; j < ARRAY_LEN(in_order); j++) {
			int got = path_compare(in_order[i], in_order[j]);
			cr_assert_eq((got > 0) - (got < 0), (i > j) - (i < j),
				"%s and %s: %d", in_order[i], in_order[j], got);
		}
}

/* The same the long way: one component after the other. */
static int compare_components(const char *a, const char *b)
{
	while (*a && *b) {
		size_t a_len = strcspn(a, "/"), b_len = strcspn(b, "/");
		int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
		if (order != 0)
			return order;
		if (a_len != b_len)
			return a_len < b_len ? -1 : 1;
		a += a_len + (a[a_len] == '/');
		b += b_len + (b[b_len] == '/');
	}
	return (*a != 0) - (*b != 0);
}

/* Few different bytes, so that many paths begin alike. */
static void make_random_path(char path[24])
{
	static const char bytes[] = "aab.-/\x01\x2e\x30\xff";
	size_t len = (size_t)rand() % 20, used = 0;

	for (size_t i = 0; i < len; i++) {
		char byte = bytes[(size_t)rand() % (sizeof(bytes) - 1)];
		bool slash = used == 0 || path[used - 1] == '/';
		path[used++] = byte == '/' && slash ? 'a' : byte;
	}
	used -= used > 0 && path[used - 1] == '/';
	path[used] = '\0';
}

Test(path, compares_like_its_components)
{
	const char *given = getenv("SOCKD_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();

	fprintf(stderr, "SOCKD_TEST_SEED=%u\n", seed);
	srand(seed);
	for (int i = 0; i < 200000; i++) {
		char a[24], b[24];
		make_random_path(a);
		make_random_path(b);
		int got = path_compare(a, b), want = compare_components(a, b);
		cr_assert_eq((got > 0) - (got < 0), (want > 0) - (want < 0),
			"'%s' and '%s': %d, seed %u", a, b, got, seed);
		cr_assert_eq(got == 0, strcmp(a, b) == 0);
	}
}
