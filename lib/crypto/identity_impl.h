/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What identity*.c and tls.c share: the only header that names OpenSSL's types. */
#ifndef SOCKD_CRYPTO_IDENTITY_IMPL_H
#define SOCKD_CRYPTO_IDENTITY_IMPL_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "crypto/identity.h"

struct identity {
	EVP_PKEY *key;          /* owned */
	X509 *cert;             /* owned */
	STACK_OF(X509) * chain; /* owned: the file's other certificates; may be empty */
	uint8_t fingerprint[FINGERPRINT_LEN];
};

/* The fingerprint of CERT's public key; 0 or -ERR_RESOURCE. */
int fingerprint_of(const X509 *cert, uint8_t out[FINGERPRINT_LEN]) MUST_CHECK;

/* Makes the file NAME with a new key and certificate; -ERR_EXISTS, or what store_create
 * says.  SUBJECT is cut where it is too long for a certificate. */
int identity_create(int dirfd, const char *name, const char *subject) MUST_CHECK;

#endif
