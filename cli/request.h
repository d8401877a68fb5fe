/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The operands of sockcp: a command, HOST:PATH and local names.  Used by options.c. */
#ifndef SOCKCP_REQUEST_H
#define SOCKCP_REQUEST_H

#include "base/compiler.h"
#include "cli/options.h"

/* Fills *REQ, which is all zero, from the operands; 0, or -ERR_USAGE after saying why.
 * Either way request_fini takes back what was made. */
int request_read(int argc, char **argv, struct request *req) MUST_CHECK;

/* Whether the request and the options go together; the same. */
int request_check(const struct request *req, const struct options *opts) MUST_CHECK;

/* Of join: the server is the one of the code, as if --pin named it; the same when it
 * names another. */
int request_pin(const struct request *req, struct options *opts) MUST_CHECK;

#endif
