/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What sockd was told: the command line and sockd.conf(5), by one table of options that
 * feeds both parsers, --help and (by a test) the manuals.
 *
 * The command line counts before the file.  A configuration is frozen after it was made
 * and counted, so that a reload (SIGHUP) replaces it for new connections while old ones
 * keep theirs.
 */
#ifndef SOCKD_CONFIG_H
#define SOCKD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "daemon/client.h"

#define CONFIG_LISTEN_MAX  16
#define CONFIG_CLIENTS_MAX 10000
#define CONFIG_GIVEN_MAX   16

enum config_command {
	COMMAND_SERVE,
	COMMAND_INVITE,      /* NAME */
	COMMAND_CLIENTS,     /* */
	COMMAND_REVOKE,      /* NAME */
	COMMAND_AUTHORIZE,   /* NAME FINGERPRINT */
	COMMAND_FINGERPRINT, /* */
};

struct config {
	unsigned refs; /* atomic */
	int argc;      /* of main, borrowed: read again by config_reload */
	char **argv;
	char **texts; /* owned: every string below that came from the file */
	size_t text_count;

	enum config_command command;
	const char *name;        /* of INVITE, REVOKE, AUTHORIZE */
	const char *fingerprint; /* of AUTHORIZE, as it was given */
	struct client *granted;  /* owned reference: of INVITE and AUTHORIZE,
				  * what --rights, --path and so on say */
	const char
		*given_keys[CONFIG_GIVEN_MAX]; /* of these, what the command line says, */
	const char *given_values[CONFIG_GIVEN_MAX]; /* in order */
	size_t given_count;
	int64_t expires_sec; /* of INVITE: from now; default a day */

	const char *root;
	const char *file; /* --config, or NULL */
	const char *listen[CONFIG_LISTEN_MAX];
	size_t listen_count;      /* 0: localhost */
	const char *state_dir;    /* never NULL but when there is no home */
	bool state_dir_make;      /* it is the default: made when missing */
	const char *identity;     /* --identity, a PEM file; NULL: the state
				   * directory's own */
	struct client *anonymous; /* owned reference: what a client may do whom
				   * nobody knows; its name is "anonymous" */
	struct client **clients;  /* owned references: [client NAME] */
	size_t client_count;
	bool plaintext;           /* connections without TLS are taken, too */
	bool check;               /* only check, then exit */
	uint32_t max_connections; /* default 4096 */
	uint32_t max_per_address; /* default a quarter of max_connections, 16 at least */
	int penalty_max_ms;       /* default 300 s; 0: none */
	uint32_t chunk_size;      /* default 1 MiB; a power of two in the limits
				   * of wire/frame.h */
	int handshake_timeout_ms; /* default 20 s: accept to the first request */
	int idle_timeout_ms;      /* default 300 s: between requests, and
				   * without progress */
	int drain_timeout_ms;     /* default 30 s */
	uint32_t min_rate;        /* default 1024 bytes per second; 0: none */
	int64_t partial_age_sec;  /* default 7 days; 0 keeps for ever */
};

enum parsed { PARSED_RUN, PARSED_EXIT };

/*
 * Reads the command line, and the file that it names.  PARSED_RUN: *OUT (a reference) is
 * filled and makes sense, down to addresses that may be listened on.  PARSED_EXIT: help
 * or version was printed on stdout, or an error was reported on stderr, with file and
 * line where it is in the file; *STATUS_OUT is the exit status (0 or 2).
 */
enum parsed config_parse(
	int argc, char **argv, struct config **out, int *status_out) MUST_CHECK;

/*
 * The same again, while the daemon runs: complaints go to the log.  What cannot change
 * without a new start (root, listen, state-dir, identity, plaintext, max-connections,
 * partial-age) is taken over from OLD, with a line in the log where it differs.
 * -ERR_USAGE: OLD stays.
 */
int config_reload(const struct config *old, struct config **out) MUST_CHECK;

struct config *config_get(struct config *c);
void config_put(struct config *c); /* NULL is fine */

#endif
