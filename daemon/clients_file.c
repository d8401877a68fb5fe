/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/clients_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "os/store.h"

void clients_file_fini(struct clients_file *f)
{
	for (size_t i = 0; i < f->count; i++)
		client_put(f->entries[i].client);
	free(f->entries);
	*f = (struct clients_file){0};
}

int clients_file_append(struct clients_file *f, const struct clients_entry *entry)
{
	if (f->count == CLIENTS_FILE_MAX)
		return -ERR_TOO_LARGE;
	if (f->count == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 16;
		struct clients_entry *bigger =
			reallocarray(f->entries, cap, sizeof(*bigger));
		if (!bigger)
			return -ERR_RESOURCE;
		f->entries = bigger;
		f->cap = cap;
	}
	f->entries[f->count++] = *entry;
	return 0;
}

/* -- finding ----------------------------------------------------------- */

struct clients_entry *clients_file_find(const struct clients_file *f, const char *name)
{
	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->entries[i].client->name, name) == 0)
			return &f->entries[i];
	return NULL;
}

struct clients_entry *clients_file_find_fingerprint(
	const struct clients_file *f, const uint8_t fp[FINGERPRINT_LEN])
{
	for (size_t i = 0; i < f->count; i++) {
		const struct client *c = f->entries[i].client;
		if (c->has_fingerprint &&
			memcmp(c->fingerprint, fp, FINGERPRINT_LEN) == 0)
			return &f->entries[i];
	}
	return NULL;
}

struct clients_entry *clients_file_find_invite(const struct clients_file *f,
	const uint8_t hash[SECRET_HASH_LEN], int64_t now_sec)
{
	struct clients_entry *found = NULL;

	for (size_t i = 0; i < f->count; i++) {
		struct clients_entry *e = &f->entries[i];
		if (e->is_invite && secret_equal(e->secret_hash, hash, SECRET_HASH_LEN) &&
			e->expires_sec > now_sec)
			found = e;
	}
	return found;
}

/* -- changing ---------------------------------------------------------- */

int clients_file_set(struct clients_file *f, const struct clients_entry *entry)
{
	struct clients_entry *old = clients_file_find(f, entry->client->name);

	if (!old)
		return clients_file_append(f, entry);
	client_put(old->client);
	*old = *entry;
	return 0;
}

void clients_file_remove(struct clients_file *f, struct clients_entry *entry)
{
	size_t behind = (size_t)(f->entries + f->count - (entry + 1));

	client_put(entry->client);
	memmove(entry, entry + 1, behind * sizeof(*entry));
	f->count--;
}

static void expired_remove(struct clients_file *f, int64_t now_sec)
{
	for (size_t i = f->count; i-- > 0;)
		if (f->entries[i].is_invite && f->entries[i].expires_sec <= now_sec)
			clients_file_remove(f, &f->entries[i]);
}

/* -- what may not stand twice ------------------------------------------ */

typedef int compare_fn(const void *a, const void *b);
typedef bool entry_filter(const struct clients_entry *e);

static bool is_any(const struct clients_entry *e)
{
	return e->client != NULL;
}

static bool is_client(const struct clients_entry *e)
{
	return !e->is_invite;
}

static bool is_invite(const struct clients_entry *e)
{
	return e->is_invite;
}

static const struct clients_entry *entry_at(const void *p)
{
	return *(struct clients_entry *const *)p;
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(entry_at(a)->client->name, entry_at(b)->client->name);
}

static int fingerprint_compare(const void *a, const void *b)
{
	return memcmp(entry_at(a)->client->fingerprint, entry_at(b)->client->fingerprint,
		FINGERPRINT_LEN);
}

/* Not in constant time: this is the owner's file, not what a peer says. */
static int hash_compare(const void *a, const void *b)
{
	return memcmp(
		entry_at(a)->secret_hash, entry_at(b)->secret_hash, SECRET_HASH_LEN);
}

/* Sorts what IS_WANTED of the entries; PLACES has room for all. */
static int twice_check(const struct clients_file *f, const struct clients_entry **places,
	entry_filter *is_wanted, compare_fn *compare, const char *what,
	struct ini_error *error)
{
	size_t count = 0;

	for (size_t i = 0; i < f->count; i++)
		if (is_wanted(&f->entries[i]))
			places[count++] = &f->entries[i];
	qsort(places, count, sizeof(*places), compare);
	for (size_t i = 1; i < count; i++) {
		if (compare(&places[i - 1], &places[i]) != 0)
			continue;
		const struct clients_entry *a = places[i - 1], *b = places[i];
		error->line = a->line > b->line ? a->line : b->line;
		return ini_complain(error, "%s and %s have the same %s", a->client->name,
			b->client->name, what);
	}
	return 0;
}

int clients_file_check(const struct clients_file *f, struct ini_error *error)
{
	const struct clients_entry **places = calloc(f->count + 1, sizeof(*places));

	if (!places)
		return -ERR_RESOURCE;
	int err = twice_check(f, places, is_any, name_compare, "name", error);
	if (err == 0)
		err = twice_check(
			f, places, is_client, fingerprint_compare, "fingerprint", error);
	if (err == 0)
		err = twice_check(f, places, is_invite, hash_compare, "secret", error);
	free(places);
	return err;
}

/* -- the file ---------------------------------------------------------- */

const char *clients_file_why(int err)
{
	return err == -ERR_ACCESS
		       ? "it has to be ours or root's, and nobody else may read "
			 "it or write to it: chmod 600"
		       : err_text(err);
}

int clients_file_read(struct clients_file *out, int dirfd, struct ini_error *error_out)
{
	size_t len;
	char *text;
	int err = store_read(dirfd, CLIENTS_FILE_NAME, &text, &len);

	if (err == -ERR_NOT_FOUND)
		return 0;
	if (err < 0) {
		error_out->line = 0;
		ini_complain(error_out, "%s", clients_file_why(err));
		return err;
	}
	err = clients_file_parse(out, text, len, error_out);
	free(text);
	return err;
}

int clients_file_write(
	struct clients_file *f, int dirfd, int64_t now_sec, struct ini_error *error_out)
{
	size_t len;
	char *text;

	expired_remove(f, now_sec);
	int err = clients_file_format(f, &text, &len, error_out);
	if (err < 0)
		return err;
	err = store_write(dirfd, CLIENTS_FILE_NAME, text, len);
	free(text);
	if (err < 0) {
		error_out->line = 0;
		ini_complain(error_out, "%s", clients_file_why(err));
	}
	return err;
}
