/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/tally.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "os/clock.h"
#include "os/fd.h"
#include "os/stage.h"
#include "os/walk.h"

#define BEAT_MS 1000

/* Partials lie beside their targets where these are on another file system. */
static void tally_partials(struct tally *t, int dir_fd)
{
	uint64_t bytes;

	if (stage_kept(dir_fd, &bytes) == 0)
		t->bytes += bytes;
}

static void tally_directory(struct tally *t, const struct walk_entry *e)
{
	FD_OWNED fd = openat(
		e->parent_fd, e->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		tally_partials(t, fd);
}

static void tally_entry(struct tally *t, const struct walk_entry *e)
{
	struct stat st;

	if (e->leave)
		return;
	t->names++;
	if (S_ISDIR(e->type))
		tally_directory(t, e);
	else if (S_ISREG(e->type) &&
		 fstatat(e->parent_fd, e->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		t->bytes += (uint64_t)st.st_size;
}

int tally_tree(int root_fd, tally_beat_fn *beat, void *ctx, struct tally *out)
{
	struct tally t = {0};
	struct walk *w;
	struct walk_entry e;
	int64_t beat_ms = clock_now_ms() + BEAT_MS;
	int err = walk_new(&w, root_fd, "", true);

	if (err < 0)
		return err;
	tally_partials(&t, root_fd);
	while ((err = walk_next(w, &e)) > 0) {
		tally_entry(&t, &e);
		if (!beat || clock_now_ms() < beat_ms)
			continue;
		beat_ms = clock_now_ms() + BEAT_MS;
		err = beat(ctx);
		if (err < 0)
			break;
	}
	walk_free(w);
	if (err == 0)
		*out = t;
	return err;
}
