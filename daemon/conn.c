/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <config.h>

#include "base/err.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "daemon/guard.h"
#include "daemon/log.h"
#include "daemon/room.h"
#include "os/clock.h"
#include "os/fd.h"

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
	{MSG_STAT, "stat", conn_stat, false},
	{MSG_JOIN, "join", conn_join, false},
};

void conn_path(char out[PATH_WIRE_MAX + 1], const struct wire_str *s)
{
	memcpy(out, s->bytes, s->len);
	out[s->len] = '\0';
}

void conn_log(const struct conn *c, const struct conn_event *e)
{
	char path[1024], hex[2 * DIGEST_LEN + 1] = "-", took[TEXT_DURATION_MAX];
	const char *name = e->path ? e->path : "-";
	text_quote(path, sizeof(path), name, strlen(name));
	if (e->digest)
		text_hex(hex, e->digest, DIGEST_LEN);
	text_format_duration(took, (uint64_t)(clock_now_ms() - e->started_ms));
	log_line(e->result == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE,
		"%s %s path=\"%s\" bytes=%llu sha256=%s time=\"%s\" result=\"%s\"",
		c->label, e->op, path, (unsigned long long)e->bytes, hex, took,
		e->result == 0 ? "ok" : err_text(e->result));
}

/* Whether the peer may know which names exist; one that only drops files may not. */
static bool conn_sees(const struct conn *c)
{
	return !c->client || (c->client->rights & RIGHTS_SEE);
}

/* What it may be told of ERR. */
static int conn_veil(const struct conn *c, int err)
{
	if (conn_sees(c))
		return err;
	switch (-err) {
	case ERR_NOT_FOUND:
	case ERR_EXISTS:
	case ERR_IS_DIR:
	case ERR_NOT_DIR:
	case ERR_NOT_REGULAR:
	case ERR_ESCAPE:
	case ERR_ACCESS:
		return -ERR_DENIED;
	default:
		return err;
	}
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
	room_done(c, tag, result);
	if (tag->is_file || result < 0)
		conn_log(c, &(struct conn_event){
				    .op = tag->is_file ? "put" : "make",
				    .path = tag->path,
				    .bytes = tag->size,
				    .digest = tag->is_file && result == 0 ? tag->digest
									  : NULL,
				    .started_ms = tag->started_ms,
				    .result = result,
			    });
	/* A client that is gone does not undo what it was promised. */
	if (channel_error(c->channel))
		return 0;
	/* To replace is a right that it does not have. */
	int shown = result == -ERR_EXISTS && tag->must_be_new ? -ERR_DENIED : result;
	int err = result < 0
			  ? channel_send_error(
				    c->channel, tag->id, conn_veil(c, shown), NULL)
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
		err = batch_new(&c->batch, c->root_fd, sync, conn_done, c);
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

/* What a client had sent before it was revoked is not done after it. */
int conn_commit(struct conn *c)
{
	if (c->batch && server_conn_is_revoked(c->env->slot)) {
		batch_free(c->batch);
		c->batch = NULL;
		return -ERR_CLOSED;
	}
	return c->batch ? batch_commit(c->batch) : 0;
}

/* -- Answers ------------------------------------------------------------ */

int conn_refuse(struct conn *c, uint32_t id, int err, const char *text)
{
	int failed = conn_commit(c);
	int shown = conn_veil(c, err);
	/* How many names are missing tells which are there. */
	if (err == -ERR_QUOTA && !conn_sees(c))
		text = NULL;
	if (failed == 0)
		failed = channel_send_error(
			c->channel, id, shown, shown == err ? text : NULL);
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
	*c = (struct conn){
		.env = env, .offer = {.stage = STAGE_NONE, .fd = -1}, .root_fd = -1};
	c->area.fd = c->walk_base = -1;
	snprintf(c->label, sizeof(c->label), "%s", env->peer);
	int err = channel_new(&c->channel, *fd, ROLE_SERVER, &limits);
	if (err < 0)
		return err;
	sock_tune(fd_take(fd), config->idle_timeout_ms);
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
	account_close(c->account);
	fd_close(c->root_fd);
	client_put(c->client);
}

void conn_strike(struct conn *c)
{
	server_conn_outcome(c->env->slot, CONN_STRIKE);
}

/* Somebody without any right can only take up an invitation. */
static bool conn_is_stranger(const struct conn *c, const struct channel_msg *m)
{
	return c->client->rights == RIGHT_NONE && m->type != MSG_JOIN;
}

/* There is nothing to go on with. */
static int conn_turn_away(struct conn *c)
{
	if (c->known) {
		c->why = "this client has no rights on the server at present";
		return -ERR_DENIED;
	}
	conn_strike(c);
	snprintf(c->refusal, sizeof(c->refusal),
		c->has_fingerprint
			? "the server does not know %s: join with an invitation, or ask "
			  "for sockd authorize with this fingerprint"
			: "the server gives no rights to clients without identity%s",
		c->identity);
	c->why = c->refusal;
	return -ERR_DENIED;
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
	if (err == 0)
		err = handle(c, &own);
	if (m->type == MSG_JOIN) {
		secret_wipe(payload, sizeof(payload));
		channel_wipe(c->channel);
	}
	return err;
}

/* Whoever may still join can do so until its first other request. */
static int conn_enclose(struct conn *c, bool join)
{
	if (c->confined)
		return 0;
	c->confined = !join;
	return conn_confine(c, join);
}

static int conn_dispatch(struct conn *c, const struct channel_msg *m, bool denied)
{
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		if (requests[i].type != m->type)
			continue;
		if (denied || conn_is_stranger(c, m)) {
			conn_log(c, &(struct conn_event){.op = requests[i].name,
					    .started_ms = clock_now_ms(),
					    .result = -ERR_DENIED});
			return conn_is_stranger(c, m) ? conn_turn_away(c)
						      : conn_deny(c, m);
		}
		int err = conn_enclose(c, m->type == MSG_JOIN);
		if (err < 0)
			return err;
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
	if (server_conn_is_revoked(c->env->slot))
		return -ERR_CLOSED;
	if (first) {
		channel_set_deadline(c->channel, -1);
		server_conn_active(c->env->slot);
		if (c->known)
			server_conn_outcome(c->env->slot, CONN_KNOWN);
	}
	return conn_dispatch(c, &m, err == -ERR_DENIED);
}

/* Tells the peer, as far as it still listens, why it is over. */
static void conn_farewell(struct conn *c, int err)
{
	if (err == -ERR_CLOSED)
		return;
	const char *breach = channel_breach(c->channel);
	const char *why = c->why ? c->why : *breach ? breach : err_text(err);
	const char *tls = channel_tls(c->channel) ? tls_why(channel_tls(c->channel)) : "";
	log_line(LOG_LEVEL_NOTICE, "%s connection ended: %s%s%s", c->label, why,
		*tls ? ": " : "", tls);
	if (channel_error(c->channel))
		return;
	channel_set_deadline(c->channel, clock_now_ms() + FAREWELL_MS);
	int code = err == -ERR_GARBLED ? -ERR_PROTOCOL : err;
	if (channel_send_error(c->channel, 0, code, why) == 0 &&
		channel_flush(c->channel) == 0)
		channel_linger(c->channel, FAREWELL_MS);
}

/* Greeting and first request; what fails until then is a strike, unless the peer just
 * went away or it was our own doing. */
static int conn_first(struct conn *c)
{
	int err = conn_greet(c);
	if (err == 0)
		err = conn_next_request(c, true);
	/* A stranger who goes once it has cost us a handshake and a greeting. */
	bool idle = err == -ERR_CLOSED && c->client && c->client->rights == RIGHT_NONE;
	bool failed = err == -ERR_TIMEOUT || err == -ERR_PROTOCOL ||
		      err == -ERR_VERSION || err == -ERR_GARBLED || idle;
	if (failed && !c->known)
		conn_strike(c);
	return err;
}

void conn_serve(const struct conn_env *env, int fd)
{
	struct conn c;
	FD_OWNED owned = fd;
	int err = conn_open(&c, env, &owned);
	if (err == 0)
		err = conn_first(&c);
	while (err == 0)
		err = conn_next_request(&c, false);
	if (c.channel) {
		if (conn_commit(&c) == 0)
			conn_farewell(&c, err);
	} else {
		log_line(LOG_LEVEL_ERR, "%s cannot serve: %s", env->peer, err_text(err));
	}
	conn_close(&c);
}
