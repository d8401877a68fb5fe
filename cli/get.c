/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sockcp get: which remote names go where. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "cli/download.h"
#include "cli/job.h"
#include "cli/query.h"
#include "os/fd.h"

struct get {
	const struct job *job;       /* borrowed */
	struct downloads *downloads; /* owned */
	bool into;                   /* DEST is a directory: sources keep their names */
	char *base; /* owned: the directory that is written below, as the user would name
		       it */
	char *name; /* owned: of the one file, unless INTO */
	bool to_stdout;
	int base_fd; /* owned; -1: standard output, or not there in a dry run */
};

/* Puts the entry of PATH in its directory on disk. */
static int flush_entry(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *parent = !slash          ? strdup(".")
		       : slash == path ? strdup("/")
				       : strndup(path, (size_t)(slash - path));
	FD_OWNED fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int err = fd < 0 || fsync(fd) < 0 ? -err_from_errno(errno) : 0;
	free(parent);
	return err;
}

static int make_one(const char *path, bool sync)
{
	if (mkdir(path, 0777) < 0)
		return errno == EEXIST || errno == EISDIR ? 0 : -err_from_errno(errno);
	return sync ? flush_entry(path) : 0;
}

/* Makes the directory PATH and what is missing above it. */
static int make_dirs(const char *path, bool sync)
{
	char *part = strdup(path);
	if (!part)
		return -ERR_RESOURCE;
	int err = 0;
	for (char *slash = part; err == 0 && slash;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		err = make_one(part, sync);
		if (slash)
			*slash = '/';
	}
	free(part);
	return err;
}

/* Splits DEST into the directory and the name in it. */
static int split_dest(struct get *g, const char *dest)
{
	const char *slash = strrchr(dest, '/');
	size_t len = slash ? (size_t)(slash - dest) : 0;
	g->base = !slash ? strdup(".") : len == 0 ? strdup("/") : strndup(dest, len);
	g->name = strdup(slash ? slash + 1 : dest);
	return g->base && g->name ? 0 : -ERR_RESOURCE;
}

static int open_base(struct get *g)
{
	int err = g->job->opts->dry_run ? 0 : make_dirs(g->base, g->job->opts->sync);
	if (err < 0)
		return err;
	g->base_fd = open(g->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->base_fd >= 0 || (g->job->opts->dry_run && errno == ENOENT))
		return 0;
	return -err_from_errno(errno);
}

static int find_dest(struct get *g)
{
	const struct request *req = g->job->req;
	const char *dest = *req->dest ? req->dest : ".";
	struct stat st;
	g->to_stdout = strcmp(dest, "-") == 0;
	if (g->to_stdout)
		return 0;
	bool exists = stat(dest, &st) == 0;
	g->into = req->dest_is_dir || !*req->dest || (exists && S_ISDIR(st.st_mode));
	int err = 0;
	if (g->into) {
		size_t len = strlen(dest);
		while (len > 1 && dest[len - 1] == '/')
			len--;
		g->base = strndup(dest, len);
		g->name = strdup("");
		err = g->base && g->name ? 0 : -ERR_RESOURCE;
	} else if (req->count > 1) {
		report_failure(g->job->report, dest, SIDE_LOCAL, -ERR_USAGE, NULL);
		return -ERR_USAGE;
	} else {
		err = split_dest(g, dest);
	}
	if (err == 0)
		err = open_base(g);
	if (err < 0)
		report_failure(g->job->report, dest, SIDE_LOCAL, err, NULL);
	return err;
}

/* Whether more has to be known of a source than its name before it is asked for. */
static bool must_look(const struct options *o)
{
	return o->recursive || o->update || o->no_clobber || o->dry_run;
}

static int get_source(struct get *g, struct download_tree *tree, size_t i)
{
	const struct options *o = g->job->opts;
	const char *source = g->job->req->sources[i];
	const char *own_name = g->job->req->contents[i] ? "" : path_leaf(source);
	struct remote_stat st;
	*tree = (struct download_tree){
		.remote = source,
		.local = g->to_stdout ? ""
			 : g->into    ? own_name
				      : g->name,
		.shown = g->to_stdout ? "-" : g->base,
	};
	/* A question is asked while nothing else is under way. */
	int err = must_look(o) ? downloads_settle(g->downloads) : 0;
	if (err == 0 && must_look(o)) {
		err = query_stat(g->job->peer, source, &st);
		if (err_is_connection(err))
			return err;
		if (err == 0 && st.kind == ENTRY_DIR && (!o->recursive || g->to_stdout))
			err = -ERR_IS_DIR;
		else if (err == 0 && st.kind != ENTRY_DIR && st.kind != ENTRY_FILE)
			err = -ERR_NOT_REGULAR;
	}
	if (err < 0 && !err_is_connection(err)) {
		report_failure(
			g->job->report, *source ? source : "/", SIDE_SERVER, err, NULL);
		return 0;
	}
	if (err < 0)
		return err;
	if (must_look(o) && st.kind == ENTRY_DIR)
		return downloads_tree(g->downloads, tree, &st);
	return downloads_file(g->downloads, tree, must_look(o) ? &st : NULL);
}

static int get_all(struct get *g, struct download_tree *trees)
{
	const struct request *req = g->job->req;
	int err = downloads_new(&g->downloads, g->job, g->base_fd);
	for (size_t i = 0; err == 0 && i < req->count; i++)
		err = get_source(g, &trees[i], i);
	if (err == 0)
		err = downloads_settle(g->downloads);
	downloads_free(g->downloads);
	/* The same command would now find a directory, and put the tree into it. */
	if (err_is_connection(err) && g->job->opts->recursive && !g->into)
		report_note(
			g->job->report, "to continue a tree, name its source as DIR/.");
	return err;
}

int get_run(const struct job *job)
{
	struct get g = {.job = job, .base_fd = -1};
	struct download_tree *trees = calloc(job->req->count, sizeof(*trees));
	int err = trees ? find_dest(&g) : -ERR_RESOURCE;
	/* Reported where it was found. */
	bool local = err < 0;
	if (err == 0)
		err = get_all(&g, trees);
	free(trees);
	free(g.base);
	free(g.name);
	fd_close(g.base_fd);
	return local ? 0 : err;
}
