/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JOIN: an invitation is taken up by whoever knows its secret, once. */
#include "base/err.h"
#include "crypto/secret.h"
#include "daemon/conn.h"
#include "daemon/log.h"
#include "daemon/registry.h"

_Static_assert(MSG_SECRET_LEN == SECRET_LEN, "the secret travels whole");

static void join_log(const struct conn *c, const char *name, const char *result)
{
	log_line(*name ? LOG_LEVEL_INFO : LOG_LEVEL_NOTICE,
		"%s join client=\"%s\" identity=%s result=\"%s\"", c->label, name,
		c->has_fingerprint ? c->identity : "-", result);
}

/* Answers, and ends the connection: each try costs a handshake. */
static int join_deny(struct conn *c, uint32_t id, const char *why)
{
	join_log(c, "", why);
	int err = conn_refuse(c, id, -ERR_DENIED, why);
	if (err == 0)
		err = channel_flush(c->channel);
	c->why = why;
	return err < 0 ? err : -ERR_DENIED;
}

static int join_answer(struct conn *c, uint32_t id)
{
	struct wcur w;
	channel_begin(c->channel, &w);
	msg_ok_encode(&w, &(struct msg_ok){.durability = DURABLE_DISK});
	return channel_end(c->channel, &w, MSG_OK, id);
}

/* What the registry made of it. */
static int join_finish(struct conn *c, uint32_t id, const char *name, int result)
{
	switch (-result) {
	case 0:
		join_log(c, name, "ok");
		return join_answer(c, id);
	case ERR_DENIED:
		conn_strike(c);
		return join_deny(c, id,
			"there is no such invitation: it was used, has expired or was "
			"replaced; ask for a new one");
	case ERR_EXISTS:
		return join_deny(c, id,
			"this identity, or the invited name, is that of a client "
			"already; if it was you who joined, put and get work now");
	default:
		join_log(c, "", err_text(result));
		return conn_refuse(c, id, -ERR_IO,
			"the server could not change its list of clients: see its log");
	}
}

int conn_join(struct conn *c, const struct channel_msg *m)
{
	char name[CLIENT_NAME_MAX + 1] = "";
	struct msg_join join;
	int err = msg_join_decode(&join, m->payload, m->len);
	if (err < 0)
		return err;
	bool may = c->has_fingerprint && !c->known && !c->confined;
	err = may ? registry_join(c->env->registry, join.secret, c->fingerprint, name)
		  : -ERR_EXISTS;
	secret_wipe(&join, sizeof(join));
	if (!c->has_fingerprint)
		return join_deny(
			c, m->id, "an invitation is taken up over TLS, with an identity");
	/* By then its thread cannot reach the list of clients any more. */
	if (c->confined && !c->known)
		return join_deny(c, m->id,
			"an invitation is taken up by the first request of a connection");
	return join_finish(c, m->id, name, err);
}
