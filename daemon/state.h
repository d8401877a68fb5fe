/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The state directory, and the identity that the server shows. */
#ifndef SOCKD_STATE_H
#define SOCKD_STATE_H

#include <stdbool.h>

#include "base/compiler.h"
#include "crypto/identity.h"
#include "daemon/config.h"

struct tls_context;

#define STATE_IDENTITY "identity.pem" /* its name in the state directory */

/* A store's descriptor; or -ERR_… after a line in the log. */
int state_open(const struct config *config) MUST_CHECK;

/* Whether what lies in DIR_FD could be asked for by a client: DIR_FD is ROOT_FD or below
 * it. */
bool state_is_served(int root_fd, int dir_fd);

/* The identity of CONFIG, or the state directory's own, which MAKE makes when there is
 * none.  0; or -ERR_… after a line in the log. */
int state_identity(const struct config *config, int state_fd, bool make,
	struct identity **out) MUST_CHECK;

/* Whether that could be used, if it is there already; makes nothing.  The same. */
int state_check(const struct config *config, int state_fd) MUST_CHECK;

/* What connections are served with; its fingerprint in FP_OUT.  The same. */
int state_tls(const struct config *config, int state_fd, bool make,
	struct tls_context **out, uint8_t fp_out[FINGERPRINT_LEN]) MUST_CHECK;

/* Says in the log who we are. */
void state_announce(const uint8_t fp[FINGERPRINT_LEN]);

#endif
