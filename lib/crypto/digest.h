/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SHA-256 (FIPS 180-4) as a running digest that can be read on the way.
 *
 * One thread at a time: a reader or writer has it until it is joined.  A digest is made
 * once per connection and started anew for each file, so the algorithm is looked up once.
 * digest_update allocates nothing; OpenSSL 3.0 takes a small block for each start and
 * each peek.
 */
#ifndef SOCKD_CRYPTO_DIGEST_H
#define SOCKD_CRYPTO_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/msg.h" /* DIGEST_LEN */

struct digest;

/* NULL without memory or without a working libcrypto.  Owned by the caller. */
struct digest *digest_new(void);
void digest_free(struct digest *d);
void digest_freep(struct digest **d); /* for CLEANUP */

/* Each returns 0 or -ERR_RESOURCE when libcrypto fails. */
int digest_start(struct digest *d) MUST_CHECK;
int digest_update(struct digest *d, const void *bytes, size_t len) MUST_CHECK;
/* The digest of all bytes so far; the running state is kept. */
int digest_peek(const struct digest *d, uint8_t out[DIGEST_LEN]) MUST_CHECK;
/* The digest of all bytes; the next call must be digest_start. */
int digest_finish(struct digest *d, uint8_t out[DIGEST_LEN]) MUST_CHECK;

/* SHA-256 of one short text, for names derived from secrets or paths. */
int digest_of(const void *bytes, size_t len, uint8_t out[DIGEST_LEN]) MUST_CHECK;

#endif
