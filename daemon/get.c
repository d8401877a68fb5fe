/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Downloads: the proof of what the client has, and the rest of the file. */
#include <string.h>

#include "base/err.h"
#include "daemon/conn.h"
#include "os/clock.h"
#include "transfer/prefix.h"
#include "transfer/sender.h"
#include "transfer/source.h"

/* Reads the client's proof of its first OFFSET bytes; whether ours are the same. */
static int read_proof(struct conn *c, bool ours_valid, bool *equal_out)
{
	struct channel_msg m;
	struct msg_proof proof;
	uint8_t ours[DIGEST_LEN];
	int err = channel_read(c->channel, &m);
	if (err == 0)
		err = msg_proof_decode(&proof, m.payload, m.len);
	if (err == 0 && ours_valid)
		err = digest_peek(c->digest, ours);
	if (err < 0)
		return err;
	*equal_out = ours_valid && memcmp(ours, proof.digest, DIGEST_LEN) == 0;
	return 0;
}

/* Where sending starts: the end of what the client has, when that is proved
 * to be the beginning of SOURCE, else 0.  The digest is left to match. */
static int agree_on_offset(struct conn *c, const struct source *source, uint64_t offered,
	uint64_t *offset_out)
{
	bool fits = offered <= source->size, equal = false;
	int err = prefix_digest(c->digest, source->fd, fits ? offered : 0, c->channel);
	if (err_is_connection(err))
		return err;
	if (offered > 0) {
		/* What shrank meanwhile or cannot be read has no such beginning. */
		err = read_proof(c, fits && err == 0, &equal);
		if (err < 0)
			return err;
	}
	*offset_out = equal ? offered : 0;
	return equal ? 0 : digest_start(c->digest);
}

static int send_source(struct conn *c, uint32_t id, struct source *source,
	uint64_t offered, struct conn_event *event)
{
	uint64_t offset = 0;
	int err = agree_on_offset(c, source, offered, &offset);
	if (err < 0)
		return err;
	struct sender s = {
		.channel = c->channel,
		.digest = c->digest,
		.parallel = server_ring_pays(
			c->env->server, channel_fd(c->channel), source->size - offset),
	};
	if (source->sparse)
		channel_expect_work(c->channel, source->size - offset);
	struct sent sent;
	event->result = sender_send(&s, id, source, offset, &sent);
	if (event->result == 0) {
		event->bytes = sent.size;
		event->digest = sent.digest;
	}
	conn_log(c, event);
	return err_is_connection(event->result) ? event->result : 0;
}

/* A request that fails is still followed by the proof that it announced. */
static int refuse_get(struct conn *c, uint32_t id, uint64_t offered, int err)
{
	bool equal;
	int failed = conn_refuse(c, id, err, NULL);
	if (failed == 0 && offered > 0)
		failed = read_proof(c, false, &equal);
	return failed;
}

int conn_get_denied(struct conn *c, const struct channel_msg *m)
{
	struct msg_get get;
	int err = msg_get_decode(&get, m->payload, m->len);
	if (err == -ERR_PROTOCOL)
		return err;
	if (get.offset > 0)
		session_expect_proof(channel_session(c->channel), m->id);
	return refuse_get(c, m->id, get.offset, -ERR_DENIED);
}

int conn_get(struct conn *c, const struct channel_msg *m)
{
	struct msg_get get;
	int err = msg_get_decode(&get, m->payload, m->len);
	if (err == -ERR_PROTOCOL)
		return err;
	uint32_t id = m->id;
	uint64_t offered = get.offset;
	if (offered > 0)
		session_expect_proof(channel_session(c->channel), id);
	channel_expect_work(c->channel, offered);
	char path[PATH_WIRE_MAX + 1] = "";
	struct conn_event event = {
		.op = "get", .path = path, .started_ms = clock_now_ms()};
	struct source source = {.fd = -1};
	if (err == 0) {
		conn_path(path, &get.path);
		err = get.alg == DIGEST_SHA256 ? dir_cache_open(&c->dirs, path, false)
					       : -ERR_UNSUPPORTED;
	}
	if (err >= 0) {
		source.fd = err;
		err = source_init(&source, source.fd, false);
	}
	if (err < 0) {
		event.result = err;
		conn_log(c, &event);
		err = refuse_get(c, id, offered, err);
	} else {
		err = send_source(c, id, &source, offered, &event);
	}
	source_fini(&source);
	return err;
}
