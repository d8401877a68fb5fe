/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/report.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "capture.h"
#include "scratch.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define MIB   (UINT64_C(1) << 20)

/* A report with what it says caught. */
struct told {
	struct options opts;
	struct request req;
	struct report *report;
	uint8_t digest[DIGEST_LEN];
	struct capture out, err;
	int status;
};

static const struct options defaults = {.resume = true, .sync = true, .plaintext = true};

static void told_begin(struct told *t, enum command_id command, const char *dest)
{
	t->req = (struct request){.command = command, .dest = strdup(dest)};
	cr_assert_eq(text_unhex(EMPTY, t->digest, DIGEST_LEN), 0);
	capture_begin(&t->out, STDOUT_FILENO);
	capture_begin(&t->err, STDERR_FILENO);
	cr_assert_eq(report_new(&t->report, &t->opts, &t->req), 0);
	report_start(t->report, "127.0.0.1:7625");
}

static void told_end(struct told *t)
{
	t->status = report_finish(t->report);
	report_free(t->report);
	capture_end(&t->err);
	capture_end(&t->out);
	free(t->req.dest);
}

static void move(struct told *t, const char *path, uint64_t size, uint64_t resumed)
{
	report_file_begin(t->report, path, size);
	if (resumed > 0)
		report_bytes(t->report, resumed, true);
	report_bytes(t->report, size - resumed, false);
	report_file_done(t->report,
		&(struct file_result){.path = path,
			.outcome = OUTCOME_MOVED,
			.size = size,
			.resumed_from = resumed,
			.digest = t->digest,
			.durability = t->opts.sync ? DURABLE_DISK : DURABLE_NOT});
}

static void leave(struct told *t, const char *path, enum outcome outcome, uint64_t size)
{
	report_file_done(t->report,
		&(struct file_result){.path = path, .outcome = outcome, .size = size});
}

/* -- Exit statuses ------------------------------------------------------ */

Test(report, status_of_a_failure)
{
	static const struct {
		enum side side;
		int code;
		int status;
	} rows[] = {
		{SIDE_CONNECTION, ERR_CONNECT, 3},
		{SIDE_CONNECTION, ERR_RESOLVE, 3},
		{SIDE_CONNECTION, ERR_CLOSED, 3},
		{SIDE_CONNECTION, ERR_TIMEOUT, 3},
		{SIDE_CONNECTION, ERR_GARBLED, 3},
		{SIDE_CONNECTION, ERR_RESOURCE, 3},
		{SIDE_CONNECTION, ERR_INTERRUPTED, 130},
		{SIDE_CONNECTION, ERR_PROTOCOL, 9},
		{SIDE_CONNECTION, ERR_VERSION, 9},
		{SIDE_CONNECTION, ERR_DENIED, 4},
		{SIDE_CONNECTION, ERR_TLS, 9},
		{SIDE_CONNECTION, ERR_UNTRUSTED, 4},
		{SIDE_LOCAL, ERR_UNTRUSTED, 4},
		{SIDE_LOCAL, ERR_BAD_IDENTITY, 7},
		{SIDE_SERVER, ERR_BUSY, 3},
		{SIDE_SERVER, ERR_SHUTDOWN, 3},
		{SIDE_SERVER, ERR_TIMEOUT, 3},
		{SIDE_SERVER, ERR_TAKEN_OVER, 3},
		{SIDE_SERVER, ERR_PROTOCOL, 9},
		{SIDE_SERVER, ERR_UNSUPPORTED, 9},
		{SIDE_SERVER, ERR_DENIED, 4},
		{SIDE_SERVER, ERR_NOT_FOUND, 5},
		{SIDE_SERVER, ERR_EXISTS, 5},
		{SIDE_SERVER, ERR_MISMATCH, 6},
		{SIDE_SERVER, ERR_CHANGED, 6},
		{SIDE_SERVER, ERR_NO_SPACE, 8},
		{SIDE_SERVER, ERR_READ_ONLY, 8},
		{SIDE_SERVER, ERR_IO, 8},
		{SIDE_SERVER, ERR_ACCESS, 8},
		{SIDE_SERVER, ERR_RESOURCE, 8},
		{SIDE_SERVER, ERR_TOO_LARGE, 8},
		{SIDE_SERVER, ERR_IS_DIR, 8},
		{SIDE_SERVER, ERR_NOT_DIR, 8},
		{SIDE_SERVER, ERR_NOT_REGULAR, 8},
		{SIDE_SERVER, ERR_BAD_NAME, 8},
		{SIDE_SERVER, ERR_NAME_TOO_LONG, 8},
		{SIDE_SERVER, ERR_ESCAPE, 8},
		{SIDE_SERVER, ERR_ABORTED, 8},
		{SIDE_SERVER, 999, 8},
		{SIDE_LOCAL, ERR_NOT_FOUND, 7},
		{SIDE_LOCAL, ERR_EXISTS, 5},
		{SIDE_LOCAL, ERR_NO_SPACE, 7},
		{SIDE_LOCAL, ERR_READ_ONLY, 7},
		{SIDE_LOCAL, ERR_IO, 7},
		{SIDE_LOCAL, ERR_ACCESS, 7},
		{SIDE_LOCAL, ERR_RESOURCE, 7},
		{SIDE_LOCAL, ERR_IS_DIR, 7},
		{SIDE_LOCAL, ERR_ESCAPE, 7},
		{SIDE_LOCAL, ERR_BUSY, 7},
		{SIDE_LOCAL, ERR_MISMATCH, 6},
		{SIDE_LOCAL, ERR_CHANGED, 6},
		{SIDE_LOCAL, ERR_INTERRUPTED, 130},
		{SIDE_LOCAL, 999, 7},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cr_expect_eq(report_status(rows[i].side, rows[i].code), rows[i].status,
			"side %d, %s", (int)rows[i].side, err_text(rows[i].code));
		cr_expect_eq(report_status(rows[i].side, -rows[i].code), rows[i].status);
	}
}

Test(report, status_of_a_run)
{
	/* m moved, s skipped, w would; f g h fail with 7, 5, 8; I the job was
	 * interrupted, C the connection was lost, i and c the same naming a file */
	static const struct {
		const char *story;
		int status;
	} rows[] = {
		{"", 0},
		{"m", 0},
		{"mmm", 0},
		{"s", 0},
		{"w", 0},
		{"ms", 0},
		{"f", 7},
		{"g", 5},
		{"ff", 7},
		{"fg", 1},
		{"ffg", 1},
		{"fgf", 1},
		{"mf", 1},
		{"fm", 1},
		{"sf", 1},
		{"mfg", 1},
		{"hh", 8},
		{"I", 130},
		{"C", 3},
		{"mI", 130},
		{"mfI", 130},
		{"fI", 130},
		{"mC", 3},
		{"i", 130},
		{"mi", 130},
		{"mc", 3},
		{"IC", 130},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct told t = {.opts = defaults};
		told_begin(&t, COMMAND_PUT, "x");
		for (const char *c = rows[i].story; *c; c++)
			switch (*c) {
			case 'm':
				move(&t, "a", 1, 0);
				break;
			case 's':
				leave(&t, "a", OUTCOME_SKIPPED, 1);
				break;
			case 'w':
				leave(&t, "a", OUTCOME_WOULD, 1);
				break;
			case 'f':
				report_failure(
					t.report, "a", SIDE_LOCAL, -ERR_NOT_FOUND, NULL);
				break;
			case 'g':
				report_failure(
					t.report, "a", SIDE_SERVER, -ERR_NOT_FOUND, NULL);
				break;
			case 'h':
				report_failure(
					t.report, "a", SIDE_SERVER, -ERR_NO_SPACE, NULL);
				break;
			case 'I':
				report_failure(t.report, NULL, SIDE_LOCAL,
					-ERR_INTERRUPTED, NULL);
				break;
			case 'C':
				report_failure(t.report, NULL, SIDE_CONNECTION,
					-ERR_CLOSED, NULL);
				break;
			case 'i':
				report_failure(t.report, "a", SIDE_LOCAL,
					-ERR_INTERRUPTED, NULL);
				break;
			case 'c':
				report_failure(t.report, "a", SIDE_CONNECTION,
					-ERR_CLOSED, NULL);
				break;
			}
		told_end(&t);
		cr_expect_eq(t.status, rows[i].status, "%s: %d", rows[i].story, t.status);
	}
}

/* -- What people read --------------------------------------------------- */

Test(report, failure_lines)
{
	static const struct {
		const char *path;
		enum side side;
		int code;
		const char *detail;
		const char *line;
	} rows[] = {
		{"report.pdf", SIDE_SERVER, -ERR_NO_SPACE, "needs 2.1 G, has 300 M",
			"sockcp: report.pdf: the server's disk is full (needs 2.1 G, has "
			"300 M); nothing "
			"was changed there, run the same command again to continue\n"},
		{"a", SIDE_SERVER, ERR_NO_SPACE, "the disk is full", /* nothing new */
			"sockcp: a: the server's disk is full; nothing was changed "
			"there, run the same "
			"command again to continue\n"},
		{"a", SIDE_LOCAL, -ERR_NO_SPACE, NULL,
			"sockcp: a: the disk of this machine is full; make room and run "
			"the same command "
			"again to continue\n"},
		{"two words", SIDE_LOCAL, -ERR_NOT_FOUND, "",
			"sockcp: two words: no such file or directory; check the name\n"},
		{NULL, SIDE_CONNECTION, -ERR_CLOSED, NULL,
			"sockcp: the connection was lost; run the same command again to "
			"continue\n"},
		/* nothing raw reaches a terminal */
		{"a\n\x1b[2J\xff", SIDE_SERVER, -ERR_IO, "bad\x1b]0;x\x07\n",
			"sockcp: a\\n\\x1b[2J\\xff: the server's file system failed "
			"(bad\\x1b]0;x\\x07\\n); see the log of the server, then run the "
			"same command "
			"again\n"},
		{"a", SIDE_SERVER, -999, NULL, "sockcp: a: unknown error\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct told t = {.opts = defaults};
		t.opts.quiet = i % 2 == 1; /* failures are said anyway */
		told_begin(&t, COMMAND_PUT, "x");
		report_failure(t.report, rows[i].path, rows[i].side, rows[i].code,
			rows[i].detail);
		told_end(&t);
		cr_expect_str_eq(t.err.text, rows[i].line, "%s", t.err.text);
		cr_expect_str_empty(t.out.text);
	}
}

/* Each code there is has something to do in its line. */
Test(report, every_failure_has_advice)
{
	for (int code = 1; code <= ERR_REFUSED; code++) {
		if (code == ERR_AGAIN || strcmp(err_text(code), "unknown error") == 0)
			continue;
		for (enum side side = SIDE_LOCAL; side <= SIDE_SERVER; side++) {
			struct told t = {.opts = defaults};
			told_begin(&t, COMMAND_GET, "x");
			report_failure(t.report, "a", side, code, NULL);
			told_end(&t);
			cr_expect_not_null(strstr(t.err.text, "; "), "%s", t.err.text);
		}
	}
}

/* "…in 0.00 s (1.0 M/s)…": the time and the rate are not known beforehand. */
static void times_cut(char *text)
{
	char *from = strstr(text, " in "), *to = strstr(text, "/s)");

	if (from && to)
		memmove(from, to + 3, strlen(to + 3) + 1);
}

static void summary_expect(
	const struct told *given, const char *dest, const char *story, const char *line)
{
	struct told t = *given;

	told_begin(&t, COMMAND_GET, dest);
	for (const char *c = story; *c; c++) {
		if (*c == 'm')
			move(&t, "a", 3 * MIB, 0);
		if (*c == 'r')
			move(&t, "a", 3 * MIB, 2 * MIB);
		if (*c == 's')
			leave(&t, "a", OUTCOME_SKIPPED, MIB);
		if (*c == 'w')
			leave(&t, "w", OUTCOME_WOULD, MIB);
		if (*c == 'f')
			report_failure(t.report, "a", SIDE_LOCAL, -ERR_IO, NULL);
	}
	told_end(&t);
	char *last = t.err.text;
	for (char *nl; (nl = strchr(last, '\n')) && nl[1] != '\0';)
		last = nl + 1;
	times_cut(last);
	cr_expect_str_eq(last, line, "%s: %s", story, t.err.text);
}

Test(report, summary)
{
	struct told plain = {.opts = defaults}, no_sync = plain, exact = plain,
		    quiet = plain, dry = plain;

	no_sync.opts.sync = false;
	exact.opts.verbose = true;
	quiet.opts.quiet = true;
	dry.opts.dry_run = true;
	summary_expect(&plain, "x", "m", "1 file, 3.0 M, verified, on disk\n");
	summary_expect(&plain, "x", "mm", "2 files, 6.0 M, verified, on disk\n");
	summary_expect(&plain, "x", "mr",
		"2 files, 6.0 M, verified, on disk, continued, 2.0 M were already "
		"there\n");
	summary_expect(&plain, "x", "mssf",
		"1 file, 3.0 M, verified, on disk, 2 skipped, 1 failed\n");
	summary_expect(&plain, "x", "s", "nothing to move, 1 skipped\n");
	summary_expect(&plain, "x", "", "nothing to move\n");
	summary_expect(&plain, "-", "m", "1 file, 3.0 M, verified\n");
	summary_expect(
		&no_sync, "x", "m", "1 file, 3.0 M, verified, not flushed (--no-sync)\n");
	summary_expect(
		&exact, "x", "m", "1 file, 3.0 M (3145728 bytes), verified, on disk\n");
	summary_expect(&quiet, "x", "mrs", "");
	summary_expect(&dry, "x", "wws", "2 files, 2.0 M would be moved, 1 skipped\n");
	/* with nothing done, the failure says it all */
	summary_expect(&plain, "x", "f",
		"sockcp: a: the file system failed; check the disk, then run the same "
		"command again\n");
}

Test(report, dry_run_names_files)
{
	struct told t = {.opts = defaults};

	t.opts.dry_run = true;
	told_begin(&t, COMMAND_PUT, "x");
	leave(&t, "a\n", OUTCOME_WOULD, 1);
	told_end(&t);
	cr_expect_str_eq(t.err.text, "would put a\\n\n1 file, 1 B would be moved\n");
	cr_expect_str_empty(t.out.text);
}

Test(report, notes)
{
	struct told t = {.opts = defaults};

	told_begin(&t, COMMAND_PUT, "x");
	report_note(t.report, "continuing %s at %s", "a\x1b", "3.1 G");
	told_end(&t);
	cr_expect_eq(strncmp(t.err.text, "sockcp: continuing a\\x1b at 3.1 G\n", 34), 0,
		"%s", t.err.text);

	t = (struct told){.opts = defaults};
	t.opts.quiet = true;
	told_begin(&t, COMMAND_PUT, "x");
	report_note(t.report, "something");
	told_end(&t);
	cr_expect_str_empty(t.err.text);
	cr_expect_eq(t.status, 0);
}

Test(report, digests)
{
	struct told t = {.opts = defaults};

	t.opts.verbose = true;
	told_begin(&t, COMMAND_GET, "x");
	move(&t, "a", 1, 0);
	move(&t, "b\n", 1, 0);
	leave(&t, "c", OUTCOME_SKIPPED, 1);
	told_end(&t);
	cr_expect_str_eq(t.out.text, EMPTY "  a\n\\" EMPTY "  b\\n\n");

	/* stdout carries the file */
	t = (struct told){.opts = defaults};
	t.opts.verbose = true;
	told_begin(&t, COMMAND_GET, "-");
	move(&t, "a", 1, 0);
	told_end(&t);
	cr_expect_str_empty(t.out.text);
	cr_expect_eq(strncmp(t.err.text, EMPTY "  a\n", 68), 0, "%s", t.err.text);
}

/* -- The manifest ------------------------------------------------------- */

Test(report, manifest)
{
	struct told t = {.opts = defaults};
	struct scratch s;
	char text[64];

	scratch_init(&s);
	cr_assert_eq(chdir(s.path), 0);
	t.opts.sums = "SUMS";
	told_begin(&t, COMMAND_PUT, "x");
	move(&t, "a", 1, 0);
	report_failure(t.report, "b", SIDE_LOCAL, -ERR_IO, NULL);
	cr_expect_str_eq(scratch_read(s.fd, "SUMS", text), "(absent)");
	told_end(&t);
	cr_expect_eq(t.status, EXIT_SOME);
	cr_expect_eq(system("[ \"$(cat SUMS)\" = '" EMPTY "  a' ]"), 0);

	t.opts.dry_run = true;
	t.opts.sums = "DRY";
	told_begin(&t, COMMAND_PUT, "x");
	told_end(&t);
	cr_expect_str_eq(scratch_read(s.fd, "DRY", text), "(absent)");
	scratch_fini(&s);
}

Test(report, manifest_that_cannot_be_written)
{
	struct options opts = defaults;
	struct request req = {.command = COMMAND_PUT, .dest = NULL};
	struct report *r = NULL;
	struct capture err;

	opts.sums = "/dev/null";
	capture_begin(&err, STDERR_FILENO);
	cr_expect_eq(report_new(&r, &opts, &req), -ERR_NOT_REGULAR);
	capture_end(&err);
	cr_expect_eq(strncmp(err.text, "sockcp: /dev/null: not a regular file", 37), 0,
		"%s", err.text);
	cr_expect_null(r);
}

/* -- Progress ----------------------------------------------------------- */

Test(report, progress_gives_way)
{
	struct told t = {.opts = defaults};

	t.opts.progress = WHEN_ALWAYS;
	told_begin(&t, COMMAND_PUT, "x");
	report_total(t.report, 1, 2 * MIB, true);
	report_file_begin(t.report, "abc\x1b", 2 * MIB);
	report_note(t.report, "hello");
	told_end(&t);
	cr_expect_eq(strncmp(t.err.text, "\rabc\\x1b  ", 10), 0, "%s", t.err.text);
	cr_expect_not_null(strstr(t.err.text, "0%  0 B/2.0 M"), "%s", t.err.text);
	char *note = strstr(t.err.text, "sockcp: hello\n");
	cr_assert_not_null(note);
	cr_expect_eq(note[-1], '\r');
	cr_expect_eq(note[-2], ' ');

	t = (struct told){.opts = defaults}; /* auto, and no terminal */
	told_begin(&t, COMMAND_PUT, "x");
	report_file_begin(t.report, "a", 1);
	told_end(&t);
	cr_expect_null(strchr(t.err.text, '\r'));
}

static void *count_up(void *arg)
{
	for (uint64_t i = 1; i <= 10000; i++)
		report_total(arg, i, i * 10, i == 10000);
	return NULL;
}

Test(report, counting_thread)
{
	struct told t = {.opts = defaults};
	pthread_t thread;

	t.opts.progress = WHEN_ALWAYS;
	told_begin(&t, COMMAND_PUT, "x");
	cr_assert_eq(pthread_create(&thread, NULL, count_up, t.report), 0);
	for (int i = 0; i < 10000; i++)
		move(&t, "a", 10, 0);
	pthread_join(thread, NULL);
	told_end(&t);
	cr_expect_eq(t.status, 0);
}

/* -- JSON --------------------------------------------------------------- */

/* The INDEX-th event of that name, or of all when NAME is NULL; checks each line. */
static json_t *events_of(struct capture *c, const char *name, size_t index)
{
	json_t *found = NULL;

	for (char *line = c->text; *line != '\0' && !found;) {
		size_t len = strcspn(line, "\n");
		cr_assert_eq(line[len], '\n', "%s", line);
		json_t *event = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
		cr_assert(json_is_object(event), "%s", line);
		const char *is = json_string_value(json_object_get(event, "event"));
		cr_assert_not_null(is, "%s", line);
		if ((!name || strcmp(name, is) == 0) && index-- == 0)
			found = event;
		else
			json_decref(event);
		line += len + 1;
	}
	return found;
}

/* The event without what depends on the clock, as text. */
static void event_expect(
	struct capture *c, const char *name, size_t index, const char *expected)
{
	json_t *event = events_of(c, name, index);

	cr_assert_not_null(event, "no %s %zu in %s", name, index, c->text);
	json_object_del(event, "elapsed_ms");
	json_object_del(event, "rate");
	char *text = json_dumps(event, JSON_COMPACT);
	cr_expect_str_eq(text, expected, "%s", text);
	free(text);
	json_decref(event);
}

Test(report, joined)
{
	struct told t = {.opts = defaults};
	uint8_t self[FINGERPRINT_LEN], peer[FINGERPRINT_LEN];
	char ours[FINGERPRINT_TEXT_MAX], text[512];

	memset(self, 'A', sizeof(self));
	memset(peer, 'B', sizeof(peer));
	fingerprint_format(ours, self);
	told_begin(&t, COMMAND_JOIN, "");
	report_joined(t.report, "h\x1b:1", self, peer);
	told_end(&t);
	snprintf(text, sizeof(text), "joined h\\x1b:1 as %s; the server is remembered\n",
		ours);
	cr_expect_str_eq(t.err.text, text, "%s", t.err.text);
	cr_expect_str_empty(t.out.text);

	t = (struct told){.opts = defaults};
	t.opts.quiet = true;
	told_begin(&t, COMMAND_JOIN, "");
	report_joined(t.report, "h:1", self, peer);
	told_end(&t);
	cr_expect_str_empty(t.err.text);

	t = (struct told){.opts = defaults};
	t.opts.json = true;
	told_begin(&t, COMMAND_JOIN, "");
	report_joined(t.report, "h:1", self, peer);
	told_end(&t);
	cr_expect_str_empty(t.err.text);
	event_expect(&t.out, "start", 0,
		"{\"event\":\"start\",\"command\":\"join\",\"server\":\"127.0.0.1:"
		"7625\"}");
	event_expect(&t.out, "joined", 0,
		"{\"event\":\"joined\",\"server\":\"h:1\",\"fingerprint\":"
		"\"SHA256:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE\","
		"\"server_fingerprint\":"
		"\"SHA256:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI\"}");
}

/* A file that begins again after a lost connection is not counted twice. */
Test(report, restart_does_not_count_twice)
{
	struct told t = {.opts = defaults};

	t.opts.json = true;
	told_begin(&t, COMMAND_GET, "x");
	report_total(t.report, 2, 20, true);
	report_file_begin(t.report, "a", 10);
	report_bytes(t.report, 6, false);
	report_file_begin(t.report, "a", 10);
	report_bytes(t.report, 5, true);
	told_end(&t);
	json_t *first = events_of(&t.out, "progress", 0),
	       *last = events_of(&t.out, "progress", 1);
	cr_expect_eq(json_integer_value(json_object_get(first, "bytes")), 0);
	cr_expect_eq(json_integer_value(json_object_get(last, "bytes")), 5);
	json_decref(first);
	json_decref(last);
}

static void json_story(struct told *t)
{
	report_total(t->report, 3, 40, false);
	move(t, "caf\xc3\xa9\n\\", 30, 10);
	move(t, "\xff.txt", 5, 0);
	leave(t, "c", OUTCOME_SKIPPED, 5);
	report_failure(t->report, "d", SIDE_SERVER, -ERR_NO_SPACE, "needs \xff");
	report_note(t->report, "hello");
	report_total(t->report, 4, 41, true);
}

Test(report, json)
{
	struct told t = {.opts = defaults};

	t.opts.json = true;
	t.opts.verbose = true;
	told_begin(&t, COMMAND_PUT, "x");
	json_story(&t);
	told_end(&t);

	event_expect(&t.out, NULL, 0,
		"{\"event\":\"start\",\"command\":\"put\",\"server\":\"127.0.0.1:"
		"7625\"}");
	event_expect(&t.out, "progress", 0,
		"{\"event\":\"progress\",\"path\":\"caf\xc3\xa9\\n\\\\\",\"file_bytes\":"
		"0,"
		"\"file_size\":30,\"files\":0,\"bytes\":0,"
		"\"total_files\":3,\"total_bytes\":40,\"total_final\":false}");
	event_expect(&t.out, "file", 0,
		"{\"event\":\"file\",\"path\":\"caf\xc3\xa9\\n\\\\\",\"outcome\":"
		"\"moved\",\"size\":30,"
		"\"resumed_from\":10,\"sha256\":\"" EMPTY "\",\"flushed\":true}");
	event_expect(&t.out, "file", 1,
		"{\"event\":\"file\",\"path\":\"\\\\xff.txt\",\"path_hex\":"
		"\"ff2e747874\","
		"\"outcome\":\"moved\",\"size\":5,\"resumed_from\":0,\"sha256\":\"" EMPTY
		"\",\"flushed\":true}");
	event_expect(&t.out, "file", 2,
		"{\"event\":\"file\",\"path\":\"c\",\"outcome\":\"skipped\",\"size\":5}");
	event_expect(&t.out, "error", 0,
		"{\"event\":\"error\",\"path\":\"d\",\"side\":\"server\",\"code\":15,"
		"\"message\":\"the server's disk is full\",\"detail\":\"needs \\\\xff\","
		"\"advice\":\"nothing was changed there, run the same command again to "
		"continue\","
		"\"status\":8}");
	event_expect(&t.out, "progress", 1,
		"{\"event\":\"progress\",\"files\":2,\"bytes\":40,"
		"\"total_files\":4,\"total_bytes\":41,\"total_final\":true}");
	event_expect(&t.out, "end", 0,
		"{\"event\":\"end\",\"status\":1,\"files\":2,\"skipped\":1,\"failed\":1,"
		"\"bytes\":35,"
		"\"resumed\":10,\"flushed\":true}");
	cr_expect_null(events_of(&t.out, "end", 1));
	/* stderr stays for people, without the last line */
	cr_expect_not_null(strstr(t.err.text, "sockcp: d: "));
	cr_expect_not_null(strstr(t.err.text, "sockcp: hello\n"));
	cr_expect_null(strstr(t.err.text, "verified"));
}

Test(report, json_beside_data)
{
	struct told t = {.opts = defaults};

	t.opts.json = true;
	t.opts.progress = WHEN_ALWAYS; /* would spoil the events */
	told_begin(&t, COMMAND_GET, "-");
	json_story(&t);
	told_end(&t);
	cr_expect_str_empty(t.out.text);
	json_t *end = events_of(&t.err, "end", 0); /* every line before is one, too */
	cr_expect_not_null(end);
	json_decref(end);
}

/* Never connected: no start, hence no progress. */
Test(report, json_without_start)
{
	struct told t = {.opts = defaults};

	t.opts.json = true;
	t.req = (struct request){.command = COMMAND_PUT, .dest = strdup("x")};
	capture_begin(&t.out, STDOUT_FILENO);
	capture_begin(&t.err, STDERR_FILENO);
	cr_assert_eq(report_new(&t.report, &t.opts, &t.req), 0);
	report_failure(t.report, NULL, SIDE_CONNECTION, -ERR_CONNECT, NULL);
	told_end(&t);
	cr_expect_eq(t.status, 3);
	json_t *first = events_of(&t.out, NULL, 0), *second = events_of(&t.out, NULL, 1);
	cr_expect_str_eq(json_string_value(json_object_get(first, "event")), "error");
	cr_expect_null(json_object_get(first, "path"));
	cr_expect_str_eq(json_string_value(json_object_get(second, "event")), "end");
	cr_expect_null(events_of(&t.out, NULL, 2));
	json_decref(first);
	json_decref(second);
}

/* A full stdout is a failure, not a shrug. */
Test(report, stdout_that_is_full)
{
	struct told t = {.opts = defaults};

	if (!freopen("/dev/full", "w", stdout))
		cr_skip_test("no /dev/full");
	t.opts.verbose = true;
	t.req = (struct request){.command = COMMAND_PUT, .dest = NULL};
	capture_begin(&t.err, STDERR_FILENO);
	cr_assert_eq(report_new(&t.report, &t.opts, &t.req), 0);
	move(&t, "a", 1, 0);
	t.status = report_finish(t.report);
	report_free(t.report);
	capture_end(&t.err);
	cr_expect_eq(t.status, 7);
	cr_expect_not_null(
		strstr(t.err.text, "disk of this machine is full (standard output)"),
		"%s", t.err.text);
}
