/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/digest.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/err.h"

struct digest {
	EVP_MD *md;       /* owned */
	EVP_MD_CTX *ctx;  /* owned */
	EVP_MD_CTX *peek; /* owned: takes a copy of ctx, to be finished */
};

struct digest *digest_new(void)
{
	struct digest *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	d->ctx = EVP_MD_CTX_new();
	d->peek = EVP_MD_CTX_new();
	if (!d->md || !d->ctx || !d->peek ||
		EVP_DigestInit_ex2(d->ctx, d->md, NULL) != 1) {
		digest_free(d);
		return NULL;
	}
	return d;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->peek);
	EVP_MD_CTX_free(d->ctx);
	EVP_MD_free(d->md);
	free(d);
}

void digest_freep(struct digest **d)
{
	digest_free(*d);
}

/* libcrypto says 1 for success. */
static int result(int ok)
{
	return ok == 1 ? 0 : -ERR_RESOURCE;
}

int digest_start(struct digest *d)
{
	/* Without a type the context keeps the algorithm that was fetched. */
	return result(EVP_DigestInit_ex2(d->ctx, NULL, NULL));
}

int digest_update(struct digest *d, const void *bytes, size_t len)
{
	return result(EVP_DigestUpdate(d->ctx, bytes, len));
}

int digest_peek(const struct digest *d, uint8_t out[DIGEST_LEN])
{
	if (EVP_MD_CTX_copy_ex(d->peek, d->ctx) != 1)
		return -ERR_RESOURCE;
	return result(EVP_DigestFinal_ex(d->peek, out, NULL));
}

int digest_finish(struct digest *d, uint8_t out[DIGEST_LEN])
{
	return result(EVP_DigestFinal_ex(d->ctx, out, NULL));
}

int digest_of(const void *bytes, size_t len, uint8_t out[DIGEST_LEN])
{
	return result(EVP_Digest(bytes, len, out, NULL, EVP_sha256(), NULL));
}
