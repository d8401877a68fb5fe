/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sockd.conf(5). */
#include "daemon/config_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/text.h"
#include "os/fd.h"

#define FILE_MAX (4u << 20) /* room for CONFIG_CLIENTS_MAX clients */

#define SECTION_ANONYMOUS "anonymous"
#define SECTION_CLIENT    "client "

/* Keys of a section that were seen: those of options[], and one that is no option. */
#define SEEN(row)        (UINT64_C(1) << ((row)-options))
#define SEEN_FINGERPRINT (UINT64_C(1) << (OPTIONS_MAX - 1))

struct section {
	struct client *client; /* borrowed from the configuration */
	unsigned line;
	uint64_t seen;
};

struct reader {
	struct config *c;       /* borrowed */
	unsigned *listen_lines; /* borrowed */
	struct section *list;   /* owned: one for each of c->clients, in their order */
	struct section top;
	struct section anonymous; /* line 0: there is none */
	struct section *current;  /* borrowed: one of these */
	/* What ini_read cannot know: a complaint about an earlier line. */
	unsigned line;
};

/* -- the keys --------------------------------------------------------------------- */

static int unknown_complain(const struct reader *r, const struct option_row *row,
	const char *key, struct ini_error *error)
{
	char shown[QUOTE_MAX];

	if (!row)
		return ini_complain(error, "unknown key '%s'", quote(shown, key));
	if (row->in_file)
		return ini_complain(error,
			"%s is no key of a section: it stands before the first one", key);
	if (row->is_grant && r->current == &r->top)
		return ini_complain(error,
			"%s is a key of the sections [anonymous] and [client NAME]", key);
	return ini_complain(error, "%s goes on the command line only", key);
}

static int value_complain(
	const struct ini_item *item, const char *why, int err, struct ini_error *error)
{
	char shown[QUOTE_MAX];

	if (err == -ERR_USAGE)
		ini_complain(
			error, "%s = %s: %s", item->key, quote(shown, item->value), why);
	else
		ini_complain(error, "%s", err_text(err));
	return err;
}

static int top_set(struct reader *r, const struct option_row *row,
	const struct ini_item *item, struct ini_error *error)
{
	struct ini_error why = {0};
	const char *value = config_keep(r->c, item->value);
	int err = value ? option_set(row, r->c, value, &why) : -ERR_RESOURCE;

	if (err < 0)
		return value_complain(item, why.why, err, error);
	if (row->kind == OPTION_LISTEN)
		r->listen_lines[r->c->listen_count - 1] = item->line;
	return 0;
}

static int section_set(
	struct reader *r, const struct ini_item *item, struct ini_error *error)
{
	const char *why = NULL;
	int err = client_set(r->current->client, item->key, item->value, &why);

	return err < 0 ? value_complain(item, why ? why : "", err, error) : 0;
}

/* The mark of KEY in the section that is read; 0 when it has no such key. */
static uint64_t key_mark(
	const struct reader *r, const struct option_row *row, const char *key)
{
	bool is_client = r->current != &r->top && r->current != &r->anonymous;

	if (!row)
		return is_client && strcmp(key, "fingerprint") == 0 ? SEEN_FINGERPRINT
								    : 0;
	if (r->current == &r->top)
		return row->in_file ? SEEN(row) : 0;
	return row->is_grant ? SEEN(row) : 0;
}

static int key_read(
	struct reader *r, const struct ini_item *item, struct ini_error *error)
{
	const struct option_row *row = option_find(item->key);
	uint64_t mark = key_mark(r, row, item->key);

	if (!mark)
		return unknown_complain(r, row, item->key, error);
	if ((r->current->seen & mark) && !(row && row->kind == OPTION_LISTEN))
		return ini_complain(error, "%s is set for the second time", item->key);
	if (!*item->value)
		return ini_complain(error, "%s has no value", item->key);
	r->current->seen |= mark;
	return r->current == &r->top ? top_set(r, row, item, error)
				     : section_set(r, item, error);
}

/* -- the sections ----------------------------------------------------------------- */

static int anonymous_begin(struct reader *r, unsigned line, struct ini_error *error)
{
	const struct option_row *row = option_find(SECTION_ANONYMOUS);

	if (r->anonymous.line)
		return ini_complain(error, "[anonymous] stands in line %u already",
			r->anonymous.line);
	if (r->top.seen & SEEN(row))
		return ini_complain(error, "there is [anonymous], and the key anonymous "
					   "before the sections: only one can be");
	r->anonymous.line = line;
	r->anonymous.client = r->c->anonymous;
	r->current = &r->anonymous;
	return 0;
}

/* Room for one more client in both arrays. */
static int clients_grow(struct reader *r)
{
	size_t count = r->c->client_count + 1;
	struct client **clients = reallocarray(r->c->clients, count, sizeof(*clients));
	struct section *list;

	if (!clients)
		return -ERR_RESOURCE;
	r->c->clients = clients;
	list = reallocarray(r->list, count, sizeof(*list));
	if (!list)
		return -ERR_RESOURCE;
	r->list = list;
	return 0;
}

static int client_begin(
	struct reader *r, const char *name, unsigned line, struct ini_error *error)
{
	char shown[QUOTE_MAX];
	size_t index = r->c->client_count;
	const char *why = NULL;
	int err;

	if (index == CONFIG_CLIENTS_MAX)
		return ini_complain(
			error, "there are more than %d clients", CONFIG_CLIENTS_MAX);
	err = clients_grow(r);
	if (err == 0)
		err = config_client_new(&r->c->clients[index], name, &why);
	if (err < 0) {
		ini_complain(error, "[client %s]: %s", quote(shown, name),
			why ? why : err_text(err));
		return err;
	}
	r->c->client_count++;
	r->list[index] = (struct section){.client = r->c->clients[index], .line = line};
	r->current = &r->list[index];
	return 0;
}

static int item_read(void *ctx, const struct ini_item *item, struct ini_error *error)
{
	const size_t prefix_len = strlen(SECTION_CLIENT);
	struct reader *r = ctx;
	char shown[QUOTE_MAX];

	if (item->key)
		return key_read(r, item, error);
	if (strcmp(item->section, SECTION_ANONYMOUS) == 0)
		return anonymous_begin(r, item->line, error);
	if (strncmp(item->section, SECTION_CLIENT, prefix_len) == 0)
		return client_begin(r, item->section + prefix_len, item->line, error);
	return ini_complain(error,
		"unknown section [%s]: there are [anonymous] and [client NAME]",
		quote(shown, item->section));
}

/* -- what no single line can see -------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct section *x = a, *y = b;
	int order = strcmp(x->client->name, y->client->name);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static int by_fingerprint(const void *a, const void *b)
{
	const struct section *x = a, *y = b;
	int order =
		memcmp(x->client->fingerprint, y->client->fingerprint, FINGERPRINT_LEN);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static int section_complete(
	struct reader *r, const struct section *s, struct ini_error *error)
{
	const char *missing = NULL;

	if (!(s->seen & SEEN(option_find("rights"))))
		missing = "rights";
	if (s != &r->anonymous && !(s->seen & SEEN_FINGERPRINT))
		missing = "fingerprint";
	if (!missing)
		return 0;
	r->line = s->line;
	return ini_complain(error, "[%s%s] has no %s",
		s == &r->anonymous ? "" : SECTION_CLIENT, s->client->name, missing);
}

static int sections_complete(struct reader *r, struct ini_error *error)
{
	int err = r->anonymous.line ? section_complete(r, &r->anonymous, error) : 0;

	for (size_t i = 0; i < r->c->client_count && err == 0; i++)
		err = section_complete(r, &r->list[i], error);
	return err;
}

/* Sorts, and so finds equal ones: there may be many. */
static int sections_differ(struct reader *r, struct ini_error *error)
{
	size_t count = r->c->client_count;

	if (count < 2)
		return 0;
	qsort(r->list, count, sizeof(*r->list), by_name);
	for (size_t i = 1; i < count; i++) {
		const struct section *s = &r->list[i];

		if (strcmp(s[-1].client->name, s->client->name) != 0)
			continue;
		r->line = s->line;
		return ini_complain(error, "[client %s] stands in line %u already",
			s->client->name, s[-1].line);
	}
	qsort(r->list, count, sizeof(*r->list), by_fingerprint);
	for (size_t i = 1; i < count; i++) {
		const struct section *s = &r->list[i];

		if (memcmp(s[-1].client->fingerprint, s->client->fingerprint,
			    FINGERPRINT_LEN) != 0)
			continue;
		r->line = s->line;
		return ini_complain(error,
			"[client %s] has the fingerprint of [client %s] in line %u",
			s->client->name, s[-1].client->name, s[-1].line);
	}
	return 0;
}

static int text_read(struct config *c, const char *text, size_t len,
	unsigned *listen_lines, struct ini_error *error)
{
	struct reader r = {.c = c, .listen_lines = listen_lines, .current = &r.top};
	int err = ini_read(text, len, item_read, &r, error);

	if (err == 0)
		err = sections_complete(&r, error);
	if (err == 0)
		err = sections_differ(&r, error);
	if (err < 0 && r.line)
		error->line = r.line;
	free(r.list);
	return err;
}

/* -- the file --------------------------------------------------------------------- */

/* Whoever can write to it decides who comes in. */
static int file_check(const struct stat *st, struct ini_error *error)
{
	if (!S_ISREG(st->st_mode))
		return ini_complain(error, "it is not a regular file");
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return ini_complain(error, "others than its owner can write to it; "
					   "chmod go-w would change that");
	if ((uint64_t)st->st_size > FILE_MAX)
		return ini_complain(error, "it is larger than %u bytes", FILE_MAX);
	return 0;
}

/* The whole file, for the caller to free; a NUL follows its LEN bytes. */
static int file_load(
	const char *path, char **out, size_t *len_out, struct ini_error *error)
{
	/* Not to wait for the other end of a fifo. */
	FD_OWNED fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t len;
	char *text;
	int err;

	if (fd < 0 || fstat(fd, &st) < 0)
		return ini_complain(error, "cannot be opened: %s", strerror(errno));
	err = file_check(&st, error);
	if (err < 0)
		return err;
	text = calloc(1, FILE_MAX + 2);
	len = text ? fd_read_full(fd, text, FILE_MAX + 1) : -ERR_RESOURCE;
	if (len < 0 || len > FILE_MAX) {
		free(text);
		return ini_complain(error, "cannot be read: %s",
			err_text(len < 0 ? (int)len : ERR_TOO_LARGE));
	}
	*out = text;
	*len_out = (size_t)len;
	return 0;
}

int config_file_read(struct config *c, unsigned listen_lines[CONFIG_LISTEN_MAX],
	struct complaint *complaint)
{
	char *text = NULL;
	size_t len = 0;
	int err;

	complaint->file = c->file;
	err = file_load(c->file, &text, &len, &complaint->error);
	if (err == 0)
		err = text_read(c, text, len, listen_lines, &complaint->error);
	free(text);
	if (err == 0)
		complaint->file = NULL;
	return err;
}
