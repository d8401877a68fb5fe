/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a channel waits for, and what ends the waiting.  Each time is a lower bound that
 * the channel must keep, or an upper one that is far above what it needs. */
#include "transfer/channel.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "os/clock.h"
#include "os/fd.h"
#include "pair.h"

#define CHUNK   (64u << 10)
#define ID      7u
#define LONG_MS 20000

static struct channel *c;
static int peer = -1, stop = -1, stopper = -1;
static struct wire said;
static int64_t started_ms;

static struct channel_limits usual = {
	.chunk_size = CHUNK, .timeout_ms = LONG_MS, .stop_fd = -1};

static void finish(void)
{
	channel_free(c);
	c = NULL;
	fd_close(fd_take(&peer));
	fd_close(fd_take(&stop));
	fd_close(fd_take(&stopper));
}

TestSuite(channel_wait, .fini = finish, .timeout = 120);

static void begin_on(const int fds[2], enum role role, enum session_state state)
{
	int stops[2];

	finish();
	cr_assert_eq(pipe2(stops, O_CLOEXEC), 0);
	stop = stops[0];
	stopper = stops[1];
	usual.stop_fd = stop;
	peer = fds[1];
	c = pair_channel(fds[0], role, state, ID, &usual);
	said.len = 0;
	started_ms = clock_now_ms();
}

static void begin(enum role role, enum session_state state)
{
	int fds[2];

	pair_local(fds);
	begin_on(fds, role, state);
}

static void say_all(void)
{
	cr_assert_eq(fd_write_full(peer, said.bytes, said.len), 0);
}

static void request_stop(void)
{
	cr_assert_eq(write(stopper, "", 1), 1);
}

static int64_t elapsed_ms(void)
{
	return clock_now_ms() - started_ms;
}

static void pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

/* More than the kernel holds: TOTAL bytes, in chunks. */
static int send_data(uint64_t total)
{
	for (uint64_t done = 0; done < total; done += CHUNK) {
		uint8_t *data = channel_reserve_data(c, CHUNK);
		if (!data)
			return channel_error(c);
		memset(data, 'd', CHUNK);
		int err = channel_commit_data(c, ID, CHUNK);
		if (err < 0)
			return err;
	}
	return channel_flush(c);
}

#define MUCH (16u << 20)

static int write_much(void)
{
	return send_data(MUCH);
}

static int read_one(void)
{
	struct channel_msg m;
	return channel_read(c, &m);
}

/* The header of a FLUSH at one byte a second. */
static int write_throttled(void)
{
	channel_set_rate(c, 1);
	int err = channel_send_empty(c, MSG_FLUSH, ID);
	return err < 0 ? err : channel_flush(c);
}

static int (*const waits[])(void) = {read_one, write_much, write_throttled};

/* -- The ends of a wait ----------------------------------------------------- */

Test(channel_wait, silence_is_a_timeout)
{
	for (size_t i = 0; i < 2; i++) {
		begin(ROLE_SERVER, SESSION_READY);
		channel_set_timeout(c, 150);
		cr_assert_eq(waits[i](), -ERR_TIMEOUT, "wait %zu", i);
		cr_assert(elapsed_ms() >= 150 && elapsed_ms() < LONG_MS / 2);
		wire_frame(&said, MSG_FLUSH, ID, NULL, 0);
		say_all();
		cr_assert_eq(read_one(), -ERR_TIMEOUT, "too late");
	}
}

Test(channel_wait, a_deadline_holds_everywhere)
{
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		begin(ROLE_SERVER, SESSION_READY);
		channel_set_deadline(c, started_ms + 150);
		cr_assert_eq(waits[i](), -ERR_TIMEOUT, "wait %zu", i);
		cr_assert(
			elapsed_ms() >= 150 && elapsed_ms() < LONG_MS / 2, "wait %zu", i);
	}
}

Test(channel_wait, a_deadline_can_be_taken_away)
{
	begin(ROLE_SERVER, SESSION_READY);
	channel_set_deadline(c, started_ms - 1);
	channel_set_deadline(c, -1);
	wire_frame(&said, MSG_FLUSH, ID, NULL, 0);
	say_all();
	cr_assert_eq(read_one(), 0);
}

Test(channel_wait, a_stop_interrupts_every_wait)
{
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		begin(ROLE_SERVER, SESSION_READY);
		request_stop();
		cr_assert_eq(waits[i](), -ERR_INTERRUPTED, "wait %zu", i);
		cr_assert_lt(elapsed_ms(), LONG_MS / 2, "wait %zu", i);
	}
}

static void *stop_later(void *arg)
{
	pause_ms(100);
	return write(stopper, "", 1) == 1 ? NULL : arg;
}

Test(channel_wait, a_stop_comes_in_the_middle)
{
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		begin(ROLE_SERVER, SESSION_READY);
		pthread_t thread = pair_thread(stop_later, NULL);
		cr_assert_eq(waits[i](), -ERR_INTERRUPTED, "wait %zu", i);
		cr_assert_geq(elapsed_ms(), 100);
		pthread_join(thread, NULL);
	}
}

#define NOTE_LEN (FRAME_HEADER_LEN + 8)

/* -- A peer that sends little ------------------------------------------------ */

struct dribble {
	int count; /* of pieces, one by one */
	int pause_ms;
	size_t more; /* bytes in a piece beyond the first */
};

static void *dribble_out(void *arg)
{
	const struct dribble *d = arg;

	for (int i = 0; i < d->count; i++) {
		size_t len = 1 + d->more;
		if (send(peer, said.bytes + (size_t)i * len, len, MSG_NOSIGNAL) !=
			(ssize_t)len)
			return NULL;
		pause_ms(d->pause_ms);
	}
	shutdown(peer, SHUT_WR);
	return NULL;
}

/* Reads what dribbles in to the end. */
static int read_dribble(struct dribble d)
{
	pthread_t thread = pair_thread(dribble_out, &d);
	struct channel_msg m;
	const uint8_t *p;
	ssize_t n;

	int err = channel_read(c, &m);
	if (err == 0 && m.type == MSG_DATA)
		while ((n = channel_read_data(c, &p)) != 0)
			if (n < 0) {
				err = (int)n;
				break;
			}
	shutdown(channel_fd(c), SHUT_RDWR);
	pthread_join(thread, NULL);
	return err;
}

static void say_data(void)
{
	static const uint8_t zeros[1000];

	wire_frame(&said, MSG_DATA, ID, zeros, sizeof(zeros));
}

Test(channel_wait, progress_puts_the_timeout_off)
{
	begin(ROLE_SERVER, SESSION_READY);
	channel_set_timeout(c, 1000);
	wire_frame(&said, MSG_FLUSH, ID, NULL, 0);
	cr_assert_eq(read_dribble((struct dribble){FRAME_HEADER_LEN, 100, 0}), 0);
	cr_assert_geq(elapsed_ms(), 1500);
}

Test(channel_wait, progress_does_not_put_the_deadline_off)
{
	begin(ROLE_SERVER, SESSION_READY);
	channel_set_deadline(c, started_ms + 300);
	wire_frame(&said, MSG_FLUSH, ID, NULL, 0);
	cr_assert_eq(
		read_dribble((struct dribble){FRAME_HEADER_LEN, 100, 0}), -ERR_TIMEOUT);
	cr_assert_geq(elapsed_ms(), 300);
}

static int read_starving(enum session_state state, uint32_t min_rate, struct dribble d)
{
	int fds[2];

	pair_local(fds);
	usual.min_rate = min_rate;
	usual.timeout_ms = 1000;
	begin_on(fds, ROLE_SERVER, state);
	if (state == SESSION_DATA)
		say_data();
	else
		wire_frame(&said, MSG_PUT, ID, (uint8_t[60]){0}, 60);
	return read_dribble(d);
}

static const struct dribble slow = {30, 50, 0};

Test(channel_wait, a_dribble_of_data_is_a_timeout)
{
	cr_assert_eq(read_starving(SESSION_DATA, 1000, slow), -ERR_TIMEOUT);
	cr_assert(elapsed_ms() >= 1000 && elapsed_ms() < 2000 + LONG_MS / 2);
}

Test(channel_wait, without_a_minimum_it_goes_on)
{
	cr_assert_eq(read_starving(SESSION_DATA, 0, slow), -ERR_CLOSED);
}

Test(channel_wait, a_trickle_above_the_minimum_goes_on)
{
	cr_assert_eq(read_starving(SESSION_DATA, 2, slow), -ERR_CLOSED);
}

Test(channel_wait, half_a_request_has_a_minimum_too)
{
	cr_assert_eq(read_starving(SESSION_READY, 1000, slow), -ERR_TIMEOUT);
}

/* What is between requests may take its time. */
Test(channel_wait, whole_frames_have_none)
{
	int fds[2];

	pair_local(fds);
	usual.min_rate = 100000;
	usual.timeout_ms = 1000;
	begin_on(fds, ROLE_SERVER, SESSION_READY);
	for (unsigned i = 0; i < 60; i++)
		wire_note(&said, i);
	cr_assert_eq(read_dribble((struct dribble){60, 50, NOTE_LEN - 1}), -ERR_CLOSED);
}

static int read_notes(struct dribble d)
{
	usual.timeout_ms = 100;
	begin(ROLE_CLIENT, SESSION_READY);
	for (int i = 0; i < d.count; i++)
		wire_note(&said, (uint64_t)i);
	return read_dribble(d);
}

Test(channel_wait, notes_prove_life_for_ten_timeouts)
{
	cr_assert_eq(read_notes((struct dribble){60, 40, NOTE_LEN - 1}), -ERR_TIMEOUT);
	cr_assert(elapsed_ms() >= 1000 && elapsed_ms() < 2000 + LONG_MS / 2);
}

Test(channel_wait, notes_prove_life_for_longer_when_there_is_work)
{
	usual.timeout_ms = 100;
	begin(ROLE_CLIENT, SESSION_READY);
	channel_expect_work(c, 2 << 20); /* two seconds more */
	for (unsigned i = 0; i < 40; i++)
		wire_note(&said, i);
	cr_assert_eq(read_dribble((struct dribble){40, 40, NOTE_LEN - 1}), -ERR_CLOSED);
}

Test(channel_wait, a_flood_of_notes_is_a_breach)
{
	cr_assert_eq(read_notes((struct dribble){200, 0, NOTE_LEN - 1}), -ERR_PROTOCOL);
}

static void *sip(void *arg)
{
	char bytes[16 << 10];

	while (recv(peer, bytes, sizeof(bytes), 0) > 0)
		pause_ms(100);
	return arg;
}

Test(channel_wait, a_reader_that_sips_is_a_timeout)
{
	usual.min_rate = 4 << 20;
	usual.timeout_ms = 1000;
	begin(ROLE_SERVER, SESSION_READY);
	pthread_t thread = pair_thread(sip, NULL);
	cr_assert_eq(write_much(), -ERR_TIMEOUT);
	shutdown(channel_fd(c), SHUT_RDWR);
	pthread_join(thread, NULL);
}

/* -- Connections that never wait -------------------------------------------- */

static void *flood(void *arg)
{
	(void)arg;
	while (send(peer, said.bytes, said.len, MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

Test(channel_wait, a_flood_can_be_stopped)
{
	struct channel_msg m;
	const uint8_t *p;
	int err = 0;

	begin(ROLE_SERVER, SESSION_DATA);
	static const uint8_t zeros[CHUNK];
	wire_frame(&said, MSG_DATA, ID, zeros, CHUNK);
	pthread_t thread = pair_thread(flood, NULL);
	request_stop();
	while (err == 0) {
		err = channel_read(c, &m);
		while (err == 0 && (err = (int)channel_read_data(c, &p)) > 0)
			err = 0;
	}
	shutdown(channel_fd(c), SHUT_RDWR);
	pthread_join(thread, NULL);
	cr_assert_eq(err, -ERR_INTERRUPTED);
	cr_assert_lt(channel_counters(c).received, 8u << 20);
}

static void *swallow(void *arg)
{
	static char bytes[CHUNK];

	while (recv(peer, bytes, sizeof(bytes), 0) > 0)
		;
	return arg;
}

Test(channel_wait, a_stream_can_be_stopped)
{
	begin(ROLE_SERVER, SESSION_READY);
	pthread_t thread = pair_thread(swallow, NULL);
	request_stop();
	cr_assert_eq(send_data(64u << 20), -ERR_INTERRUPTED);
	cr_assert_lt(channel_counters(c).sent, 8u << 20);
	shutdown(channel_fd(c), SHUT_RDWR);
	pthread_join(thread, NULL);
}

/* -- channel_wait ------------------------------------------------------------ */

Test(channel_wait, waits_until_the_peer_speaks)
{
	begin(ROLE_SERVER, SESSION_READY);
	cr_assert_eq(channel_wait(c, 100, stop), -ERR_TIMEOUT);
	cr_assert_geq(elapsed_ms(), 100);
	cr_assert_eq(channel_wait(c, 0, -1), -ERR_TIMEOUT);
	wire_frame(&said, MSG_FLUSH, 1, NULL, 0);
	wire_frame(&said, MSG_FLUSH, 2, NULL, 0);
	pthread_t thread = pair_thread(dribble_out, &(struct dribble){32, 1, 0});
	cr_assert_eq(channel_wait(c, -1, stop), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(read_one(), 0);
	request_stop();
	cr_assert_eq(channel_wait(c, -1, stop), 0, "what is buffered comes first");
	cr_assert_eq(read_one(), 0);
	cr_assert_eq(
		channel_wait(c, -1, -1), 0, "the end of the connection is something");
	cr_assert_eq(read_one(), -ERR_CLOSED);
}

Test(channel_wait, waits_no_longer_than_told)
{
	begin(ROLE_SERVER, SESSION_READY);
	channel_set_deadline(c, started_ms + 100);
	cr_assert_eq(channel_wait(c, -1, stop), -ERR_TIMEOUT);
	channel_set_deadline(c, -1);
	request_stop();
	cr_assert_eq(channel_wait(c, -1, stop), -ERR_INTERRUPTED);
	cr_assert_eq(channel_wait(c, 0, -1), -ERR_TIMEOUT, "another descriptor, or none");
	cr_assert_eq(channel_error(c), 0, "it goes on after either");
}

Test(channel_wait, what_was_written_goes_out_before_a_wait)
{
	char bytes[2 * FRAME_HEADER_LEN];

	begin(ROLE_CLIENT, SESSION_READY);
	cr_assert_eq(channel_send_empty(c, MSG_FLUSH, 1), 0);
	cr_assert_eq(channel_wait(c, 0, -1), -ERR_TIMEOUT);
	cr_assert_eq(recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT), FRAME_HEADER_LEN);
	cr_assert_eq(channel_send_empty(c, MSG_FLUSH, 2), 0);
	channel_set_timeout(c, 50);
	cr_assert_eq(read_one(), -ERR_TIMEOUT);
	cr_assert_eq(recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT), FRAME_HEADER_LEN);
}

/* -- Both sides write --------------------------------------------------------- */

#define BACKLOG (100u << 10) /* within what a channel takes in while it writes */

struct side {
	struct channel *channel; /* borrowed */
	int result;
	uint64_t data; /* bytes read */
};

static int write_then_read(struct side *s)
{
	for (size_t done = 0; done < BACKLOG; done += 1000) {
		uint8_t *data = channel_reserve_data(s->channel, 1000);
		if (!data)
			return channel_error(s->channel);
		memset(data, 1, 1000);
		int err = channel_commit_data(s->channel, ID, 1000);
		if (err == 0 && done % 5000 == 0)
			err = channel_flush(s->channel);
		if (err < 0)
			return err;
	}
	while (s->data < BACKLOG) {
		struct channel_msg m;
		const uint8_t *p;
		ssize_t n;
		int err = channel_read(s->channel, &m);
		if (err < 0)
			return err;
		while ((n = channel_read_data(s->channel, &p)) > 0)
			s->data += (uint64_t)n;
		if (n < 0)
			return (int)n;
	}
	return channel_flush(s->channel);
}

static void *run_side(void *arg)
{
	struct side *s = arg;

	s->result = write_then_read(s);
	return NULL;
}

/* The kernel holds a few KiB: without taking in what the other one says, both wait. */
Test(channel_wait, two_that_write_do_not_wait_for_each_other)
{
	int fds[2], least = 1;

	pair_local(fds);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(
			setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)),
			0);
	struct side a = {
		pair_channel(fds[0], ROLE_CLIENT, SESSION_DATA, ID, &usual), 1, 0};
	struct side b = {
		pair_channel(fds[1], ROLE_SERVER, SESSION_DATA, ID, &usual), 1, 0};
	pthread_t thread = pair_thread(run_side, &a);
	run_side(&b);
	pthread_join(thread, NULL);
	cr_assert_eq(a.result, 0, "%d", a.result);
	cr_assert_eq(b.result, 0, "%d", b.result);
	cr_assert(a.data >= BACKLOG && b.data >= BACKLOG);
	channel_free(a.channel);
	channel_free(b.channel);
}

/* Speaks when the other end is writing, and listens when that was taken in. */
static void *speak_then_listen(void *arg)
{
	char bytes[4096];
	int unread = 1;

	if (recv(peer, bytes, 1, 0) != 1 || fd_write_full(peer, said.bytes, said.len) < 0)
		return arg;
	for (int64_t end = clock_now_ms() + LONG_MS; unread > 0 && clock_now_ms() < end;)
		if (ioctl(peer, SIOCOUTQ, &unread) < 0)
			return arg;
	while (recv(peer, bytes, sizeof(bytes), 0) > 0)
		;
	return arg;
}

/* A read that had to write first looks at what came meanwhile. */
Test(channel_wait, what_came_while_writing_is_not_waited_for)
{
	int least = 1;

	begin(ROLE_SERVER, SESSION_READY);
	cr_assert_eq(
		setsockopt(channel_fd(c), SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)),
		0);
	wire_frame(&said, MSG_FLUSH, 1, NULL, 0);
	uint8_t *data = channel_reserve_data(c, CHUNK);
	cr_assert_not_null(data);
	memset(data, 1, CHUNK);
	cr_assert_eq(channel_commit_data(c, ID, CHUNK), 0);
	pthread_t thread = pair_thread(speak_then_listen, NULL);
	int err = read_one();
	shutdown(channel_fd(c), SHUT_RDWR);
	pthread_join(thread, NULL);
	cr_assert_eq(err, 0, "%d", err);
	cr_assert_lt(elapsed_ms(), LONG_MS / 2);
}

#define REQUESTS 6000

/* Answers each request with much more than it was. */
static void *answer_all(void *arg)
{
	struct side *s = arg;
	uint8_t entry[2000] = {0};

	for (int i = 0; i < REQUESTS && s->result == 0; i++) {
		struct channel_msg m;
		struct wcur w;
		s->result = channel_read(s->channel, &m);
		channel_begin(s->channel, &w);
		wcur_bytes(&w, entry, sizeof(entry));
		if (s->result == 0)
			s->result = channel_end(s->channel, &w, MSG_ENTRY, m.id);
	}
	if (s->result == 0)
		s->result = channel_flush(s->channel);
	return NULL;
}

struct answers {
	uint32_t count;
	int depth;
	bool again; /* called while it was being called */
};

static int take_answers(void *ctx)
{
	struct answers *a = ctx;
	int err = 0;

	a->again = a->again || a->depth++ > 0;
	while (err == 0) {
		struct channel_msg m;
		err = channel_try_read(c, &m);
		if (err == 0 && m.id != ++a->count)
			err = -ERR_PROTOCOL;
	}
	a->depth--;
	return err == -ERR_AGAIN ? 0 : err;
}

static int send_requests(void)
{
	uint8_t path[200] = {0};
	int err = 0;

	for (uint32_t id = 1; err == 0 && id <= REQUESTS; id++) {
		struct wcur w;
		channel_begin(c, &w);
		wcur_bytes(&w, path, sizeof(path));
		err = channel_end(c, &w, MSG_LIST, id);
	}
	return err < 0 ? err : channel_flush(c);
}

/* 12 MB of answers while the requests are still being written. */
Test(channel_wait, answers_are_read_while_requests_are_written)
{
	struct answers answers = {0};
	int fds[2];

	pair_local(fds);
	begin_on((int[2]){fds[0], dup(fds[1])}, ROLE_CLIENT, SESSION_READY);
	struct side server = {
		pair_channel(fds[1], ROLE_SERVER, SESSION_READY, 0, &usual), 0, 0};
	channel_on_readable(c, take_answers, &answers);
	pthread_t thread = pair_thread(answer_all, &server);
	int err = send_requests();
	uint32_t meanwhile = answers.count;
	while (err == 0 && answers.count < REQUESTS) {
		err = channel_wait(c, LONG_MS, -1);
		if (err == 0)
			err = channel_poll(c);
	}
	pthread_join(thread, NULL);
	cr_assert_eq(err, 0, "%d", err);
	cr_assert_eq(server.result, 0, "%d", server.result);
	cr_assert_gt(meanwhile, 0);
	cr_assert_eq(answers.count, REQUESTS);
	cr_assert_not(answers.again);
	channel_free(server.channel);
}

/* -- The readable hook --------------------------------------------------------- */

static int count_call(void *ctx)
{
	int *calls = ctx;

	++*calls;
	return 0;
}

static int refuse(void *ctx)
{
	(void)ctx;
	return -ERR_TAKEN_OVER;
}

Test(channel_wait, the_hook_is_called_when_there_is_something)
{
	int calls = 0;

	begin(ROLE_CLIENT, SESSION_READY);
	wire_frame(&said, MSG_OK, 1, "\1", 1);
	wire_frame(&said, MSG_OK, 2, "\1", 1);
	cr_assert_eq(channel_poll(c), 0, "no hook");
	channel_on_readable(c, count_call, &calls);
	cr_assert_eq(channel_poll(c), 0);
	cr_assert_eq(calls, 0);
	say_all();
	cr_assert_eq(channel_poll(c), 0);
	cr_assert_eq(calls, 1);
	cr_assert_eq(read_one(), 0);
	cr_assert_eq(channel_poll(c), 0);
	cr_assert_eq(calls, 2, "the second is in the buffer");
	cr_assert_eq(read_one(), 0);
	cr_assert_eq(channel_poll(c), 0);
	cr_assert_eq(calls, 2);
}

Test(channel_wait, what_the_hook_says_ends_the_write)
{
	begin(ROLE_CLIENT, SESSION_READY);
	wire_frame(&said, MSG_OK, 1, "\1", 1);
	say_all();
	channel_on_readable(c, refuse, NULL);
	cr_assert_eq(channel_poll(c), -ERR_TAKEN_OVER);
	cr_assert_eq(write_much(), -ERR_TAKEN_OVER);
}

/* -- Last words ---------------------------------------------------------------- */

enum leaving { LEAVE_CLOSE, LEAVE_HALF, LEAVE_RESET };

struct leaver {
	enum leaving how;
	bool late; /* after we had to wait */
};

static void *say_and_leave(void *arg)
{
	const struct leaver *l = arg;
	char byte;

	/* The first byte has come and what follows does not fit: we wait by then, or
	 * soon. */
	if (l->late && recv(peer, &byte, 1, 0) == 1)
		pause_ms(50);
	if (fd_write_full(peer, said.bytes, said.len) < 0)
		return NULL;
	if (l->how == LEAVE_HALF)
		shutdown(peer, SHUT_WR);
	else
		fd_close(fd_take(&peer)); /* unread input makes TCP say RST */
	return NULL;
}

static int take_ok(void *ctx)
{
	struct channel_msg m;
	int err;

	(void)ctx;
	while ((err = channel_try_read(c, &m)) == 0)
		;
	return err == -ERR_AGAIN ? 0 : err;
}

static const struct leaver leavers[] = {
	{LEAVE_CLOSE, false},
	{LEAVE_CLOSE, true},
	{LEAVE_HALF, false},
	{LEAVE_HALF, true},
};

static void assert_last_words(bool tcp, bool hook, const struct leaver *l)
{
	int fds[2];

	(tcp ? pair_tcp : pair_local)(fds);
	begin_on(fds, ROLE_CLIENT, SESSION_READY);
	if (hook)
		channel_on_readable(c, take_ok, NULL);
	wire_frame(&said, MSG_OK, 1, "\1", 1);
	wire_error(&said, 0, ERR_SHUTDOWN, "gone\n", 5);
	pthread_t thread = pair_thread(say_and_leave, (void *)(uintptr_t)l);
	int err = write_much();
	pthread_join(thread, NULL);
	cr_assert_eq(err, -ERR_SHUTDOWN, "tcp %d, hook %d, how %d, late %d: %d", tcp,
		hook, l->how, l->late, err);
	cr_assert_str_eq(channel_fault(c), "gone\\n");
	cr_assert_eq(read_one(), -ERR_SHUTDOWN);
	cr_assert_lt(elapsed_ms(), LONG_MS / 2);
}

Test(channel_wait, the_last_words_of_a_peer_are_heard)
{
	for (size_t i = 0; i < ARRAY_LEN(leavers); i++)
		for (int tcp = 0; tcp < 2; tcp++)
			for (int hook = 0; hook < 2; hook++)
				assert_last_words(tcp, hook, &leavers[i]);
}

Test(channel_wait, a_peer_that_leaves_without_a_word_has_closed)
{
	begin(ROLE_CLIENT, SESSION_READY);
	fd_close(fd_take(&peer));
	cr_assert_eq(write_much(), -ERR_CLOSED);
	cr_assert_str_eq(channel_fault(c), "");
}

/* -- Rate ------------------------------------------------------------------------ */

#define RATE  (400u << 10)
#define BULK  (160u << 10)
#define BURST (RATE / 10)

struct collector {
	size_t len;
	uint8_t bytes[2 * BULK];
};

static void *collect(void *arg)
{
	struct collector *k = arg;
	ssize_t n;

	while ((n = recv(peer, k->bytes + k->len, sizeof(k->bytes) - k->len, 0)) > 0)
		k->len += (size_t)n;
	return NULL;
}

static uint8_t bulk_byte(size_t pos)
{
	return (uint8_t)(pos * 2654435761u >> 13);
}

Test(channel_wait, the_rate_limit_sends_every_byte)
{
	static struct collector k;
	size_t pos = 0;

	begin(ROLE_CLIENT, SESSION_READY);
	channel_set_rate(c, RATE);
	pthread_t thread = pair_thread(collect, &k);
	for (int i = 0; i < 10; i++) {
		uint8_t *data = channel_reserve_data(c, BULK / 10);
		cr_assert_not_null(data);
		for (size_t j = 0; j < BULK / 10; j++)
			data[j] = bulk_byte(pos++);
		cr_assert_eq(channel_commit_data(c, ID, BULK / 10), 0);
	}
	cr_assert_eq(channel_flush(c), 0);
	int64_t took_ms = elapsed_ms();
	shutdown(channel_fd(c), SHUT_WR);
	pthread_join(thread, NULL);
	cr_assert_geq(took_ms, (BULK - BURST) * 1000 / RATE);
	size_t frame = FRAME_HEADER_LEN + BULK / 10;
	cr_assert_eq(k.len, 10 * frame);
	for (size_t i = 0; i < BULK; i++)
		cr_assert(k.bytes[i / (BULK / 10) * frame + FRAME_HEADER_LEN +
				  i % (BULK / 10)] == bulk_byte(i),
			"at %zu", i);
}

static void *say_bulk(void *arg)
{
	static uint8_t bytes[BULK];

	for (size_t i = 0; i < BULK; i++)
		bytes[i] = bulk_byte(i);
	for (size_t i = 0; i < 4; i++) {
		uint8_t header[FRAME_HEADER_LEN];
		frame_encode(header, MSG_DATA, ID, NULL, BULK / 4);
		if (fd_write_full(peer, header, sizeof(header)) < 0 ||
			fd_write_full(peer, bytes + i * (BULK / 4), BULK / 4) < 0)
			return arg;
	}
	return NULL;
}

Test(channel_wait, the_rate_limit_receives_every_byte)
{
	size_t pos = 0;

	begin(ROLE_SERVER, SESSION_DATA);
	channel_set_rate(c, RATE);
	pthread_t thread = pair_thread(say_bulk, NULL);
	while (pos < BULK) {
		struct channel_msg m;
		const uint8_t *p;
		ssize_t n;
		cr_assert_eq(channel_read(c, &m), 0);
		while ((n = channel_read_data(c, &p)) > 0)
			for (ssize_t i = 0; i < n; i++, pos++)
				cr_assert(p[i] == bulk_byte(pos), "at %zu", pos);
		cr_assert_eq(n, 0);
	}
	pthread_join(thread, NULL);
	cr_assert_geq(elapsed_ms(), (BULK - BURST) * 1000 / RATE);
}
