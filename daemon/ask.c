/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ASK: what stands there that need not be sent again? */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/err.h"
#include "daemon/conn.h"
#include "os/fd.h"
#include "transfer/attr.h"
#include "transfer/prefix.h"
#include "transfer/source.h"

/* A partial whose connection was silent for so long is taken from it. */
#define CLAIM_STALL_MS 3000
/* How long a new connection waits for another to let go of the partial. */
#define CLAIM_WAIT_MS 2000

int conn_claim(struct conn *c, struct claim *claim, const uint8_t key[STAGE_KEY_LEN])
{
	return claim_take(c->env->claims, claim, key, c->run, channel_fd(c->channel),
		CLAIM_STALL_MS, CLAIM_WAIT_MS);
}

/* The partial of this source and name, claimed and locked, in the offer. */
static int offer_partial(struct conn *c, const struct msg_ask *ask, const char *path)
{
	struct dir *parent;
	const char *leaf;
	struct stat st;
	int err = dir_cache_parent(&c->dirs, path, false, &parent, &leaf);
	if (err < 0)
		return err;
	err = conn_claim(c, &c->claim, c->offer.key);
	if (err == 0)
		err = stage_resume(
			&c->area, parent, c->offer.key, false, &c->offer.stage);
	dir_put(parent);
	if (err < 0)
		return err;
	if (fstat(c->offer.stage.fd, &st) < 0)
		return -err_from_errno(errno);
	c->offer.offset = prefix_usable((uint64_t)st.st_size, ask->size);
	c->offer.kind = OFFER_PARTIAL;
	return c->offer.offset > 0 ? 0 : -ERR_NOT_FOUND;
}

static int offer_whole(struct conn *c, const struct msg_ask *ask, const char *path)
{
	struct stat st;
	/* A digest says what is in it to whoever can guess. */
	if (!(channel_session(c->channel)->rights & (RIGHT_READ | RIGHT_WRITE)))
		return -ERR_DENIED;
	int fd = dir_cache_open(&c->dirs, path, true);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size != ask->size) {
		fd_close(fd);
		return -ERR_NOT_FOUND;
	}
	c->offer.fd = fd;
	c->offer.kind = OFFER_WHOLE;
	c->offer.offset = ask->size;
	return 0;
}

static int send_offer(struct conn *c, uint32_t id, uint8_t kind, uint64_t offset)
{
	struct wcur w;
	channel_begin(c->channel, &w);
	msg_offer_encode(&w, &(struct msg_offer){.kind = kind, .offset = offset});
	return channel_end(c->channel, &w, MSG_OFFER, id);
}

/* The offer goes out at once, so that the client digests its side while we
 * digest ours. */
static int prove_offer(struct conn *c, uint32_t id)
{
	struct offer *o = &c->offer;
	if (!o->digest && !(o->digest = digest_new()))
		return -ERR_RESOURCE;
	if (c->claim.held)
		claim_work(c->env->claims, &c->claim);
	int err = send_offer(c, id, (uint8_t)o->kind, o->offset);
	if (err == 0)
		err = channel_flush(c->channel);
	if (err == 0)
		err = prefix_digest(o->digest,
			o->kind == OFFER_WHOLE ? o->fd : o->stage.fd, o->offset,
			c->channel);
	if (err_is_connection(err))
		return err;
	o->id = id;
	if (err == 0)
		return prefix_send_proof(c->channel, id, o->digest);
	/* What cannot be read proves nothing, and is not continued. */
	conn_offer_drop(c);
	err = digest_start(o->digest);
	return err < 0 ? err : prefix_send_proof(c->channel, id, o->digest);
}

static int answer_ask(
	struct conn *c, uint32_t id, const struct msg_ask *ask, const char *path)
{
	struct stat st;
	/* Who may not see what there is hears only of what it has begun itself. */
	bool sees = channel_session(c->channel)->rights & RIGHTS_SEE;
	int err = sees ? beneath_lstat(c->root_fd, path, &st) : -ERR_NOT_FOUND;
	bool exists = err == 0;
	if (err < 0 && err != -ERR_NOT_FOUND)
		return conn_refuse(c, id, err, NULL);
	if (exists && (ask->flags & ASK_NO_CLOBBER))
		return conn_refuse(c, id, -ERR_EXISTS, NULL);
	if (exists && (ask->flags & ASK_UPDATE) && S_ISREG(st.st_mode) &&
		(uint64_t)st.st_size == ask->size) {
		struct msg_time mtime = msg_time_of(&st.st_mtim);
		if (attr_same_time(&mtime, &ask->mtime))
			return send_offer(c, id, OFFER_SAME, 0);
	}
	if ((ask->flags & ASK_PARTIAL) && offer_partial(c, ask, path) == 0)
		return prove_offer(c, id);
	conn_offer_drop(c);
	if (exists && (ask->flags & ASK_WHOLE) && offer_whole(c, ask, path) == 0)
		return prove_offer(c, id);
	return send_offer(c, id, OFFER_NONE, 0);
}

int conn_ask(struct conn *c, const struct channel_msg *m)
{
	struct msg_ask ask;
	int err = msg_ask_decode(&ask, m->payload, m->len);
	if (err < 0)
		return err == -ERR_PROTOCOL ? err : conn_refuse(c, m->id, err, NULL);
	char path[PATH_WIRE_MAX + 1];
	conn_path(path, &ask.path);
	conn_offer_drop(c);
	err = prefix_key(c->offer.key, c->identity, path, ask.tag, MSG_TAG_LEN);
	return err < 0 ? conn_refuse(c, m->id, err, NULL)
		       : answer_ask(c, m->id, &ask, path);
}
