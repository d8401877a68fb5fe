/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/link.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "os/beneath.h"
#include "os/fd.h"

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
