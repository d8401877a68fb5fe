/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/table.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/err.h"
#include "crypto/tls.h"
#include "daemon/client.h"
#include "daemon/config.h"
#include "daemon/log.h"
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

static void slot_free(struct conn_slot *slot)
{
	client_put(slot->client);
	config_put(slot->env.config);
	tls_context_free(slot->env.tls);
	free(slot);
}

/* Tells the guard what SLOT, which nobody else knows any more, came to; what we did to it
 * does not count against its address. */
static void slot_judge(const struct conn_slot *slot)
{
	enum outcome_of_conn outcome =
		slot->stage == SLOT_EVICTED ? CONN_NEUTRAL : slot->outcome;
	int64_t now_ms = clock_now_ms();
	struct guard *guard = slot->table->guard;
	char address[GUARD_TEXT_MAX];
	unsigned strikes;
	int was_ms, held_ms;

	if (!guard)
		return;
	guard_ask(guard, &slot->guard_key, now_ms, &was_ms);
	held_ms = guard_leave(guard, &slot->guard_key, outcome, now_ms, &strikes);
	/* Once for all that were let in before. */
	if (held_ms > 0 && was_ms == 0)
		log_line(LOG_LEVEL_NOTICE, "%s: held off for %d s after %u failures",
			guard_key_format(address, &slot->guard_key),
			(held_ms + 999) / 1000, strikes);
}

static struct conn_slot *slot_new(
	struct table *t, const struct conn_env *env, const struct guard_key *key, int fd)
{
	struct conn_slot *slot = calloc(1, sizeof(*slot));

	if (!slot || (t->guard && guard_enter(t->guard, key) < 0)) {
		free(slot);
		return NULL;
	}
	slot->env = *env;
	slot->env.slot = slot;
	config_get(slot->env.config);
	tls_context_get(slot->env.tls);
	slot->table = t;
	slot->guard_key = *key;
	slot->outcome = CONN_NEUTRAL;
	slot->fd = fd;
	return slot;
}

int table_start(
	struct table *t, const struct conn_env *env, const struct guard_key *key, int fd)
{
	struct conn_slot *slot = slot_new(t, env, key, fd);
	int errnum;

	if (!slot)
		return -ERR_RESOURCE;
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
	slot_judge(slot);
	slot_free(slot);
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
		slot_judge(slot);
		slot_free(slot);
		t->count--;
	}
}

static bool slot_may_be_evicted(const struct conn_slot *slot, const struct guard_key *key)
{
	return slot->stage == SLOT_FRESH && slot->fd >= 0 &&
	       (!key || memcmp(&slot->guard_key, key, sizeof(*key)) == 0);
}

static bool oldest_fresh_shutdown(struct table *t, const struct guard_key *key)
{
	struct conn_slot *slot;

	pthread_mutex_lock(&t->lock);
	TAILQ_FOREACH (slot, &t->running, link)
		if (slot_may_be_evicted(slot, key))
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

bool table_evict(struct table *t, const struct guard_key *key)
{
	struct pollfd ended = {.fd = t->ended_fd, .events = POLLIN};
	unsigned before = t->count;
	int64_t deadline_ms = clock_now_ms() + EVICT_WAIT_MS;
	int64_t now_ms;

	if (!oldest_fresh_shutdown(t, key))
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

/* Whoever comes in meanwhile asks the registry itself.  How many, or -ERR_RESOURCE. */
static int clients_collect(struct table *t, struct client ***out)
{
	struct client **clients = calloc(t->count + 1, sizeof(struct client *));
	struct conn_slot *slot;
	int n = 0;

	if (!clients)
		return -ERR_RESOURCE;
	pthread_mutex_lock(&t->lock);
	TAILQ_FOREACH (slot, &t->running, link)
		if (slot->client)
			clients[n++] = client_get(slot->client);
	pthread_mutex_unlock(&t->lock);
	*out = clients;
	return n;
}

static unsigned client_shutdown(struct table *t, const struct client *client)
{
	struct conn_slot *slot;
	unsigned n = 0;

	pthread_mutex_lock(&t->lock);
	TAILQ_FOREACH (slot, &t->running, link) {
		if (slot->client != client || atomic_load(&slot->revoked))
			continue;
		/* What it has sent already can still be read. */
		atomic_store(&slot->revoked, true);
		if (slot->fd >= 0)
			shutdown(slot->fd, SHUT_RDWR);
		n++;
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

int table_revise(struct table *t, table_keep_fn *keep, table_ended_fn *ended, void *ctx)
{
	struct client **clients;
	int count = clients_collect(t, &clients);

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		unsigned n = keep(ctx, clients[i]) ? 0 : client_shutdown(t, clients[i]);
		if (n > 0)
			ended(ctx, clients[i], n);
		client_put(clients[i]);
	}
	free(clients);
	return 0;
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

void slot_set_client(struct conn_slot *slot, struct client *client)
{
	pthread_mutex_lock(&slot->table->lock);
	slot->client = client_get(client);
	pthread_mutex_unlock(&slot->table->lock);
}

void slot_set_outcome(struct conn_slot *slot, enum outcome_of_conn outcome)
{
	pthread_mutex_lock(&slot->table->lock);
	slot->outcome = outcome;
	pthread_mutex_unlock(&slot->table->lock);
}

bool slot_is_revoked(const struct conn_slot *slot)
{
	return atomic_load(&slot->revoked);
}

void slot_release(struct conn_slot *slot)
{
	pthread_mutex_lock(&slot->table->lock);
	slot->fd = -1;
	pthread_mutex_unlock(&slot->table->lock);
}
