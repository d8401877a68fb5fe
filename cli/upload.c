/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/upload.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/upload_impl.h"

/* With -u or -N: how far the questions run ahead of the data. */
#define ASK_AHEAD 256
/* Ids start anew after so many items; a multiple of SLOTS_MAX. */
#define ID_RANGE (1u << 30)

static struct upload_slot *slot_at(struct uploads *u, uint64_t pos)
{
	return &u->slots[pos % SLOTS_MAX];
}

bool upload_is_stream(const struct upload_slot *s)
{
	return s->tree->root_fd < 0 && strcmp(s->tree->local, "-") == 0;
}

const char *upload_name(const struct upload_slot *s, char *buf, size_t cap)
{
	if (!*s->path)
		return s->tree->local;
	return path_join(buf, cap, s->tree->local, s->path) == 0 ? buf : s->path;
}

void upload_fail(struct uploads *u, struct upload_slot *s, enum side side, int err,
	const char *detail)
{
	char name[NAME_CAP];
	report_failure(
		u->job->report, upload_name(s, name, sizeof(name)), side, err, detail);
	s->state = SLOT_DONE;
}

void upload_succeed(struct uploads *u, struct upload_slot *s, enum outcome outcome,
	enum durability durability)
{
	char name[NAME_CAP];
	struct file_result r = {
		.path = upload_name(s, name, sizeof(name)),
		.outcome = outcome,
		.size = s->sent.size,
		.resumed_from = s->resumed_from,
		.digest = outcome == OUTCOME_MOVED ? s->sent.digest : NULL,
		.durability = durability,
	};
	report_file_done(u->job->report, &r);
	peer_progress(u->job->peer);
	s->state = SLOT_DONE;
}

/* -- The pipeline ------------------------------------------------------- */

static void pop_done(struct uploads *u)
{
	while (u->first < u->next && slot_at(u, u->first)->state == SLOT_DONE)
		u->first++;
}

/* Sends until no more than KEEP items wait to be sent. */
static int advance(struct uploads *u, uint64_t keep)
{
	for (;;) {
		pop_done(u);
		struct upload_slot *oldest = slot_at(u, u->first);
		int err;
		if (u->first < u->next && oldest->state == SLOT_AGAIN) {
			oldest->resent = true;
			oldest->state = SLOT_NEW;
			err = upload_send(u, oldest);
		} else if (u->end - u->next > keep) {
			err = upload_send(u, slot_at(u, u->next));
			if (err == 0)
				u->next++;
		} else {
			return 0;
		}
		if (err < 0)
			return err;
	}
}

/* A pipe cannot be read twice. */
static bool slot_is_lost(const struct upload_slot *s)
{
	return s->state != SLOT_NEW && s->state != SLOT_DONE && upload_is_stream(s);
}

/* After ERR on the connection: a new one, on which all that is unanswered is sent again.
 */
static int recover(struct uploads *u, int err)
{
	if (!err_is_connection(err))
		return err;
	for (uint64_t pos = u->first; pos < u->end; pos++)
		if (slot_is_lost(slot_at(u, pos)))
			upload_fail(u, slot_at(u, pos), SIDE_CONNECTION, err, NULL);
	err = peer_reconnect(u->job->peer, err);
	if (err < 0)
		return err;
	channel_on_readable(upload_channel(u), upload_take_answers, u);
	u->sending = NULL;
	u->flushing = false;
	for (uint64_t pos = u->first; pos < u->end; pos++) {
		struct upload_slot *s = slot_at(u, pos);
		if (s->state == SLOT_DONE)
			continue;
		s->resent = s->resent || s->state == SLOT_SENT;
		s->state = SLOT_NEW;
	}
	u->next = u->first;
	return 0;
}

static int try_make_room(struct uploads *u)
{
	int err = advance(
		u, u->job->opts->update || u->job->opts->no_clobber ? ASK_AHEAD : 0);
	while (err == 0 && u->end - u->first >= u->capacity) {
		err = u->next < u->end ? advance(u, 0) : upload_wait_answer(u);
		if (err == 0)
			err = advance(u, u->end - u->next);
	}
	return err;
}

static int try_settle(struct uploads *u)
{
	int err = advance(u, 0);
	while (err == 0 && u->first < u->end) {
		u->flushing = true;
		err = channel_send_empty(upload_channel(u), MSG_FLUSH, FLUSH_ID);
		while (err == 0 && u->flushing)
			err = upload_wait_answer(u);
		if (err == 0)
			err = advance(u, 0);
	}
	return err;
}

/* Runs STEP until it succeeds, on as many connections as that takes. */
static int persist(struct uploads *u, int (*step)(struct uploads *u))
{
	int err;
	while ((err = step(u)) < 0) {
		pop_done(u);
		/* All is answered: whoever hung up after that has kept its word. */
		if (u->first == u->end && err != -ERR_INTERRUPTED)
			return 0;
		err = recover(u, err);
		if (err < 0)
			return err;
	}
	return 0;
}

static int slot_set_path(struct upload_slot *s, const char *path)
{
	size_t need = strlen(path) + 1;
	if (s->path_cap < need) {
		char *bigger = realloc(s->path, need + 64);
		if (!bigger)
			return -ERR_RESOURCE;
		s->path = bigger;
		s->path_cap = need + 64;
	}
	memcpy(s->path, path, need);
	return 0;
}

int uploads_add(struct uploads *u, enum upload_kind kind, struct upload_tree *tree,
	const char *path)
{
	int err = persist(u, try_make_room);
	if (err < 0)
		return err;
	struct upload_slot *s = slot_at(u, u->end);
	char *memory = s->path;
	*s = (struct upload_slot){
		.kind = kind,
		.id = (uint32_t)(u->end % ID_RANGE) + SLOTS_MAX,
		.tree = tree,
		.path = memory,
		.path_cap = s->path_cap,
	};
	err = slot_set_path(s, path);
	if (err < 0)
		return err;
	u->end++;
	err = upload_ask_ahead(u, s);
	return err < 0 ? recover(u, err) : 0;
}

int uploads_settle(struct uploads *u)
{
	return persist(u, try_settle);
}

int uploads_new(struct uploads **out, const struct job *job)
{
	struct uploads *u = calloc(1, sizeof(*u));
	if (!u)
		return -ERR_RESOURCE;
	u->job = job;
	u->digest = digest_new();
	if (!u->digest) {
		free(u);
		return -ERR_RESOURCE;
	}
	/* Half of what the server allows: a question and a file for each. */
	u->capacity = job->peer->depth / 2;
	if (u->capacity > SLOTS_MAX)
		u->capacity = SLOTS_MAX;
	if (u->capacity == 0)
		u->capacity = 1;
	channel_on_readable(upload_channel(u), upload_take_answers, u);
	*out = u;
	return 0;
}

void uploads_free(struct uploads *u)
{
	if (!u)
		return;
	if (upload_channel(u))
		channel_on_readable(upload_channel(u), NULL, NULL);
	for (size_t i = 0; i < SLOTS_MAX; i++)
		free(u->slots[i].path);
	digest_free(u->digest);
	free(u);
}
