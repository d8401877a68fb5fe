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
#include "crypto/secret.h"
#include "os/clock.h"
#include "os/thread.h"
#include "transfer/line.h"

/* A chunk of the usual size: larger and fewer reads take a tenth off the receiver's work,
 * more than what a buffer small enough for the second-level cache saves. */
#define IN_CAP (1u << 20)
/* Beside one chunk: room for the small frames around it. */
#define OUT_SLACK (64u << 10)
/* Small files are gathered until this much is worth a system call. */
#define OUT_FULL (256u << 10)
/* A connection that was silent for so long gives its buffers back. */
#define RELAX_AFTER_MS 1000

/* NOTEs, which come about every second: so many at once, and then one in so many ms. */
#define NOTE_BURST  100
#define NOTE_GAP_MS 100
/* For how many timeouts they may be all that comes; and longer when the peer has much to
 * read, which is a kilobyte in a millisecond at the least. */
#define NOTE_PATIENCE     10
#define WORK_BYTES_PER_MS 1024

struct channel {
	struct line line;
	struct session session;
	uint32_t chunk_size;

	uint8_t *in; /* owned, or NULL */
	size_t in_pos, in_end;
	uint32_t data_left; /* of the DATA frame being read */
	bool direct; /* payload goes to others: no more of it is to come into our buffer
		      */

	uint8_t *out; /* owned, or NULL */
	size_t out_cap, out_pos, out_end;
	int begin_error; /* of channel_begin, for channel_end */
	bool apart;      /* a frame that is not in this buffer is on its way */

	channel_readable_fn *readable;
	void *readable_ctx;
	bool in_readable;
	uint64_t note_done;
	int64_t note_since_ms; /* of the first NOTE in a row; 0: the last message was none
				*/
	uint64_t notes;        /* in a row */
	uint64_t peer_work;    /* bytes that the peer may have to read meanwhile */
	char *fault;           /* owned, or NULL */
	char breach[64];
};

int channel_new(
	struct channel **out, int fd, enum role role, const struct channel_limits *limits)
{
	struct channel *c = calloc(1, sizeof(*c));
	if (!c)
		return -ERR_RESOURCE;
	line_init(&c->line, fd, limits->timeout_ms, limits->min_rate, limits->stop_fd);
	c->chunk_size = limits->chunk_size;
	session_init(&c->session, role, RIGHT_NONE);
	*out = c;
	return 0;
}

void channel_free(struct channel *c)
{
	if (!c)
		return;
	line_fini(&c->line);
	free(c->in);
	free(c->out);
	free(c->fault);
	free(c);
}

int channel_start_tls(struct channel *c, struct tls_context *ctx, const char *host)
{
	return line_start_tls(&c->line, ctx, host);
}

const struct tls *channel_tls(const struct channel *c)
{
	return c->line.tls;
}

struct session *channel_session(struct channel *c)
{
	return &c->session;
}

struct channel_counters channel_counters(const struct channel *c)
{
	return (struct channel_counters){c->line.received, c->line.sent};
}

uint32_t channel_chunk_size(const struct channel *c)
{
	return c->chunk_size;
}

void channel_set_chunk_size(struct channel *c, uint32_t chunk_size)
{
	assert(!c->out || c->out_end == c->out_pos);
	free(c->out);
	c->out = NULL;
	c->chunk_size = chunk_size;
}

void channel_set_deadline(struct channel *c, int64_t deadline_ms)
{
	c->line.deadline_ms = deadline_ms;
}

void channel_expect_work(struct channel *c, uint64_t bytes)
{
	if (bytes > c->peer_work)
		c->peer_work = bytes;
}

int channel_credit(struct channel *c, uint64_t bytes)
{
	return line_credit(&c->line, bytes);
}

void channel_set_timeout(struct channel *c, int timeout_ms)
{
	c->line.timeout_ms = timeout_ms;
}

void channel_set_rate(struct channel *c, uint64_t bytes_per_sec)
{
	throttle_set_rate(&c->line.own, bytes_per_sec, clock_now_ns());
}

void channel_share_throttle(struct channel *c, struct throttle *shared)
{
	c->line.shared = shared;
}

void channel_on_readable(struct channel *c, channel_readable_fn *fn, void *ctx)
{
	c->readable = fn;
	c->readable_ctx = ctx;
}

int channel_fd(const struct channel *c)
{
	return c->line.fd;
}

int channel_error(const struct channel *c)
{
	return c->line.error;
}

const char *channel_fault(const struct channel *c)
{
	return c->fault ? c->fault : "";
}

const char *channel_breach(const struct channel *c)
{
	return c->breach;
}

bool channel_has_input(const struct channel *c)
{
	return c->in_end > c->in_pos;
}

bool channel_is_readable(struct channel *c)
{
	return channel_has_input(c) || line_is_ready(&c->line);
}

static int channel_fail(struct channel *c, int err)
{
	return line_fail(&c->line, err);
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

/* What is there up to CAP bytes, without waiting: the count, -ERR_AGAIN, or what is to
 * end the connection. */
static ssize_t channel_receive(struct channel *c, size_t cap)
{
	ssize_t n = line_receive(&c->line, c->in + c->in_end, cap);
	if (n > 0)
		c->in_end += (size_t)n;
	return n;
}

static int channel_wait_readable(struct channel *c)
{
	bool readable;
	/* Half a frame, too, is something that the peer has begun. */
	bool moving = c->session.state == SESSION_DATA || channel_has_input(c);
	return line_poll(&c->line, true, false, moving, &readable);
}

/* Until something has come, or what the peer waits for has gone out: then what we wait
 * for may have been taken in meanwhile. */
static int channel_await(struct channel *c, size_t need)
{
	int err = channel_flush(c);
	if (err == 0 && c->in_end - c->in_pos < need)
		err = channel_wait_readable(c);
	return err;
}

/* Until NEED bytes are buffered; -ERR_AGAIN instead of waiting unless WAIT. */
static int channel_fill(struct channel *c, size_t need, bool wait)
{
	assert(need <= IN_CAP);
	if (channel_error(c) || c->in_end - c->in_pos >= need)
		return channel_error(c);
	int err = channel_make_room(c, need);
	if (err < 0)
		return err;
	while (err == 0 && c->in_end - c->in_pos < need) {
		size_t cap = c->direct ? c->in_pos + need : IN_CAP;
		ssize_t n = channel_receive(c, cap - c->in_end);
		if (n >= 0)
			continue;
		if (n != -ERR_AGAIN)
			return channel_fail(c, (int)n);
		if (!wait)
			return -ERR_AGAIN;
		err = channel_await(c, need);
	}
	return err;
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
	ssize_t n = channel_receive(c, IN_CAP - c->in_end);
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
	char text[TEXT_ESCAPED_MAX(MSG_TEXT_MAX)];
	text_escape(text, sizeof(text), e.text.bytes, e.text.len);
	free(c->fault);
	c->fault = strdup(text);
	/* Codes that are about one file mean nothing here, whoever sends them. */
	if (e.code == ERR_DENIED)
		return channel_fail(c, -ERR_REFUSED);
	return channel_fail(c, err_is_connection(e.code) ? -(int)e.code : -ERR_CLOSED);
}

/* NOTEs prove life, but not for ever: nobody flushes or reads for so long, and nobody has
 * to say so so often. */
static int channel_bound_notes(struct channel *c)
{
	int64_t now_ms = clock_now_ms(), silent_ms;
	if (c->notes++ == 0)
		c->note_since_ms = now_ms;
	silent_ms = now_ms - c->note_since_ms;
	if (c->notes > NOTE_BURST + (uint64_t)silent_ms / NOTE_GAP_MS)
		return -ERR_PROTOCOL;
	if (c->line.timeout_ms < 0)
		return 0;
	int64_t most_ms = (int64_t)c->line.timeout_ms * NOTE_PATIENCE +
			  (int64_t)(c->peer_work / WORK_BYTES_PER_MS);
	return silent_ms > most_ms ? channel_fail(c, -ERR_TIMEOUT) : 0;
}

static int channel_take_note(struct channel *c, const struct channel_msg *m)
{
	struct msg_note note;
	int err = msg_note_decode(&note, m->payload, m->len);
	if (err == 0 && note.done < c->note_done)
		err = -ERR_PROTOCOL;
	if (err < 0)
		return err;
	c->note_done = note.done;
	return channel_bound_notes(c);
}

/* Header and, unless it is DATA, payload of the next frame. */
static int channel_read_frame(struct channel *c, struct channel_msg *out, bool wait)
{
	assert(c->data_left == 0 || channel_error(c));
	struct frame f;
	int err = channel_fill(c, FRAME_HEADER_LEN, wait);
	if (err < 0)
		return err;
	err = frame_decode(&f, c->in + c->in_pos);
	if (err < 0)
		return err;
	*out = (struct channel_msg){.type = f.type, .id = f.id, .len = f.len};
	c->direct = c->direct &&
		    (f.type == MSG_DATA || f.type == MSG_HOLE || f.type == MSG_CHECK);
	if (f.type == MSG_DATA) {
		if (f.len > c->chunk_size)
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
			c->note_done = c->notes = 0;
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

/* How much of the payload is buffered, up to CAP bytes, which count as read. */
static size_t channel_take_data(struct channel *c, size_t cap)
{
	size_t n = c->in_end - c->in_pos;
	if (n > cap)
		n = cap;
	c->in_pos += n;
	c->data_left -= (uint32_t)n;
	return n;
}

ssize_t channel_read_data(struct channel *c, const uint8_t **out)
{
	if (c->data_left == 0)
		return 0;
	c->direct = false;
	int err = channel_fill(c, 1, true);
	if (err < 0)
		return err;
	*out = c->in + c->in_pos;
	return (ssize_t)channel_take_data(c, c->data_left);
}

ssize_t channel_read_data_into(struct channel *c, uint8_t *buf, size_t cap)
{
	int err = channel_error(c);
	c->direct = true;
	if (cap > c->data_left)
		cap = c->data_left;
	while (err == 0 && cap > 0 && !channel_has_input(c)) {
		ssize_t n = line_receive(&c->line, buf, cap);
		if (n >= 0) {
			c->data_left -= (uint32_t)n;
			return n;
		}
		if (n != -ERR_AGAIN)
			return channel_fail(c, (int)n);
		err = channel_await(c, 1);
	}
	if (err < 0 || cap == 0)
		return err;
	const uint8_t *from = c->in + c->in_pos;
	size_t n = channel_take_data(c, cap);
	memcpy(buf, from, n);
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

/* Whether the next read has something to begin with, which poll(2) does not always tell:
 * TLS takes in more than it was asked for. */
static int channel_has_some(struct channel *c)
{
	if (channel_has_input(c) || !line_has_pending(&c->line))
		return channel_has_input(c);
	int err = channel_make_room(c, 1);
	if (err < 0)
		return err;
	ssize_t n = channel_receive(c, IN_CAP - c->in_end);
	if (n == -ERR_AGAIN)
		return 0;
	return n < 0 ? channel_fail(c, (int)n) : 1;
}

int channel_wait(struct channel *c, int timeout_ms, int stop_fd)
{
	int err = channel_flush(c);
	if (err == 0)
		err = channel_has_some(c);
	if (err != 0)
		return err < 0 ? err : 0;
	int64_t end = timeout_ms < 0 ? -1 : clock_now_ms() + timeout_ms;
	if (c->line.deadline_ms >= 0 && (end < 0 || c->line.deadline_ms < end))
		end = c->line.deadline_ms;
	struct pollfd p[2] = {
		{.fd = c->line.fd, .events = POLLIN},
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
		if (c->in)
			thread_relax();
		channel_relax(c);
	}
}

int channel_peek(struct channel *c)
{
	uint8_t first;
	ssize_t n;
	do
		n = recv(c->line.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		return channel_fail(c, -ERR_CLOSED);
	return first;
}

/* -- Writing ------------------------------------------------------------ */

/* Room for LEN bytes at out + out_end. */
static int channel_need(struct channel *c, size_t len)
{
	if (channel_error(c))
		return channel_error(c);
	if (!c->out) {
		c->out_cap = c->chunk_size + OUT_SLACK;
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
	assert(len <= c->chunk_size);
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
	bool readable = false;
	int err = line_poll(&c->line, channel_can_absorb(c), true, true, &readable);
	return err == 0 && readable ? channel_absorb(c) : err;
}

/* Sends BYTES from *POS to END, and what TLS has of those before. */
static int channel_push(struct channel *c, const uint8_t *bytes, size_t *pos, size_t end)
{
	while (channel_error(c) == 0 && (*pos < end || line_has_unsent(&c->line))) {
		ssize_t n = line_send(&c->line, bytes + *pos, end - *pos);
		int err = 0;
		if (n >= 0)
			*pos += (size_t)n;
		else if (n == -ERR_AGAIN)
			err = channel_wait_writable(c);
		else
			err = channel_last_words(c, (int)n);
		if (err < 0)
			return err;
	}
	return channel_error(c);
}

int channel_flush(struct channel *c)
{
	assert(!c->apart);
	int err = channel_push(c, c->out, &c->out_pos, c->out_end);
	if (err == 0)
		c->out_pos = c->out_end = 0;
	return err;
}

int channel_send_data(struct channel *c, uint32_t id, uint8_t *bytes, size_t len)
{
	assert(len <= c->chunk_size);
	uint8_t *frame = bytes - FRAME_HEADER_LEN;
	size_t sent = 0;
	frame_encode(frame, MSG_DATA, id, NULL, (uint32_t)len);
	int err = channel_flush(c);
	if (err < 0)
		return err;
	c->apart = true;
	err = channel_push(c, frame, &sent, FRAME_HEADER_LEN + len);
	c->apart = false;
	return err;
}

int channel_poll(struct channel *c)
{
	if (!c->readable || c->in_readable)
		return channel_error(c);
	if (!channel_has_input(c) && !line_is_readable(&c->line))
		return channel_error(c);
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
	line_linger(&c->line, ms);
}

void channel_wipe(struct channel *c)
{
	if (c->in)
		secret_wipe(c->in, c->in_pos);
	if (c->out)
		secret_wipe(c->out, c->out_pos == c->out_end ? c->out_cap : c->out_pos);
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
		line_relax(&c->line);
	}
}
