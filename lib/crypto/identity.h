/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who someone is: an Ed25519 key (RFC 8032) and a self-signed certificate around it,
 * kept in one PEM file; or a key and certificates that an authority issued.
 *
 * The name of an identity is its fingerprint: SHA-256 of the public key as it stands in
 * the certificate (SubjectPublicKeyInfo, DER; RFC 5280 4.1), for people "SHA256:" and
 * base64 without padding, as ssh writes it.  Dates and names in a certificate mean
 * nothing to whoever knows the fingerprint.
 */
#ifndef SOCKD_CRYPTO_IDENTITY_H
#define SOCKD_CRYPTO_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define FINGERPRINT_LEN      32
#define FINGERPRINT_TEXT_MAX 51 /* "SHA256:", 43 characters, NUL */

char *fingerprint_format(
	char out[FINGERPRINT_TEXT_MAX], const uint8_t fp[FINGERPRINT_LEN]);
/* Exactly what fingerprint_format makes; -ERR_USAGE. */
int fingerprint_parse(const char *text, uint8_t out[FINGERPRINT_LEN]) MUST_CHECK;

struct identity; /* frozen after it was made; any thread */

/*
 * Reads the file NAME below the directory DIRFD (AT_FDCWD for a path), which must be
 * readable and writable by its owner alone (os/store.h).  It holds a private key and the
 * certificate that belongs to it, with the rest of its chain if there is one, in any
 * order.  -ERR_NOT_FOUND, -ERR_ACCESS (also: others could read it), -ERR_BAD_IDENTITY
 * when it does not hold what it should or the key is not the certificate's.
 */
int identity_load(int dirfd, const char *name, struct identity **out) MUST_CHECK;

/* The same; when there is no such file, makes a new identity, flushed to disk, whose
 * certificate is for SUBJECT.  Two who do it at once end up with one identity. */
int identity_ensure(int dirfd, const char *name, const char *subject,
	struct identity **out) MUST_CHECK;
void identity_free(struct identity *id); /* clears the key; NULL is fine */

const uint8_t *identity_fingerprint(const struct identity *id); /* borrowed */

#endif
