/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sockcp put: which local names go where. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/path.h"
#include "cli/job.h"
#include "cli/query.h"
#include "cli/upload.h"
#include "os/fd.h"
#include "os/walk.h"

struct put {
	const struct job *job;   /* borrowed */
	struct uploads *uploads; /* owned */
	bool into;               /* DEST is a directory: sources keep their names */
};

/* The name under which LOCAL appears in a directory; "" for "." and "/", whose contents
 * go there themselves. */
static int own_name(const char *local, char out[PATH_COMPONENT_MAX + 1])
{
	size_t len = strlen(local);
	while (len > 0 && local[len - 1] == '/')
		len--;
	size_t start = len;
	while (start > 0 && local[start - 1] != '/')
		start--;
	if (len - start > PATH_COMPONENT_MAX)
		return -ERR_NAME_TOO_LONG;
	memcpy(out, local + start, len - start);
	out[len - start] = '\0';
	if (strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
		*out = '\0';
	return 0;
}

static int put_entry(struct put *p, struct upload_tree *tree, const struct walk_entry *e)
{
	char name[PATH_WIRE_MAX + 1];
	int err = e->error;
	if (err == 0 && S_ISDIR(e->type) && e->leave)
		return p->job->opts->preserve
			       ? uploads_add(p->uploads, UPLOAD_ATTR, tree, e->path)
			       : 0;
	if (err == 0 && S_ISDIR(e->type))
		return uploads_add(p->uploads, UPLOAD_DIR, tree, e->path);
	if (err == 0 && S_ISREG(e->type))
		return uploads_add(p->uploads, UPLOAD_FILE, tree, e->path);
	if (err == 0 && S_ISLNK(e->type))
		return uploads_add(p->uploads, UPLOAD_LINK, tree, e->path);
	const char *shown =
		path_join(name, sizeof(name), tree->local, e->path) == 0 ? name : e->path;
	report_failure(
		p->job->report, shown, SIDE_LOCAL, err ? err : -ERR_NOT_REGULAR, NULL);
	return 0;
}

static int put_walk(struct put *p, struct upload_tree *tree)
{
	struct walk *walk;
	struct walk_entry e;
	bool has_top = *tree->remote != '\0';
	int err = walk_new(&walk, tree->root_fd, "", true);
	if (err < 0) {
		report_failure(p->job->report, tree->local, SIDE_LOCAL, err, NULL);
		return 0;
	}
	int got = 1;
	if (has_top)
		err = uploads_add(p->uploads, UPLOAD_DIR, tree, "");
	while (err == 0 && (got = walk_next(walk, &e)) > 0)
		err = put_entry(p, tree, &e);
	if (got < 0)
		report_failure(p->job->report, tree->local, SIDE_LOCAL, got, NULL);
	if (err == 0 && has_top && p->job->opts->preserve)
		err = uploads_add(p->uploads, UPLOAD_ATTR, tree, "");
	walk_free(walk);
	return err;
}

/* A directory is settled before its descriptors are closed. */
static int put_tree(struct put *p, struct upload_tree *tree)
{
	FD_OWNED fd = open(tree->local, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		report_failure(p->job->report, tree->local, SIDE_LOCAL,
			-err_from_errno(errno), NULL);
		return 0;
	}
	tree->root_fd = fd;
	dir_cache_init(&tree->dirs, fd);
	int err = put_walk(p, tree);
	if (err == 0)
		err = uploads_settle(p->uploads);
	dir_cache_fini(&tree->dirs);
	return err;
}

/* Whether LOCAL is a directory; a name that is not there is found out when it is opened.
 */
static bool is_directory(const char *local)
{
	struct stat st;
	return strcmp(local, "-") != 0 && stat(local, &st) == 0 && S_ISDIR(st.st_mode);
}

static int put_source(struct put *p, struct upload_tree *tree, const char *local)
{
	const struct options *o = p->job->opts;
	char name[PATH_COMPONENT_MAX + 1] = "", remote[PATH_WIRE_MAX + 1] = "";
	int err = p->into ? own_name(local, name) : 0;
	if (err == 0)
		err = path_join(remote, sizeof(remote), p->job->req->dest, name);
	*tree = (struct upload_tree){
		.root_fd = -1, .local = local, .remote = strdup(remote)};
	if (!tree->remote)
		return -ERR_RESOURCE;
	bool dir = is_directory(local);
	if (err == 0 && dir && !o->recursive)
		err = -ERR_IS_DIR;
	if (err < 0) {
		report_failure(p->job->report, local, SIDE_LOCAL, err, NULL);
		return 0;
	}
	return dir ? put_tree(p, tree) : uploads_add(p->uploads, UPLOAD_FILE, tree, "");
}

/* Whether DEST takes sources in under their own names. */
static int find_dest(struct put *p)
{
	const struct request *req = p->job->req;
	struct remote_stat st;
	p->into = req->dest_is_dir || !*req->dest;
	if (p->into)
		return 0;
	int err = query_stat(p->job->peer, req->dest, &st);
	if (err_is_connection(err))
		return err;
	/* A client without the right to look (a drop box) names its DEST in full. */
	p->into = err == 0 && st.kind == ENTRY_DIR;
	if (!p->into && req->count > 1) {
		report_failure(p->job->report, req->dest, SIDE_LOCAL, -ERR_USAGE, NULL);
		return -ERR_USAGE;
	}
	return 0;
}

int put_run(const struct job *job)
{
	const struct request *req = job->req;
	struct put p = {.job = job};
	struct upload_tree *trees = calloc(req->count, sizeof(*trees));
	int err = trees ? find_dest(&p) : -ERR_RESOURCE;
	if (err == 0)
		err = uploads_new(&p.uploads, job);
	for (size_t i = 0; err == 0 && i < req->count; i++)
		err = put_source(&p, &trees[i], req->sources[i]);
	if (err == 0)
		err = uploads_settle(p.uploads);
	uploads_free(p.uploads);
	/* The same command would now find a directory, and put the tree into it. */
	if (err_is_connection(err) && job->opts->recursive && !p.into)
		report_note(job->report, "to continue a tree, name its source as DIR/.");
	for (size_t i = 0; trees && i < req->count; i++)
		free(trees[i].remote);
	free(trees);
	return err;
}
