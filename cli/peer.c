/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/peer.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <config.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/trust.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/sock.h"

#define ADDRESSES_MAX 8
/* Chunks we take: what the field's measurements show as best. */
#define CHUNK_SIZE (1u << 20)
/* Bytes per second below which a transfer counts as lost: slower than any line. */
#define MIN_RATE         64
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS   8000

int peer_init(struct peer *p, const struct options *opts, struct report *report,
	const char *host, int stop_fd)
{
	*p = (struct peer){.opts = opts,
		.report = report,
		.host = host,
		.stop_fd = stop_fd,
		.dirfd = -1};
	return random_bytes(p->run, sizeof(p->run));
}

int peer_init_like(
	struct peer *p, const struct peer *model, const struct options *opts, int stop_fd)
{
	int err = peer_init(p, opts, model->report, model->host, stop_fd);
	p->tls = tls_context_get(model->tls);
	p->trusted = model->trusted;
	memcpy(p->server, model->server, FINGERPRINT_LEN);
	return err;
}

void peer_fini(struct peer *p)
{
	channel_free(p->channel);
	p->channel = NULL;
	tls_context_free(p->tls);
	p->tls = NULL;
	fd_closep(&p->dirfd);
}

const char *peer_why(const struct peer *p)
{
	const char *now = p->channel ? channel_fault(p->channel) : "";
	return *now ? now : *p->fault ? p->fault : p->why;
}

static void drop_channel(struct peer *p)
{
	if (p->channel)
		snprintf(p->fault, sizeof(p->fault), "%s", channel_fault(p->channel));
	channel_free(p->channel);
	p->channel = NULL;
}

void peer_progress(struct peer *p)
{
	p->failures = 0;
}

/* A descriptor connected to the first address that answers. */
static int open_socket(const struct peer *p)
{
	struct sock_addr addrs[ADDRESSES_MAX];
	int n = sock_resolve(p->host, p->opts->port, false, addrs, ADDRESSES_MAX);
	if (n < 0)
		return n;
	int err = -ERR_CONNECT;
	for (int i = 0; i < n; i++) {
		/* Without TLS nothing leaves this machine. */
		if (p->opts->plaintext && !sock_is_loopback(&addrs[i])) {
			err = -ERR_DENIED;
			continue;
		}
		int fd = sock_connect(&addrs[i], p->opts->timeout_ms, p->stop_fd);
		if (fd >= 0 || fd == -ERR_INTERRUPTED)
			return fd;
		err = fd;
	}
	return err;
}

/* -- TLS --------------------------------------------------------------------- */

static int fail_identity(struct peer *p, const char *path, int err, const char *detail)
{
	report_failure(p->report, path, SIDE_LOCAL, err, detail);
	return -ERR_UNTRUSTED;
}

static int open_directory(struct peer *p)
{
	if (p->dirfd >= 0)
		return 0;
	int fd = trust_directory();
	if (fd < 0)
		return fail_identity(p, trust_directory_name(), fd,
			fd == -ERR_ACCESS
				? "it has to be yours, and nobody else may write to it"
			: fd == -ERR_NOT_FOUND ? "there is no home directory: set HOME "
						 "or XDG_CONFIG_HOME"
					       : NULL);
	p->dirfd = fd;
	return 0;
}

/* Our own identity, made when there is none yet. */
static int load_identity(struct peer *p, struct identity **out)
{
	char ours[PATH_MAX];
	const char *file = p->opts->identity;
	int err = open_directory(p);
	if (err < 0)
		return err;
	err = file ? identity_load(AT_FDCWD, file, out)
		   : identity_ensure(p->dirfd, TRUST_IDENTITY, "sockcp", out);
	if (err == 0)
		return 0;
	snprintf(ours, sizeof(ours), "%s/%s", trust_directory_name(), TRUST_IDENTITY);
	return fail_identity(p, file ? file : ours, err,
		err == -ERR_ACCESS
			? "it has to be yours, and nobody else may read it: chmod 600"
			: NULL);
}

static int make_context(struct peer *p)
{
	struct identity *id = NULL;
	int err = p->tls ? 0 : load_identity(p, &id);
	if (err < 0 || p->tls)
		return err;
	err = tls_context_new(&p->tls, ROLE_CLIENT, id, p->opts->ca);
	identity_free(id);
	return err < 0 && p->opts->ca ? fail_identity(p, p->opts->ca, err, NULL) : err;
}

/* Whether it is the server that is meant; nothing was said to it yet. */
static int check_server(struct peer *p)
{
	const struct tls *tls = channel_tls(p->channel);
	uint8_t fp[FINGERPRINT_LEN];
	if (!tls_peer_fingerprint(tls, fp)) {
		p->why = "the server shows no certificate";
		return -ERR_TLS;
	}
	if (p->trusted && memcmp(p->server, fp, FINGERPRINT_LEN) == 0)
		return 0;
	if (p->dirfd < 0) /* beside another that was trusted: not the one */
		return -ERR_UNTRUSTED;
	int err = trust_check(
		p->opts, p->report, p->dirfd, p->host, fp, tls_distrust(tls), p->stop_fd);
	if (err < 0)
		return err;
	memcpy(p->server, fp, FINGERPRINT_LEN);
	p->trusted = true;
	return 0;
}

static int start_tls(struct peer *p)
{
	if (p->opts->plaintext)
		return 0;
	int err = make_context(p);
	if (err == 0)
		err = channel_start_tls(p->channel, p->tls, p->host);
	if (err == -ERR_TLS && channel_tls(p->channel))
		p->why = tls_why(channel_tls(p->channel));
	return err < 0 ? err : check_server(p);
}

/* -- Greeting ------------------------------------------------------------------ */

static int send_hello(struct peer *p)
{
	struct msg_hello m = {
		.version = 1,
		.chunk_size = CHUNK_SIZE,
		.depth = UINT16_MAX,
		.agent = {"sockcp " PACKAGE_VERSION, strlen("sockcp " PACKAGE_VERSION)},
	};
	memcpy(m.run, p->run, sizeof(m.run));
	struct wcur w;
	channel_begin(p->channel, &w);
	msg_hello_encode(&w, &m);
	int err = channel_end(p->channel, &w, MSG_HELLO, 0);
	return err < 0 ? err : channel_flush(p->channel);
}

static int read_hello(struct peer *p)
{
	struct channel_msg m;
	struct msg_hello hello;
	int err = channel_read(p->channel, &m);
	if (err == 0)
		err = msg_hello_decode(&hello, m.payload, m.len);
	if (err < 0)
		return err;
	p->depth = hello.depth;
	if (hello.chunk_size < channel_chunk_size(p->channel))
		channel_set_chunk_size(p->channel, hello.chunk_size);
	return 0;
}

static int greet(struct peer *p)
{
	int err = channel_send_preface(p->channel);
	if (err == 0)
		err = send_hello(p);
	if (err == 0)
		err = channel_read_preface(p->channel);
	return err < 0 ? err : read_hello(p);
}

static int connect_once(struct peer *p)
{
	struct channel_limits limits = {
		.chunk_size = CHUNK_SIZE,
		.timeout_ms = p->opts->timeout_ms,
		.min_rate = MIN_RATE,
		.stop_fd = p->stop_fd,
	};
	drop_channel(p);
	int fd = open_socket(p);
	if (fd < 0)
		return fd;
	int err = channel_new(&p->channel, fd, ROLE_CLIENT, &limits);
	if (err < 0) {
		fd_close(fd);
		return err;
	}
	sock_tune(fd, p->opts->timeout_ms);
	channel_set_rate(p->channel, p->opts->limit);
	channel_set_deadline(p->channel, clock_now_ms() + p->opts->timeout_ms);
	err = start_tls(p);
	/* The user may have been asked meanwhile. */
	channel_set_deadline(p->channel, clock_now_ms() + p->opts->timeout_ms);
	if (err == 0)
		err = greet(p);
	channel_set_deadline(p->channel, -1);
	if (err < 0)
		drop_channel(p);
	if (err == -ERR_BUSY && !*p->fault)
		snprintf(p->fault, sizeof(p->fault),
			"or it holds this address off for a while, after failures");
	return err;
}

/* While the user was asked whether to trust it, the server may have lost its patience. */
static int try_connect(struct peer *p)
{
	bool trusted = p->trusted;
	int err = connect_once(p);
	if (err == -ERR_CLOSED && p->trusted && !trusted)
		err = connect_once(p);
	return err;
}

/* Whether the same again may succeed later. */
static bool may_retry(int err, bool was_connected)
{
	switch (-err) {
	case ERR_BUSY:
	case ERR_SHUTDOWN:
		return true;
	case ERR_CONNECT:
	case ERR_CLOSED:
	case ERR_GARBLED:
	case ERR_TIMEOUT:
	case ERR_PROTOCOL: /* more often a broken line than a broken server */
	case ERR_MISMATCH: /* wrong bytes: continue from the last good ones */
		return was_connected;
	default:
		return false;
	}
}

static int pause_ms(const struct peer *p, int ms)
{
	struct pollfd stop = {.fd = p->stop_fd, .events = POLLIN};
	return poll(&stop, 1, ms) > 0 ? -ERR_INTERRUPTED : 0;
}

/* Doubles from try to try; never quite the same for two clients. */
static int backoff_ms(unsigned failures)
{
	int ms = failures < 6 ? BACKOFF_FIRST_MS << failures : BACKOFF_MAX_MS;
	uint16_t noise = 0;
	if (random_bytes(&noise, sizeof(noise)) < 0)
		noise = 0;
	return (ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS) + noise % (ms / 4 + 1);
}

static int connect_again(struct peer *p, int err, bool was_connected)
{
	while (err < 0 && may_retry(err, was_connected) &&
		p->failures < p->opts->retries) {
		int wait = backoff_ms(p->failures++);
		char took[TEXT_DURATION_MAX];
		bool said = *p->fault != '\0';
		report_note(p->report, "%s%s%s%s; trying again in %s (%u of %u)",
			err_text(err), said ? " (" : "", p->fault, said ? ")" : "",
			text_format_duration(took, (uint64_t)wait), p->failures,
			p->opts->retries);
		int stopped = pause_ms(p, wait);
		if (stopped < 0)
			return stopped;
		err = try_connect(p);
	}
	return err;
}

int peer_connect(struct peer *p)
{
	return connect_again(p, try_connect(p), false);
}

int peer_renew(struct peer *p)
{
	return peer_connect(p);
}

int peer_reconnect(struct peer *p, int why)
{
	drop_channel(p);
	return connect_again(p, why, true);
}
