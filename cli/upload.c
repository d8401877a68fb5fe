/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/tag.h"
#include "os/fd.h"
#include "os/link.h"
#include "transfer/prefix.h"
#include "transfer/sender.h"

/* Items remembered at the most, a power of two: a slot is found by its id. */
#define SLOTS_MAX 1024
/* With -u or -N: how far the questions run ahead of the data. */
#define ASK_AHEAD 256
#define FLUSH_ID  UINT32_MAX
/* Ids start anew after so many items; a multiple of SLOTS_MAX. */
#define ID_RANGE (1u << 30)

enum slot_state { SLOT_NEW, SLOT_ASKED, SLOT_SENT, SLOT_AGAIN, SLOT_DONE };

struct slot {
	enum slot_state state;
	enum upload_kind kind;
	uint32_t id;
	struct upload_tree *tree; /* borrowed */
	char *path;               /* owned; its memory is used again for the next item */
	size_t path_cap;
	unsigned tries;           /* how often wrong bytes were answered */
	bool resent;              /* an earlier connection may have finished it */
	/* the answer to ASK */
	bool answered;
	struct msg_offer offer;
	bool proved;
	struct msg_proof proof;
	/* the file as it was sent */
	uint64_t resumed_from;
	struct sent sent;
	int failed;               /* our own -ERR_… after which we aborted; the answer follows */
	int refused;              /* the server's, while we were still sending */
};

struct uploads {
	const struct job *job; /* borrowed */
	struct digest *digest; /* owned */
	struct slot slots[SLOTS_MAX];
	uint64_t capacity;     /* of slots, as the server's depth allows */
	uint64_t first;        /* the oldest item that is not done */
	uint64_t next;         /* the next to be sent */
	uint64_t end;          /* behind the last one added */
	struct slot *sending;  /* the file being sent, or NULL */
	bool flushed;          /* FLUSH was answered */
};

static const struct options *opts_of(const struct uploads *u)
{
	return u->job->opts;
}

static struct channel *channel_of(const struct uploads *u)
{
	return u->job->peer->channel;
}

static struct slot *slot_at(struct uploads *u, uint64_t pos)
{
	return &u->slots[pos % SLOTS_MAX];
}

/* Standard input: read once, without a size. */
static bool slot_is_stream(const struct slot *s)
{
	return s->tree->root_fd < 0 && strcmp(s->tree->local, "-") == 0;
}

static int slot_remote_path(const struct slot *s, char out[PATH_WIRE_MAX + 1])
{
	return path_join(out, PATH_WIRE_MAX + 1, s->tree->remote, s->path);
}

/* What the user would call it. */
static const char *slot_name(const struct slot *s, char *buf, size_t cap)
{
	if (!*s->path)
		return s->tree->local;
	return path_join(buf, cap, s->tree->local, s->path) == 0 ? buf : s->path;
}

#define NAME_CAP (PATH_WIRE_MAX + 4096)

static void slot_fail(struct uploads *u, struct slot *s, enum side side, int err,
	const char *detail)
{
	char name[NAME_CAP];
	report_failure(u->job->report, slot_name(s, name, sizeof(name)), side, err, detail);
	s->state = SLOT_DONE;
}

static void slot_succeed(struct uploads *u, struct slot *s, enum outcome outcome,
	enum durability durability)
{
	char name[NAME_CAP];
	struct file_result r = {
		.path = slot_name(s, name, sizeof(name)),
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

/* -- Answers ------------------------------------------------------------ */

/* Wrong bytes are sent again, from the last good ones. */
static bool slot_may_try_again(const struct uploads *u, const struct slot *s, int code)
{
	return code == ERR_MISMATCH && !slot_is_stream(s) && s->tries < opts_of(u)->retries;
}

static int take_error(struct uploads *u, struct slot *s, const struct channel_msg *m)
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
		slot_fail(u, s, SIDE_LOCAL, s->failed, NULL);
	} else if (slot_may_try_again(u, s, e.code)) {
		s->tries++;
		s->state = SLOT_AGAIN;
		report_note(u->job->report, "%s: %s; sending again from the last good byte",
			slot_name(s, name, sizeof(name)), err_text(e.code));
	} else {
		slot_fail(u, s, SIDE_SERVER, -(int)e.code,
			strcmp(text, err_text(e.code)) == 0 ? NULL : text);
	}
	return 0;
}

static int take_done(struct uploads *u, struct slot *s, const struct channel_msg *m)
{
	struct msg_done done;
	int err = msg_done_decode(&done, m->payload, m->len);
	if (err < 0)
		return err;
	if (s->kind != UPLOAD_FILE || s->state != SLOT_SENT || s->failed)
		return -ERR_PROTOCOL;
	if (done.size != s->sent.size || memcmp(done.digest, s->sent.digest, DIGEST_LEN) != 0)
		slot_fail(u, s, SIDE_SERVER, -ERR_MISMATCH, NULL);
	else
		slot_succeed(u, s, OUTCOME_MOVED, done.durability);
	return 0;
}

static int take_offer(struct uploads *u, struct slot *s, const struct channel_msg *m)
{
	int err = msg_offer_decode(&s->offer, m->payload, m->len);
	if (err < 0)
		return err;
	if (s->state != SLOT_ASKED || s->answered)
		return -ERR_PROTOCOL;
	s->answered = true;
	if (s->offer.kind == OFFER_PARTIAL || s->offer.kind == OFFER_WHOLE)
		session_expect_proof(channel_session(channel_of(u)), s->id);
	return 0;
}

static int take_proof(struct slot *s, const struct channel_msg *m)
{
	s->proved = true;
	return msg_proof_decode(&s->proof, m->payload, m->len);
}

static int take_ok(struct slot *s)
{
	if (s->kind == UPLOAD_FILE || s->state != SLOT_SENT)
		return -ERR_PROTOCOL;
	s->state = SLOT_DONE;
	return 0;
}

static int take_answer(struct uploads *u, const struct channel_msg *m)
{
	if (m->id == FLUSH_ID && m->type == MSG_OK) {
		u->flushed = true;
		return 0;
	}
	struct slot *s = &u->slots[m->id % SLOTS_MAX];
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

static int wait_answer(struct uploads *u)
{
	struct channel_msg m;
	int err = channel_read(channel_of(u), &m);
	return err < 0 ? err : take_answer(u, &m);
}

/* The channel's readable hook: takes what is there without waiting. */
static int take_answers(void *ctx)
{
	struct uploads *u = ctx;
	for (;;) {
		struct channel_msg m;
		int err = channel_try_read(channel_of(u), &m);
		if (err == 0)
			err = take_answer(u, &m);
		if (err < 0)
			return err == -ERR_AGAIN ? 0 : err;
	}
}

/* -- Sending ------------------------------------------------------------ */

static void sending_progress(void *ctx, uint64_t bytes)
{
	struct uploads *u = ctx;
	report_bytes(u->job->report, bytes, false);
}

/* The server has refused the file that we are still sending. */
static int sending_interrupt(void *ctx)
{
	const struct uploads *u = ctx;
	return u->sending->refused ? -ERR_ABORTED : 0;
}

static bool is_large(const struct source *source)
{
	return source->seekable && source->size >= CHECKPOINT_INTERVAL;
}

/* What has to be asked before SOURCE may be sent. */
static uint32_t ask_flags(const struct uploads *u, const struct slot *s, bool large)
{
	const struct options *o = opts_of(u);
	uint32_t flags = 0;
	if (o->update)
		flags |= ASK_UPDATE;
	/* What an earlier connection of this run has made is not in our way. */
	if (o->no_clobber && !s->resent)
		flags |= ASK_NO_CLOBBER;
	if (large && o->resume && !o->dry_run)
		flags |= ASK_PARTIAL;
	if (s->resent && (large || o->no_clobber) && o->resume)
		flags |= ASK_WHOLE;
	return flags;
}

static int send_ask(struct uploads *u, struct slot *s, uint32_t flags, uint64_t size,
	const struct msg_time *mtime)
{
	char path[PATH_WIRE_MAX + 1];
	int err = slot_remote_path(s, path);
	if (err < 0)
		return err;
	struct msg_ask m = {.flags = flags, .size = size, .mtime = *mtime};
	m.path = (struct wire_str){path, strlen(path)};
	if (flags & ASK_PARTIAL)
		tag_of_source(m.tag, s->tree->local, s->path);
	struct wcur w;
	channel_begin(channel_of(u), &w);
	msg_ask_encode(&w, &m);
	s->state = SLOT_ASKED;
	s->answered = s->proved = false;
	return channel_end(channel_of(u), &w, MSG_ASK, s->id);
}

static int send_put(struct uploads *u, const struct slot *s, const char *path, bool large)
{
	const struct options *o = opts_of(u);
	struct msg_put m = {.flags = PUT_PARENTS, .alg = DIGEST_SHA256};
	if (o->no_clobber)
		m.flags |= PUT_NO_CLOBBER;
	if (!o->sync)
		m.flags |= PUT_NO_SYNC;
	if (o->preserve)
		m.flags |= PUT_PRESERVE;
	if (large && o->resume) {
		m.flags |= PUT_RESUMABLE;
		tag_of_source(m.tag, s->tree->local, s->path);
	}
	m.path = (struct wire_str){path, strlen(path)};
	struct wcur w;
	channel_begin(channel_of(u), &w);
	msg_put_encode(&w, &m);
	return channel_end(channel_of(u), &w, MSG_PUT, s->id);
}

/* Compares what was offered with our own beginning; 0, or where to start. */
static int check_offer(struct uploads *u, struct slot *s, const struct source *source,
	uint64_t *offset_out)
{
	uint8_t ours[DIGEST_LEN];
	*offset_out = 0;
	if (s->offer.kind != OFFER_PARTIAL && s->offer.kind != OFFER_WHOLE)
		return digest_start(u->digest);
	if (s->offer.offset > source->size)
		return -ERR_PROTOCOL;
	/* The server digests its side at the same time. */
	int err = prefix_digest(u->digest, source->fd, s->offer.offset, channel_of(u));
	while (err == 0 && !s->proved)
		err = wait_answer(u);
	if (err == 0)
		err = digest_peek(u->digest, ours);
	if (err < 0)
		return err;
	char name[NAME_CAP], size[TEXT_SIZE_MAX];
	slot_name(s, name, sizeof(name));
	if (memcmp(ours, s->proof.digest, DIGEST_LEN) == 0) {
		*offset_out = s->offer.offset;
		report_bytes(u->job->report, s->offer.offset, true);
		report_note(u->job->report, "%s: continuing at %s",
			slot_name(s, name, sizeof(name)),
			text_format_size(size, s->offer.offset));
		return 0;
	}
	report_note(u->job->report, "%s: what the server has of it is not its beginning; starting anew",
		slot_name(s, name, sizeof(name)));
	return digest_start(u->digest);
}

static int transmit(struct uploads *u, struct slot *s, struct source *source, uint64_t offset)
{
	const struct options *o = opts_of(u);
	char path[PATH_WIRE_MAX + 1];
	int err = slot_remote_path(s, path);
	if (err == 0)
		err = send_put(u, s, path, is_large(source));
	if (err < 0)
		return err;
	struct sender sender = {
		.channel = channel_of(u),
		.digest = u->digest,
		.progress = sending_progress,
		.interrupt = sending_interrupt,
		.ctx = u,
		.expected = o->has_sha256 ? o->sha256 : NULL,
	};
	s->state = SLOT_SENT;
	s->resumed_from = offset;
	u->sending = s;
	err = sender_send(&sender, s->id, source, offset, &s->sent);
	u->sending = NULL;
	if (err < 0 && !err_is_connection(err) && !s->refused) {
		s->failed = err; /* told to the user when the server has answered the abort */
		err = 0;
	}
	return err == -ERR_ABORTED ? 0 : err;
}

/* Asks, when something has to be asked, and acts on the answer. */
static int send_opened(struct uploads *u, struct slot *s, struct source *source)
{
	bool large = is_large(source);
	uint32_t flags = ask_flags(u, s, large);
	int err = 0;
	if (flags && s->state != SLOT_ASKED)
		err = send_ask(u, s, flags, source->size, &source->mtime);
	while (err == 0 && s->state == SLOT_ASKED && !s->answered)
		err = wait_answer(u);
	if (err < 0 || s->state == SLOT_DONE)
		return err;
	s->sent.size = source->seekable ? source->size : 0;
	if (flags && s->offer.kind == OFFER_SAME) {
		slot_succeed(u, s, OUTCOME_SKIPPED, DURABLE_NOT);
		return 0;
	}
	if (opts_of(u)->dry_run) {
		slot_succeed(u, s, OUTCOME_WOULD, DURABLE_NOT);
		return 0;
	}
	uint64_t offset = 0;
	err = flags ? check_offer(u, s, source, &offset) : digest_start(u->digest);
	if (err == -ERR_CHANGED) {
		slot_fail(u, s, SIDE_LOCAL, err, NULL);
		return 0;
	}
	return err < 0 ? err : transmit(u, s, source, offset);
}

static int open_source(const struct slot *s)
{
	if (s->tree->root_fd >= 0)
		return dir_cache_open(&s->tree->dirs, s->path, true);
	if (slot_is_stream(s))
		return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	int fd = open(s->tree->local, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -err_from_errno(errno) : fd;
}

static int send_file(struct uploads *u, struct slot *s)
{
	char name[NAME_CAP];
	struct source source = {.fd = open_source(s)};
	int err = source.fd;
	if (err >= 0)
		err = source_init(&source, source.fd, slot_is_stream(s));
	if (err < 0) {
		/* An answer to a question asked ahead may still come. */
		while (s->state == SLOT_ASKED && !s->answered) {
			int lost = wait_answer(u);
			if (lost < 0)
				return lost;
		}
		slot_fail(u, s, SIDE_LOCAL, err, NULL);
		source_fini(&source);
		return 0;
	}
	report_file_begin(u->job->report, slot_name(s, name, sizeof(name)), source.size);
	err = send_opened(u, s, &source);
	source_fini(&source);
	return err;
}

static int send_mkdir(struct uploads *u, struct slot *s, const char *path)
{
	struct stat st;
	struct msg_mkdir m = {.flags = PUT_PARENTS, .mode = 0777, .path = {path, strlen(path)}};
	if (beneath_lstat(s->tree->root_fd, s->path, &st) == 0)
		m.mode = st.st_mode & 0777;
	struct wcur w;
	channel_begin(channel_of(u), &w);
	msg_mkdir_encode(&w, &m);
	s->state = SLOT_SENT;
	return channel_end(channel_of(u), &w, MSG_MKDIR, s->id);
}

static int send_attr(struct uploads *u, struct slot *s, const char *path)
{
	struct stat st;
	int err = beneath_lstat(s->tree->root_fd, s->path, &st);
	if (err < 0) {
		slot_fail(u, s, SIDE_LOCAL, err, NULL);
		return 0;
	}
	struct msg_attr m = {.mode = st.st_mode & 0777, .path = {path, strlen(path)}};
	m.mtime = msg_time_of(&st.st_mtim);
	struct wcur w;
	channel_begin(channel_of(u), &w);
	msg_attr_encode(&w, &m);
	s->state = SLOT_SENT;
	return channel_end(channel_of(u), &w, MSG_ATTR, s->id);
}

static int send_link(struct uploads *u, struct slot *s, const char *path)
{
	char target[PATH_TARGET_MAX + 1];
	struct dir *parent = NULL;
	const char *leaf;
	int err = dir_cache_parent(&s->tree->dirs, s->path, false, &parent, &leaf);
	if (err == 0)
		err = link_read_inside(s->tree->root_fd, s->path, parent->fd, leaf, target);
	dir_put(parent);
	if (err < 0) {
		slot_fail(u, s, SIDE_LOCAL, err, NULL);
		return 0;
	}
	struct msg_link m = {.flags = PUT_PARENTS, .path = {path, strlen(path)}};
	if (opts_of(u)->no_clobber && !s->resent)
		m.flags |= PUT_NO_CLOBBER;
	m.target = (struct wire_str){target, strlen(target)};
	struct wcur w;
	channel_begin(channel_of(u), &w);
	msg_link_encode(&w, &m);
	s->state = SLOT_SENT;
	return channel_end(channel_of(u), &w, MSG_LINK, s->id);
}

/* Sends one item, in whatever state of being asked about it is. */
static int send_slot(struct uploads *u, struct slot *s)
{
	s->failed = s->refused = 0;
	if (s->kind == UPLOAD_FILE)
		return s->state == SLOT_DONE ? 0 : send_file(u, s);
	char path[PATH_WIRE_MAX + 1];
	int err = slot_remote_path(s, path);
	if (err < 0 || opts_of(u)->dry_run) {
		if (err < 0)
			slot_fail(u, s, SIDE_LOCAL, err, NULL);
		s->state = SLOT_DONE;
		return 0;
	}
	return s->kind == UPLOAD_DIR    ? send_mkdir(u, s, path)
	       : s->kind == UPLOAD_ATTR ? send_attr(u, s, path)
					: send_link(u, s, path);
}

/* -- The pipeline ------------------------------------------------------- */

/* Sends until no more than KEEP items wait to be sent. */
static int advance(struct uploads *u, uint64_t keep)
{
	for (;;) {
		while (u->first < u->next && slot_at(u, u->first)->state == SLOT_DONE)
			u->first++;
		struct slot *oldest = slot_at(u, u->first);
		int err;
		if (u->first < u->next && oldest->state == SLOT_AGAIN) {
			oldest->resent = true;
			oldest->state = SLOT_NEW;
			err = send_slot(u, oldest);
		} else if (u->end - u->next > keep) {
			err = send_slot(u, slot_at(u, u->next));
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
static bool slot_is_lost(const struct slot *s)
{
	return s->state != SLOT_NEW && s->state != SLOT_DONE && slot_is_stream(s);
}

/* After ERR on the connection: a new one, on which all that is unanswered is sent again. */
static int recover(struct uploads *u, int err)
{
	if (!err_is_connection(err))
		return err;
	const char *fault = channel_fault(channel_of(u));
	if (*fault)
		report_note(u->job->report, "the server says: %s", fault);
	for (uint64_t pos = u->first; pos < u->end; pos++)
		if (slot_is_lost(slot_at(u, pos)))
			slot_fail(u, slot_at(u, pos), SIDE_CONNECTION, err, NULL);
	err = peer_reconnect(u->job->peer, err);
	if (err < 0)
		return err;
	channel_on_readable(channel_of(u), take_answers, u);
	u->sending = NULL;
	for (uint64_t pos = u->first; pos < u->end; pos++) {
		struct slot *s = slot_at(u, pos);
		if (s->state == SLOT_DONE)
			continue;
		s->resent = s->resent || s->state == SLOT_SENT;
		s->state = pos < u->next ? SLOT_AGAIN : SLOT_NEW;
	}
	return 0;
}

static int try_make_room(struct uploads *u)
{
	int err = advance(u, opts_of(u)->update || opts_of(u)->no_clobber ? ASK_AHEAD : 0);
	while (err == 0 && u->end - u->first >= u->capacity) {
		err = u->next < u->end ? advance(u, 0) : wait_answer(u);
		if (err == 0)
			err = advance(u, u->end - u->next);
	}
	return err;
}

static int try_settle(struct uploads *u)
{
	int err = advance(u, 0);
	while (err == 0 && u->first < u->end) {
		u->flushed = false;
		err = channel_send_empty(channel_of(u), MSG_FLUSH, FLUSH_ID);
		while (err == 0 && !u->flushed)
			err = wait_answer(u);
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
		err = recover(u, err);
		if (err < 0)
			return err;
	}
	return 0;
}

static int slot_set_path(struct slot *s, const char *path)
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

/* With -u or -N the question about a small file goes out long before its data. */
static int ask_ahead(struct uploads *u, struct slot *s)
{
	struct stat st;
	bool wanted = opts_of(u)->update || opts_of(u)->no_clobber;
	if (!wanted || s->kind != UPLOAD_FILE || s->tree->root_fd < 0)
		return 0;
	struct dir *parent;
	const char *leaf;
	if (dir_cache_parent(&s->tree->dirs, s->path, false, &parent, &leaf) < 0)
		return 0; /* it fails again, with a word, when it is opened */
	bool found = fstatat(parent->fd, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
	dir_put(parent);
	if (!found || st.st_size >= (off_t)CHECKPOINT_INTERVAL)
		return 0;
	struct msg_time mtime = msg_time_of(&st.st_mtim);
	return send_ask(u, s, ask_flags(u, s, false), (uint64_t)st.st_size, &mtime);
}

int uploads_add(struct uploads *u, enum upload_kind kind, struct upload_tree *tree,
	const char *path)
{
	int err = persist(u, try_make_room);
	if (err < 0)
		return err;
	struct slot *s = slot_at(u, u->end);
	char *memory = s->path;
	*s = (struct slot){
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
	err = ask_ahead(u, s);
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
	channel_on_readable(channel_of(u), take_answers, u);
	*out = u;
	return 0;
}

void uploads_free(struct uploads *u)
{
	if (!u)
		return;
	if (channel_of(u))
		channel_on_readable(channel_of(u), NULL, NULL);
	for (size_t i = 0; i < SLOTS_MAX; i++)
		free(u->slots[i].path);
	digest_free(u->digest);
	free(u);
}
