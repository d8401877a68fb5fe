/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/link.h"

#include <criterion/criterion.h>

#include "base/err.h"
#include "os/fd.h"
#include "scratch.h"

static struct scratch top;

static void setup(void)
{
	scratch_init(&top);
	scratch_mkdir(top.fd, "tree");
	scratch_mkdir(top.fd, "tree/a");
	scratch_mkdir(top.fd, "tree/a/b");
	scratch_mkdir(top.fd, "beside");
	scratch_link(top.fd, ".", "tree/self");
	scratch_link(top.fd, "../beside", "tree/out");
}

static void teardown(void)
{
	scratch_fini(&top);
}

TestSuite(link, .init = setup, .fini = teardown, .timeout = 60);

static const struct {
	const char *dir, *target;
	int expected;
} checks[] = {
	{"tree", "x", 0},
	{"tree", "x/y", 0},
	{"tree", ".", 0},
	{"tree", "..", -ERR_ESCAPE},
	{"tree", "./..", -ERR_ESCAPE},
	{"tree", "/x", -ERR_ESCAPE},
	{"tree", "..x/...", 0},
	{"tree", "./.sockd-partial/x", -ERR_ESCAPE},
	{"tree", ".sockd-partials", 0},
	{"tree/a", "../x", 0},
	{"tree/a", "..", 0},
	{"tree/a", "../..", -ERR_ESCAPE},
	{"tree/a/b", "../../x", 0},
	{"tree/a/b", "..//.././x", 0},
	{"tree/a/b", "../../../x", -ERR_ESCAPE},
	/* behind a name one does not know where one is */
	{"tree/a/b", "x/../y", -ERR_ESCAPE},
	/* by the letters these stand deep in the tree */
	{"tree/self/self/self", "../x", -ERR_ESCAPE},
	{"tree/a/../self/a", "../x", 0},
	{"tree/out", "../x", -ERR_ESCAPE},
	{"beside", "../x", -ERR_ESCAPE},
	{"beside", "x", 0},
};

Test(link, target)
{
	FD_OWNED tree = openat(top.fd, "tree", O_RDONLY | O_DIRECTORY);

	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		FD_OWNED dir = openat(top.fd, checks[i].dir, O_RDONLY | O_DIRECTORY);
		cr_assert_geq(dir, 0);
		cr_assert_eq(link_check_target(tree, dir, checks[i].target),
			checks[i].expected, "%s -> %s", checks[i].dir, checks[i].target);
	}
}
