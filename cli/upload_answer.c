/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "base/err.h"
#include "cli/upload_impl.h"

/* Wrong bytes are sent again, from the last good ones. */
static bool slot_may_try_again(
	const struct uploads *u, const struct upload_slot *s, int code)
{
	return code == ERR_MISMATCH && !upload_is_stream(s) &&
	       s->tries < u->job->opts->retries;
}

static int take_error(
	struct uploads *u, struct upload_slot *s, const struct channel_msg *m)
{
	struct msg_error e;
	int err = msg_error_decode(&e, m->payload, m->len);
	if (err < 0)
		return err;
	char name[NAME_CAP], text[MSG_TEXT_MAX + 1];
	memcpy(text, e.text.bytes, e.text.len);
	text[e.text.len] = '\0';
	s->refused = -(int)e.code;
	if (s->failed) {
		upload_fail(u, s, SIDE_LOCAL, s->failed, NULL);
	} else if (slot_may_try_again(u, s, e.code)) {
		s->tries++;
		s->state = SLOT_AGAIN;
		report_note(u->job->report,
			"%s: %s; sending again from the last good byte",
			upload_name(s, name, sizeof(name)), err_text(e.code));
	} else {
		bool plain = strcmp(text, err_text(e.code)) == 0;
		const char *attr = s->kind == UPLOAD_ATTR
					   ? "its mode and time may not be set"
					   : NULL;
		upload_fail(u, s, SIDE_SERVER, -(int)e.code, plain ? attr : text);
	}
	return 0;
}

static int take_done(
	struct uploads *u, struct upload_slot *s, const struct channel_msg *m)
{
	struct msg_done done;
	int err = msg_done_decode(&done, m->payload, m->len);
	if (err < 0)
		return err;
	/* Before its END nobody can have verified it. */
	if (s->kind != UPLOAD_FILE || s->state != SLOT_SENT || s->failed ||
		u->sending == s)
		return -ERR_PROTOCOL;
	if (done.size != s->sent.size ||
		memcmp(done.digest, s->sent.digest, DIGEST_LEN) != 0)
		upload_fail(u, s, SIDE_SERVER, -ERR_MISMATCH, NULL);
	else
		upload_succeed(u, s, OUTCOME_MOVED, done.durability);
	return 0;
}

/* What must have been asked for an offer of each kind. */
static const uint32_t offer_needs[] = {
	[OFFER_PARTIAL] = ASK_PARTIAL,
	[OFFER_WHOLE] = ASK_WHOLE,
	[OFFER_SAME] = ASK_UPDATE,
};

static int take_offer(
	struct uploads *u, struct upload_slot *s, const struct channel_msg *m)
{
	int err = msg_offer_decode(&s->offer, m->payload, m->len);
	if (err < 0)
		return err;
	if (s->state != SLOT_ASKED || s->answered)
		return -ERR_PROTOCOL;
	if (s->offer.kind != OFFER_NONE && !(s->asked & offer_needs[s->offer.kind]))
		return -ERR_PROTOCOL;
	s->answered = true;
	channel_expect_work(upload_channel(u), s->offer.offset);
	if (s->offer.kind == OFFER_PARTIAL || s->offer.kind == OFFER_WHOLE)
		session_expect_proof(channel_session(upload_channel(u)), s->id);
	return 0;
}

static int take_proof(struct upload_slot *s, const struct channel_msg *m)
{
	s->proved = true;
	return msg_proof_decode(&s->proof, m->payload, m->len);
}

static int take_ok(struct upload_slot *s)
{
	if (s->kind == UPLOAD_FILE || s->state != SLOT_SENT)
		return -ERR_PROTOCOL;
	s->state = SLOT_DONE;
	return 0;
}

/* What was sent before it has been answered before it. */
static int take_flushed(struct uploads *u)
{
	if (!u->flushing)
		return -ERR_PROTOCOL;
	u->flushing = false;
	for (uint64_t pos = u->first; pos < u->end; pos++)
		if (u->slots[pos % SLOTS_MAX].state == SLOT_SENT)
			return -ERR_PROTOCOL;
	return 0;
}

static int take_answer(struct uploads *u, const struct channel_msg *m)
{
	if (m->id == FLUSH_ID && m->type == MSG_OK)
		return take_flushed(u);
	struct upload_slot *s = &u->slots[m->id % SLOTS_MAX];
	if (s->id != m->id || s->state == SLOT_DONE)
		return -ERR_PROTOCOL;
	switch (m->type) {
	case MSG_ERROR:
		return take_error(u, s, m);
	case MSG_DONE:
		return take_done(u, s, m);
	case MSG_OK:
		return take_ok(s);
	case MSG_OFFER:
		return take_offer(u, s, m);
	case MSG_PROOF:
		return take_proof(s, m);
	default:
		return -ERR_PROTOCOL;
	}
}

int upload_wait_answer(struct uploads *u)
{
	struct channel_msg m;
	int err = channel_read(upload_channel(u), &m);
	return err < 0 ? err : take_answer(u, &m);
}

int upload_take_answers(void *ctx)
{
	struct uploads *u = ctx;
	for (;;) {
		struct channel_msg m;
		int err = channel_try_read(upload_channel(u), &m);
		if (err == 0)
			err = take_answer(u, &m);
		if (err < 0)
			return err == -ERR_AGAIN ? 0 : err;
	}
}
