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

#define DAY 86400

#define T16 "0123456789abcdef"
#define P32 T16 "fedcba9876543210"

static const struct {
	const char *name;
	bool link, swept;
} sweeps[] = {
	{"t-" T16 "-0", false, true},
	{"t-" T16 "-1", false, true},
	{"t-" T16 "-" T16, false, true},
	{"t-" T16 "-ff", true, true},
	{"p-" P32, false, true},
	{"t-" T16, false, false},
	{"t-" T16 "-", false, false},
	{"t-" T16 "-g", false, false},
	{"t-" T16 "-0" T16, false, false},
	{"t-" T16 "0-0", false, false},
	{"p-" P32 "0", false, false},
	{"p-" T16, false, false},
	{"P-" P32, false, false},
	{"p-0123456789ABCDEFFEDCBA9876543210", false, false},
	{"x", false, false},
	{"t", false, false},
	{"t-", false, false},
};

Test(sweep, takes_only_what_is_named_like_a_stage)
{
	int64_t now = time(NULL) + 2 * DAY;
	struct stat st;
	int expected = 0;

	cr_assert_eq(stage_sweep(top.fd, now, DAY), 0);
	cr_assert_lt(
		faccessat(top.fd, PATH_RESERVED, F_OK, 0), 0, "sweeping makes nothing");
	scratch_file(top.fd, "target", "");
	cr_assert_eq(mkdirat(top.fd, PATH_RESERVED, 0700), 0);
	for (size_t i = 0; i < ARRAY_LEN(sweeps); i++) {
		char path[128];
		snprintf(path, sizeof(path), PATH_RESERVED "/%s", sweeps[i].name);
		if (sweeps[i].link)
			scratch_link(top.fd, "../target", path);
		else
			scratch_file(top.fd, path, "");
		expected += sweeps[i].swept;
	}
	cr_assert_eq(stage_sweep(top.fd, now, DAY), expected);
	for (size_t i = 0; i < ARRAY_LEN(sweeps); i++) {
		char path[128];
		snprintf(path, sizeof(path), PATH_RESERVED "/%s", sweeps[i].name);
		bool stands = fstatat(top.fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
		cr_assert_eq(stands, !sweeps[i].swept, "%s", path);
	}
	cr_assert_eq(fstatat(top.fd, "target", &st, 0), 0);
	cr_assert_eq(stage_sweep(top.fd, now, DAY), 0);
}

/* A stage has the times of its source before it has its name: they are not its age. */
Test(sweep, goes_by_the_last_change)
{
	static const char *const name = PATH_RESERVED "/t-" T16 "-0";
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
	int64_t now = time(NULL);

	cr_assert_eq(mkdirat(top.fd, PATH_RESERVED, 0700), 0);
	scratch_file(top.fd, name, "");
	cr_assert_eq(utimensat(top.fd, name, old, 0), 0);
	cr_assert_eq(stage_sweep(top.fd, now, DAY), 0);
	cr_assert_eq(stage_sweep(top.fd, now + DAY - 60, DAY), 0);
	cr_assert_eq(stage_sweep(top.fd, now + DAY + 60, DAY), 1);
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
