/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/attr.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/err.h"

static int set_mode(int fd, uint32_t mode)
{
	return fchmod(fd, mode & 0777) < 0 ? -err_from_errno(errno) : 0;
}

static int set_mtime(int fd, const struct msg_time *mtime)
{
	struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = mtime->sec, .tv_nsec = (long)mtime->nsec},
	};
	return futimens(fd, times) < 0 ? -err_from_errno(errno) : 0;
}

int attr_set(int fd, uint32_t mode, const struct msg_time *mtime)
{
	int err = set_mode(fd, mode);
	return err < 0 ? err : set_mtime(fd, mtime);
}

int attr_set_received(
	int fd, const struct msg_file *file, bool preserve, mode_t mask, bool fresh)
{
	uint32_t mode = preserve ? file->mode : file->mode & ~mask;
	bool as_made = fresh && mode == (0666 & ~mask);
	int err = as_made ? 0 : set_mode(fd, mode);
	return err < 0 || !preserve ? err : set_mtime(fd, &file->mtime);
}

bool attr_same_time(const struct msg_time *a, const struct msg_time *b)
{
	return a->sec == b->sec && (a->nsec == b->nsec || a->nsec == 0 || b->nsec == 0);
}
