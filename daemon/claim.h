/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which connection works on which partial, so that a client whose connection
 * died takes over its own half-finished transfer before the dead connection
 * was noticed.  Guarded by its own lock, held for memory work only.
 */
#ifndef SOCKD_CLAIM_H
#define SOCKD_CLAIM_H

#include <stdint.h>

#include "base/compiler.h"
#include "os/stage.h"
#include "wire/msg.h"

struct claims;              /* all of them; one per daemon */
struct claim {              /* one; embedded in the connection that owns it */
	struct claim *next; /* guarded by claims */
	uint8_t key[STAGE_KEY_LEN];
	uint8_t run[MSG_RUN_LEN];
	int fd; /* borrowed: the connection's socket */
	int64_t progress_ms;
	bool working; /* a digest is made: silence is no stall */
	bool held;
};

struct claims *claims_new(void);
void claims_free(struct claims *cs);

/*
 * Makes KEY ours.  When another connection holds it: the same RUN, or one
 * that made no progress for STALL_MS, has its socket shut down, and in any case we
 * wait up to WAIT_MS for it to let go.  0, or -ERR_BUSY when it still holds it.
 */
int claim_take(struct claims *cs, struct claim *c, const uint8_t key[STAGE_KEY_LEN],
	const uint8_t run[MSG_RUN_LEN], int fd, int stall_ms, int wait_ms) MUST_CHECK;
void claim_progress(struct claims *cs, struct claim *c);
/* From here to the next progress both sides may be busy digesting what there is. */
void claim_work(struct claims *cs, struct claim *c);
/* After the stage was closed. Harmless when not held. */
void claim_drop(struct claims *cs, struct claim *c);

#endif
