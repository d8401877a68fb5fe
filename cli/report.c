/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/report.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "base/text.h"
#include "cli/events.h"
#include "cli/progress.h"
#include "cli/sums.h"
#include "cli/verdict.h"
#include "os/clock.h"

#define NOTE_MAX       1024
#define DRAW_EVERY_MS  100
#define EVENT_EVERY_MS 1000

/*
 * Guarded by LOCK, which, against the rule of the house, is held while a line
 * is written: that lines do not mix is what it is for.
 */
struct report {
	pthread_mutex_t lock;
	const struct options *opts; /* borrowed for life */
	enum command_id command;
	bool is_single; /* one file is all there is */
	bool to_stdout; /* stdout carries file data */
	FILE *human;    /* borrowed; for people, NULL when events go to stderr */
	FILE *digests;  /* borrowed; for -v lines, or NULL */
	bool digests_on_tty;
	FILE *events;      /* borrowed; for JSON, or NULL */
	struct sums *sums; /* owned, or NULL */
	bool started;
	int64_t start_ms;

	struct tally tally;
	int common_status; /* of all files that failed, EXIT_SOME when they differ */
	int job_status;    /* of what ended the job, or EXIT_OK */

	bool is_moving; /* somebody wants to see progress: LINE or EVENTS */
	struct pace draw_pace;
	struct pace event_pace;
	struct rate rate;
	uint64_t moved; /* bytes that count for the rate */
	struct progress line;
	struct file_state file; /* that began last; its path is the next, raw */
	char path[PATH_WIRE_MAX + 1];
	char escaped[TEXT_ESCAPED_MAX(PATH_WIRE_MAX)]; /* what is being shown */
};

static pthread_mutex_t *lock_enter(pthread_mutex_t *lock)
{
	pthread_mutex_lock(lock);
	return lock;
}

static void lock_leave(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

/* Holds the lock to the end of the function. */
#define REPORT_GUARD(r)                                                                  \
	CLEANUP(lock_leave) pthread_mutex_t *guard = lock_enter(&(r)->lock);             \
	(void)guard

/* RAW made safe to show; until the next call. */
static const char *escape(struct report *r, const char *raw)
{
	return text_escape(r->escaped, sizeof(r->escaped), raw, strlen(raw));
}

/* -- Birth -------------------------------------------------------------- */

static bool progress_is_wanted(const struct report *r)
{
	bool mixes = r->to_stdout && isatty(STDOUT_FILENO);

	if (!r->human || r->opts->progress == WHEN_NEVER)
		return false;
	if (r->opts->progress == WHEN_ALWAYS)
		return true;
	return isatty(STDERR_FILENO) && !r->opts->quiet && !r->opts->json && !mixes;
}

/* Which stream is for what. */
static void streams_init(struct report *r)
{
	const struct options *opts = r->opts;
	FILE *data = r->to_stdout ? stderr : stdout;

	if (opts->json)
		r->events = data;
	else if (opts->verbose)
		r->digests = data;
	r->human = r->events == stderr ? NULL : stderr;
	r->digests_on_tty = r->digests && isatty(fileno(r->digests));
	r->line.out = progress_is_wanted(r) ? stderr : NULL;
	r->is_moving = r->line.out || r->events;
}

static int manifest_open(struct report *r)
{
	int err;

	if (!r->opts->sums || r->opts->dry_run)
		return 0;
	err = sums_open(&r->sums, r->opts->sums);
	if (err < 0)
		report_failure(r, r->opts->sums, SIDE_LOCAL, err, NULL);
	return err;
}

int report_new(struct report **out, const struct options *opts, const struct request *req)
{
	struct report *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ERR_RESOURCE;
	pthread_mutex_init(&r->lock, NULL);
	r->opts = opts;
	r->command = req->command;
	r->is_single = req->count == 1 && !opts->recursive;
	r->to_stdout = req->command == COMMAND_GET && strcmp(req->dest, "-") == 0;
	r->tally.flushed = true;
	r->draw_pace.every_ms = DRAW_EVERY_MS;
	r->event_pace.every_ms = EVENT_EVERY_MS;
	r->start_ms = clock_now_ms();
	streams_init(r);
	err = manifest_open(r);
	if (err < 0) {
		report_free(r);
		return err;
	}
	*out = r;
	return 0;
}

void report_free(struct report *r)
{
	if (!r)
		return;
	progress_erase(&r->line);
	sums_free(r->sums);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* -- Progress ----------------------------------------------------------- */

/* The tally as of now.  What was sent again after a lost connection may count
 * twice; more than all there is would look odd. */
static const struct tally *tally_now(struct report *r, int64_t now_ms)
{
	struct tally *t = &r->tally;

	if (t->total_final && t->done > t->total_bytes)
		t->done = t->total_bytes;
	t->rate = (uint64_t)r->rate.per_sec;
	t->elapsed_ms = now_ms - r->start_ms;
	return t;
}

static void line_draw(struct report *r, const struct tally *t)
{
	progress_draw(&r->line, &(struct progress_state){
					.name = escape(r, r->path),
					.done = t->done,
					.total = t->total_bytes,
					.total_final = t->total_final,
					.rate = t->rate,
				});
}

/* Called for every chunk and every small file. */
static void progress_show(struct report *r)
{
	int64_t now_ms;
	bool draw, event;

	if (!r->is_moving)
		return;
	now_ms = clock_now_ms();
	draw = pace_is_due(&r->draw_pace, now_ms);
	event = r->events && r->started && pace_is_due(&r->event_pace, now_ms);
	if (!draw && !event)
		return;
	rate_sample(&r->rate, r->moved, now_ms);
	if (draw && r->line.out)
		line_draw(r, tally_now(r, now_ms));
	if (event)
		event_progress(
			r->events, r->file.path ? &r->file : NULL, tally_now(r, now_ms));
}

void report_start(struct report *r, const char *server)
{
	REPORT_GUARD(r);

	if (r->started)
		return;
	r->started = true;
	r->start_ms = clock_now_ms();
	r->rate.at_ms = r->start_ms;
	if (r->events)
		event_start(r->events, r->command, server);
}

bool report_wants_total(const struct report *r)
{
	return r->is_moving;
}

void report_total(struct report *r, uint64_t files, uint64_t bytes, bool final)
{
	REPORT_GUARD(r);

	r->tally.total_files = files;
	r->tally.total_bytes = bytes;
	r->tally.total_final = final;
}

void report_file_begin(struct report *r, const char *path, uint64_t size)
{
	REPORT_GUARD(r);

	/* The same file once more, on a new connection: it does not count twice. */
	if (strcmp(r->path, path) == 0)
		r->tally.done -= r->file.done;
	snprintf(r->path, sizeof(r->path), "%s", path);
	r->file = (struct file_state){.path = r->path, .size = size};
	if (r->is_single && size != MSG_SIZE_UNKNOWN) {
		r->tally.total_files = 1;
		r->tally.total_bytes = size;
		r->tally.total_final = true;
	}
	progress_show(r);
}

void report_bytes(struct report *r, uint64_t bytes, bool already_there)
{
	REPORT_GUARD(r);

	r->tally.done += bytes;
	r->file.done += bytes;
	if (!already_there)
		r->moved += bytes;
	progress_show(r);
}

/* -- Files that are done ------------------------------------------------ */

static void digest_print(struct report *r, const struct file_result *res)
{
	char hex[2 * DIGEST_LEN + 1];

	if (!r->digests_on_tty)
		sums_print(r->digests, res->digest, res->path);
	else /* names can come from the peer, who does not get at the terminal */
		fprintf(r->digests, "%s  %s\n", text_hex(hex, res->digest, DIGEST_LEN),
			escape(r, res->path));
}

static void moved_count(struct report *r, const struct file_result *res)
{
	r->tally.files++;
	r->tally.size += res->size;
	r->tally.resumed += res->resumed_from;
	if (res->durability != DURABLE_DISK)
		r->tally.flushed = false;
	if (r->sums)
		sums_add(r->sums, res->digest, res->path);
	if (r->digests) {
		progress_erase(&r->line);
		digest_print(r, res);
	}
}

static void would_count(struct report *r, const struct file_result *res)
{
	r->tally.files++;
	if (res->size != MSG_SIZE_UNKNOWN) {
		r->tally.size += res->size;
		r->tally.done += res->size;
	}
	if (r->human && !r->opts->quiet) {
		progress_erase(&r->line);
		fprintf(r->human, "would %s %s\n",
			r->command == COMMAND_PUT ? "put" : "get", escape(r, res->path));
	}
}

void report_file_done(struct report *r, const struct file_result *res)
{
	REPORT_GUARD(r);

	switch (res->outcome) {
	case OUTCOME_MOVED:
		moved_count(r, res);
		break;
	case OUTCOME_SKIPPED:
		r->tally.skipped++;
		r->tally.done += res->size;
		break;
	case OUTCOME_WOULD:
		would_count(r, res);
		break;
	}
	if (strcmp(r->path, res->path) == 0)
		r->file.done = 0;
	if (r->events)
		event_file(r->events, res);
	progress_show(r);
}

/* -- Failures and notes ------------------------------------------------- */

/* "sockcp: report.pdf: the server's disk is full (needs 2.1 G); nothing was changed …" */
static void failure_print(
	struct report *r, const char *path, const struct verdict *v, const char *detail)
{
	if (!r->human)
		return;
	progress_erase(&r->line);
	fputs("sockcp: ", r->human);
	if (path)
		fprintf(r->human, "%s: ", escape(r, path));
	fputs(v->why, r->human);
	if (detail)
		fprintf(r->human, v->advice ? " (%s)" : ": %s", escape(r, detail));
	if (v->advice)
		fprintf(r->human, "; %s", v->advice);
	fputc('\n', r->human);
}

static void failure_count(struct report *r, const char *path, enum side side, int status)
{
	bool ends_job = !path || side == SIDE_CONNECTION || status == EXIT_SIGNAL;

	if (ends_job && r->job_status == EXIT_OK)
		r->job_status = status;
	if (!path)
		return;
	if (r->tally.failed++ == 0)
		r->common_status = status;
	else if (r->common_status != status)
		r->common_status = EXIT_SOME;
}

static void failure_tell(
	struct report *r, const char *path, enum side side, int code, const char *detail)
{
	struct verdict v = verdict_of(side, code);

	/* A peer that had nothing to add sends the text of the code. */
	if (detail && (*detail == '\0' || strcmp(detail, err_text(code)) == 0))
		detail = NULL;
	/* What the server says of its own rules, it says better. */
	bool is_rule = code == -ERR_DENIED || code == -ERR_REFUSED || code == -ERR_QUOTA;
	if (detail && is_rule && side != SIDE_LOCAL)
		v.advice = NULL;
	failure_count(r, path, side, v.status);
	failure_print(r, path, &v, detail);
	if (r->events)
		event_error(r->events, path, side, code, &v, detail);
}

void report_failure(
	struct report *r, const char *path, enum side side, int code, const char *detail)
{
	REPORT_GUARD(r);

	failure_tell(r, path, side, code, detail);
}

void report_note(struct report *r, const char *fmt, ...)
{
	REPORT_GUARD(r);
	char note[NOTE_MAX];
	va_list ap;

	if (!r->human || r->opts->quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(note, sizeof(note), fmt, ap);
	va_end(ap);
	progress_erase(&r->line);
	fprintf(r->human, "sockcp: %s\n", escape(r, note));
}

/* -- The end ------------------------------------------------------------ */

void report_joined(struct report *r, const char *server,
	const uint8_t self[FINGERPRINT_LEN], const uint8_t peer[FINGERPRINT_LEN])
{
	REPORT_GUARD(r);
	char ours[FINGERPRINT_TEXT_MAX], theirs[FINGERPRINT_TEXT_MAX];

	fingerprint_format(ours, self);
	if (r->events)
		event_joined(r->events, server, ours, fingerprint_format(theirs, peer));
	else if (!r->opts->quiet)
		fprintf(r->human, "joined %s as %s; the server is remembered\n",
			escape(r, server), ours);
}

/* "1.2 G", with -v "1.2 G (1288490189 bytes)". */
static void size_print(struct report *r, uint64_t size)
{
	char text[TEXT_SIZE_MAX];

	fputs(text_format_size(text, size), r->human);
	if (r->opts->verbose)
		fprintf(r->human, " (%" PRIu64 " bytes)", size);
}

static void moved_print(struct report *r, const struct tally *t)
{
	char rate[TEXT_SIZE_MAX], duration[TEXT_DURATION_MAX];
	uint64_t ms = t->elapsed_ms > 0 ? (uint64_t)t->elapsed_ms : 1;
	double sent = (double)(t->size - t->resumed);

	fprintf(r->human, " in %s (%s/s), verified", text_format_duration(duration, ms),
		text_format_size(rate, (uint64_t)(sent * 1000 / (double)ms)));
	if (!r->to_stdout)
		fputs(t->flushed        ? ", on disk"
			: r->opts->sync ? ", not flushed"
					: ", not flushed (--no-sync)",
			r->human);
	if (t->resumed > 0) {
		fputs(", continued, ", r->human);
		size_print(r, t->resumed);
		fputs(" were already there", r->human);
	}
}

static void summary_print(struct report *r, const struct tally *t)
{
	if (t->files == 0) {
		fputs("nothing to move", r->human);
	} else {
		fprintf(r->human, "%" PRIu64 " file%s, ", t->files,
			t->files == 1 ? "" : "s");
		size_print(r, t->size);
		if (r->opts->dry_run)
			fputs(" would be moved", r->human);
		else
			moved_print(r, t);
	}
	if (t->skipped > 0)
		fprintf(r->human, ", %" PRIu64 " skipped", t->skipped);
	if (t->failed > 0)
		fprintf(r->human, ", %" PRIu64 " failed", t->failed);
	fputc('\n', r->human);
}

static int status_of(const struct report *r)
{
	if (r->job_status != EXIT_OK)
		return r->job_status;
	if (r->tally.failed == 0)
		return EXIT_OK;
	return r->tally.files + r->tally.skipped > 0 ? EXIT_SOME : r->common_status;
}

/* What was promised on paper and on stdout has to be there, too. */
static void outputs_finish(struct report *r)
{
	int err = r->sums ? sums_commit(r->sums) : 0;

	if (err < 0)
		failure_tell(r, NULL, SIDE_LOCAL, err, r->opts->sums);
	if (fflush(stdout) != 0 || ferror(stdout))
		failure_tell(
			r, NULL, SIDE_LOCAL, -err_from_errno(errno), "standard output");
}

int report_finish(struct report *r)
{
	REPORT_GUARD(r);
	const struct tally *t;
	bool failed;

	progress_erase(&r->line);
	r->line.out = NULL;
	outputs_finish(r);
	rate_sample(&r->rate, r->moved, clock_now_ms());
	t = tally_now(r, clock_now_ms());
	failed = status_of(r) != EXIT_OK;
	if (r->events && r->started)
		event_progress(r->events, NULL, t);
	if (r->events)
		event_end(r->events, t, status_of(r));
	else if (!r->opts->quiet && r->command != COMMAND_JOIN &&
		 (!failed || t->files + t->skipped > 0))
		summary_print(r, t);
	return status_of(r);
}
