/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <config.h> /* the one of configure, not ours */

#include "base/err.h"
#include "base/text.h"
#include "daemon/listen.h"
#include "wire/frame.h"
#include "wire/session.h"

#define STATUS_USAGE 2
#define HELP_COLUMN  30
#define DAY_SEC      86400

enum kind {
	KIND_HELP,
	KIND_VERSION,
	KIND_FLAG,   /* bool */
	KIND_TEXT,   /* const char * */
	KIND_LISTEN, /* appends */
	KIND_RIGHTS, /* uint32_t */
	KIND_COUNT,  /* uint32_t */
	KIND_SIZE,   /* uint32_t, with a suffix */
	KIND_SEC,    /* int64_t */
	KIND_SEC_MS, /* int of milliseconds, given in seconds */
};

struct row {
	const char *name;
	char letter;     /* or 0 */
	const char *arg; /* or NULL */
	enum kind kind;
	const char *help;
	size_t field; /* offset in struct config */
	uint64_t min;
	uint64_t max;
};

#define FIELD(name) .field = offsetof(struct config, name)

/* clang-format off */
static const struct row rows[] = {
	{.name = "root", .letter = 'r', .arg = "DIR",
		.kind = KIND_TEXT,
		.help = "directory tree that is served",
		FIELD(root)},
	{.name = "listen", .letter = 'l', .arg = "ADDR",
		.kind = KIND_LISTEN,
		.help = "HOST, HOST:PORT, [V6]:PORT or :PORT; repeatable\n"
			"(default localhost:7625; port 0 picks a free one)"},
	{.name = "state-dir", .letter = 's', .arg = "DIR",
		.kind = KIND_TEXT,
		.help = "keys and authorised clients\n"
			"(default $STATE_DIRECTORY)",
		FIELD(state_dir)},
	{.name = "anonymous", .arg = "RIGHT",
		.kind = KIND_RIGHTS,
		.help = "rights of a client without identity: none,\n"
			"read (read, list) or write (read, list, write)\n"
			"(default none)",
		FIELD(anonymous)},
	{.name = "plaintext",
		.kind = KIND_FLAG,
		.help = "no TLS; loopback addresses only",
		FIELD(plaintext)},
	{.name = "max-connections", .arg = "N",
		.kind = KIND_COUNT,
		.help = "connections at a time (default 4096)",
		FIELD(max_connections), .min = 1, .max = 1u << 20},
	{.name = "chunk-size", .arg = "SIZE",
		.kind = KIND_SIZE,
		.help = "largest piece of a file in one frame, a power\n"
			"of two (default 1M)",
		FIELD(chunk_size), .min = CHUNK_SIZE_MIN, .max = CHUNK_SIZE_MAX},
	{.name = "handshake-timeout", .arg = "SEC",
		.kind = KIND_SEC_MS,
		.help = "from accept to the first request (default 20)",
		FIELD(handshake_timeout_ms), .min = 1, .max = DAY_SEC},
	{.name = "idle-timeout", .arg = "SEC",
		.kind = KIND_SEC_MS,
		.help = "between requests, and without progress\n"
			"(default 300)",
		FIELD(idle_timeout_ms), .min = 1, .max = DAY_SEC},
	{.name = "drain-timeout", .arg = "SEC",
		.kind = KIND_SEC_MS,
		.help = "for transfers to finish when told to stop\n"
			"(default 30)",
		FIELD(drain_timeout_ms), .min = 0, .max = DAY_SEC},
	{.name = "min-rate", .arg = "RATE",
		.kind = KIND_SIZE,
		.help = "bytes per second below which a transfer is\n"
			"given up; 0 never (default 1K)",
		FIELD(min_rate), .min = 0, .max = UINT32_MAX},
	{.name = "partial-age", .arg = "SEC",
		.kind = KIND_SEC,
		.help = "after which an unfinished transfer is removed;\n"
			"0 never (default 604800, a week)",
		FIELD(partial_age_sec), .min = 0, .max = UINT32_MAX},
	{.name = "check", .letter = 't',
		.kind = KIND_FLAG,
		.help = "check the configuration, then exit",
		FIELD(check)},
	{.name = "help", .letter = 'h',
		.kind = KIND_HELP,
		.help = "print this help, then exit"},
	{.name = "version", .letter = 'V',
		.kind = KIND_VERSION,
		.help = "print the version, then exit"},
};
/* clang-format on */

static const struct {
	const char *name;
	uint32_t rights;
} anonymous_rights[] = {
	{"none", RIGHT_NONE},
	{"read", RIGHT_READ | RIGHT_LIST},
	{"write", RIGHT_READ | RIGHT_LIST | RIGHT_CREATE | RIGHT_WRITE},
};

static const struct config defaults = {
	.anonymous = RIGHT_NONE,
	.max_connections = 4096,
	.chunk_size = 1u << 20,
	.handshake_timeout_ms = 20 * 1000,
	.idle_timeout_ms = 300 * 1000,
	.drain_timeout_ms = 30 * 1000,
	.min_rate = 1024,
	.partial_age_sec = 7 * DAY_SEC,
};

/* $STATE_DIRECTORY may hold several names, with ':' between them (systemd.exec(5)); the
 * first is ours. */
static const char *state_dir_default(void)
{
	static char first[PATH_MAX];
	const char *all = getenv("STATE_DIRECTORY");

	if (!all || !*all)
		return NULL;
	snprintf(first, sizeof(first), "%.*s", (int)strcspn(all, ":"), all);
	return first;
}

static int usage_error(const char *fmt, ...) PRINTF_LIKE(1, 2);

static int usage_error(const char *fmt, ...)
{
	va_list args;

	fputs("sockd: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs("\nTry 'sockd --help' for more information.\n", stderr);
	return -ERR_USAGE;
}

static void row_print(const struct row *row)
{
	int column = row->letter ? printf("  -%c, --%s", row->letter, row->name)
				 : printf("      --%s", row->name);

	if (row->arg)
		column += printf("=%s", row->arg);
	for (const char *line = row->help; line; column = 0) {
		int len = (int)strcspn(line, "\n");

		printf("%*s%.*s\n", HELP_COLUMN - column, "", len, line);
		line = line[len] == '\n' ? line + len + 1 : NULL;
	}
}

static void help_print(void)
{
	puts("Usage: sockd --root=DIR [--listen=ADDR]... [OPTION]...\n"
	     "Serves the files below DIR to sockcp(1).\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		row_print(&rows[i]);
	puts("\nSIZE and RATE take the suffixes K, M and G, powers of 1024.");
}

static void version_print(void)
{
	puts("sockd " PACKAGE_VERSION "\n"
	     "License GPLv3+: GNU GPL version 3 or later "
	     "<https://gnu.org/licenses/gpl.html>.\n"
	     "This is free software: you are free to change and redistribute it.\n"
	     "There is NO WARRANTY, to the extent permitted by law.");
}

static int listen_add(struct config *c, const char *arg)
{
	if (c->listen_count == CONFIG_LISTEN_MAX)
		return usage_error(
			"--listen can be given %d times at most", CONFIG_LISTEN_MAX);
	c->listen[c->listen_count++] = arg;
	return 0;
}

static int rights_set(uint32_t *field, const char *arg)
{
	for (size_t i = 0; i < ARRAY_LEN(anonymous_rights); i++)
		if (strcmp(arg, anonymous_rights[i].name) == 0) {
			*field = anonymous_rights[i].rights;
			return 0;
		}
	return usage_error("--anonymous=%s: none, read or write is needed", arg);
}

static int number_parse(const struct row *row, const char *arg, uint64_t *out)
{
	int err = row->kind == KIND_SIZE ? text_parse_size(arg, out)
					 : text_parse_uint(arg, row->min, row->max, out);

	if (err < 0 || *out < row->min || *out > row->max)
		return usage_error("--%s=%s: a number from %" PRIu64 " to %" PRIu64
				   " is needed",
			row->name, arg, row->min, row->max);
	return 0;
}

static int number_set(const struct row *row, void *field, const char *arg)
{
	uint64_t value;
	int err = number_parse(row, arg, &value);

	if (err < 0)
		return err;
	if (row->kind == KIND_SEC)
		*(int64_t *)field = (int64_t)value;
	else if (row->kind == KIND_SEC_MS)
		*(int *)field = (int)value * 1000;
	else
		*(uint32_t *)field = (uint32_t)value;
	return 0;
}

static int row_apply(const struct row *row, struct config *c, const char *arg)
{
	void *field = (char *)c + row->field;

	switch (row->kind) {
	case KIND_HELP:
	case KIND_VERSION:
		return 0;
	case KIND_FLAG:
		*(bool *)field = true;
		return 0;
	case KIND_TEXT:
		*(const char **)field = arg;
		return 0;
	case KIND_LISTEN:
		return listen_add(c, arg);
	case KIND_RIGHTS:
		return rights_set(field, arg);
	case KIND_COUNT:
	case KIND_SIZE:
	case KIND_SEC:
	case KIND_SEC_MS:
		return number_set(row, field, arg);
	}
	return 0;
}

static const struct row *row_by_letter(int letter)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].letter == letter)
			return &rows[i];
	return NULL;
}

/* The next option of the command line, with its argument in optarg.  1, 0 when
 * there is none, -ERR_USAGE. */
static int row_next(int argc, char **argv, const struct row **out)
{
	struct option longs[ARRAY_LEN(rows) + 1] = {0};
	char shorts[2 * ARRAY_LEN(rows) + 1];
	char *s = shorts;
	int index = -1;
	int letter;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		longs[i].name = rows[i].name;
		longs[i].has_arg = rows[i].arg ? required_argument : no_argument;
		if (!rows[i].letter)
			continue;
		*s++ = rows[i].letter;
		if (rows[i].arg)
			*s++ = ':';
	}
	*s = '\0';
	letter = getopt_long(argc, argv, shorts, longs, &index);
	if (letter == -1)
		return 0;
	*out = index >= 0 ? &rows[index] : row_by_letter(letter);
	if (*out && letter != '?')
		return 1;
	fputs("Try 'sockd --help' for more information.\n", stderr);
	return -ERR_USAGE;
}

static int addresses_check(const struct config *c)
{
	struct sock_addr addrs[LISTEN_HOST_MAX];

	for (size_t i = 0; i < c->listen_count; i++) {
		int count = listen_resolve(c->listen[i], c->plaintext, addrs);

		if (count < 0)
			return usage_error(
				"--listen=%s: %s", c->listen[i], listen_error(count));
	}
	return 0;
}

/* What no single option can see. */
static int config_check(const struct config *c)
{
	if (!c->root || !*c->root)
		return usage_error("--root=DIR is needed: what is to be served?");
	if (!c->plaintext)
		return usage_error("there is no TLS yet: --plaintext is needed, "
				   "which listens on loopback addresses only");
	if (c->chunk_size & (c->chunk_size - 1))
		return usage_error("--chunk-size=%" PRIu32 ": a power of two is needed",
			c->chunk_size);
	return addresses_check(c);
}

/* 0; 1 when help or version was asked for, and printed; -ERR_USAGE. */
static int options_read(int argc, char **argv, struct config *c)
{
	const struct row *row = NULL;
	int more, err;

	optind = 0; /* from the start, also when called again */
	while ((more = row_next(argc, argv, &row)) > 0) {
		if (row->kind == KIND_HELP)
			help_print();
		if (row->kind == KIND_VERSION)
			version_print();
		if (row->kind == KIND_HELP || row->kind == KIND_VERSION)
			return 1;
		err = row_apply(row, c, optarg);
		if (err < 0)
			return err;
	}
	if (more == 0 && optind < argc)
		return usage_error(
			"%s: there are no arguments, only options", argv[optind]);
	return more;
}

enum parsed config_parse(int argc, char **argv, struct config *out, int *status_out)
{
	struct config c = defaults;
	int done;

	c.state_dir = state_dir_default();
	done = options_read(argc, argv, &c);
	if (done == 0)
		done = config_check(&c);
	if (done != 0) {
		*status_out = done > 0 ? EXIT_SUCCESS : STATUS_USAGE;
		return PARSED_EXIT;
	}
	*out = c;
	return PARSED_RUN;
}
