/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The file "clients" as text: reading and writing of the same table of keys. */
#include "daemon/clients_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "os/store.h"

#define WORD_SHOWN_MAX 80 /* of a word from the file, escaped */

static const char client_section[] = "client ", invite_section[] = "invite ";
static const char heading[] = "# The clients of sockd(8). Its commands invite, authorize "
			      "and revoke write this\n"
			      "# file anew and keep no other comment.\n";

/* -- the keys: how each is written, if at all -------------------------- */

static void write_fingerprint(FILE *out, const char *key, const struct clients_entry *e)
{
	char text[FINGERPRINT_TEXT_MAX];

	if (e->client->has_fingerprint)
		fprintf(out, "%s = %s\n", key,
			fingerprint_format(text, e->client->fingerprint));
}

static void write_secret(FILE *out, const char *key, const struct clients_entry *e)
{
	char text[2 * SECRET_HASH_LEN + 1];

	if (e->is_invite)
		fprintf(out, "%s = %s\n", key,
			text_hex(text, e->secret_hash, SECRET_HASH_LEN));
}

static void write_expires(FILE *out, const char *key, const struct clients_entry *e)
{
	if (e->is_invite)
		fprintf(out, "%s = %" PRId64 "\n", key, e->expires_sec);
}

static void write_rights(FILE *out, const char *key, const struct clients_entry *e)
{
	char text[RIGHTS_TEXT_MAX];

	fprintf(out, "%s = %s\n", key, rights_format(text, e->client->rights));
}

static void write_path(FILE *out, const char *key, const struct clients_entry *e)
{
	if (*e->client->path)
		fprintf(out, "%s = %s\n", key, e->client->path);
}

static void write_number(FILE *out, const char *key, uint64_t value)
{
	if (value)
		fprintf(out, "%s = %" PRIu64 "\n", key, value);
}

static void write_quota_bytes(FILE *out, const char *key, const struct clients_entry *e)
{
	write_number(out, key, e->client->quota_bytes);
}

static void write_quota_files(FILE *out, const char *key, const struct clients_entry *e)
{
	write_number(out, key, e->client->quota_files);
}

static void write_max_connections(
	FILE *out, const char *key, const struct clients_entry *e)
{
	write_number(out, key, e->client->max_connections);
}

static void write_limit(FILE *out, const char *key, const struct clients_entry *e)
{
	write_number(out, key, e->client->limit);
}

static int read_secret(struct clients_entry *e, const char *value, const char **why_out)
{
	*why_out = "64 hexadecimal digits are needed";
	return text_unhex(value, e->secret_hash, SECRET_HASH_LEN);
}

static int read_expires(struct clients_entry *e, const char *value, const char **why_out)
{
	uint64_t sec;
	int err = text_parse_uint(value, 0, INT64_MAX, &sec);

	*why_out = "seconds since 1970 are needed";
	if (err == 0)
		e->expires_sec = (int64_t)sec;
	return err;
}

/* Which kinds of sections a key may stand in, and must. */
enum { IN_CLIENT = 1, IN_INVITE = 2, IN_BOTH = 3 };

static const struct {
	const char *name;
	unsigned may, must;
	/* NULL: client_set. */
	int (*read)(struct clients_entry *e, const char *value, const char **why_out);
	void (*write)(FILE *out, const char *key, const struct clients_entry *e);
} keys[] = {
	{"fingerprint", IN_CLIENT, IN_CLIENT, NULL, write_fingerprint},
	{"secret-sha256", IN_INVITE, IN_INVITE, read_secret, write_secret},
	{"expires", IN_INVITE, IN_INVITE, read_expires, write_expires},
	{"rights", IN_BOTH, 0, NULL, write_rights},
	{"path", IN_BOTH, 0, NULL, write_path},
	{"quota-bytes", IN_BOTH, 0, NULL, write_quota_bytes},
	{"quota-files", IN_BOTH, 0, NULL, write_quota_files},
	{"max-connections", IN_BOTH, 0, NULL, write_max_connections},
	{"limit", IN_BOTH, 0, NULL, write_limit},
};

/* -- reading ----------------------------------------------------------- */

struct parsing {
	struct clients_file file; /* owned */
	unsigned had;             /* which of KEYS the last section has, by bits */
	unsigned bad_line;        /* where a section begins that is not whole; or 0 */
};

static unsigned kind_of(const struct clients_entry *e)
{
	return e->is_invite ? IN_INVITE : IN_CLIENT;
}

static struct clients_entry *last_entry(const struct parsing *p)
{
	return p->file.count > 0 ? &p->file.entries[p->file.count - 1] : NULL;
}

/* Whether the section that ends here has what it must. */
static int section_end(struct parsing *p, struct ini_error *error)
{
	const struct clients_entry *e = last_entry(p);

	for (size_t i = 0; e && i < ARRAY_LEN(keys); i++) {
		if (!(keys[i].must & kind_of(e)) || (p->had & 1u << i))
			continue;
		p->bad_line = e->line;
		return ini_complain(error, "%s has no %s", e->client->name, keys[i].name);
	}
	return 0;
}

static int section_begin(
	struct parsing *p, const struct ini_item *item, struct ini_error *error)
{
	struct clients_entry e = {.line = item->line};
	char shown[WORD_SHOWN_MAX];
	const char *why;

	if (strncmp(item->section, invite_section, strlen(invite_section)) == 0)
		e.is_invite = true;
	else if (strncmp(item->section, client_section, strlen(client_section)) != 0)
		return ini_complain(error,
			"unknown section [%s]: there are [client NAME] and [invite NAME]",
			text_escape(shown, sizeof(shown), item->section,
				strlen(item->section)));
	if (p->file.count == CLIENTS_FILE_MAX)
		return ini_complain(
			error, "there are more than %d sections", CLIENTS_FILE_MAX);
	int err = client_new(&e.client, item->section + strlen(client_section), &why);
	if (err == -ERR_USAGE)
		return ini_complain(error, "%s", why);
	if (err < 0)
		return err;
	p->had = 0;
	err = clients_file_append(&p->file, &e);
	if (err < 0)
		client_put(e.client);
	return err;
}

static int key_read(
	struct parsing *p, size_t k, const char *value, struct ini_error *error)
{
	struct clients_entry *e = last_entry(p);
	const char *why = NULL;

	if (p->had & 1u << k)
		return ini_complain(error, "%s is given twice", keys[k].name);
	p->had |= 1u << k;
	if (!(keys[k].may & kind_of(e)))
		return ini_complain(error, "an %s has no %s",
			e->is_invite ? "invitation" : "authorized client", keys[k].name);
	int err = keys[k].read ? keys[k].read(e, value, &why)
			       : client_set(e->client, keys[k].name, value, &why);
	if (err == -ERR_USAGE)
		return ini_complain(
			error, "%s: %s", keys[k].name, why ? why : "unknown key");
	return err;
}

static int item_read(void *ctx, const struct ini_item *item, struct ini_error *error)
{
	struct parsing *p = ctx;
	char shown[WORD_SHOWN_MAX];

	if (!item->key) {
		int err = section_end(p, error);
		return err < 0 ? err : section_begin(p, item, error);
	}
	if (!last_entry(p))
		return ini_complain(
			error, "a [client NAME] or [invite NAME] has to come first");
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (strcmp(item->key, keys[i].name) == 0)
			return key_read(p, i, item->value, error);
	return ini_complain(error, "unknown key %s",
		text_escape(shown, sizeof(shown), item->key, strlen(item->key)));
}

int clients_file_parse(struct clients_file *out, const char *text, size_t len,
	struct ini_error *error_out)
{
	struct parsing p = {0};
	struct ini_error error = {0};
	int err = ini_read(text, len, item_read, &p, &error);

	if (err == 0)
		err = section_end(&p, &error);
	if (err == 0)
		err = clients_file_check(&p.file, &error);
	if (err < 0) {
		if (!*error.why)
			ini_complain(&error, "%s", err_text(err));
		if (p.bad_line)
			error.line = p.bad_line;
		*error_out = error;
		clients_file_fini(&p.file);
		return err;
	}
	*out = p.file;
	return 0;
}

/* -- writing ----------------------------------------------------------- */

static void entry_write(FILE *out, const struct clients_entry *e)
{
	fprintf(out, "\n[%s%s]\n", e->is_invite ? invite_section : client_section,
		e->client->name);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		keys[i].write(out, keys[i].name, e);
}

static int text_make(const struct clients_file *f, char **out, size_t *len_out)
{
	FILE *stream = open_memstream(out, len_out);

	if (!stream)
		return -ERR_RESOURCE;
	fputs(heading, stream);
	for (size_t i = 0; i < f->count; i++)
		entry_write(stream, &f->entries[i]);
	bool failed = ferror(stream);
	if (fclose(stream) == 0 && !failed)
		return 0;
	free(*out);
	return -ERR_RESOURCE;
}

static bool entry_is_equal(const struct clients_entry *a, const struct clients_entry *b)
{
	const struct client *x = a->client, *y = b->client;

	return a->is_invite == b->is_invite && a->expires_sec == b->expires_sec &&
	       memcmp(a->secret_hash, b->secret_hash, SECRET_HASH_LEN) == 0 &&
	       client_is_equal(x, y) && x->has_fingerprint == y->has_fingerprint &&
	       memcmp(x->fingerprint, y->fingerprint, FINGERPRINT_LEN) == 0;
}

/* Whether E alone, as text, is read as what it was. */
static int entry_check(struct clients_entry *e, struct ini_error *error)
{
	const struct clients_file alone = {.entries = e, .count = 1};
	struct clients_file again = {0};
	struct ini_error ignored;
	size_t len;
	char *text;
	int err = text_make(&alone, &text, &len);

	if (err < 0)
		return err;
	err = clients_file_parse(&again, text, len, &ignored);
	free(text);
	bool same = err == 0 && again.count == 1 && entry_is_equal(e, &again.entries[0]);
	clients_file_fini(&again);
	if (same || err == -ERR_RESOURCE)
		return err;
	/* A path is the only text that is not ours. */
	return ini_complain(error,
		"the path of %s cannot be kept in the file: it is too long, "
		"or has a line break, a space at an end, or \" ;\" in it",
		e->client->name);
}

int clients_file_format(const struct clients_file *f, char **out, size_t *len_out,
	struct ini_error *error_out)
{
	struct ini_error error = {0};
	int err = 0;

	for (size_t i = 0; i < f->count && err == 0; i++)
		err = entry_check(&f->entries[i], &error);
	if (err == 0)
		err = clients_file_check(f, &error);
	if (err == 0)
		err = text_make(f, out, len_out);
	if (err == 0 && *len_out > STORE_FILE_MAX) {
		free(*out);
		err = ini_complain(
			&error, "it would be larger than %u bytes", STORE_FILE_MAX);
	}
	if (err < 0) {
		if (!*error.why)
			ini_complain(&error, "%s", err_text(err));
		*error_out = error;
	}
	return err;
}
