/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a failure means to the user: why, what to do, and the exit status.  Pure. */
#ifndef SOCKCP_VERDICT_H
#define SOCKCP_VERDICT_H

#include "cli/report.h"

struct verdict {
	int status;         /* enum exit_status */
	const char *why;    /* never NULL, as all here static */
	const char *advice; /* what to do; NULL when nobody knows */
};

/* CODE may have either sign. */
struct verdict verdict_of(enum side side, int code);

#endif
