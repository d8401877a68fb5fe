/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is said on a channel.  What it waits for: test_channel_wait.c. */
#include "transfer/channel.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "os/clock.h"
#include "os/fd.h"
#include "pair.h"

#define CHUNK (64u << 10)
#define ID    7u

static struct channel *c;
static int peer = -1;
static struct wire said, heard;

static const struct channel_limits usual = {
	.chunk_size = CHUNK, .timeout_ms = 20000, .stop_fd = -1};

static void finish(void)
{
	channel_free(c);
	c = NULL;
	fd_close(fd_take(&peer));
}

TestSuite(channel, .fini = finish, .timeout = 120);

static void begin(enum role role, enum session_state state)
{
	int fds[2];

	finish();
	pair_local(fds);
	peer = fds[1];
	c = pair_channel(fds[0], role, state, ID, &usual);
	said.len = heard.len = 0;
}

static void say(size_t from, size_t to)
{
	cr_assert_eq(fd_write_full(peer, said.bytes + from, to - from), 0);
}

static void say_all(void)
{
	say(0, said.len);
}

/* All that the channel writes until PEER has no more. */
static void hear(void)
{
	ssize_t n;

	heard.len = 0;
	while ((n = recv(peer, heard.bytes + heard.len, sizeof(heard.bytes) - heard.len,
			MSG_DONTWAIT)) > 0)
		heard.len += (size_t)n;
}

/* Reads one message, with its data, and writes it down as it was sent. */
static int take_down(void)
{
	struct channel_msg m;
	const uint8_t *p;
	ssize_t n = 0;
	int err = channel_read(c, &m);

	if (err < 0)
		return err;
	if (m.type != MSG_DATA) {
		wire_frame(&heard, m.type, m.id, m.payload, m.len);
		return 0;
	}
	uint8_t header[FRAME_HEADER_LEN];
	frame_encode(header, MSG_DATA, m.id, NULL, m.len);
	wire_add(&heard, header, sizeof(header));
	while ((n = channel_read_data(c, &p)) > 0)
		wire_add(&heard, p, (size_t)n);
	return (int)n;
}

/* To the end of the connection; why it ended. */
static int take_all_down(void)
{
	int err;

	while ((err = take_down()) == 0)
		;
	return err;
}

/* Requests, and a file in the middle. */
static void compose_session(void)
{
	uint8_t payload[300];

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 37 + 11);
	wire_frame(&said, MSG_ASK, 1, payload, 60);
	wire_frame(&said, MSG_PUT, 2, payload, 50);
	wire_frame(&said, MSG_FILE, 2, payload, 36);
	wire_frame(&said, MSG_DATA, 2, payload, 100);
	wire_frame(&said, MSG_CHECK, 2, payload, 40);
	wire_frame(&said, MSG_DATA, 2, payload, 1);
	wire_frame(&said, MSG_END, 2, payload, 40);
	wire_frame(&said, MSG_FLUSH, 3, payload, 0);
}

/* -- Preface ------------------------------------------------------------ */

Test(channel, two_of_us_greet)
{
	int fds[2];

	pair_local(fds);
	struct channel *client =
		pair_channel(fds[0], ROLE_CLIENT, SESSION_NEW, 0, &usual);
	struct channel *server =
		pair_channel(fds[1], ROLE_SERVER, SESSION_NEW, 0, &usual);
	cr_assert_eq(channel_send_preface(client), 0);
	cr_assert_eq(channel_flush(client), 0);
	cr_assert_eq(channel_read_preface(server), 0);
	cr_assert_eq(channel_send_preface(server), 0);
	cr_assert_eq(channel_flush(server), 0);
	cr_assert_eq(channel_read_preface(client), 0);
	channel_free(client);
	channel_free(server);
}

static const struct {
	const char *bytes;
	size_t len;
	int want;
} prefaces[] = {
	{"sockd/1\n", 8, 0},
	{"sockd/2\n", 8, -ERR_VERSION},
	{"sockd/1\r", 8, -ERR_VERSION},
	{"SSH-2.0-", 8, -ERR_PROTOCOL},
	{"\x16\x03\x01\x02\0\x01\0\x01", 8, -ERR_PROTOCOL},
	{"GET / HT", 8, -ERR_PROTOCOL},
	{"", 0, -ERR_CLOSED},
	{"sockd/1", 7, -ERR_CLOSED},
};

Test(channel, tells_the_prefaces_apart)
{
	for (size_t i = 0; i < ARRAY_LEN(prefaces); i++) {
		begin(ROLE_SERVER, SESSION_NEW);
		wire_add(&said, prefaces[i].bytes, prefaces[i].len);
		say_all();
		shutdown(peer, SHUT_WR);
		cr_expect_eq(channel_read_preface(c), prefaces[i].want, "row %zu", i);
	}
}

/* -- Frames in pieces ---------------------------------------------------- */

/* Says all, waiting at CUT until the other end has read up to there. */
static void *say_in_two(void *arg)
{
	size_t cut = *(size_t *)arg;
	int unread = 1;

	if (fd_write_full(peer, said.bytes, cut) < 0)
		return "cannot write";
	for (int64_t end = clock_now_ms() + 10000; unread > 0; sched_yield())
		if (ioctl(peer, SIOCOUTQ, &unread) < 0 || clock_now_ms() > end)
			return "nobody reads";
	if (fd_write_full(peer, said.bytes + cut, said.len - cut) < 0)
		return "cannot go on";
	shutdown(peer, SHUT_WR);
	return NULL;
}

static void take_down_in_two(size_t cut)
{
	void *failure;

	begin(ROLE_SERVER, SESSION_READY);
	compose_session();
	pthread_t thread = pair_thread(say_in_two, &cut);
	int err = take_all_down();
	pthread_join(thread, &failure);
	cr_assert_null(failure, "%s", (char *)failure);
	cr_assert_eq(err, -ERR_CLOSED, "cut at %zu: %d", cut, err);
	cr_assert_eq(heard.len, said.len, "cut at %zu", cut);
	cr_assert_arr_eq(heard.bytes, said.bytes, said.len, "cut at %zu", cut);
	cr_assert_eq(channel_counters(c).received, said.len);
}

Test(channel, frames_come_in_pieces)
{
	begin(ROLE_SERVER, SESSION_READY);
	compose_session();
	size_t len = said.len;
	for (size_t cut = 0; cut <= len; cut++)
		take_down_in_two(cut);
}

Test(channel, an_end_anywhere_is_closed)
{
	begin(ROLE_SERVER, SESSION_READY);
	compose_session();
	size_t len = said.len;
	for (size_t cut = 0; cut < len; cut++) {
		begin(ROLE_SERVER, SESSION_READY);
		compose_session();
		say(0, cut);
		shutdown(peer, SHUT_WR);
		cr_assert_eq(take_all_down(), -ERR_CLOSED, "cut at %zu", cut);
		cr_assert_leq(heard.len, cut);
		cr_assert_arr_eq(heard.bytes, said.bytes, heard.len, "cut at %zu", cut);
	}
}

Test(channel, a_reset_is_closed)
{
	struct linger now = {.l_onoff = 1};
	struct channel_msg m;
	int fds[2];

	pair_tcp(fds);
	c = pair_channel(fds[0], ROLE_SERVER, SESSION_READY, 0, &usual);
	setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fds[1]);
	cr_assert_eq(channel_read(c, &m), -ERR_CLOSED);
}

Test(channel, a_try_waits_for_nothing)
{
	struct channel_msg m;

	begin(ROLE_SERVER, SESSION_READY);
	compose_session();
	size_t ask = FRAME_HEADER_LEN + 60;
	for (size_t cut = 0; cut < ask; cut++) {
		cr_assert_eq(channel_try_read(c, &m), -ERR_AGAIN, "at %zu", cut);
		say(cut, cut + 1);
	}
	cr_assert_eq(channel_try_read(c, &m), 0);
	cr_assert_eq(m.type, MSG_ASK);
	cr_assert_eq(channel_error(c), 0);
}

static void nothing(int sig)
{
	(void)sig;
}

static void *say_slowly(void *arg)
{
	for (size_t done = 0; done < said.len; done += 40) {
		poll(NULL, 0, 5);
		size_t len = said.len - done < 40 ? said.len - done : 40;
		if (fd_write_full(peer, said.bytes + done, len) < 0)
			break;
	}
	shutdown(peer, SHUT_WR);
	return arg;
}

Test(channel, signals_do_not_matter)
{
	struct sigaction sa = {.sa_handler = nothing};
	struct itimerval often = {{0, 1000}, {0, 1000}};
	sigset_t alarm;

	begin(ROLE_SERVER, SESSION_READY);
	compose_session();
	sigaction(SIGALRM, &sa, NULL);
	/* They are for us, who wait. */
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	pthread_t thread = pair_thread(say_slowly, NULL);
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	int err = take_all_down();
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	pthread_join(thread, NULL);
	cr_assert_eq(err, -ERR_CLOSED, "%d", err);
	cr_assert_eq(heard.len, said.len);
}

/* -- Frames that are wrong ------------------------------------------------ */

/* Any bit of a control frame: what it says is never believed. */
Test(channel, a_flipped_bit_is_garbled)
{
	static const uint8_t digest[40] = {1, 2, 3};
	struct channel_msg m;

	for (size_t bit = 0; bit < 8 * (FRAME_HEADER_LEN + sizeof(digest)); bit++) {
		begin(ROLE_SERVER, SESSION_DATA);
		wire_frame(&said, MSG_CHECK, ID, digest, sizeof(digest));
		said.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		say_all();
		shutdown(peer, SHUT_WR);
		int err = channel_read(c, &m);
		/* A length that became larger asks for more than there is. */
		cr_assert(err == -ERR_GARBLED ||
				  (err == -ERR_CLOSED && bit / 8 >= 8 && bit / 8 < 12),
			"bit %zu: %d", bit, err);
	}
}

Test(channel, an_unknown_type_is_garbled)
{
	for (unsigned type = 0; type < 256; type++) {
		struct channel_msg m;
		uint32_t min, max;

		if (msg_limits((uint8_t)type, &min, &max))
			continue;
		begin(ROLE_SERVER, SESSION_READY);
		wire_frame(&said, (uint8_t)type, ID, NULL, 0);
		say_all();
		cr_assert_eq(channel_read(c, &m), -ERR_GARBLED, "type %u", type);
	}
}

/* A header alone, whose checksum would be right: refused before the payload comes. */
Test(channel, a_length_is_refused_before_the_payload)
{
	for (unsigned type = 0; type < 256; type++) {
		uint32_t min, max;

		if (!msg_limits((uint8_t)type, &min, &max))
			continue;
		for (int too_long = 0; too_long < 2; too_long++) {
			struct channel_msg m;
			uint8_t header[FRAME_HEADER_LEN];

			if (!too_long && min == 0)
				continue;
			begin(ROLE_SERVER, SESSION_DATA);
			frame_encode(header, (uint8_t)type, ID, NULL, 0);
			uint32_t len = too_long ? max + 1 : min - 1;
			for (int i = 0; i < 4; i++)
				header[8 + i] = (uint8_t)(len >> (24 - 8 * i));
			wire_add(&said, header, sizeof(header));
			say_all();
			cr_assert_eq(channel_try_read(c, &m), -ERR_GARBLED, "%s",
				msg_name((uint8_t)type));
		}
	}
}

static int read_data_header(uint32_t len)
{
	uint8_t header[FRAME_HEADER_LEN];
	struct channel_msg m;

	begin(ROLE_SERVER, SESSION_DATA);
	frame_encode(header, MSG_DATA, ID, NULL, len);
	wire_add(&said, header, sizeof(header));
	say_all();
	return channel_try_read(c, &m);
}

Test(channel, data_larger_than_a_chunk_is_refused)
{
	cr_assert_eq(read_data_header(CHUNK), 0);
	cr_assert_eq(read_data_header(CHUNK + 1), -ERR_PROTOCOL);
	cr_assert_eq(read_data_header(CHUNK_SIZE_MAX), -ERR_PROTOCOL);
}

static const struct {
	enum role role;
	enum session_state state;
	uint8_t type;
	size_t len;
	const char *breach;
} breaches[] = {
	{ROLE_SERVER, SESSION_READY, MSG_END, 40, "END may not come in state ready"},
	{ROLE_SERVER, SESSION_FILE, MSG_FLUSH, 0, "FLUSH may not come in state file"},
	{ROLE_CLIENT, SESSION_READY, MSG_FLUSH, 0, "FLUSH may not come in state ready"},
	{ROLE_CLIENT, SESSION_PROOF, MSG_OK, 1, "OK may not come in state proof"},
};

Test(channel, what_the_table_does_not_have_is_refused)
{
	for (size_t i = 0; i < ARRAY_LEN(breaches); i++) {
		struct channel_msg m;

		begin(breaches[i].role, breaches[i].state);
		cr_assert_str_eq(channel_breach(c), "");
		wire_frame(
			&said, breaches[i].type, ID, (uint8_t[40]){0}, breaches[i].len);
		say_all();
		cr_assert_eq(channel_read(c, &m), -ERR_PROTOCOL, "row %zu", i);
		cr_assert_str_eq(channel_breach(c), breaches[i].breach);
	}
}

Test(channel, a_missing_right_does_not_end_it)
{
	struct channel_msg m;

	begin(ROLE_SERVER, SESSION_READY);
	compose_session();
	say_all();
	channel_session(c)->rights = RIGHT_READ;
	cr_assert_eq(channel_read(c, &m), -ERR_DENIED);
	cr_assert(m.type == MSG_ASK && m.id == 1 && m.len == 60);
	cr_assert_arr_eq(m.payload, said.bytes + FRAME_HEADER_LEN, m.len);
	cr_assert_eq(channel_read(c, &m), -ERR_DENIED);
	cr_assert(m.type == MSG_PUT && m.id == 2 && m.len == 50);
	cr_assert_eq(channel_drain(c), 0);
	cr_assert_eq(channel_read(c, &m), 0);
	cr_assert_eq(m.type, MSG_FLUSH);
}

/* -- Data ---------------------------------------------------------------- */

static void *say_chunk(void *arg)
{
	const struct wire *payload = arg;
	uint8_t header[FRAME_HEADER_LEN];

	frame_encode(header, MSG_DATA, ID, NULL, CHUNK_SIZE_MAX);
	int err = fd_write_full(peer, header, sizeof(header));
	for (size_t done = 0; err == 0 && done < CHUNK_SIZE_MAX; done += payload->len)
		err = fd_write_full(peer, payload->bytes, payload->len);
	shutdown(peer, SHUT_WR);
	return NULL;
}

/* Larger than any buffer. */
Test(channel, data_streams)
{
	static struct wire payload = {.len = sizeof(payload.bytes)};
	struct channel_msg m;
	const uint8_t *p;
	ssize_t n;

	for (size_t i = 0; i < payload.len; i++)
		payload.bytes[i] = (uint8_t)(i ^ i >> 8);
	begin(ROLE_SERVER, SESSION_DATA);
	channel_set_chunk_size(c, CHUNK_SIZE_MAX);
	pthread_t thread = pair_thread(say_chunk, &payload);
	cr_assert_eq(channel_read(c, &m), 0);
	cr_assert(m.type == MSG_DATA && m.id == ID && m.len == CHUNK_SIZE_MAX);
	size_t pos = 0;
	while ((n = channel_read_data(c, &p)) > 0)
		for (ssize_t i = 0; i < n; i++, pos++)
			cr_assert(
				p[i] == payload.bytes[pos % payload.len], "at %zu", pos);
	cr_assert_eq(n, 0);
	cr_assert_eq(pos, CHUNK_SIZE_MAX);
	cr_assert_eq(channel_read_data(c, &p), 0, "used up");
	cr_assert_eq(channel_read(c, &m), -ERR_CLOSED);
	pthread_join(thread, NULL);
}

static const struct {
	enum session_state from;
	uint8_t last;
} drains[] = {{SESSION_FILE, MSG_END}, {SESSION_FILE, MSG_ABORT}, {SESSION_DATA, MSG_END},
	{SESSION_DATA, MSG_ABORT}};

Test(channel, drains_to_the_end_of_the_file)
{
	uint8_t payload[3000] = {0};
	struct channel_msg m;

	for (size_t i = 0; i < ARRAY_LEN(drains); i++) {
		begin(ROLE_SERVER, drains[i].from);
		if (drains[i].from == SESSION_FILE)
			wire_frame(&said, MSG_FILE, ID, payload, 36);
		wire_frame(&said, MSG_DATA, ID, payload, 3000);
		wire_frame(&said, MSG_CHECK, ID, payload, 40);
		wire_note(&said, 1);
		wire_frame(&said, MSG_DATA, ID, payload, 1);
		if (drains[i].last == MSG_END)
			wire_frame(&said, MSG_END, ID, payload, 40);
		else
			wire_frame(&said, MSG_ABORT, ID, "\0\1\0\0", 4);
		wire_frame(&said, MSG_FLUSH, ID + 1, payload, 0);
		say_all();
		cr_assert_eq(channel_drain(c), 0, "row %zu", i);
		cr_assert_eq(channel_read(c, &m), 0);
		cr_assert(m.type == MSG_FLUSH && m.id == ID + 1, "row %zu", i);
		cr_assert_eq(channel_drain(c), 0, "nothing under way");
	}
}

/* -- Notes and faults ------------------------------------------------------ */

static const struct {
	uint64_t done[4]; /* FLUSH between the two halves */
	int want;
} notes[] = {
	{{0, 0, 0, 0}, 0},
	{{1, 2, 3, 4}, 0},
	{{5, 5, 0, 1}, 0}, /* the next piece of work begins at 0 again */
	{{UINT64_MAX, UINT64_MAX, 9, 9}, 0},
	{{2, 1, 0, 0}, -ERR_PROTOCOL},
	{{1, 2, 8, 7}, -ERR_PROTOCOL},
};

Test(channel, notes_are_taken_in)
{
	for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
		struct channel_msg m;

		begin(ROLE_SERVER, SESSION_READY);
		for (int j = 0; j < 4; j++) {
			wire_note(&said, notes[i].done[j]);
			if (j % 2)
				wire_frame(&said, MSG_FLUSH, ID, NULL, 0);
		}
		say_all();
		int err = channel_read(c, &m);
		if (err == 0 && m.type == MSG_FLUSH)
			err = channel_read(c, &m);
		cr_expect_eq(err, notes[i].want, "row %zu", i);
	}
}

Test(channel, a_note_alone_is_no_message)
{
	struct channel_msg m;

	begin(ROLE_SERVER, SESSION_READY);
	wire_note(&said, 3);
	say_all();
	cr_assert_eq(channel_try_read(c, &m), -ERR_AGAIN);
	cr_assert_not(channel_has_input(c));
}

static int call_read(void)
{
	struct channel_msg m;
	return channel_read(c, &m);
}

static int call_try_read(void)
{
	struct channel_msg m;
	return channel_try_read(c, &m);
}

static int call_send(void)
{
	return channel_send_empty(c, MSG_FLUSH, ID);
}

static int call_send_note(void)
{
	return channel_send_note(c, 1);
}

static int call_send_error(void)
{
	return channel_send_error(c, ID, ERR_IO, NULL);
}

static int call_send_data(void)
{
	return channel_reserve_data(c, 1) ? 0 : channel_error(c);
}

static int call_preface(void)
{
	int err = channel_send_preface(c);
	return err < 0 ? err : channel_read_preface(c);
}

static int call_flush(void)
{
	return channel_flush(c);
}

static int call_wait(void)
{
	return channel_wait(c, 0, -1);
}

static int call_poll(void)
{
	return channel_poll(c);
}

static int call_error(void)
{
	return channel_error(c);
}

static int (*const calls[])(void) = {call_read, call_try_read, call_send, call_send_note,
	call_send_error, call_send_data, call_preface, call_flush, call_wait, call_poll,
	call_error};

/* Whatever is asked of it, also with frames still unread. */
static void assert_ended(int want)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		cr_assert_eq(calls[i](), want, "call %zu", i);
}

Test(channel, an_error_about_the_connection_is_its_end)
{
	struct channel_msg m;

	begin(ROLE_CLIENT, SESSION_READY);
	wire_error(&said, 0, ERR_SHUTDOWN, "bye\x1b[31m\n", 9);
	wire_frame(&said, MSG_OK, ID, "\1", 1);
	wire_frame(&said, MSG_OK, ID, "\1", 1);
	say_all();
	cr_assert_str_eq(channel_fault(c), "");
	cr_assert_eq(channel_read(c, &m), -ERR_SHUTDOWN);
	cr_assert_str_eq(channel_fault(c), "bye\\x1b[31m\\n");
	assert_ended(-ERR_SHUTDOWN);
}

/* The end of a connection is never mistaken for the failure of one file. */
Test(channel, a_fault_is_about_the_connection)
{
	static const struct {
		int code, want;
	} faults[] = {
		{ERR_DENIED, -ERR_REFUSED},
		{ERR_NOT_FOUND, -ERR_CLOSED},
		{ERR_IO, -ERR_CLOSED},
		{ERR_TIMEOUT, -ERR_TIMEOUT},
		{ERR_VERSION, -ERR_VERSION},
	};
	struct channel_msg m;

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		begin(ROLE_CLIENT, SESSION_READY);
		wire_error(&said, 0, (uint16_t)faults[i].code, "bye", 3);
		say_all();
		cr_assert_eq(channel_read(c, &m), faults[i].want, "row %zu", i);
		assert_ended(faults[i].want);
	}
}

Test(channel, the_longest_fault_is_kept_whole)
{
	struct channel_msg m;
	char text[MSG_TEXT_MAX];

	memset(text, '\1', sizeof(text));
	begin(ROLE_CLIENT, SESSION_DATA);
	wire_error(&said, 0, ERR_BUSY, text, sizeof(text));
	say_all();
	cr_assert_eq(channel_read(c, &m), -ERR_BUSY);
	cr_assert_eq(strlen(channel_fault(c)), 4 * sizeof(text));
}

Test(channel, an_error_about_a_request_is_an_answer)
{
	struct channel_msg m;
	struct msg_error e;

	begin(ROLE_CLIENT, SESSION_READY);
	wire_error(&said, ID, ERR_NO_SPACE, "full", 4);
	say_all();
	cr_assert_eq(channel_read(c, &m), 0);
	cr_assert(m.type == MSG_ERROR && m.id == ID);
	cr_assert_eq(msg_error_decode(&e, m.payload, m.len), 0);
	cr_assert_eq(e.code, ERR_NO_SPACE);
	cr_assert_eq(channel_error(c), 0);
	cr_assert_str_eq(channel_fault(c), "");
}

Test(channel, a_closed_one_stays_closed)
{
	struct channel_msg m;

	begin(ROLE_SERVER, SESSION_READY);
	shutdown(peer, SHUT_WR);
	cr_assert_eq(channel_read(c, &m), -ERR_CLOSED);
	assert_ended(-ERR_CLOSED);
}

Test(channel, one_that_ends_within_data_stays_ended)
{
	begin(ROLE_SERVER, SESSION_DATA);
	wire_frame(&said, MSG_DATA, ID, (uint8_t[100]){0}, 100);
	say(0, said.len - 1);
	shutdown(peer, SHUT_WR);
	cr_assert_eq(take_down(), -ERR_CLOSED);
	assert_ended(-ERR_CLOSED);
	cr_assert_eq(channel_drain(c), -ERR_CLOSED);
}

/* -- Writing -------------------------------------------------------------- */

Test(channel, what_is_written_is_gathered)
{
	begin(ROLE_CLIENT, SESSION_READY);
	cr_assert_eq(channel_send_empty(c, MSG_FLUSH, 1), 0);
	cr_assert_eq(channel_send_error(c, 2, -ERR_IO, "it broke"), 0);
	uint8_t *data = channel_reserve_data(c, CHUNK);
	cr_assert_not_null(data);
	memcpy(data, "data", 4);
	cr_assert_eq(channel_commit_data(c, 3, 4), 0);
	hear();
	cr_assert_eq(heard.len, 0);

	cr_assert_eq(channel_send_note(c, 5), 0, "goes out at once, and all before it");
	hear();
	wire_frame(&said, MSG_FLUSH, 1, NULL, 0);
	wire_error(&said, 2, ERR_IO, "it broke", 8);
	wire_frame(&said, MSG_DATA, 3, "data", 4);
	wire_note(&said, 5);
	cr_assert_eq(heard.len, said.len);
	cr_assert_arr_eq(heard.bytes, said.bytes, said.len);
	cr_assert_eq(channel_counters(c).sent, said.len);
}

static void *swallow(void *arg)
{
	char bytes[4096];

	while (read(peer, bytes, sizeof(bytes)) > 0)
		;
	return arg;
}

Test(channel, a_full_buffer_goes_out_by_itself)
{
	begin(ROLE_CLIENT, SESSION_READY);
	channel_set_chunk_size(c, CHUNK_SIZE_MAX);
	pthread_t thread = pair_thread(swallow, NULL);
	for (int i = 0; i < 100; i++) {
		uint8_t *data = channel_reserve_data(c, 4000);
		cr_assert_not_null(data);
		memset(data, 1, 4000);
		cr_assert_eq(channel_commit_data(c, ID, 4000), 0);
	}
	cr_assert_gt(channel_counters(c).sent, 200000);
	cr_assert_lt(channel_counters(c).sent, 100 * (4000 + FRAME_HEADER_LEN));
	cr_assert_eq(channel_flush(c), 0);
	cr_assert_eq(channel_counters(c).sent, 100 * (4000 + FRAME_HEADER_LEN));
	shutdown(channel_fd(c), SHUT_RDWR);
	pthread_join(thread, NULL);
}

Test(channel, a_larger_chunk_has_room)
{
	begin(ROLE_CLIENT, SESSION_READY);
	cr_assert_eq(channel_send_empty(c, MSG_FLUSH, 1), 0);
	cr_assert_eq(channel_flush(c), 0);
	cr_assert_eq(channel_chunk_size(c), CHUNK);
	channel_set_chunk_size(c, CHUNK_SIZE_MAX);
	cr_assert_eq(channel_chunk_size(c), CHUNK_SIZE_MAX);
	uint8_t *data = channel_reserve_data(c, CHUNK_SIZE_MAX);
	cr_assert_not_null(data);
	memset(data, 1, CHUNK_SIZE_MAX);
}

/* One message does not fit; the connection is none the worse. */
Test(channel, a_message_that_does_not_fit_is_left_out)
{
	static char text[60000];
	struct wcur w;

	begin(ROLE_CLIENT, SESSION_READY);
	channel_begin(c, &w);
	wcur_bytes(&w, text, MSG_PAYLOAD_MAX + 1);
	cr_assert_eq(channel_end(c, &w, MSG_LIST, 1), -ERR_TOO_LARGE);
	cr_assert_eq(channel_error(c), 0);
	cr_assert_eq(channel_send_empty(c, MSG_FLUSH, 2), 0);
	cr_assert_eq(channel_flush(c), 0);
	hear();
	wire_frame(&said, MSG_FLUSH, 2, NULL, 0);
	cr_assert_eq(heard.len, said.len);
	cr_assert_arr_eq(heard.bytes, said.bytes, said.len);
}

static const struct {
	int code;
	const char *text;
	uint16_t want;
} errors[] = {
	{-ERR_NO_SPACE, "no room", ERR_NO_SPACE},
	{ERR_NO_SPACE, NULL, ERR_NO_SPACE},
	{-ERR_CLOSED, NULL, ERR_IO}, /* a code of this end says nothing over there */
	{ERR_USAGE, "", ERR_IO},
};

Test(channel, errors_travel)
{
	static char text[MSG_TEXT_MAX + 100];
	struct msg_error e;

	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		begin(ROLE_SERVER, SESSION_READY);
		cr_assert_eq(
			channel_send_error(c, ID, errors[i].code, errors[i].text), 0);
		cr_assert_eq(channel_flush(c), 0);
		hear();
		cr_assert_eq(msg_error_decode(&e, heard.bytes + FRAME_HEADER_LEN,
				     heard.len - FRAME_HEADER_LEN),
			0);
		cr_assert_eq(e.code, errors[i].want, "row %zu", i);
		cr_assert_eq(e.text.len == 0, errors[i].text && !*errors[i].text,
			"row %zu", i);
	}
	memset(text, 'x', sizeof(text) - 1);
	cr_assert_eq(channel_send_error(c, ID, ERR_IO, text), 0);
	cr_assert_eq(channel_flush(c), 0);
	hear();
	cr_assert_eq(msg_error_decode(&e, heard.bytes + FRAME_HEADER_LEN,
			     heard.len - FRAME_HEADER_LEN),
		0);
	cr_assert_eq(e.text.len, MSG_TEXT_MAX);
}

/* -- Buffers given back ------------------------------------------------------ */

Test(channel, relaxing_keeps_what_is_in_the_buffers)
{
	struct channel_msg m;

	begin(ROLE_SERVER, SESSION_READY);
	wire_frame(&said, MSG_FLUSH, 1, NULL, 0);
	wire_frame(&said, MSG_FLUSH, 2, NULL, 0);
	say_all();
	cr_assert_not(channel_has_input(c));
	cr_assert_eq(channel_read(c, &m), 0);
	cr_assert(channel_has_input(c));
	cr_assert_eq(channel_send_empty(c, MSG_FLUSH, 3), 0);
	channel_relax(c);
	cr_assert(channel_has_input(c));
	cr_assert_eq(channel_read(c, &m), 0);
	cr_assert(m.type == MSG_FLUSH && m.id == 2);
	cr_assert_eq(channel_flush(c), 0);
	hear();
	cr_assert_eq(heard.len, FRAME_HEADER_LEN);

	cr_assert_not(channel_has_input(c));
	channel_relax(c);
	channel_relax(c);
	say_all();
	cr_assert_eq(channel_read(c, &m), 0);
	cr_assert_eq(m.id, 1);
	cr_assert_eq(channel_send_empty(c, MSG_FLUSH, 4), 0);
	cr_assert_eq(channel_flush(c), 0);
}
