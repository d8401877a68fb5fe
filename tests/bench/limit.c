/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a verified transfer has to do at the least, on one thread at each end, to hold the
 * others against:
 *	limit [--tls] SOURCE TARGET
 * One process reads, hashes and sends, another receives, hashes and writes, over one
 * TCP connection on loopback.  Nothing else: no frames, no names, no resume.  With TLS it
 * is AES-128-GCM of TLS 1.3, and nobody asks whose key it is.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "crypto/digest.h"

#define CHUNK (1u << 20)

/* A file or a socket, or TLS over one. */
struct end {
	int fd;
	SSL *ssl; /* NULL: none */
};

static void require(bool held, const char *what)
{
	if (held)
		return;
	perror(what);
	exit(1);
}

/* -- TLS -------------------------------------------------------------------- */

static X509 *self_signed(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	require(cert && X509_set_version(cert, 2) && X509_set_pubkey(cert, key) &&
			X509_gmtime_adj(X509_getm_notBefore(cert), 0) &&
			X509_gmtime_adj(X509_getm_notAfter(cert), 3600) &&
			X509_sign(cert, key, NULL) > 0,
		"certificate");
	return cert;
}

static SSL_CTX *context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);
	require(ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
			SSL_CTX_set_num_tickets(ctx, 0) == 1 &&
			SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") == 1,
		"TLS");
	return ctx;
}

static SSL *over(SSL_CTX *ctx, int fd)
{
	SSL *ssl = SSL_new(ctx);
	require(ssl && SSL_set_fd(ssl, fd) == 1, "TLS");
	SSL_CTX_free(ctx); /* the connection has it, too */
	return ssl;
}

static SSL *serve_tls(int fd)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	SSL_CTX *ctx = context(TLS_server_method());
	require(key != NULL, "key");
	X509 *cert = self_signed(key);
	require(SSL_CTX_use_certificate(ctx, cert) == 1 &&
			SSL_CTX_use_PrivateKey(ctx, key) == 1,
		"identity");
	X509_free(cert);
	EVP_PKEY_free(key);
	SSL *ssl = over(ctx, fd);
	require(SSL_accept(ssl) == 1, "handshake");
	return ssl;
}

static SSL *connect_tls(int fd)
{
	SSL *ssl = over(context(TLS_client_method()), fd);
	require(SSL_connect(ssl) == 1, "handshake");
	return ssl;
}

/* -- Moving ----------------------------------------------------------------- */

static ssize_t end_read(struct end *e, uint8_t *chunk)
{
	size_t done = 0, n;
	if (!e->ssl)
		return read(e->fd, chunk, CHUNK);
	/* A call gives one record. */
	while (done < CHUNK && SSL_read_ex(e->ssl, chunk + done, CHUNK - done, &n) == 1)
		done += n;
	require(done > 0 || SSL_get_error(e->ssl, 0) == SSL_ERROR_ZERO_RETURN, "read");
	return (ssize_t)done;
}

static void end_write(struct end *e, const uint8_t *chunk, size_t len)
{
	for (size_t done = 0; done < len;) {
		size_t tls_n;
		ssize_t n;
		if (e->ssl)
			n = SSL_write_ex(e->ssl, chunk + done, len - done, &tls_n) == 1
				    ? (ssize_t)tls_n
				    : -1;
		else
			n = write(e->fd, chunk + done, len - done);
		require(n > 0, "write");
		done += (size_t)n;
	}
}

static void end_close(struct end *e, const char *what)
{
	if (e->ssl)
		SSL_shutdown(e->ssl);
	SSL_free(e->ssl);
	require(close(e->fd) == 0, what);
}

/* Moves all of IN to OUT; *SUM_OUT is the digest of it. */
static void move(struct end *in, struct end *out, uint8_t sum_out[DIGEST_LEN])
{
	struct digest *digest = digest_new();
	uint8_t *chunk = malloc(CHUNK);
	ssize_t n;
	require(digest && chunk && digest_start(digest) == 0, "memory");
	while ((n = end_read(in, chunk)) > 0) {
		require(digest_update(digest, chunk, (size_t)n) == 0, "digest");
		end_write(out, chunk, (size_t)n);
	}
	require(n == 0, "read");
	require(digest_finish(digest, sum_out) == 0, "digest");
	digest_free(digest);
	free(chunk);
}

static int listen_any(struct sockaddr_in *addr_out)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	require(fd >= 0 && bind(fd, (struct sockaddr *)&addr, len) == 0 &&
			listen(fd, 1) == 0 &&
			getsockname(fd, (struct sockaddr *)&addr, &len) == 0,
		"listen");
	*addr_out = addr;
	return fd;
}

static void receive(
	int listener, bool tls, const char *target, uint8_t sum_out[DIGEST_LEN])
{
	struct end in = {.fd = accept(listener, NULL, NULL)};
	struct end out = {.fd = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0666)};
	require(in.fd >= 0 && out.fd >= 0, target);
	if (tls)
		in.ssl = serve_tls(in.fd);
	move(&in, &out, sum_out);
	end_close(&out, target);
	SSL_free(in.ssl);
	close(in.fd);
}

static void send_to(const struct sockaddr_in *addr, bool tls, const char *source,
	uint8_t sum_out[DIGEST_LEN])
{
	struct end in = {.fd = open(source, O_RDONLY)};
	struct end out = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
	require(in.fd >= 0 && out.fd >= 0, source);
	require(connect(out.fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0,
		"connect");
	if (tls)
		out.ssl = connect_tls(out.fd);
	move(&in, &out, sum_out);
	end_close(&out, "close");
	close(in.fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	uint8_t ours[DIGEST_LEN], its[DIGEST_LEN];
	int sums[2], status;
	bool tls = argc > 1 && strcmp(argv[1], "--tls") == 0;
	if (argc - tls != 3) {
		fputs("Usage: limit [--tls] SOURCE TARGET\n", stderr);
		return 2;
	}
	const char *source = argv[1 + tls], *target = argv[2 + tls];
	int listener = listen_any(&addr);
	require(pipe(sums) == 0, "pipe");
	pid_t child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		receive(listener, tls, target, its);
		require(write(sums[1], its, sizeof(its)) == sizeof(its), "pipe");
		return 0;
	}
	send_to(&addr, tls, source, ours);
	require(waitpid(child, &status, 0) == child && status == 0, "receiver");
	require(read(sums[0], its, sizeof(its)) == sizeof(its), "pipe");
	require(memcmp(ours, its, sizeof(its)) == 0, "the digests differ");
	return 0;
}
