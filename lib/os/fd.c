/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/err.h"

void fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

void fd_closep(int *fd)
{
	fd_close(*fd);
}

int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

ssize_t fd_read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return -err_from_errno(errno);
		if (n > 0)
			done += (size_t)n;
	}
	return (ssize_t)done;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);
		if (n < 0 && errno != EINTR)
			return -err_from_errno(errno);
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

int fd_locate(int fd, dev_t *dev_out, uint64_t *mount_out)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
		return -err_from_errno(errno);
	*dev_out = makedev(st.stx_dev_major, st.stx_dev_minor);
	*mount_out = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
	return 0;
}
