/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "daemon/guard.h"
#include "daemon/log.h"
#include "os/clock.h"
#include "os/fd.h"
#include "wire/frame.h"
#include "wire/msg.h"

#define PAUSE_MS         100 /* when accept itself fails, instead of spinning */
#define COMPLAINT_GAP_MS 10000
#define BUSY_LEN_MAX     256
#define DISCARD_MAX      (1u << 20)

/* In the log: why, and what was done. */
#define CAUSE_MAX   (GUARD_TEXT_MAX + 64)
#define ALL_TAKEN   "all connections are taken (--max-connections)"
#define EVICTED     "closed the oldest that had made no request"
#define TURNED_AWAY "turned a new one away"

void acceptor_init(struct acceptor *a, struct table *table, struct guard *guard,
	const struct conn_env *env)
{
	*a = (struct acceptor){
		.table = table, .guard = guard, .env = env, .spare_fd = -1};
	table->guard = guard;
	a->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void acceptor_fini(struct acceptor *a)
{
	fd_closep(&a->spare_fd);
}

/* A peer must not be able to fill the log. */
static void acceptor_complain(struct acceptor *a, const char *what, const char *done)
{
	int64_t now_ms = clock_now_ms();

	if (now_ms < a->complain_ms)
		return;
	a->complain_ms = now_ms + COMPLAINT_GAP_MS;
	log_line(LOG_LEVEL_WARNING, "%s: %s", what, done);
}

static void acceptor_pause(struct acceptor *a, int errnum)
{
	a->resume_ms = clock_now_ms() + PAUSE_MS;
	acceptor_complain(a, "cannot accept connections", strerror(errnum));
}

/* Best effort: the peer is not waited for. */
static void busy_answer(int fd, const char *text)
{
	const struct msg_error msg = {
		.code = ERR_BUSY,
		.text = {.bytes = text, .len = (uint32_t)strlen(text)},
	};
	uint8_t out[WIRE_PREFACE_LEN + FRAME_HEADER_LEN + BUSY_LEN_MAX];
	uint8_t *header = out + WIRE_PREFACE_LEN;
	uint8_t *payload = header + FRAME_HEADER_LEN;
	struct wcur w;
	int len;

	wcur_init(&w, payload, BUSY_LEN_MAX);
	msg_error_encode(&w, &msg);
	len = wcur_finish(&w);
	if (len < 0)
		return;
	memcpy(out, WIRE_PREFACE, WIRE_PREFACE_LEN);
	frame_encode(header, MSG_ERROR, 0, payload, (uint32_t)len);
	send(fd, out, (size_t)(payload + len - out), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	/* Unread input would make close(2) send a reset, which can overtake the
	 * answer.  On TCP, MSG_TRUNC throws it away: tcp(7). */
	recv(fd, NULL, DISCARD_MAX, MSG_DONTWAIT | MSG_TRUNC);
}

static void crowded_format(char out[CAUSE_MAX], const struct guard_key *key)
{
	char address[GUARD_TEXT_MAX];

	snprintf(out, CAUSE_MAX,
		"%s has as many connections as it may (--max-per-address)",
		guard_key_format(address, key));
}

/* What the guard says of a newcomer from KEY, after what can be done about it. */
static enum guard_verdict acceptor_ask(
	struct acceptor *a, const struct guard_key *key, int *wait_ms_out)
{
	struct table *t = a->table;
	enum guard_verdict verdict =
		guard_ask(a->guard, key, clock_now_ms(), wait_ms_out);
	char crowded[CAUSE_MAX];

	if (verdict != GUARD_CROWDED)
		return verdict;
	table_reap(t);
	verdict = guard_ask(a->guard, key, clock_now_ms(), wait_ms_out);
	if (verdict != GUARD_CROWDED)
		return verdict;
	if (t->count >= t->max)
		snprintf(crowded, sizeof(crowded), ALL_TAKEN);
	else
		crowded_format(crowded, key);
	if (!table_evict(t, key))
		return verdict;
	acceptor_complain(a, crowded, EVICTED);
	return guard_ask(a->guard, key, clock_now_ms(), wait_ms_out);
}

/* Whether FD may come in from KEY; answered and closed when it may not. */
static bool acceptor_let_in(struct acceptor *a, int fd, const struct guard_key *key)
{
	char address[GUARD_TEXT_MAX], cause[CAUSE_MAX], text[96];
	int wait_ms;

	if (!a->guard)
		return true;
	switch (acceptor_ask(a, key, &wait_ms)) {
	case GUARD_LET_IN:
		return true;
	case GUARD_CROWDED:
		crowded_format(cause, key);
		snprintf(text, sizeof(text),
			"the server is busy: your address has as many connections as it "
			"may");
		break;
	case GUARD_HELD_OFF:
		snprintf(cause, sizeof(cause), "%s is held off",
			guard_key_format(address, key));
		snprintf(text, sizeof(text),
			"too many failures from this address: come back in %d s",
			(wait_ms + 999) / 1000);
		break;
	}
	acceptor_complain(a, cause, TURNED_AWAY);
	busy_answer(fd, text);
	fd_close(fd);
	return false;
}

/* FD has a connection that is to be served, CROWDED when descriptors have run out. */
static void acceptor_admit(
	struct acceptor *a, int fd, const struct sock_addr *peer, bool crowded)
{
	struct table *t = a->table;
	struct conn_env env = *a->env;
	struct guard_key key = guard_key_of(peer);
	const char *what = "out of descriptors";

	if (!acceptor_let_in(a, fd, &key))
		return;
	sock_format(env.peer, peer);
	if (t->count >= t->max)
		table_reap(t);
	if (!crowded && t->count < t->max) {
		if (table_start(t, &env, &key, fd) == 0)
			return;
		what = "out of memory or threads";
	} else if (!crowded) {
		what = ALL_TAKEN;
	}
	if (table_evict(t, NULL) && table_start(t, &env, &key, fd) == 0) {
		acceptor_complain(a, what, EVICTED);
		return;
	}
	acceptor_complain(a, what, TURNED_AWAY);
	busy_answer(fd, "the server is busy: all its connections are taken");
	fd_close(fd);
}

static int peer_accept(int listen_fd, struct sock_addr *peer)
{
	*peer = (struct sock_addr){.len = sizeof(peer->ss)};
	return accept4(listen_fd, (struct sockaddr *)&peer->ss, &peer->len,
		SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Descriptors have run out, but for the spare one. */
static void acceptor_accept_crowded(struct acceptor *a, int listen_fd)
{
	struct sock_addr peer;
	int fd;

	fd_closep(&a->spare_fd);
	fd = peer_accept(listen_fd, &peer);
	if (fd >= 0)
		acceptor_admit(a, fd, &peer, true);
	else if (errno != EAGAIN)
		acceptor_pause(a, errno);
	a->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void acceptor_accept(struct acceptor *a, int listen_fd)
{
	struct sock_addr peer;
	int fd;

	/* Somebody else may have been faster when it was to be had again. */
	if (a->spare_fd < 0)
		a->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd = peer_accept(listen_fd, &peer);

	if (fd >= 0) {
		acceptor_admit(a, fd, &peer, false);
		return;
	}
	switch (errno) {
	case EMFILE:
	case ENFILE:
		acceptor_accept_crowded(a, listen_fd);
		break;
	case EAGAIN:
	case EINTR:
	case EPROTO:
	case ECONNABORTED: /* the peer went away before we came */
		break;
	default:
		acceptor_pause(a, errno);
	}
}
