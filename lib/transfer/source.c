/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/source.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "os/fd.h"

/* From here on the kernel is told to read ahead. */
#define READ_AHEAD_MIN (1u << 20)

struct msg_time msg_time_of(const struct timespec *ts)
{
	return (struct msg_time){.sec = ts->tv_sec, .nsec = (uint32_t)ts->tv_nsec};
}

int source_init(struct source *s, int fd, bool stream)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -err_from_errno(errno);
	if (S_ISDIR(st.st_mode))
		return -ERR_IS_DIR;
	bool regular = S_ISREG(st.st_mode);
	if (!regular && !stream)
		return -ERR_NOT_REGULAR;
	*s = (struct source){
		.fd = fd,
		.seekable = regular,
		.size = regular ? (uint64_t)st.st_size : MSG_SIZE_UNKNOWN,
		.mode = regular ? st.st_mode & 0777 : 0666,
		.mtime = msg_time_of(&st.st_mtim),
		.opened = st,
		/* The position of a stream is not ours to move. */
		.sparse = regular && !stream &&
			  (uint64_t)st.st_blocks < (uint64_t)st.st_size / 512,
	};
	if (regular && st.st_size >= READ_AHEAD_MIN)
		posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

void source_fini(struct source *s)
{
	fd_close(s->fd);
	s->fd = -1;
}

/* Looks what begins at OFFSET, which is within the file. */
static void source_look(struct source *s, uint64_t offset)
{
	off_t from = (off_t)offset, end = lseek(s->fd, from, SEEK_DATA);
	s->stretch = offset;
	s->stretch_is_hole = end != from;
	if (end == from)
		end = lseek(s->fd, from, SEEK_HOLE);
	else if (end < 0 && errno == ENXIO) /* no more data */
		end = (off_t)s->size;
	s->stretch_end = (uint64_t)end;
	if (end <= from)
		s->sparse = false;
}

size_t source_extent(struct source *s, uint64_t offset, size_t len, bool *hole_out)
{
	*hole_out = false;
	if (!s->sparse || len == 0)
		return len;
	if (offset < s->stretch || offset >= s->stretch_end)
		source_look(s, offset);
	if (!s->sparse)
		return len;
	*hole_out = s->stretch_is_hole;
	uint64_t left = s->stretch_end - offset;
	return left < len ? (size_t)left : len;
}

ssize_t source_read(struct source *s, void *buf, size_t len, uint64_t offset)
{
	if (!s->seekable)
		return fd_read_full(s->fd, buf, len);
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(
			s->fd, (char *)buf + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -err_from_errno(errno);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool source_has_changed(const struct source *s)
{
	struct stat now;
	if (!s->seekable)
		return false;
	if (fstat(s->fd, &now) < 0)
		return true;
	/* Losing its name to another file changes only the time of the last change. */
	bool replaced = now.st_nlink < s->opened.st_nlink;
	return now.st_size != s->opened.st_size ||
	       !same_time(&now.st_mtim, &s->opened.st_mtim) ||
	       (!replaced && !same_time(&now.st_ctim, &s->opened.st_ctim));
}
