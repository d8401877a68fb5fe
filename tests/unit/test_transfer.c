/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A sender on one thread, a receiver on the other, and between the two, on a third, who
 * passes on what is said, writes it down, and harms it where a test asks for it.
 */
#include "transfer/receiver.h"
#include "transfer/sender.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>

#include "os/clock.h"
#include "os/fd.h"
#include "pair.h"
#include "scratch.h"
#include "transfer/prefix.h"

/* test_transfer_parallel.c runs the same with a second thread on each side. */
#ifndef PARALLEL
#define SUITE    transfer
#define PARALLEL false
#endif

#define ID      7u
#define C       CHECKPOINT_INTERVAL
#define CONTENT (3 * (size_t)C + 100)
#define NOWHERE UINT64_MAX
#define FULL    "/dev/full"

/* -- Who sends --------------------------------------------------------------- */

enum accident {
	NO_ACCIDENT,
	CUT_SHORT,
	GROWN,
	REWRITTEN,
	TOUCHED,
	REPLACED, /* by another file of its name */
	REPLACED_REWRITTEN,
	REPLACED_GROWN, /* and given back its old time */
	INTERRUPTED,
};

struct sending {
	struct channel *channel; /* owned */
	struct digest *digest;   /* owned */
	struct source source;
	uint64_t offset;
	const uint8_t *expected; /* borrowed, or NULL */
	enum accident accident;  /* after the first chunk */
	int own_fd;              /* owned: the file, for accidents; or -1 */
	_Atomic uint64_t progressed;
	bool unharmed;   /* the accident failed */
	int interrupted; /* what interrupt is to return */
	struct sent sent;
	int result;
};

/* -- Who receives -------------------------------------------------------------- */

struct receiving {
	struct channel *channel; /* owned */
	struct digest *digest;   /* owned */
	int fd;                  /* owned */
	const uint8_t *expected; /* borrowed, or NULL */
	bool stream, write_behind;
	uint64_t progressed;
	int failures, failure;
	sem_t has_failed;
	struct msg_file file;
	struct received got;
	int result;
	bool goes_on; /* the message behind the file came */
};

/* -- Who passes on --------------------------------------------------------------- */

struct middle {
	int from, to;     /* owned */
	uint64_t flip_at; /* a byte of the file, or NOWHERE */
	uint64_t cut_at;  /* the connection ends before this byte */
	uint64_t pos;     /* of the file */
	int checks;       /* that came, at every multiple of C */
	bool crossed; /* a DATA frame went over a checkpoint, or a CHECK came elsewhere */
	uint32_t longest; /* DATA */
	int holes;        /* HOLE frames */
	uint64_t ahead;   /* how far the sender was when the first of them came */
	bool patient;     /* after a CHECK nothing comes until the receiver has failed */
};

static struct scratch top;
static uint8_t content[CONTENT];
static struct sending tx;
static struct receiving rx;
static struct middle mid;

static void content_init(void)
{
	uint64_t state =
		88172645463325252u; /* xorshift64: each byte differs from those around */

	for (size_t i = 0; i < CONTENT; i += 4) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(content + i, &state, 4);
	}
}

static void setup(void)
{
	scratch_init(&top);
	content_init();
	/* Beyond RLIMIT_FSIZE: an error, not the end. */
	signal(SIGXFSZ, SIG_IGN);
}

static void release(void)
{
	channel_free(tx.channel);
	channel_free(rx.channel);
	digest_free(tx.digest);
	digest_free(rx.digest);
	source_fini(&tx.source);
	fd_close(tx.own_fd);
	fd_close(rx.fd);
	fd_close(mid.from);
	fd_close(mid.to);
	tx = (struct sending){.source.fd = -1, .own_fd = -1};
	rx = (struct receiving){.fd = -1};
	sem_init(&rx.has_failed, 0, 0);
	mid = (struct middle){
		.from = -1, .to = -1, .flip_at = NOWHERE, .cut_at = NOWHERE};
}

static void teardown(void)
{
	release();
	scratch_fini(&top);
}

TestSuite(SUITE, .init = setup, .fini = teardown, .timeout = 250);

/* A new connection, on which SENDER has the role that sends. */
static void connect_both(enum role sender, uint32_t chunk_size)
{
	struct channel_limits limits = {
		.chunk_size = chunk_size, .timeout_ms = 30000, .stop_fd = -1};
	int near[2], far[2];
	enum role receiver = sender == ROLE_CLIENT ? ROLE_SERVER : ROLE_CLIENT;

	if (tx.channel)
		release();
	else
		mid = (struct middle){
			.from = -1, .to = -1, .flip_at = NOWHERE, .cut_at = NOWHERE};
	tx.source.fd = tx.own_fd = rx.fd = -1;
	pair_local(near);
	pair_local(far);
	tx.channel = pair_channel(near[0], sender, SESSION_READY, 0, &limits);
	rx.channel = pair_channel(far[1], receiver,
		receiver == ROLE_SERVER ? SESSION_FILE : SESSION_READY, ID, &limits);
	mid.from = near[1];
	mid.to = far[0];
	tx.digest = digest_new();
	rx.digest = digest_new();
	cr_assert(tx.digest && rx.digest);
	cr_assert(digest_start(tx.digest) == 0 && digest_start(rx.digest) == 0);
	rx.fd = openat(top.fd, "target", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert_geq(rx.fd, 0);
}

/* Long ago. */
static const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

/* The first SIZE bytes of the content, last changed long ago. */
static void open_source(uint64_t size)
{
	unlinkat(top.fd, "source", 0);
	tx.own_fd = openat(top.fd, "source", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	cr_assert_geq(tx.own_fd, 0);
	cr_assert_eq(fd_write_full(tx.own_fd, content, size), 0);
	cr_assert_eq(futimens(tx.own_fd, old), 0);
	cr_assert_eq(source_init(&tx.source,
			     openat(top.fd, "source", O_RDONLY | O_CLOEXEC), false),
		0);
}

/* Both sides have the first OFFSET bytes. */
static void resume_at(uint64_t offset)
{
	tx.offset = offset;
	cr_assert_eq(fd_write_full(rx.fd, content, offset), 0);
	cr_assert_eq(prefix_digest(tx.digest, tx.source.fd, offset, tx.channel), 0);
	cr_assert_eq(prefix_digest(rx.digest, rx.fd, offset, rx.channel), 0);
}

/* -- The three threads ----------------------------------------------------------- */

/* Nonzero when it did not happen. */
static int have_accident(enum accident accident, int fd)
{
	if (accident >= REPLACED && accident <= REPLACED_GROWN &&
		unlinkat(top.fd, "source", 0) < 0)
		return -1;
	switch (accident) {
	case NO_ACCIDENT:
	case REPLACED:
	case INTERRUPTED:
		return 0;
	case CUT_SHORT:
		return ftruncate(fd, 100);
	case GROWN:
		return lseek(fd, 0, SEEK_END) < 0 || write(fd, "+", 1) != 1;
	case REWRITTEN:
	case REPLACED_REWRITTEN:
		return pwrite(fd, content, 1, 0) != 1;
	case TOUCHED:
		return fchmod(fd, 0600);
	case REPLACED_GROWN:
		return ftruncate(fd, CONTENT) < 0 || futimens(fd, old) < 0;
	}
	return -1;
}

static void count_sent(void *ctx, uint64_t bytes)
{
	struct sending *s = ctx;

	s->progressed += bytes;
	s->unharmed = s->unharmed || have_accident(s->accident, s->own_fd) != 0;
	if (s->accident == INTERRUPTED)
		s->interrupted = -ERR_SHUTDOWN;
	s->accident = NO_ACCIDENT;
}

static int ask_interrupted(void *ctx)
{
	return ((struct sending *)ctx)->interrupted;
}

static void *send_it(void *arg)
{
	struct sending *s = arg;
	struct sender sender = {.channel = s->channel,
		.digest = s->digest,
		.parallel = PARALLEL,
		.progress = count_sent,
		.interrupt = ask_interrupted,
		.ctx = s,
		.expected = s->expected};
	bool client = channel_session(s->channel)->role == ROLE_CLIENT;

	s->result = sender_send(&sender, ID, &s->source, s->offset, &s->sent);
	if (channel_error(s->channel) == 0 &&
		(channel_send_error(s->channel, client ? 0 : ID + 1, ERR_BUSY, NULL) <
				0 ||
			channel_flush(s->channel) < 0))
		s->result = -ERR_CLOSED;
	return NULL;
}

static uint32_t number_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void look_at_frame(struct middle *m, uint8_t type, uint32_t len)
{
	if (type == MSG_DATA) {
		m->crossed = m->crossed || m->pos % C + len > C;
		m->longest = len > m->longest ? len : m->longest;
	} else if (type == MSG_HOLE) {
		if (m->holes++ == 0)
			m->ahead = tx.progressed;
	} else if (type == MSG_CHECK) {
		m->crossed = m->crossed || m->pos % C != 0 || m->pos == 0;
		m->checks++;
	}
}

/* One frame from FROM to TO; false at the end of either. */
static bool pass_frame(struct middle *m)
{
	static uint8_t frame[FRAME_HEADER_LEN + CHUNK_SIZE_MAX];
	uint8_t *payload = frame + FRAME_HEADER_LEN;

	if (fd_read_full(m->from, frame, FRAME_HEADER_LEN) != (ssize_t)FRAME_HEADER_LEN)
		return false;
	uint32_t len = number_at(frame + 8);
	if (fd_read_full(m->from, payload, len) != (ssize_t)len)
		return false;
	look_at_frame(m, frame[0], len);
	size_t pass = FRAME_HEADER_LEN + len;
	if (frame[0] == MSG_DATA) {
		if (m->flip_at - m->pos < len)
			payload[m->flip_at - m->pos] ^= 0x10;
		if (m->cut_at - m->pos < len)
			pass = FRAME_HEADER_LEN + (size_t)(m->cut_at - m->pos);
		m->pos += len;
	}
	if (fd_write_full(m->to, frame, pass) < 0 || pass < FRAME_HEADER_LEN + len)
		return false;
	if (m->patient && frame[0] == MSG_CHECK) {
		m->patient = false;
		while (sem_wait(&rx.has_failed) < 0)
			;
	}
	return true;
}

static void *pass_on(void *arg)
{
	struct middle *m = arg;

	while (pass_frame(m))
		;
	shutdown(m->to, SHUT_RDWR);
	shutdown(m->from, SHUT_RDWR);
	return NULL;
}

static void count_received(void *ctx, uint64_t bytes)
{
	((struct receiving *)ctx)->progressed += bytes;
}

static int count_failure(void *ctx, int err)
{
	struct receiving *r = ctx;

	r->failures++;
	r->failure = err;
	sem_post(&r->has_failed);
	return 0;
}

static void receive_it(struct receiving *r)
{
	struct receiver receiver = {.channel = r->channel,
		.digest = r->digest,
		.fd = r->fd,
		.stream = r->stream,
		.write_behind = r->write_behind,
		.parallel = PARALLEL,
		.progress = count_received,
		.failed = count_failure,
		.ctx = r,
		.expected = r->expected};
	struct channel_msg m;

	cr_assert_eq(channel_read(r->channel, &m), 0);
	cr_assert(m.type == MSG_FILE && m.id == ID);
	cr_assert_eq(msg_file_decode(&r->file, m.payload, m.len), 0);
	r->result = receiver_receive(&receiver, &r->file, &r->got);
	int err = channel_read(r->channel, &m);
	r->goes_on =
		err == -ERR_BUSY || (err == 0 && m.type == MSG_ERROR && m.id == ID + 1);
}

static void transfer(void)
{
	signal(SIGPIPE, SIG_IGN); /* of pass_on */
	pthread_t sender = pair_thread(send_it, &tx), middle = pair_thread(pass_on, &mid);

	receive_it(&rx);
	if (rx.result < 0)
		shutdown(channel_fd(rx.channel), rx.goes_on ? SHUT_WR : SHUT_RDWR);
	pthread_join(sender, NULL);
	shutdown(channel_fd(tx.channel), SHUT_RDWR);
	pthread_join(middle, NULL);
}

/* -- What came of it --------------------------------------------------------------- */

static void assert_target(uint64_t size)
{
	static uint8_t got[CONTENT + 1];

	cr_assert_eq(pread(rx.fd, got, sizeof(got), 0), (ssize_t)size);
	cr_assert_eq(memcmp(got, content, size), 0);
}

static void digest_content(uint64_t size, uint8_t out[DIGEST_LEN])
{
	CLEANUP(digest_freep) struct digest *d = digest_new();

	cr_assert(digest_start(d) == 0 && digest_update(d, content, size) == 0);
	cr_assert_eq(digest_finish(d, out), 0);
}

static void assert_transferred(uint64_t size, const char *what)
{
	uint8_t want[DIGEST_LEN];

	cr_assert_eq(tx.result, 0, "%s: %d", what, tx.result);
	cr_assert_eq(rx.result, 0, "%s: %d", what, rx.result);
	cr_assert(rx.goes_on, "%s", what);
	digest_content(size, want);
	cr_assert_arr_eq(tx.sent.digest, want, DIGEST_LEN, "%s", what);
	cr_assert_arr_eq(rx.got.digest, want, DIGEST_LEN, "%s", what);
	cr_assert(tx.sent.size == size && rx.got.size == size && rx.got.good == size,
		"%s", what);
	cr_assert(tx.progressed == size - tx.offset && rx.progressed == size - tx.offset,
		"%s", what);
	cr_assert(rx.failures == 0 && rx.got.aborted == 0, "%s", what);
}

/* The sender gave the file up with CODE, and both know it. */
static void assert_given_up(int code, const char *what)
{
	cr_assert_eq(tx.result, -code, "%s: %d", what, tx.result);
	cr_assert_eq(rx.result, -ERR_ABORTED, "%s: %d", what, rx.result);
	cr_assert_eq(rx.got.aborted, code, "%s: %d", what, rx.got.aborted);
	cr_assert(rx.failures == 0 && rx.goes_on, "%s", what);
}

/* -- Files that arrive ----------------------------------------------------------------
 */

#define SMALL CHUNK_SIZE_MIN

static const struct {
	const char *what;
	uint32_t chunk_size;
	uint64_t size, offset;
} files[] = {
	{"empty", SMALL, 0, 0},
	{"one byte", SMALL, 1, 0},
	{"a chunk less a byte", SMALL, SMALL - 1, 0},
	{"a chunk", SMALL, SMALL, 0},
	{"a chunk and a byte", SMALL, SMALL + 1, 0},
	{"two chunks", SMALL, 2 * SMALL, 0},
	{"a checkpoint less a byte", SMALL, C - 1, 0},
	{"a checkpoint", SMALL, C, 0},
	{"a checkpoint and a byte", 64 << 10, C + 1, 0},
	{"two checkpoints", 1 << 20, 2 * C, 0},
	{"three and more", 64 << 10, CONTENT, 0},
	{"in the largest chunks", CHUNK_SIZE_MAX, CONTENT, 0},
	{"one largest chunk", CHUNK_SIZE_MAX, C, 0},
	{"resumed at a checkpoint", 64 << 10, CONTENT, C},
	{"resumed at the second", CHUNK_SIZE_MAX, CONTENT, 2 * C},
	{"resumed off a checkpoint", 64 << 10, CONTENT, C + 1},
	{"resumed off a chunk", CHUNK_SIZE_MAX, CONTENT, C - 1},
	{"resumed off everything", 8 << 10, 2 * C, 12345},
	{"resumed at the end", SMALL, 2 * C, 2 * C},
	{"resumed at an odd end", SMALL, 54321, 54321},
	{"resumed before the end", SMALL, 54321, 54320},
};

/* CHECKs at the multiples of C inside of (OFFSET, SIZE): the end has its own digest. */
static int checks_of(uint64_t offset, uint64_t size)
{
	return size == 0 || size == offset ? 0 : (int)((size - 1) / C - offset / C);
}

static void transfer_in_either_direction(size_t i, enum role sender)
{
	connect_both(sender, files[i].chunk_size);
	open_source(files[i].size);
	resume_at(files[i].offset);
	rx.write_behind = i % 2;
	mid.pos = files[i].offset;
	transfer();
	assert_transferred(files[i].size, files[i].what);
	assert_target(files[i].size);
	cr_assert_not(mid.crossed, "%s", files[i].what);
	cr_assert_eq(mid.checks, checks_of(files[i].offset, files[i].size), "%s",
		files[i].what);
	cr_assert_leq(mid.longest, files[i].chunk_size, "%s", files[i].what);
	cr_assert(rx.file.size == files[i].size && rx.file.offset == files[i].offset);
	cr_assert(rx.file.mode == 0640 && rx.file.mtime.sec == 1000 &&
		  rx.file.mtime.nsec == 0);
}

Test(SUITE, the_client_sends)
{
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		transfer_in_either_direction(i, ROLE_CLIENT);
}

Test(SUITE, the_server_sends)
{
	for (size_t i = 0; i < ARRAY_LEN(files); i += 2)
		transfer_in_either_direction(i, ROLE_SERVER);
}

static void *feed_pipe(void *arg)
{
	const int *feed = arg;

	(void)!fd_write_full(feed[0], content, (size_t)feed[1]);
	close(feed[0]);
	return NULL;
}

/* From a pipe, whose size nobody knows. */
Test(SUITE, a_stream_ends_where_it_ends)
{
	static const size_t sizes[] = {0, 1, SMALL, SMALL + 1, 100000, C, C + 1};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		int fds[2];

		connect_both(ROLE_CLIENT, SMALL);
		cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
		cr_assert_eq(source_init(&tx.source, fds[0], true), 0);
		int feed[2] = {fds[1], (int)sizes[i]};
		pthread_t feeder = pair_thread(feed_pipe, feed);
		transfer();
		pthread_join(feeder, NULL);
		assert_transferred(sizes[i], "a stream");
		assert_target(sizes[i]);
		cr_assert_eq(rx.file.size, MSG_SIZE_UNKNOWN);
	}
}

/* -- Holes -------------------------------------------------------------------------
 */

#define HOLE_SIZE ((uint64_t)512 << 20)
#define BLOCK     4096

/* A hole of HOLE_SIZE, with a block of data at AT. */
static void open_hole(off_t at)
{
	unlinkat(top.fd, "source", 0);
	tx.own_fd = openat(top.fd, "source", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	cr_assert_geq(tx.own_fd, 0);
	cr_assert_eq(ftruncate(tx.own_fd, (off_t)HOLE_SIZE), 0);
	cr_assert_eq(pwrite(tx.own_fd, content, BLOCK, at), BLOCK);
	cr_assert_eq(source_init(&tx.source,
			     openat(top.fd, "source", O_RDONLY | O_CLOEXEC), false),
		0);
}

Test(SUITE, a_hole_is_neither_sent_nor_stored_nor_a_silence)
{
	off_t at = (off_t)(HOLE_SIZE / 2) + 2 * BLOCK;
	uint8_t bytes[3 * BLOCK], zeros[BLOCK] = {0};
	struct stat st;

	connect_both(ROLE_CLIENT, 1 << 20);
	open_hole(at);
	if (!tx.source.sparse)
		cr_skip_test("no holes on this file system");
	transfer();
	cr_assert(tx.result == 0 && rx.result == 0 && rx.goes_on);
	cr_assert_arr_eq(tx.sent.digest, rx.got.digest, DIGEST_LEN);
	cr_assert(rx.got.size == HOLE_SIZE && rx.got.good == HOLE_SIZE);
	cr_assert_eq(rx.file.flags, FILE_SPARSE);
	cr_assert_eq(mid.pos, BLOCK, "nothing else was sent");
	cr_assert_geq(mid.holes, (int)(HOLE_SIZE / C));
	cr_assert_lt(mid.ahead, HOLE_SIZE / 2, "the first was held back");
	cr_assert_eq(fstat(rx.fd, &st), 0);
	cr_assert_lt(st.st_blocks * 512, (blkcnt_t)C);
	cr_assert_eq(
		pread(rx.fd, bytes, sizeof(bytes), at - BLOCK), (ssize_t)sizeof(bytes));
	cr_assert_arr_eq(bytes, zeros, BLOCK);
	cr_assert_arr_eq(bytes + BLOCK, content, BLOCK);
	cr_assert_arr_eq(bytes + 2 * BLOCK, zeros, BLOCK);
}

/* -- A disk that fails -------------------------------------------------------------
 */

static _Atomic int disk_error; /* an errno, once */

/* In place of the system's: it tells of an error once, as the kernel does. */
int sync_file_range(int fd, off_t from, off_t len, unsigned flags)
{
	(void)fd;
	(void)from;
	(void)len;
	if (flags == SYNC_FILE_RANGE_WRITE || disk_error == 0)
		return 0;
	errno = disk_error;
	disk_error = 0;
	return -1;
}

static const struct {
	int error, want;
	bool kept;
} disks[] = {
	{EIO, -ERR_IO, false}, {ENOSPC, -ERR_NO_SPACE, false},
	{EINVAL, 0, true}, /* a file system that has no such thing */
};

Test(SUITE, what_the_disk_did_not_take_is_not_good)
{
	for (size_t i = 0; i < ARRAY_LEN(disks); i++) {
		connect_both(ROLE_CLIENT, 1 << 20);
		open_hole(0);
		rx.write_behind = true;
		disk_error = disks[i].error;
		transfer();
		cr_assert_eq(disk_error, 0, "row %zu: it was told", i);
		cr_assert_eq(rx.result, disks[i].want, "row %zu: %d", i, rx.result);
		cr_assert_eq(rx.got.good, disks[i].kept ? HOLE_SIZE : 0, "row %zu", i);
	}
}

/* -- Bytes that change on the way ------------------------------------------------------
 */

static const struct {
	uint64_t offset, flip_at, good;
} flips[] = {
	{0, 0, 0},
	{0, C - 1, 0},
	{0, C, C},
	{0, 2 * C + 4711, 2 * C},
	{0, 3 * C, 3 * C},
	{0, CONTENT - 1, 3 * C},
	{C, C, C},
	{C, 2 * C - 1, C},
	{C + 1000, C + 1000, C + 1000},
	{C + 1000, 2 * C, 2 * C},
	{CONTENT - 1, CONTENT - 1, CONTENT - 1},
};

Test(SUITE, a_wrong_byte_is_found_at_the_next_checkpoint)
{
	for (size_t i = 0; i < ARRAY_LEN(flips); i++) {
		connect_both(ROLE_CLIENT, 256 << 10);
		open_source(CONTENT);
		resume_at(flips[i].offset);
		mid.pos = flips[i].offset;
		mid.flip_at = flips[i].flip_at;
		transfer();
		cr_assert_eq(rx.result, -ERR_MISMATCH, "row %zu: %d", i, rx.result);
		cr_assert(rx.failures == 1 && rx.failure == -ERR_MISMATCH, "row %zu", i);
		cr_assert_eq(rx.got.good, flips[i].good, "row %zu", i);
		cr_assert_eq(rx.got.size, CONTENT, "row %zu: the rest was drained", i);
		cr_assert(rx.goes_on, "row %zu", i);
		cr_assert_eq(tx.result, 0, "row %zu: it does not know", i);
		cr_assert_eq(ftruncate(rx.fd, (off_t)rx.got.good), 0);
		assert_target(rx.got.good);
	}
}

Test(SUITE, a_wrong_byte_is_told_though_nothing_more_comes)
{
	connect_both(ROLE_CLIENT, 256 << 10);
	open_source(CONTENT);
	resume_at(0);
	mid.flip_at = 17;
	mid.patient = true;
	transfer();
	cr_assert(rx.failures == 1 && rx.failure == -ERR_MISMATCH, "%d", rx.failure);
	cr_assert(rx.result == -ERR_MISMATCH && rx.got.good == 0 && rx.goes_on);
}

static const struct {
	uint64_t offset, cut_at, good;
} cuts[] = {
	{0, 0, 0},
	{0, C - 1, 0},
	{0, C + 5, C},
	{0, 2 * C + 4711, 2 * C},
	{C + 1000, C + 2000, C + 1000},
	{C + 1000, 2 * C + 1, 2 * C},
};

Test(SUITE, a_cut_leaves_what_is_verified)
{
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		connect_both(ROLE_SERVER, 256 << 10);
		open_source(CONTENT);
		resume_at(cuts[i].offset);
		mid.pos = cuts[i].offset;
		mid.cut_at = cuts[i].cut_at;
		transfer();
		cr_assert_eq(rx.result, -ERR_CLOSED, "row %zu: %d", i, rx.result);
		cr_assert_eq(rx.got.good, cuts[i].good, "row %zu", i);
		cr_assert_eq(rx.got.size, cuts[i].cut_at, "row %zu", i);
		cr_assert(rx.failures == 0 && !rx.goes_on, "row %zu", i);
		assert_target(cuts[i].cut_at);
	}
}

/* The sender notices, too, when there is enough left to send. */
Test(SUITE, a_cut_ends_the_sending)
{
	connect_both(ROLE_CLIENT, 256 << 10);
	open_source(CONTENT);
	mid.cut_at = 1000;
	transfer();
	cr_assert_eq(tx.result, -ERR_CLOSED, "%d", tx.result);
	cr_assert_eq(rx.result, -ERR_CLOSED, "%d", rx.result);
}

/* -- Sources that fail ------------------------------------------------------------------
 */

static const struct {
	const char *what;
	enum accident accident;
	int code;
} accidents[] = {
	{"truncated", CUT_SHORT, ERR_CHANGED},
	{"grown", GROWN, ERR_CHANGED},
	{"rewritten", REWRITTEN, ERR_CHANGED},
	{"touched", TOUCHED, ERR_CHANGED},
	{"replaced and rewritten", REPLACED_REWRITTEN, ERR_CHANGED},
	{"replaced and grown", REPLACED_GROWN, ERR_CHANGED},
	{"interrupted", INTERRUPTED, ERR_SHUTDOWN},
};

Test(SUITE, a_source_that_changes_is_given_up)
{
	for (size_t i = 0; i < ARRAY_LEN(accidents); i++) {
		connect_both(i % 2 ? ROLE_SERVER : ROLE_CLIENT, SMALL);
		open_source(C + 1000);
		tx.accident = accidents[i].accident;
		poll(NULL, 0, 30); /* the time of the last change shall be another one */
		transfer();
		cr_assert_not(tx.unharmed, "%s", accidents[i].what);
		assert_given_up(accidents[i].code, accidents[i].what);
	}
}

Test(SUITE, a_source_that_lost_its_name_has_not_changed)
{
	connect_both(ROLE_CLIENT, SMALL);
	open_source(C + 1000);
	tx.accident = REPLACED;
	poll(NULL, 0, 30);
	transfer();
	cr_assert_not(tx.unharmed);
	assert_transferred(C + 1000, "replaced");
}

Test(SUITE, a_reason_of_this_end_is_not_told)
{
	connect_both(ROLE_CLIENT, SMALL);
	open_source(100000);
	tx.interrupted = -ERR_INTERRUPTED;
	transfer();
	cr_assert_eq(tx.result, -ERR_INTERRUPTED);
	cr_assert_eq(rx.got.aborted, ERR_ABORTED);
	cr_assert_eq(rx.result, -ERR_ABORTED);
}

Test(SUITE, a_source_shorter_than_the_offset_has_changed)
{
	connect_both(ROLE_CLIENT, SMALL);
	open_source(100000);
	resume_at(60000);
	cr_assert_eq(ftruncate(tx.own_fd, 50000), 0);
	transfer();
	assert_given_up(ERR_CHANGED, "shorter");
}

Test(SUITE, a_source_that_cannot_be_read_is_given_up)
{
	connect_both(ROLE_SERVER, SMALL);
	open_source(100000);
	cr_assert_eq(dup3(openat(top.fd, "source", O_WRONLY | O_CLOEXEC), tx.source.fd,
			     O_CLOEXEC),
		tx.source.fd);
	transfer();
	assert_given_up(ERR_IO, "unreadable");
}

Test(SUITE, an_expected_digest_is_kept_or_the_file_given_up)
{
	for (int wrong = 0; wrong < 2; wrong++) {
		uint8_t expected[DIGEST_LEN];

		digest_content(100000, expected);
		expected[DIGEST_LEN - 1] ^= (uint8_t)wrong;
		connect_both(ROLE_CLIENT, SMALL);
		open_source(100000);
		tx.expected = expected;
		transfer();
		if (wrong)
			assert_given_up(ERR_MISMATCH, "not what was expected");
		else
			assert_transferred(100000, "as expected");
	}
}

Test(SUITE, the_receiver_expects_a_digest)
{
	for (int wrong = 0; wrong < 2; wrong++) {
		uint8_t expected[DIGEST_LEN];

		digest_content(100000, expected);
		expected[0] ^= (uint8_t)wrong;
		connect_both(ROLE_SERVER, SMALL);
		open_source(100000);
		rx.expected = expected;
		transfer();
		cr_assert_eq(tx.result, 0);
		cr_assert_eq(rx.result, wrong ? -ERR_MISMATCH : 0);
		cr_assert_eq(rx.failures, wrong);
		cr_assert(rx.goes_on);
	}
}

static const struct {
	const char *path;
	bool stream;
	int want;
} sources[] = {
	{".", false, -ERR_IS_DIR},
	{".", true, -ERR_IS_DIR},
	{"fifo", false, -ERR_NOT_REGULAR},
	{"fifo", true, 0},
	{"file", false, 0},
	{"file", true, 0},
};

Test(SUITE, only_what_can_be_read_to_an_end_is_a_source)
{
	cr_assert_eq(mkfifoat(top.fd, "fifo", 0600), 0);
	scratch_file(top.fd, "file", "12345");
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		struct source s = {.fd = -1};
		FD_OWNED fd = openat(
			top.fd, sources[i].path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

		int err = source_init(&s, fd, sources[i].stream);
		cr_assert_eq(err, sources[i].want, "row %zu: %d", i, err);
		if (err < 0)
			continue;
		fd_take(&fd);
		bool regular = strcmp(sources[i].path, "file") == 0;
		cr_assert_eq(s.seekable, regular);
		cr_assert_eq(s.size, regular ? 5 : MSG_SIZE_UNKNOWN);
		source_fini(&s);
	}
}

/* -- Targets that fail
 * -------------------------------------------------------------------- */

Test(SUITE, a_full_disk_drains_the_rest)
{
	connect_both(ROLE_CLIENT, 64 << 10);
	open_source(CONTENT);
	cr_assert_eq(dup3(open(FULL, O_WRONLY | O_CLOEXEC), rx.fd, O_CLOEXEC), rx.fd);
	transfer();
	cr_assert_eq(rx.result, -ERR_NO_SPACE);
	cr_assert(rx.failures == 1 && rx.failure == -ERR_NO_SPACE && rx.goes_on);
	cr_assert(rx.got.good == 0 && rx.got.size == CONTENT && rx.progressed == CONTENT);
	cr_assert_eq(tx.result, 0);
}

Test(SUITE, what_was_verified_before_the_disk_was_full_is_good)
{
	struct rlimit limit = {.rlim_cur = C + 1000, .rlim_max = RLIM_INFINITY};

	connect_both(ROLE_CLIENT, 64 << 10);
	open_source(CONTENT);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	transfer();
	limit.rlim_cur = RLIM_INFINITY;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(rx.result, -ERR_TOO_LARGE);
	cr_assert(rx.failures == 1 && rx.failure == -ERR_TOO_LARGE && rx.goes_on);
	cr_assert_eq(rx.got.good, C);
	cr_assert_eq(rx.got.size, CONTENT);
	cr_assert_eq(ftruncate(rx.fd, C), 0);
	assert_target(C);
}
