/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include "cli/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/report.h"
#include "cli/request.h"

#define DEFAULT_PORT       7625
#define DEFAULT_RETRIES    5
#define DEFAULT_TIMEOUT_MS 30000
#define COMPLAINT_MAX      8192

/* What getopt_long returns for an option without a letter: its row above this. */
#define LONG_ONLY 256

void usage_complain(const char *fmt, ...)
{
	char raw[COMPLAINT_MAX], line[TEXT_ESCAPED_MAX(COMPLAINT_MAX)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	fprintf(stderr, "sockcp: %s\n",
		text_escape(line, sizeof(line), raw, strlen(raw)));
}

enum option_kind {
	OPTION_HEADING,
	OPTION_SETS,
	OPTION_CLEARS,
	OPTION_READS,
	OPTION_SHOWS
};

/* A row of the table: an option, or a heading of --help (without a name). */
struct option_row {
	const char *name; /* long, without dashes */
	char letter;      /* or 0 */
	const char *arg;  /* what it takes, for people: "PORT"; or NULL */
	const char *help;
	enum option_kind kind;
	size_t member; /* SETS, CLEARS: offset of a bool in struct options */
	int (*read)(struct options *opts, const char *arg); /* READS: 0 or -ERR_… */
	const char *wants;  /* READS: what ARG must be, for the complaint */
	void (*show)(void); /* SHOWS: prints on stdout; the program ends */
};

static int port_read(struct options *opts, const char *arg)
{
	uint64_t port;
	int err = text_parse_uint(arg, 1, UINT16_MAX, &port);

	if (err == 0)
		opts->port = (uint16_t)port;
	return err;
}

static int limit_read(struct options *opts, const char *arg)
{
	return text_parse_size(arg, &opts->limit);
}

static int sha256_read(struct options *opts, const char *arg)
{
	opts->has_sha256 = true;
	return text_unhex(arg, opts->sha256, DIGEST_LEN);
}

static int sums_read(struct options *opts, const char *arg)
{
	opts->sums = arg;
	return *arg == '\0' || strcmp(arg, "-") == 0 ? -ERR_USAGE : 0;
}

static int pin_read(struct options *opts, const char *arg)
{
	opts->has_pin = true;
	return fingerprint_parse(arg, opts->pin);
}

static int ca_read(struct options *opts, const char *arg)
{
	opts->ca = arg;
	return *arg == '\0' ? -ERR_USAGE : 0;
}

static int identity_read(struct options *opts, const char *arg)
{
	opts->identity = arg;
	return *arg == '\0' ? -ERR_USAGE : 0;
}

static int retries_read(struct options *opts, const char *arg)
{
	uint64_t retries;
	int err = text_parse_uint(arg, 0, 1000000, &retries);

	if (err == 0)
		opts->retries = (unsigned)retries;
	return err;
}

static int timeout_read(struct options *opts, const char *arg)
{
	uint64_t sec;
	int err = text_parse_uint(arg, 1, 86400, &sec);

	if (err == 0)
		opts->timeout_ms = (int)sec * 1000;
	return err;
}

static int progress_read(struct options *opts, const char *arg)
{
	static const char *const words[] = {
		[WHEN_AUTO] = "auto",
		[WHEN_ALWAYS] = "always",
		[WHEN_NEVER] = "never",
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(arg, words[i]) == 0) {
			opts->progress = (enum when)i;
			return 0;
		}
	return -ERR_USAGE;
}

static void help_show(void);
static void version_show(void);

#define SETS(field)   .kind = OPTION_SETS, .member = offsetof(struct options, field)
#define CLEARS(field) .kind = OPTION_CLEARS, .member = offsetof(struct options, field)
#define READS(fn)     .kind = OPTION_READS, .read = (fn)
#define SHOWS(fn)     .kind = OPTION_SHOWS, .show = (fn)

/* clang-format off */
static const struct option_row table[] = {
	{.help = "What is moved:"},
	{.name = "recursive", .letter = 'r', SETS(recursive),
		.help = "take directories with all that is in them"},
	{.name = "preserve", .letter = 'p', SETS(preserve),
		.help = "keep permission bits and modification times"},
	{.name = "update", .letter = 'u', SETS(update),
		.help = "skip files that have the same size and time"},
	{.name = "no-clobber", .letter = 'N', SETS(no_clobber),
		.help = "never replace an existing file"},
	{.name = "dry-run", .letter = 'n', SETS(dry_run),
		.help = "move nothing, only name what would be moved"},
	{.help = "How it is moved:"},
	{.name = "no-resume", CLEARS(resume),
		.help = "start over instead of continuing"},
	{.name = "no-sync", CLEARS(sync),
		.help = "do not wait until the data is on disk"},
	{.name = "limit", .arg = "RATE", READS(limit_read),
		.wants = "bytes per second, as in 500K, 20M or 1G",
		.help = "move at most RATE bytes per second"},
	{.name = "sha256", .arg = "HEX", READS(sha256_read),
		.wants = "a SHA-256 digest, 64 hexadecimal digits",
		.help = "expect this digest of the one file"},
	{.name = "sums", .arg = "FILE", READS(sums_read),
		.wants = "the name of a file (-v prints the same lines on stdout)",
		.help = "write digests to FILE, as sha256sum does"},
	{.help = "The connection:"},
	{.name = "port", .letter = 'P', .arg = "PORT", READS(port_read),
		.wants = "a number from 1 to 65535",
		.help = "port of the server (default 7625)"},
	{.name = "retries", .arg = "N", READS(retries_read),
		.wants = "a number from 0 to 1000000",
		.help = "reconnect up to N times in a row (default 5)"},
	{.name = "timeout", .arg = "SEC", READS(timeout_read),
		.wants = "seconds, from 1 to 86400",
		.help = "no progress for SEC is a lost connection (30)"},
	{.name = "plaintext", SETS(plaintext),
		.help = "no encryption; only with a server on loopback"},
	{.help = "Who is who:"},
	{.name = "pin", .arg = "FINGERPRINT", READS(pin_read),
		.wants = "a fingerprint, as 'sockd fingerprint' prints it",
		.help = "the server has this one: SHA256:..."},
	{.name = "accept-new", SETS(accept_new),
		.help = "trust a server that is seen for the first time"},
	{.name = "ca", .arg = "FILE", READS(ca_read), .wants = "the name of a file",
		.help = "an authority in FILE vouches for the server"},
	{.name = "identity", .letter = 'i', .arg = "FILE", READS(identity_read),
		.wants = "the name of a file",
		.help = "our key and certificate, instead of our own"},
	{.help = "What is said:"},
	{.name = "progress", .arg = "WHEN", READS(progress_read),
		.wants = "auto, always or never",
		.help = "show progress: auto (default), always, never"},
	{.name = "quiet", .letter = 'q', SETS(quiet),
		.help = "say nothing but failures"},
	{.name = "verbose", .letter = 'v', SETS(verbose),
		.help = "print the digest of each file; exact sizes"},
	{.name = "json", SETS(json),
		.help = "events on stdout, one JSON object a line"},
	{.name = "help", SHOWS(help_show),
		.help = "print this and exit"},
	{.name = "version", SHOWS(version_show),
		.help = "print the version and exit"},
};
/* clang-format on */

/* "  -P, --port=PORT          port of the server" */
static void row_show(const struct option_row *row)
{
	char left[40];

	if (row->kind == OPTION_HEADING) {
		printf("\n%s\n", row->help);
		return;
	}
	snprintf(left, sizeof(left), "%c%c%c --%s%s%s", row->letter ? '-' : ' ',
		row->letter ? row->letter : ' ', row->letter ? ',' : ' ', row->name,
		row->arg ? "=" : "", row->arg ? row->arg : "");
	printf("  %-24s %s\n", left, row->help);
}

static void help_show(void)
{
	fputs("Usage: sockcp [OPTION]... put FILE... HOST:DEST\n"
	      "  or:  sockcp [OPTION]... put HOST:FILE          (sends ./FILE)\n"
	      "  or:  sockcp [OPTION]... get HOST:FILE... DEST\n"
	      "  or:  sockcp [OPTION]... get HOST:FILE          (into .)\n"
	      "  or:  sockcp [OPTION]... join HOST CODE         (once, with an "
	      "invitation)\n"
	      "Copy files to and from a sockd server, verified end to end with SHA-256.\n"
	      "\n"
	      "HOST is a name, an address or [V6].  Remote paths are relative to the "
	      "served\n"
	      "root.  A DEST that is a directory or ends in / takes files in under their "
	      "own\n"
	      "names.  FILE - of put is standard input, DEST - of get is standard "
	      "output.\n",
		stdout);
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		row_show(&table[i]);
	fputs("\n"
	      "RATE takes the suffixes K, M, G and T (powers of 1024).\n"
	      "\n"
	      "Exit status: 0 all verified; 1 some files failed; 2 usage; 3 no "
	      "connection;\n"
	      "4 not allowed; 5 not found, or it exists (-N); 6 verification failed; 7 "
	      "local\n"
	      "file error; 8 file error of the server; 9 protocol error; 130 "
	      "interrupted.\n"
	      "After 3, 6 and 130 the same command goes on where the last one ended.\n"
	      "\n"
	      "Examples:\n"
	      "  sockcp join files.example.org sockd1.rWk...\n"
	      "  sockcp put report.pdf files.example.org:docs/\n"
	      "  sockcp -rp get files.example.org:docs .\n"
	      "  tar c src | sockcp put - files.example.org:src.tar\n"
	      "\n"
	      "Full documentation: man sockcp\n",
		stdout);
}

static void version_show(void)
{
	fputs("sockcp (sockd) " PACKAGE_VERSION "\n"
	      "License GPLv3+: GNU GPL version 3 or later "
	      "<https://gnu.org/licenses/gpl.html>.\n"
	      "This is free software: you are free to change and redistribute it.\n"
	      "There is NO WARRANTY, to the extent permitted by law.\n",
		stdout);
}

/* The table as getopt_long wants it. */
struct getopt_form {
	char letters[2 * ARRAY_LEN(table) + 2];
	struct option longs[ARRAY_LEN(table) + 1];
};

static void getopt_form_init(struct getopt_form *form)
{
	char *letter = form->letters;
	struct option *o = form->longs;

	*letter++ = ':'; /* tell a missing argument from an unknown option */
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (table[i].kind == OPTION_HEADING)
			continue;
		*o++ = (struct option){.name = table[i].name,
			.has_arg = table[i].arg ? required_argument : no_argument,
			.val = LONG_ONLY + (int)i};
		if (table[i].letter != 0)
			*letter++ = table[i].letter;
		if (table[i].letter != 0 && table[i].arg)
			*letter++ = ':';
	}
	*letter = '\0';
	*o = (struct option){0};
}

static const struct option_row *row_find(int val)
{
	if (val >= LONG_ONLY)
		return &table[val - LONG_ONLY];
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].letter != 0 && table[i].letter == val)
			return &table[i];
	return NULL;
}

/* Says what is wrong with the option at which getopt_long stopped; WORD is the
 * argument in which it stands. */
static int option_refuse(int why, const char *word)
{
	const struct option_row *row = optopt != 0 ? row_find(optopt) : NULL;

	if (why == ':' && row)
		return USAGE_ERROR(
			"%s: needs an argument: --%s=%s", word, row->name, row->arg);
	if (row)
		return USAGE_ERROR("%s: --%s takes no argument", word, row->name);
	if (optopt != 0)
		return USAGE_ERROR("-%c: no such option; see 'sockcp --help'", optopt);
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].name &&
			strncmp(table[i].name, word + 2, strcspn(word + 2, "=")) == 0)
			return USAGE_ERROR(
				"%s: could be more than one option; see 'sockcp --help'",
				word);
	return USAGE_ERROR("%s: no such option; see 'sockcp --help'", word);
}

static int option_apply(const struct option_row *row, struct options *opts)
{
	if (row->kind == OPTION_READS && row->read(opts, optarg) < 0)
		return USAGE_ERROR("--%s=%s: must be %s", row->name, optarg, row->wants);
	if (row->kind == OPTION_SETS || row->kind == OPTION_CLEARS)
		*(bool *)((char *)opts + row->member) = row->kind == OPTION_SETS;
	return 0;
}

/* 0 with optind at the operands, -ERR_USAGE, or 1 when help was shown. */
MUST_CHECK static int options_read(int argc, char **argv, struct options *opts)
{
	struct getopt_form form;
	int val, err;

	getopt_form_init(&form);
	opterr = 0;
	optind = 0; /* glibc: begin afresh */
	while ((val = getopt_long(argc, argv, form.letters, form.longs, NULL)) != -1) {
		const struct option_row *row = row_find(val);
		if (!row)
			return option_refuse(val, argv[optind - 1]);
		if (row->kind == OPTION_SHOWS) {
			row->show();
			return 1;
		}
		err = option_apply(row, opts);
		if (err < 0)
			return err;
	}
	return 0;
}

enum parsed options_parse(
	int argc, char **argv, struct options *opts, struct request *req, int *status_out)
{
	int err;

	*opts = (struct options){
		.port = DEFAULT_PORT,
		.resume = true,
		.sync = true,
		.retries = DEFAULT_RETRIES,
		.timeout_ms = DEFAULT_TIMEOUT_MS,
	};
	*req = (struct request){0};
	err = options_read(argc, argv, opts);
	if (err == 0)
		err = request_read(argc - optind, argv + optind, req);
	if (err == 0)
		err = request_check(req, opts);
	if (err == 0)
		err = request_pin(req, opts);
	if (err == 0)
		return PARSED_RUN;
	request_fini(req);
	*status_out = err < 0 ? EXIT_USAGE : EXIT_OK;
	return PARSED_EXIT;
}
