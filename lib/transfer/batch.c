/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "os/fd.h"
#include "os/thread.h"
#include "transfer/attr.h"

/* Up to so many files are flushed one by one; more share one syncfs. */
#define FSYNC_MAX 16
/* Descriptors a batch may hold: directories until their names are on disk, and items'. */
#define DIRS_MAX 64
#define FDS_MAX  64
/* Names of a batch stand in one block. */
#define NAMES_CAP (64u << 10)
/* So much unflushed data at the most waits for a batch to fill. */
#define BYTES_MAX (64u << 20)

enum item_kind { ITEM_STAGE, ITEM_MADE, ITEM_ATTR, ITEM_RESULT };

struct item {
	enum item_kind kind;
	int result;
	struct batch_tag tag; /* tag.path stands in names */
	struct stage stage;   /* owned; ITEM_STAGE */
	int fd;               /* owned, or -1; ITEM_MADE, ITEM_ATTR */
	struct dir *dir;      /* owned reference, or NULL */
	bool no_clobber;
	uint32_t mode; /* ITEM_ATTR */
	struct msg_time mtime;
};

struct batch {
	int fs_fd; /* owned: syncfs tells each open file of errors once, so it is ours
		      alone */
	bool sync;
	bool can_share; /* syncfs reaches the disk */
	batch_done_fn *done;
	void *ctx;
	batch_beat_fn *beat; /* or NULL */
	void *beat_ctx;
	sem_t worked; /* posted by the thread of a commit when it is through */
	size_t count;
	size_t fds; /* descriptors held by the items */
	uint64_t bytes;
	size_t names_len;
	struct dir *dirs[DIRS_MAX]; /* owned references: entries changed */
	size_t dir_count;
	bool made_dirs; /* somewhere on the way: only syncfs reaches them all */
	struct item items[BATCH_MAX];
	char names[NAMES_CAP];
};

/* A FUSE server (sshfs, GlusterFS) is not told of a syncfs, only of each fsync. */
static bool syncfs_reaches_disk(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) == 0 && fs.f_type != FUSE_SUPER_MAGIC;
}

int batch_new(struct batch **out, int root, bool sync, batch_done_fn *done, void *ctx)
{
	/* Its pages are touched only as far as the batch fills. */
	struct batch *b = malloc(sizeof(*b));
	if (!b)
		return -ERR_RESOURCE;
	b->fs_fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->fs_fd < 0) {
		int err = -err_from_errno(errno);
		free(b);
		return err;
	}
	sem_init(&b->worked, 0, 0);
	b->can_share = syncfs_reaches_disk(b->fs_fd);
	b->sync = sync;
	b->done = done;
	b->ctx = ctx;
	b->beat = NULL;
	b->count = b->fds = b->names_len = b->dir_count = 0;
	b->bytes = 0;
	b->made_dirs = false;
	*out = b;
	return 0;
}

static void item_drop(struct item *it)
{
	if (it->kind == ITEM_STAGE)
		stage_discard(&it->stage);
	fd_close(it->fd);
	dir_put(it->dir);
}

static void batch_clear(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		item_drop(&b->items[i]);
	for (size_t i = 0; i < b->dir_count; i++) {
		b->dirs[i]->dirty = false;
		dir_put(b->dirs[i]);
	}
	b->count = b->fds = b->names_len = b->dir_count = 0;
	b->bytes = 0;
	b->made_dirs = false;
}

void batch_free(struct batch *b)
{
	if (!b)
		return;
	batch_clear(b);
	sem_destroy(&b->worked);
	fd_close(b->fs_fd);
	free(b);
}

void batch_on_beat(struct batch *b, batch_beat_fn *beat, void *ctx)
{
	b->beat = beat;
	b->beat_ctx = ctx;
}

bool batch_is_empty(const struct batch *b)
{
	return b->count == 0 && !b->made_dirs;
}

int batch_set_sync(struct batch *b, bool sync)
{
	int err = sync == b->sync ? 0 : batch_commit(b);
	b->sync = sync;
	return err;
}

/* -- Committing --------------------------------------------------------- */

static int flush_fd(int fd)
{
	return fsync(fd) < 0 ? -err_from_errno(errno) : 0;
}

/* The descriptor through which an item's data can be flushed, or -1. */
static int item_data_fd(const struct item *it)
{
	return it->kind == ITEM_STAGE  ? it->stage.fd
	       : it->kind == ITEM_MADE ? it->fd
				       : -1;
}

/* Whether the syncfs of the area's file system reaches the data of an item. */
static bool item_is_in_area(const struct item *it)
{
	return it->kind == ITEM_STAGE && !it->stage.own_dir;
}

/* Without a descriptor there is only syncfs, and then that is enough for all in the area.
 */
static bool batch_needs_syncfs(const struct batch *b)
{
	for (size_t i = 0; i < b->count; i++)
		if (item_is_in_area(&b->items[i]) && b->items[i].stage.fd < 0)
			return true;
	return false;
}

static void batch_flush_data(struct batch *b)
{
	bool shared = batch_needs_syncfs(b);
	int err = shared && syncfs(b->fs_fd) < 0 ? -err_from_errno(errno) : 0;
	for (size_t i = 0; i < b->count; i++) {
		struct item *it = &b->items[i];
		int fd = item_data_fd(it);
		if (shared && item_is_in_area(it))
			it->result = err;
		else if (fd >= 0)
			it->result = flush_fd(fd);
	}
}

static void batch_publish(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		struct item *it = &b->items[i];
		if (it->result != 0)
			continue;
		if (it->kind == ITEM_STAGE)
			it->result = stage_publish(&it->stage, it->dir->fd,
				path_leaf(it->tag.path), it->no_clobber);
		else if (it->kind == ITEM_ATTR)
			it->result = attr_set(it->fd, it->mode, &it->mtime);
	}
}

/* Everything that stands in D and was to become durable with it has failed. */
static void batch_fail_dir(struct batch *b, const struct dir *d, int err)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->items[i].dir == d && b->items[i].result == 0)
			b->items[i].result = err;
}

/* The fsync of a directory; nothing to do where the shared syncfs reached it. */
static int batch_flush_dir(const struct batch *b, int fd, bool shared, int shared_result)
{
	struct stat ours, its;
	if (shared && b->can_share && fstat(b->fs_fd, &ours) == 0 &&
		fstat(fd, &its) == 0 && ours.st_dev == its.st_dev)
		return shared_result;
	return flush_fd(fd);
}

/* One syncfs for all directories: some are not known to us, or it is cheaper. */
static bool batch_shares_dirs(const struct batch *b)
{
	size_t count = b->dir_count;
	for (size_t i = 0; i < b->count; i++)
		count += b->items[i].kind == ITEM_ATTR;
	return b->made_dirs || (b->can_share && count > FSYNC_MAX);
}

static void batch_flush_dirs(struct batch *b)
{
	bool shared = batch_shares_dirs(b);
	int err = shared && syncfs(b->fs_fd) < 0 ? -err_from_errno(errno) : 0;
	for (size_t i = 0; i < b->dir_count; i++) {
		int result = batch_flush_dir(b, b->dirs[i]->fd, shared, err);
		if (result < 0)
			batch_fail_dir(b, b->dirs[i], result);
	}
	for (size_t i = 0; i < b->count; i++) {
		struct item *it = &b->items[i];
		if (it->kind == ITEM_ATTR && it->result == 0)
			it->result = batch_flush_dir(b, it->fd, shared, err);
	}
}

static void batch_work(struct batch *b)
{
	if (b->sync)
		batch_flush_data(b);
	batch_publish(b);
	if (b->sync)
		batch_flush_dirs(b);
}

static void *batch_work_apart(void *arg)
{
	struct batch *b = arg;
	batch_work(b);
	sem_post(&b->worked);
	return NULL;
}

/* Until THREAD has ended; the beat is ours meanwhile.  Not with pthread_clockjoin_np,
 * which ThreadSanitizer does not know. */
static void batch_wait(struct batch *b, pthread_t thread)
{
	struct timespec end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec++;
	while (sem_clockwait(&b->worked, CLOCK_MONOTONIC, &end) < 0) {
		if (errno != ETIMEDOUT)
			continue;
		b->beat(b->beat_ctx);
		end.tv_sec++;
	}
	pthread_join(thread, NULL);
}

/* The work of a commit; where it may take long, on a thread of its own, so that the peer
 * can be told that we are alive. */
static void batch_run(struct batch *b)
{
	pthread_t thread;
	if (b->sync && b->beat && thread_start(&thread, batch_work_apart, b) == 0)
		batch_wait(b, thread);
	else
		batch_work(b);
}

int batch_commit(struct batch *b)
{
	if (batch_is_empty(b))
		return 0;
	batch_run(b);
	int err = 0;
	for (size_t i = 0; err == 0 && i < b->count; i++)
		err = b->done(b->ctx, &b->items[i].tag, b->items[i].result);
	batch_clear(b);
	return err;
}

/* -- Adding ------------------------------------------------------------- */

/* A directory one of whose entries changes: it is flushed with the batch. */
static void batch_mark_dir(struct batch *b, struct dir *d)
{
	if (!d || d->dirty)
		return;
	d->dirty = true;
	b->dirs[b->dir_count++] = dir_get(d);
}

/* The next free item, for an entry of DIR (or NULL).  The batch is committed before when
 * there is no room for it. */
static int batch_next(
	struct batch *b, const struct batch_tag *tag, struct dir *dir, struct item **out)
{
	int err = 0;
	size_t path_len = strlen(tag->path) + 1;
	if (b->names_len + path_len > NAMES_CAP || b->dir_count == DIRS_MAX)
		err = batch_commit(b);
	if (err < 0)
		return err;
	struct item *it = &b->items[b->count];
	*it = (struct item){
		.kind = ITEM_RESULT, .tag = *tag, .stage = STAGE_NONE, .fd = -1};
	it->dir = dir ? dir_get(dir) : NULL;
	it->tag.path = memcpy(b->names + b->names_len, tag->path, path_len);
	b->names_len += path_len;
	batch_mark_dir(b, dir);
	*out = it;
	return 0;
}

static int batch_added(struct batch *b, struct item *it)
{
	b->count++;
	b->bytes += it->tag.size;
	b->fds += (size_t)((it->fd >= 0) + (it->stage.fd >= 0) + it->stage.own_dir);
	bool full = b->count == BATCH_MAX || b->fds >= FDS_MAX || b->bytes >= BYTES_MAX;
	return full || !b->sync ? batch_commit(b) : 0;
}

void batch_made_dirs(struct batch *b)
{
	b->made_dirs = true;
}

int batch_add_stage(struct batch *b, const struct batch_tag *tag, struct stage *stage,
	struct dir *parent, bool no_clobber)
{
	struct item *it;
	int err = batch_next(b, tag, parent, &it);
	if (err < 0) {
		stage_discard(stage);
		return err;
	}
	it->kind = ITEM_STAGE;
	it->stage = *stage;
	*stage = STAGE_NONE;
	it->no_clobber = no_clobber;
	/* syncfs covers the file system of the area alone; the descriptor of a resumable
	 * stage holds the lock that keeps others from writing to it before it has its
	 * name. */
	if (b->can_share && b->fds >= FSYNC_MAX && !it->stage.own_dir &&
		!it->stage.resumable)
		stage_close(&it->stage);
	return batch_added(b, it);
}

int batch_add_made(struct batch *b, const struct batch_tag *tag, struct dir *dir, int fd)
{
	struct item *it;
	int err = batch_next(b, tag, dir, &it);
	if (err < 0) {
		fd_close(fd);
		return err;
	}
	it->kind = ITEM_MADE;
	it->fd = fd;
	return batch_added(b, it);
}

int batch_add_attr(struct batch *b, const struct batch_tag *tag, int fd, uint32_t mode,
	const struct msg_time *mtime)
{
	struct item *it;
	int err = batch_next(b, tag, NULL, &it);
	if (err < 0) {
		fd_close(fd);
		return err;
	}
	it->kind = ITEM_ATTR;
	it->fd = fd;
	it->mode = mode;
	it->mtime = *mtime;
	return batch_added(b, it);
}

int batch_add_result(struct batch *b, const struct batch_tag *tag, int result)
{
	struct item *it;
	int err = batch_next(b, tag, NULL, &it);
	if (err < 0)
		return err;
	it->result = result;
	return batch_added(b, it);
}
