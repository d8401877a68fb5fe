/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/known.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/store.h"

/* A line taken apart; borrowed. */
struct line {
	const char *name;
	size_t name_len;
	uint8_t fp[FINGERPRINT_LEN];
};

/* ASCII alone, whatever the locale: the file is read under others, too. */
static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_name_byte(char c)
{
	return (unsigned char)c > ' ' && c != 0x7f;
}

int known_name(char out[KNOWN_NAME_MAX], const char *host, uint16_t port)
{
	bool is_v6 = strchr(host, ':');
	int len = snprintf(out, KNOWN_NAME_MAX, "%s%s%s:%u", is_v6 ? "[" : "", host,
		is_v6 ? "]" : "", port);

	if (len < 0 || len >= KNOWN_NAME_MAX || *host == '\0' || *host == '#')
		return -ERR_USAGE;
	for (char *c = out; *c; c++) {
		if (!is_name_byte(*c))
			return -ERR_USAGE;
		*c = lower(*c);
	}
	return 0;
}

/* Whether the name ends in ":PORT": one without would never be found, silently. */
static bool has_port(const char *name, size_t len)
{
	const char *colon = memrchr(name, ':', len);
	char digits[6] = "";
	uint64_t port;
	size_t n = colon ? len - (size_t)(colon - name) - 1 : 0;

	if (!colon || colon == name || n >= sizeof(digits))
		return false;
	memcpy(digits, colon + 1, n);
	return text_parse_uint(digits, 1, UINT16_MAX, &port) == 0;
}

/* 1; 0 when the line says nothing; -ERR_USAGE. */
static int line_split(const char *text, size_t len, struct line *out)
{
	const char *blank = memchr(text, ' ', len);
	char fp[FINGERPRINT_TEXT_MAX] = "";
	size_t fp_len;

	if (len == 0 || *text == '#')
		return 0;
	if (!blank)
		return -ERR_USAGE;
	*out = (struct line){.name = text, .name_len = (size_t)(blank - text)};
	fp_len = len - out->name_len - 1;
	if (fp_len >= sizeof(fp) || !has_port(text, out->name_len))
		return -ERR_USAGE;
	for (size_t i = 0; i < out->name_len; i++)
		if (!is_name_byte(text[i]))
			return -ERR_USAGE;
	memcpy(fp, blank + 1, fp_len);
	return fingerprint_parse(fp, out->fp) < 0 ? -ERR_USAGE : 1;
}

static bool line_is_of(const struct line *line, const char *name)
{
	if (strlen(name) != line->name_len)
		return false;
	for (size_t i = 0; i < line->name_len; i++)
		if (lower(line->name[i]) != name[i])
			return false;
	return true;
}

int known_find(const char *text, size_t len, const char *name, struct known *out)
{
	const char *end = text + len, *next;
	size_t number = 1;
	int found = 0;

	for (const char *at = text; at < end; at = next + 1, number++) {
		struct line line;
		next = memchr(at, '\n', (size_t)(end - at));
		next = next ? next : end;
		int said = line_split(at, (size_t)(next - at), &line);
		bool is_other = said == 1 && found && line_is_of(&line, name) &&
				memcmp(line.fp, out->fp, FINGERPRINT_LEN) != 0;
		if (said < 0 || is_other) {
			out->line = number;
			return -ERR_USAGE;
		}
		if (said == 0 || found || !line_is_of(&line, name))
			continue;
		found = 1;
		out->line = number;
		memcpy(out->fp, line.fp, FINGERPRINT_LEN);
	}
	return found;
}

/* What is in the file, for the caller to free; nothing when there is none. */
static int file_read(int dirfd, char **out, size_t *len_out)
{
	int err = store_read(dirfd, KNOWN_FILE, out, len_out);

	if (err != -ERR_NOT_FOUND)
		return err;
	*len_out = 0;
	*out = calloc(1, 1);
	return *out ? 0 : -ERR_RESOURCE;
}

int known_read(int dirfd, const char *name, struct known *out)
{
	char *text;
	size_t len;
	int err = file_read(dirfd, &text, &len);

	if (err < 0)
		return err;
	err = known_find(text, len, name, out);
	free(text);
	return err;
}

static int file_append(int dirfd, const char *text, size_t len, const char *name,
	const uint8_t fp[FINGERPRINT_LEN])
{
	size_t cap = len + 1 + KNOWN_NAME_MAX + 1 + FINGERPRINT_TEXT_MAX + 1;
	char *whole = malloc(cap);
	char print[FINGERPRINT_TEXT_MAX];
	int err;

	if (!whole)
		return -ERR_RESOURCE;
	memcpy(whole, text, len);
	len += (size_t)snprintf(whole + len, cap - len, "%s%s %s\n",
		len > 0 && text[len - 1] != '\n' ? "\n" : "", name,
		fingerprint_format(print, fp));
	err = store_write(dirfd, KNOWN_FILE, whole, len);
	free(whole);
	return err;
}

int known_add(
	int dirfd, const char *name, const uint8_t fp[FINGERPRINT_LEN], struct known *out)
{
	FD_OWNED lock = store_lock(dirfd);
	char *text;
	size_t len;
	int err;

	if (lock < 0)
		return lock;
	err = file_read(dirfd, &text, &len);
	if (err < 0)
		return err;
	err = known_find(text, len, name, out);
	if (err == 0)
		err = file_append(dirfd, text, len, name, fp);
	else if (err == 1)
		err = memcmp(out->fp, fp, FINGERPRINT_LEN) == 0 ? 0 : -ERR_EXISTS;
	free(text);
	return err;
}
