/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "crypto/digest.h"
#include "crypto/identity_impl.h"
#include "crypto/secret.h"
#include "os/store.h"

#define FP_PREFIX   "SHA256:"
#define FP_PAD      "=" /* of the 44 characters that 32 bytes take */
#define PREFIX_LEN  (sizeof(FP_PREFIX) - 1)
#define ENCODED_LEN 44

/* -- Fingerprints -------------------------------------------------------- */

char *fingerprint_format(
	char out[FINGERPRINT_TEXT_MAX], const uint8_t fp[FINGERPRINT_LEN])
{
	char encoded[ENCODED_LEN + 1];

	EVP_EncodeBlock((uint8_t *)encoded, fp, FINGERPRINT_LEN);
	memcpy(out, FP_PREFIX, PREFIX_LEN);
	memcpy(out + PREFIX_LEN, encoded, ENCODED_LEN - 1);
	out[FINGERPRINT_TEXT_MAX - 1] = '\0';
	return out;
}

int fingerprint_parse(const char *text, uint8_t out[FINGERPRINT_LEN])
{
	char encoded[ENCODED_LEN + 1], again[FINGERPRINT_TEXT_MAX];
	uint8_t bytes[ENCODED_LEN / 4 * 3];

	if (strlen(text) != FINGERPRINT_TEXT_MAX - 1)
		return -ERR_USAGE;
	memcpy(encoded, text + PREFIX_LEN, ENCODED_LEN - 1);
	memcpy(encoded + ENCODED_LEN - 1, FP_PAD, sizeof(FP_PAD));
	if (EVP_DecodeBlock(bytes, (uint8_t *)encoded, ENCODED_LEN) != sizeof(bytes))
		return -ERR_USAGE;
	/* One way only to write each: EVP_DecodeBlock is not strict. */
	if (strcmp(fingerprint_format(again, bytes), text) != 0)
		return -ERR_USAGE;
	memcpy(out, bytes, FINGERPRINT_LEN);
	return 0;
}

int fingerprint_of(const X509 *cert, uint8_t out[FINGERPRINT_LEN])
{
	uint8_t *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	int r = len > 0 ? digest_of(der, (size_t)len, out) : -ERR_RESOURCE;

	OPENSSL_free(der);
	return r;
}

/* -- Reading ------------------------------------------------------------- */

static int key_take(struct identity *id, const uint8_t *der, long len)
{
	const uint8_t *end = der;

	/* Which of two keys is meant, nobody could tell. */
	if (id->key)
		return -ERR_BAD_IDENTITY;
	id->key = d2i_AutoPrivateKey(NULL, &end, len);
	return id->key && end == der + len ? 0 : -ERR_BAD_IDENTITY;
}

static int cert_take(struct identity *id, const uint8_t *der, long len)
{
	const uint8_t *end = der;
	X509 *cert = d2i_X509(NULL, &end, len);

	if (!cert || end != der + len) {
		X509_free(cert);
		return -ERR_BAD_IDENTITY;
	}
	if (sk_X509_push(id->chain, cert) == 0) {
		X509_free(cert);
		return -ERR_RESOURCE;
	}
	return 0;
}

/* Whether LABEL ends in "PRIVATE KEY": "RSA PRIVATE KEY", "EC PRIVATE KEY". */
static bool label_is_key(const char *label)
{
	const size_t len = strlen(PEM_STRING_PKCS8INF), n = strlen(label);

	return n >= len && strcmp(label + n - len, PEM_STRING_PKCS8INF) == 0;
}

/* One PEM block (RFC 7468).  The blocks are taken apart here, and not by a reader of
 * OpenSSL's that decrypts: that one would ask for a password on the terminal. */
static int block_take(struct identity *id, const char *label, const char *header,
	const uint8_t *der, long len)
{
	if (label_is_key(label)) {
		if (strcmp(label, PEM_STRING_PKCS8) == 0 || *header)
			return -ERR_BAD_IDENTITY;
		return key_take(id, der, len);
	}
	if (strcmp(label, PEM_STRING_X509) == 0)
		return cert_take(id, der, len);
	return 0; /* "EC PARAMETERS" and the like */
}

static int blocks_take(struct identity *id, BIO *bio)
{
	/* The latter clears what was read, also without a secure heap. */
	const unsigned flags = PEM_FLAG_EAY_COMPATIBLE | PEM_FLAG_SECURE;

	for (;;) {
		char *label = NULL, *header = NULL;
		uint8_t *der = NULL;
		long len = 0;
		if (PEM_read_bio_ex(bio, &label, &header, &der, &len, flags) != 1)
			break;
		int r = block_take(id, label, header, der, len);
		OPENSSL_secure_free(label);
		OPENSSL_secure_free(header);
		OPENSSL_secure_clear_free(der, (size_t)len);
		if (r < 0)
			return r;
	}
	bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	return at_end ? 0 : -ERR_BAD_IDENTITY;
}

/* Takes the certificate of the key out of the chain. */
static int cert_choose(struct identity *id)
{
	for (int i = 0; id->key && i < sk_X509_num(id->chain); i++)
		if (X509_check_private_key(sk_X509_value(id->chain, i), id->key) == 1) {
			id->cert = sk_X509_delete(id->chain, i);
			return fingerprint_of(id->cert, id->fingerprint);
		}
	return -ERR_BAD_IDENTITY;
}

static int identity_parse(const char *pem, size_t len, struct identity **out)
{
	struct identity *id = calloc(1, sizeof(*id));
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	int r = -ERR_RESOURCE;

	if (id && bio && (id->chain = sk_X509_new_null())) {
		r = blocks_take(id, bio);
		if (r == 0)
			r = cert_choose(id);
	}
	/* Or whoever looks next, for an error of TLS, finds these. */
	ERR_clear_error();
	BIO_free(bio);
	if (r < 0)
		identity_free(id);
	else
		*out = id;
	return r;
}

int identity_load(int dirfd, const char *name, struct identity **out)
{
	char *pem;
	size_t len;

	int r = store_read(dirfd, name, &pem, &len);
	if (r < 0)
		return r;
	r = identity_parse(pem, len, out);
	secret_wipe(pem, len);
	free(pem);
	return r;
}

int identity_ensure(
	int dirfd, const char *name, const char *subject, struct identity **out)
{
	int r = identity_load(dirfd, name, out);

	if (r != -ERR_NOT_FOUND)
		return r;
	r = identity_create(dirfd, name, subject);
	/* Who was there first has made it. */
	return r == 0 || r == -ERR_EXISTS ? identity_load(dirfd, name, out) : r;
}

void identity_free(struct identity *id)
{
	if (!id)
		return;
	EVP_PKEY_free(id->key);
	X509_free(id->cert);
	sk_X509_pop_free(id->chain, X509_free);
	free(id);
}

const uint8_t *identity_fingerprint(const struct identity *id)
{
	return id->fingerprint;
}
