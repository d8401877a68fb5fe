/* SPDX-License-Identifier: GPL-3.0-or-later */
/* TLS between two ends in one thread, and against ends that do it otherwise. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "crypto/identity.h"
#include "crypto/tls.h"
#include "scratch.h"

#define MIB (1u << 20)

struct end {
	int fd;
	struct identity *id;
	struct tls_context *ctx;
	struct tls *tls;
};

static struct scratch scratch;
static struct end client, server;

static void end_open(struct end *e, enum role role, const char *file)
{
	cr_assert_eq(identity_ensure(scratch.fd, file, "test", &e->id), 0);
	cr_assert_eq(tls_context_new(&e->ctx, role, e->id, NULL), 0);
	cr_assert_eq(
		tls_new(&e->tls, e->ctx, e->fd, role == ROLE_CLIENT ? "host.test" : NULL),
		0);
}

static void end_close(struct end *e)
{
	tls_free(e->tls);
	tls_context_free(e->ctx);
	identity_free(e->id);
	if (e->fd >= 0)
		close(e->fd);
}

static void set_up(void)
{
	int fds[2];
	signal(SIGPIPE, SIG_IGN);
	scratch_init(&scratch);
	cr_assert_eq(fchmod(scratch.fd, 0700), 0);
	cr_assert_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
		0);
	client.fd = fds[0];
	server.fd = fds[1];
	end_open(&client, ROLE_CLIENT, "client.pem");
	end_open(&server, ROLE_SERVER, "server.pem");
}

static void tear_down(void)
{
	end_close(&client);
	end_close(&server);
	scratch_fini(&scratch);
}

TestSuite(tls, .init = set_up, .fini = tear_down, .timeout = 60);

/* Both ends in turn, until both are done or one has failed. */
static void shake(int *client_out, int *server_out)
{
	int c = -ERR_AGAIN, s = -ERR_AGAIN;
	short events;
	for (int i = 0; i < 100 && (c == -ERR_AGAIN || s == -ERR_AGAIN); i++) {
		if (c == -ERR_AGAIN)
			c = tls_handshake(client.tls, &events);
		if (s == -ERR_AGAIN)
			s = tls_handshake(server.tls, &events);
	}
	*client_out = c;
	*server_out = s;
}

static void connected(void)
{
	int c, s;
	shake(&c, &s);
	cr_assert_eq(c, 0, "client: %s", tls_why(client.tls));
	cr_assert_eq(s, 0, "server: %s", tls_why(server.tls));
}

/* Moves LEN bytes from one end to the other in writes of at most STEP; what the reader
 * ended with: 0 or -ERR_…. */
static int move(struct end *from, struct end *to, size_t len, size_t step)
{
	uint8_t *out = malloc(len), *in = malloc(len);
	size_t sent = 0, got = 0;
	int err = 0;
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
	while (got < len && err == 0) {
		short events = 0;
		size_t want = len - sent < step ? len - sent : step;
		ssize_t n =
			sent < len ? tls_write(from->tls, out + sent, want, &events) : 0;
		cr_assert(n >= 0 || n == -ERR_AGAIN, "write: %zd", n);
		sent += n > 0 ? (size_t)n : 0;
		(void)!tls_flush(from->tls, &events);
		while ((n = tls_read(to->tls, in + got, len - got, &events)) > 0) {
			got += (size_t)n;
			if (got == len)
				break;
		}
		if (n < 0 && n != -ERR_AGAIN)
			err = (int)n;
	}
	if (err == 0)
		cr_expect_eq(memcmp(in, out, len), 0, "what came is not what was sent");
	free(out);
	free(in);
	return err;
}

Test(tls, each_end_knows_the_other)
{
	uint8_t fp[FINGERPRINT_LEN];
	connected();
	cr_assert(tls_peer_fingerprint(client.tls, fp));
	cr_expect_eq(memcmp(fp, identity_fingerprint(server.id), sizeof(fp)), 0);
	cr_assert(tls_peer_fingerprint(server.tls, fp));
	cr_expect_eq(memcmp(fp, identity_fingerprint(client.id), sizeof(fp)), 0);
	cr_expect_neq(memcmp(fp, identity_fingerprint(server.id), sizeof(fp)), 0);
	cr_expect_not_null(tls_distrust(client.tls), "nobody vouches for it");
}

Test(tls, bytes_both_ways)
{
	connected();
	cr_expect_eq(move(&client, &server, 3 * MIB + 17, 300000), 0);
	cr_expect_eq(move(&server, &client, 20000, 1), 0);
	cr_expect_eq(move(&server, &client, 5, 5), 0);
}

/* One read takes in what poll(2) cannot see: all of it, or it is told of. */
Test(tls, nothing_is_left_unseen)
{
	uint8_t buf[100000];
	short events;
	size_t got = 0;
	connected();
	memset(buf, 'x', sizeof(buf));
	for (size_t sent = 0; sent < sizeof(buf);) {
		ssize_t n =
			tls_write(client.tls, buf + sent, sizeof(buf) - sent, &events);
		cr_assert_gt(n, 0);
		sent += (size_t)n;
	}
	for (;;) {
		struct pollfd p = {.fd = server.fd, .events = POLLIN};
		if (poll(&p, 1, 0) == 0 && !tls_has_pending(server.tls))
			break;
		ssize_t n = tls_read(server.tls, buf, 1000, &events);
		cr_assert_gt(n, 0);
		got += (size_t)n;
	}
	cr_expect_eq(got, sizeof(buf), "%zu came", got);
}

Test(tls, keys_are_changed_under_way)
{
	connected();
	tls_set_rekey(client.tls, 2 * MIB);
	tls_set_rekey(server.tls, 3 * MIB);
	cr_expect_eq(move(&client, &server, 20 * MIB, MIB), 0);
	cr_expect_eq(move(&server, &client, 20 * MIB, MIB), 0);
}

Test(tls, a_flood_of_key_updates_ends_it)
{
	connected();
	tls_set_rekey(client.tls, 1);
	cr_expect_eq(move(&client, &server, 1000, 1), -ERR_TLS);
	cr_expect_str_eq(tls_why(server.tls), "too many key updates");
}

Test(tls, an_end_is_a_lost_connection)
{
	uint8_t buf[16];
	short events;
	connected();
	tls_end(client.tls);
	cr_expect_eq(tls_read(server.tls, buf, sizeof(buf), &events), -ERR_CLOSED);
}

Test(tls, a_truncated_stream_is_a_lost_connection)
{
	uint8_t buf[16];
	short events;
	connected();
	cr_assert_eq(tls_write(client.tls, "abc", 3, &events), 3);
	close(client.fd);
	client.fd = -1;
	cr_expect_eq(tls_read(server.tls, buf, sizeof(buf), &events), 3);
	cr_expect_eq(tls_read(server.tls, buf, sizeof(buf), &events), -ERR_CLOSED);
	cr_expect_eq(tls_read(server.tls, buf, sizeof(buf), &events), -ERR_CLOSED);
}

Test(tls, a_flipped_bit_is_no_data)
{
	uint8_t buf[4096];
	short events;
	connected();
	cr_assert_eq(tls_write(client.tls, "abcdefgh", 8, &events), 8);
	ssize_t n = recv(server.fd, buf, sizeof(buf), 0);
	cr_assert_gt(n, 8);
	buf[n - 3] ^= 1;
	cr_assert_eq(send(client.fd, buf, (size_t)n, 0), n);
	cr_expect_eq(tls_read(server.tls, buf, sizeof(buf), &events), -ERR_TLS);
	cr_expect_neq(*tls_why(server.tls), '\0');
}

Test(tls, what_is_no_tls_is_refused)
{
	static const char *const greetings[] = {"GET / HTTP/1.0\r\n\r\n", "sockd/1\n",
		"\x16\x03\x01\xff\xff"
		"aaaaaaaaaaaaaaaa",
		"\x80\x2e\x01\x03\x01"};
	short events;
	for (size_t i = 0; i < sizeof(greetings) / sizeof(*greetings); i++) {
		struct tls *t;
		int fds[2];
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
		cr_assert_eq(tls_new(&t, server.ctx, fds[0], NULL), 0);
		cr_assert_gt(send(fds[1], greetings[i], strlen(greetings[i]), 0), 0);
		shutdown(fds[1], SHUT_WR);
		int err = tls_handshake(t, &events);
		cr_expect(err == -ERR_TLS || err == -ERR_CLOSED, "%zu: %d", i, err);
		tls_free(t);
		close(fds[0]);
		close(fds[1]);
	}
}

/* -- Ends that OpenSSL makes without us ------------------------------------- */

struct other {
	int max_version;
	const char *alpn;    /* with its length before it; NULL: none */
	const char *ciphers; /* of TLS 1.3; NULL: all */
	const char *groups;  /* NULL: all */
};

/* What our server makes of a client like that. */
static int meet(const struct other *like)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(ctx, like->max_version);
	if (like->alpn)
		SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)like->alpn,
			(unsigned)strlen(like->alpn));
	if (like->ciphers)
		cr_assert_eq(SSL_CTX_set_ciphersuites(ctx, like->ciphers), 1);
	if (like->groups)
		cr_assert_eq(SSL_CTX_set1_groups_list(ctx, like->groups), 1);
	SSL *ssl = SSL_new(ctx);
	SSL_set_fd(ssl, client.fd);
	SSL_set_connect_state(ssl);
	int err = -ERR_AGAIN;
	short events;
	for (int i = 0; i < 100 && err == -ERR_AGAIN; i++) {
		SSL_do_handshake(ssl);
		err = tls_handshake(server.tls, &events);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return err;
}

Test(tls, another_client_that_speaks_it)
{
	uint8_t fp[FINGERPRINT_LEN];
	cr_assert_eq(meet(&(struct other){TLS1_3_VERSION, "\x07sockd/1", NULL, NULL}), 0);
	cr_expect_not(tls_peer_fingerprint(server.tls, fp), "it has no certificate");
}

Test(tls, one_of_several_protocols)
{
	cr_expect_eq(
		meet(&(struct other){TLS1_3_VERSION, "\x02h2\x07sockd/1", NULL, NULL}),
		0);
}

Test(tls, chacha_is_taken_from_who_has_nothing_else)
{
	cr_expect_eq(meet(&(struct other){TLS1_3_VERSION, "\x07sockd/1",
			     "TLS_CHACHA20_POLY1305_SHA256", NULL}),
		0);
}

Test(tls, version_2_is_refused)
{
	cr_expect_eq(meet(&(struct other){TLS1_2_VERSION, "\x07sockd/1", NULL, NULL}),
		-ERR_TLS);
}

Test(tls, another_protocol_is_refused)
{
	cr_expect_eq(
		meet(&(struct other){TLS1_3_VERSION, "\x02h2", NULL, NULL}), -ERR_TLS);
}

Test(tls, no_protocol_is_refused)
{
	cr_expect_eq(meet(&(struct other){TLS1_3_VERSION, NULL, NULL, NULL}), -ERR_TLS);
	cr_expect_str_eq(tls_why(server.tls), "the peer does not speak sockd/1");
}

Test(tls, a_short_tag_is_refused)
{
	cr_expect_eq(meet(&(struct other){TLS1_3_VERSION, "\x07sockd/1",
			     "TLS_AES_128_CCM_8_SHA256", NULL}),
		-ERR_TLS);
}

Test(tls, finite_fields_are_refused)
{
	cr_expect_eq(
		meet(&(struct other){TLS1_3_VERSION, "\x07sockd/1", NULL, "ffdhe8192"}),
		-ERR_TLS);
}

Test(tls, no_tickets)
{
	uint8_t rest[256];
	connected();
	cr_expect_eq(
		recv(client.fd, rest, sizeof(rest), 0), -1, "the server has said more");
	cr_expect_eq(
		recv(server.fd, rest, sizeof(rest), 0), -1, "the client has said more");
}
