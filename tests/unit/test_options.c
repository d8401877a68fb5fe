/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "config.h"

#include "cli/options.h"

#include <string.h>

#include "capture.h"

#define ARGS_MAX 16
#define DIGEST   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
/* The fingerprint of 32 bytes 'A', and an invitation of that server. */
#define PRINT "SHA256:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"
#define CODE  "sockd1.QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFCQkJCQkJCQkJCQkJCQkJCaQtg"
#define OTHER "SHA256:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"

/* A command line behind "sockcp", its words separated by one blank; '_' is an empty word.
 */
struct parse {
	char line[1024];
	char *argv[ARGS_MAX + 2];
	int argc;
	struct options opts;
	struct request req;
	int status;
	struct capture err;
	const char *said; /* on stderr */
};

static enum parsed parse(struct parse *p, const char *line)
{
	enum parsed parsed;

	snprintf(p->line, sizeof(p->line), "sockcp %s", line);
	p->argc = 0;
	for (char *word, *rest = p->line; (word = strsep(&rest, " "));) {
		cr_assert_lt(p->argc, ARGS_MAX);
		p->argv[p->argc++] = strcmp(word, "_") == 0 ? word + 1 : word;
	}
	p->argv[p->argc] = NULL;
	p->status = -1;
	capture_begin(&p->err, STDERR_FILENO);
	parsed = options_parse(p->argc, p->argv, &p->opts, &p->req, &p->status);
	p->said = capture_end(&p->err);
	return parsed;
}

/* -- Operands ----------------------------------------------------------- */

Test(options, operands)
{
	static const struct {
		const char *line;
		enum command_id command;
		const char *host;
		const char *sources[4];
		bool contents[4];
		const char *dest;
		bool dest_is_dir;
	} rows[] = {
		{"put a h:b", COMMAND_PUT, "h", {"a"}, {0}, "b", false},
		{"put a h:b/", COMMAND_PUT, "h", {"a"}, {0}, "b", true},
		{"put a h:", COMMAND_PUT, "h", {"a"}, {0}, "", true},
		{"put a h:/", COMMAND_PUT, "h", {"a"}, {0}, "", true},
		{"put a h:.", COMMAND_PUT, "h", {"a"}, {0}, "", true},
		{"put a b ./c:d h:e", COMMAND_PUT, "h", {"a", "b", "./c:d"}, {0}, "e",
			false},
		{"put /x:y h:e", COMMAND_PUT, "h", {"/x:y"}, {0}, "e", false},
		{"put a [::1]:b", COMMAND_PUT, "::1", {"a"}, {0}, "b", false},
		{"put a 127.0.0.1:b:c", COMMAND_PUT, "127.0.0.1", {"a"}, {0}, "b:c",
			false},
		{"put [x] [fe80::1%eth0]:b:c", COMMAND_PUT, "fe80::1%eth0", {"[x]"}, {0},
			"b:c", false},
		{"put - h:b", COMMAND_PUT, "h", {"-"}, {0}, "b", false},
		{"put -- -a h:b", COMMAND_PUT, "h", {"-a"}, {0}, "b", false},
		{"put ../a h:b", COMMAND_PUT, "h", {"../a"}, {0}, "b", false},
		/* the short form: into the directory of FILE */
		{"put h:a", COMMAND_PUT, "h", {"a"}, {0}, "", true},
		{"put h:a/b/c", COMMAND_PUT, "h", {"a/b/c"}, {0}, "a/b", true},
		{"put h:/a//b/", COMMAND_PUT, "h", {"a/b"}, {0}, "a", true},
		{"put h:-", COMMAND_PUT, "h", {"./-"}, {0}, "", true},
		{"put h:d/-", COMMAND_PUT, "h", {"d/-"}, {0}, "d", true},

		{"get h:a b", COMMAND_GET, "h", {"a"}, {0}, "b", false},
		{"get h:a b/", COMMAND_GET, "h", {"a"}, {0}, "b/", true},
		{"get h:a ./x:y", COMMAND_GET, "h", {"a"}, {0}, "./x:y", false},
		{"get h:a -", COMMAND_GET, "h", {"a"}, {0}, "-", false},
		{"get h:a", COMMAND_GET, "h", {"a"}, {0}, ".", true},
		{"get h:/a//b/./c d", COMMAND_GET, "h", {"a/b/c"}, {0}, "d", false},
		{"get h:a h:b/ h:c d/", COMMAND_GET, "h", {"a", "b", "c"}, {0}, "d/",
			true},
		{"get h:a/. h:b/ h:. d/", COMMAND_GET, "h", {"a", "b", ""},
			{true, false, true}, "d/", true},
		{"get h: d", COMMAND_GET, "h", {""}, {0}, "d", false},
		{"get [::1]:a [::1]:b c", COMMAND_GET, "::1", {"a", "b"}, {0}, "c",
			false},
	};
	struct parse p;
	char line[256];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		snprintf(line, sizeof(line), "--plaintext %s", rows[i].line);
		cr_assert_eq(parse(&p, line), PARSED_RUN, "%s: %s", line, p.said);
		cr_expect_str_empty(p.said);
		cr_expect_eq(p.req.command, rows[i].command, "%s", line);
		cr_expect_str_eq(p.req.host, rows[i].host, "%s: %s", line, p.req.host);
		cr_expect_str_eq(p.req.dest, rows[i].dest, "%s: %s", line, p.req.dest);
		cr_expect_eq(p.req.dest_is_dir, rows[i].dest_is_dir, "%s", line);
		for (size_t k = 0; k < p.req.count; k++) {
			cr_assert_not_null(rows[i].sources[k], "%s", line);
			cr_expect_str_eq(p.req.sources[k], rows[i].sources[k], "%s: %s",
				line, p.req.sources[k]);
			cr_expect_eq(p.req.contents[k], rows[i].contents[k], "%s", line);
		}
		cr_expect_null(rows[i].sources[p.req.count], "%s", line);
		request_fini(&p.req);
		cr_expect_null(p.req.sources);
	}
}

Test(options, refusals)
{
	static const struct {
		const char *line;
		const char *said; /* a part of it */
	} rows[] = {
		{"--plaintext", "nothing to do"},
		{"--plaintext ls h:a", "ls: no such command"},
		{"--plaintext pu a h:a", "pu: no such command"},
		{"--plaintext put", "put FILE... HOST:DEST"},
		{"--plaintext get", "get HOST:FILE... DEST"},
		{"--plaintext put a", "a: not HOST:PATH"},
		{"--plaintext put a b", "b: not HOST:PATH"},
		{"--plaintext put a [::1]", "[::1]: not HOST:PATH"},
		{"--plaintext put a ./h:b", "./h:b: not HOST:PATH"},
		{"--plaintext put a :b", ":b: no host"},
		{"--plaintext put a ::1:b", "[V6]"},
		{"--plaintext put a []:b", "[]:b: no host"},
		{"--plaintext put h:a h:b", "for a local file write ./h:a"},
		{"--plaintext put _ h:b", "an empty name"},
		{"--plaintext put h:", "h:: no file"},
		{"--plaintext put h:/", "no file"},
		{"--plaintext get a b", "a: not HOST:PATH"},
		{"--plaintext get h:a h:b", "write ./h:b"},
		{"--plaintext get h:a _", "an empty name"},
		{"--plaintext get h:a i:b c", "i:b: another host than h"},
		{"--plaintext get h:a hh:b c", "hh:b: another host than h"},
		{"--plaintext get hh:a h:b c", "h:b: another host than hh"},
		{"--plaintext get h:../a b", "h:../a: not a valid path"},
		{"--plaintext get h:a/.sockd-partial/x b", "not a valid path"},
		{"--plaintext put a h:b/../c", "not a valid path"},
		{"--plaintext put h:../a", "not a valid path"},
		{"--plaintext get h:a\033[31m/.. b", "h:a\\x1b[31m/..: not a valid path"},
		{"--plaintext put - a h:b/", "only one file"},
		{"--plaintext get h:a h:b -", "only one file"},
		{"--plaintext put -r - h:b", "a tree"},
		{"--plaintext get -r h:b -", "a tree"},
		{"--plaintext put - h:b/", "no name of its own"},
		{"--plaintext put - h:", "no name of its own"},
		{"--plaintext --sha256=" DIGEST " put a b h:c/", "one file"},
		{"--plaintext --sha256=" DIGEST " put -r a h:c", "one file"},

		{"join", "join HOST CODE"},
		{"join h", "join HOST CODE"},
		{"join h " CODE " x", "join HOST CODE"},
		{"join h:7625 " CODE, "h:7625: not HOST or [V6]"},
		{"join h: " CODE, "-P PORT"},
		{"join ::1 " CODE, "::1: not HOST or [V6]"},
		{"join [::1]:7625 " CODE, "not HOST or [V6]"},
		{"join [::1 " CODE, "not HOST or [V6]"},
		{"join [] " CODE, "not HOST or [V6]"},
		{"join _ " CODE, "not HOST or [V6]"},
		{"join h/x " CODE, "h/x: not HOST or [V6]"},
		{"join h " CODE "A", "copy all of it again"},
		{"join h x", "copy all of it again"},
		{"join h _", "copy all of it again"},
		{"join " CODE " h", "copy all of it again"},
		{"join -r h " CODE, "join moves no files"},
		{"join -n h " CODE, "join moves no files"},
		{"join --sums=x h " CODE, "join moves no files"},
		{"join --no-sync h " CODE, "join moves no files"},
		{"join --plaintext h " CODE, "join is about identities"},
		{"join --pin=" OTHER " h " CODE, "of another server than --pin"},
		{"--plaintext --pin=" PRINT " put a h:b", "--plaintext asks nobody"},
		{"--plaintext --accept-new put a h:b", "--plaintext asks nobody"},
		{"--plaintext --ca=x put a h:b", "--plaintext asks nobody"},
		{"--plaintext -i x put a h:b", "--plaintext asks nobody"},

		{"--frob put a h:b", "--frob: no such option"},
		{"--streams=4 put a h:b", "--streams=4: no such option"},
		{"--pin=SHA256:x put a h:b", "--pin=SHA256:x: must be a fingerprint"},
		{"--pin=" PRINT "x put a h:b", "must be a fingerprint"},
		{"--pin= put a h:b", "must be a fingerprint"},
		{"--ca= put a h:b", "the name of a file"},
		{"--identity= put a h:b", "the name of a file"},
		{"put a h:b -i", "-i: needs an argument: --identity=FILE"},
		{"--accept-new=1 put a h:b", "--accept-new takes no argument"},
		{"-j put a h:b", "-j: no such option"},
		{"-rj put a h:b", "-j: no such option"},
		{"-\x1b put a h:b", "-\\x1b: no such option"},
		{"--no put a h:b", "--no: could be more than one option"},
		{"--p=1 put a h:b", "--p=1: could be more than one option"},
		{"--json=1 put a h:b", "--json takes no argument"},
		{"put a h:b -P", "-P: needs an argument: --port=PORT"},
		{"put a h:b --limit", "--limit: needs an argument: --limit=RATE"},
		{"--port=0 put a h:b", "--port=0: must be a number from 1 to 65535"},
		{"--port=65536 put a h:b", "--port=65536: must be"},
		{"-P ssh put a h:b", "--port=ssh: must be"},
		{"--limit=fast put a h:b", "--limit=fast: must be"},
		{"--sha256=abc put a h:b", "64 hexadecimal digits"},
		{"--sha256=" DIGEST "0 put a h:b", "64 hexadecimal digits"},
		{"--sums= put a h:b", "the name of a file"},
		{"--sums=- put a h:b", "the name of a file"},
		{"--retries=-1 put a h:b", "--retries=-1: must be"},
		{"--timeout=0 put a h:b", "--timeout=0: must be"},
		{"--timeout=99999999999 put a h:b", "must be seconds"},
		{"--progress=maybe put a h:b", "auto, always or never"},
	};
	struct parse p;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cr_assert_eq(parse(&p, rows[i].line), PARSED_EXIT, "%s", rows[i].line);
		cr_expect_eq(p.status, 2, "%s", rows[i].line);
		cr_expect_not_null(
			strstr(p.said, rows[i].said), "%s: %s", rows[i].line, p.said);
		cr_expect_eq(strncmp(p.said, "sockcp: ", 8), 0, "%s: %s", rows[i].line,
			p.said);
		/* one line each */
		cr_expect_eq(strchr(p.said, '\n'), p.said + strlen(p.said) - 1, "%s: %s",
			rows[i].line, p.said);
		cr_expect_null(p.req.sources);
	}
}

/* -- Options ------------------------------------------------------------ */

Test(options, defaults)
{
	struct parse p;

	cr_assert_eq(parse(&p, "--plaintext put a h:b"), PARSED_RUN);
	const struct options *o = &p.opts;
	cr_expect_eq(o->port, 7625);
	cr_expect(o->resume && o->sync && o->plaintext);
	cr_expect_not(
		o->recursive || o->preserve || o->dry_run || o->no_clobber || o->update);
	cr_expect_not(o->quiet || o->verbose || o->json || o->has_sha256);
	cr_expect_eq(o->limit, 0);
	cr_expect_eq(o->retries, 5);
	cr_expect_eq(o->timeout_ms, 30000);
	cr_expect_eq(o->progress, WHEN_AUTO);
	cr_expect_null(o->sums);
	cr_expect_not(o->has_pin || o->accept_new || o->ca || o->identity);
	request_fini(&p.req);
	/* TLS is what nobody has to ask for */
	cr_assert_eq(parse(&p, "put a h:b"), PARSED_RUN);
	cr_expect_not(o->plaintext);
	request_fini(&p.req);
}

/* -- join --------------------------------------------------------------- */

static bool pin_is(const struct options *o, char letter)
{
	for (size_t i = 0; i < FINGERPRINT_LEN; i++)
		if (o->pin[i] != letter)
			return false;
	return o->has_pin;
}

Test(options, join)
{
	static const struct {
		const char *line;
		const char *host;
	} rows[] = {
		{"join h " CODE, "h"},
		{"join 127.0.0.1 " CODE, "127.0.0.1"},
		{"join [::1] " CODE, "::1"},
		{"join [fe80::1%eth0] " CODE, "fe80::1%eth0"},
		{"join --json -q -P 22 h " CODE, "h"},
		{"join --pin=" PRINT " h " CODE, "h"},
		{"join --retries=0 -i key --accept-new --ca=x h " CODE, "h"},
	};
	struct parse p;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cr_assert_eq(parse(&p, rows[i].line), PARSED_RUN, "%s: %s", rows[i].line,
			p.said);
		cr_expect_eq(p.req.command, COMMAND_JOIN);
		cr_expect_str_eq(p.req.host, rows[i].host);
		cr_expect_str_eq(p.req.code, CODE);
		cr_expect(p.req.count == 0 && !p.req.dest);
		cr_expect(pin_is(&p.opts, 'A'), "%s", rows[i].line);
		/* the secret is not for ps(1) to show */
		for (int k = 1; k < p.argc; k++)
			cr_expect_null(strstr(p.argv[k], "sockd1"), "%s", p.argv[k]);
		request_fini(&p.req);
		cr_expect_null(p.req.code);
	}
}

/* A mistyped code is refused, and not shown: it holds most of a secret. */
Test(options, join_mistyped)
{
	struct parse p;
	char line[256];

	for (size_t i = 0; i < strlen(CODE); i++) {
		snprintf(line, sizeof(line), "join h %s", CODE);
		line[strlen("join h ") + i] =
			line[strlen("join h ") + i] == 'x' ? 'y' : 'x';
		cr_assert_eq(parse(&p, line), PARSED_EXIT, "%s", line);
		cr_expect(p.status == 2 && strstr(p.said, "copy all of it again"), "%s",
			p.said);
		cr_expect_null(strstr(p.said, "QkJC"), "%s", p.said);
	}
}

static void stdin_set(const char *text)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(write(fds[1], text, strlen(text)), (ssize_t)strlen(text));
	close(fds[1]);
	cr_assert_eq(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
	close(fds[0]);
}

Test(options, join_from_stdin)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{CODE "\n", true},
		{CODE, true},
		{CODE " \t\r\n", true},
		{CODE "\nnext line\n", true},
		{"", false},
		{"\n" CODE "\n", false},
		{CODE CODE CODE CODE CODE CODE CODE "\n", false},
	};
	struct parse p;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		stdin_set(rows[i].text);
		cr_assert_eq(parse(&p, "join h -"),
			rows[i].good ? PARSED_RUN : PARSED_EXIT, "%s: %s", rows[i].text,
			p.said);
		if (rows[i].good)
			cr_expect_str_eq(p.req.code, CODE);
		request_fini(&p.req);
	}
	/* only the line was taken */
	char c;
	stdin_set(CODE "\nx");
	cr_assert_eq(parse(&p, "join h -"), PARSED_RUN);
	cr_expect(read(STDIN_FILENO, &c, 1) == 1 && c == 'x');
	request_fini(&p.req);
}

Test(options, each_is_read)
{
	struct parse p;
	const struct options *o = &p.opts;

#define READS_AS(line, condition)                                                        \
	cr_assert_eq(parse(&p, "--plaintext put a h:b " line), PARSED_RUN, line ": %s",  \
		p.said);                                                                 \
	cr_expect(condition, line);                                                      \
	request_fini(&p.req)

	READS_AS("-P 22", o->port == 22);
	READS_AS("--port=65535", o->port == 65535);
	READS_AS("-r", o->recursive);
	READS_AS("--recursive", o->recursive && !o->preserve);
	READS_AS("-p", o->preserve);
	READS_AS("--preserve", o->preserve && !o->update);
	READS_AS("-u", o->update);
	READS_AS("--update", o->update && !o->recursive);
	READS_AS("-N", o->no_clobber);
	READS_AS("--no-clobber", o->no_clobber && o->resume);
	READS_AS("-n", o->dry_run);
	READS_AS("--dry-run", o->dry_run && !o->no_clobber);
	READS_AS("--no-resume", !o->resume && o->sync);
	READS_AS("--no-sync", !o->sync && o->resume);
	READS_AS("--limit=20M", o->limit == 20 << 20);
	READS_AS("--limit 500K", o->limit == 500 << 10);
	READS_AS("--sha256=" DIGEST,
		o->has_sha256 && o->sha256[0] == 0xe3 && o->sha256[31] == 0x55);
	READS_AS("--sums=SUMS", strcmp(o->sums, "SUMS") == 0);
	READS_AS("--retries=0", o->retries == 0);
	READS_AS("--timeout=86400", o->timeout_ms == 86400000);
	READS_AS("--progress=always", o->progress == WHEN_ALWAYS);
	READS_AS("--progress=never", o->progress == WHEN_NEVER);
	READS_AS("--progress=never --progress=auto", o->progress == WHEN_AUTO);
	READS_AS("-q", o->quiet);
	READS_AS("--quiet", o->quiet && !o->verbose);
	READS_AS("-v", o->verbose);
	READS_AS("--verbose", o->verbose && !o->quiet);
	READS_AS("--json", o->json);
	/* GNU: clusters, arguments joined on, abbreviations */
	READS_AS("-rpP99", o->recursive && o->preserve && o->port == 99);
	READS_AS("--rec", o->recursive);
	READS_AS("--no-c", o->no_clobber);
	READS_AS("--lim=1G", o->limit == 1 << 30);
	READS_AS("--prog=never", o->progress == WHEN_NEVER);
}

Test(options, who_is_who)
{
	struct parse p;
	const struct options *o = &p.opts;

#define TRUSTS_AS(line, condition)                                                       \
	cr_assert_eq(parse(&p, "put a h:b " line), PARSED_RUN, line ": %s", p.said);     \
	cr_expect(condition, line);                                                      \
	request_fini(&p.req)

	TRUSTS_AS("--pin=" PRINT, pin_is(o, 'A') && !o->accept_new && !o->ca);
	TRUSTS_AS("--pin=" OTHER " --pin=" PRINT, pin_is(o, 'A'));
	TRUSTS_AS("--accept-new", o->accept_new && !o->has_pin);
	TRUSTS_AS("--ca=a.pem", strcmp(o->ca, "a.pem") == 0 && !o->identity);
	TRUSTS_AS("--identity=b.pem", strcmp(o->identity, "b.pem") == 0 && !o->ca);
	TRUSTS_AS("-i b.pem", strcmp(o->identity, "b.pem") == 0);
	TRUSTS_AS("-rib.pem", o->recursive && strcmp(o->identity, "b.pem") == 0);
}

Test(options, permute)
{
	static const char *const lines[] = {
		"--plaintext -r put a h:b",
		"put --plaintext -r a h:b",
		"put a -r h:b --plaintext",
		"put a h:b -r --plain",
	};
	struct parse p;

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		cr_assert_eq(parse(&p, lines[i]), PARSED_RUN, "%s: %s", lines[i], p.said);
		cr_expect(p.opts.recursive);
		cr_expect_str_eq(p.req.sources[0], "a");
		cr_expect_str_eq(p.req.dest, "b");
		request_fini(&p.req);
	}
}

Test(options, shows)
{
	static const struct {
		const char *line;
		const char *parts[4];
	} rows[] = {
		{"--help", {"Usage: sockcp ", "-P, --port=PORT ", "\n      --no-sync ",
				   "join HOST CODE"}},
		{"put --help --frob", {"Usage: sockcp "}},
		{"--version", {"sockcp (sockd) " PACKAGE_VERSION "\n", "GPLv3+"}},
	};
	struct capture out;
	struct parse p;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		capture_begin(&out, STDOUT_FILENO);
		cr_assert_eq(parse(&p, rows[i].line), PARSED_EXIT);
		const char *text = capture_end(&out);
		cr_expect_eq(p.status, 0);
		cr_expect_str_empty(p.said);
		for (size_t k = 0; k < 4 && rows[i].parts[k]; k++)
			cr_expect_not_null(strstr(text, rows[i].parts[k]), "%s: %s",
				rows[i].line, text);
	}
}
