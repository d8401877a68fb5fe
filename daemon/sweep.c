/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/sweep.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"
#include "daemon/client.h"
#include "daemon/log.h"
#include "daemon/registry.h"
#include "os/beneath.h"
#include "os/fd.h"
#include "os/stage.h"

#define INTERVAL_SEC 3600

struct sweep {
	pthread_t thread;
	int root;                  /* borrowed */
	struct registry *registry; /* borrowed */
	int64_t age_sec;           /* frozen after start */
	pthread_mutex_t lock;
	pthread_cond_t stop; /* CLOCK_MONOTONIC */
	bool stopping;       /* guarded by lock */
};

static void sweep_root(const struct sweep *s, int root, const char *path)
{
	int removed = stage_sweep(root, time(NULL), s->age_sec);

	if (removed < 0)
		log_line(LOG_LEVEL_WARNING,
			"cannot remove old unfinished transfers below the root%s%s: %s",
			*path ? " in " : "", path, err_text(removed));
	else if (removed > 0)
		log_line(LOG_LEVEL_INFO,
			"removed %d unfinished transfers that nobody continued", removed);
}

/* The roots of clients that have one of their own. */
static void sweep_clients(const struct sweep *s)
{
	struct client **clients;
	size_t n;

	if (registry_list(s->registry, &clients, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		const char *path = clients[i]->path;
		FD_OWNED root =
			*path ? beneath_open(s->root, path, O_RDONLY | O_DIRECTORY, 0)
			      : -1;
		if (root >= 0)
			sweep_root(s, root, path);
		client_put(clients[i]);
	}
	free(clients);
}

static void sweep_once(const struct sweep *s)
{
	sweep_root(s, s->root, "");
	if (s->registry)
		sweep_clients(s);
}

/* Waits for the next turn; false when told to stop. */
static bool sweep_wait(struct sweep *s)
{
	struct timespec until;
	int err = 0;
	bool stopping;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += INTERVAL_SEC;
	pthread_mutex_lock(&s->lock);
	while (!s->stopping && err == 0)
		err = pthread_cond_timedwait(&s->stop, &s->lock, &until);
	stopping = s->stopping;
	pthread_mutex_unlock(&s->lock);
	return !stopping;
}

static void *sweep_main(void *arg)
{
	struct sweep *s = arg;

	do
		sweep_once(s);
	while (sweep_wait(s));
	return NULL;
}

static void sweep_free(struct sweep *s)
{
	pthread_cond_destroy(&s->stop);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int sweep_start(struct sweep **out, int root, struct registry *registry, int64_t age_sec)
{
	struct sweep *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return -ERR_RESOURCE;
	s->root = root;
	s->registry = registry;
	s->age_sec = age_sec;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->stop, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&s->thread, NULL, sweep_main, s) != 0) {
		sweep_free(s);
		return -ERR_RESOURCE;
	}
	*out = s;
	return 0;
}

void sweep_stop(struct sweep *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_signal(&s->stop);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	sweep_free(s);
}
