/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/line.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "os/clock.h"
#include "os/fd.h"
#include "wire/frame.h"

/* How much may pass before a waiting signal is looked for. */
#define STOP_CHECK_BYTES (4u << 20)

void line_init(struct line *l, int fd, int timeout_ms, uint32_t min_rate, int stop_fd)
{
	*l = (struct line){
		.fd = fd,
		.timeout_ms = timeout_ms,
		.min_rate = min_rate,
		.stop_fd = stop_fd,
		.deadline_ms = -1,
		.read_events = POLLIN,
		.write_events = POLLOUT,
	};
	throttle_init(&l->own, 0, 0);
}

void line_fini(struct line *l)
{
	if (l->tls && l->error == 0)
		tls_end(l->tls);
	tls_free(l->tls);
	fd_close(l->fd);
	throttle_fini(&l->own);
}

int line_fail(struct line *l, int err)
{
	if (l->error == 0)
		l->error = err;
	return l->error;
}

/* -- Waiting ------------------------------------------------------------ */

static uint64_t line_moved(const struct line *l)
{
	return l->received + l->sent + l->credited;
}

static int stop_requested(struct line *l)
{
	struct pollfd p = {.fd = l->stop_fd, .events = POLLIN};
	return p.fd >= 0 && poll(&p, 1, 0) > 0 ? line_fail(l, -ERR_INTERRUPTED) : 0;
}

/* A connection that is always ready never waits, and must be stoppable. */
static int line_count(struct line *l, uint64_t *counter, uint64_t n)
{
	*counter += n;
	if (line_moved(l) - l->stop_checked < STOP_CHECK_BYTES)
		return 0;
	l->stop_checked = line_moved(l);
	return stop_requested(l);
}

int line_credit(struct line *l, uint64_t n)
{
	return line_count(l, &l->credited, n);
}

/* Whether the peer has kept the connection below the minimum rate for as
 * long as it may be silent. */
static bool line_is_starved(struct line *l, int64_t waited_ms)
{
	if (l->min_rate == 0 || l->timeout_ms < 0)
		return false;
	l->waited_ms += waited_ms;
	if (l->waited_ms < l->timeout_ms)
		return false;
	uint64_t moved = line_moved(l) - l->waited_from;
	bool starved = moved < (uint64_t)l->waited_ms / 1000 * l->min_rate;
	l->waited_ms = 0;
	l->waited_from = line_moved(l);
	return starved;
}

/* Waits for EVENTS on the socket; those that came in *GOT_OUT. */
static int wait_for(struct line *l, short events, bool moving, short *got_out)
{
	int64_t start = clock_now_ms(), end = l->deadline_ms;
	if (l->timeout_ms >= 0 && (end < 0 || start + l->timeout_ms < end))
		end = start + l->timeout_ms;
	struct pollfd p[2] = {
		{.fd = l->fd, .events = events},
		{.fd = l->stop_fd, .events = POLLIN},
	};
	int n;
	do
		n = poll(p, 2, clock_poll_ms(end, clock_now_ms()));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return line_fail(l, -err_from_socket(errno));
	if (p[1].revents)
		return line_fail(l, -ERR_INTERRUPTED);
	if (n == 0 || (moving && line_is_starved(l, clock_now_ms() - start)))
		return line_fail(l, -ERR_TIMEOUT);
	*got_out = p[0].revents;
	return 0;
}

int line_poll(struct line *l, bool read, bool write, bool moving, bool *readable_out)
{
	short events = 0, got = 0;
	if (read)
		events |= l->read_events;
	if (write)
		events |= l->write_events;
	int err = wait_for(l, events, moving, &got);
	if (err == 0)
		*readable_out = read && (got & l->read_events);
	return err;
}

bool line_is_readable(struct line *l)
{
	return line_has_pending(l) || line_is_ready(l);
}

bool line_is_ready(struct line *l)
{
	struct pollfd p = {.fd = l->fd, .events = POLLIN};
	return poll(&p, 1, 0) > 0;
}

static bool line_is_limited(const struct line *l)
{
	return throttle_has_limit(&l->own) || throttle_has_limit(l->shared);
}

/* Sleeps until the rate limits let some of WANT bytes pass, and takes them; how many. */
static ssize_t line_take(struct line *l, size_t want)
{
	if (!line_is_limited(l))
		return (ssize_t)want;
	for (;;) {
		int wait_ms;
		size_t n = throttle_take_both(
			&l->own, l->shared, clock_now_ns(), want, &wait_ms);
		if (n > 0)
			return (ssize_t)n;
		if (l->deadline_ms >= 0 && clock_now_ms() >= l->deadline_ms)
			return line_fail(l, -ERR_TIMEOUT);
		/* Without events a socket still tells of its end. */
		struct pollfd p[2] = {
			{.fd = l->fd},
			{.fd = l->stop_fd, .events = POLLIN},
		};
		if (poll(p, 2, wait_ms) > 0)
			return line_fail(
				l, p[1].revents ? -ERR_INTERRUPTED : -ERR_CLOSED);
	}
}

/* Of TAKEN bytes N have passed, or none if it is an error. */
static void line_settle(struct line *l, ssize_t taken, ssize_t n)
{
	size_t passed = n > 0 ? (size_t)n : 0;
	if (!line_is_limited(l))
		return;
	throttle_settle(&l->own, (size_t)taken, passed);
	throttle_settle(l->shared, (size_t)taken, passed);
}

/* -- TLS ------------------------------------------------------------------ */

/* Whether what the server has answered is our own preface, which is no TLS record.  TLS
 * may have taken it in by now, or not have come to that. */
static bool is_plain_answer(const struct line *l)
{
	uint8_t seen[TLS_FIRST_LEN];
	size_t len = tls_first(l->tls, seen);
	ssize_t n = recv(l->fd, seen + len, sizeof(seen) - len, MSG_PEEK | MSG_DONTWAIT);
	len += n > 0 ? (size_t)n : 0;
	return len > 0 && memcmp(seen, WIRE_PREFACE, len) == 0;
}

int line_start_tls(struct line *l, struct tls_context *ctx, const char *host)
{
	int err = tls_new(&l->tls, ctx, l->fd, host);
	while (err == 0) {
		short want = 0, got = 0;
		err = tls_handshake(l->tls, &want);
		if (err != -ERR_AGAIN)
			break;
		err = wait_for(l, want, false, &got);
	}
	if (err < 0 && host && l->tls && is_plain_answer(l))
		err = -ERR_BUSY;
	return err < 0 ? line_fail(l, err) : 0;
}

bool line_has_pending(const struct line *l)
{
	return l->tls && tls_has_pending(l->tls);
}

/* -- Moving bytes ---------------------------------------------------------- */

static ssize_t receive_plain(struct line *l, void *buf, size_t cap)
{
	ssize_t n;
	do
		n = recv(l->fd, buf, cap, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return -ERR_AGAIN;
	if (n <= 0)
		return n < 0 ? -err_from_socket(errno) : -ERR_CLOSED;
	return n;
}

static ssize_t receive_tls(struct line *l, void *buf, size_t cap)
{
	l->read_events = POLLIN;
	return tls_read(l->tls, buf, cap, &l->read_events);
}

ssize_t line_receive(struct line *l, void *buf, size_t cap)
{
	ssize_t taken = line_take(l, cap);
	if (taken < 0)
		return taken;
	ssize_t n = l->tls ? receive_tls(l, buf, (size_t)taken)
			   : receive_plain(l, buf, (size_t)taken);
	line_settle(l, taken, n);
	if (n < 0)
		return n;
	int err = line_count(l, &l->received, (size_t)n);
	return err < 0 ? err : n;
}

static ssize_t send_plain(struct line *l, const void *bytes, size_t len)
{
	ssize_t n;
	do
		n = send(l->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EWOULDBLOCK ? -ERR_AGAIN
						       : -err_from_socket(errno);
}

/* A write that had to wait is tried again with as many bytes: they are encrypted. */
static ssize_t send_tls(struct line *l, const void *bytes, size_t len)
{
	if (len < l->retry_len)
		len = l->retry_len;
	l->write_events = POLLOUT;
	ssize_t n = tls_write(l->tls, bytes, len, &l->write_events);
	l->retry_len = n == -ERR_AGAIN ? len : 0;
	return n;
}

bool line_has_unsent(const struct line *l)
{
	return l->tls && tls_has_unsent(l->tls);
}

void line_relax(struct line *l)
{
	if (l->tls)
		tls_relax(l->tls);
}

ssize_t line_send(struct line *l, const void *bytes, size_t len)
{
	if (len == 0)
		return l->tls ? tls_flush(l->tls, &l->write_events) : 0;
	ssize_t taken = line_take(l, len);
	if (taken < 0)
		return taken;
	ssize_t n = l->tls ? send_tls(l, bytes, (size_t)taken)
			   : send_plain(l, bytes, (size_t)taken);
	line_settle(l, taken, n);
	if (n < 0)
		return n;
	int err = line_count(l, &l->sent, (size_t)n);
	return err < 0 ? err : n;
}

void line_linger(struct line *l, int ms)
{
	int64_t end = clock_now_ms() + ms;
	uint8_t waste[4096];
	struct pollfd p = {.fd = l->fd, .events = POLLIN};
	if (l->tls)
		tls_end(l->tls);
	if (shutdown(l->fd, SHUT_WR) < 0)
		return;
	while (poll(&p, 1, clock_poll_ms(end, clock_now_ms())) > 0)
		if (recv(l->fd, waste, sizeof(waste), MSG_DONTWAIT) <= 0 ||
			clock_now_ms() >= end)
			return;
}
