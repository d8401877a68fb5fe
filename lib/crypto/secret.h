/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One-time secrets and the codes that carry them.
 *
 * The code of an invitation is one word: "sockd1." and base64url (RFC 4648 5) of the
 * server's fingerprint, the secret, and the first CODE_CHECK_LEN bytes of the SHA-256 of
 * both, by which a mistyped code is known without asking anybody.
 */
#ifndef SOCKD_CRYPTO_SECRET_H
#define SOCKD_CRYPTO_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "crypto/identity.h"

#define SECRET_LEN      16 /* 128 bits, from the kernel's random numbers */
#define SECRET_HASH_LEN 32
#define CODE_CHECK_LEN  3
#define CODE_TEXT_MAX   76 /* 7 + 68 characters, NUL */

struct invite_code {
	uint8_t server[FINGERPRINT_LEN];
	uint8_t secret[SECRET_LEN];
};

/* 0 or -ERR_RESOURCE. */
int secret_make(uint8_t out[SECRET_LEN]) MUST_CHECK;
/* What is kept of a secret: SHA-256 of "sockd invitation" NUL and the secret.  A secret
 * of 128 random bits needs no salt and no slow hash.  0 or -ERR_RESOURCE. */
int secret_hash(
	const uint8_t secret[SECRET_LEN], uint8_t out[SECRET_HASH_LEN]) MUST_CHECK;

/* Whether A and B are equal, in a time that does not depend on what is in them. */
bool secret_equal(const void *a, const void *b, size_t len);
/* Overwrites, also where a compiler sees no further use. */
void secret_wipe(void *p, size_t len);

/* 0 or -ERR_RESOURCE. */
int code_format(char out[CODE_TEXT_MAX], const struct invite_code *code) MUST_CHECK;
/* -ERR_USAGE when it is no code or one character is wrong. */
int code_parse(const char *text, struct invite_code *out) MUST_CHECK;

#endif
