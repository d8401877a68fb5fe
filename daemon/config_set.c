/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "daemon/listen.h"

const char *config_keep(struct config *c, const char *text)
{
	char **texts = reallocarray(c->texts, c->text_count + 1, sizeof(*texts));
	char *copy;

	if (!texts)
		return NULL;
	c->texts = texts;
	copy = strdup(text);
	if (copy)
		c->texts[c->text_count++] = copy;
	return copy;
}

static int listen_add(struct config *c, const char *value, struct ini_error *why)
{
	char host[SOCK_HOST_MAX];
	uint16_t port;

	if (sock_split(value, SOCK_DEFAULT_PORT, host, &port) < 0)
		return ini_complain(why, "%s", listen_error(-ERR_USAGE));
	if (c->listen_count == CONFIG_LISTEN_MAX)
		return ini_complain(
			why, "there can be %d of these at most", CONFIG_LISTEN_MAX);
	c->listen[c->listen_count++] = value;
	return 0;
}

/* Short names for the rights that make sense together. */
static int anonymous_set(struct config *c, const char *value, struct ini_error *why)
{
	static const char *const names[][2] = {
		{"none", "none"},
		{"read", "read,list"},
		{"write", "read,list,write"},
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(value, names[i][0]) == 0)
			return rights_parse(names[i][1], &c->anonymous->rights);
	return ini_complain(why, "none, read or write is needed");
}

/* "90s", "30m", "12h", "2d" as seconds. */
static int time_parse(const char *text, uint64_t *out)
{
	static const struct {
		char letter;
		uint64_t sec;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char digits[16] = "";
	size_t len = strlen(text);

	if (len == 0 || len > sizeof(digits))
		return -ERR_USAGE;
	memcpy(digits, text, len - 1);
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		uint64_t sec = units[i].sec;

		if (text[len - 1] != units[i].letter)
			continue;
		if (text_parse_uint(digits, 0, UINT64_MAX / sec, out) < 0)
			return -ERR_USAGE;
		*out *= sec;
		return 0;
	}
	return -ERR_USAGE;
}

static int number_parse(const struct option_row *row, const char *value, uint64_t *out,
	struct ini_error *why)
{
	bool has_suffix = row->kind == OPTION_SIZE || row->kind == OPTION_POWER;
	int err = row->kind == OPTION_TIME
			  ? time_parse(value, out)
			  : (has_suffix ? text_parse_size(value, out)
					: text_parse_uint(value, 0, UINT64_MAX, out));
	bool in_range = err == 0 && *out >= row->min && *out <= row->max;

	if (in_range && (row->kind != OPTION_POWER || (*out & (*out - 1)) == 0))
		return 0;
	if (row->kind == OPTION_TIME)
		return ini_complain(why,
			"a time from 1s to 365d, as in 90s, 30m, 12h or 2d, is needed");
	return ini_complain(why, "a %s from %" PRIu64 " to %" PRIu64 " is needed",
		row->kind == OPTION_POWER ? "power of two" : "number", row->min,
		row->max);
}

static int number_set(const struct option_row *row, struct config *c, const char *value,
	struct ini_error *why)
{
	void *field = (char *)c + row->field;
	uint64_t number;
	int err = number_parse(row, value, &number, why);

	if (err < 0)
		return err;
	if (row->kind == OPTION_SEC || row->kind == OPTION_TIME)
		*(int64_t *)field = (int64_t)number;
	else if (row->kind == OPTION_SEC_MS)
		*(int *)field = (int)number * 1000;
	else
		*(uint32_t *)field = (uint32_t)number;
	return 0;
}

/* On the command line a flag has no value, in the file it has. */
static int flag_set(bool *field, const char *value, struct ini_error *why)
{
	if (value && strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
		return ini_complain(why, "yes or no is needed");
	*field = !value || strcmp(value, "yes") == 0;
	return 0;
}

int option_set(const struct option_row *row, struct config *c, const char *value,
	struct ini_error *why)
{
	void *field = (char *)c + row->field;

	if (value && !*value)
		return ini_complain(why, "there is no value");
	switch (row->kind) {
	case OPTION_HELP:
	case OPTION_VERSION:
	case OPTION_GRANT:
		return 0;
	case OPTION_FLAG:
		return flag_set(field, value, why);
	case OPTION_TEXT:
		*(const char **)field = value;
		return 0;
	case OPTION_LISTEN:
		return listen_add(c, value, why);
	case OPTION_ANONYMOUS:
		return anonymous_set(c, value, why);
	case OPTION_COUNT:
	case OPTION_SIZE:
	case OPTION_POWER:
	case OPTION_SEC:
	case OPTION_SEC_MS:
	case OPTION_TIME:
		return number_set(row, c, value, why);
	}
	return 0;
}

static bool text_is_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool listen_is_equal(const struct config *a, const struct config *b)
{
	if (a->listen_count != b->listen_count)
		return false;
	for (size_t i = 0; i < a->listen_count; i++)
		if (strcmp(a->listen[i], b->listen[i]) != 0)
			return false;
	return true;
}

/* The size of a field that is copied and compared as it is; 0 for the others. */
static size_t kind_size(enum option_kind kind)
{
	switch (kind) {
	case OPTION_FLAG:
		return sizeof(bool);
	case OPTION_SEC:
	case OPTION_TIME:
		return sizeof(int64_t);
	case OPTION_SEC_MS:
		return sizeof(int);
	case OPTION_COUNT:
	case OPTION_SIZE:
	case OPTION_POWER:
		return sizeof(uint32_t);
	case OPTION_HELP:
	case OPTION_VERSION:
	case OPTION_TEXT:
	case OPTION_LISTEN:
	case OPTION_ANONYMOUS:
	case OPTION_GRANT:
		break;
	}
	return 0;
}

bool option_is_equal(
	const struct option_row *row, const struct config *a, const struct config *b)
{
	const char *a_field = (const char *)a + row->field;
	const char *b_field = (const char *)b + row->field;

	if (row->kind == OPTION_LISTEN)
		return listen_is_equal(a, b);
	if (row->kind == OPTION_TEXT)
		return text_is_equal(
			*(const char *const *)a_field, *(const char *const *)b_field);
	return memcmp(a_field, b_field, kind_size(row->kind)) == 0;
}

static int text_copy(struct config *c, const char **field, const char *text)
{
	*field = text ? config_keep(c, text) : NULL;
	return text && !*field ? -ERR_RESOURCE : 0;
}

int option_copy(const struct option_row *row, struct config *c, const struct config *from)
{
	char *field = (char *)c + row->field;
	const char *from_field = (const char *)from + row->field;
	int err = 0;

	if (row->kind == OPTION_TEXT)
		return text_copy(
			c, (const char **)field, *(const char *const *)from_field);
	if (row->kind != OPTION_LISTEN) {
		memcpy(field, from_field, kind_size(row->kind));
		return 0;
	}
	c->listen_count = from->listen_count;
	for (size_t i = 0; i < from->listen_count && err == 0; i++)
		err = text_copy(c, &c->listen[i], from->listen[i]);
	return err;
}
