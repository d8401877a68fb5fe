/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/ring.h"

#include <stdlib.h>

#include "base/err.h"
#include "os/sock.h"
#include "os/thread.h"
#include "wire/frame.h"

struct ring {
	pthread_mutex_t lock;
	pthread_cond_t moved; /* guarded by lock, as all below but the bytes of blocks */
	size_t filled, used;  /* blocks since the beginning */
	bool ended, stopped;
	int error;
	struct block blocks[RING_COUNT];
	uint8_t *memory; /* owned: the bytes of all blocks */
};

#define CACHE_LINE 64
/* From the bytes of one block to those of the next, with room for a frame's header. */
#define STRIDE (RING_BLOCK + CACHE_LINE)

bool ring_pays(uint64_t bytes, unsigned processors, unsigned transfers, int fd)
{
	/* Of many small files none asks the kernel. */
	return bytes >= RING_FILE_MIN &&
	       processors / 2 >= (sock_is_within(fd) ? 2 * transfers : transfers);
}

int ring_new(struct ring **out)
{
	struct ring *r = calloc(1, sizeof(*r));
	*out = NULL;
	if (!r)
		return -ERR_RESOURCE;
	r->memory = aligned_alloc(CACHE_LINE, (size_t)RING_COUNT * STRIDE);
	if (!r->memory) {
		free(r);
		return -ERR_RESOURCE;
	}
	for (size_t i = 0; i < RING_COUNT; i++)
		r->blocks[i].bytes = r->memory + i * STRIDE + CACHE_LINE;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->moved, NULL);
	*out = r;
	return 0;
}

void ring_free(struct ring *r)
{
	if (!r)
		return;
	pthread_cond_destroy(&r->moved);
	pthread_mutex_destroy(&r->lock);
	free(r->memory);
	free(r);
}

int ring_start(struct ring **out, pthread_t *thread, void *(*main)(void *), void *ctx)
{
	int err = ring_new(out);
	if (err == 0)
		err = thread_start(thread, main, ctx);
	if (err < 0) {
		ring_free(*out);
		*out = NULL;
	}
	return err;
}

int ring_join(struct ring **r, pthread_t thread)
{
	pthread_join(thread, NULL);
	int err = ring_error(*r);
	ring_free(*r);
	*r = NULL;
	return err;
}

struct block *ring_fill(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->stopped && r->filled - r->used == RING_COUNT)
		pthread_cond_wait(&r->moved, &r->lock);
	struct block *b = r->stopped ? NULL : &r->blocks[r->filled % RING_COUNT];
	pthread_mutex_unlock(&r->lock);
	if (b) {
		b->len = b->hole = 0;
		b->has_check = false;
	}
	return b;
}

struct block *ring_use(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->stopped && !r->ended && r->filled == r->used)
		pthread_cond_wait(&r->moved, &r->lock);
	bool none = r->stopped || r->filled == r->used;
	struct block *b = none ? NULL : &r->blocks[r->used % RING_COUNT];
	pthread_mutex_unlock(&r->lock);
	return b;
}

/* One signal is enough: of the two threads only one can be waiting. */
static void ring_move(struct ring *r, size_t *count)
{
	pthread_mutex_lock(&r->lock);
	++*count;
	pthread_cond_signal(&r->moved);
	pthread_mutex_unlock(&r->lock);
}

void ring_filled(struct ring *r)
{
	ring_move(r, &r->filled);
}

void ring_used(struct ring *r)
{
	ring_move(r, &r->used);
}

void ring_settle(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->stopped && r->filled != r->used)
		pthread_cond_wait(&r->moved, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static void ring_finish(struct ring *r, bool *flag, int err)
{
	pthread_mutex_lock(&r->lock);
	if (r->error == 0)
		r->error = err;
	*flag = true;
	pthread_cond_broadcast(&r->moved);
	pthread_mutex_unlock(&r->lock);
}

void ring_end(struct ring *r, int err)
{
	ring_finish(r, &r->ended, err);
}

void ring_stop(struct ring *r, int err)
{
	ring_finish(r, &r->stopped, err);
}

int ring_error(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	int err = r->error;
	pthread_mutex_unlock(&r->lock);
	return err;
}
