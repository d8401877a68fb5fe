/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/err.h"
#include "crypto/digest.h"
#include "os/clock.h"

#define HASH_LABEL  "sockd invitation" /* with its NUL */
#define CODE_PREFIX "sockd1."
#define PREFIX_LEN  (sizeof(CODE_PREFIX) - 1)

#define CODE_LEN      (FINGERPRINT_LEN + SECRET_LEN + CODE_CHECK_LEN)
#define CODE_TEXT_LEN (CODE_TEXT_MAX - 1 - PREFIX_LEN)

_Static_assert(CODE_LEN % 3 == 0 && CODE_LEN / 3 * 4 == CODE_TEXT_LEN,
	"a code has whole groups, so no padding and one way to write it");

int secret_make(uint8_t out[SECRET_LEN])
{
	return random_bytes(out, SECRET_LEN);
}

int secret_hash(const uint8_t secret[SECRET_LEN], uint8_t out[SECRET_HASH_LEN])
{
	uint8_t bytes[sizeof(HASH_LABEL) + SECRET_LEN] = HASH_LABEL;

	memcpy(bytes + sizeof(HASH_LABEL), secret, SECRET_LEN);
	int r = digest_of(bytes, sizeof(bytes), out);
	secret_wipe(bytes, sizeof(bytes));
	return r;
}

bool secret_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

void secret_wipe(void *p, size_t len)
{
	OPENSSL_cleanse(p, len);
}

/* -- Codes --------------------------------------------------------------- */

static int check_make(const uint8_t bytes[CODE_LEN], uint8_t out[CODE_CHECK_LEN])
{
	uint8_t digest[DIGEST_LEN];
	int r = digest_of(bytes, CODE_LEN - CODE_CHECK_LEN, digest);

	if (r == 0)
		memcpy(out, digest, CODE_CHECK_LEN);
	return r;
}

static void chars_swap(char *text, const char from[2], const char to[2])
{
	for (; *text; text++) {
		if (*text == from[0])
			*text = to[0];
		else if (*text == from[1])
			*text = to[1];
	}
}

int code_format(char out[CODE_TEXT_MAX], const struct invite_code *code)
{
	uint8_t bytes[CODE_LEN];

	memcpy(bytes, code->server, FINGERPRINT_LEN);
	memcpy(bytes + FINGERPRINT_LEN, code->secret, SECRET_LEN);
	int r = check_make(bytes, bytes + CODE_LEN - CODE_CHECK_LEN);
	if (r == 0) {
		memcpy(out, CODE_PREFIX, PREFIX_LEN);
		EVP_EncodeBlock((uint8_t *)out + PREFIX_LEN, bytes, CODE_LEN);
		chars_swap(out + PREFIX_LEN, "+/", "-_");
	}
	secret_wipe(bytes, sizeof(bytes));
	return r;
}

static int bytes_check(const uint8_t bytes[CODE_LEN])
{
	uint8_t check[CODE_CHECK_LEN];
	int r = check_make(bytes, check);

	if (r == 0 &&
		!secret_equal(check, bytes + CODE_LEN - CODE_CHECK_LEN, CODE_CHECK_LEN))
		r = -ERR_USAGE;
	return r;
}

int code_parse(const char *text, struct invite_code *out)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		"0123456789-_";
	char chars[CODE_TEXT_LEN + 1];
	uint8_t bytes[CODE_LEN];
	int r = -ERR_USAGE;

	if (strlen(text) != PREFIX_LEN + CODE_TEXT_LEN ||
		memcmp(text, CODE_PREFIX, PREFIX_LEN) != 0)
		return -ERR_USAGE;
	memcpy(chars, text + PREFIX_LEN, sizeof(chars));
	/* EVP_DecodeBlock passes over white space and takes padding. */
	if (strspn(chars, alphabet) == CODE_TEXT_LEN) {
		chars_swap(chars, "-_", "+/");
		if (EVP_DecodeBlock(bytes, (uint8_t *)chars, CODE_TEXT_LEN) == CODE_LEN)
			r = bytes_check(bytes);
	}
	if (r == 0) {
		memcpy(out->server, bytes, FINGERPRINT_LEN);
		memcpy(out->secret, bytes + FINGERPRINT_LEN, SECRET_LEN);
	}
	secret_wipe(chars, sizeof(chars));
	secret_wipe(bytes, sizeof(bytes));
	return r;
}
