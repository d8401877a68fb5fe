/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <openssl/asn1.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "crypto/identity_impl.h"
#include "os/store.h"

#define DAY_S 86400L

/* RFC 5280 4.1.2.5: what to write for "no end", and here there is none: who trusts an
 * identity knows its key, and ends that by forgetting it. */
#define NEVER "99991231235959Z"

/* RFC 5280 4.1.2.2: positive, at most 20 octets. */
#define SERIAL_BITS 159

#define NAME_MAX_BYTES 64 /* ub-common-name of RFC 5280, in characters */
#define NAME_DEFAULT   "sockd"

/* Each of the functions below gives true when OpenSSL could do it. */

static bool serial_set(X509 *cert)
{
	BIGNUM *n = BN_new();
	bool ok = n &&
		  BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));

	BN_free(n);
	return ok;
}

/* From a day ago: clocks differ. */
static bool dates_set(X509 *cert)
{
	return X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S) &&
	       ASN1_TIME_set_string_X509(X509_getm_notAfter(cert), NEVER) == 1;
}

static bool name_set(X509 *cert, const char *subject)
{
	X509_NAME *name = X509_get_subject_name(cert);

	return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
		       (const uint8_t *)subject, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(cert, name) == 1;
}

static bool extension_add(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

/* Whether NAME can stand in a certificate as the name of a host, and is no address. */
static bool name_is_host(const char *name)
{
	static const char digits[] = "0123456789.";
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789-.";
	size_t len = strlen(name);

	return strspn(name, chars) == len && strspn(name, digits) < len &&
	       !strchr("-.", name[0]) && !strchr("-.", name[len - 1]) &&
	       !strstr(name, "..");
}

static bool extensions_add(X509 *cert, const char *subject)
{
	char san[sizeof("DNS:") + NAME_MAX_BYTES];

	if (!extension_add(cert, NID_basic_constraints, "critical,CA:FALSE") ||
		!extension_add(cert, NID_key_usage, "critical,digitalSignature") ||
		!extension_add(cert, NID_ext_key_usage, "serverAuth,clientAuth"))
		return false;
	if (!name_is_host(subject))
		return true;
	snprintf(san, sizeof(san), "DNS:%s", subject);
	return extension_add(cert, NID_subject_alt_name, san);
}

static bool cert_fill(X509 *cert, EVP_PKEY *key, const char *subject)
{
	return X509_set_version(cert, X509_VERSION_3) == 1 && serial_set(cert) &&
	       dates_set(cert) && name_set(cert, subject) &&
	       X509_set_pubkey(cert, key) == 1 && extensions_add(cert, subject) &&
	       X509_sign(cert, key, NULL) > 0; /* Ed25519 has a digest of its own */
}

static bool pem_fill(BIO *pem, const char *subject)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *cert = X509_new();
	bool ok =
		key && cert && cert_fill(cert, key, subject) &&
		PEM_write_bio_PKCS8PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL) == 1 &&
		PEM_write_bio_X509(pem, cert) == 1;

	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

/* SUBJECT as far as it can be the name in a certificate. */
static void name_choose(char out[NAME_MAX_BYTES + 1], const char *subject)
{
	size_t len = strnlen(subject, NAME_MAX_BYTES + 1);

	if (len > NAME_MAX_BYTES)
		for (len = NAME_MAX_BYTES; len > 0 && (subject[len] & 0xc0) == 0x80;)
			len--; /* not within a character */
	if (len == 0 || !text_is_utf8(subject, len)) {
		subject = NAME_DEFAULT;
		len = strlen(NAME_DEFAULT);
	}
	memcpy(out, subject, len);
	out[len] = '\0';
}

int identity_create(int dirfd, const char *name, const char *subject)
{
	char chosen[NAME_MAX_BYTES + 1], *bytes = NULL;
	BIO *pem = BIO_new(BIO_s_mem()); /* cleared when it is freed */
	int r = -ERR_RESOURCE;

	name_choose(chosen, subject);
	if (pem && pem_fill(pem, chosen)) {
		long len = BIO_get_mem_data(pem, &bytes);
		r = store_create(dirfd, name, bytes, (size_t)len);
	}
	ERR_clear_error();
	BIO_free(pem);
	return r;
}
