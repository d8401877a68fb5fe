/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/landlock.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "os/fd.h"

/* What the headers of a distribution do not know yet, by the ABI that brought it. */
#define FS_TRUNCATE     (UINT64_C(1) << 14) /* 3 */
#define NET_BIND_TCP    (UINT64_C(1) << 0)  /* 4 */
#define NET_CONNECT_TCP (UINT64_C(1) << 1)
#define FS_IOCTL_DEV    (UINT64_C(1) << 15) /* 5 */
#define SCOPE_ABSTRACT  (UINT64_C(1) << 0)  /* 6: sockets of others */
#define SCOPE_SIGNAL    (UINT64_C(1) << 1)  /* processes of others */

/* All that ABI 2 knows: EXECUTE is the first, REFER the last. */
#define FS_ALL ((LANDLOCK_ACCESS_FS_REFER << 1) - 1)

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                         \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                 \
		LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |           \
		LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM |              \
		LANDLOCK_ACCESS_FS_REFER | FS_TRUNCATE)

/* struct landlock_ruleset_attr as it is today: what is handled is forbidden, unless a
 * rule gives it back.  An older kernel takes it too, as long as what that kernel does not
 * know is 0. */
struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

static struct ruleset ruleset_of(int abi)
{
	struct ruleset r = {.fs = FS_ALL};

	if (abi >= 3)
		r.fs |= FS_TRUNCATE;
	if (abi >= 4)
		r.net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (abi >= 5)
		r.fs |= FS_IOCTL_DEV;
	if (abi >= 6)
		r.scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
	return r;
}

static uint64_t rights_of(uint32_t access)
{
	return (access & LANDLOCK_READ ? FS_READ : 0) |
	       (access & LANDLOCK_WRITE ? FS_WRITE : 0);
}

static int fail(void)
{
	int err = err_from_errno(errno);

	return err == ERR_RESOURCE ? -err : -ERR_UNSUPPORTED;
}

int landlock_abi(void)
{
	long abi = syscall(
		SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi < 2 ? 0 : (int)abi;
}

static int place_add(int ruleset, const struct landlock_place *place, uint64_t handled)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = rights_of(place->access) & handled,
		.parent_fd = place->fd,
	};

	/* A rule that allows nothing is an error to the kernel. */
	if (rule.allowed_access == 0)
		return 0;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule,
		       0) < 0
		       ? fail()
		       : 0;
}

int landlock_restrict(int abi, const struct landlock_place *places, unsigned count)
{
	struct ruleset r = ruleset_of(abi);

	if (abi < 2)
		return -ERR_UNSUPPORTED;
	FD_OWNED fd = (int)syscall(SYS_landlock_create_ruleset, &r, sizeof(r), 0);
	if (fd < 0)
		return fail();
	for (unsigned i = 0; i < count; i++) {
		int err = place_add(fd, &places[i], r.fs);
		if (err < 0)
			return err;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return fail();
	return 0;
}
