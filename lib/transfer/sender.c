/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/sender.h"

#include <string.h>

#include "base/err.h"
#include "transfer/reader.h"

/* Less than this is not worth a look at the socket in between. */
#define POLL_MIN (64u << 10)
/* So much of a hole is gone through before the receiver hears of it. */
#define SILENT_MAX (1u << 20)

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
		.flags = source->sparse ? FILE_SPARSE : 0,
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

/* One file under way. */
struct sending {
	const struct sender *s; /* borrowed */
	uint32_t id;
	struct source *source; /* borrowed */
	uint64_t pos;
	size_t unpolled;      /* bytes since the socket was looked at */
	size_t silent;        /* bytes of hole since something was sent */
	struct reader reader; /* where it is APART */
	bool apart;
};

static int send_hole(const struct sending *g, size_t len)
{
	struct msg_hole m = {.len = (uint32_t)len};
	struct wcur w;
	channel_begin(g->s->channel, &w);
	msg_hole_encode(&w, &m);
	return channel_end(g->s->channel, &w, MSG_HOLE, g->id);
}

/* Reads into the channel's own buffer what is next, and sends it. */
static struct step send_inline(struct sending *g, struct block *chunk)
{
	struct channel *c = g->s->channel;
	struct extent next = reader_next(g->source, g->pos, channel_chunk_size(c));
	if (next.len == 0)
		return (struct step){0};
	chunk->bytes = channel_reserve_data(c, next.len);
	if (!chunk->bytes)
		return (struct step){.fatal = channel_error(c)};
	int err = reader_chunk(g->source, g->s->digest, g->pos, &next, chunk);
	if (err < 0)
		return (struct step){.failed = err};
	if (chunk->hole > 0)
		err = send_hole(g, chunk->hole);
	else if (chunk->len > 0)
		err = channel_commit_data(c, g->id, chunk->len);
	return (struct step){.len = chunk->len + chunk->hole, .fatal = err};
}

/* Sends what the reader has read. */
static struct step send_apart(struct sending *g, struct block *chunk)
{
	struct block *b = ring_use(g->reader.ring);
	if (!b)
		return (struct step){.failed = ring_error(g->reader.ring)};
	int err = b->hole > 0 ? send_hole(g, b->hole)
			      : channel_send_data(g->s->channel, g->id, b->bytes, b->len);
	*chunk = *b;
	ring_used(g->reader.ring);
	return (struct step){.len = chunk->len + chunk->hole, .fatal = err};
}

static struct step send_chunk(struct sending *g)
{
	const struct sender *s = g->s;
	struct block chunk = {0};
	struct step step = g->apart ? send_apart(g, &chunk) : send_inline(g, &chunk);
	if (step.fatal || step.failed || step.len == 0)
		return step;
	g->pos += step.len;
	if (s->progress)
		s->progress(s->ctx, step.len);
	if (chunk.has_check) {
		struct msg_check m = {.offset = g->pos};
		memcpy(m.digest, chunk.check, DIGEST_LEN);
		step.fatal = send_check(s, MSG_CHECK, g->id, &m);
	}
	g->unpolled += step.len;
	g->silent = chunk.hole > 0 ? g->silent + chunk.hole : 0;
	if (step.fatal == 0 && chunk.hole > 0)
		step.fatal = channel_credit(s->channel, chunk.hole);
	/* A long hole is to be no long silence. */
	if (step.fatal == 0 && g->silent >= SILENT_MAX) {
		g->silent = 0;
		step.fatal = channel_flush(s->channel);
	}
	if (step.fatal == 0 && g->unpolled >= POLL_MIN) {
		g->unpolled = 0;
		step.fatal = channel_poll(s->channel);
	}
	if (step.fatal == 0 && s->interrupt)
		step.failed = s->interrupt(s->ctx);
	return step;
}

/* The data from g->pos on, which is then where it ended. */
static struct step send_data(struct sending *g)
{
	struct step step;
	if (g->s->parallel && g->source->seekable)
		g->apart = reader_start(&g->reader, g->source, g->s->digest, g->pos,
				   channel_chunk_size(g->s->channel)) == 0;
	do
		step = send_chunk(g);
	while (step.fatal == 0 && step.failed == 0 && step.len > 0);
	if (g->apart) {
		int err = reader_join(&g->reader);
		if (step.failed == 0)
			step.failed = err;
	}
	return step;
}

int sender_send(const struct sender *s, uint32_t id, struct source *source,
	uint64_t offset, struct sent *out)
{
	struct sending g = {.s = s, .id = id, .source = source, .pos = offset};
	int err = send_file(s, id, source, offset);
	if (err < 0)
		return err;
	struct step step = send_data(&g);
	struct msg_check end = {.offset = g.pos};
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
