/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "cli/download_impl.h"
#include "os/fd.h"
#include "os/link.h"
#include "transfer/attr.h"
#include "transfer/source.h"

/* Whether what stands at LOCAL settles it: told, and 1. */
static int already_settled(struct downloads *d, const struct download_tree *tree,
	const char *local, const struct remote_stat *st)
{
	const struct options *o = d->job->opts;
	struct stat here;
	char name[NAME_CAP];
	bool exists = d->base_fd >= 0 && (o->update || o->no_clobber) &&
		      beneath_lstat(d->base_fd, local, &here) == 0;
	struct file_result r = {
		.path = download_name(tree, local, name, sizeof(name)),
		.outcome = OUTCOME_SKIPPED,
		.size = st->size,
	};
	struct msg_time mtime = exists ? msg_time_of(&here.st_mtim) : st->mtime;
	if (exists && o->update && S_ISREG(here.st_mode) &&
		(uint64_t)here.st_size == st->size &&
		attr_same_time(&mtime, &st->mtime)) {
		report_file_done(d->job->report, &r);
		return 1;
	}
	if (exists && o->no_clobber) {
		download_fail_path(d, tree, local, SIDE_LOCAL, -ERR_EXISTS, NULL);
		return 1;
	}
	if (o->dry_run) {
		r.outcome = OUTCOME_WOULD;
		report_file_done(d->job->report, &r);
	}
	return o->dry_run;
}

int download_add_file(struct downloads *d, const struct download_tree *tree,
	const char *path, size_t path_len, const struct remote_stat *st)
{
	char rel[PATH_WIRE_MAX + 1], local[PATH_WIRE_MAX + 1];
	memcpy(rel, path, path_len);
	rel[path_len] = '\0';
	int err = path_join(local, sizeof(local), tree->local, rel);
	if (err < 0) {
		download_fail_path(d, tree, rel, SIDE_LOCAL, err, NULL);
		return 0;
	}
	return already_settled(d, tree, local, st)
		       ? 0
		       : download_add(d, SLOT_FILE, tree, path, path_len, st);
}

/* Makes LOCAL or finds it there. */
static int make_dir(struct downloads *d, const char *local, uint32_t mode)
{
	struct dir *parent;
	if (!*local)
		return 0;
	int err = download_open_parent(d, local, &parent);
	if (err < 0)
		return err;
	struct batch_tag tag = {.path = local};
	err = dir_make(parent, d->base_fd, local, mode);
	if (err > 0)
		err = batch_add_made(d->batch, &tag, parent, -1);
	dir_put(parent);
	return err;
}

/* Directories that PATH is not below are complete: their attributes follow. */
static int leave_dirs(
	struct downloads *d, const struct download_tree *tree, const char *path)
{
	while (d->open_dir_count > 0) {
		struct open_dir *top = &d->open_dirs[d->open_dir_count - 1];
		size_t len = strlen(top->path);
		bool below = path && (len == 0 || (strncmp(path, top->path, len) == 0 &&
							  path[len] == '/'));
		if (below)
			return 0;
		struct remote_stat st = {.mode = top->mode, .mtime = top->mtime};
		int err = download_add(d, SLOT_ATTR, tree, top->path, len, &st);
		free(top->path);
		d->open_dir_count--;
		if (err < 0)
			return err;
	}
	return 0;
}

static int enter_dir(struct downloads *d, const struct download_tree *tree,
	const char *path, const struct remote_stat *st)
{
	char local[PATH_WIRE_MAX + 1] = "";
	if (d->job->opts->dry_run)
		return 0;
	int err = path_join(local, sizeof(local), tree->local, path);
	d->done_tree = tree;
	if (err == 0)
		err = make_dir(d, local, st->mode);
	if (err < 0) {
		download_fail_path(d, tree, local, SIDE_LOCAL, err, NULL);
		return 0;
	}
	if (!d->job->opts->preserve || d->open_dir_count == PATH_DEPTH_MAX)
		return 0;
	char *copy = strdup(path);
	if (!copy)
		return -ERR_RESOURCE;
	d->open_dirs[d->open_dir_count++] = (struct open_dir){copy, st->mode, st->mtime};
	return 0;
}

static int make_link(struct downloads *d, const struct download_tree *tree,
	const char *path, const struct msg_entry *e)
{
	char local[PATH_WIRE_MAX + 1] = "", target[PATH_TARGET_MAX + 1];
	struct dir *parent = NULL;
	struct stage stage = STAGE_NONE;
	if (d->job->opts->dry_run)
		return 0;
	memcpy(target, e->target.bytes, e->target.len);
	target[e->target.len] = '\0';
	FD_OWNED top = beneath_open(d->base_fd, tree->local, O_PATH | O_DIRECTORY, 0);
	int err = top < 0 ? top : path_join(local, sizeof(local), tree->local, path);
	if (err == 0)
		err = download_open_parent(d, local, &parent);
	if (err == 0)
		err = link_check_target(top, parent->fd, target);
	if (err == 0)
		err = stage_link(&d->area, parent, target, &stage);
	if (err == 0) {
		struct batch_tag tag = {.path = local};
		d->done_tree = tree;
		err = batch_add_stage(
			d->batch, &tag, &stage, parent, d->job->opts->no_clobber);
	}
	dir_put(parent);
	if (err < 0)
		download_fail_path(d, tree, local, SIDE_LOCAL, err, NULL);
	return 0;
}

static int take_entry(
	struct downloads *d, const struct download_tree *tree, const struct msg_entry *e)
{
	char path[PATH_WIRE_MAX + 1], remote[PATH_WIRE_MAX + 1];
	memcpy(path, e->path.bytes, e->path.len);
	path[e->path.len] = '\0';
	struct remote_stat st = {e->kind, e->size, e->mode, e->mtime};
	/* An error can be about a directory from which more is to come. */
	int err = e->kind == ENTRY_ERROR ? 0 : leave_dirs(d, tree, path);
	if (err < 0)
		return err;
	switch ((enum entry_kind)e->kind) {
	case ENTRY_FILE:
		return download_add_file(d, tree, path, e->path.len, &st);
	case ENTRY_DIR:
		return enter_dir(d, tree, path, &st);
	case ENTRY_LINK:
		return make_link(d, tree, path, e);
	case ENTRY_OTHER:
	case ENTRY_ERROR:
		break;
	}
	const char *shown = path_join(remote, sizeof(remote), tree->remote, path) == 0
				    ? remote
				    : path;
	report_failure(d->job->report, *shown ? shown : "/", SIDE_SERVER,
		e->kind == ENTRY_OTHER ? -ERR_NOT_REGULAR : -(int)e->code, NULL);
	return 0;
}

/* Keeps a part of the listing ahead of the requests that come from it. */
static int ask_listing(struct downloads *d, const struct download_tree *tree)
{
	struct remote_stat none = {.size = 0};
	if (d->listing.asked || d->listing.ended || d->listing.count > LISTING_PART)
		return 0;
	d->listing.asked = true;
	return download_add(d, SLOT_LIST, tree, "", 0, &none);
}

int downloads_tree(struct downloads *d, const struct download_tree *tree,
	const struct remote_stat *st)
{
	listing_fini(&d->listing);
	listing_init(&d->listing);
	int err = enter_dir(d, tree, "", st);
	while (err == 0) {
		struct msg_entry e;
		err = ask_listing(d, tree);
		if (err == 0 && listing_take(&d->listing, &e))
			err = take_entry(d, tree, &e);
		else if (err == 0 && d->first < d->end)
			err = download_step(d);
		else
			break;
	}
	if (err == 0)
		err = leave_dirs(d, tree, NULL);
	return err < 0 ? err : downloads_settle(d);
}
