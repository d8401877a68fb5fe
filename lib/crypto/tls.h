/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * TLS 1.3 (RFC 8446) over a socket that never blocks; by OpenSSL.
 *
 * Only TLS 1.3, so only AEAD ciphers; ALPN "sockd/1" (RFC 7301), without which the
 * handshake fails on both sides; no session tickets, no early data; the kernel encrypts
 * (kTLS) where it can.  Both sides show a certificate; whether it is of somebody known
 * is for the caller to decide by its fingerprint, before a byte of the session is used.
 * The peer's possession of the key has been proved by then, nothing else.
 *
 * A context is frozen after it was made, any thread; a connection is one thread's.
 */
#ifndef SOCKD_CRYPTO_TLS_H
#define SOCKD_CRYPTO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "crypto/identity.h"
#include "wire/session.h" /* enum role */

struct tls_context;
struct tls;

/*
 * ID is borrowed only for the call.  A client trusts the authorities in CA_FILE, or
 * those of the system when it is NULL; for a server it is NULL.  -ERR_RESOURCE;
 * -ERR_NOT_FOUND or -ERR_BAD_IDENTITY when CA_FILE cannot be read.
 */
int tls_context_new(struct tls_context **out, enum role role, const struct identity *id,
	const char *ca_file) MUST_CHECK;
/* References: the last tls_context_free counts.  Connections may outlive it. */
struct tls_context *tls_context_get(struct tls_context *ctx);
void tls_context_free(struct tls_context *ctx); /* NULL is fine */

/* FD is borrowed for life.  HOST, of a client: the name or address it wanted, for SNI and
 * against the certificate. */
int tls_new(
	struct tls **out, struct tls_context *ctx, int fd, const char *host) MUST_CHECK;
void tls_free(struct tls *t);

/*
 * Each returns -ERR_AGAIN when it would have to wait, and in *EVENTS_OUT for which of
 * POLLIN and POLLOUT; the same call is then made again with the same bytes (or more of
 * them).  Any end of the stream is -ERR_CLOSED, said (close_notify) or not: it is for the
 * protocol above to know when it has all.  -ERR_TLS when the peer does not speak TLS as
 * it should, see tls_why.  After any error but -ERR_AGAIN only tls_free is left.
 */
int tls_handshake(struct tls *t, short *events_out) MUST_CHECK;
ssize_t tls_read(struct tls *t, void *buf, size_t len, short *events_out) MUST_CHECK;
ssize_t tls_write(
	struct tls *t, const void *buf, size_t len, short *events_out) MUST_CHECK;

/* Of a client: the first bytes that the server has sent, whatever they are; how many. */
#define TLS_FIRST_LEN 8
size_t tls_first(const struct tls *t, uint8_t out[TLS_FIRST_LEN]);

/*
 * What tls_write took may not have gone out yet: it goes before the next, or by this.  0
 * when all is gone.
 */
int tls_flush(struct tls *t, short *events_out) MUST_CHECK;
bool tls_has_unsent(const struct tls *t);
/* Gives buffers back when nothing is in them. */
void tls_relax(struct tls *t);

/* Whether tls_read has bytes that poll(2) does not see. */
bool tls_has_pending(const struct tls *t);
/* A new key after so many bytes sent, instead of after 64 GiB; for the tests. */
void tls_set_rekey(struct tls *t, uint64_t bytes);
/* Tells the peer that nothing more comes, as far as that needs no waiting. */
void tls_end(struct tls *t);

/* After the handshake: the peer's fingerprint; false when it showed no certificate. */
bool tls_peer_fingerprint(const struct tls *t, uint8_t out[FINGERPRINT_LEN]);
/* Client: NULL when an authority we trust vouches for this certificate and host name,
 * else why not, in OpenSSL's words (static). */
const char *tls_distrust(const struct tls *t);
/* What -ERR_TLS was about, in OpenSSL's words; or "". */
const char *tls_why(const struct tls *t);

#endif
