/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "daemon/config_impl.h"
#include "daemon/listen.h"
#include "daemon/log.h"

/* Of small daemons one user may take all places. */
#define PER_ADDRESS_LEAST 16
#define STATUS_USAGE      2
#define DAY_SEC           86400

#define ANONYMOUS "anonymous"

/* Of a complaint: the file's name, its line, and why; it fits a line of the log. */
#define FILE_SHOWN_MAX 1024
#define MESSAGE_MAX    (FILE_SHOWN_MAX + INI_WHY_MAX + 16)

static const struct config defaults = {
	.refs = 1,
	.expires_sec = DAY_SEC,
	.max_connections = 4096,
	.penalty_max_ms = 300 * 1000,
	.chunk_size = 1u << 20,
	.handshake_timeout_ms = 20 * 1000,
	.idle_timeout_ms = 300 * 1000,
	.drain_timeout_ms = 30 * 1000,
	.min_rate = 1024,
	.partial_age_sec = 7 * DAY_SEC,
};

char *quote(char out[QUOTE_MAX], const char *value)
{
	return text_escape(out, QUOTE_MAX, value, strlen(value));
}

int config_client_new(struct client **out, const char *name, const char **why_out)
{
	if (strcmp(name, ANONYMOUS) == 0) {
		*why_out = "this name is for clients whom nobody knows";
		return -ERR_USAGE;
	}
	return client_new(out, name, why_out);
}

struct config *config_get(struct config *c)
{
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void config_put(struct config *c)
{
	if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (size_t i = 0; i < c->client_count; i++)
		client_put(c->clients[i]);
	for (size_t i = 0; i < c->text_count; i++)
		free(c->texts[i]);
	free(c->clients);
	free(c->texts);
	client_put(c->anonymous);
	client_put(c->granted);
	free(c);
}

static void config_putp(struct config **c)
{
	config_put(*c);
}

static int config_new(struct config **out, int argc, char **argv)
{
	struct config *c = malloc(sizeof(*c));
	const char *why;
	int err;

	if (!c)
		return -ERR_RESOURCE;
	*c = defaults;
	c->argc = argc;
	c->argv = argv;
	err = client_new(&c->anonymous, ANONYMOUS, &why);
	if (err < 0) {
		free(c);
		return err;
	}
	*out = c;
	return 0;
}

/* -- what depends on something else ----------------------------------------------- */

/* An absolute path of the environment, as the XDG Base Directory Specification wants
 * it: another one is to be ignored. */
static const char *env_path(const char *name)
{
	const char *path = getenv(name);

	return path && *path == '/' ? path : NULL;
}

/* $STATE_DIRECTORY may hold several names, with ':' between them (systemd.exec(5)); the
 * first is ours, and systemd has made it. */
static int state_dir_choose(struct config *c)
{
	const char *given = getenv("STATE_DIRECTORY");
	const char *state = env_path("XDG_STATE_HOME");
	const char *home = env_path("HOME");
	char path[PATH_MAX];
	int len = 0;

	if (c->state_dir)
		return 0;
	if (given && *given)
		len = snprintf(
			path, sizeof(path), "%.*s", (int)strcspn(given, ":"), given);
	else if (state)
		len = snprintf(path, sizeof(path), "%s/sockd", state);
	else if (home)
		len = snprintf(path, sizeof(path), "%s/.local/state/sockd", home);
	if (len <= 0 || len >= PATH_MAX)
		return 0;
	c->state_dir_make = !(given && *given);
	c->state_dir = config_keep(c, path);
	return c->state_dir ? 0 : -ERR_RESOURCE;
}

/* What only a new start can change stays as it is in OLD. */
static int fixed_copy(struct config *c, const struct config *old)
{
	int err = 0;

	for (size_t i = 0; i < option_count && err == 0; i++) {
		const struct option_row *row = &options[i];

		if (!row->is_fixed || option_is_equal(row, c, old))
			continue;
		log_line(LOG_LEVEL_WARNING,
			"%s has changed: that counts from the next start on", row->name);
		err = option_copy(row, c, old);
	}
	c->state_dir_make = old->state_dir_make;
	return err;
}

static bool listen_is_same(const struct config *c, const struct config *old)
{
	return old && c->plaintext == old->plaintext &&
	       option_is_equal(option_find("listen"), c, old);
}

/* LINES: where in the file an address stands, 0 when it does not. */
static int addresses_check(const struct config *c,
	const unsigned lines[CONFIG_LISTEN_MAX], struct complaint *complaint)
{
	struct sock_addr addrs[LISTEN_HOST_MAX];
	char shown[QUOTE_MAX];

	for (size_t i = 0; i < c->listen_count; i++) {
		int count = listen_resolve(c->listen[i], c->plaintext, addrs);

		if (count > 0)
			continue;
		complaint->file = lines[i] ? c->file : NULL;
		complaint->error.line = lines[i];
		return ini_complain(&complaint->error, "%s%s: %s",
			lines[i] ? "listen = " : "--listen=", quote(shown, c->listen[i]),
			listen_error(count));
	}
	return 0;
}

static int config_complete(struct config *c, const struct config *old,
	const unsigned lines[CONFIG_LISTEN_MAX], struct complaint *complaint)
{
	bool serves = c->command == COMMAND_SERVE;
	int err;

	if (serves && !c->root)
		return ini_complain(&complaint->error,
			c->file ? "a root is needed, by --root=DIR or in the file"
				: "--root=DIR is needed: what is to be served?");
	err = state_dir_choose(c);
	/* An address that is served already is not looked up again: it takes time. */
	if (err == 0 && serves && !listen_is_same(c, old))
		err = addresses_check(c, lines, complaint);
	if (err == 0 && old)
		err = fixed_copy(c, old);
	if (err == 0 && c->max_per_address == 0)
		c->max_per_address = c->max_connections / 4 > PER_ADDRESS_LEAST
					     ? c->max_connections / 4
					     : PER_ADDRESS_LEAST;
	return err;
}

/* -- all of it -------------------------------------------------------------------- */

static int args_use(const struct args *args, struct config *c, const struct config *old,
	struct complaint *complaint)
{
	unsigned lines[CONFIG_LISTEN_MAX] = {0};
	int err = args_begin(args, c, complaint);

	if (err == 0 && c->file)
		err = config_file_read(c, lines, complaint);
	if (err == 0)
		err = args_apply(args, c, lines, complaint);
	return err < 0 ? err : config_complete(c, old, lines, complaint);
}

/* 0; 1 when help or version was asked for, and printed; -ERR_… */
static int config_make(int argc, char **argv, const struct config *old,
	struct config **out, struct complaint *complaint)
{
	CLEANUP(config_putp) struct config *c = NULL;
	CLEANUP(args_fini) struct args args = {0};
	int result = config_new(&c, argc, argv);

	if (result == 0)
		result = args_read(&args, argc, argv, complaint);
	if (result == 0)
		result = args_use(&args, c, old, complaint);
	if (result == 0) {
		*out = c;
		c = NULL;
	}
	if (result == -ERR_RESOURCE)
		ini_complain(&complaint->error, "%s", err_text(result));
	return result;
}

/* "FILE:LINE: why" */
static const char *complaint_format(
	char out[MESSAGE_MAX], const struct complaint *complaint)
{
	const struct ini_error *error = &complaint->error;
	char file[FILE_SHOWN_MAX];

	if (!complaint->file) {
		snprintf(out, MESSAGE_MAX, "%s", error->why);
		return out;
	}
	text_escape(file, sizeof(file), complaint->file, strlen(complaint->file));
	if (error->line)
		snprintf(out, MESSAGE_MAX, "%s:%u: %s", file, error->line, error->why);
	else
		snprintf(out, MESSAGE_MAX, "%s: %s", file, error->why);
	return out;
}

enum parsed config_parse(int argc, char **argv, struct config **out, int *status_out)
{
	struct complaint complaint = {0};
	char message[MESSAGE_MAX];
	int result = config_make(argc, argv, NULL, out, &complaint);

	if (result == 0)
		return PARSED_RUN;
	*status_out = result > 0 ? EXIT_SUCCESS : STATUS_USAGE;
	if (result > 0)
		return PARSED_EXIT;
	if (*complaint.error.why)
		fprintf(stderr, "sockd: %s\n", complaint_format(message, &complaint));
	if (!complaint.file)
		fputs("Try 'sockd --help' for more information.\n", stderr);
	return PARSED_EXIT;
}

int config_reload(const struct config *old, struct config **out)
{
	struct complaint complaint = {0};
	char message[MESSAGE_MAX];
	int result = config_make(old->argc, old->argv, old, out, &complaint);

	if (result == 0)
		return 0;
	log_line(LOG_LEVEL_ERR, "%s", complaint_format(message, &complaint));
	return -ERR_USAGE;
}
