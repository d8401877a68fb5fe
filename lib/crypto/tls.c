/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/tls.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/err.h"
#include "crypto/identity_impl.h"
#include "crypto/tls_io.h"

/* RFC 7301: a length, then the name. */
#define ALPN     "\x07sockd/1"
#define ALPN_LEN (sizeof(ALPN) - 1)

/* The fastest first where a processor has AES instructions, as most have. */
#define CIPHERS                                                                          \
	"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
/* No finite fields, whose exponentiations a stranger could make us pay for. */
#define GROUPS "X25519:P-256:P-384"

#define SECURITY_BITS  112 /* RSA-2048 and better, as in level 2 of OpenSSL */
#define SECURITY_LEVEL 2

/* Certificates that a stranger may make us take in before anything is known of him. */
#define CERTIFICATES_MAX (16 << 10)
/* Messages of a handshake: less than ten are right. */
#define HANDSHAKE_MAX 64
/* RFC 8446 5.5: 2^24.5 full records under one key of AES-GCM; here 2^22. */
#define REKEY_BYTES (64ull << 30)
/* Key updates that a peer may ask for: some at once, and one for so many bytes. */
#define UPDATES_FREE     16
#define UPDATE_PER_BYTES (1ull << 20)

struct tls_context {
	atomic_uint refs;
	SSL_CTX *ssl; /* owned */
	enum role role;
};

struct tls {
	SSL *ssl; /* owned */
	struct tls_io io;
	uint64_t read, written, rekeyed_at, rekey_bytes;
	unsigned messages;            /* of the peer in the handshake */
	uint64_t updates;             /* the same, after it */
	uint8_t first[TLS_FIRST_LEN]; /* of what the peer has sent */
	size_t first_len;
	int failed; /* of the last read, which had something to give all the same; or 0 */
	bool established;
	bool ended;
	const char *why;
};

/* -- Contexts ------------------------------------------------------------ */

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *len_out,
	const unsigned char *offered, unsigned offered_len, void *unused)
{
	unsigned char *chosen;
	(void)ssl;
	(void)unused;
	if (SSL_select_next_proto(&chosen, len_out, (const unsigned char *)ALPN, ALPN_LEN,
		    offered, offered_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* A client is who its key says, whatever else its certificate tells: the caller looks at
 * the fingerprint, and TLS itself at the possession of the key. */
static int take_any_certificate(X509_STORE_CTX *store, void *unused)
{
	(void)unused;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return 1;
}

static bool set_identity(SSL_CTX *ssl, const struct identity *id)
{
	if (SSL_CTX_use_certificate(ssl, id->cert) != 1 ||
		SSL_CTX_use_PrivateKey(ssl, id->key) != 1)
		return false;
	for (int i = 0; i < sk_X509_num(id->chain); i++)
		if (SSL_CTX_add1_chain_cert(ssl, sk_X509_value(id->chain, i)) != 1)
			return false;
	return true;
}

static void count_messages(int written, int version, int type, const void *bytes,
	size_t len, SSL *ssl, void *unused)
{
	struct tls *t = SSL_get_app_data(ssl);
	(void)version;
	(void)bytes;
	(void)len;
	(void)unused;
	if (!t || written || type != SSL3_RT_HANDSHAKE)
		return;
	/* OpenSSL passes over some kinds (HelloRequest) in a loop of its own, for as long
	 * as there are any: only the end of the stream ends it. */
	if (t->established)
		t->updates++;
	else if (++t->messages > HANDSHAKE_MAX)
		shutdown(t->io.fd, SHUT_RDWR);
}

static bool set_policy(SSL_CTX *ssl)
{
	SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
					 SSL_OP_NO_RENEGOTIATION | SSL_OP_ENABLE_KTLS |
					 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	/* A peer that sends nothing but key updates does not keep us in one call. */
	SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_security_level(ssl, SECURITY_LEVEL);
	SSL_CTX_set_msg_callback(ssl, count_messages);
	return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_num_tickets(ssl, 0) == 1 &&
	       SSL_CTX_set_ciphersuites(ssl, CIPHERS) == 1 &&
	       SSL_CTX_set1_groups_list(ssl, GROUPS) == 1;
}

static void set_server(SSL_CTX *ssl)
{
	SSL_CTX_set_alpn_select_cb(ssl, select_alpn, NULL);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ssl, take_any_certificate, NULL);
	SSL_CTX_set_max_cert_list(ssl, CERTIFICATES_MAX);
}

/* With SSL_VERIFY_NONE a certificate that nobody vouches for does not end the handshake,
 * and what was found is still told by SSL_get_verify_result. */
static int set_client(SSL_CTX *ssl, const char *ca_file)
{
	SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	if (SSL_CTX_set_alpn_protos(ssl, (const unsigned char *)ALPN, ALPN_LEN) != 0)
		return -ERR_RESOURCE;
	if (!ca_file)
		return SSL_CTX_set_default_verify_paths(ssl) == 1 ? 0 : -ERR_RESOURCE;
	errno = 0;
	if (SSL_CTX_load_verify_file(ssl, ca_file) == 1)
		return 0;
	return errno == ENOENT ? -ERR_NOT_FOUND : -ERR_BAD_IDENTITY;
}

int tls_context_new(struct tls_context **out, enum role role, const struct identity *id,
	const char *ca_file)
{
	struct tls_context *ctx = calloc(1, sizeof(*ctx));
	int err = -ERR_RESOURCE;
	if (!ctx)
		return err;
	ctx->role = role;
	atomic_init(&ctx->refs, 1);
	ctx->ssl = SSL_CTX_new(
		role == ROLE_SERVER ? TLS_server_method() : TLS_client_method());
	if (ctx->ssl && set_policy(ctx->ssl))
		err = set_identity(ctx->ssl, id) ? 0 : -ERR_BAD_IDENTITY;
	if (err == 0) {
		if (role == ROLE_SERVER)
			set_server(ctx->ssl);
		else
			err = set_client(ctx->ssl, ca_file);
	}
	ERR_clear_error();
	if (err < 0)
		tls_context_free(ctx);
	else
		*out = ctx;
	return err;
}

struct tls_context *tls_context_get(struct tls_context *ctx)
{
	if (ctx)
		atomic_fetch_add(&ctx->refs, 1);
	return ctx;
}

void tls_context_free(struct tls_context *ctx)
{
	if (!ctx || atomic_fetch_sub(&ctx->refs, 1) > 1)
		return;
	SSL_CTX_free(ctx->ssl);
	free(ctx);
}

/* -- Connections ---------------------------------------------------------- */

/* An address is no name: RFC 6066 3 keeps it out of SNI, and a certificate has it in a
 * field of its own.  A name that is only in the subject counts for nothing: RFC 9525. */
static bool set_host(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
		return true;
	ERR_clear_error();
	X509_VERIFY_PARAM_set_hostflags(
		param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
			       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 &&
	       SSL_set_tlsext_host_name(ssl, host) == 1;
}

/* OpenSSL has read what is no TLS before anybody else can look at it. */
static long keep_first(BIO *bio, int oper, const char *bytes, size_t len, int unused,
	long also_unused, int ret, size_t *count)
{
	struct tls *t = (void *)BIO_get_callback_arg(bio);
	(void)len;
	(void)unused;
	(void)also_unused;
	if (oper == (BIO_CB_READ | BIO_CB_RETURN) && ret > 0) {
		size_t n = *count < TLS_FIRST_LEN - t->first_len
				   ? *count
				   : TLS_FIRST_LEN - t->first_len;
		memcpy(t->first + t->first_len, bytes, n);
		t->first_len += n;
		if (t->first_len == TLS_FIRST_LEN)
			BIO_set_callback_ex(bio, NULL);
	}
	return ret;
}

static bool tls_init(struct tls *t, struct tls_context *ctx, int fd, const char *host)
{
	t->ssl = SSL_new(ctx->ssl);
	if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1 || SSL_set_app_data(t->ssl, t) != 1)
		return false;
	if (ctx->role == ROLE_SERVER) {
		SSL_set_accept_state(t->ssl);
	} else {
		SSL_set_connect_state(t->ssl);
		BIO_set_callback_arg(SSL_get_rbio(t->ssl), (char *)t);
		BIO_set_callback_ex(SSL_get_rbio(t->ssl), keep_first);
	}
	return ctx->role == ROLE_SERVER || set_host(t->ssl, host);
}

int tls_new(struct tls **out, struct tls_context *ctx, int fd, const char *host)
{
	struct tls *t = calloc(1, sizeof(*t));
	if (!t)
		return -ERR_RESOURCE;
	t->rekey_bytes = REKEY_BYTES;
	t->io.fd = fd;
	if (!tls_init(t, ctx, fd, host)) {
		ERR_clear_error();
		tls_free(t);
		return -ERR_RESOURCE;
	}
	*out = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	tls_io_fini(&t->io);
	free(t);
}

static int tls_blame(struct tls *t, const char *why)
{
	t->why = why;
	return -ERR_TLS;
}

/* What RET of an SSL_ function comes to. */
static int tls_result(struct tls *t, int ret, short *events_out)
{
	int errnum = errno;
	unsigned long queued = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(queued);
	int error = SSL_get_error(t->ssl, ret);
	ERR_clear_error();
	switch (error) {
	case SSL_ERROR_WANT_READ:
		*events_out = POLLIN;
		return -ERR_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		*events_out = POLLOUT;
		return -ERR_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return -ERR_CLOSED;
	case SSL_ERROR_SYSCALL:
		t->ended = true;
		return errnum ? -err_from_socket(errnum) : -ERR_CLOSED;
	default:
		t->ended = true;
		if (ERR_GET_REASON(queued) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			return -ERR_CLOSED;
		return tls_blame(t, reason ? reason : "TLS failed");
	}
}

/* -- Records by the dozen ---------------------------------------------------- */

/* From the end of the handshake on, unless the kernel encrypts or decrypts, which wants
 * the socket. */
static int use_tls_io(struct tls *t)
{
	if (BIO_get_ktls_send(SSL_get_wbio(t->ssl)) ||
		BIO_get_ktls_recv(SSL_get_rbio(t->ssl)))
		return 0;
	BIO *bio = tls_io_bio(&t->io);
	if (!bio)
		return -ERR_RESOURCE;
	SSL_set_bio(t->ssl, bio, bio);
	return 0;
}

int tls_flush(struct tls *t, short *events_out)
{
	int err = tls_io_flush(&t->io);
	if (err == -ERR_AGAIN)
		*events_out = POLLOUT;
	return err;
}

bool tls_has_unsent(const struct tls *t)
{
	return tls_io_has_unsent(&t->io);
}

void tls_relax(struct tls *t)
{
	tls_io_relax(&t->io);
}

/* -- The handshake ----------------------------------------------------------- */

static bool has_our_alpn(const struct tls *t)
{
	const unsigned char *alpn;
	unsigned len;
	SSL_get0_alpn_selected(t->ssl, &alpn, &len);
	return len == ALPN_LEN - 1 && memcmp(alpn, &ALPN[1], len) == 0;
}

static bool has_strong_key(const struct tls *t)
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	return !cert ||
	       EVP_PKEY_get_security_bits(X509_get0_pubkey(cert)) >= SECURITY_BITS;
}

int tls_handshake(struct tls *t, short *events_out)
{
	ERR_clear_error();
	errno = 0;
	int ret = SSL_do_handshake(t->ssl);
	if (t->messages > HANDSHAKE_MAX)
		return tls_blame(t, "too many messages in the handshake");
	if (ret != 1)
		return tls_result(t, ret, events_out);
	if (!has_our_alpn(t))
		return tls_blame(t, "the peer does not speak sockd/1");
	if (!has_strong_key(t))
		return tls_blame(t, "the peer's key is too weak");
	t->established = true;
	return use_tls_io(t);
}

/* -- After it ------------------------------------------------------------------ */

/* Whether there is more to be had after a call of SSL_read_ex that returned RET.  What is
 * in OpenSSL itself may be half a record. */
static bool goes_on(const struct tls *t, int ret)
{
	if (ret == 1)
		return tls_has_pending(t);
	return SSL_get_error(t->ssl, ret) == SSL_ERROR_WANT_READ &&
	       tls_io_has_input(&t->io);
}

ssize_t tls_read(struct tls *t, void *buf, size_t len, short *events_out)
{
	size_t done = 0;
	int ret = 1;
	if (t->failed)
		return t->failed;
	ERR_clear_error();
	errno = 0;
	/* A call takes one record at the most, which may have nothing for us; what else
	 * is here already costs no system call, and poll(2) would not tell of it. */
	do {
		size_t n = 0;
		ret = SSL_read_ex(t->ssl, (uint8_t *)buf + done, len - done, &n);
		done += n;
		t->read += n;
		if (t->updates > UPDATES_FREE + t->read / UPDATE_PER_BYTES)
			return tls_blame(t, "too many key updates");
	} while (done < len && goes_on(t, ret));
	if (ret == 1)
		return (ssize_t)done;
	int err = tls_result(t, ret, events_out);
	if (done == 0 || err == -ERR_AGAIN)
		return done > 0 ? (ssize_t)done : err;
	/* What came before it is good; OpenSSL tells the reason only once. */
	t->failed = err;
	return (ssize_t)done;
}

/* Whether the next bytes may go out: under a new key, if this one has seen enough.  The
 * kernel cannot change its key; there the connection ends, and is continued on another.
 */
static bool tls_rekey(struct tls *t)
{
	if (t->written - t->rekeyed_at < t->rekey_bytes)
		return true;
	if (BIO_get_ktls_send(SSL_get_wbio(t->ssl)))
		return false;
	t->rekeyed_at = t->written;
	return SSL_key_update(t->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1;
}

/* Up to a batch of records; how much of the bytes is in them. */
static int encrypt(struct tls *t, const uint8_t *bytes, size_t len, size_t *done_out)
{
	size_t n;
	int ret;
	*done_out = 0;
	do {
		n = 0;
		ret = SSL_write_ex(t->ssl, bytes + *done_out, len - *done_out, &n);
		*done_out += n;
	} while (ret == 1 && *done_out < len && t->io.out_len < TLS_WRITE_BATCH &&
		 t->io.out_len > 0);
	return ret;
}

ssize_t tls_write(struct tls *t, const void *buf, size_t len, short *events_out)
{
	size_t done;
	int err = tls_flush(t, events_out);
	if (err < 0 || len == 0)
		return err;
	ERR_clear_error();
	errno = 0;
	if (!tls_rekey(t))
		return -ERR_CLOSED;
	int ret = encrypt(t, buf, len, &done);
	t->written += done;
	if (done == 0)
		return tls_result(t, ret, events_out);
	err = tls_flush(t, events_out);
	return err < 0 && err != -ERR_AGAIN ? err : (ssize_t)done;
}

void tls_set_rekey(struct tls *t, uint64_t bytes)
{
	t->rekey_bytes = bytes;
}

size_t tls_first(const struct tls *t, uint8_t out[TLS_FIRST_LEN])
{
	memcpy(out, t->first, t->first_len);
	return t->first_len;
}

bool tls_has_pending(const struct tls *t)
{
	return tls_io_has_input(&t->io) || SSL_has_pending(t->ssl);
}

void tls_end(struct tls *t)
{
	if (!t->established || t->ended)
		return;
	short events;
	t->ended = true;
	SSL_shutdown(t->ssl);
	ERR_clear_error();
	(void)!tls_flush(t, &events);
}

bool tls_peer_fingerprint(const struct tls *t, uint8_t out[FINGERPRINT_LEN])
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	return cert && fingerprint_of(cert, out) == 0;
}

const char *tls_distrust(const struct tls *t)
{
	long result = SSL_get_verify_result(t->ssl);
	return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}

const char *tls_why(const struct tls *t)
{
	return t->why ? t->why : "";
}
