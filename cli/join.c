/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/join.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/known.h"
#include "cli/trust.h"
#include "crypto/secret.h"
#include "os/fd.h"
#include "os/store.h"

#define JOIN_ID    1
#define DETAIL_MAX (MSG_TEXT_MAX + 256)

/* What the server says of a code: 0 or its refusal, in words of its own. */
struct answer {
	int code; /* -ERR_… */
	char text[MSG_TEXT_MAX + 1];
};

static int send_secret(struct channel *c, const uint8_t secret[SECRET_LEN])
{
	struct msg_join m;
	struct wcur w;

	memcpy(m.secret, secret, SECRET_LEN);
	channel_begin(c, &w);
	msg_join_encode(&w, &m);
	secret_wipe(&m, sizeof(m));
	return channel_end(c, &w, MSG_JOIN, JOIN_ID);
}

static int read_refusal(const struct channel_msg *m, struct answer *out)
{
	struct msg_error e;
	int err = msg_error_decode(&e, m->payload, m->len);

	if (err < 0)
		return err;
	out->code = -(int)e.code;
	snprintf(out->text, sizeof(out->text), "%.*s", (int)e.text.len, e.text.bytes);
	return 0;
}

static int read_answer(struct channel *c, struct answer *out)
{
	struct channel_msg m;
	int err = channel_read(c, &m);

	*out = (struct answer){0};
	/* Not only the code, the whole client was refused. */
	if (err == -ERR_REFUSED && *channel_fault(c)) {
		out->code = -ERR_DENIED;
		snprintf(out->text, sizeof(out->text), "%s", channel_fault(c));
		return 0;
	}
	if (err < 0)
		return err;
	if (m.id == JOIN_ID && m.type == MSG_OK)
		return 0;
	return m.id == JOIN_ID && m.type == MSG_ERROR ? read_refusal(&m, out)
						      : -ERR_PROTOCOL;
}

/* 0 when there is an answer; *AGAIN_OUT: one before it may have been lost. */
static int join_ask(struct peer *p, const uint8_t secret[SECRET_LEN], struct answer *out,
	bool *again_out)
{
	for (*again_out = false;; *again_out = true) {
		int err = send_secret(p->channel, secret);
		if (err == 0)
			err = read_answer(p->channel, out);
		channel_wipe(p->channel);
		if (err == 0)
			return 0;
		err = peer_reconnect(p, err);
		if (err < 0)
			return err;
	}
}

static void refusal_report(const struct job *job, const struct answer *answer, bool again)
{
	char detail[DETAIL_MAX];
	bool has_words =
		*answer->text && strcmp(answer->text, err_text(answer->code)) != 0;
	const char *words = has_words
				    ? answer->text
				    : "the code may have been used, have expired, or be "
				      "of another server";

	snprintf(detail, sizeof(detail), "%s%s", words,
		again ? "; the answer to a first try was lost, so that one may have "
			"succeeded: try a transfer"
		      : "");
	report_failure(job->report, NULL, SIDE_SERVER, answer->code,
		answer->code == -ERR_DENIED || has_words ? detail : NULL);
}

/* The identity that the peer has shown: it stands where that found or made it. */
static int self_read(const struct job *job, int dirfd, uint8_t out[FINGERPRINT_LEN])
{
	const char *file = job->opts->identity;
	struct identity *id;
	int err = file ? identity_load(AT_FDCWD, file, &id)
		       : identity_load(dirfd, TRUST_IDENTITY, &id);

	if (err < 0)
		return err;
	memcpy(out, identity_fingerprint(id), FINGERPRINT_LEN);
	identity_free(id);
	return 0;
}

static int joined(const struct job *job, int dirfd, const uint8_t self[FINGERPRINT_LEN])
{
	const struct options *opts = job->opts;
	char name[KNOWN_NAME_MAX];
	int err = trust_remember(opts, job->report, dirfd, job->req->host, opts->pin);

	if (err < 0) {
		report_note(job->report, "the server has accepted the code all the same");
		return -ERR_UNTRUSTED; /* was reported */
	}
	err = known_name(name, job->req->host, opts->port);
	if (err == 0)
		report_joined(job->report, name, self, opts->pin);
	return err;
}

/* Whatever could fail here fails before the code is used up. */
static int prepare(const struct job *job, int dirfd, struct invite_code *code,
	uint8_t self[FINGERPRINT_LEN])
{
	FD_OWNED lock = store_lock(dirfd);
	int err;

	if (lock < 0) {
		report_failure(job->report, trust_directory_name(), SIDE_LOCAL, lock,
			"the server could not be remembered, so the code was not used");
		return -ERR_UNTRUSTED; /* was reported */
	}
	err = self_read(job, dirfd, self);
	return err < 0 ? err : code_parse(job->req->code, code);
}

int join_run(const struct job *job)
{
	int dirfd = job->peer->dirfd; /* borrowed */
	uint8_t self[FINGERPRINT_LEN];
	struct invite_code code = {0};
	struct answer answer = {0};
	bool again = false;
	int err = prepare(job, dirfd, &code, self);

	if (err == 0)
		err = join_ask(job->peer, code.secret, &answer, &again);
	secret_wipe(&code, sizeof(code));
	if (err < 0)
		return err;
	if (answer.code < 0) {
		refusal_report(job, &answer, again);
		return 0;
	}
	return joined(job, dirfd, self);
}
