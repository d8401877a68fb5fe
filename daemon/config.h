/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command line of sockd: one table of options feeds the parser, --help
 * and (by a test) the manual.  Frozen after start.
 */
#ifndef SOCKD_CONFIG_H
#define SOCKD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define CONFIG_LISTEN_MAX 16

struct config {
	const char *root; /* borrowed from argv (or static), as all strings here */
	const char *listen[CONFIG_LISTEN_MAX];
	size_t listen_count;   /* 0: localhost */
	const char *state_dir; /* or NULL */
	uint32_t anonymous;    /* set of enum right */
	bool plaintext;
	bool check;               /* only check, then exit */
	uint32_t max_connections; /* default 4096 */
	uint32_t chunk_size;      /* default 1 MiB; a power of two in the limits of
				   * wire/frame.h */
	int handshake_timeout_ms; /* default 20 s: from accept to the first request */
	int idle_timeout_ms;  /* default 300 s: between requests, and without progress */
	int drain_timeout_ms; /* default 30 s */
	uint32_t min_rate;    /* default 1024 bytes per second; 0: none */
	int64_t partial_age_sec; /* default 7 days; 0 keeps for ever */
};

enum parsed { PARSED_RUN, PARSED_EXIT };

/*
 * Reads the command line.  PARSED_RUN: *OUT is filled and makes sense, down to
 * addresses that may be listened on.  PARSED_EXIT: help or version was printed on
 * stdout, or an error was reported on stderr; *STATUS_OUT is the exit status (0 or 2).
 */
enum parsed config_parse(
	int argc, char **argv, struct config *out, int *status_out) MUST_CHECK;

#endif
