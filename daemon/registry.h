/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The clients that the daemon knows: those of the configuration and those of the state
 * directory, seen as one.
 *
 * The file "clients" of the state directory is changed by `sockd invite` and its like
 * while the daemon runs, and by the daemon itself when a client joins: each under the
 * store's lock, each by replacing the whole file.  The registry looks at the file (its
 * inode, size and times) before each answer, so a change counts from the next answer on.
 * A file that cannot be read or makes no sense is said once in the log, and nothing
 * changes.  A name or fingerprint that stands in both: the configuration's counts.
 *
 * Guarded by its own lock, which is held while the file is read.
 */
#ifndef SOCKD_REGISTRY_H
#define SOCKD_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/secret.h"
#include "daemon/client.h"

struct config;
struct registry;

/* STATE_FD (a store) is borrowed for life; CONFIG only for the call.  0, or -ERR_… after
 * a line in the log when the file makes no sense: a daemon does not start with it. */
int registry_new(
	struct registry **out, int state_fd, const struct config *config) MUST_CHECK;
void registry_free(struct registry *r);

/* The clients of CONFIG (borrowed for the call) in place of those of the last one. */
int registry_configure(struct registry *r, const struct config *config) MUST_CHECK;

/* Who has this fingerprint: a new reference, or NULL. */
struct client *registry_find(struct registry *r, const uint8_t fp[FINGERPRINT_LEN]);

/* What whoever nobody knows may do, as the last configuration says: a new reference. */
struct client *registry_anonymous(struct registry *r);

/* The clients there are, and the anonymous one, as N references that the caller gives
 * back, for the sweep; 0 or -ERR_RESOURCE. */
int registry_list(struct registry *r, struct client ***out, size_t *n_out) MUST_CHECK;

/* Changes whenever what registry_find tells may have changed; looks at the file first.
 * For one thread, the one that polls registry_watch_fd, which this makes quiet. */
uint64_t registry_version(struct registry *r);

/* Readable when the file may have changed (inotify), for the main thread's poll;
 * registry_version then takes notice.  -1 where the kernel has none: look now and then.
 */
int registry_watch_fd(const struct registry *r);

/*
 * The invitation of this secret, used up: its client has FP as its identity from here on,
 * on disk.  NAME_OUT (may be NULL) tells whose it was.  -ERR_DENIED when there is no such
 * invitation, or it has expired; -ERR_EXISTS when FP is another client's already, or the
 * configuration has a client of the invited name; else -ERR_….  All secrets are
 * compared, in constant time.
 */
int registry_join(struct registry *r, const uint8_t secret[SECRET_LEN],
	const uint8_t fp[FINGERPRINT_LEN], char name_out[CLIENT_NAME_MAX + 1]) MUST_CHECK;

#endif
