/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sockd clients: a table whose fields have no space in them, so that programs can read
 * it, too. */
#include "daemon/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/text.h"

enum { NAME, RIGHTS, PATH, FINGERPRINT, LIMITS, EXPIRES, COLUMNS };

static const char *const headings[COLUMNS] = {
	"NAME", "RIGHTS", "PATH", "FINGERPRINT", "LIMITS", "EXPIRES"};

/* A line to be: a client, or an invitation when it expires. */
struct line {
	const struct client *client; /* borrowed */
	int64_t expires_sec;         /* 0: never */
};

struct cells {
	char *text[COLUMNS]; /* owned */
};

char *command_time(char out[COMMAND_TIME_MAX], int64_t sec)
{
	time_t time = (time_t)sec;
	struct tm tm;

	if (!gmtime_r(&time, &tm) ||
		strftime(out, COMMAND_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, COMMAND_TIME_MAX, "@%lld", (long long)sec);
	return out;
}

const struct client *command_configured(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->client_count; i++)
		if (strcmp(config->clients[i]->name, name) == 0)
			return config->clients[i];
	return NULL;
}

static void limit_add(char *out, size_t cap, const char *key, uint64_t value)
{
	size_t len = strlen(out);

	if (value > 0)
		snprintf(out + len, cap - len, "%s%s=%" PRIu64, len > 0 ? "," : "", key,
			value);
}

static char *limits_format(const struct client *c)
{
	char out[160] = ""; /* four keys and four numbers */

	limit_add(out, sizeof(out), "quota-bytes", c->quota_bytes);
	limit_add(out, sizeof(out), "quota-files", c->quota_files);
	limit_add(out, sizeof(out), "max-connections", c->max_connections);
	limit_add(out, sizeof(out), "limit", c->limit);
	return strdup(*out ? out : "-");
}

/* Escaped, and without a space. */
static char *path_format(const char *path)
{
	size_t cap = TEXT_ESCAPED_MAX(strlen(path));
	char *escaped = malloc(cap), *out = malloc(4 * cap), *end = out;

	if (!escaped || !out) {
		free(escaped);
		free(out);
		return NULL;
	}
	text_escape(escaped, cap, path, strlen(path));
	for (const char *p = *path ? escaped : "."; *p; p++) {
		if (*p == ' ')
			end = stpcpy(end, "\\x20");
		else
			*end++ = *p;
	}
	*end = '\0';
	free(escaped);
	return out;
}

static char *fingerprint_cell(const struct client *c)
{
	char text[FINGERPRINT_TEXT_MAX] = "-";

	if (c->has_fingerprint)
		fingerprint_format(text, c->fingerprint);
	return strdup(text);
}

static char *expires_format(int64_t sec)
{
	char text[COMMAND_TIME_MAX] = "-";

	if (sec > 0)
		command_time(text, sec);
	return strdup(text);
}

static void cells_free(struct cells *rows, size_t count)
{
	for (size_t i = 0; rows && i < count; i++)
		for (int k = 0; k < COLUMNS; k++)
			free(rows[i].text[k]);
	free(rows);
}

static int cells_fill(struct cells *cells, const struct line *line)
{
	char rights[RIGHTS_TEXT_MAX];
	const struct client *c = line->client;

	cells->text[NAME] = strdup(c->name);
	cells->text[RIGHTS] = strdup(rights_format(rights, c->rights));
	cells->text[PATH] = path_format(c->path);
	cells->text[FINGERPRINT] = fingerprint_cell(c);
	cells->text[LIMITS] = limits_format(c);
	cells->text[EXPIRES] = expires_format(line->expires_sec);
	for (int k = 0; k < COLUMNS; k++)
		if (!cells->text[k])
			return -ERR_RESOURCE;
	return 0;
}

static void row_print(const char *const text[COLUMNS], const size_t widths[COLUMNS])
{
	for (int k = 0; k < COLUMNS; k++)
		printf("%s%*s", text[k],
			k == COLUMNS - 1 ? 0 : (int)(widths[k] - strlen(text[k]) + 2),
			"");
	putchar('\n');
}

static int rows_print(const struct cells *rows, size_t count)
{
	size_t widths[COLUMNS];

	for (int k = 0; k < COLUMNS; k++) {
		widths[k] = strlen(headings[k]);
		for (size_t i = 0; i < count; i++)
			if (strlen(rows[i].text[k]) > widths[k])
				widths[k] = strlen(rows[i].text[k]);
	}
	row_print(headings, widths);
	for (size_t i = 0; i < count; i++)
		row_print((const char *const *)rows[i].text, widths);
	if (fflush(stdout) != 0)
		return -err_from_errno(errno);
	return ferror(stdout) ? -ERR_IO : 0;
}

static int by_name(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	return strcmp(x->client->name, y->client->name);
}

/* Those of the configuration, and what is not hidden by them. */
static size_t lines_gather(struct line *out, const struct clients_file *file,
	const struct config *config, int64_t now_sec)
{
	size_t count = 0;

	for (size_t i = 0; i < config->client_count; i++)
		out[count++].client = config->clients[i];
	for (size_t i = 0; i < file->count; i++) {
		const struct clients_entry *e = &file->entries[i];
		if (command_configured(config, e->client->name) ||
			(e->is_invite && e->expires_sec <= now_sec))
			continue;
		out[count].client = e->client;
		out[count++].expires_sec = e->is_invite ? e->expires_sec : 0;
	}
	qsort(out, count, sizeof(*out), by_name);
	return count;
}

int command_list(
	const struct clients_file *file, const struct config *config, int64_t now_sec)
{
	size_t cap = file->count + config->client_count + 1;
	struct line *lines = calloc(cap, sizeof(*lines));
	struct cells *rows = calloc(cap, sizeof(*rows));
	size_t count = 0;
	int err = lines && rows ? 0 : -ERR_RESOURCE;

	if (err == 0)
		count = lines_gather(lines, file, config, now_sec);
	for (size_t i = 0; i < count && err == 0; i++)
		err = cells_fill(&rows[i], &lines[i]);
	if (err == 0)
		err = rows_print(rows, count);
	cells_free(rows, cap);
	free(lines);
	return err;
}
