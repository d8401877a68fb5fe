/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sockcp join: an invitation is taken up. */
#ifndef SOCKCP_JOIN_H
#define SOCKCP_JOIN_H

#include "base/compiler.h"
#include "cli/job.h"

/*
 * Gives the server the secret of the code and remembers the server.  The peer is
 * connected, and with that the server has been found to be the one of the code and not to
 * contradict known_hosts.  As put_run: 0 also when a refusal was reported.
 */
int join_run(const struct job *job) MUST_CHECK;

#endif
