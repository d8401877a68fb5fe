/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The entries of a remote tree that have arrived and were not looked at yet.
 * Kept as they came, two parts at the most.  One thread.
 */
#ifndef SOCKCP_LISTING_H
#define SOCKCP_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/path.h"
#include "wire/msg.h"

#define LISTING_PART 512 /* entries asked for at a time */

struct listing {
	uint8_t *bytes; /* owned: payloads of ENTRY, each behind its length (u32, host
			   order) */
	size_t len, cap, pos;
	size_t count;  /* entries between pos and len */
	bool asked;    /* a part is on its way */
	unsigned part; /* entries of it that have come */
	bool started;  /* this connection has had a LIST; the next part is asked for by
			  NEXT */
	bool ended;
	char last[PATH_WIRE_MAX + 1]; /* the entry that came last; "" before the first */
	char dir[PATH_WIRE_MAX +
		 1]; /* the last directory that was kept; all above it are, too */
	char resume_after[PATH_WIRE_MAX +
			  1]; /* entries up to here came on an earlier connection */
};

void listing_init(struct listing *l);
void listing_fini(struct listing *l);

/* The part that was asked for has come to its end; -ERR_PROTOCOL for one without an entry
 * that is not the last. */
int listing_part_ends(struct listing *l, bool more) MUST_CHECK;
/* Takes an ENTRY payload in; -ERR_PROTOCOL also beyond what was asked for.  -ERR_PROTOCOL
 * when it is not in order, or stands in what was not listed as a directory; errors can
 * come anywhere. */
int listing_add(struct listing *l, const uint8_t *payload, size_t len) MUST_CHECK;
/* The oldest entry; false when there is none.  Borrowed until the next listing_add. */
bool listing_take(struct listing *l, struct msg_entry *out);
/* The connection was lost: the next part begins anew and what came is passed over. */
void listing_restart(struct listing *l);

#endif
