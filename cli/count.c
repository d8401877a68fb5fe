/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/count.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/err.h"
#include "os/fd.h"
#include "os/walk.h"

/* Entries between two words to the report. */
#define TELL_EVERY 256

struct count {
	const struct job *job; /* borrowed */
	pthread_t thread;
	int stop_fd; /* owned: an eventfd, readable once we are to stop */
	atomic_bool stop;
	/* the thread's own */
	struct options opts; /* of PEER */
	struct peer peer;    /* for remote trees: connected beside the job's */
	uint64_t files, bytes;
	unsigned untold;
};

static void count_tell(struct count *c, bool final)
{
	c->untold = 0;
	report_total(c->job->report, c->files, c->bytes, final);
}

static void count_file(struct count *c, uint64_t size)
{
	c->files++;
	c->bytes += size;
	if (++c->untold == TELL_EVERY)
		count_tell(c, false);
}

/* -- Local trees ---------------------------------------------------------- */

static void count_walk(struct count *c, int root_fd)
{
	struct walk *walk;
	struct walk_entry e;
	struct stat st;
	if (walk_new(&walk, root_fd, "", true) < 0)
		return;
	while (!atomic_load(&c->stop) && walk_next(walk, &e) > 0)
		if (e.error == 0 && S_ISREG(e.type) &&
			fstatat(e.parent_fd, e.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			count_file(c, (uint64_t)st.st_size);
	walk_free(walk);
}

static void count_local(struct count *c, const char *source)
{
	struct stat st;
	if (strcmp(source, "-") == 0 || stat(source, &st) < 0)
		return;
	if (S_ISREG(st.st_mode)) {
		count_file(c, (uint64_t)st.st_size);
	} else if (S_ISDIR(st.st_mode) && c->job->opts->recursive) {
		FD_OWNED fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			count_walk(c, fd);
	}
}

/* -- Remote trees --------------------------------------------------------- */

static int ask_part(struct channel *ch, const char *source, bool first)
{
	struct msg_list list = {
		.flags = LIST_RECURSIVE, .path = {source, strlen(source)}};
	struct msg_next next = {0};
	struct wcur w;
	channel_begin(ch, &w);
	if (first)
		msg_list_encode(&w, &list);
	else
		msg_next_encode(&w, &next);
	return channel_end(ch, &w, first ? MSG_LIST : MSG_NEXT, 1);
}

/* One part of a listing: 1 when there is more, 0 at the end or when it is refused. */
static int count_part(struct count *c, struct channel *ch)
{
	for (;;) {
		struct channel_msg m;
		struct msg_entry e;
		struct msg_listed listed;
		int err = channel_read(ch, &m);
		if (err < 0 || m.type == MSG_ERROR)
			return err;
		if (m.type == MSG_LISTED) {
			err = msg_listed_decode(&listed, m.payload, m.len);
			return err < 0 ? err : listed.more;
		}
		if (m.type != MSG_ENTRY || msg_entry_decode(&e, m.payload, m.len) < 0)
			return -ERR_PROTOCOL;
		if (e.kind == ENTRY_FILE)
			count_file(c, e.size);
	}
}

static int count_remote(struct count *c, struct peer *peer, const char *source)
{
	int more = 1;
	for (bool first = true; more > 0 && !atomic_load(&c->stop); first = false) {
		more = ask_part(peer->channel, source, first);
		if (more == 0)
			more = count_part(c, peer->channel);
	}
	return more;
}

/* -- The thread ------------------------------------------------------------ */

static bool count_all_remote(struct count *c)
{
	const struct job *job = c->job;
	int err = peer_connect(&c->peer);
	for (size_t i = 0; err == 0 && i < job->req->count; i++)
		err = count_remote(c, &c->peer, job->req->sources[i]);
	return err == 0;
}

static void *count_run(void *arg)
{
	struct count *c = arg;
	const struct request *req = c->job->req;
	bool whole = true;
	if (req->command == COMMAND_GET)
		whole = count_all_remote(c);
	else
		for (size_t i = 0; i < req->count && !atomic_load(&c->stop); i++)
			count_local(c, req->sources[i]);
	if (whole && !atomic_load(&c->stop))
		count_tell(c, true);
	return NULL;
}

struct count *count_start(const struct job *job)
{
	/* A file that is fetched alone tells its size itself. */
	bool known = job->req->command == COMMAND_GET && !job->opts->recursive;
	if (known || !report_wants_total(job->report))
		return NULL;
	struct count *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->job = job;
	c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->opts = *job->opts;
	c->opts.retries = 0;
	c->opts.limit = 0;
	/* Here, where the model is ours. */
	int err = peer_init_like(&c->peer, job->peer, &c->opts, c->stop_fd);
	if (err == 0 && c->stop_fd >= 0 &&
		pthread_create(&c->thread, NULL, count_run, c) == 0)
		return c;
	peer_fini(&c->peer);
	fd_close(c->stop_fd);
	free(c);
	return NULL;
}

void count_stop(struct count *c)
{
	if (!c)
		return;
	atomic_store(&c->stop, true);
	eventfd_write(c->stop_fd, 1);
	pthread_join(c->thread, NULL);
	peer_fini(&c->peer);
	fd_close(c->stop_fd);
	free(c);
}
