/* SPDX-License-Identifier: GPL-3.0-or-later */
/* This program has its own clock, so that a digest takes as long as a test wants. */
#include "transfer/prefix.h"

#include <sys/syscall.h>
#include <time.h>

#include "base/path.h"
#include "base/text.h"
#include "os/fd.h"
#include "pair.h"
#include "scratch.h"

#define C       CHECKPOINT_INTERVAL
#define HEX_LEN (2 * DIGEST_LEN + 1)

/* How much later it is each time the test looks.  Criterion has threads of its own. */
static _Thread_local int64_t step_ms, ahead_ms;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);
	int64_t ns = ts->tv_nsec + (ahead_ms += step_ms) % 1000 * 1000000;

	ts->tv_sec += ahead_ms / 1000 + ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	return r;
}

static struct scratch top;
static struct digest *digest;
static struct channel *c;
static int peer = -1;

static void setup(void)
{
	static const struct channel_limits limits = {
		.chunk_size = CHUNK_SIZE_MIN, .timeout_ms = 20000, .stop_fd = -1};
	int fds[2];

	scratch_init(&top);
	digest = digest_new();
	cr_assert_not_null(digest);
	pair_local(fds);
	c = pair_channel(fds[0], ROLE_SERVER, SESSION_READY, 0, &limits);
	peer = fds[1];
}

static void teardown(void)
{
	step_ms = 0;
	channel_free(c);
	fd_close(peer);
	digest_free(digest);
	scratch_fini(&top);
}

TestSuite(prefix, .timeout = 120);

/* -- Whose partial -------------------------------------------------------- */

static const struct {
	const char *identity, *path, *tag;
	size_t tag_len;
} transfers[] = {
	{"alice", "dir/file", "0123456789abcdef", 16},
	{"alicf", "dir/file", "0123456789abcdef", 16},
	{"alice", "dir/filf", "0123456789abcdef", 16},
	{"alice", "dir/file", "0123456789abcdeF", 16},
	{"alice", "dir/file", "0123456789abcdef", 15},
	{"alice", "dir/file", "", 0},
	{"", "dir/file", "0123456789abcdef", 16},
	{"alice", "", "0123456789abcdef", 16},
	/* the same bytes, otherwise divided */
	{"alic", "edir/file", "0123456789abcdef", 16},
	{"alicedir/file", "", "0123456789abcdef", 16},
	{"", "alicedir/file", "0123456789abcdef", 16},
	{"alice", "dir/file0", "123456789abcdef", 15},
	{"alice", "dir/fil", "e0123456789abcdef", 17},
	{"alice", "dir/file\n", "0123456789abcdef", 16},
	{"dir/file", "alice", "0123456789abcdef", 16},
};

static void key_of(size_t i, uint8_t key[STAGE_KEY_LEN])
{
	cr_assert_eq(prefix_key(key, transfers[i].identity, transfers[i].path,
			     transfers[i].tag, transfers[i].tag_len),
		0);
}

Test(prefix, every_transfer_has_a_key_of_its_own)
{
	uint8_t keys[ARRAY_LEN(transfers)][STAGE_KEY_LEN], again[STAGE_KEY_LEN];

	for (size_t i = 0; i < ARRAY_LEN(transfers); i++) {
		key_of(i, keys[i]);
		key_of(i, again);
		cr_assert_arr_eq(
			again, keys[i], STAGE_KEY_LEN, "row %zu: the same again", i);
		for (size_t j = 0; j < i; j++)
			cr_assert_neq(memcmp(keys[i], keys[j], STAGE_KEY_LEN), 0,
				"%zu and %zu", i, j);
	}
}

Test(prefix, the_longest_path_has_a_key)
{
	static char path[PATH_WIRE_MAX + 1], endless[70000];
	uint8_t key[STAGE_KEY_LEN] = {0}, other[STAGE_KEY_LEN];

	memset(path, 'p', PATH_WIRE_MAX);
	cr_assert_eq(prefix_key(key, "alice", path, "tag", 3), 0);
	path[PATH_WIRE_MAX - 1] = 'q';
	cr_assert_eq(prefix_key(other, "alice", path, "tag", 3), 0);
	cr_assert_neq(memcmp(key, other, STAGE_KEY_LEN), 0);
	memset(endless, 'e', sizeof(endless) - 1);
	cr_assert_eq(prefix_key(key, endless, "path", "tag", 3), -ERR_NAME_TOO_LONG);
}

/* -- How much of it ---------------------------------------------------------- */

static const struct {
	uint64_t have, size, want;
} partials[] = {
	{0, 0, 0},
	{0, 10 * C, 0},
	{C - 1, 10 * C, 0},
	{C, 10 * C, C},
	{C + 1, 10 * C, C},
	{2 * C - 1, 10 * C, C},
	{7 * C + 5, 10 * C, 7 * C},
	{10 * C, 10 * C, 10 * C},
	{10 * C + 1, 10 * C, 0},
	{C, C, C},
	{C + 9, C + 9, C},
	{C, C - 1, 0},
	{3 * C + 1, MSG_SIZE_UNKNOWN, 3 * C},
	{UINT64_MAX - 1, UINT64_MAX, UINT64_MAX - UINT64_MAX % C},
};

Test(prefix, whole_checkpoints_are_usable)
{
	for (size_t i = 0; i < ARRAY_LEN(partials); i++)
		cr_expect_eq(prefix_usable(partials[i].have, partials[i].size),
			partials[i].want, "row %zu", i);
}

/* -- What it says -------------------------------------------------------------- */

#define FILE_LEN 1000000

/* Byte I of the file is (7 I + I / 256) mod 256; the digests are those of Python's
 * hashlib. */
static const struct {
	uint64_t len;
	const char *want;
} digests[] = {
	{0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
	{262143, "d6d89da97b662e058e9bc67a6dee0d3b738ff2f9e6fe89e3f86e2a033b132a4e"},
	{262144, "23295ac6e56186bdc6715065c52588ed68859187befcff701de609c7841ab38f"},
	{262145, "237ebaf00671d6b31ebcb346260336175852ffb3942f7d045424fa5bf1c2d202"},
	{FILE_LEN, "c40f2bb6506be197d423019337e42a193d08131292fdedf76ced0bf4a3ab888e"},
};

static int file_open(int flags)
{
	static uint8_t bytes[FILE_LEN];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(7 * i + i / 256);
	FD_OWNED fd = openat(top.fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_eq(fd_write_full(fd, bytes, sizeof(bytes)), 0);
	return openat(top.fd, "file", flags | O_CLOEXEC);
}

static void assert_digest(const char *want)
{
	uint8_t out[DIGEST_LEN];
	char hex[HEX_LEN];

	cr_assert_eq(digest_peek(digest, out), 0);
	cr_assert_str_eq(text_hex(hex, out, DIGEST_LEN), want);
}

Test(prefix, the_digest_is_that_of_the_first_bytes, .init = setup, .fini = teardown)
{
	FD_OWNED fd = file_open(O_RDONLY);

	for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
		cr_assert_eq(
			prefix_digest(digest, fd, digests[i].len, c), 0, "row %zu", i);
		assert_digest(digests[i].want);
	}
	cr_assert_eq(lseek(fd, 0, SEEK_CUR), 0, "not by the file's position");
}

Test(prefix, the_digest_goes_on_from_there, .init = setup, .fini = teardown)
{
	FD_OWNED fd = file_open(O_RDONLY);
	uint8_t byte;

	cr_assert_eq(prefix_digest(digest, fd, 262144, c), 0);
	cr_assert_eq(pread(fd, &byte, 1, 262144), 1);
	cr_assert_eq(digest_update(digest, &byte, 1), 0);
	assert_digest(digests[4].want);
}

Test(prefix, a_file_that_is_shorter_has_changed, .init = setup, .fini = teardown)
{
	FD_OWNED fd = file_open(O_RDONLY);
	FD_OWNED empty = openat(top.fd, "empty", O_RDONLY | O_CREAT | O_CLOEXEC, 0600);

	cr_assert_eq(prefix_digest(digest, fd, FILE_LEN + 1, c), -ERR_CHANGED);
	cr_assert_eq(prefix_digest(digest, empty, 1, c), -ERR_CHANGED);
}

Test(prefix, what_cannot_be_read_is_an_error, .init = setup, .fini = teardown)
{
	FD_OWNED fd = file_open(O_WRONLY);

	cr_assert_eq(prefix_digest(digest, fd, 10, c), -ERR_IO);
}

/* -- While it takes long ------------------------------------------------------------ */

/* The notes that have come: how many, and the last. */
static int take_notes(uint64_t *done_out)
{
	uint8_t bytes[FRAME_HEADER_LEN + 8];
	int count = 0;

	while (recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT) == (ssize_t)sizeof(bytes)) {
		struct frame f;
		struct msg_note note;
		cr_assert_eq(frame_decode(&f, bytes), 0);
		cr_assert(f.type == MSG_NOTE && f.id == 0);
		cr_assert_eq(msg_note_decode(&note, bytes + FRAME_HEADER_LEN, f.len), 0);
		cr_assert_geq(note.done, *done_out);
		*done_out = note.done;
		count++;
	}
	return count;
}

Test(prefix, the_peer_is_told_that_we_work, .init = setup, .fini = teardown)
{
	FD_OWNED fd = file_open(O_RDONLY);
	uint64_t done = 0;

	cr_assert_eq(prefix_digest(digest, fd, 1000, c), 0);
	cr_assert_eq(take_notes(&done), 0, "it took no time");
	step_ms = 600;
	cr_assert_eq(prefix_digest(digest, fd, FILE_LEN, c), 0);
	step_ms = 0;
	cr_assert_eq(take_notes(&done), 2, "2.4 s");
	cr_assert_eq(done, FILE_LEN);
	assert_digest(digests[5].want);
}

Test(prefix, a_lost_connection_ends_the_work, .init = setup, .fini = teardown)
{
	FD_OWNED fd = file_open(O_RDONLY);

	fd_close(fd_take(&peer));
	step_ms = 1000;
	cr_assert_eq(prefix_digest(digest, fd, FILE_LEN, c), -ERR_CLOSED);
}

Test(prefix, the_proof_is_the_digest_so_far, .init = setup, .fini = teardown)
{
	uint8_t bytes[100], want[DIGEST_LEN];
	FD_OWNED fd = file_open(O_RDONLY);
	struct msg_proof proof;
	struct frame f;

	cr_assert_eq(prefix_digest(digest, fd, 262145, c), 0);
	cr_assert_eq(prefix_send_proof(c, 77, digest), 0);
	cr_assert_eq(channel_flush(c), 0);
	cr_assert_eq(recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT),
		(ssize_t)(FRAME_HEADER_LEN + DIGEST_LEN));
	cr_assert_eq(frame_decode(&f, bytes), 0);
	cr_assert_eq(frame_verify(&f, bytes, bytes + FRAME_HEADER_LEN), 0);
	cr_assert(f.type == MSG_PROOF && f.id == 77);
	cr_assert_eq(msg_proof_decode(&proof, bytes + FRAME_HEADER_LEN, f.len), 0);
	cr_assert_eq(text_unhex(digests[4].want, want, DIGEST_LEN), 0);
	cr_assert_arr_eq(proof.digest, want, DIGEST_LEN);
	assert_digest(digests[4].want);
}
