/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * known_hosts: which server showed which fingerprint.  A line for each server: its name,
 * one blank, its fingerprint.  Empty lines and lines that begin with '#' say nothing.
 * Any other line, or one server with two fingerprints, makes the whole file useless:
 * what stands in it decides whom we trust, so nothing in it is guessed.  Any thread.
 */
#ifndef SOCKCP_KNOWN_H
#define SOCKCP_KNOWN_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/identity.h"
#include "os/sock.h"

#define KNOWN_FILE     "known_hosts"
#define KNOWN_NAME_MAX (SOCK_HOST_MAX + 8) /* "[HOST]:65535", NUL */

struct known {
	size_t line; /* from 1 */
	uint8_t fp[FINGERPRINT_LEN];
};

/* "HOST:PORT", "[V6]:PORT" in lower case.  -ERR_USAGE when HOST is too long or has
 * blanks or control characters, with which it would be more than a name. */
int known_name(char out[KNOWN_NAME_MAX], const char *host, uint16_t port) MUST_CHECK;

/* Looks NAME up in the LEN bytes of TEXT: 1 and *OUT, or 0.  -ERR_USAGE when the file
 * makes no sense; out->line then is the line. */
int known_find(
	const char *text, size_t len, const char *name, struct known *out) MUST_CHECK;

/* The same in the known_hosts of DIRFD (a store); a missing file has nobody in it.
 * -ERR_USAGE as above, or any other -ERR_… when it cannot be read. */
int known_read(int dirfd, const char *name, struct known *out) MUST_CHECK;

/* Adds a line behind what there is, under the store's lock.  0, also when it was there
 * already.  -ERR_EXISTS with *OUT when NAME has another fingerprint; -ERR_USAGE as
 * above; any other -ERR_… when it cannot be read or written. */
int known_add(int dirfd, const char *name, const uint8_t fp[FINGERPRINT_LEN],
	struct known *out) MUST_CHECK;

#endif
