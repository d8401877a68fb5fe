/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/table.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/err.h"
#include "os/clock.h"
#include "os/fd.h"

#ifndef __has_feature /* clang's; gcc has the __SANITIZE_ macros */
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                     \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STACK_SIZE (1024 * 1024) /* their frames are several times larger */
#else
#define STACK_SIZE (256 * 1024)
#endif

#define EVICT_WAIT_MS 1000

int table_init(struct table *t, unsigned max)
{
	*t = (struct table){.max = max};
	TAILQ_INIT(&t->running);
	TAILQ_INIT(&t->ended);
	pthread_mutex_init(&t->lock, NULL);
	pthread_attr_init(&t->attr);
	pthread_attr_setstacksize(&t->attr, STACK_SIZE);
	t->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return t->ended_fd < 0 ? -ERR_RESOURCE : 0;
}

void table_fini(struct table *t)
{
	assert(t->count == 0);
	pthread_attr_destroy(&t->attr);
	pthread_mutex_destroy(&t->lock);
	fd_close(t->ended_fd);
}

/* Busy goes with the connection, whatever its thread said last. */
static void slot_end(struct conn_slot *slot)
{
	struct table *t = slot->table;

	slot_set_busy(slot, false);
	pthread_mutex_lock(&t->lock);
	assert(slot->fd < 0); /* conn_serve released it */
	TAILQ_REMOVE(&t->running, slot, link);
	TAILQ_INSERT_TAIL(&t->ended, slot, link);
	pthread_mutex_unlock(&t->lock);
	eventfd_write(t->ended_fd, 1);
}

static void *slot_main(void *arg)
{
	struct conn_slot *slot = arg;

	conn_serve(&slot->env, slot->fd);
	slot_end(slot);
	return NULL;
}

int table_start(struct table *t, const struct conn_env *env, int fd)
{
	struct conn_slot *slot = calloc(1, sizeof(*slot));
	int errnum;

	if (!slot)
		return -ERR_RESOURCE;
	slot->env = *env;
	slot->env.slot = slot;
	slot->table = t;
	slot->fd = fd;
	pthread_mutex_lock(&t->lock);
	TAILQ_INSERT_TAIL(&t->running, slot, link);
	pthread_mutex_unlock(&t->lock);
	t->count++;
	errnum = pthread_create(&slot->thread, &t->attr, slot_main, slot);
	if (errnum == 0)
		return 0;
	pthread_mutex_lock(&t->lock);
	TAILQ_REMOVE(&t->running, slot, link);
	pthread_mutex_unlock(&t->lock);
	t->count--;
	free(slot);
	return -ERR_RESOURCE;
}

void table_reap(struct table *t)
{
	struct slot_list ended = TAILQ_HEAD_INITIALIZER(ended);
	struct conn_slot *slot;
	eventfd_t unused;

	/* Before the list is looked at: who comes later wakes us again. */
	eventfd_read(t->ended_fd, &unused);
	pthread_mutex_lock(&t->lock);
	TAILQ_CONCAT(&ended, &t->ended, link);
	pthread_mutex_unlock(&t->lock);
	while ((slot = TAILQ_FIRST(&ended))) {
		TAILQ_REMOVE(&ended, slot, link);
		pthread_join(slot->thread, NULL);
		free(slot);
		t->count--;
	}
}

static bool oldest_fresh_shutdown(struct table *t)
{
	struct conn_slot *slot;

	pthread_mutex_lock(&t->lock);
	TAILQ_FOREACH (slot, &t->running, link)
		if (slot->stage == SLOT_FRESH && slot->fd >= 0)
			break;
	if (slot) {
		slot->stage = SLOT_EVICTED;
		/* Under the lock, which keeps the descriptor from being closed;
		 * shutdown(2) does not wait. */
		shutdown(slot->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&t->lock);
	return slot != NULL;
}

bool table_evict(struct table *t)
{
	struct pollfd ended = {.fd = t->ended_fd, .events = POLLIN};
	unsigned before = t->count;
	int64_t deadline_ms = clock_now_ms() + EVICT_WAIT_MS;
	int64_t now_ms;

	if (!oldest_fresh_shutdown(t))
		return false;
	while (t->count == before && (now_ms = clock_now_ms()) < deadline_ms) {
		poll(&ended, 1, clock_poll_ms(deadline_ms, now_ms));
		table_reap(t);
	}
	return t->count < before;
}

void table_shutdown(struct table *t)
{
	struct conn_slot *slot;

	pthread_mutex_lock(&t->lock);
	TAILQ_FOREACH (slot, &t->running, link)
		if (slot->fd >= 0)
			shutdown(slot->fd, SHUT_RDWR);
	pthread_mutex_unlock(&t->lock);
}

unsigned table_transfers(struct table *t)
{
	unsigned transfers;

	pthread_mutex_lock(&t->lock);
	transfers = t->transfers;
	pthread_mutex_unlock(&t->lock);
	return transfers;
}

void slot_set_active(struct conn_slot *slot)
{
	pthread_mutex_lock(&slot->table->lock);
	if (slot->stage == SLOT_FRESH)
		slot->stage = SLOT_ACTIVE;
	pthread_mutex_unlock(&slot->table->lock);
}

void slot_set_busy(struct conn_slot *slot, bool busy)
{
	struct table *t = slot->table;

	pthread_mutex_lock(&t->lock);
	if (busy && !slot->busy)
		t->transfers++;
	if (!busy && slot->busy)
		t->transfers--;
	slot->busy = busy;
	pthread_mutex_unlock(&t->lock);
}

void slot_release(struct conn_slot *slot)
{
	pthread_mutex_lock(&slot->table->lock);
	slot->fd = -1;
	pthread_mutex_unlock(&slot->table->lock);
}
