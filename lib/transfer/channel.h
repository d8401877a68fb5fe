/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames over one connection: buffers and the session table, on a line
 * (transfer/line.h), which has the socket, TLS, deadlines and rates.
 *
 * Every wait is one poll(2) with a deadline.  Reading
 * flushes what was written before it waits, so a peer never waits for an
 * answer that lies in our buffer.  Both buffers are made when first needed
 * and given back by channel_relax, so that a silent connection costs no
 * memory.  One thread.
 *
 * After any error but those of a decoder the connection is unusable and
 * every later call returns the same error.
 */
#ifndef SOCKD_TRANSFER_CHANNEL_H
#define SOCKD_TRANSFER_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "crypto/tls.h"
#include "transfer/throttle.h"
#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/msg.h"
#include "wire/session.h"

struct channel;

struct channel_limits {
	uint32_t chunk_size; /* largest DATA either way */
	int timeout_ms;      /* without a byte of progress; -1 for none */
	uint32_t min_rate;   /* bytes per second over a timeout while a file or half a
			      * frame has come and we wait for the peer; 0 for none */
	int stop_fd;         /* borrowed; readable: -ERR_INTERRUPTED; or -1 */
};

/* A received frame: the header, and the payload unless it is DATA. */
struct channel_msg {
	uint8_t type;
	uint32_t id;
	uint32_t len;
	const uint8_t *payload; /* borrowed (until the next read on the channel) */
};

struct channel_counters {
	uint64_t received; /* bytes from the socket */
	uint64_t sent;
};

/* Takes FD over on success. */
int channel_new(struct channel **out, int fd, enum role role,
	const struct channel_limits *limits) MUST_CHECK;
void channel_free(struct channel *c); /* closes; NULL is fine */

/*
 * TLS from here on, before anything else is said.  HOST, of a client, is what it wanted
 * to reach.  -ERR_TLS (see tls_why), or a failed connection; -ERR_BUSY from a server that
 * answered without TLS.  Whom we speak to is for the caller to look at: channel_tls.
 */
int channel_start_tls(
	struct channel *c, struct tls_context *ctx, const char *host) MUST_CHECK;
const struct tls *channel_tls(const struct channel *c); /* borrowed; NULL: plaintext */

/* After channel_wait, before anything was read: the first byte that the peer sent, left
 * there; or -ERR_CLOSED. */
int channel_peek(struct channel *c) MUST_CHECK;

struct session *channel_session(struct channel *c);
int channel_fd(const struct channel *c); /* borrowed, to be shut down or named */
struct channel_counters channel_counters(const struct channel *c);
uint32_t channel_chunk_size(const struct channel *c);
void channel_set_chunk_size(struct channel *c, uint32_t chunk_size);

/* An absolute end (CLOCK_MONOTONIC) for all that follows; -1 takes it away. */
void channel_set_deadline(struct channel *c, int64_t deadline_ms);
/* So many bytes the peer may have to read before it answers, and say NOTE meanwhile. */
void channel_expect_work(struct channel *c, uint64_t bytes);
/* BYTES count as if they had come or gone: for the minimum rate, and for how often the
 * stop descriptor is looked at.  -ERR_INTERRUPTED. */
int channel_credit(struct channel *c, uint64_t bytes) MUST_CHECK;
/* Replaces limits.timeout_ms from here on. */
void channel_set_timeout(struct channel *c, int timeout_ms);

/* Bytes per second both ways together, 0 for no limit. */
void channel_set_rate(struct channel *c, uint64_t bytes_per_sec);
/* Beside that, a bucket that it shares with others; borrowed for life. */
void channel_share_throttle(struct channel *c, struct throttle *shared);

/*
 * Called when the peer has sent something while we wait to write, and by
 * channel_poll: it reads what is there (channel_try_read) and returns 0, or
 * -ERR_… to end the write.  For the side that streams and is answered meanwhile.
 */
typedef int channel_readable_fn(void *ctx);
void channel_on_readable(struct channel *c, channel_readable_fn *fn, void *ctx);

/* -- Reading ------------------------------------------------------------ */

/* Writes our preface, and reads the peer's: the client writes first, the server reads
 * first. -ERR_VERSION, -ERR_PROTOCOL, or a failed connection. */
int channel_send_preface(struct channel *c) MUST_CHECK;
int channel_read_preface(struct channel *c) MUST_CHECK;

/*
 * The next frame, checked against the session table.  NOTE frames are taken in
 * silently.  -ERR_PROTOCOL, -ERR_GARBLED, -ERR_TIMEOUT, -ERR_CLOSED (an end of
 * file anywhere), -ERR_INTERRUPTED; -ERR_DENIED with *OUT filled, after which the
 * connection goes on; an ERROR with id 0 is returned as -(its code) if that is one of a
 * connection, as -ERR_REFUSED for DENIED, else as -ERR_CLOSED; see channel_fault.
 */
int channel_read(struct channel *c, struct channel_msg *out) MUST_CHECK;

/* The same without waiting: -ERR_AGAIN when no whole frame is there (for DATA: no
 * header). */
int channel_try_read(struct channel *c, struct channel_msg *out) MUST_CHECK;

/* After channel_read gave DATA: the next piece of its payload, at least one byte unless
 * it is used up (0).  The count or -ERR_…. */
ssize_t channel_read_data(struct channel *c, const uint8_t **out) MUST_CHECK;

/* The same into BUF, CAP bytes at the most; what is not in our buffer yet comes by way of
 * none.  For a payload that is handed on to another thread. */
ssize_t channel_read_data_into(struct channel *c, uint8_t *buf, size_t cap) MUST_CHECK;

/* Reads and forgets the rest of the file under way, to its END or ABORT. */
int channel_drain(struct channel *c) MUST_CHECK;

/*
 * Waits, without buffers, until the peer sends something.  0 when there is
 * something; -ERR_TIMEOUT after TIMEOUT_MS; -ERR_INTERRUPTED when STOP_FD is readable.
 */
int channel_wait(struct channel *c, int timeout_ms, int stop_fd) MUST_CHECK;

/* Whether the peer has sent something that lies in our buffer or in the socket; what TLS
 * holds may be half a record. */
bool channel_is_readable(struct channel *c);
/* Whether bytes are buffered that channel_read has not yet used. */
bool channel_has_input(const struct channel *c);

/* The text of the ERROR with id 0 that ended the connection, escaped; or "". */
const char *channel_fault(const struct channel *c);
/* The message that came where the session table does not have it, in words; or "". */
const char *channel_breach(const struct channel *c);

/* -- Writing ------------------------------------------------------------ */

/*
 * A message is written as
 *	struct wcur w;
 *	channel_begin(c, &w);
 *	msg_offer_encode(&w, &offer);
 *	err = channel_end(c, &w, MSG_OFFER, id);
 * It stands in the buffer until the buffer is full, channel_flush, or a read that must
 * wait.  channel_begin makes room; its failure is reported by channel_end.
 */
void channel_begin(struct channel *c, struct wcur *w);
int channel_end(struct channel *c, struct wcur *w, uint8_t type, uint32_t id) MUST_CHECK;

/* Room for a DATA frame of up to LEN bytes (at most the chunk size), to be filled by the
 * caller and sent with channel_commit_data, which may be given less.  NULL on failure:
 * see channel_error. */
uint8_t *channel_reserve_data(struct channel *c, size_t len);
int channel_commit_data(struct channel *c, uint32_t id, size_t len) MUST_CHECK;
int channel_error(const struct channel *c);
/* A DATA frame that stands in a buffer of the caller's: LEN bytes, and FRAME_HEADER_LEN
 * before them, which are written to.  Sent when this returns. */
int channel_send_data(
	struct channel *c, uint32_t id, uint8_t *bytes, size_t len) MUST_CHECK;

int channel_flush(struct channel *c) MUST_CHECK;
/* Looks, without waiting, whether the peer has sent something, and calls the readable
 * hook if so. */
int channel_poll(struct channel *c) MUST_CHECK;

/* ERROR: TEXT may be NULL for the code's own text; cut at MSG_TEXT_MAX. */
int channel_send_error(
	struct channel *c, uint32_t id, int code, const char *text) MUST_CHECK;
/* How often: well below every timeout that a peer would set. */
#define NOTE_INTERVAL_MS 1000
/* NOTE: we are at work, DONE bytes so far; sent at once. */
int channel_send_note(struct channel *c, uint64_t done) MUST_CHECK;
int channel_send_empty(struct channel *c, uint8_t type, uint32_t id) MUST_CHECK;

/* The last act after an ERROR: ends our side and lets what still comes pass for MS at the
 * most, because closing on unread input would destroy the ERROR on its way. */
void channel_linger(struct channel *c, int ms);

/* Overwrites what has been read and sent and still stands in the buffers: a secret. */
void channel_wipe(struct channel *c);

/* Gives the buffers back when nothing is in them. */
void channel_relax(struct channel *c);

#endif
