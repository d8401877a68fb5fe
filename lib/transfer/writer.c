/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/fd.h"
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

/* Whatever an earlier transfer left behind POS goes, and what comes in its place was
 * never written. */
static int make_hole(int fd, uint64_t pos, size_t len)
{
	if (ftruncate(fd, (off_t)pos) < 0 || ftruncate(fd, (off_t)(pos + len)) < 0)
		return -err_from_errno(errno);
	return 0;
}

static int hole_write(struct writer *w, size_t len)
{
	static const uint8_t zeros[64 << 10];
	int err = 0;
	for (size_t left = len, n; err == 0 && left > 0; left -= n) {
		n = left < sizeof(zeros) ? left : sizeof(zeros);
		err = w->stream ? writer_store(w, zeros, n)
				: digest_update(w->digest, zeros, n);
	}
	if (err < 0 || w->stream)
		return err;
	err = make_hole(w->fd, w->pos, len);
	if (err == 0)
		w->pos += len;
	return err;
}

/*
 * Starts the writing of what is verified now, and waits for what was started long ago, so
 * that the last fsync has little left to do.
 *
 * Waiting is also asking: the kernel tells of an error once for each open file, so the
 * fsync would not hear of one that was told here.
 */
static int start_writing(const struct writer *w)
{
	sync_file_range(
		w->fd, (off_t)w->good, (off_t)(w->pos - w->good), SYNC_FILE_RANGE_WRITE);
	if (w->pos <= WRITE_BEHIND_MAX)
		return 0;
	off_t from = (off_t)(w->pos - WRITE_BEHIND_MAX - CHECKPOINT_INTERVAL);
	if (sync_file_range(
		    w->fd, from, CHECKPOINT_INTERVAL, SYNC_FILE_RANGE_WAIT_BEFORE) == 0)
		return 0;
	bool cannot = errno == EINVAL || errno == ENOSYS || errno == ESPIPE;
	return cannot ? 0 : -err_from_errno(errno);
}

static int check(struct writer *w, const uint8_t digest[DIGEST_LEN])
{
	uint8_t ours[DIGEST_LEN];
	int err = digest_peek(w->digest, ours);
	if (err < 0)
		return err;
	if (memcmp(ours, digest, DIGEST_LEN) != 0)
		return -ERR_MISMATCH;
	err = w->write_behind ? start_writing(w) : 0;
	/* What a failed flush covered is lost, though it can still be read. */
	w->good = err < 0 ? 0 : w->pos;
	return err;
}

/* -- By a thread or without ---------------------------------------------------- */

int writer_hole(struct writer *w, size_t len)
{
	if (!w->ring)
		return hole_write(w, len);
	struct block *b = ring_fill(w->ring);
	if (!b)
		return ring_error(w->ring);
	b->hole = len;
	ring_filled(w->ring);
	return 0;
}

int writer_check(struct writer *w, const uint8_t digest[DIGEST_LEN])
{
	if (!w->ring)
		return check(w, digest);
	struct block *b = ring_fill(w->ring);
	if (!b)
		return ring_error(w->ring);
	b->has_check = true;
	memcpy(b->check, digest, DIGEST_LEN);
	ring_filled(w->ring);
	return 0;
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	struct block *b;
	int err = 0;
	while (err == 0 && (b = ring_use(w->ring))) {
		err = b->hole > 0 ? hole_write(w, b->hole)
				  : writer_store(w, b->bytes, b->len);
		if (err == 0 && b->has_check)
			err = check(w, b->check);
		/* Who waits for all to be used is to see the error first. */
		if (err == 0)
			ring_used(w->ring);
	}
	ring_stop(w->ring, err);
	return NULL;
}

int writer_start(struct writer *w)
{
	return ring_start(&w->ring, &w->thread, writer_main, w);
}

int writer_settle(struct writer *w)
{
	if (!w->ring)
		return 0;
	ring_settle(w->ring);
	return ring_error(w->ring);
}

int writer_join(struct writer *w)
{
	if (!w->ring)
		return 0;
	ring_end(w->ring, 0);
	return ring_join(&w->ring, w->thread);
}
