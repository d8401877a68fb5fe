/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/download_impl.h"
#include "transfer/attr.h"
#include "transfer/receiver.h"
#include "transfer/ring.h"

/* Rather than let so much pass that is of no use any more, connect anew. */
#define DRAIN_MAX (8u << 20)

/* One file on its way in. */
struct reception {
	struct downloads *d;
	struct download_slot *slot;
	struct msg_file file;
	char local[PATH_WIRE_MAX + 1];
	struct dir *parent; /* owned reference */
	uint64_t arrived;
};

static void reception_progress(void *ctx, uint64_t bytes)
{
	struct reception *rx = ctx;
	rx->arrived += bytes;
	rx->d->streamed += bytes;
	report_bytes(rx->d->job->report, bytes, false);
}

/* Wrong bytes are fetched again on a new connection; and no one waits for
 * gigabytes that the disk has no room for. */
static int reception_failed(void *ctx, int err)
{
	struct reception *rx = ctx;
	uint64_t left = rx->file.size - rx->file.offset - rx->arrived;
	if (err == -ERR_MISMATCH || rx->file.size == MSG_SIZE_UNKNOWN ||
		left > DRAIN_MAX) {
		rx->d->leave = true;
		return err;
	}
	return 0;
}

static int check_space(const struct reception *rx)
{
	struct statvfs fs;
	uint64_t need = msg_file_left(&rx->file);
	if (need < CHECKPOINT_INTERVAL || (rx->file.flags & FILE_SPARSE) ||
		fstatvfs(rx->parent->fd, &fs) < 0)
		return 0;
	return need > (uint64_t)fs.f_bavail * fs.f_frsize ? -ERR_NO_SPACE : 0;
}

/* What we have is not the beginning of what the server has: the source has changed. */
static int start_anew(struct reception *rx)
{
	char name[NAME_CAP];
	report_note(rx->d->job->report,
		"%s: what is here of it is not its beginning; starting anew",
		download_name(rx->slot->tree, rx->local, name, sizeof(name)));
	return ftruncate(rx->slot->stage.fd, 0) < 0 ? -err_from_errno(errno) : 0;
}

static int open_stage(struct reception *rx)
{
	struct downloads *d = rx->d;
	struct download_slot *s = rx->slot;
	uint8_t key[STAGE_KEY_LEN];
	if (s->stage.fd >= 0) {
		return rx->file.offset == 0 ? start_anew(rx) : 0;
	}
	bool resumable = d->job->opts->resume && rx->file.size >= CHECKPOINT_INTERVAL;
	int err = resumable ? download_key(d, s, rx->local, key) : -ERR_BUSY;
	if (err == 0)
		err = stage_resume(&d->area, rx->parent, key, true, &s->stage);
	if (err == 0 && ftruncate(s->stage.fd, 0) < 0)
		err = -err_from_errno(errno);
	return err == -ERR_BUSY ? stage_create(&d->area, rx->parent, &s->stage) : err;
}

static int open_reception(struct reception *rx)
{
	int err = download_local(rx->slot, rx->local);
	if (err == 0)
		err = download_open_parent(rx->d, rx->local, &rx->parent);
	if (err == 0)
		err = check_space(rx);
	return err < 0 ? err : open_stage(rx);
}

/* The digest that stands for the first FILE.offset bytes. */
static int use_digest(struct reception *rx, struct digest **out)
{
	struct downloads *d = rx->d;
	if (rx->file.offset == 0) {
		*out = d->digest;
		d->streamed = 0;
		return digest_start(d->digest);
	}
	char name[NAME_CAP], local[PATH_WIRE_MAX + 1], size[TEXT_SIZE_MAX];
	*out = d->base_fd < 0 ? d->digest : rx->slot->digest;
	report_bytes(d->job->report, rx->file.offset, true);
	if (download_local(rx->slot, local) == 0)
		report_note(d->job->report, "%s: continuing at %s",
			download_name(rx->slot->tree, local, name, sizeof(name)),
			text_format_size(size, rx->file.offset));
	return 0;
}

static int publish(struct reception *rx, const struct received *got)
{
	struct downloads *d = rx->d;
	struct batch_tag tag = {
		.id = rx->slot->id,
		.path = rx->local,
		.is_file = true,
		.size = got->size,
		.resumed_from = rx->file.offset,
	};
	memcpy(tag.digest, got->digest, DIGEST_LEN);
	d->done_tree = rx->slot->tree;
	const struct stage *stage = &rx->slot->stage;
	int err = attr_set_received(stage->fd, &rx->file, d->job->opts->preserve,
		d->job->umask, !stage->resumable);
	if (err < 0)
		return batch_add_result(d->batch, &tag, err);
	return batch_add_stage(
		d->batch, &tag, &rx->slot->stage, rx->parent, d->job->opts->no_clobber);
}

static void report_streamed(struct reception *rx, const struct received *got)
{
	struct file_result r = {
		.path = "-",
		.outcome = OUTCOME_MOVED,
		.size = got->size,
		.resumed_from = 0,
		.digest = got->digest,
		.durability = DURABLE_NOT,
	};
	report_file_done(rx->d->job->report, &r);
}

/* A reception failed with ERR: 0 when that is this file's end, else what the connection
 * has to be made again for. */
static int settle_failure(struct reception *rx, const struct received *got, int err)
{
	struct downloads *d = rx->d;
	struct download_slot *s = rx->slot;
	bool unexpected = err == -ERR_MISMATCH && d->job->opts->has_sha256 &&
			  got->good == got->size;
	/* Only what was never reached before is progress, or we would try for ever. */
	if (got->good > rx->file.offset && got->good > s->best) {
		s->best = got->good;
		peer_progress(d->job->peer);
	}
	bool useless = unexpected || got->aborted == ERR_CHANGED;
	stage_break_off(&s->stage, useless ? 0 : got->good);
	if (err_is_connection(err))
		return err;
	if (err == -ERR_MISMATCH && !unexpected && d->base_fd >= 0 &&
		s->tries++ < d->job->opts->retries)
		return err;
	if (got->aborted)
		download_fail(d, s, SIDE_SERVER, -got->aborted, NULL);
	else
		download_fail(d, s, SIDE_LOCAL, err,
			d->base_fd < 0 && err == -ERR_IO ? "standard output takes no more"
							 : NULL);
	return 0;
}

static int receive_opened(struct reception *rx)
{
	struct downloads *d = rx->d;
	struct receiver r = {
		.channel = download_channel(d),
		.fd = d->base_fd < 0 ? STDOUT_FILENO : rx->slot->stage.fd,
		.stream = d->base_fd < 0,
		.write_behind =
			d->job->opts->sync && rx->file.size >= CHECKPOINT_INTERVAL,
		.parallel = ring_pays(msg_file_left(&rx->file), d->job->processors, 1,
			channel_fd(download_channel(d))),
		.progress = reception_progress,
		.failed = reception_failed,
		.ctx = rx,
		.expected = d->job->opts->has_sha256 ? d->job->opts->sha256 : NULL,
	};
	struct received got = {0};
	int err = use_digest(rx, &r.digest);
	if (err == 0)
		err = receiver_receive(&r, &rx->file, &got);
	if (err < 0)
		return settle_failure(rx, &got, err);
	peer_progress(d->job->peer);
	if (d->base_fd >= 0)
		return publish(rx, &got);
	report_streamed(rx, &got);
	return 0;
}

/* It cannot be stored: said, and what comes of it passed over. */
static int refuse_file(struct reception *rx, int err)
{
	download_fail(rx->d, rx->slot, SIDE_LOCAL, err, NULL);
	if (rx->file.size - rx->file.offset > DRAIN_MAX) {
		rx->d->leave = true;
		return 0;
	}
	return channel_drain(download_channel(rx->d));
}

int download_receive(
	struct downloads *d, struct download_slot *s, const struct channel_msg *m)
{
	struct reception rx = {.d = d, .slot = s};
	char name[NAME_CAP];
	int err = msg_file_decode(&rx.file, m->payload, m->len);
	if (err < 0)
		return err;
	if (rx.file.offset != 0 && rx.file.offset != s->offset)
		return -ERR_PROTOCOL;
	/* What is on standard output cannot be unsaid. */
	if (d->base_fd < 0 && rx.file.offset != s->offset)
		err = -ERR_CHANGED;
	if (err == 0 && d->base_fd >= 0)
		err = open_reception(&rx);
	report_file_begin(d->job->report,
		download_name(s->tree, rx.local, name, sizeof(name)), rx.file.size);
	err = err < 0 ? refuse_file(&rx, err) : receive_opened(&rx);
	dir_put(rx.parent);
	return err;
}
