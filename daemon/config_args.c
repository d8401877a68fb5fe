/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config_impl.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* What invite and authorize give when they are not told. */
#define GRANTED_RIGHTS "read,list,write"

static const struct option_row *option_by_letter(int letter)
{
	for (size_t i = 0; i < option_count; i++)
		if (options[i].letter == letter)
			return &options[i];
	return NULL;
}

/* The next option, with its value in optarg.  1; 0 when there is none; -ERR_USAGE, and
 * getopt has said why. */
static int option_next(int argc, char **argv, const struct option_row **out)
{
	struct option longs[OPTIONS_MAX] = {0};
	char shorts[2 * OPTIONS_MAX];
	char *s = shorts;
	int index = -1;
	int letter;

	for (size_t i = 0; i < option_count; i++) {
		longs[i].name = options[i].name;
		longs[i].has_arg = options[i].arg ? required_argument : no_argument;
		if (!options[i].letter)
			continue;
		*s++ = options[i].letter;
		if (options[i].arg)
			*s++ = ':';
	}
	*s = '\0';
	letter = getopt_long(argc, argv, shorts, longs, &index);
	if (letter == -1)
		return 0;
	*out = index >= 0 ? &options[index] : option_by_letter(letter);
	return *out && letter != '?' ? 1 : -ERR_USAGE;
}

static int use_add(struct args *a, const struct option_row *row, const char *value)
{
	struct option_use *uses = reallocarray(a->uses, a->count + 1, sizeof(*uses));

	if (!uses)
		return -ERR_RESOURCE;
	a->uses = uses;
	a->uses[a->count++] = (struct option_use){.row = row, .value = value};
	return 0;
}

int args_read(struct args *a, int argc, char **argv, struct complaint *complaint)
{
	const struct option_row *row = NULL;
	int more;

	optind = 0; /* from the start, also when called again */
	while ((more = option_next(argc, argv, &row)) > 0) {
		if (row->kind == OPTION_HELP)
			help_print();
		if (row->kind == OPTION_VERSION)
			version_print();
		if (row->kind == OPTION_HELP || row->kind == OPTION_VERSION)
			return 1;
		if (use_add(a, row, optarg) < 0) {
			ini_complain(&complaint->error, "%s", err_text(ERR_RESOURCE));
			return -ERR_RESOURCE;
		}
	}
	a->operands = optind;
	return more;
}

void args_fini(struct args *a)
{
	free(a->uses);
}

static int command_find(struct config *c, const char *word, struct complaint *complaint)
{
	char shown[QUOTE_MAX];

	for (size_t i = COMMAND_SERVE + 1; i < command_count; i++)
		if (strcmp(commands[i].word, word) == 0) {
			c->command = (enum config_command)i;
			return 0;
		}
	return ini_complain(&complaint->error,
		"%s: there is no such command; there are invite, clients, revoke, "
		"authorize and fingerprint",
		quote(shown, word));
}

/* Sets the KEY of what is granted; names VALUE when it is wrong. */
static int granted_set(
	struct config *c, const char *key, const char *value, struct complaint *complaint)
{
	char shown[QUOTE_MAX];
	const char *why = NULL;
	int err = client_set(c->granted, key, value, &why);

	if (err < 0)
		ini_complain(&complaint->error, "%s: %s", quote(shown, value),
			why ? why : err_text(err));
	return err;
}

/* The client NAME of the command, with what it gets when nothing else is said. */
static int client_begin(struct config *c, struct complaint *complaint)
{
	char shown[QUOTE_MAX];
	const char *why = NULL;
	int err = config_client_new(&c->granted, c->name, &why);

	if (err < 0) {
		ini_complain(&complaint->error, "%s: %s", quote(shown, c->name),
			why ? why : err_text(err));
		return err;
	}
	if (c->command == COMMAND_REVOKE) { /* it was only the name that mattered */
		client_put(c->granted);
		c->granted = NULL;
		return 0;
	}
	err = granted_set(c, "rights", GRANTED_RIGHTS, complaint);
	if (err == 0 && c->fingerprint)
		err = granted_set(c, "fingerprint", c->fingerprint, complaint);
	return err;
}

static int command_read(struct config *c, int operands, struct complaint *complaint)
{
	const struct command_row *row;
	char **words = c->argv + operands;
	int count = c->argc - operands;
	int err;

	if (count == 0)
		return 0;
	err = command_find(c, words[0], complaint);
	if (err < 0)
		return err;
	row = &commands[c->command];
	if (count - 1 != row->arg_count)
		return ini_complain(&complaint->error, "%s takes %s%s, and nothing else",
			row->word, row->arg_count ? "these arguments:" : "no arguments",
			row->args);
	if (row->arg_count > 0)
		c->name = words[1];
	if (row->arg_count > 1)
		c->fingerprint = words[2];
	return c->name ? client_begin(c, complaint) : 0;
}

/* Whether the option makes sense with the command. */
static int use_check(
	const struct option_use *use, const struct config *c, struct complaint *complaint)
{
	const struct option_row *row = use->row;

	if (row->commands & 1u << c->command)
		return 0;
	if (c->command != COMMAND_SERVE)
		return ini_complain(&complaint->error,
			"--%s means nothing with the command %s", row->name,
			commands[c->command].word);
	return ini_complain(&complaint->error, "--%s goes with the command%s only",
		row->name,
		row->commands == FOR_INVITE ? " invite" : "s invite and authorize");
}

int args_begin(const struct args *a, struct config *c, struct complaint *complaint)
{
	int err = command_read(c, a->operands, complaint);

	for (size_t i = 0; i < a->count && err == 0; i++) {
		err = use_check(&a->uses[i], c, complaint);
		if (strcmp(a->uses[i].row->name, "config") == 0)
			c->file = a->uses[i].value;
	}
	if (err == 0 && c->file && !*c->file)
		return ini_complain(&complaint->error, "--config=: there is no value");
	return err;
}

/* --max-connections and its like: of the client, with a command that grants something. */
static int use_set(const struct option_use *use, struct config *c, struct ini_error *why)
{
	const char *said = NULL;
	int err;

	if (!use->row->is_grant || !c->granted)
		return option_set(use->row, c, use->value, why);
	err = client_set(c->granted, use->row->name, use->value, &said);
	if (err < 0)
		return ini_complain(why, "%s", said ? said : err_text(err));
	if (c->given_count < CONFIG_GIVEN_MAX) { /* each may come once */
		c->given_keys[c->given_count] = use->row->name;
		c->given_values[c->given_count++] = use->value;
	}
	return 0;
}

int args_apply(const struct args *a, struct config *c,
	unsigned listen_lines[CONFIG_LISTEN_MAX], struct complaint *complaint)
{
	bool listens = false;

	for (size_t i = 0; i < a->count; i++) {
		const struct option_use *use = &a->uses[i];
		char shown[QUOTE_MAX];
		struct ini_error why = {0};
		int err;

		/* The first takes the place of those of the file. */
		if (use->row->kind == OPTION_LISTEN && !listens) {
			listens = true;
			c->listen_count = 0;
			memset(listen_lines, 0,
				CONFIG_LISTEN_MAX * sizeof(*listen_lines));
		}
		err = use_set(use, c, &why);
		if (err < 0) {
			ini_complain(&complaint->error, "--%s=%s: %s", use->row->name,
				quote(shown, use->value ? use->value : ""), why.why);
			return err;
		}
	}
	return 0;
}
