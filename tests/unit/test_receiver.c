/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files whose frames were made by hand, as a good and as a bad sender makes them. */
#include "transfer/receiver.h"

#include <sys/mman.h>

#include "os/fd.h"
#include "pair.h"
#include "scratch.h"

#define ID    7u
#define CHUNK (64u << 10)
#define C     CHECKPOINT_INTERVAL
#define END_OF_LIST                                                                      \
	{                                                                                \
		0, 0, 0                                                                  \
	}

static struct channel *c;
static int peer = -1, file = -1;
static struct digest *ours, *theirs;
static struct wire said;
static int failures, failure, failed_answer;
static uint64_t progressed;

static void teardown(void)
{
	channel_free(c);
	c = NULL;
	fd_close(fd_take(&peer));
	fd_close(fd_take(&file));
	digest_free(ours);
	digest_free(theirs);
	ours = theirs = NULL;
}

static void setup(void)
{
	static const struct channel_limits limits = {
		.chunk_size = CHUNK, .timeout_ms = 20000, .stop_fd = -1};
	int fds[2];

	teardown();
	pair_local(fds);
	c = pair_channel(fds[0], ROLE_SERVER, SESSION_DATA, ID, &limits);
	peer = fds[1];
	file = memfd_create("file", MFD_CLOEXEC);
	ours = digest_new();
	theirs = digest_new();
	cr_assert(file >= 0 && ours && theirs);
	cr_assert(digest_start(ours) == 0 && digest_start(theirs) == 0);
	said.len = 0;
	failures = failure = failed_answer = 0;
	progressed = 0;
}

TestSuite(receiver, .init = setup, .fini = teardown, .timeout = 120);

/* -- What the sender says ----------------------------------------------------- */

struct step {
	uint8_t type; /* 0: no more */
	uint64_t n;   /* DATA, HOLE: bytes; CHECK, END: offset; ABORT: code */
	bool wrong;   /* another digest than that of the bytes */
};

static void say_data(size_t len)
{
	static uint8_t bytes[CHUNK_SIZE_MAX];

	memset(bytes, 'x', len);
	cr_assert_eq(digest_update(theirs, bytes, len), 0);
	wire_frame(&said, MSG_DATA, ID, bytes, len);
}

static void say_hole(size_t len)
{
	static const uint8_t zeros[2 * C];
	struct msg_hole m = {.len = (uint32_t)len};
	uint8_t payload[8];
	struct wcur w;

	cr_assert_leq(len, sizeof(zeros));
	cr_assert_eq(digest_update(theirs, zeros, len), 0);
	wcur_init(&w, payload, sizeof(payload));
	msg_hole_encode(&w, &m);
	wire_frame(&said, MSG_HOLE, ID, payload, (size_t)wcur_finish(&w));
}

static void say_check(const struct step *s)
{
	struct msg_check m = {.offset = s->n};
	uint8_t payload[64];
	struct wcur w;

	cr_assert_eq(digest_peek(theirs, m.digest), 0);
	m.digest[DIGEST_LEN - 1] ^= s->wrong;
	wcur_init(&w, payload, sizeof(payload));
	msg_check_encode(&w, &m);
	wire_frame(&said, s->type, ID, payload, (size_t)wcur_finish(&w));
}

static void say_abort(int code)
{
	struct wire w = {.len = 0};

	wire_error(&w, ID, code, "text", 4);
	wire_frame(&said, MSG_ABORT, ID, w.bytes + FRAME_HEADER_LEN,
		w.len - FRAME_HEADER_LEN);
}

/* The steps, and a request behind them. */
static void say(const struct step *steps)
{
	for (const struct step *s = steps; s->type; s++)
		switch (s->type) {
		case MSG_DATA:
			say_data(s->n);
			break;
		case MSG_HOLE:
			say_hole(s->n);
			break;
		case MSG_ABORT:
			say_abort((int)s->n);
			break;
		default:
			say_check(s);
		}
	wire_frame(&said, MSG_FLUSH, ID + 1, NULL, 0);
	cr_assert_eq(fd_write_full(peer, said.bytes, said.len), 0);
}

/* -- Receiving it --------------------------------------------------------------- */

static int count_failure(void *ctx, int err)
{
	cr_assert_eq(ctx, &said);
	failures++;
	failure = err;
	return failed_answer;
}

static void count_progress(void *ctx, uint64_t bytes)
{
	cr_assert_eq(ctx, &said);
	progressed += bytes;
}

static int receive(uint64_t size, uint64_t offset, struct received *out)
{
	struct receiver r = {.channel = c,
		.digest = ours,
		.fd = file,
		.progress = count_progress,
		.failed = count_failure,
		.ctx = &said};
	struct msg_file m = {.size = size, .offset = offset};

	return receiver_receive(&r, &m, out);
}

/* The bytes up to OFFSET are zeros on both sides. */
static void begin_at(uint64_t offset)
{
	static const uint8_t zeros[C];

	setup();
	for (uint64_t done = 0; done < offset; done += C) {
		cr_assert_eq(digest_update(ours, zeros, C), 0);
		cr_assert_eq(digest_update(theirs, zeros, C), 0);
	}
	cr_assert_eq(ftruncate(file, (off_t)offset), 0);
}

/* The connection has gone on to what came behind the file. */
static void assert_at_next_request(void)
{
	struct channel_msg m;

	cr_assert_eq(channel_read(c, &m), 0);
	cr_assert(m.type == MSG_FLUSH && m.id == ID + 1);
}

#define UNKNOWN MSG_SIZE_UNKNOWN

static const struct {
	const char *what;
	uint64_t size, offset;
	struct step steps[6];
	int want, aborted;
	uint64_t good;
} rows[] = {
	{"nothing", 0, 0, {{MSG_END, 0, 0}}, 0, 0, 0},
	{"some", 10, 0, {{MSG_DATA, 10, 0}, {MSG_END, 10, 0}}, 0, 0, 10},
	{"pieces", 10, 0, {{MSG_DATA, 1, 0}, {MSG_DATA, 9, 0}, {MSG_END, 10, 0}}, 0, 0,
		10},
	{"behind a prefix", C + 5, C, {{MSG_DATA, 5, 0}, {MSG_END, C + 5, 0}}, 0, 0,
		C + 5},
	{"nothing behind a prefix", C, C, {{MSG_END, C, 0}}, 0, 0, C},
	{"a check at once", C, C, {{MSG_CHECK, C, 0}, {MSG_END, C, 0}}, 0, 0, C},
	{"unknown, nothing", UNKNOWN, 0, {{MSG_END, 0, 0}}, 0, 0, 0},
	{"unknown, some", UNKNOWN, 0, {{MSG_DATA, 10, 0}, {MSG_END, 10, 0}}, 0, 0, 10},
	{"unknown, behind a prefix", UNKNOWN, C, {{MSG_DATA, 1, 0}, {MSG_END, C + 1, 0}},
		0, 0, C + 1},

	{"a hole", 10, 0, {{MSG_HOLE, 10, 0}, {MSG_END, 10, 0}}, 0, 0, 10},
	{"a hole in the middle", 10, 0,
		{{MSG_DATA, 1, 0}, {MSG_HOLE, 8, 0}, {MSG_DATA, 1, 0}, {MSG_END, 10, 0}},
		0, 0, 10},
	{"a hole behind a prefix", 2 * C, C, {{MSG_HOLE, C, 0}, {MSG_END, 2 * C, 0}}, 0,
		0, 2 * C},
	{"holes up to a check and on", 2 * C, 0,
		{{MSG_HOLE, 5, 0}, {MSG_HOLE, C - 5, 0}, {MSG_CHECK, C, 0},
			{MSG_HOLE, C, 0}, {MSG_END, 2 * C, 0}},
		0, 0, 2 * C},
	{"unknown, a hole", UNKNOWN, 0, {{MSG_HOLE, 10, 0}, {MSG_END, 10, 0}}, 0, 0, 10},
	{"a hole larger than announced", 10, 0, {{MSG_HOLE, 11, 0}}, -ERR_PROTOCOL, 0, 0},
	{"a hole over a checkpoint", 2 * C, 0, {{MSG_DATA, 1, 0}, {MSG_HOLE, C, 0}},
		-ERR_PROTOCOL, 0, 0},

	{"a wrong digest", 10, 0, {{MSG_DATA, 10, 0}, {MSG_END, 10, true}}, -ERR_MISMATCH,
		0, 0},
	{"a wrong digest of nothing", 0, 0, {{MSG_END, 0, true}}, -ERR_MISMATCH, 0, 0},
	{"a wrong check", C + 5, C,
		{{MSG_CHECK, C, true}, {MSG_DATA, 5, 0}, {MSG_END, C + 5, 0}},
		-ERR_MISMATCH, 0, C},
	{"wrong, then given up", C + 5, C,
		{{MSG_CHECK, C, true}, {MSG_ABORT, ERR_CHANGED, 0}}, -ERR_MISMATCH,
		ERR_CHANGED, C},

	{"given up", 10, 0, {{MSG_ABORT, ERR_CHANGED, 0}}, -ERR_ABORTED, ERR_CHANGED, 0},
	{"given up halfway", 10, 0, {{MSG_DATA, 5, 0}, {MSG_ABORT, ERR_IO, 0}},
		-ERR_ABORTED, ERR_IO, 0},
	{"given up for no known reason", 10, 0, {{MSG_ABORT, 200, 0}}, -ERR_ABORTED,
		ERR_PROTOCOL, 0},

	{"more than announced", 10, 0, {{MSG_DATA, 11, 0}}, -ERR_PROTOCOL, 0, 0},
	{"more in the end", 10, 0, {{MSG_DATA, 10, 0}, {MSG_DATA, 1, 0}}, -ERR_PROTOCOL,
		0, 0},
	{"more behind a prefix", C, C, {{MSG_DATA, 1, 0}}, -ERR_PROTOCOL, 0, C},
	{"less than announced", 10, 0, {{MSG_DATA, 9, 0}, {MSG_END, 9, 0}}, -ERR_PROTOCOL,
		0, 0},
	{"an end before the end", 10, 0, {{MSG_DATA, 10, 0}, {MSG_END, 9, 0}},
		-ERR_PROTOCOL, 0, 0},
	{"an end behind the end", 10, 0, {{MSG_DATA, 10, 0}, {MSG_END, 11, 0}},
		-ERR_PROTOCOL, 0, 0},
	{"unknown, a wrong end", UNKNOWN, 0, {{MSG_DATA, 10, 0}, {MSG_END, 9, 0}},
		-ERR_PROTOCOL, 0, 0},
	{"data over a checkpoint", 2 * C, 0, {{MSG_HOLE, C - 1, 0}, {MSG_DATA, 2, 0}},
		-ERR_PROTOCOL, 0, 0},
	{"a check out of place", C + 5, C, {{MSG_DATA, 5, 0}, {MSG_CHECK, C + 5, 0}},
		-ERR_PROTOCOL, 0, C},
	{"a check of elsewhere", C + 5, C, {{MSG_DATA, 5, 0}, {MSG_CHECK, C, 0}},
		-ERR_PROTOCOL, 0, C},
};

Test(receiver, takes_what_is_right_and_nothing_else)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct received got;
		struct stat st;

		begin_at(rows[i].offset);
		say(rows[i].steps);
		int err = receive(rows[i].size, rows[i].offset, &got);
		cr_assert_eq(err, rows[i].want, "%s: %d", rows[i].what, err);
		cr_assert_eq(got.aborted, rows[i].aborted, "%s: %d", rows[i].what,
			got.aborted);
		cr_assert_eq(got.good, rows[i].good, "%s", rows[i].what);
		cr_assert_eq(got.size, rows[i].offset + progressed, "%s", rows[i].what);
		cr_assert_eq(failures, err == -ERR_MISMATCH, "%s", rows[i].what);
		cr_assert_eq(fstat(file, &st), 0);
		cr_assert_leq((uint64_t)st.st_size, rows[i].size, "%s", rows[i].what);
		if (!err_is_connection(err))
			assert_at_next_request();
	}
}

Test(receiver, a_hole_stands_for_whatever_was_there)
{
	static const struct step steps[] = {{MSG_DATA, 2, 0}, {MSG_HOLE, 5, 0},
		{MSG_DATA, 1, 0}, {MSG_HOLE, 2, 0}, {MSG_END, 10, 0}, END_OF_LIST};
	struct received got;
	char bytes[20] = {0};

	begin_at(0);
	cr_assert_eq(pwrite(file, "leftover leftover", 17, 0), 17);
	say(steps);
	cr_assert_eq(receive(10, 0, &got), 0);
	cr_assert_eq(pread(file, bytes, sizeof(bytes), 0), 10);
	cr_assert_arr_eq(bytes, "xx\0\0\0\0\0x\0\0", 10);
}

Test(receiver, the_digest_is_that_of_all_bytes)
{
	static const struct step steps[] = {
		{MSG_DATA, 5, 0}, {MSG_END, C + 5, 0}, END_OF_LIST};
	uint8_t want[DIGEST_LEN];
	struct received got;

	begin_at(C);
	say(steps);
	cr_assert_eq(receive(C + 5, C, &got), 0);
	cr_assert_eq(digest_finish(theirs, want), 0);
	cr_assert_arr_eq(got.digest, want, DIGEST_LEN);
}

Test(receiver, an_end_of_the_connection_keeps_what_is_good)
{
	struct received got;
	struct stat st;

	begin_at(C);
	say_check(&(struct step){MSG_CHECK, C, false});
	say_data(1000);
	cr_assert_eq(fd_write_full(peer, said.bytes, said.len - 1), 0);
	shutdown(peer, SHUT_WR);
	cr_assert_eq(receive(UNKNOWN, C, &got), -ERR_CLOSED);
	cr_assert_eq(got.good, C);
	cr_assert_eq(got.size, C + 999);
	cr_assert_eq(fstat(file, &st), 0);
	cr_assert_eq(st.st_size, C + 999, "all that arrived is there");
}

Test(receiver, a_request_in_the_middle_is_refused)
{
	struct received got;

	say((struct step[]){{MSG_DATA, 5, 0}, END_OF_LIST});
	cr_assert_eq(receive(10, 0, &got), -ERR_PROTOCOL);
	cr_assert(got.size == 5 && got.good == 0);
}

Test(receiver, the_expected_digest_is_asked_for)
{
	static const struct step steps[] = {
		{MSG_DATA, 10, 0}, {MSG_END, 10, 0}, END_OF_LIST};

	for (int wrong = 0; wrong < 2; wrong++) {
		struct received got;
		uint8_t expected[DIGEST_LEN];

		setup();
		say(steps);
		cr_assert_eq(digest_finish(theirs, expected), 0);
		expected[0] ^= (uint8_t)wrong;
		struct receiver r = {.channel = c,
			.digest = ours,
			.fd = file,
			.expected = expected,
			.failed = count_failure,
			.ctx = &said};
		int err = receiver_receive(&r, &(struct msg_file){.size = 10}, &got);
		cr_assert_eq(err, wrong ? -ERR_MISMATCH : 0);
		cr_assert_eq(failures, wrong);
		cr_assert_eq(got.good, 10, "what came is what was sent");
		assert_at_next_request();
	}
}

/* -- Where it cannot be written ------------------------------------------------------ */

static const struct step some[] = {{MSG_DATA, 1000, 0}, {MSG_DATA, 1000, 0},
	{MSG_DATA, 1000, 0}, {MSG_END, 3000, 0}, END_OF_LIST};

static void use_full_device(void)
{
	fd_close(file);
	file = open("/dev/full", O_WRONLY | O_CLOEXEC);
	cr_assert_geq(file, 0);
}

/* As far as 2000 bytes. */
static int admit_some(void *ctx, uint64_t end)
{
	cr_assert_eq(ctx, &said);
	return end <= 2000 ? 0 : -ERR_NO_SPACE;
}

Test(receiver, what_is_not_admitted_is_not_written)
{
	struct receiver r = {.channel = c,
		.digest = ours,
		.fd = file,
		.admit = admit_some,
		.failed = count_failure,
		.ctx = &said};
	struct received got;
	struct stat st;

	say(some);
	cr_assert_eq(receiver_receive(&r, &(struct msg_file){.size = UNKNOWN}, &got),
		-ERR_NO_SPACE);
	cr_assert_eq(failures, 1);
	cr_assert_eq(failure, -ERR_NO_SPACE);
	cr_assert_eq(fstat(file, &st), 0);
	cr_assert_eq(st.st_size, 2000, "%jd", (intmax_t)st.st_size);
	assert_at_next_request();
}

Test(receiver, a_full_disk_is_told_once_and_the_rest_drained)
{
	struct received got;

	use_full_device();
	say(some);
	cr_assert_eq(receive(3000, 0, &got), -ERR_NO_SPACE);
	cr_assert(failures == 1 && failure == -ERR_NO_SPACE);
	cr_assert(got.size == 3000 && got.good == 0 && progressed == 3000);
	assert_at_next_request();
}

Test(receiver, an_answer_to_the_failure_ends_the_reception)
{
	struct received got;

	use_full_device();
	failed_answer = -ERR_CLOSED;
	say(some);
	cr_assert_eq(receive(3000, 0, &got), -ERR_CLOSED);
	cr_assert(failures == 1 && got.size == 0);
}

Test(receiver, nobody_needs_to_be_told)
{
	struct receiver r = {.channel = c, .digest = ours, .stream = true};
	struct received got;

	use_full_device();
	r.fd = file;
	say(some);
	cr_assert_eq(receiver_receive(&r, &(struct msg_file){.size = 3000}, &got),
		-ERR_NO_SPACE);
	assert_at_next_request();
}

Test(receiver, a_stream_is_written_from_where_it_is)
{
	struct received got;
	char bytes[4000];
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	struct receiver r = {.channel = c, .digest = ours, .stream = true, .fd = fds[1]};
	say(some);
	cr_assert_eq(receiver_receive(&r, &(struct msg_file){.size = UNKNOWN}, &got), 0);
	cr_assert_eq(read(fds[0], bytes, sizeof(bytes)), 3000);
	for (int i = 0; i < 3000; i++)
		cr_assert_eq(bytes[i], 'x');
	close(fds[0]);
	close(fds[1]);
}
