/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/reader.h"

#include <string.h>

#include "base/err.h"
#include "wire/frame.h"

struct extent reader_next(struct source *source, uint64_t pos, size_t cap)
{
	struct extent next = {
		.len = CHECKPOINT_INTERVAL - (size_t)(pos % CHECKPOINT_INTERVAL)};
	if (next.len > cap)
		next.len = cap;
	if (source->seekable && source->size - pos < next.len)
		next.len = (size_t)(source->size - pos);
	next.len = source_extent(source, pos, next.len, &next.hole);
	return next;
}

static bool all_zeros(const uint8_t *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

int reader_chunk(struct source *source, struct digest *digest, uint64_t pos,
	const struct extent *next, struct block *chunk)
{
	if (next->len == 0)
		return 0;
	ssize_t n = source_read(source, chunk->bytes, next->len, pos);
	if (n < 0)
		return (int)n;
	if (source->seekable && (size_t)n < next->len)
		return -ERR_CHANGED;
	if (n == 0)
		return 0;
	int err = digest_update(digest, chunk->bytes, (size_t)n);
	if (err < 0)
		return err;
	if (next->hole && all_zeros(chunk->bytes, (size_t)n))
		chunk->hole = (size_t)n;
	else
		chunk->len = (size_t)n;
	uint64_t end = pos + (size_t)n;
	chunk->has_check = end % CHECKPOINT_INTERVAL == 0 && end != source->size;
	return chunk->has_check ? digest_peek(digest, chunk->check) : 0;
}

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	struct block *b;
	uint64_t pos = r->offset;
	int err = 0;
	while (err == 0 && pos < r->source->size && (b = ring_fill(r->ring))) {
		struct extent next = reader_next(r->source, pos, r->cap);
		err = reader_chunk(r->source, r->digest, pos, &next, b);
		pos += b->len + b->hole;
		if (err == 0)
			ring_filled(r->ring);
	}
	ring_end(r->ring, err);
	return NULL;
}

int reader_start(struct reader *r, struct source *source, struct digest *digest,
	uint64_t offset, size_t cap)
{
	*r = (struct reader){
		.source = source,
		.digest = digest,
		.offset = offset,
		.cap = cap < RING_BLOCK ? cap : RING_BLOCK,
	};
	return ring_start(&r->ring, &r->thread, reader_main, r);
}

int reader_join(struct reader *r)
{
	ring_stop(r->ring, 0);
	return ring_join(&r->ring, r->thread);
}
