/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/tag.h"
#include "cli/upload_impl.h"
#include "os/fd.h"
#include "os/link.h"
#include "transfer/prefix.h"
#include "transfer/ring.h"

static int slot_remote_path(const struct upload_slot *s, char out[PATH_WIRE_MAX + 1])
{
	return path_join(out, PATH_WIRE_MAX + 1, s->tree->remote, s->path);
}

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
static uint32_t ask_flags(
	const struct uploads *u, const struct upload_slot *s, bool large)
{
	const struct options *o = u->job->opts;
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

static int send_ask(struct uploads *u, struct upload_slot *s, uint32_t flags,
	uint64_t size, const struct msg_time *mtime)
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
	channel_begin(upload_channel(u), &w);
	msg_ask_encode(&w, &m);
	s->state = SLOT_ASKED;
	s->asked = flags;
	s->answered = s->proved = false;
	return channel_end(upload_channel(u), &w, MSG_ASK, s->id);
}

/* The flags of everything that makes a name. */
static uint32_t make_flags(const struct options *o)
{
	return PUT_PARENTS | (o->sync ? 0 : PUT_NO_SYNC);
}

static int send_put(
	struct uploads *u, const struct upload_slot *s, const char *path, bool large)
{
	const struct options *o = u->job->opts;
	struct msg_put m = {.flags = make_flags(o), .alg = DIGEST_SHA256};
	if (o->no_clobber)
		m.flags |= PUT_NO_CLOBBER;
	if (o->preserve)
		m.flags |= PUT_PRESERVE;
	if (large && o->resume) {
		m.flags |= PUT_RESUMABLE;
		tag_of_source(m.tag, s->tree->local, s->path);
	}
	m.path = (struct wire_str){path, strlen(path)};
	struct wcur w;
	channel_begin(upload_channel(u), &w);
	msg_put_encode(&w, &m);
	return channel_end(upload_channel(u), &w, MSG_PUT, s->id);
}

/* Compares what was offered with our own beginning; 0, or where to start. */
static int check_offer(struct uploads *u, struct upload_slot *s,
	const struct source *source, uint64_t *offset_out)
{
	uint8_t ours[DIGEST_LEN];
	*offset_out = 0;
	if (s->offer.kind != OFFER_PARTIAL && s->offer.kind != OFFER_WHOLE)
		return digest_start(u->digest);
	if (s->offer.offset > source->size)
		return -ERR_PROTOCOL;
	/* The server digests its side at the same time, and proves it whatever comes of
	 * ours. */
	int failed =
		prefix_digest(u->digest, source->fd, s->offer.offset, upload_channel(u));
	int err = err_is_connection(failed) ? failed : 0;
	while (err == 0 && !s->proved)
		err = upload_wait_answer(u);
	if (err == 0)
		err = failed;
	if (err == 0)
		err = digest_peek(u->digest, ours);
	if (err < 0)
		return err;
	char name[NAME_CAP], size[TEXT_SIZE_MAX];
	upload_name(s, name, sizeof(name));
	if (memcmp(ours, s->proof.digest, DIGEST_LEN) == 0) {
		*offset_out = s->offer.offset;
		if (s->offer.offset > s->best) {
			s->best = s->offer.offset;
			peer_progress(u->job->peer);
		}
		report_bytes(u->job->report, s->offer.offset, true);
		report_note(u->job->report, "%s: continuing at %s",
			upload_name(s, name, sizeof(name)),
			text_format_size(size, s->offer.offset));
		return 0;
	}
	report_note(u->job->report,
		"%s: what the server has of it is not its beginning; starting anew",
		upload_name(s, name, sizeof(name)));
	return digest_start(u->digest);
}

static int transmit(
	struct uploads *u, struct upload_slot *s, struct source *source, uint64_t offset)
{
	const struct options *o = u->job->opts;
	char path[PATH_WIRE_MAX + 1];
	uint64_t left = source->seekable ? source->size - offset : 0;
	int err = slot_remote_path(s, path);
	if (err == 0)
		err = send_put(u, s, path, is_large(source));
	if (err < 0)
		return err;
	struct sender sender = {
		.channel = upload_channel(u),
		.digest = u->digest,
		.parallel = ring_pays(
			left, u->job->processors, 1, channel_fd(upload_channel(u))),
		.progress = sending_progress,
		.interrupt = sending_interrupt,
		.ctx = u,
		.expected = o->has_sha256 ? o->sha256 : NULL,
	};
	if (source->sparse)
		channel_expect_work(upload_channel(u), left);
	s->state = SLOT_SENT;
	s->resumed_from = offset;
	u->sending = s;
	err = sender_send(&sender, s->id, source, offset, &s->sent);
	u->sending = NULL;
	if (err == 0 || err_is_connection(err))
		return err;
	if (!s->refused)
		s->failed =
			err; /* told to the user when the server has answered the abort */
	return 0;
}

/* Asks, when something has to be asked, and acts on the answer. */
static int send_opened(struct uploads *u, struct upload_slot *s, struct source *source)
{
	bool large = is_large(source);
	uint32_t flags = ask_flags(u, s, large);
	int err = 0;
	if (flags && s->state != SLOT_ASKED)
		err = send_ask(u, s, flags, source->size, &source->mtime);
	while (err == 0 && s->state == SLOT_ASKED && !s->answered)
		err = upload_wait_answer(u);
	if (err < 0 || s->state == SLOT_DONE)
		return err;
	s->sent.size = source->seekable ? source->size : 0;
	if (flags && s->offer.kind == OFFER_SAME) {
		upload_succeed(u, s, OUTCOME_SKIPPED, DURABLE_NOT);
		return 0;
	}
	if (u->job->opts->dry_run) {
		upload_succeed(u, s, OUTCOME_WOULD, DURABLE_NOT);
		return 0;
	}
	uint64_t offset = 0;
	err = flags ? check_offer(u, s, source, &offset) : digest_start(u->digest);
	if (err < 0 && !err_is_connection(err)) {
		upload_fail(u, s, SIDE_LOCAL, err, NULL);
		return 0;
	}
	return err < 0 ? err : transmit(u, s, source, offset);
}

static int open_source(const struct upload_slot *s)
{
	if (s->tree->root_fd >= 0)
		return dir_cache_open(&s->tree->dirs, s->path, true);
	if (upload_is_stream(s))
		return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	int fd = open(s->tree->local, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -err_from_errno(errno) : fd;
}

static int send_file(struct uploads *u, struct upload_slot *s)
{
	char name[NAME_CAP];
	struct source source = {.fd = open_source(s)};
	int err = source.fd;
	if (err >= 0)
		err = source_init(&source, source.fd, upload_is_stream(s));
	if (err < 0) {
		/* An answer to a question asked ahead may still come. */
		while (s->state == SLOT_ASKED && !s->answered) {
			int lost = upload_wait_answer(u);
			if (lost < 0)
				return lost;
		}
		upload_fail(u, s, SIDE_LOCAL, err, NULL);
		source_fini(&source);
		return 0;
	}
	report_file_begin(
		u->job->report, upload_name(s, name, sizeof(name)), source.size);
	err = send_opened(u, s, &source);
	source_fini(&source);
	return err;
}

static int send_mkdir(struct uploads *u, struct upload_slot *s, const char *path)
{
	struct stat st;
	struct msg_mkdir m = {.flags = make_flags(u->job->opts),
		.mode = 0777,
		.path = {path, strlen(path)}};
	if (beneath_lstat(s->tree->root_fd, s->path, &st) == 0)
		m.mode = st.st_mode & 0777;
	struct wcur w;
	channel_begin(upload_channel(u), &w);
	msg_mkdir_encode(&w, &m);
	s->state = SLOT_SENT;
	return channel_end(upload_channel(u), &w, MSG_MKDIR, s->id);
}

static int send_attr(struct uploads *u, struct upload_slot *s, const char *path)
{
	struct stat st;
	int err = beneath_lstat(s->tree->root_fd, s->path, &st);
	if (err < 0) {
		upload_fail(u, s, SIDE_LOCAL, err, NULL);
		return 0;
	}
	struct msg_attr m = {.mode = st.st_mode & 0777, .path = {path, strlen(path)}};
	m.mtime = msg_time_of(&st.st_mtim);
	struct wcur w;
	channel_begin(upload_channel(u), &w);
	msg_attr_encode(&w, &m);
	s->state = SLOT_SENT;
	return channel_end(upload_channel(u), &w, MSG_ATTR, s->id);
}

static int send_link(struct uploads *u, struct upload_slot *s, const char *path)
{
	char target[PATH_TARGET_MAX + 1];
	struct dir *parent = NULL;
	const char *leaf;
	int err = dir_cache_parent(&s->tree->dirs, s->path, false, &parent, &leaf);
	if (err == 0)
		err = link_read_inside(
			s->tree->root_fd, s->path, parent->fd, leaf, target);
	dir_put(parent);
	if (err < 0) {
		upload_fail(u, s, SIDE_LOCAL, err, NULL);
		return 0;
	}
	struct msg_link m = {
		.flags = make_flags(u->job->opts), .path = {path, strlen(path)}};
	if (u->job->opts->no_clobber && !s->resent)
		m.flags |= PUT_NO_CLOBBER;
	m.target = (struct wire_str){target, strlen(target)};
	struct wcur w;
	channel_begin(upload_channel(u), &w);
	msg_link_encode(&w, &m);
	s->state = SLOT_SENT;
	return channel_end(upload_channel(u), &w, MSG_LINK, s->id);
}

int upload_send(struct uploads *u, struct upload_slot *s)
{
	if (s->state == SLOT_DONE)
		return 0;
	s->failed = s->refused = 0;
	if (s->kind == UPLOAD_FILE)
		return send_file(u, s);
	char path[PATH_WIRE_MAX + 1];
	int err = slot_remote_path(s, path);
	if (err < 0 || u->job->opts->dry_run) {
		if (err < 0)
			upload_fail(u, s, SIDE_LOCAL, err, NULL);
		s->state = SLOT_DONE;
		return 0;
	}
	return s->kind == UPLOAD_DIR    ? send_mkdir(u, s, path)
	       : s->kind == UPLOAD_ATTR ? send_attr(u, s, path)
					: send_link(u, s, path);
}

int upload_ask_ahead(struct uploads *u, struct upload_slot *s)
{
	struct stat st;
	bool wanted = u->job->opts->update || u->job->opts->no_clobber;
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
