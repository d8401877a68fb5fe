/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/registry.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "daemon/clients_file.h"
#include "daemon/clients_view.h"
#include "daemon/config.h"
#include "os/fd.h"
#include "os/store.h"

struct registry {
	int watch_fd; /* owned, or -1 */
	pthread_mutex_t lock;
	/* guarded by LOCK: */
	struct client *anonymous;   /* owned reference: whom nobody knows */
	struct client **configured; /* owned references: of the configuration */
	size_t configured_count;
	struct clients_view view;
	struct client **known; /* owned references: both, by their fingerprints */
	size_t known_count;
	uint64_t version;
	bool stale; /* KNOWN lacks what is new: there was no memory */
};

/* -- who is known -- */

/* A client on its way to the sorted list. */
struct candidate {
	struct client *client; /* borrowed */
	bool from_file;
};

static int candidate_rank(const struct candidate *a, const struct candidate *b)
{
	return (int)a->from_file - (int)b->from_file;
}

static int by_name(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order = strcmp(x->client->name, y->client->name);

	return order != 0 ? order : candidate_rank(x, y);
}

static int by_fingerprint(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int order =
		memcmp(x->client->fingerprint, y->client->fingerprint, FINGERPRINT_LEN);

	return order != 0 ? order : candidate_rank(x, y);
}

static bool has_same_name(const struct candidate *a, const struct candidate *b)
{
	return strcmp(a->client->name, b->client->name) == 0;
}

static bool has_same_fingerprint(const struct candidate *a, const struct candidate *b)
{
	return memcmp(a->client->fingerprint, b->client->fingerprint, FINGERPRINT_LEN) ==
	       0;
}

/* Sorts, and keeps the first of those that are the SAME; how many are left. */
static size_t candidates_sift(struct candidate *all, size_t count,
	int (*compare)(const void *, const void *),
	bool (*same)(const struct candidate *, const struct candidate *))
{
	size_t kept = 0;

	qsort(all, count, sizeof(*all), compare);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || !same(&all[kept - 1], &all[i]))
			all[kept++] = all[i];
	return kept;
}

static void clients_free(struct client **clients, size_t count)
{
	for (size_t i = 0; i < count; i++)
		client_put(clients[i]);
	free(clients);
}

/* All candidates: those who have a name but no fingerprint keep the name from others. */
static size_t candidates_gather(const struct registry *r, struct candidate *out)
{
	const struct clients_file *file = &r->view.file;
	size_t count = 0;

	for (size_t i = 0; i < r->configured_count; i++)
		out[count++] = (struct candidate){r->configured[i], false};
	for (size_t i = 0; i < file->count; i++)
		if (!file->entries[i].is_invite)
			out[count++] = (struct candidate){file->entries[i].client, true};
	return candidates_sift(out, count, by_name, has_same_name);
}

/* Makes KNOWN of the configuration and the file; nothing changes when it fails. */
static int known_build(struct registry *r)
{
	size_t cap = r->configured_count + r->view.file.count + 1;
	struct candidate *all = calloc(cap, sizeof(*all));
	struct client **known = calloc(cap, sizeof(struct client *));
	size_t count = 0;

	r->stale = !all || !known;
	if (r->stale) {
		free(all);
		free(known);
		return -ERR_RESOURCE;
	}
	size_t named = candidates_gather(r, all);
	for (size_t i = 0; i < named; i++)
		if (all[i].client->has_fingerprint)
			all[count++] = all[i];
	count = candidates_sift(all, count, by_fingerprint, has_same_fingerprint);
	for (size_t i = 0; i < count; i++)
		known[i] = client_get(all[i].client);
	free(all);
	clients_free(r->known, r->known_count);
	r->known = known;
	r->known_count = count;
	r->version++;
	return 0;
}

/* Looks at the file; when that says nothing sensible, what was known is still known. */
static int registry_refresh(struct registry *r)
{
	int changed = clients_view_refresh(&r->view);

	if (changed < 0)
		return changed;
	return changed > 0 || r->stale ? known_build(r) : 0;
}

/* -- the registry -- */

/* A descriptor's own path, for a kernel that watches paths only. */
static int watch_open(int state_fd)
{
	char path[64];
	FD_OWNED fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", state_fd);
	if (fd < 0 || inotify_add_watch(fd, path,
			      IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_DELETE |
				      IN_ATTRIB | IN_ONLYDIR) < 0)
		return -1;
	return fd_take(&fd);
}

static void watch_clear(int watch_fd)
{
	char events[4096];

	while (watch_fd >= 0 && read(watch_fd, events, sizeof(events)) > 0)
		;
}

int registry_new(struct registry **out, int state_fd, const struct config *config)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (!r)
		return -ERR_RESOURCE;
	clients_view_init(&r->view, state_fd);
	/* Before the first look: what changes after it is told. */
	r->watch_fd = watch_open(state_fd);
	pthread_mutex_init(&r->lock, NULL);
	int err = registry_configure(r, config);
	if (err == 0)
		err = registry_refresh(r);
	if (err < 0) {
		registry_free(r);
		return err;
	}
	*out = r;
	return 0;
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	client_put(r->anonymous);
	clients_free(r->configured, r->configured_count);
	clients_free(r->known, r->known_count);
	clients_view_fini(&r->view);
	fd_close(r->watch_fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* References to COUNT clients, in an array of their own; NULL without memory. */
static struct client **clients_copy(struct client *const *clients, size_t count)
{
	struct client **copy = calloc(count + 1, sizeof(struct client *));

	for (size_t i = 0; copy && i < count; i++)
		copy[i] = client_get(clients[i]);
	return copy;
}

int registry_configure(struct registry *r, const struct config *config)
{
	struct client **now = clients_copy(config->clients, config->client_count);

	if (!now)
		return -ERR_RESOURCE;
	pthread_mutex_lock(&r->lock);
	struct client **before = r->configured;
	size_t before_count = r->configured_count;
	r->configured = now;
	r->configured_count = config->client_count;
	int err = known_build(r);
	if (err < 0) {
		r->configured = before;
		r->configured_count = before_count;
	} else {
		client_put(r->anonymous);
		r->anonymous = config->anonymous ? client_get(config->anonymous) : NULL;
	}
	pthread_mutex_unlock(&r->lock);
	if (err < 0)
		clients_free(now, config->client_count);
	else
		clients_free(before, before_count);
	return err;
}

static int fingerprint_find_compare(const void *key, const void *member)
{
	const struct client *c = *(struct client *const *)member;

	return memcmp(key, c->fingerprint, FINGERPRINT_LEN);
}

struct client *registry_find(struct registry *r, const uint8_t fp[FINGERPRINT_LEN])
{
	struct client *found = NULL;

	pthread_mutex_lock(&r->lock);
	registry_refresh(r);
	struct client **place = bsearch(fp, r->known, r->known_count,
		sizeof(struct client *), fingerprint_find_compare);
	if (place)
		found = client_get(*place);
	pthread_mutex_unlock(&r->lock);
	return found;
}

struct client *registry_anonymous(struct registry *r)
{
	pthread_mutex_lock(&r->lock);
	struct client *anonymous = client_get(r->anonymous); /* a daemon has one */
	pthread_mutex_unlock(&r->lock);
	return anonymous;
}

int registry_list(struct registry *r, struct client ***out, size_t *n_out)
{
	pthread_mutex_lock(&r->lock);
	registry_refresh(r);
	struct client **copy = clients_copy(r->known, r->known_count);
	size_t count = r->known_count;
	if (copy && r->anonymous) /* it has room for one more */
		copy[count++] = client_get(r->anonymous);
	pthread_mutex_unlock(&r->lock);
	if (!copy)
		return -ERR_RESOURCE;
	*out = copy;
	*n_out = count;
	return 0;
}

uint64_t registry_version(struct registry *r)
{
	watch_clear(r->watch_fd);
	pthread_mutex_lock(&r->lock);
	registry_refresh(r);
	uint64_t version = r->version;
	pthread_mutex_unlock(&r->lock);
	return version;
}

int registry_watch_fd(const struct registry *r)
{
	return r->watch_fd;
}

/* -- joining -- */

/* Whether there is such an invitation at all: guessing waits for no lock and no disk. */
static bool invite_is_known(struct registry *r, const uint8_t hash[SECRET_HASH_LEN])
{
	pthread_mutex_lock(&r->lock);
	registry_refresh(r);
	bool known = clients_file_find_invite(&r->view.file, hash, time(NULL)) != NULL;
	pthread_mutex_unlock(&r->lock);
	return known;
}

/* Whether the configuration has this name or fingerprint. */
static bool is_configured(
	struct registry *r, const char *name, const uint8_t fp[FINGERPRINT_LEN])
{
	bool found = false;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < r->configured_count && !found; i++) {
		const struct client *c = r->configured[i];
		found = strcmp(c->name, name) == 0 ||
			(c->has_fingerprint &&
				memcmp(c->fingerprint, fp, FINGERPRINT_LEN) == 0);
	}
	pthread_mutex_unlock(&r->lock);
	return found;
}

/* FILE was read under the store's lock, which is held. */
static int invite_take(struct registry *r, struct clients_file *file,
	const uint8_t hash[SECRET_HASH_LEN], const uint8_t fp[FINGERPRINT_LEN],
	char name_out[CLIENT_NAME_MAX + 1])
{
	int64_t now = time(NULL);
	struct clients_entry *e = clients_file_find_invite(file, hash, now);
	struct ini_error error;
	char name[CLIENT_NAME_MAX + 1];

	if (!e)
		return -ERR_DENIED;
	if (clients_file_find_fingerprint(file, fp) ||
		is_configured(r, e->client->name, fp))
		return -ERR_EXISTS;
	/* Nobody else has this reference yet. */
	memcpy(e->client->fingerprint, fp, FINGERPRINT_LEN);
	e->client->has_fingerprint = true;
	*e = (struct clients_entry){.client = e->client};
	memcpy(name, e->client->name, sizeof(name));
	int err = clients_file_write(file, r->view.state_fd, now, &error);
	if (err == 0 && name_out)
		memcpy(name_out, name, sizeof(name));
	return err;
}

int registry_join(struct registry *r, const uint8_t secret[SECRET_LEN],
	const uint8_t fp[FINGERPRINT_LEN], char name_out[CLIENT_NAME_MAX + 1])
{
	uint8_t hash[SECRET_HASH_LEN];
	struct clients_file file CLEANUP(clients_file_fini) = {0};
	struct ini_error error;
	int err = secret_hash(secret, hash);

	if (err < 0)
		return err;
	if (!invite_is_known(r, hash))
		return -ERR_DENIED;
	FD_OWNED lock = store_lock(r->view.state_fd);
	if (lock < 0)
		return lock;
	err = clients_file_read(&file, r->view.state_fd, &error);
	if (err == 0)
		err = invite_take(r, &file, hash, fp, name_out);
	/* A file that makes no sense is nobody's usage error here. */
	return err == -ERR_USAGE ? -ERR_IO : err;
}
