/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "os/beneath.h"
#include "os/fd.h"

/* How many directories FD is below TOP; -ERR_ESCAPE when it is not. */
static int depth_below(int top, int fd)
{
	struct stat end, at;
	FD_OWNED up = -1;
	if (fstat(top, &end) < 0)
		return -err_from_errno(errno);
	for (int depth = 0; depth <= PATH_DEPTH_MAX; depth++) {
		int here = up < 0 ? fd : up;
		if (fstat(here, &at) < 0)
			return -err_from_errno(errno);
		if (at.st_ino == end.st_ino && at.st_dev == end.st_dev)
			return depth;
		int next = openat(here, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (next < 0)
			return -err_from_errno(errno);
		fd_close(up);
		up = next;
	}
	return -ERR_ESCAPE;
}

int link_check_target(int top, int parent_fd, const char *target)
{
	int climbs = 0;
	bool climbing = true;
	if (*target == '/')
		return -ERR_ESCAPE;
	while (*target) {
		size_t len = strcspn(target, "/");
		bool up = len == 2 && strncmp(target, "..", 2) == 0;
		bool stays = len == 0 || (len == 1 && *target == '.');
		/* Behind a name it would begin from wherever that name leads. */
		if (up && !climbing)
			return -ERR_ESCAPE;
		if (len == strlen(PATH_RESERVED) &&
			strncmp(target, PATH_RESERVED, len) == 0)
			return -ERR_ESCAPE;
		climbs += up;
		climbing = climbing && (up || stays);
		target += target[len] ? len + 1 : len;
	}
	if (climbs == 0)
		return 0;
	int depth = depth_below(top, parent_fd);
	return depth < 0 ? depth : climbs > depth ? -ERR_ESCAPE : 0;
}

int link_read_inside(int base, const char *path, int parent_fd, const char *name,
	char target_out[PATH_TARGET_MAX + 1])
{
	ssize_t n = readlinkat(parent_fd, name, target_out, PATH_TARGET_MAX + 1);
	if (n < 0)
		return -err_from_errno(errno);
	if (n > PATH_TARGET_MAX)
		return -ERR_NAME_TOO_LONG;
	target_out[n] = '\0';
	if (!path_link_stays_inside(path, target_out))
		return -ERR_ESCAPE;
	int fd = beneath_open(base, path, O_PATH, 0);
	fd_close(fd);
	return fd == -ERR_ESCAPE ? fd : 0;
}
