/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From the first byte to the first request: TLS or not, preface, HELLO, who it is, and
 * what that client's thread is left with.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <config.h>

#include "base/err.h"
#include "daemon/account.h"
#include "daemon/conn.h"
#include "daemon/log.h"
#include "daemon/registry.h"
#include "os/clock.h"
#include "os/landlock.h"
#include "wire/frame.h"

/* The first byte of a TLS record that holds a handshake: RFC 8446 5.1. */
#define TLS_HANDSHAKE 0x16

/* -- The line --------------------------------------------------------------- */

static int greet_tls(struct conn *c)
{
	int err = channel_start_tls(c->channel, c->env->tls, NULL);
	if (err < 0) {
		conn_strike(c);
		return err;
	}
	c->has_fingerprint =
		tls_peer_fingerprint(channel_tls(c->channel), c->fingerprint);
	if (c->has_fingerprint)
		fingerprint_format(c->identity, c->fingerprint);
	return 0;
}

/* Nothing was said yet, so the ERROR that follows is in plaintext. */
static int greet_refuse(struct conn *c, int err)
{
	int sent = channel_send_preface(c->channel);
	return sent < 0 ? sent : err;
}

/* Whoever it was that knocked is told what this is, before anything else. */
static int greet_preface(struct conn *c)
{
	int err = channel_read_preface(c->channel);
	int sent = channel_send_preface(c->channel);
	return err < 0 ? err : sent;
}

static int greet_plain(struct conn *c)
{
	int err = greet_preface(c);
	if (err < 0 || c->env->config->plaintext)
		return err;
	c->why = "this server speaks TLS only: leave out --plaintext";
	return -ERR_DENIED;
}

/* The first byte decides. */
static int greet_line(struct conn *c)
{
	int err = channel_wait(c->channel, -1, c->env->drain_fd);
	if (err < 0)
		return greet_refuse(c, err);
	err = channel_peek(c->channel);
	if (err < 0)
		return err;
	if (err != TLS_HANDSHAKE)
		return greet_plain(c);
	err = greet_tls(c);
	return err < 0 ? err : greet_preface(c);
}

/* -- HELLO -------------------------------------------------------------------- */

static int send_hello(struct conn *c)
{
	struct msg_hello m = {
		.version = 1,
		.chunk_size = c->env->config->chunk_size,
		.depth = CONN_DEPTH,
		.agent = {"sockd " PACKAGE_VERSION, strlen("sockd " PACKAGE_VERSION)},
	};
	struct wcur w;
	channel_begin(c->channel, &w);
	msg_hello_encode(&w, &m);
	int err = channel_end(c->channel, &w, MSG_HELLO, 0);
	return err < 0 ? err : channel_flush(c->channel);
}

static int read_hello(struct conn *c)
{
	struct channel_msg m;
	struct msg_hello hello;
	int err = channel_read(c->channel, &m);
	if (err == 0)
		err = msg_hello_decode(&hello, m.payload, m.len);
	if (err < 0)
		return err;
	memcpy(c->run, hello.run, MSG_RUN_LEN);
	if (hello.chunk_size < channel_chunk_size(c->channel))
		channel_set_chunk_size(c->channel, hello.chunk_size);
	return 0;
}

/* -- Who it is ------------------------------------------------------------------ */

/* Who it is as things stand: a new reference. */
static struct client *identify(struct conn *c)
{
	struct registry *registry = c->env->registry;
	struct client *client =
		c->has_fingerprint ? registry_find(registry, c->fingerprint) : NULL;
	c->known = client != NULL;
	return client ? client : registry_anonymous(registry);
}

/* The slot is told first and the registry asked again: whose rights change in between is
 * either found by the main thread, or not found here. */
static int greet_identify(struct conn *c)
{
	const struct conn_env *env = c->env;
	c->client = identify(c);
	server_conn_client(env->slot, c->client);
	struct client *again = identify(c);
	bool same = client_is_equal(again, c->client);
	client_put(again);
	if (!same) {
		c->why = "the rights of this client are being changed: come again";
		return -ERR_BUSY;
	}
	if (c->known)
		snprintf(c->label, sizeof(c->label), "%s %s", env->peer, c->client->name);
	channel_session(c->channel)->rights = c->client->rights;
	return 0;
}

/* The client's own root. */
static int open_root(struct conn *c)
{
	const char *path = c->client->path;
	int fd = beneath_enter(c->env->root_fd, path);
	if (fd >= 0) {
		c->root_fd = fd;
		return 0;
	}
	log_line(LOG_LEVEL_ERR, "%s cannot open the directory of client %s, %s: %s",
		c->label, c->client->name, *path ? path : ".", err_text(fd));
	c->why = "the server cannot open this client's directory: see its log";
	return -ERR_DENIED;
}

static int open_account(struct conn *c)
{
	int err = account_open(c->env->accounts, c->client, c->root_fd, &c->account);
	if (err == -ERR_BUSY)
		c->why = "this client has as many connections as it may have";
	if (err == 0)
		channel_share_throttle(c->channel, account_throttle(c->account));
	return err;
}

/* As long as nobody knows who it is: what is served, and the list of clients.  Rulesets
 * add up, so what comes later can only take away. */
static int confine_stranger(struct conn *c)
{
	const struct conn_env *env = c->env;
	struct landlock_place places[] = {
		{env->root_fd, LANDLOCK_READ | LANDLOCK_WRITE},
		{env->state_fd, LANDLOCK_READ | LANDLOCK_WRITE},
	};
	return env->landlock_abi == 0
		       ? 0
		       : landlock_restrict(env->landlock_abi, places, ARRAY_LEN(places));
}

int conn_confine(struct conn *c, bool join)
{
	struct landlock_place places[2];
	unsigned count = 0;
	bool writes = c->client->rights & (RIGHT_CREATE | RIGHT_WRITE);
	if (c->env->landlock_abi == 0)
		return 0;
	if (join)
		places[count++] = (struct landlock_place){
			c->env->state_fd, LANDLOCK_READ | LANDLOCK_WRITE};
	if (c->root_fd >= 0)
		places[count++] = (struct landlock_place){
			c->root_fd, LANDLOCK_READ | (writes ? LANDLOCK_WRITE : 0)};
	return landlock_restrict(c->env->landlock_abi, places, count);
}

static int greet_enter(struct conn *c)
{
	int err = greet_identify(c);
	if (err == 0 && c->client->rights != RIGHT_NONE) {
		err = open_root(c);
		if (err == 0)
			err = open_account(c);
		if (err == 0)
			err = stage_area_init(&c->area, c->root_fd);
		dir_cache_init(&c->dirs, c->root_fd);
	}
	return err;
}

int conn_greet(struct conn *c)
{
	channel_set_deadline(
		c->channel, clock_now_ms() + c->env->config->handshake_timeout_ms);
	int err = confine_stranger(c);
	err = err < 0 ? greet_refuse(c, err) : greet_line(c);
	if (err == 0)
		err = send_hello(c);
	if (err == 0)
		err = read_hello(c);
	if (err == 0)
		err = greet_enter(c);
	return err == -ERR_INTERRUPTED ? -ERR_SHUTDOWN : err;
}
