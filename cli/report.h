/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All that sockcp says: failures, -v lines, progress, JSON events, the
 * manifest and the last line.  The transfers call it; nothing else prints.
 * Human text goes to stderr; stdout has -v digests, JSON, or file data.
 * Guarded by its own lock: the counting thread calls report_total.
 */
#ifndef SOCKCP_REPORT_H
#define SOCKCP_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "cli/options.h"

/* How the program ends: the exit status table of sockcp(1). */
enum exit_status {
	EXIT_OK = 0,
	EXIT_SOME = 1,
	EXIT_USAGE = 2,
	EXIT_CONNECTION = 3,
	EXIT_DENIED = 4,
	EXIT_NOT_FOUND = 5,
	EXIT_VERIFY = 6,
	EXIT_LOCAL = 7,
	EXIT_SERVER = 8,
	EXIT_PROTOCOL = 9,
	EXIT_SIGNAL = 130,
};

/* On which side a failure arose: the same code means 7 here and 8 there. */
enum side { SIDE_LOCAL, SIDE_SERVER, SIDE_CONNECTION };

struct report; /* opaque */

/* Opens the manifest (-ERR_… when it cannot be written), looks at the terminal. */
int report_new(struct report **out, const struct options *opts,
	const struct request *req) MUST_CHECK;
void report_free(struct report *r);

/* JSON "start".  Once connected. */
void report_start(struct report *r, const char *server);

/* Whether somebody watches who would want to know how much there is. */
bool report_wants_total(const struct report *r);
/* What the whole job is known to hold so far; FINAL when all was counted. */
void report_total(struct report *r, uint64_t files, uint64_t bytes, bool final);

/* A file begins: PATH as the user would name it; SIZE or MSG_SIZE_UNKNOWN. */
void report_file_begin(struct report *r, const char *path, uint64_t size);
/* BYTES more of it have been moved (or, RESENT false, were found already there). Cheap.
 */
void report_bytes(struct report *r, uint64_t bytes, bool already_there);

enum outcome {
	OUTCOME_MOVED,   /* verified */
	OUTCOME_SKIPPED, /* -u: nothing to do */
	OUTCOME_WOULD,   /* -n: would be moved */
};

struct file_result {
	const char *path; /* borrowed */
	enum outcome outcome;
	uint64_t size;
	uint64_t resumed_from; /* bytes that were there and not sent again */
	const uint8_t *digest; /* DIGEST_LEN bytes; NULL unless OUTCOME_MOVED */
	enum durability durability;
};
/* A file is done: verified and, as DURABILITY says, on disk.  -v line, JSON "file",
 * manifest. */
void report_file_done(struct report *r, const struct file_result *res);

/* join: SERVER ("HOST:PORT") knows us as SELF from now on, and we know it as PEER. */
void report_joined(struct report *r, const char *server,
	const uint8_t self[FINGERPRINT_LEN], const uint8_t peer[FINGERPRINT_LEN]);

/*
 * PATH (NULL: the job) failed with CODE (either sign).  DETAIL (may be NULL) is the
 * peer's or the system's own word, raw.  One line that names the file, why, and what to
 * do; counted.
 */
void report_failure(
	struct report *r, const char *path, enum side side, int code, const char *detail);

/* "connection lost, trying again in 2 s (1 of 5)"; "continuing x at 3.1 G". Not counted
 * as a failure. */
void report_note(struct report *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The last line or the JSON "end"; flushes the manifest.  The exit status: EXIT_OK, the
 * one failure's own, EXIT_SOME, or the status of the failure that ended the job. */
int report_finish(struct report *r);

/* The exit status of a failure. Pure. */
int report_status(enum side side, int code);

#endif
