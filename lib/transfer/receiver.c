/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/receiver.h"

#include <string.h>

#include "base/err.h"
#include "os/clock.h"
#include "transfer/writer.h"

/* The state of one reception. */
struct reception {
	const struct receiver *r;    /* borrowed */
	const struct msg_file *file; /* borrowed */
	struct received *out;        /* borrowed */
	struct writer writer;
	uint64_t pos;     /* bytes of the file so far */
	int64_t noted_ms; /* when the last NOTE went out */
	int failed;       /* -ERR_…: this file cannot succeed; we only drain */
	bool ended;       /* END or ABORT has come */
};

/* Marks the file as failed and tells whoever wants to know.  Nonzero: leave. */
static int reception_fail(struct reception *rc, int err)
{
	if (rc->failed)
		return 0;
	rc->failed = err;
	return rc->r->failed ? rc->r->failed(rc->r->ctx, err) : 0;
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

/* Everybody who counts is told that N bytes more have come. */
static void reception_count(struct reception *rc, size_t n)
{
	rc->pos += n;
	if (rc->r->progress)
		rc->r->progress(rc->r->ctx, n);
}

/* The payload of a DATA frame, hashed and written here while it is in cache. */
static int reception_store(struct reception *rc)
{
	const uint8_t *p;
	ssize_t n;
	while ((n = channel_read_data(rc->r->channel, &p)) > 0) {
		int err = rc->failed ? 0 : writer_store(&rc->writer, p, (size_t)n);
		if (err < 0)
			err = reception_fail(rc, err);
		if (err < 0)
			return err;
		reception_count(rc, (size_t)n);
	}
	return (int)n;
}

/* The payload of a DATA frame, block by block for the writer's thread. */
static int reception_hand_over(struct reception *rc)
{
	struct channel *c = rc->r->channel;
	ssize_t n = 1;
	while (n > 0) {
		struct block *b = ring_fill(rc->writer.ring);
		if (!b)
			return reception_fail(rc, ring_error(rc->writer.ring));
		while (b->len < RING_BLOCK &&
			(n = channel_read_data_into(
				 c, b->bytes + b->len, RING_BLOCK - b->len)) > 0) {
			b->len += (size_t)n;
			reception_count(rc, (size_t)n);
		}
		if (b->len > 0)
			ring_filled(rc->writer.ring);
	}
	return (int)n;
}

/* A size that was announced is a promise: more is never written.  And nothing goes over a
 * checkpoint. */
static bool reception_may_take(const struct reception *rc, uint32_t len)
{
	return (rc->file->size == MSG_SIZE_UNKNOWN || rc->file->size - rc->pos >= len) &&
	       rc->pos % CHECKPOINT_INTERVAL + len <= CHECKPOINT_INTERVAL;
}

static int reception_data(struct reception *rc, uint32_t len)
{
	if (!reception_may_take(rc, len))
		return -ERR_PROTOCOL;
	/* Before there is a piece at hand: whoever is asked may use the channel. */
	int err = reception_admit(rc, len);
	if (err == 0 && rc->writer.ring && !rc->failed)
		err = reception_hand_over(rc);
	/* Also what is left of the frame when there is no use for it any more. */
	return err < 0 ? err : reception_store(rc);
}

/* Holes come faster than they are hashed: whoever waits for us hears that we are alive.
 */
static int reception_beat(struct reception *rc)
{
	int64_t now_ms = clock_now_ms();
	if (rc->noted_ms == 0)
		rc->noted_ms = now_ms;
	if (now_ms - rc->noted_ms < NOTE_INTERVAL_MS)
		return 0;
	rc->noted_ms = now_ms;
	return channel_send_note(rc->r->channel, 0);
}

static int reception_hole(struct reception *rc, const struct channel_msg *m)
{
	struct msg_hole hole;
	int err = msg_hole_decode(&hole, m->payload, m->len);
	if (err < 0)
		return err;
	if (!reception_may_take(rc, hole.len))
		return -ERR_PROTOCOL;
	/* It stands for bytes that a slow peer had to read. */
	err = channel_credit(rc->r->channel, hole.len);
	if (err == 0)
		err = reception_admit(rc, hole.len);
	if (err < 0)
		return err;
	int failed = rc->failed ? 0 : writer_hole(&rc->writer, hole.len);
	if (failed < 0)
		err = reception_fail(rc, failed);
	if (err < 0)
		return err;
	reception_count(rc, hole.len);
	return reception_beat(rc);
}

static int reception_check(struct reception *rc, const struct channel_msg *m)
{
	struct msg_check check;
	int err = msg_check_decode(&check, m->payload, m->len);
	if (err < 0)
		return err;
	if (check.offset != rc->pos || check.offset % CHECKPOINT_INTERVAL != 0)
		return -ERR_PROTOCOL;
	if (rc->failed)
		return 0;
	err = writer_check(&rc->writer, check.digest);
	return err < 0 ? reception_fail(rc, err) : 0;
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
	err = writer_join(&rc->writer);
	if (rc->failed)
		return 0;
	if (err == 0)
		err = digest_finish(rc->r->digest, rc->out->digest);
	if (err == 0 && memcmp(rc->out->digest, end.digest, DIGEST_LEN) != 0)
		err = -ERR_MISMATCH;
	if (err == 0)
		rc->writer.good = rc->pos;
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
	/* What the writer found before the sender gave up comes first. */
	int failed = writer_join(&rc->writer);
	if (failed < 0)
		return reception_fail(rc, failed);
	if (rc->failed == 0)
		rc->failed = -ERR_ABORTED;
	return 0;
}

static int reception_step(struct reception *rc, const struct channel_msg *m)
{
	switch (m->type) {
	case MSG_DATA:
		return reception_data(rc, m->len);
	case MSG_HOLE:
		return reception_hole(rc, m);
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

/* The sender lets us wait: time to see whether the writer has come to a bad end, which
 * the sender may be waiting to hear. */
static int reception_settle(struct reception *rc)
{
	if (!rc->writer.ring || rc->failed || channel_is_readable(rc->r->channel))
		return 0;
	int err = writer_settle(&rc->writer);
	return err < 0 ? reception_fail(rc, err) : 0;
}

int receiver_receive(
	const struct receiver *r, const struct msg_file *file, struct received *out)
{
	*out = (struct received){0};
	struct reception rc = {.r = r, .file = file, .out = out, .pos = file->offset};
	int err = 0;
	rc.writer = (struct writer){
		.fd = r->fd,
		.stream = r->stream,
		.write_behind = r->write_behind,
		.digest = r->digest,
		.pos = file->offset,
		.good = file->offset,
	};
	/* Without a thread it goes on all the same. */
	if (r->parallel && !r->stream)
		(void)!writer_start(&rc.writer);
	while (err == 0 && !rc.ended) {
		struct channel_msg m;
		err = reception_settle(&rc);
		if (err == 0)
			err = channel_read(r->channel, &m);
		if (err == 0)
			err = reception_step(&rc, &m);
	}
	int failed = writer_join(&rc.writer);
	if (rc.failed == 0)
		rc.failed = failed;
	out->size = rc.pos;
	out->good = rc.writer.good;
	return err < 0 ? err : rc.failed;
}
