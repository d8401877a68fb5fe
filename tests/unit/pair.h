/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Connections inside of one test, and what is said on them made by hand. */
#ifndef SOCKD_TESTS_PAIR_H
#define SOCKD_TESTS_PAIR_H

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "transfer/channel.h"
#include "wire/frame.h"
#include "wire/msg.h"

static inline void pair_local(int fds[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static inline void pair_tcp(int fds[2])
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(listener >= 0 && fds[0] >= 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&addr, len), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	cr_assert_eq(connect(fds[0], (struct sockaddr *)&addr, len), 0);
	fds[1] = accept(listener, NULL, NULL);
	cr_assert_geq(fds[1], 0);
	close(listener);
}

/* A channel in the middle of a session, all rights granted. */
static inline struct channel *pair_channel(int fd, enum role role,
	enum session_state state, uint32_t id, const struct channel_limits *limits)
{
	struct channel *c;

	cr_assert_eq(channel_new(&c, fd, role, limits), 0);
	session_init(channel_session(c), role, ~0u);
	channel_session(c)->state = state;
	channel_session(c)->id = id;
	return c;
}

static inline pthread_t pair_thread(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, run, arg), 0);
	return thread;
}

/* Wire bytes. */
struct wire {
	size_t len;
	uint8_t bytes[1 << 17];
};

static inline void wire_add(struct wire *w, const void *bytes, size_t len)
{
	cr_assert_leq(len, sizeof(w->bytes) - w->len);
	if (len > 0)
		memcpy(w->bytes + w->len, bytes, len);
	w->len += len;
}

static inline void wire_frame(
	struct wire *w, uint8_t type, uint32_t id, const void *payload, size_t len)
{
	uint8_t header[FRAME_HEADER_LEN];

	frame_encode(header, type, id, payload, (uint32_t)len);
	wire_add(w, header, sizeof(header));
	wire_add(w, payload, len);
}

static inline void wire_error(
	struct wire *w, uint32_t id, int code, const char *text, size_t len)
{
	struct msg_error m = {.code = (uint16_t)code, .text = {text, len}};
	uint8_t payload[1024];
	struct wcur cur;

	wcur_init(&cur, payload, sizeof(payload));
	msg_error_encode(&cur, &m);
	wire_frame(w, MSG_ERROR, id, payload, (size_t)wcur_finish(&cur));
}

static inline void wire_note(struct wire *w, uint64_t done)
{
	struct msg_note m = {.done = done};
	uint8_t payload[8];
	struct wcur cur;

	wcur_init(&cur, payload, sizeof(payload));
	msg_note_encode(&cur, &m);
	wire_frame(w, MSG_NOTE, 0, payload, sizeof(payload));
}

#endif
