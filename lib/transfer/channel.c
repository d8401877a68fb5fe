/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "transfer/channel.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/text.h"
#include "os/clock.h"
#include "os/fd.h"
#include "transfer/throttle.h"

/* A chunk of the usual size: larger and fewer reads take a tenth off the receiver's work,
 * more than what a buffer small enough for the second-level cache saves. */
#define IN_CAP (1u << 20)
/* Beside one chunk: room for the small frames around it. */
#define OUT_SLACK (64u << 10)
/* Small files are gathered until this much is worth a system call. */
#define OUT_FULL (256u << 10)
/* How much may pass before a waiting signal is looked for. */
#define STOP_CHECK_BYTES (4u << 20)
/* A connection that was silent for so long gives its buffers back. */
#define RELAX_AFTER_MS 1000

struct channel {
	int fd;    /* owned */
	int error; /* sticky: the connection has failed */
	struct session session;
	struct channel_limits limits;
	int64_t deadline_ms;
	struct channel_counters count;
	uint64_t stop_checked; /* of received + sent */
	struct throttle throttle;
	/* The minimum rate is over the time spent waiting for the peer, not over
	 * the time our own disk takes. */
	int64_t waited_ms;
	uint64_t waited_from; /* received + sent when waited_ms was 0 */

	uint8_t *in; /* owned, or NULL */
	size_t in_pos, in_end;
	uint32_t data_left; /* of the DATA frame being read */

	uint8_t *out; /* owned, or NULL */
	size_t out_cap, out_pos, out_end;
	int begin_error; /* of channel_begin, for channel_end */

	channel_readable_fn *readable;
	void *readable_ctx;
	bool in_readable;
	uint64_t note_done;
	char fault[TEXT_ESCAPED_MAX(MSG_TEXT_MAX)];
	char breach[64];
};

int channel_new(
	struct channel **out, int fd, enum role role, const struct channel_limits *limits)
{
	struct channel *c = calloc(1, sizeof(*c));
	if (!c)
		return -ERR_RESOURCE;
	c->fd = fd;
	c->limits = *limits;
	c->deadline_ms = -1;
	session_init(&c->session, role, RIGHT_NONE);
	*out = c;
	return 0;
}

void channel_free(struct channel *c)
{
	if (!c)
		return;
	fd_close(c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

struct session *channel_session(struct channel *c)
{
	return &c->session;
}

struct channel_counters channel_counters(const struct channel *c)
{
	return c->count;
}

uint32_t channel_chunk_size(const struct channel *c)
{
	return c->limits.chunk_size;
}

void channel_set_chunk_size(struct channel *c, uint32_t chunk_size)
{
	assert(!c->out || c->out_end == c->out_pos);
	free(c->out);
	c->out = NULL;
	c->limits.chunk_size = chunk_size;
}

void channel_set_deadline(struct channel *c, int64_t deadline_ms)
{
	c->deadline_ms = deadline_ms;
}

void channel_set_timeout(struct channel *c, int timeout_ms)
{
	c->limits.timeout_ms = timeout_ms;
}

void channel_set_rate(struct channel *c, uint64_t bytes_per_sec)
{
	throttle_init(&c->throttle, bytes_per_sec, clock_now_ns());
}

void channel_on_readable(struct channel *c, channel_readable_fn *fn, void *ctx)
{
	c->readable = fn;
	c->readable_ctx = ctx;
}

int channel_fd(const struct channel *c)
{
	return c->fd;
}

int channel_error(const struct channel *c)
{
	return c->error;
}

const char *channel_fault(const struct channel *c)
{
	return c->fault;
}

const char *channel_breach(const struct channel *c)
{
	return c->breach;
}

bool channel_has_input(const struct channel *c)
{
	return c->in_end > c->in_pos;
}

/* Makes ERR the connection's end; the first one counts. */
static int channel_fail(struct channel *c, int err)
{
	if (c->error == 0)
		c->error = err;
	return c->error;
}

/* -- Waiting ------------------------------------------------------------ */

static uint64_t channel_moved(const struct channel *c)
{
	return c->count.received + c->count.sent;
}

static int stop_requested(struct channel *c)
{
	struct pollfd p = {.fd = c->limits.stop_fd, .events = POLLIN};
	return p.fd >= 0 && poll(&p, 1, 0) > 0 ? channel_fail(c, -ERR_INTERRUPTED) : 0;
}

/* A connection that is always ready never waits, and must be stoppable. */
static int channel_count(struct channel *c, uint64_t *counter, size_t n)
{
	*counter += n;
	throttle_use(&c->throttle, n);
	if (channel_moved(c) - c->stop_checked < STOP_CHECK_BYTES)
		return 0;
	c->stop_checked = channel_moved(c);
	return stop_requested(c);
}

/* Whether the peer has kept the connection below the minimum rate for as
 * long as it may be silent. */
static bool channel_is_starved(struct channel *c, short events, int64_t waited_ms)
{
	bool moving = (events & POLLOUT) || c->session.state == SESSION_DATA;
	if (!moving || c->limits.min_rate == 0 || c->limits.timeout_ms < 0)
		return false;
	c->waited_ms += waited_ms;
	if (c->waited_ms < c->limits.timeout_ms)
		return false;
	uint64_t moved = channel_moved(c) - c->waited_from;
	bool starved = moved < (uint64_t)c->waited_ms / 1000 * c->limits.min_rate;
	c->waited_ms = 0;
	c->waited_from = channel_moved(c);
	return starved;
}

/* Waits for EVENTS on the socket; the events that came in *GOT_OUT. */
static int channel_poll_socket(struct channel *c, short events, short *got_out)
{
	int64_t start = clock_now_ms(), end = c->deadline_ms;
	int timeout_ms = c->limits.timeout_ms;
	if (timeout_ms >= 0 && (end < 0 || start + timeout_ms < end))
		end = start + timeout_ms;
	struct pollfd p[2] = {
		{.fd = c->fd, .events = events},
		{.fd = c->limits.stop_fd, .events = POLLIN},
	};
	int n;
	do
		n = poll(p, 2, clock_poll_ms(end, clock_now_ms()));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return channel_fail(c, -err_from_socket(errno));
	if (p[1].revents)
		return channel_fail(c, -ERR_INTERRUPTED);
	if (n == 0 || channel_is_starved(c, events, clock_now_ms() - start))
		return channel_fail(c, -ERR_TIMEOUT);
	*got_out = p[0].revents;
	return 0;
}

/* Sleeps until the rate limit lets one of WANT bytes pass; how many may. */
static ssize_t channel_allowance(struct channel *c, size_t want)
{
	if (c->throttle.rate == 0)
		return (ssize_t)want;
	for (;;) {
		int wait_ms;
		size_t n = throttle_ask(&c->throttle, clock_now_ns(), want, &wait_ms);
		if (n > 0)
			return (ssize_t)n;
		if (c->deadline_ms >= 0 && clock_now_ms() >= c->deadline_ms)
			return channel_fail(c, -ERR_TIMEOUT);
		struct pollfd p = {.fd = c->limits.stop_fd, .events = POLLIN};
		if (poll(&p, 1, wait_ms) > 0)
			return channel_fail(c, -ERR_INTERRUPTED);
	}
}

/* -- Reading ------------------------------------------------------------ */

/* Makes room for at least one byte, and for NEED bytes from in_pos on. */
static int channel_make_room(struct channel *c, size_t need)
{
	if (!c->in) {
		c->in = malloc(IN_CAP);
		if (!c->in)
			return channel_fail(c, -ERR_RESOURCE);
	}
	if (c->in_pos == c->in_end) {
		c->in_pos = c->in_end = 0;
	} else if (c->in_end == IN_CAP || c->in_pos + need > IN_CAP) {
		memmove(c->in, c->in + c->in_pos, c->in_end - c->in_pos);
		c->in_end -= c->in_pos;
		c->in_pos = 0;
	}
	return 0;
}

/* One recv(2) without waiting: the count, -ERR_AGAIN, or what is to end the connection.
 */
static ssize_t channel_receive(struct channel *c)
{
	ssize_t allowed = channel_allowance(c, IN_CAP - c->in_end);
	if (allowed < 0)
		return allowed;
	ssize_t n;
	do
		n = recv(c->fd, c->in + c->in_end, (size_t)allowed, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return -ERR_AGAIN;
	if (n <= 0)
		return n < 0 ? -err_from_socket(errno) : -ERR_CLOSED;
	c->in_end += (size_t)n;
	int err = channel_count(c, &c->count.received, (size_t)n);
	return err < 0 ? err : n;
}

/* Until NEED bytes are buffered; -ERR_AGAIN instead of waiting unless WAIT. */
static int channel_fill(struct channel *c, size_t need, bool wait)
{
	assert(need <= IN_CAP);
	if (c->error || c->in_end - c->in_pos >= need)
		return c->error;
	int err = channel_make_room(c, need);
	if (err < 0)
		return err;
	while (c->in_end - c->in_pos < need) {
		ssize_t n = channel_receive(c);
		if (n >= 0)
			continue;
		if (n != -ERR_AGAIN)
			return channel_fail(c, (int)n);
		if (!wait)
			return -ERR_AGAIN;
		err = channel_flush(c);
		short got = 0;
		/* The flush may have taken in what we wait for, and the peer waits for
		 * us. */
		if (err == 0 && c->in_end - c->in_pos < need)
			err = channel_poll_socket(c, POLLIN, &got);
		if (err < 0)
			return err;
	}
	return 0;
}

static int channel_absorb(struct channel *c);

/* The peer has closed on us: what it said before it did tells why. */
static int channel_last_words(struct channel *c, int err)
{
	struct channel_msg m;
	if (c->readable && !c->in_readable)
		channel_absorb(c);
	while (!c->readable && c->data_left == 0 && channel_try_read(c, &m) == 0)
		;
	return channel_fail(c, err);
}

/* While a write has to wait: takes in what the peer sends, as far as the
 * buffer goes, so that two sides that both write do not wait for each other. */
static int channel_absorb(struct channel *c)
{
	if (c->readable && !c->in_readable) {
		c->in_readable = true;
		int err = c->readable(c->readable_ctx);
		c->in_readable = false;
		return err < 0 ? channel_fail(c, err) : 0;
	}
	int err = channel_make_room(c, 1);
	if (err < 0 || c->in_end == IN_CAP)
		return err;
	ssize_t n = channel_receive(c);
	return n < 0 && n != -ERR_AGAIN ? channel_last_words(c, (int)n) : 0;
}

static bool channel_can_absorb(const struct channel *c)
{
	return c->readable ? !c->in_readable : c->in_end - c->in_pos < IN_CAP / 2;
}

int channel_read_preface(struct channel *c)
{
	int err = channel_fill(c, WIRE_PREFACE_LEN, true);
	if (err < 0)
		return err;
	err = preface_check(c->in + c->in_pos);
	c->in_pos += WIRE_PREFACE_LEN;
	return err;
}

/* An ERROR that is about the connection: its text is kept, its code is ours
 * from here on. */
static int channel_take_fault(struct channel *c, const struct channel_msg *m)
{
	struct msg_error e;
	int err = msg_error_decode(&e, m->payload, m->len);
	if (err < 0)
		return err;
	text_escape(c->fault, sizeof(c->fault), e.text.bytes, e.text.len);
	return channel_fail(c, -(int)e.code);
}

/* NOTEs are proof of life only when they tell of work done. */
static int channel_take_note(struct channel *c, const struct channel_msg *m)
{
	struct msg_note note;
	int err = msg_note_decode(&note, m->payload, m->len);
	if (err == 0 && note.done < c->note_done)
		err = -ERR_PROTOCOL;
	if (err == 0)
		c->note_done = note.done;
	return err;
}

/* Header and, unless it is DATA, payload of the next frame. */
static int channel_read_frame(struct channel *c, struct channel_msg *out, bool wait)
{
	assert(c->data_left == 0 || c->error);
	struct frame f;
	int err = channel_fill(c, FRAME_HEADER_LEN, wait);
	if (err < 0)
		return err;
	err = frame_decode(&f, c->in + c->in_pos);
	if (err < 0)
		return err;
	*out = (struct channel_msg){.type = f.type, .id = f.id, .len = f.len};
	if (f.type == MSG_DATA) {
		if (f.len > c->limits.chunk_size)
			return -ERR_PROTOCOL;
		c->in_pos += FRAME_HEADER_LEN;
		c->data_left = f.len;
		return 0;
	}
	err = channel_fill(c, FRAME_HEADER_LEN + f.len, wait);
	if (err < 0)
		return err;
	const uint8_t *header = c->in + c->in_pos;
	out->payload = header + FRAME_HEADER_LEN;
	c->in_pos += FRAME_HEADER_LEN + f.len;
	return frame_verify(&f, header, out->payload);
}

static int channel_read_any(struct channel *c, struct channel_msg *out, bool wait)
{
	for (;;) {
		int err = channel_read_frame(c, out, wait);
		if (err < 0)
			return err;
		err = session_admit(&c->session, out->type, out->id);
		if (err == -ERR_PROTOCOL)
			snprintf(c->breach, sizeof(c->breach),
				"%s may not come in state %s", msg_name(out->type),
				session_state_name(c->session.state));
		if (err < 0)
			return err;
		if (out->type == MSG_ERROR && out->id == 0)
			return channel_take_fault(c, out);
		if (out->type != MSG_NOTE) {
			c->note_done = 0;
			return 0;
		}
		err = channel_take_note(c, out);
		if (err < 0)
			return err;
	}
}

int channel_read(struct channel *c, struct channel_msg *out)
{
	return channel_read_any(c, out, true);
}

int channel_try_read(struct channel *c, struct channel_msg *out)
{
	return channel_read_any(c, out, false);
}

ssize_t channel_read_data(struct channel *c, const uint8_t **out)
{
	if (c->data_left == 0)
		return 0;
	int err = channel_fill(c, 1, true);
	if (err < 0)
		return err;
	size_t n = c->in_end - c->in_pos;
	if (n > c->data_left)
		n = c->data_left;
	*out = c->in + c->in_pos;
	c->in_pos += n;
	c->data_left -= (uint32_t)n;
	return (ssize_t)n;
}

int channel_drain(struct channel *c)
{
	while (c->session.state == SESSION_FILE || c->session.state == SESSION_DATA) {
		struct channel_msg m;
		const uint8_t *p;
		ssize_t n = 1;
		int err = channel_read(c, &m);
		if (err < 0)
			return err;
		while (m.type == MSG_DATA && (n = channel_read_data(c, &p)) > 0)
			;
		if (n < 0)
			return (int)n;
	}
	return 0;
}

int channel_wait(struct channel *c, int timeout_ms, int stop_fd)
{
	int err = channel_flush(c);
	if (err < 0 || channel_has_input(c))
		return err;
	int64_t end = timeout_ms < 0 ? -1 : clock_now_ms() + timeout_ms;
	if (c->deadline_ms >= 0 && (end < 0 || c->deadline_ms < end))
		end = c->deadline_ms;
	struct pollfd p[2] = {
		{.fd = c->fd, .events = POLLIN},
		{.fd = stop_fd, .events = POLLIN},
	};
	for (;;) {
		int wait_ms = clock_poll_ms(end, clock_now_ms());
		if (c->in && (wait_ms < 0 || wait_ms > RELAX_AFTER_MS))
			wait_ms = RELAX_AFTER_MS;
		int n = poll(p, 2, wait_ms);
		if (n < 0 && errno != EINTR)
			return channel_fail(c, -err_from_socket(errno));
		if (n > 0)
			return p[0].revents ? 0 : -ERR_INTERRUPTED;
		if (n == 0 && end >= 0 && clock_now_ms() >= end)
			return -ERR_TIMEOUT;
		channel_relax(c);
	}
}

/* -- Writing ------------------------------------------------------------ */

/* Room for LEN bytes at out + out_end. */
static int channel_need(struct channel *c, size_t len)
{
	if (c->error)
		return c->error;
	if (!c->out) {
		c->out_cap = c->limits.chunk_size + OUT_SLACK;
		if (c->out_cap < OUT_FULL)
			c->out_cap = OUT_FULL;
		c->out = malloc(c->out_cap);
		if (!c->out)
			return channel_fail(c, -ERR_RESOURCE);
	}
	assert(len <= c->out_cap);
	return c->out_cap - c->out_end < len ? channel_flush(c) : 0;
}

static int channel_added(struct channel *c, size_t len)
{
	c->out_end += len;
	return c->out_end >= OUT_FULL ? channel_flush(c) : 0;
}

int channel_send_preface(struct channel *c)
{
	int err = channel_need(c, WIRE_PREFACE_LEN);
	if (err < 0)
		return err;
	memcpy(c->out + c->out_end, WIRE_PREFACE, WIRE_PREFACE_LEN);
	return channel_added(c, WIRE_PREFACE_LEN);
}

void channel_begin(struct channel *c, struct wcur *w)
{
	c->begin_error = channel_need(c, FRAME_HEADER_LEN + MSG_PAYLOAD_MAX);
	if (c->begin_error < 0)
		wcur_init(w, NULL, 0);
	else
		wcur_init(w, c->out + c->out_end + FRAME_HEADER_LEN, MSG_PAYLOAD_MAX);
}

int channel_end(struct channel *c, struct wcur *w, uint8_t type, uint32_t id)
{
	if (c->begin_error < 0)
		return c->begin_error;
	int len = wcur_finish(w);
	if (len < 0)
		return len;
	uint8_t *header = c->out + c->out_end;
	frame_encode(header, type, id, header + FRAME_HEADER_LEN, (uint32_t)len);
	return channel_added(c, FRAME_HEADER_LEN + (size_t)len);
}

uint8_t *channel_reserve_data(struct channel *c, size_t len)
{
	assert(len <= c->limits.chunk_size);
	if (channel_need(c, FRAME_HEADER_LEN + len) < 0)
		return NULL;
	return c->out + c->out_end + FRAME_HEADER_LEN;
}

int channel_commit_data(struct channel *c, uint32_t id, size_t len)
{
	frame_encode(c->out + c->out_end, MSG_DATA, id, NULL, (uint32_t)len);
	return channel_added(c, FRAME_HEADER_LEN + len);
}

static int channel_wait_writable(struct channel *c)
{
	short want = POLLOUT | (channel_can_absorb(c) ? POLLIN : 0), got = 0;
	int err = channel_poll_socket(c, want, &got);
	if (err == 0 && (got & POLLIN))
		err = channel_absorb(c);
	return err;
}

int channel_flush(struct channel *c)
{
	while (c->error == 0 && c->out_pos < c->out_end) {
		ssize_t allowed = channel_allowance(c, c->out_end - c->out_pos);
		if (allowed < 0)
			return (int)allowed;
		ssize_t n = send(c->fd, c->out + c->out_pos, (size_t)allowed,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		int err = 0;
		if (n > 0) {
			c->out_pos += (size_t)n;
			err = channel_count(c, &c->count.sent, (size_t)n);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			err = channel_wait_writable(c);
		} else if (errno != EINTR) {
			err = channel_last_words(c, -err_from_socket(errno));
		}
		if (err < 0)
			return err;
	}
	if (c->error)
		return c->error;
	c->out_pos = c->out_end = 0;
	return 0;
}

int channel_poll(struct channel *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	if (!c->readable || c->in_readable)
		return c->error;
	if (!channel_has_input(c) && poll(&p, 1, 0) <= 0)
		return c->error;
	return channel_absorb(c);
}

int channel_send_error(struct channel *c, uint32_t id, int code, const char *text)
{
	if (code < 0)
		code = -code;
	if (!err_is_wire(code))
		code = ERR_IO;
	if (!text)
		text = err_text(code);
	struct msg_error e = {
		.code = (uint16_t)code,
		.text = {text, strnlen(text, MSG_TEXT_MAX)},
	};
	struct wcur w;
	channel_begin(c, &w);
	msg_error_encode(&w, &e);
	return channel_end(c, &w, MSG_ERROR, id);
}

int channel_send_note(struct channel *c, uint64_t done)
{
	struct msg_note m = {.done = done};
	struct wcur w;
	channel_begin(c, &w);
	msg_note_encode(&w, &m);
	int err = channel_end(c, &w, MSG_NOTE, 0);
	return err < 0 ? err : channel_flush(c);
}

int channel_send_empty(struct channel *c, uint8_t type, uint32_t id)
{
	struct wcur w;
	channel_begin(c, &w);
	return channel_end(c, &w, type, id);
}

void channel_linger(struct channel *c, int ms)
{
	int64_t end = clock_now_ms() + ms;
	uint8_t waste[4096];
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	if (shutdown(c->fd, SHUT_WR) < 0)
		return;
	while (poll(&p, 1, clock_poll_ms(end, clock_now_ms())) > 0)
		if (recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT) <= 0 ||
			clock_now_ms() >= end)
			return;
}

void channel_relax(struct channel *c)
{
	if (c->in_pos == c->in_end) {
		free(c->in);
		c->in = NULL;
		c->in_pos = c->in_end = 0;
	}
	if (c->out_pos == c->out_end) {
		free(c->out);
		c->out = NULL;
		c->out_pos = c->out_end = 0;
	}
}
