/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What becomes of stages that nobody came back for. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "os/stage.h"
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

TestSuite(sweep, .init = setup, .fini = teardown, .timeout = 60);

#define NOW 1700000000
#define DAY 86400

static void set_age(const char *name, int64_t age)
{
	struct timespec times[2] = {{.tv_sec = NOW - age}, {.tv_sec = NOW - age}};

	cr_assert_eq(utimensat(top.fd, name, times, AT_SYMLINK_NOFOLLOW), 0, "%s", name);
}

#define T16 "0123456789abcdef"
#define P32 T16 "fedcba9876543210"

static const struct {
	const char *name;
	int64_t age;
	bool link, swept;
} sweeps[] = {
	{"t-" T16 "-0", 2 * DAY, false, true},
	{"t-" T16 "-1", DAY, false, true},
	{"t-" T16 "-2", DAY - 1, false, false},
	{"t-" T16 "-3", -DAY, false, false},
	{"t-" T16 "-" T16, 2 * DAY, false, true},
	{"t-" T16 "-ff", 2 * DAY, true, true},
	{"t-" T16 "-fe", 0, true, false},
	{"p-" P32, 2 * DAY, false, true},
	{"p-" T16 T16, DAY - 1, false, false},
	{"t-" T16, 2 * DAY, false, false},
	{"t-" T16 "-", 2 * DAY, false, false},
	{"t-" T16 "-g", 2 * DAY, false, false},
	{"t-" T16 "-0" T16, 2 * DAY, false, false},
	{"t-" T16 "0-0", 2 * DAY, false, false},
	{"p-" P32 "0", 2 * DAY, false, false},
	{"p-" T16, 2 * DAY, false, false},
	{"P-" P32, 2 * DAY, false, false},
	{"p-0123456789ABCDEFFEDCBA9876543210", 2 * DAY, false, false},
	{"x", 2 * DAY, false, false},
	{"t", 2 * DAY, false, false},
	{"t-", 2 * DAY, false, false},
};

Test(sweep, takes_old_stages_only)
{
	struct stat st;
	int expected = 0;

	cr_assert_eq(stage_sweep(top.fd, NOW, DAY), 0);
	cr_assert_lt(
		faccessat(top.fd, PATH_RESERVED, F_OK, 0), 0, "sweeping makes nothing");
	scratch_file(top.fd, "target", "");
	set_age("target", 9 * DAY);
	cr_assert_eq(mkdirat(top.fd, PATH_RESERVED, 0700), 0);
	for (size_t i = 0; i < ARRAY_LEN(sweeps); i++) {
		char path[128];
		snprintf(path, sizeof(path), PATH_RESERVED "/%s", sweeps[i].name);
		if (sweeps[i].link)
			scratch_link(top.fd, "../target", path);
		else
			scratch_file(top.fd, path, "");
		set_age(path, sweeps[i].age);
		expected += sweeps[i].swept;
	}
	cr_assert_eq(stage_sweep(top.fd, NOW, DAY), expected);
	for (size_t i = 0; i < ARRAY_LEN(sweeps); i++) {
		char path[128];
		snprintf(path, sizeof(path), PATH_RESERVED "/%s", sweeps[i].name);
		bool stands = fstatat(top.fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
		cr_assert_eq(stands, !sweeps[i].swept, "%s", path);
	}
	cr_assert_eq(fstatat(top.fd, "target", &st, 0), 0);
	cr_assert_eq(stage_sweep(top.fd, NOW, DAY), 0);
}

Test(sweep, leaves_what_is_held)
{
	static const uint8_t key[STAGE_KEY_LEN] = {1};
	int64_t future = time(NULL) + 10 * DAY;
	struct stage_area area;
	struct dir_cache cache;
	struct dir *parent;
	const char *leaf;
	struct stage s;

	dir_cache_init(&cache, top.fd);
	cr_assert_eq(dir_cache_parent(&cache, "leaf", false, &parent, &leaf), 0);
	cr_assert_eq(stage_area_init(&area, top.fd), 0);
	cr_assert_eq(stage_resume(&area, parent, key, true, &s), 0);
	cr_assert_eq(stage_sweep(top.fd, future, DAY), 0);
	stage_keep(&s);
	cr_assert_eq(stage_sweep(top.fd, future, DAY), 1);
	cr_assert_eq(stage_resume(&area, parent, key, false, &s), -ERR_NOT_FOUND);
	stage_area_fini(&area);
	dir_put(parent);
	dir_cache_fini(&cache);
}
