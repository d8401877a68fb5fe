/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/sender.h"

#include <string.h>

#include "base/err.h"

/* Chunks smaller than this are not worth a look at the socket in between. */
#define POLL_MIN (64u << 10)

int sender_abort(struct channel *c, uint32_t id, int code)
{
	if (code < 0)
		code = -code;
	if (!err_is_wire(code))
		code = ERR_ABORTED;
	struct msg_error m = {.code = (uint16_t)code};
	m.text.bytes = err_text(code);
	m.text.len = strlen(m.text.bytes);
	struct wcur w;
	channel_begin(c, &w);
	msg_error_encode(&w, &m);
	return channel_end(c, &w, MSG_ABORT, id);
}

static int send_file(
	const struct sender *s, uint32_t id, const struct source *source, uint64_t offset)
{
	struct msg_file m = {
		.size = source->size,
		.offset = offset,
		.mode = source->mode,
		.mtime = source->mtime,
	};
	struct wcur w;
	channel_begin(s->channel, &w);
	msg_file_encode(&w, &m);
	return channel_end(s->channel, &w, MSG_FILE, id);
}

static int send_check(
	const struct sender *s, uint8_t type, uint32_t id, const struct msg_check *m)
{
	struct wcur w;
	channel_begin(s->channel, &w);
	msg_check_encode(&w, m);
	return channel_end(s->channel, &w, type, id);
}

/* What came out of one step: the connection failed, or only this file did. */
struct step {
	size_t len; /* bytes sent; 0 at the end of the source */
	int fatal;
	int failed;
};

/* Reads, hashes and sends the chunk at POS. */
static struct step send_chunk(
	const struct sender *s, uint32_t id, struct source *source, uint64_t pos)
{
	/* No chunk crosses a checkpoint, wherever a resume began. */
	size_t len = CHECKPOINT_INTERVAL - (size_t)(pos % CHECKPOINT_INTERVAL);
	if (len > channel_chunk_size(s->channel))
		len = channel_chunk_size(s->channel);
	if (source->seekable && source->size - pos < len)
		len = (size_t)(source->size - pos);
	if (len == 0)
		return (struct step){0};
	uint8_t *buf = channel_reserve_data(s->channel, len);
	if (!buf)
		return (struct step){.fatal = channel_error(s->channel)};
	ssize_t n = source_read(source, buf, len, pos);
	if (n < 0)
		return (struct step){.failed = (int)n};
	if (source->seekable && (size_t)n < len)
		return (struct step){.failed = -ERR_CHANGED};
	if (n == 0)
		return (struct step){0};
	int err = digest_update(s->digest, buf, (size_t)n);
	if (err < 0)
		return (struct step){.failed = err};
	err = channel_commit_data(s->channel, id, (size_t)n);
	if (err == 0 && n >= POLL_MIN)
		err = channel_poll(s->channel);
	return (struct step){.len = (size_t)n, .fatal = err};
}

static int send_checkpoint(const struct sender *s, uint32_t id, uint64_t pos)
{
	struct msg_check m = {.offset = pos};
	int err = digest_peek(s->digest, m.digest);
	return err < 0 ? err : send_check(s, MSG_CHECK, id, &m);
}

/* The data from OFFSET on; *POS_OUT is where it ended. */
static struct step send_data(const struct sender *s, uint32_t id, struct source *source,
	uint64_t offset, uint64_t *pos_out)
{
	uint64_t pos = offset;
	for (;;) {
		struct step step = send_chunk(s, id, source, pos);
		if (step.fatal || step.failed || step.len == 0) {
			*pos_out = pos;
			return step;
		}
		pos += step.len;
		if (s->progress)
			s->progress(s->ctx, step.len);
		if (pos % CHECKPOINT_INTERVAL == 0 && pos != source->size)
			step.fatal = send_checkpoint(s, id, pos);
		if (step.fatal == 0 && s->interrupt)
			step.failed = s->interrupt(s->ctx);
		if (step.fatal || step.failed)
			return step;
	}
}

int sender_send(const struct sender *s, uint32_t id, struct source *source,
	uint64_t offset, struct sent *out)
{
	struct msg_check end = {0};
	int err = send_file(s, id, source, offset);
	if (err < 0)
		return err;
	struct step step = send_data(s, id, source, offset, &end.offset);
	if (step.fatal)
		return step.fatal;
	if (step.failed == 0)
		step.failed = digest_finish(s->digest, end.digest);
	if (step.failed == 0 && source_has_changed(source))
		step.failed = -ERR_CHANGED;
	if (step.failed == 0 && s->expected &&
		memcmp(end.digest, s->expected, DIGEST_LEN) != 0)
		step.failed = -ERR_MISMATCH;
	if (step.failed) {
		err = sender_abort(s->channel, id, step.failed);
		return err < 0 ? err : step.failed;
	}
	out->size = end.offset;
	memcpy(out->digest, end.digest, DIGEST_LEN);
	return send_check(s, MSG_END, id, &end);
}
