/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/fd.h"
#include "os/thread.h"
#include "wire/frame.h"

/* So much may be on its way to the disk while more arrives. */
#define WRITE_BEHIND_MAX (32u << 20)

static int write_at(int fd, const uint8_t *p, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -err_from_errno(errno) : -ERR_IO;
		p += n;
		len -= (size_t)n;
		offset += (size_t)n;
	}
	return 0;
}

int writer_store(struct writer *w, const uint8_t *bytes, size_t len)
{
	int err = digest_update(w->digest, bytes, len);
	if (err == 0)
		err = w->stream ? fd_write_full(w->fd, bytes, len)
				: write_at(w->fd, bytes, len, w->pos);
	if (err == 0)
		w->pos += len;
	return err;
}

/* Zeros into a pipe. */
static int write_zeros(int fd, size_t len)
{
	static const uint8_t zeros[64 << 10];
	int err = 0;
	while (err == 0 && len > 0) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);
		err = fd_write_full(fd, zeros, n);
		len -= n;
	}
	return err;
}

/* Whatever an earlier transfer left behind POS goes, and what comes in its place was
 * never written. */
static int make_hole(int fd, uint64_t pos, size_t len)
{
	if (ftruncate(fd, (off_t)pos) < 0 || ftruncate(fd, (off_t)(pos + len)) < 0)
		return -err_from_errno(errno);
	return 0;
}

int writer_hole(struct writer *w, size_t len)
{
	int err = digest_zeros(w->digest, len);
	if (err == 0)
		err = w->stream ? write_zeros(w->fd, len) : make_hole(w->fd, w->pos, len);
	if (err == 0)
		w->pos += len;
	return err;
}

/* Starts the writing of what is verified now, and waits for what was started long ago, so
 * that the last fsync has little left to do.  A failure shows there. */
static void writer_write_behind(const struct writer *w)
{
	sync_file_range(
		w->fd, (off_t)w->good, (off_t)(w->pos - w->good), SYNC_FILE_RANGE_WRITE);
	if (w->pos > WRITE_BEHIND_MAX)
		sync_file_range(w->fd,
			(off_t)(w->pos - WRITE_BEHIND_MAX - CHECKPOINT_INTERVAL),
			(off_t)CHECKPOINT_INTERVAL, SYNC_FILE_RANGE_WAIT_BEFORE);
}

int writer_check(struct writer *w, const uint8_t digest[DIGEST_LEN])
{
	uint8_t ours[DIGEST_LEN];
	int err = digest_peek(w->digest, ours);
	if (err < 0)
		return err;
	if (memcmp(ours, digest, DIGEST_LEN) != 0)
		return -ERR_MISMATCH;
	if (w->write_behind)
		writer_write_behind(w);
	w->good = w->pos;
	return 0;
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	struct block *b;
	int err = 0;
	while (err == 0 && (b = ring_use(w->ring))) {
		err = b->hole > 0 ? writer_hole(w, b->hole)
				  : writer_store(w, b->bytes, b->len);
		if (err == 0 && b->has_check)
			err = writer_check(w, b->check);
		/* Who waits for all to be used is to see the error first. */
		if (err == 0)
			ring_used(w->ring);
	}
	ring_stop(w->ring, err);
	return NULL;
}

int writer_start(struct writer *w)
{
	int err = ring_new(&w->ring);
	if (err == 0)
		err = thread_start(&w->thread, writer_main, w);
	if (err < 0) {
		ring_free(w->ring);
		w->ring = NULL;
	}
	return err;
}

int writer_join(struct writer *w)
{
	if (!w->ring)
		return 0;
	ring_end(w->ring, 0);
	pthread_join(w->thread, NULL);
	int err = ring_error(w->ring);
	ring_free(w->ring);
	w->ring = NULL;
	return err;
}
