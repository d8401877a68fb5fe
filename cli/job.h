/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What put and get are given, and what both need.  One thread. */
#ifndef SOCKCP_JOB_H
#define SOCKCP_JOB_H

#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "cli/options.h"
#include "cli/peer.h"
#include "cli/report.h"

struct job {
	const struct options *opts; /* borrowed, as all */
	const struct request *req;
	struct report *report;
	struct peer *peer;
	mode_t umask; /* of the process, read before there were threads */
	unsigned processors;
};

/* Each moves what REQ names.  Failures of files are reported where they arise; what is
 * returned is the -ERR_… that ended the whole job early, or 0.  The peer is connected. */
int put_run(const struct job *job) MUST_CHECK;
int get_run(const struct job *job) MUST_CHECK;

/* On whose side a failure of the whole job with ERR arose. */
enum side job_side(int err);

#endif
