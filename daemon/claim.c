/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/claim.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/err.h"
#include "os/clock.h"

struct claims {
	pthread_mutex_t lock;
	pthread_cond_t dropped; /* a claim was let go; CLOCK_MONOTONIC */
	struct claim *first;    /* guarded by lock: all that are held */
};

struct claims *claims_new(void)
{
	struct claims *cs = calloc(1, sizeof(*cs));
	pthread_condattr_t attr;

	if (!cs)
		return NULL;
	pthread_mutex_init(&cs->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&cs->dropped, &attr);
	pthread_condattr_destroy(&attr);
	return cs;
}

void claims_free(struct claims *cs)
{
	if (!cs)
		return;
	assert(!cs->first);
	pthread_cond_destroy(&cs->dropped);
	pthread_mutex_destroy(&cs->lock);
	free(cs);
}

static struct claim *claim_find(struct claims *cs, const uint8_t key[STAGE_KEY_LEN])
{
	struct claim *c = cs->first;

	while (c && memcmp(c->key, key, STAGE_KEY_LEN) != 0)
		c = c->next;
	return c;
}

static void claim_wait(struct claims *cs, int64_t until_ms)
{
	struct timespec until = {
		.tv_sec = (time_t)(until_ms / 1000),
		.tv_nsec = (long)(until_ms % 1000) * 1000000,
	};

	pthread_cond_timedwait(&cs->dropped, &cs->lock, &until);
}

/* Waits until no one holds KEY.  0 or -ERR_BUSY. */
static int claim_await(struct claims *cs, const uint8_t key[STAGE_KEY_LEN],
	const uint8_t run[MSG_RUN_LEN], int stall_ms, int64_t deadline_ms)
{
	const struct claim *holder;

	while ((holder = claim_find(cs, key))) {
		int64_t now_ms = clock_now_ms();
		int64_t stalled_ms = holder->progress_ms + stall_ms;
		int64_t until_ms = deadline_ms;

		bool stalled = !holder->working && now_ms >= stalled_ms;

		if (memcmp(holder->run, run, MSG_RUN_LEN) == 0 || stalled)
			/* Under the lock: it keeps the holder from closing the
			 * descriptor, and shutdown(2) does not wait. */
			shutdown(holder->fd, SHUT_RDWR);
		else if (!holder->working && stalled_ms < deadline_ms)
			until_ms = stalled_ms;
		if (now_ms >= deadline_ms)
			return -ERR_BUSY;
		claim_wait(cs, until_ms);
	}
	return 0;
}

int claim_take(struct claims *cs, struct claim *c, const uint8_t key[STAGE_KEY_LEN],
	const uint8_t run[MSG_RUN_LEN], int fd, int stall_ms, int wait_ms)
{
	int err;

	assert(!c->held);
	pthread_mutex_lock(&cs->lock);
	err = claim_await(cs, key, run, stall_ms, clock_now_ms() + wait_ms);
	if (err == 0) {
		memcpy(c->key, key, STAGE_KEY_LEN);
		memcpy(c->run, run, MSG_RUN_LEN);
		c->fd = fd;
		c->progress_ms = clock_now_ms();
		c->working = false;
		c->held = true;
		c->next = cs->first;
		cs->first = c;
	}
	pthread_mutex_unlock(&cs->lock);
	return err;
}

void claim_work(struct claims *cs, struct claim *c)
{
	pthread_mutex_lock(&cs->lock);
	c->working = true;
	pthread_mutex_unlock(&cs->lock);
}

void claim_progress(struct claims *cs, struct claim *c)
{
	pthread_mutex_lock(&cs->lock);
	c->progress_ms = clock_now_ms();
	c->working = false;
	pthread_mutex_unlock(&cs->lock);
}

void claim_drop(struct claims *cs, struct claim *c)
{
	struct claim **link;

	if (!c->held)
		return;
	pthread_mutex_lock(&cs->lock);
	link = &cs->first;
	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	c->held = false;
	pthread_cond_broadcast(&cs->dropped);
	pthread_mutex_unlock(&cs->lock);
}
