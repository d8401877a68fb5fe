/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/clients_view.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "crypto/digest.h"
#include "daemon/log.h"
#include "os/store.h"

/* A file changed twice within a tick of its clock may look unchanged: one that is younger
 * than this is read again. */
#define FRESH_NS 100000000

void clients_view_init(struct clients_view *v, int state_fd)
{
	*v = (struct clients_view){.state_fd = state_fd};
}

void clients_view_fini(struct clients_view *v)
{
	clients_file_fini(&v->file);
}

static struct file_stamp stamp_take(int state_fd)
{
	struct stat st;

	if (fstatat(state_fd, CLIENTS_FILE_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return (struct file_stamp){0};
	return (struct file_stamp){.there = true,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = st.st_size,
		.mtime = st.st_mtim,
		.ctime = st.st_ctim};
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool stamp_is_same(const struct file_stamp *a, const struct file_stamp *b)
{
	return a->there == b->there && a->dev == b->dev && a->ino == b->ino &&
	       a->size == b->size && is_same_time(&a->mtime, &b->mtime) &&
	       is_same_time(&a->ctime, &b->ctime);
}

static bool stamp_is_fresh(const struct file_stamp *s)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	int64_t sec = (int64_t)now.tv_sec - (int64_t)s->ctime.tv_sec;
	return s->there && sec >= -1 && sec <= 1 &&
	       llabs(sec * 1000000000 + now.tv_nsec - s->ctime.tv_nsec) < FRESH_NS;
}

/* Once for each kind of trouble, until the file says something else. */
static void complain(struct clients_view *v, int err, const struct ini_error *error)
{
	const char *rest = v->has_sense ? "; the clients stay as they were" : "";

	if (v->complained == err)
		return;
	v->complained = err;
	if (error->line > 0)
		log_line(LOG_LEVEL_ERR,
			"the file \"%s\" of the state directory, line %u: %s%s",
			CLIENTS_FILE_NAME, error->line, error->why, rest);
	else
		log_line(LOG_LEVEL_ERR, "the file \"%s\" of the state directory: %s%s",
			CLIENTS_FILE_NAME, error->why, rest);
}

/* What the file says, unless that is what it said the last time. */
static int text_take(
	struct clients_view *v, const char *text, size_t len, struct ini_error *error)
{
	struct clients_file file = {0};
	uint8_t digest[DIGEST_LEN];
	int err = digest_of(text, len, digest);

	if (err < 0) {
		ini_complain(error, "%s", err_text(err));
		return err;
	}
	if (v->has_digest && memcmp(digest, v->digest, DIGEST_LEN) == 0)
		return 0;
	v->complained = 0;
	err = clients_file_parse(&file, text, len, error);
	v->has_digest = err == 0 || err == -ERR_USAGE;
	memcpy(v->digest, digest, DIGEST_LEN);
	if (err < 0)
		return err;
	clients_file_fini(&v->file);
	v->file = file;
	v->has_sense = true;
	return 1;
}

int clients_view_refresh(struct clients_view *v)
{
	struct file_stamp stamp = stamp_take(v->state_fd);
	struct ini_error error = {0};
	char *text = NULL;
	size_t len = 0;

	if (v->has_stamp && stamp_is_same(&stamp, &v->stamp))
		return 0;
	int err = store_read(v->state_fd, CLIENTS_FILE_NAME, &text, &len);
	if (err == 0 || err == -ERR_NOT_FOUND)
		err = text_take(v, text ? text : "", len, &error);
	else
		ini_complain(&error, "%s", clients_file_why(err));
	free(text);
	/* Trouble that may pass without a change of the file is looked at again. */
	v->has_stamp = (err >= 0 || err == -ERR_USAGE) && !stamp_is_fresh(&stamp);
	v->stamp = stamp;
	if (err < 0)
		complain(v, err, &error);
	return err;
}
