/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "cli/report.h"
#include "crypto/secret.h"
#include "os/fd.h"

#define CODE_LINE_MAX 256

/* HOST:PATH taken apart; borrowed from the argument. */
struct remote {
	const char *host;
	size_t host_len;
	const char *path;
};

/* Whether ARG is HOST:PATH or [V6]:PATH.  As with scp, a '/' before the ':' makes
 * it a local name. */
static bool remote_split(const char *arg, struct remote *out)
{
	bool bracket = arg[0] == '[';
	const char *end = strpbrk(arg, bracket ? "]/" : ":/");

	if (!end || *end == '/' || (bracket && end[1] != ':'))
		return false;
	*out = (struct remote){
		.host = arg + bracket,
		.host_len = (size_t)(end - arg) - bracket,
		.path = end + 1 + bracket,
	};
	return true;
}

/* Without memory for a file name there is no going on. */
static void *must_have(void *p)
{
	if (!p) {
		fputs("sockcp: out of memory\n", stderr);
		exit(EXIT_LOCAL);
	}
	return p;
}

static char *copy(const char *s, size_t len)
{
	return must_have(strndup(s, len));
}

static int host_take(struct request *req, const char *arg, const struct remote *remote)
{
	if (remote->host_len == 0)
		return USAGE_ERROR(
			"%s: no host before the ':'; write HOST:PATH or [V6]:PATH", arg);
	if (!req->host)
		req->host = copy(remote->host, remote->host_len);
	if (strlen(req->host) != remote->host_len ||
		memcmp(req->host, remote->host, remote->host_len) != 0)
		return USAGE_ERROR(
			"%s: another host than %s; one run speaks with one server", arg,
			req->host);
	return 0;
}

/* The path of a remote ARG in wire form, and its host. */
static int remote_take(
	struct request *req, const char *arg, char **path_out, bool *was_dir_out)
{
	struct remote remote;
	int err;

	if (!remote_split(arg, &remote))
		return USAGE_ERROR("%s: not HOST:PATH; name the server%s", arg,
			req->command == COMMAND_PUT ? " in the last argument" : "");
	err = host_take(req, arg, &remote);
	if (err < 0)
		return err;
	*path_out = copy(remote.path, strlen(remote.path));
	path_normalise(*path_out, was_dir_out);
	err = path_check(*path_out, strlen(*path_out));
	if (err < 0)
		return USAGE_ERROR("%s: %s on a server; write it without '..' and '%s'",
			arg, err_text(err), PATH_RESERVED);
	return 0;
}

static int local_check(const char *arg)
{
	struct remote remote;

	if (*arg == '\0')
		return USAGE_ERROR("an empty name; name a file");
	if (remote_split(arg, &remote))
		return USAGE_ERROR("%s: is on a server, but a local name belongs here; "
				   "for a local file write ./%s",
			arg, arg);
	return 0;
}

/* put HOST:FILE: ./FILE goes into the directory of FILE under its own name. */
static int put_read_one(char *arg, struct request *req)
{
	char *path = NULL;
	bool was_dir;
	int err = remote_take(req, arg, &path, &was_dir);

	if (err == 0 && *path == '\0')
		err = USAGE_ERROR("%s: no file; write put FILE... HOST:DEST", arg);
	if (err < 0) {
		free(path);
		return err;
	}
	req->dest = copy(path, path_parent_len(path));
	req->dest_is_dir = true;
	req->count = 1;
	if (strcmp(path, "-") == 0) { /* here it names a file, not stdin */
		free(path);
		path = copy("./-", 3);
	}
	req->sources[0] = path;
	return 0;
}

static int put_read(int argc, char **argv, struct request *req)
{
	char **sources = req->sources; /* gcc 12 -fanalyzer sees a leak without it */

	if (argc == 0)
		return USAGE_ERROR("put what? write put FILE... HOST:DEST");
	if (argc == 1)
		return put_read_one(argv[0], req);
	for (int i = 0; i < argc - 1; i++, req->count++) {
		int err = local_check(argv[i]);
		if (err < 0)
			return err;
		sources[i] = copy(argv[i], strlen(argv[i]));
	}
	return remote_take(req, argv[argc - 1], &req->dest, &req->dest_is_dir);
}

/* Whether ARG is written DIR/. , as for cp. */
static bool names_contents(const char *arg)
{
	size_t len = strlen(arg);

	return len >= 2 && arg[len - 1] == '.' &&
	       (arg[len - 2] == '/' || arg[len - 2] == ':');
}

static int get_read(int argc, char **argv, struct request *req)
{
	int sources = argc > 1 ? argc - 1 : 1;
	const char *dest = argc > 1 ? argv[argc - 1] : ".";
	bool was_dir;
	int err = 0;

	if (argc == 0)
		return USAGE_ERROR("get what? write get HOST:FILE... DEST");
	for (int i = 0; i < sources && err == 0; i++, req->count++) {
		err = remote_take(req, argv[i], &req->sources[i], &was_dir);
		req->contents[i] = names_contents(argv[i]);
	}
	if (err < 0)
		return err;
	req->dest_is_dir = argc == 1 || (*dest != '\0' && dest[strlen(dest) - 1] == '/');
	req->dest = copy(dest, strlen(dest));
	return local_check(dest);
}

static int join_host_take(struct request *req, const char *arg)
{
	size_t len = strlen(arg);
	bool bracket = arg[0] == '[';

	if (bracket ? len < 3 || strchr(arg, ']') != arg + len - 1
		    : len == 0 || strpbrk(arg, ":/]"))
		return USAGE_ERROR("%s: not HOST or [V6]; write join HOST CODE, and a "
				   "port as -P PORT",
			arg);
	req->host = copy(arg + bracket, len - 2 * bracket);
	return 0;
}

/* A line of the standard input, from where nobody but us gets it; cut when it is too
 * long to be a code. */
static char *code_line_read(void)
{
	char line[CODE_LINE_MAX], *code;
	size_t len = 0;

	if (isatty(STDIN_FILENO))
		fputs("The code of the invitation: ", stderr);
	while (len < sizeof(line) && fd_read_full(STDIN_FILENO, &line[len], 1) == 1 &&
		line[len] != '\n')
		len++;
	while (len > 0 && strchr(" \t\r", line[len - 1]))
		len--;
	code = copy(line, len);
	secret_wipe(line, sizeof(line));
	return code;
}

/* The code may be mistyped and still hold most of a secret: it is never shown. */
static int join_read(int argc, char **argv, struct request *req)
{
	struct invite_code code;
	int err;

	if (argc != 2)
		return USAGE_ERROR("join needs a server and a code; write join HOST CODE "
				   "(with - for CODE it is read from standard input)");
	err = join_host_take(req, argv[0]);
	if (err < 0)
		return err;
	if (strcmp(argv[1], "-") == 0) {
		req->code = code_line_read();
	} else {
		req->code = copy(argv[1], strlen(argv[1]));
		secret_wipe(argv[1], strlen(argv[1])); /* no longer in ps(1) */
	}
	err = code_parse(req->code, &code);
	secret_wipe(&code, sizeof(code));
	if (err == -ERR_USAGE)
		return USAGE_ERROR("the code is not as 'sockd invite' printed it; copy "
				   "all of it again, from sockd1. to its end");
	return err < 0 ? USAGE_ERROR("the code cannot be read: %s", err_text(err)) : 0;
}

static const struct {
	const char *name;
	int (*read)(int argc, char **argv, struct request *req);
} commands[] = {
	[COMMAND_PUT] = {"put", put_read},
	[COMMAND_GET] = {"get", get_read},
	[COMMAND_JOIN] = {"join", join_read},
};

int request_read(int argc, char **argv, struct request *req)
{
	if (argc == 0)
		return USAGE_ERROR("nothing to do; see 'sockcp --help'");
	req->sources = must_have(calloc((size_t)argc, sizeof(*req->sources)));
	req->contents = must_have(calloc((size_t)argc, sizeof(*req->contents)));
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[0], commands[i].name) == 0) {
			req->command = (enum command_id)i;
			return commands[i].read(argc - 1, argv + 1, req);
		}
	return USAGE_ERROR("%s: no such command; there are put, get and join", argv[0]);
}

static bool request_has_stream(const struct request *req)
{
	if (req->command == COMMAND_JOIN)
		return false;
	if (req->command == COMMAND_GET)
		return strcmp(req->dest, "-") == 0;
	for (size_t i = 0; i < req->count; i++)
		if (strcmp(req->sources[i], "-") == 0)
			return true;
	return false;
}

/* Whether an option is about the moving of files. */
static bool options_move(const struct options *opts)
{
	return opts->recursive || opts->preserve || opts->update || opts->no_clobber ||
	       opts->dry_run || !opts->resume || !opts->sync || opts->limit > 0 ||
	       opts->has_sha256 || opts->sums;
}

static int identity_check(const struct request *req, const struct options *opts)
{
	bool join = req->command == COMMAND_JOIN;

	if (join && options_move(opts))
		return USAGE_ERROR("join moves no files; leave out the options that are "
				   "about what is moved, and how");
	if (!opts->plaintext)
		return 0;
	if (join)
		return USAGE_ERROR("join is about identities, which --plaintext is "
				   "without; leave it out");
	if (opts->has_pin || opts->accept_new || opts->ca || opts->identity)
		return USAGE_ERROR("--plaintext asks nobody who he is; leave it out, or "
				   "--pin, --accept-new, --ca and --identity");
	return 0;
}

int request_check(const struct request *req, const struct options *opts)
{
	bool stream = request_has_stream(req);

	if (stream && req->count > 1)
		return USAGE_ERROR(
			"-: only one file can be moved through standard input or output");
	if (stream && opts->recursive)
		return USAGE_ERROR(
			"-: a tree (-r) does not fit through standard input or output");
	if (stream && req->command == COMMAND_PUT && req->dest_is_dir)
		return USAGE_ERROR("-: standard input has no name of its own; "
				   "write put - HOST:FILE");
	if (opts->has_sha256 && (req->count > 1 || opts->recursive))
		return USAGE_ERROR(
			"--sha256 is the digest of one file; name one file, without -r");
	return identity_check(req, opts);
}

int request_pin(const struct request *req, struct options *opts)
{
	struct invite_code code;
	bool differs;

	if (req->command != COMMAND_JOIN)
		return 0;
	if (code_parse(req->code, &code) < 0)
		return USAGE_ERROR("the code cannot be read");
	secret_wipe(code.secret, sizeof(code.secret));
	differs = opts->has_pin && memcmp(opts->pin, code.server, FINGERPRINT_LEN) != 0;
	if (differs)
		return USAGE_ERROR("the code is of another server than --pin names");
	opts->has_pin = true;
	memcpy(opts->pin, code.server, FINGERPRINT_LEN);
	return 0;
}

void request_fini(struct request *req)
{
	for (size_t i = 0; i < req->count; i++)
		free(req->sources[i]);
	free(req->sources);
	free(req->contents);
	free(req->host);
	free(req->dest);
	if (req->code)
		secret_wipe(req->code, strlen(req->code));
	free(req->code);
	*req = (struct request){0};
}
