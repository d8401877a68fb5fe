/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/receiver.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/fd.h"

/* The state of one reception. */
struct reception {
	const struct receiver *r;    /* borrowed */
	const struct msg_file *file; /* borrowed */
	struct received *out;        /* borrowed */
	uint64_t pos;                /* bytes of the file so far */
	int failed; /* -ERR_…: this file cannot succeed; we only drain */
	bool ended; /* END or ABORT has come */
};

/* Marks the file as failed and tells whoever wants to know.  Nonzero: leave. */
static int reception_fail(struct reception *rc, int err)
{
	if (rc->failed)
		return 0;
	rc->failed = err;
	return rc->r->failed ? rc->r->failed(rc->r->ctx, err) : 0;
}

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

/* Hashes and writes LEN bytes while they are in cache. */
static int reception_store(struct reception *rc, const uint8_t *p, size_t len)
{
	if (rc->failed)
		return 0;
	int err = digest_update(rc->r->digest, p, len);
	if (err == 0)
		err = rc->r->stream ? fd_write_full(rc->r->fd, p, len)
				    : write_at(rc->r->fd, p, len, rc->pos);
	return err < 0 ? reception_fail(rc, err) : 0;
}

static int reception_admit(struct reception *rc, uint32_t len)
{
	if (rc->failed || !rc->r->admit)
		return 0;
	int err = rc->r->admit(rc->r->ctx, rc->pos + len);
	if (channel_error(rc->r->channel))
		return channel_error(rc->r->channel);
	return err < 0 ? reception_fail(rc, err) : 0;
}

static int reception_data(struct reception *rc, uint32_t len)
{
	/* A size that was announced is a promise: more is never written. */
	if (rc->file->size != MSG_SIZE_UNKNOWN && rc->file->size - rc->pos < len)
		return -ERR_PROTOCOL;
	const uint8_t *p;
	ssize_t n;
	/* Before there is a piece at hand: whoever is asked may use the channel. */
	int asked = reception_admit(rc, len);
	if (asked < 0)
		return asked;
	while ((n = channel_read_data(rc->r->channel, &p)) > 0) {
		int err = reception_store(rc, p, (size_t)n);
		if (err < 0)
			return err;
		rc->pos += (size_t)n;
		if (rc->r->progress)
			rc->r->progress(rc->r->ctx, (uint64_t)n);
	}
	return (int)n;
}

static int reception_check(struct reception *rc, const struct channel_msg *m)
{
	struct msg_check check;
	uint8_t ours[DIGEST_LEN];
	int err = msg_check_decode(&check, m->payload, m->len);
	if (err < 0)
		return err;
	if (check.offset != rc->pos || check.offset % CHECKPOINT_INTERVAL != 0)
		return -ERR_PROTOCOL;
	if (rc->failed)
		return 0;
	err = digest_peek(rc->r->digest, ours);
	if (err == 0 && memcmp(ours, check.digest, DIGEST_LEN) != 0)
		err = -ERR_MISMATCH;
	if (err < 0)
		return reception_fail(rc, err);
	/* Only starts the writing; a failure shows at the fsync. */
	if (rc->r->write_behind)
		sync_file_range(rc->r->fd, (off_t)rc->out->good,
			(off_t)(rc->pos - rc->out->good), SYNC_FILE_RANGE_WRITE);
	rc->out->good = rc->pos;
	return 0;
}

static int reception_end(struct reception *rc, const struct channel_msg *m)
{
	struct msg_check end;
	int err = msg_check_decode(&end, m->payload, m->len);
	if (err < 0)
		return err;
	rc->ended = true;
	if (end.offset != rc->pos ||
		(rc->file->size != MSG_SIZE_UNKNOWN && rc->pos != rc->file->size))
		return -ERR_PROTOCOL;
	if (rc->failed)
		return 0;
	err = digest_finish(rc->r->digest, rc->out->digest);
	if (err == 0 && memcmp(rc->out->digest, end.digest, DIGEST_LEN) != 0)
		err = -ERR_MISMATCH;
	if (err == 0)
		rc->out->good = rc->pos;
	if (err == 0 && rc->r->expected &&
		memcmp(rc->out->digest, rc->r->expected, DIGEST_LEN) != 0)
		err = -ERR_MISMATCH;
	return err < 0 ? reception_fail(rc, err) : 0;
}

static int reception_abort(struct reception *rc, const struct channel_msg *m)
{
	struct msg_error e;
	int err = msg_error_decode(&e, m->payload, m->len);
	if (err < 0)
		return err;
	rc->ended = true;
	rc->out->aborted = e.code;
	if (rc->failed == 0)
		rc->failed = -ERR_ABORTED;
	return 0;
}

static int reception_step(struct reception *rc, const struct channel_msg *m)
{
	switch (m->type) {
	case MSG_DATA:
		return reception_data(rc, m->len);
	case MSG_CHECK:
		return reception_check(rc, m);
	case MSG_END:
		return reception_end(rc, m);
	case MSG_ABORT:
		return reception_abort(rc, m);
	default: /* the session table lets nothing else through */
		return -ERR_PROTOCOL;
	}
}

int receiver_receive(
	const struct receiver *r, const struct msg_file *file, struct received *out)
{
	*out = (struct received){.good = file->offset};
	struct reception rc = {.r = r, .file = file, .out = out, .pos = file->offset};
	int err = 0;
	while (err == 0 && !rc.ended) {
		struct channel_msg m;
		err = channel_read(r->channel, &m);
		if (err == 0)
			err = reception_step(&rc, &m);
	}
	out->size = rc.pos;
	return err < 0 ? err : rc.failed;
}
