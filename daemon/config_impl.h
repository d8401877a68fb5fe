/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the config_… files share: the tables, and how a value gets into the struct. */
#ifndef SOCKD_CONFIG_IMPL_H
#define SOCKD_CONFIG_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "daemon/config.h"
#include "daemon/ini.h"

#define OPTIONS_MAX 64 /* so that a set of them is one uint64_t */

enum option_kind {
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_FLAG,      /* bool */
	OPTION_TEXT,      /* const char * */
	OPTION_LISTEN,    /* appends */
	OPTION_ANONYMOUS, /* rights of the client "anonymous" */
	OPTION_COUNT,     /* uint32_t */
	OPTION_SIZE,      /* uint32_t, with a suffix */
	OPTION_POWER,     /* the same, a power of two */
	OPTION_SEC,       /* int64_t */
	OPTION_SEC_MS,    /* int of milliseconds, given in seconds */
	OPTION_TIME,      /* int64_t of seconds, given with a unit */
	OPTION_GRANT,     /* a key of client_set */
};

/* Sets of enum config_command. */
enum {
	FOR_SERVE = 1u << COMMAND_SERVE,
	FOR_INVITE = 1u << COMMAND_INVITE,
	FOR_AUTHORIZE = 1u << COMMAND_AUTHORIZE,
	FOR_FINGERPRINT = 1u << COMMAND_FINGERPRINT,
	FOR_GRANT = FOR_INVITE | FOR_AUTHORIZE,
	FOR_ALL = (1u << (COMMAND_FINGERPRINT + 1)) - 1,
};

struct option_row {
	const char *name;
	char letter;     /* or 0 */
	const char *arg; /* or NULL */
	enum option_kind kind;
	const char *help;
	size_t field; /* offset in struct config */
	uint64_t min;
	uint64_t max;
	unsigned commands; /* for which it means something */
	bool in_file;      /* a key before the first section of the file */
	bool is_grant;     /* a key of client_set: in sections, with FOR_GRANT */
	bool is_fixed;     /* cannot change while the daemon runs */
};

struct command_row {
	const char *word; /* NULL: none is given */
	const char *args;
	int arg_count;
	const char *help;
};

/* Why there is no configuration. */
struct complaint {
	const char *file;       /* borrowed: where it stands, or NULL: the command line */
	struct ini_error error; /* WHY is empty when getopt(3) has said it */
};

/* -- config_table.c ------------------------------------------------------ */

extern const struct option_row options[];
extern const size_t option_count;
extern const struct command_row commands[]; /* by enum config_command */
extern const size_t command_count;

const struct option_row *option_find(const char *name); /* NULL: there is none */
void help_print(void);
void version_print(void);

/* -- config_set.c -------------------------------------------------------- */

/* TEXT, for as long as C lives; NULL without memory. */
const char *config_keep(struct config *c, const char *text);

/* Sets what ROW says to VALUE (NULL for a flag), which has to live as long as C.  0,
 * -ERR_RESOURCE, or -ERR_USAGE with what VALUE has to be in WHY. */
int option_set(const struct option_row *row, struct config *c, const char *value,
	struct ini_error *why) MUST_CHECK;

bool option_is_equal(
	const struct option_row *row, const struct config *a, const struct config *b);
/* C has what FROM has. 0 or -ERR_RESOURCE. */
int option_copy(const struct option_row *row, struct config *c,
	const struct config *from) MUST_CHECK;

/* -- config_args.c ------------------------------------------------------- */

struct option_use {
	const struct option_row *row; /* borrowed (static) */
	const char *value;            /* borrowed from argv, or NULL */
};

struct args {
	struct option_use *uses; /* owned: the options, in order */
	size_t count;
	int operands; /* index in argv of the first */
};

/* What stands on the command line.  0; 1 when help or version was asked for, and
 * printed; -ERR_USAGE, -ERR_RESOURCE. */
int args_read(
	struct args *a, int argc, char **argv, struct complaint *complaint) MUST_CHECK;
void args_fini(struct args *a);

/* Command, names and --config; options that do not go with them are refused. */
int args_begin(
	const struct args *a, struct config *c, struct complaint *complaint) MUST_CHECK;
/* All other options, over what C has from the file; --listen in place of what is there,
 * and then LISTEN_LINES are 0. */
int args_apply(const struct args *a, struct config *c,
	unsigned listen_lines[CONFIG_LISTEN_MAX], struct complaint *complaint) MUST_CHECK;

/* -- config_file.c ------------------------------------------------------- */

/* Reads c->file into C. LISTEN_LINES gets the lines of c->listen. */
int config_file_read(struct config *c, unsigned listen_lines[CONFIG_LISTEN_MAX],
	struct complaint *complaint) MUST_CHECK;

/* -- config.c ------------------------------------------------------------ */

/* A client of this name, which anonymous cannot have. */
int config_client_new(
	struct client **out, const char *name, const char **why_out) MUST_CHECK;

/* VALUE, safe in a message and not too long for it. */
#define QUOTE_MAX 100
char *quote(char out[QUOTE_MAX], const char *value);

#endif
