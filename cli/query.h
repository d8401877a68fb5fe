/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Questions about one remote name, asked while nothing else is under way. */
#ifndef SOCKCP_QUERY_H
#define SOCKCP_QUERY_H

#include "base/compiler.h"
#include "cli/peer.h"

struct remote_stat {
	enum entry_kind kind;
	uint64_t size;
	uint32_t mode;
	struct msg_time mtime;
};

/* What PATH leads to.  0; -ERR_NOT_FOUND, -ERR_DENIED and other refusals of the
 * server; or the error of a connection that could not be made again. */
int query_stat(struct peer *p, const char *path, struct remote_stat *out) MUST_CHECK;

#endif
