/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/client.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/path.h"
#include "base/text.h"

static const struct {
	const char *word;
	uint32_t right;
} right_words[] = {
	{"read", RIGHT_READ},
	{"list", RIGHT_LIST},
	{"create", RIGHT_CREATE},
	{"write", RIGHT_WRITE},
	{"delete", RIGHT_DELETE},
};

static bool word_is(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(text, word, len) == 0;
}

static uint32_t right_find(const char *text, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(right_words); i++)
		if (word_is(text, len, right_words[i].word))
			return right_words[i].right;
	return RIGHT_NONE;
}

int rights_parse(const char *text, uint32_t *out)
{
	uint32_t rights = RIGHT_NONE;

	if (strcmp(text, "none") == 0) {
		*out = RIGHT_NONE;
		return 0;
	}
	for (;;) {
		size_t len = strcspn(text, ",");
		uint32_t right = right_find(text, len);
		if (right == RIGHT_NONE || (rights & right))
			return -ERR_USAGE;
		rights |= right;
		if (!text[len])
			break;
		text += len + 1;
	}
	*out = rights;
	return 0;
}

char *rights_format(char out[RIGHTS_TEXT_MAX], uint32_t rights)
{
	char *end = out;

	for (size_t i = 0; i < ARRAY_LEN(right_words); i++) {
		if (!(rights & right_words[i].right))
			continue;
		if (end != out)
			*end++ = ',';
		end = stpcpy(end, right_words[i].word);
	}
	if (end == out)
		memcpy(out, "none", sizeof("none"));
	return out;
}

/* Why NAME cannot be a client's, or NULL. */
static const char *name_complaint(const char *name)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		"0123456789._@-";
	size_t len = strlen(name);

	if (len == 0)
		return "the name of a client is empty";
	if (len > CLIENT_NAME_MAX)
		return "the name of a client has more than 64 characters";
	if (name[0] == '-' || name[0] == '.')
		return "the name of a client cannot begin with '-' or '.'";
	if (strspn(name, letters) != len)
		return "the name of a client has letters, digits and . _ @ - only";
	return NULL;
}

int client_new(struct client **out, const char *name, const char **why_out)
{
	const char *why = name_complaint(name);
	struct client *c;

	if (why) {
		*why_out = why;
		return -ERR_USAGE;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ERR_RESOURCE;
	c->path = strdup("");
	if (!c->path) {
		free(c);
		return -ERR_RESOURCE;
	}
	c->refs = 1;
	memcpy(c->name, name, strlen(name) + 1);
	*out = c;
	return 0;
}

int client_copy(struct client **out, const struct client *c)
{
	struct client *copy = calloc(1, sizeof(*copy));

	if (!copy)
		return -ERR_RESOURCE;
	*copy = *c;
	copy->refs = 1;
	copy->has_fingerprint = false;
	copy->path = strdup(c->path);
	if (!copy->path) {
		free(copy);
		return -ERR_RESOURCE;
	}
	*out = copy;
	return 0;
}

struct client *client_get(struct client *c)
{
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void client_put(struct client *c)
{
	if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free(c->path);
	free(c);
}

/* -- the keys: each takes its value, or returns -ERR_… ----------------- */
static int set_fingerprint(struct client *c, const char *value)
{
	int err = fingerprint_parse(value, c->fingerprint);

	if (err == 0)
		c->has_fingerprint = true;
	return err;
}

static int set_rights(struct client *c, const char *value)
{
	return rights_parse(value, &c->rights);
}

static int set_path(struct client *c, const char *value)
{
	bool is_root = strcmp(value, ".") == 0 || strcmp(value, "/") == 0;
	char *path;

	if (!*value)
		return -ERR_USAGE;

	if (is_root)
		value = "";
	if (path_check(value, strlen(value)) < 0)
		return -ERR_USAGE;
	path = strdup(value);
	if (!path)
		return -ERR_RESOURCE;
	free(c->path);
	c->path = path;
	return 0;
}

static int set_quota_bytes(struct client *c, const char *value)
{
	return text_parse_size(value, &c->quota_bytes);
}

static int set_quota_files(struct client *c, const char *value)
{
	return text_parse_uint(value, 0, UINT64_MAX, &c->quota_files);
}

static int set_max_connections(struct client *c, const char *value)
{
	uint64_t count;
	int err = text_parse_uint(value, 0, UINT32_MAX, &count);

	if (err == 0)
		c->max_connections = (uint32_t)count;
	return err;
}

static int set_limit(struct client *c, const char *value)
{
	return text_parse_size(value, &c->limit);
}

static const struct {
	const char *key;
	int (*set)(struct client *c, const char *value);
	const char *why;
} keys[] = {
	{"fingerprint", set_fingerprint, "SHA256: and 43 characters are needed"},
	{"rights", set_rights,
		"none, or some of read, list, create, write and delete, "
		"each once and with a comma between them"},
	{"path", set_path,
		"a directory below the root is needed, without a '/' at its beginning or "
		"end and without '..', or '.' for the root itself"},
	{"quota-bytes", set_quota_bytes,
		"a size like 500M or 10G is needed, or 0 for no limit"},
	{"quota-files", set_quota_files, "a number is needed, or 0 for no limit"},
	{"max-connections", set_max_connections,
		"a number up to 4294967295 is needed, or 0 for no limit"},
	{"limit", set_limit,
		"bytes per second like 500K or 10M are needed, or 0 for no limit"},
};

int client_set(struct client *c, const char *key, const char *value, const char **why_out)
{
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (strcmp(key, keys[i].key) != 0)
			continue;
		int err = keys[i].set(c, value);
		if (err < 0)
			*why_out = err == -ERR_RESOURCE ? err_text(err) : keys[i].why;
		return err;
	}
	*why_out = NULL;
	return -ERR_USAGE;
}

bool client_is_equal(const struct client *a, const struct client *b)
{
	return strcmp(a->name, b->name) == 0 && a->rights == b->rights &&
	       strcmp(a->path, b->path) == 0 && a->quota_bytes == b->quota_bytes &&
	       a->quota_files == b->quota_files &&
	       a->max_connections == b->max_connections && a->limit == b->limit;
}
