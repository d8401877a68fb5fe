/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Between TLS and its socket: records come in and go out by the dozen for one system
 * call, as a call and a wake-up of the peer for each cost as much again as the cipher.
 *
 * OpenSSL's own reading ahead moves all that it holds for each record that it takes.  One
 * thread.  Only lib/crypto/tls.c uses this.
 */
#ifndef SOCKD_CRYPTO_TLS_IO_H
#define SOCKD_CRYPTO_TLS_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/bio.h>

#include "base/compiler.h"

/* So much is encrypted for one send(2). */
#define TLS_WRITE_BATCH (256 << 10)

struct tls_io {
	int fd;      /* borrowed */
	uint8_t *in; /* owned, or NULL: records that have come */
	size_t in_pos, in_len;
	uint8_t *out; /* owned, or NULL: records that are to be sent */
	size_t out_pos, out_len, out_cap;
};

/* A BIO for both directions; owned by the caller, IO borrowed for its life.  NULL without
 * memory. */
BIO *tls_io_bio(struct tls_io *io);
void tls_io_fini(struct tls_io *io);

bool tls_io_has_input(const struct tls_io *io);
bool tls_io_has_unsent(const struct tls_io *io);
/* Sends what is to be sent.  0; -ERR_AGAIN when it would have to wait; or the end. */
int tls_io_flush(struct tls_io *io) MUST_CHECK;
/* Gives buffers back in which there is nothing. */
void tls_io_relax(struct tls_io *io);

#endif
