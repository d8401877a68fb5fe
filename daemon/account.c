/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/account.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "daemon/tally.h"
#include "os/clock.h"

#define BEAT_MS 1000
/* Walks for the sake of a quota that stays used up take no more of the time than this
 * part. */
#define RESCAN_PART 10
/* No file system holds more bytes, and no sums of so much go wrong. */
#define ROOM_MAX (UINT64_C(1) << 62)

/* What one client uses. */
struct usage {
	LIST_ENTRY(usage) link; /* guarded by accounts.lock, as the next two */
	char name[CLIENT_NAME_MAX + 1];
	uint32_t connections;
	struct throttle throttle; /* guarded by its own lock */

	pthread_mutex_t lock;              /* guards all below */
	pthread_cond_t changed;            /* CLOCK_MONOTONIC: a walk is over */
	uint64_t quota_files, quota_bytes; /* 0: none */
	dev_t root_dev;                    /* the root that USED is about */
	ino_t root_ino;
	struct account_room used;     /* what is there */
	struct account_room reserved; /* what is to come */
	bool known;                   /* USED was counted */
	bool walking;                 /* by one of the connections */
	bool replaced;                /* perhaps, since the last walk */
	struct account_room arrived;  /* settled since this walk began */
	int64_t walked_ms;            /* when the last walk was over */
	int64_t took_ms;              /* how long it took */
};

struct accounts {
	pthread_mutex_t lock;
	LIST_HEAD(, usage) usages; /* guarded by lock: owned */
};

struct account {
	struct accounts *all;  /* borrowed */
	struct usage *usage;   /* owned by all its accounts together */
	int root_fd;           /* borrowed */
	account_beat_fn *beat; /* or NULL */
	void *beat_ctx;
	struct account_room reserved; /* of usage.reserved */
};

struct accounts *accounts_new(void)
{
	struct accounts *as = calloc(1, sizeof(*as));

	if (!as)
		return NULL;
	pthread_mutex_init(&as->lock, NULL);
	LIST_INIT(&as->usages);
	return as;
}

void accounts_free(struct accounts *as)
{
	if (!as)
		return;
	assert(LIST_EMPTY(&as->usages));
	pthread_mutex_destroy(&as->lock);
	free(as);
}

/* -- Opening and closing ---------------------------------------------------- */

static struct usage *usage_new(const char *name)
{
	struct usage *u = calloc(1, sizeof(*u));
	pthread_condattr_t attr;

	if (!u)
		return NULL;
	snprintf(u->name, sizeof(u->name), "%s", name);
	throttle_init(&u->throttle, 0, 0);
	pthread_mutex_init(&u->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&u->changed, &attr);
	pthread_condattr_destroy(&attr);
	return u;
}

static void usage_free(struct usage *u)
{
	pthread_cond_destroy(&u->changed);
	pthread_mutex_destroy(&u->lock);
	throttle_fini(&u->throttle);
	free(u);
}

/* One more connection of CLIENT, under the lock of AS. */
static int usage_join(
	struct accounts *as, const struct client *client, struct usage **out)
{
	struct usage *u;

	LIST_FOREACH(u, &as->usages, link)
	if (strcmp(u->name, client->name) == 0)
		break;
	if (u && client->max_connections > 0 && u->connections >= client->max_connections)
		return -ERR_BUSY;
	if (!u) {
		u = usage_new(client->name);
		if (!u)
			return -ERR_RESOURCE;
		LIST_INSERT_HEAD(&as->usages, u, link);
	}
	u->connections++;
	*out = u;
	return 0;
}

static bool usage_has_quota(const struct usage *u)
{
	return u->quota_files > 0 || u->quota_bytes > 0;
}

/* The numbers of CLIENT, whose root is at ROOT. */
static void usage_set(
	struct usage *u, const struct client *client, const struct stat *root)
{
	throttle_set_rate(&u->throttle, client->limit, clock_now_ns());
	pthread_mutex_lock(&u->lock);
	/* Without a quota nobody keeps count. */
	if (!usage_has_quota(u))
		u->known = false;
	u->quota_files = client->quota_files;
	u->quota_bytes = client->quota_bytes;
	if (u->root_dev != root->st_dev || u->root_ino != root->st_ino)
		u->known = false;
	u->root_dev = root->st_dev;
	u->root_ino = root->st_ino;
	pthread_mutex_unlock(&u->lock);
}

int account_open(struct accounts *as, const struct client *client, int root_fd,
	struct account **out)
{
	struct account *a = calloc(1, sizeof(*a));
	struct stat root;
	int err = -ERR_RESOURCE;

	if (!a || fstat(root_fd, &root) < 0) {
		free(a);
		return err;
	}
	a->all = as;
	a->root_fd = root_fd;
	pthread_mutex_lock(&as->lock);
	err = usage_join(as, client, &a->usage);
	pthread_mutex_unlock(&as->lock);
	if (err < 0) {
		free(a);
		return err;
	}
	usage_set(a->usage, client, &root);
	*out = a;
	return 0;
}

void account_close(struct account *a)
{
	struct usage *u;
	bool last;

	if (!a)
		return;
	u = a->usage;
	account_release(a, a->reserved.files, a->reserved.bytes);
	pthread_mutex_lock(&a->all->lock);
	last = --u->connections == 0;
	if (last)
		LIST_REMOVE(u, link);
	pthread_mutex_unlock(&a->all->lock);
	if (last)
		usage_free(u);
	free(a);
}

void account_on_beat(struct account *a, account_beat_fn *fn, void *ctx)
{
	a->beat = fn;
	a->beat_ctx = ctx;
}

struct throttle *account_throttle(struct account *a)
{
	return a ? &a->usage->throttle : NULL;
}

bool account_has_quota(struct account *a)
{
	bool has;

	if (!a)
		return false;
	pthread_mutex_lock(&a->usage->lock);
	has = usage_has_quota(a->usage);
	pthread_mutex_unlock(&a->usage->lock);
	return has;
}

/* -- Counting what is there ------------------------------------------------- */

/* Walks the tree, without the lock meanwhile.  What settles while it goes on may be seen
 * by the walk or not, and is counted besides. */
static int usage_walk(struct account *a)
{
	struct usage *u = a->usage;
	struct tally found = {0};
	int64_t start_ms = clock_now_ms();
	int err;

	u->walking = true;
	u->replaced = false;
	u->arrived = (struct account_room){0};
	pthread_mutex_unlock(&u->lock);
	err = tally_tree(a->root_fd, a->beat, a->beat_ctx, &found);
	pthread_mutex_lock(&u->lock);
	u->walking = false;
	u->walked_ms = clock_now_ms();
	u->took_ms = u->walked_ms - start_ms;
	if (err < 0)
		u->replaced = true;
	if (err == 0) {
		u->used.files = found.names + u->arrived.files;
		u->used.bytes = found.bytes + u->arrived.bytes;
		u->known = true;
	}
	pthread_cond_broadcast(&u->changed);
	return err;
}

/* Waits, until END_MS (or -1) at the most, for the end of a walk. */
static int usage_wait(struct account *a, int64_t end_ms)
{
	struct usage *u = a->usage;
	int64_t beat_ms = clock_now_ms() + BEAT_MS;
	int64_t until_ms = end_ms >= 0 && end_ms < beat_ms ? end_ms : beat_ms;
	struct timespec until = {
		.tv_sec = until_ms / 1000,
		.tv_nsec = until_ms % 1000 * 1000000,
	};
	int err = 0;

	pthread_cond_timedwait(&u->changed, &u->lock, &until);
	if (!a->beat || clock_now_ms() < beat_ms)
		return 0;
	pthread_mutex_unlock(&u->lock);
	err = a->beat(a->beat_ctx);
	pthread_mutex_lock(&u->lock);
	return err;
}

static uint64_t room_in(uint64_t quota, uint64_t used, uint64_t reserved)
{
	if (quota == 0)
		quota = ROOM_MAX;
	if (used >= quota || reserved >= quota - used)
		return 0;
	return quota - used - reserved;
}

static struct account_room usage_room(const struct usage *u)
{
	return (struct account_room){
		.files = room_in(u->quota_files, u->used.files, u->reserved.files),
		.bytes = room_in(u->quota_bytes, u->used.bytes, u->reserved.bytes),
	};
}

/* When to look at the tree again because there is no room: never (-1), now (0), or at
 * that time. */
static int64_t usage_rescan_ms(const struct usage *u)
{
	int64_t now_ms = clock_now_ms();
	int64_t rested_ms = now_ms - u->walked_ms;

	if (u->replaced)
		return rested_ms >= u->took_ms ? 0 : u->walked_ms + u->took_ms;
	return rested_ms >= RESCAN_MS && rested_ms >= RESCAN_PART * u->took_ms ? 0 : -1;
}

static bool usage_fits(const struct usage *u, uint64_t files, uint64_t bytes)
{
	struct account_room left = usage_room(u);

	return files <= left.files && bytes <= left.bytes;
}

/* Waits or walks until it is known whether there is room for the two.  The lock is held,
 * but for that. */
static int usage_find_room(struct account *a, uint64_t files, uint64_t bytes)
{
	struct usage *u = a->usage;
	bool looked = false;
	int err = 0;

	if (!usage_has_quota(u))
		return usage_fits(u, files, bytes) ? 0 : -ERR_QUOTA;
	while (err == 0) {
		int64_t rescan_ms = 0;
		if (u->known && usage_fits(u, files, bytes))
			break;
		if (u->known)
			rescan_ms = looked ? -1 : usage_rescan_ms(u);
		if (u->walking) {
			err = usage_wait(a, -1);
		} else if (rescan_ms < 0) {
			err = -ERR_QUOTA;
		} else if (rescan_ms > 0) {
			err = usage_wait(a, rescan_ms);
		} else {
			err = usage_walk(a);
			looked = true;
		}
	}
	return err;
}

/* -- Keeping it up ----------------------------------------------------------- */

static void room_add(struct account_room *r, uint64_t files, uint64_t bytes)
{
	r->files += files;
	r->bytes += bytes;
}

static void room_sub(struct account_room *r, uint64_t files, uint64_t bytes)
{
	r->files -= files;
	r->bytes -= bytes;
}

int account_reserve(
	struct account *a, uint64_t files, uint64_t bytes, struct account_room *left_out)
{
	struct usage *u = a->usage;
	int err;

	pthread_mutex_lock(&u->lock);
	err = usage_find_room(a, files, bytes);
	if (err == 0) {
		room_add(&u->reserved, files, bytes);
		room_add(&a->reserved, files, bytes);
	} else {
		*left_out = usage_room(u);
	}
	pthread_mutex_unlock(&u->lock);
	return err;
}

static void account_take_back(struct account *a, uint64_t files, uint64_t bytes)
{
	assert(files <= a->reserved.files && bytes <= a->reserved.bytes);
	room_sub(&a->reserved, files, bytes);
	room_sub(&a->usage->reserved, files, bytes);
}

void account_settle(struct account *a, uint64_t files, uint64_t bytes)
{
	struct usage *u = a->usage;

	pthread_mutex_lock(&u->lock);
	account_take_back(a, files, bytes);
	room_add(&u->used, files, bytes);
	room_add(&u->arrived, files, bytes);
	if (files == 0 && bytes > 0)
		u->replaced = true;
	pthread_mutex_unlock(&u->lock);
}

void account_release(struct account *a, uint64_t files, uint64_t bytes)
{
	pthread_mutex_lock(&a->usage->lock);
	account_take_back(a, files, bytes);
	pthread_mutex_unlock(&a->usage->lock);
}

/* A walk may have seen it before or after: so it stays counted until the next one. */
void account_forget(struct account *a)
{
	pthread_mutex_lock(&a->usage->lock);
	a->usage->replaced = true;
	pthread_mutex_unlock(&a->usage->lock);
}
