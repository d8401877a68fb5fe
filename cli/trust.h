/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Is this the server that the user means?  Decided once TLS has proved that the server
 * holds a key, and before anything is sent to it.
 *
 * In this order:
 *	a fingerprint in known_hosts    must be the server's, whatever the options say
 *	--pin                           must be the server's
 *	--ca                            must vouch for it, and for the host name
 *	an authority of the system's    vouches for it, and for the host name: taken
 *	nobody knows it                 --accept-new, or asked on the terminal: remembered
 *	                                for next time; else refused
 *
 * known_hosts stands in the configuration directory: a line for each server, its name as
 * the user wrote it and its port ("HOST:PORT", "[V6]:PORT", lower case), then one blank
 * and the fingerprint.  Empty lines and lines that begin with '#' are left alone.
 */
#ifndef SOCKCP_TRUST_H
#define SOCKCP_TRUST_H

#include <stdint.h>

#include "base/compiler.h"
#include "cli/options.h"
#include "cli/report.h"
#include "crypto/identity.h"

#define TRUST_IDENTITY "identity.pem" /* our own, in that directory */

/* The directory of identity and known_hosts: $XDG_CONFIG_HOME/sockd, else
 * ~/.config/sockd; made when missing.  A store's descriptor, or -ERR_…. */
int trust_directory(void) MUST_CHECK;
/* Where that is, for messages; borrowed, static; never NULL. */
const char *trust_directory_name(void);

/*
 * DIRFD is from trust_directory.  DISTRUST is what tls_distrust told.  0; -ERR_UNTRUSTED
 * after the reason was reported (with both fingerprints and what to do, where they
 * differ); -ERR_INTERRUPTED when STOP_FD became readable while the user was asked.
 * A known_hosts that cannot be read or makes no sense trusts nobody.
 */
int trust_check(const struct options *opts, struct report *report, int dirfd,
	const char *host, const uint8_t fp[FINGERPRINT_LEN], const char *distrust,
	int stop_fd) MUST_CHECK;

/* Remembers FP for HOST.  -ERR_EXISTS when another one is remembered, which is reported
 * as a changed server is; -ERR_UNTRUSTED after another failure was reported.  For sockcp
 * join. */
int trust_remember(const struct options *opts, struct report *report, int dirfd,
	const char *host, const uint8_t fp[FINGERPRINT_LEN]) MUST_CHECK;

#endif
