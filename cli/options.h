/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command line of sockcp: one table of options feeds the parser, --help
 * and (by a test) the manual.  Frozen after start.
 */
#ifndef SOCKCP_OPTIONS_H
#define SOCKCP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "crypto/identity.h"
#include "wire/msg.h"

enum when { WHEN_AUTO, WHEN_ALWAYS, WHEN_NEVER };
enum command_id { COMMAND_PUT, COMMAND_GET, COMMAND_JOIN };

struct options {
	uint16_t port;
	bool recursive;
	bool preserve;
	bool dry_run;
	bool no_clobber;
	bool update;
	bool resume; /* default true */
	bool sync;   /* default true */
	bool plaintext;
	bool quiet;
	bool verbose;
	bool json;
	bool has_sha256;
	uint8_t sha256[DIGEST_LEN];
	uint64_t limit;   /* bytes per second, 0: none */
	unsigned retries; /* default 5 */
	int timeout_ms;   /* default 30000 */
	enum when progress;
	const char *sums; /* borrowed from argv, or NULL; as all strings here */
	bool has_pin;
	uint8_t pin[FINGERPRINT_LEN]; /* --pin: the server has this identity */
	bool accept_new;              /* trust a server that is seen for the first time */
	const char *ca;       /* --ca: authorities, a PEM file; NULL: the system's */
	const char *identity; /* -i: a PEM file; NULL: ours */
};

/* What to move: the sources and the one destination. */
struct request {
	enum command_id command;
	char *host;     /* owned; without brackets */
	char **sources; /* owned array of owned strings: local names for put
			 * ("-" is stdin), remote paths in wire form for get */
	size_t count;
	char *dest; /* owned: remote path in wire form, or local name ("-": stdout) */
	char *code; /* owned: of join, the code of the invitation */
	bool dest_is_dir; /* DEST ended in '/', or was left out */
	bool *contents;   /* owned: get, the source was written DIR/. : what is in it, not
			     itself */
};

enum parsed { PARSED_RUN, PARSED_EXIT };

/*
 * Reads the command line.  PARSED_RUN: *OPTS and *REQ are filled.  PARSED_EXIT: help
 * or version was printed on stdout, or a usage error was reported on stderr;
 * *STATUS_OUT is the exit status (0 or 2).
 */
enum parsed options_parse(int argc, char **argv, struct options *opts,
	struct request *req, int *status_out) MUST_CHECK;
void request_fini(struct request *req);

/* One line on stderr.  Escaped as a whole, so names go into it as they are. */
void usage_complain(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The same as an expression: -ERR_USAGE. */
#define USAGE_ERROR(...) (usage_complain(__VA_ARGS__), -ERR_USAGE)

#endif
