/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/conn.h"

#include <stdlib.h>
#include <string.h>

#include <config.h>

#include "base/err.h"
#include "base/text.h"
#include "daemon/log.h"
#include "os/clock.h"
#include "os/fd.h"

/* Requests a client may leave unanswered: enough to fill a batch while the last one is
 * flushed, and as many on the way. */
#define DEPTH          (4 * BATCH_MAX)
#define DRAIN_PAUSE_MS 500
/* A client that pauses for so long may be gone: what was verified does not wait for it.
 */
#define COMMIT_PAUSE_MS 500

/* For the last ERROR to arrive. */
#define FAREWELL_MS 1000

static const struct {
	uint8_t type;
	const char *name; /* in the log */
	conn_handler_fn *handle;
	bool batched; /* its answers go through the batch, in order with others of the
			 kind */
} requests[] = {
	{MSG_ASK, "ask", conn_ask, false},
	{MSG_PUT, "put", conn_put, true},
	{MSG_GET, "get", conn_get, false},
	{MSG_LIST, "list", conn_list, false},
	{MSG_NEXT, "list", conn_next, false},
	{MSG_MKDIR, "mkdir", conn_mkdir, true},
	{MSG_LINK, "link", conn_link, true},
	{MSG_ATTR, "attr", conn_attr, true},
	{MSG_FLUSH, "flush", conn_flush, false},
};

void conn_path(char out[PATH_WIRE_MAX + 1], const struct wire_str *s)
{
	memcpy(out, s->bytes, s->len);
	out[s->len] = '\0';
}

void conn_log(const struct conn *c, const struct conn_event *e)
{
	char path[1024], hex[2 * DIGEST_LEN + 1] = "-", took[TEXT_DURATION_MAX];
	const char *name = e->path ? e->path : "";
	text_escape(path, sizeof(path), name, strlen(name));
	if (e->digest)
		text_hex(hex, e->digest, DIGEST_LEN);
	text_format_duration(took, (uint64_t)(clock_now_ms() - e->started_ms));
	log_line(e->result == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE,
		"%s %s path=\"%s\" bytes=%llu sha256=%s time=\"%s\" result=\"%s\"",
		c->env->peer, e->op, path, (unsigned long long)e->bytes, hex, took,
		e->result == 0 ? "ok" : err_text(e->result));
}

/* -- The batch ---------------------------------------------------------- */

static int send_done(struct conn *c, const struct batch_tag *tag, uint8_t durability)
{
	struct wcur w;
	channel_begin(c->channel, &w);
	if (!tag->is_file) {
		msg_ok_encode(&w, &(struct msg_ok){.durability = durability});
		return channel_end(c->channel, &w, MSG_OK, tag->id);
	}
	struct msg_done m = {.durability = durability, .size = tag->size};
	memcpy(m.digest, tag->digest, DIGEST_LEN);
	msg_done_encode(&w, &m);
	return channel_end(c->channel, &w, MSG_DONE, tag->id);
}

static int conn_done(void *ctx, const struct batch_tag *tag, int result)
{
	struct conn *c = ctx;
	if (tag->is_file || result < 0)
		conn_log(c, &(struct conn_event){
				    .op = tag->is_file ? "put" : "make",
				    .path = tag->path,
				    .bytes = tag->size,
				    .digest = tag->is_file ? tag->digest : NULL,
				    .started_ms = tag->started_ms,
				    .result = result,
			    });
	/* A client that is gone does not undo what it was promised. */
	if (channel_error(c->channel))
		return 0;
	int err = result < 0
			  ? channel_send_error(c->channel, tag->id, result, NULL)
			  : send_done(c, tag, c->batch_sync ? DURABLE_DISK : DURABLE_NOT);
	return err < 0 && !channel_error(c->channel) ? err : 0;
}

/* The disk takes its time: the client is not to take us for dead. */
static void conn_beat(void *ctx)
{
	struct conn *c = ctx;
	if (!channel_error(c->channel))
		(void)!channel_send_note(c->channel, 0);
}

int conn_batch(struct conn *c, bool sync)
{
	int err = 0;
	if (!c->batch) {
		err = batch_new(&c->batch, c->env->root_fd, sync, conn_done, c);
		if (err == 0)
			batch_on_beat(c->batch, conn_beat, c);
	} else if (sync != c->batch_sync) {
		err = batch_set_sync(c->batch, sync);
	}
	c->batch_sync = sync;
	return err;
}

void conn_note_made(struct conn *c, struct dir *d)
{
	if (d->made > 0)
		batch_made_dirs(c->batch);
	d->made = 0;
}

int conn_commit(struct conn *c)
{
	return c->batch ? batch_commit(c->batch) : 0;
}

/* -- Answers ------------------------------------------------------------ */

int conn_refuse(struct conn *c, uint32_t id, int err, const char *text)
{
	int failed = conn_commit(c);
	if (failed == 0)
		failed = channel_send_error(c->channel, id, err, text);
	return failed;
}

void conn_offer_drop(struct conn *c)
{
	stage_keep(&c->offer.stage);
	c->offer.stage = STAGE_NONE;
	fd_close(c->offer.fd);
	c->offer.fd = -1;
	c->offer.id = 0;
	claim_drop(c->env->claims, &c->claim);
}

/* -- Life --------------------------------------------------------------- */

static int conn_open(struct conn *c, const struct conn_env *env, int *fd)
{
	const struct config *config = env->config;
	struct channel_limits limits = {
		.chunk_size = config->chunk_size,
		.timeout_ms = config->idle_timeout_ms,
		.min_rate = config->min_rate,
		.stop_fd = -1,
	};
	*c = (struct conn){.env = env, .offer = {.stage = STAGE_NONE, .fd = -1}};
	c->area.fd = c->walk_base = -1;
	dir_cache_init(&c->dirs, env->root_fd);
	int err = channel_new(&c->channel, *fd, ROLE_SERVER, &limits);
	if (err < 0)
		return err;
	sock_tune(fd_take(fd), config->idle_timeout_ms);
	err = stage_area_init(&c->area, env->root_fd);
	if (err < 0)
		return err;
	c->digest = digest_new();
	return c->digest ? 0 : -ERR_RESOURCE;
}

/* What was verified is published even when its client is gone. */
static void conn_close(struct conn *c)
{
	if (conn_commit(c) == 0 && c->channel)
		(void)!channel_flush(c->channel);
	conn_offer_drop(c);
	digest_free(c->offer.digest);
	batch_free(c->batch);
	walk_free(c->walk);
	fd_close(c->walk_base);
	digest_free(c->digest);
	dir_cache_fini(&c->dirs);
	stage_area_fini(&c->area);
	server_conn_closing(c->env->slot);
	channel_free(c->channel);
}

static int send_hello(struct conn *c)
{
	struct msg_hello m = {
		.version = 1,
		.chunk_size = c->env->config->chunk_size,
		.depth = DEPTH,
		.agent = {"sockd " PACKAGE_VERSION, strlen("sockd " PACKAGE_VERSION)},
	};
	struct wcur w;
	channel_begin(c->channel, &w);
	msg_hello_encode(&w, &m);
	int err = channel_end(c->channel, &w, MSG_HELLO, 0);
	return err < 0 ? err : channel_flush(c->channel);
}

/* Preface and HELLO, within the handshake's absolute deadline. */
static int conn_greet(struct conn *c)
{
	channel_set_deadline(
		c->channel, clock_now_ms() + c->env->config->handshake_timeout_ms);
	int err = channel_wait(c->channel, -1, c->env->drain_fd);
	if (err == 0)
		err = channel_read_preface(c->channel);
	/* Whoever it was that knocked is told what this is, before anything else. */
	int sent = channel_send_preface(c->channel);
	if (err == 0)
		err = sent;
	if (err == 0)
		err = send_hello(c);
	struct channel_msg m;
	struct msg_hello hello;
	if (err == 0)
		err = channel_read(c->channel, &m);
	if (err == 0)
		err = msg_hello_decode(&hello, m.payload, m.len);
	if (err < 0)
		return err == -ERR_INTERRUPTED ? -ERR_SHUTDOWN : err;
	memcpy(c->run, hello.run, MSG_RUN_LEN);
	if (hello.chunk_size < channel_chunk_size(c->channel))
		channel_set_chunk_size(c->channel, hello.chunk_size);
	channel_session(c->channel)->rights = c->env->config->anonymous;
	return 0;
}

static int conn_deny(struct conn *c, const struct channel_msg *m)
{
	if (m->type == MSG_GET)
		return conn_get_denied(c, m);
	int err = conn_refuse(c, m->id, -ERR_DENIED, NULL);
	return err < 0 ? err : channel_drain(c->channel);
}

/* What is pending is answered first.  That may have to wait, and takes in meanwhile what
 * comes behind M, where M's payload stands. */
static int conn_commit_and_handle(
	struct conn *c, const struct channel_msg *m, conn_handler_fn *handle)
{
	uint8_t payload[MSG_PAYLOAD_MAX];
	struct channel_msg own = *m;
	own.payload = memcpy(payload, m->payload, m->len);
	int err = conn_commit(c);
	return err < 0 ? err : handle(c, &own);
}

static int conn_dispatch(struct conn *c, const struct channel_msg *m, bool denied)
{
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		if (requests[i].type != m->type)
			continue;
		if (denied) {
			conn_log(c, &(struct conn_event){.op = requests[i].name,
					    .started_ms = clock_now_ms(),
					    .result = -ERR_DENIED});
			return conn_deny(c, m);
		}
		return requests[i].batched
			       ? requests[i].handle(c, m)
			       : conn_commit_and_handle(c, m, requests[i].handle);
	}
	return -ERR_PROTOCOL;
}

/* Waits for the next request without holding what only a transfer needs. */
static int conn_idle(struct conn *c)
{
	if (channel_has_input(c->channel))
		return 0;
	dir_cache_fini(&c->dirs);
	if (c->batch) {
		int err = batch_is_empty(c->batch)
				  ? -ERR_TIMEOUT
				  : channel_wait(c->channel, COMMIT_PAUSE_MS, -1);
		if (err != -ERR_TIMEOUT)
			return err;
		err = conn_commit(c);
		if (err < 0)
			return err;
		batch_free(c->batch);
		c->batch = NULL;
	}
	/* While we are stopping, a job that is under way goes on as long as it does not
	 * pause. */
	if (server_is_draining(c->env->server)) {
		int err = channel_wait(c->channel, DRAIN_PAUSE_MS, -1);
		return err == -ERR_TIMEOUT ? -ERR_SHUTDOWN : err;
	}
	server_conn_busy(c->env->slot, false);
	int err = channel_wait(
		c->channel, c->env->config->idle_timeout_ms, c->env->drain_fd);
	server_conn_busy(c->env->slot, true);
	return err == -ERR_INTERRUPTED ? -ERR_SHUTDOWN : err;
}

static int conn_next_request(struct conn *c, bool first)
{
	struct channel_msg m;
	int err = conn_idle(c);
	if (err == 0)
		err = channel_read(c->channel, &m);
	if (err < 0 && err != -ERR_DENIED)
		return err;
	if (first) {
		channel_set_deadline(c->channel, -1);
		server_conn_active(c->env->slot);
	}
	return conn_dispatch(c, &m, err == -ERR_DENIED);
}

/* Tells the peer, as far as it still listens, why it is over. */
static void conn_farewell(struct conn *c, int err)
{
	if (err == -ERR_CLOSED)
		return;
	const char *breach = channel_breach(c->channel);
	const char *why = *breach ? breach : err_text(err);
	log_line(LOG_LEVEL_NOTICE, "%s connection ended: %s", c->env->peer, why);
	if (channel_error(c->channel))
		return;
	channel_set_deadline(c->channel, clock_now_ms() + FAREWELL_MS);
	int code = err == -ERR_GARBLED ? -ERR_PROTOCOL : err;
	if (channel_send_error(c->channel, 0, code, why) == 0 &&
		channel_flush(c->channel) == 0)
		channel_linger(c->channel, FAREWELL_MS);
}

void conn_serve(const struct conn_env *env, int fd)
{
	struct conn c;
	FD_OWNED owned = fd;
	int err = conn_open(&c, env, &owned);
	if (err == 0)
		err = conn_greet(&c);
	for (bool first = true; err == 0; first = false)
		err = conn_next_request(&c, first);
	if (c.channel) {
		if (conn_commit(&c) == 0)
			conn_farewell(&c, err);
	} else {
		log_line(LOG_LEVEL_ERR, "%s cannot serve: %s", env->peer, err_text(err));
	}
	conn_close(&c);
}
