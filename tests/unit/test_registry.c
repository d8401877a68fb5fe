/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/registry.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/err.h"
#include "capture.h"
#include "daemon/clients_file.h"
#include "daemon/config.h"
#include "os/store.h"
#include "scratch.h"

static struct scratch dir;
static struct config config; /* of the running daemon */
static struct registry *registry;

static void setup(void)
{
	scratch_init(&dir);
	cr_assert_eq(fchmod(dir.fd, 0700), 0);
	cr_assert_eq(registry_new(&registry, dir.fd, &config), 0);
}

static void teardown(void)
{
	registry_free(registry);
	scratch_fini(&dir);
}

TestSuite(registry, .init = setup, .fini = teardown, .timeout = 60);

static const uint8_t *fp_of(uint8_t fill)
{
	static _Thread_local uint8_t fp[FINGERPRINT_LEN];

	memset(fp, fill, sizeof(fp));
	return fp;
}

/* FILL 0: without a fingerprint. */
static struct client *client_make(const char *name, uint8_t fill, uint32_t rights)
{
	struct client *c;
	const char *why;

	cr_assert_eq(client_new(&c, name, &why), 0);
	memset(c->fingerprint, fill, FINGERPRINT_LEN);
	c->has_fingerprint = fill != 0;
	c->rights = rights;
	return c;
}

/* What another process would do: changes the file under the lock. */
static void file_change(const struct clients_entry *set, const char *revoke)
{
	struct clients_file f = {0};
	struct ini_error error;
	int lock = store_lock(dir.fd);

	cr_assert_geq(lock, 0);
	cr_assert_eq(clients_file_read(&f, dir.fd, &error), 0, "%s", error.why);
	if (set)
		cr_assert_eq(clients_file_set(&f, set), 0);
	if (revoke)
		clients_file_remove(&f, clients_file_find(&f, revoke));
	cr_assert_eq(
		clients_file_write(&f, dir.fd, time(NULL), &error), 0, "%s", error.why);
	clients_file_fini(&f);
	close(lock);
}

static void authorize(const char *name, uint8_t fill, uint32_t rights)
{
	struct clients_entry e = {.client = client_make(name, fill, rights)};

	file_change(&e, NULL);
}

static void invite(const char *name, uint8_t secret_fill, int expires_in)
{
	struct clients_entry e = {.client = client_make(name, 0, RIGHT_READ),
		.is_invite = true,
		.expires_sec = time(NULL) + expires_in};
	uint8_t secret[SECRET_LEN];

	memset(secret, secret_fill, sizeof(secret));
	cr_assert_eq(secret_hash(secret, e.secret_hash), 0);
	file_change(&e, NULL);
}

static int join(struct registry *r, uint8_t secret_fill, uint8_t fill, char *name_out)
{
	uint8_t secret[SECRET_LEN];

	memset(secret, secret_fill, sizeof(secret));
	return registry_join(r, secret, fp_of(fill), name_out);
}

/* Whether FILL is known, and as NAME when that is not NULL. */
static bool knows(uint8_t fill, const char *name)
{
	struct client *c = registry_find(registry, fp_of(fill));
	bool known = c && (!name || strcmp(c->name, name) == 0);

	client_put(c);
	return known;
}

static void file_write_raw(const char *text)
{
	cr_assert_eq(store_write(dir.fd, CLIENTS_FILE_NAME, text, strlen(text)), 0);
}

Test(registry, a_change_of_the_file_counts_at_once)
{
	uint64_t version = registry_version(registry), next;

	cr_assert_not(knows(1, NULL));
	authorize("bob", 1, RIGHT_READ);
	cr_assert(knows(1, "bob"));
	next = registry_version(registry);
	cr_assert_neq(next, version);
	cr_assert_eq(registry_version(registry), next, "nothing has changed since");
	authorize("carol", 2, RIGHT_READ);
	cr_assert(knows(1, "bob") && knows(2, "carol"));
	file_change(NULL, "bob");
	cr_assert(!knows(1, NULL) && knows(2, "carol"));
	cr_assert_neq(registry_version(registry), next);
	cr_assert_eq(unlinkat(dir.fd, CLIENTS_FILE_NAME, 0), 0);
	cr_assert_not(knows(2, NULL), "without a file there is nobody");
}

/* The same size, in the same place, within one tick of the file system's clock. */
Test(registry, quick_changes_are_seen)
{
	for (int i = 0; i < 300; i++) {
		uint8_t fill = (uint8_t)(1 + i % 2);
		authorize("bob", fill, RIGHT_READ);
		cr_assert(knows(fill, "bob"), "change %d", i);
		cr_assert_not(knows((uint8_t)(3 - fill), NULL), "change %d", i);
	}
	static const char *const texts[] = {
		"[client bob]\nfingerprint = "
		"SHA256:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n",
		"[client bob]\nfingerprint = "
		"SHA256:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI\n"};
	int fd = openat(dir.fd, CLIENTS_FILE_NAME, O_WRONLY);
	cr_assert_geq(fd, 0);
	for (int i = 0; i < 300; i++) {
		cr_assert_eq(ftruncate(fd, (off_t)strlen(texts[0])), 0);
		cr_assert_eq(pwrite(fd, texts[i % 2], strlen(texts[0]), 0),
			(ssize_t)strlen(texts[0]));
		cr_assert(knows((uint8_t)(1 + i % 2), "bob"), "change %d in place", i);
	}
	close(fd);
}

Test(registry, what_a_client_may_do_is_told)
{
	authorize("bob", 1, RIGHT_READ | RIGHT_DELETE);
	struct client *before = registry_find(registry, fp_of(1));
	cr_assert_eq(before->rights, RIGHT_READ | RIGHT_DELETE);
	authorize("bob", 1, RIGHT_LIST);
	struct client *after = registry_find(registry, fp_of(1));
	cr_assert_eq(after->rights, RIGHT_LIST);
	cr_assert_not(client_is_equal(before, after));
	cr_assert_eq(before->rights, RIGHT_READ | RIGHT_DELETE, "frozen");
	client_put(before);
	client_put(after);
}

Test(registry, a_bad_file_is_said_once_and_changes_nothing)
{
	static struct capture c;
	const char *text;

	authorize("bob", 1, RIGHT_READ);
	cr_assert(knows(1, "bob"));
	uint64_t version = registry_version(registry);
	file_write_raw("[client bob]\nfingerprint = nonsense\n");
	capture_begin(&c, STDERR_FILENO);
	for (int i = 0; i < 5; i++)
		cr_assert(knows(1, "bob"));
	text = capture_end(&c);
	cr_assert_not_null(strstr(text, "line 2: fingerprint"), "%s", text);
	cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1, "one line:\n%s", text);
	cr_assert_eq(registry_version(registry), version);
	cr_assert_eq(fchmodat(dir.fd, CLIENTS_FILE_NAME, 0666, 0), 0);
	capture_begin(&c, STDERR_FILENO);
	cr_assert(knows(1, "bob"));
	cr_assert(knows(1, "bob"));
	text = capture_end(&c);
	cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1, "one line:\n%s", text);
	file_write_raw("");
	cr_assert_not(knows(1, NULL), "a good one counts again");
}

Test(registry, a_daemon_does_not_start_with_a_bad_file)
{
	static struct capture c;
	struct registry *r;

	file_write_raw("nonsense\n");
	capture_begin(&c, STDERR_FILENO);
	cr_assert_eq(registry_new(&r, dir.fd, &config), -ERR_USAGE);
	cr_assert_not_null(strstr(capture_end(&c), "line 1"));
}

Test(registry, the_configuration_counts_before_the_file)
{
	struct client *in_config[] = {client_make("bob", 1, RIGHT_READ),
		client_make("carol", 2, RIGHT_READ), client_make("dave", 0, RIGHT_READ)};
	struct config with = {.clients = in_config, .client_count = 3};
	struct client **list;
	size_t count;

	authorize("bob", 11, RIGHT_WRITE);  /* a name that is taken */
	authorize("eve", 2, RIGHT_WRITE);   /* a fingerprint that is taken */
	authorize("dave", 14, RIGHT_WRITE); /* a name without a fingerprint */
	authorize("frank", 5, RIGHT_WRITE);
	cr_assert(knows(11, "bob") && knows(2, "eve") && knows(14, "dave"));
	uint64_t version = registry_version(registry);
	cr_assert_eq(registry_configure(registry, &with), 0);
	cr_assert_neq(registry_version(registry), version);
	cr_assert(knows(1, "bob") && knows(2, "carol") && knows(5, "frank"));
	cr_assert(!knows(11, NULL) && !knows(14, NULL));
	cr_assert_eq(registry_list(registry, &list, &count), 0);
	cr_assert_eq(count, 3);
	for (size_t i = 0; i < count; i++)
		client_put(list[i]);
	free(list);
	invite("bob2", 7, 100);
	cr_assert_eq(
		join(registry, 7, 1, NULL), -ERR_EXISTS, "it is that of the other bob");
	file_change(NULL, "bob");
	invite("bob", 8, 100);
	cr_assert_eq(join(registry, 8, 77, NULL), -ERR_EXISTS, "the name is taken");
	cr_assert_eq(registry_configure(registry, &config), 0);
	cr_assert(knows(2, "eve") && knows(14, "dave") && !knows(1, NULL));
	for (size_t i = 0; i < 3; i++)
		client_put(in_config[i]);
}

Test(registry, a_watch_tells_the_main_thread)
{
	struct pollfd p = {.fd = registry_watch_fd(registry), .events = POLLIN};

	cr_assert_geq(p.fd, 0);
	registry_version(registry);
	cr_assert_eq(poll(&p, 1, 0), 0);
	authorize("bob", 1, RIGHT_READ);
	cr_assert(
		knows(1, "bob"), "that another thread has seen it takes nothing from us");
	cr_assert_eq(poll(&p, 1, 1000), 1);
	registry_version(registry);
	cr_assert_eq(poll(&p, 1, 0), 0);
	cr_assert_eq(unlinkat(dir.fd, CLIENTS_FILE_NAME, 0), 0);
	cr_assert_eq(poll(&p, 1, 1000), 1);
}

Test(registry, a_join_uses_the_invitation_up)
{
	char name[CLIENT_NAME_MAX + 1] = "";

	invite("bob", 7, 100);
	cr_assert_eq(join(registry, 8, 1, NULL), -ERR_DENIED, "wrong");
	cr_assert_not(knows(1, NULL));
	cr_assert_eq(join(registry, 7, 1, name), 0);
	cr_assert_str_eq(name, "bob");
	struct client *c = registry_find(registry, fp_of(1));
	cr_assert(c && c->rights == RIGHT_READ && c->has_fingerprint);
	client_put(c);
	cr_assert_eq(join(registry, 7, 2, NULL), -ERR_DENIED, "used up");
	cr_assert_eq(join(registry, 7, 1, NULL), -ERR_DENIED, "used up for its own, too");
	cr_assert_not(knows(2, NULL));
}

Test(registry, a_join_that_cannot_be)
{
	invite("expired", 7, 0);
	cr_assert_eq(join(registry, 7, 1, NULL), -ERR_DENIED);
	invite("soon", 8, 1);
	sleep(2);
	cr_assert_eq(join(registry, 8, 1, NULL), -ERR_DENIED);
	invite("revoked", 9, 100);
	file_change(NULL, "revoked");
	cr_assert_eq(join(registry, 9, 1, NULL), -ERR_DENIED);
	invite("replaced", 10, 100);
	invite("replaced", 11, 100);
	cr_assert_eq(join(registry, 10, 1, NULL), -ERR_DENIED);
	authorize("carol", 2, RIGHT_READ);
	cr_assert_eq(join(registry, 11, 2, NULL), -ERR_EXISTS);
	cr_assert(knows(2, "carol"));
	cr_assert_eq(join(registry, 11, 1, NULL), 0, "what failed did not use it up");
}

/* -- at once -- */

#define JOINERS 8

struct joiner {
	pthread_t thread;
	pthread_barrier_t *barrier;
	struct registry *registry;
	uint8_t fill;
	int result;
};

static void *joiner_run(void *arg)
{
	struct joiner *j = arg;

	pthread_barrier_wait(j->barrier);
	j->result = join(j->registry, 7, j->fill, NULL);
	return NULL;
}

/* How many of JOINERS threads of this process get in with the one code. */
static int join_at_once(struct registry *r, uint8_t first_fill)
{
	struct joiner joiners[JOINERS];
	pthread_barrier_t barrier;
	int joined = 0;

	pthread_barrier_init(&barrier, NULL, JOINERS);
	for (int i = 0; i < JOINERS; i++) {
		joiners[i] = (struct joiner){.barrier = &barrier,
			.registry = r,
			.fill = (uint8_t)(first_fill + i)};
		cr_assert_eq(
			pthread_create(&joiners[i].thread, NULL, joiner_run, &joiners[i]),
			0);
	}
	for (int i = 0; i < JOINERS; i++) {
		pthread_join(joiners[i].thread, NULL);
		cr_assert(joiners[i].result == 0 || joiners[i].result == -ERR_DENIED,
			"%d", joiners[i].result);
		joined += joiners[i].result == 0;
	}
	pthread_barrier_destroy(&barrier);
	return joined;
}

static int known_count(void)
{
	struct client **list;
	size_t count;

	cr_assert_eq(registry_list(registry, &list, &count), 0);
	for (size_t i = 0; i < count; i++)
		client_put(list[i]);
	free(list);
	return (int)count;
}

Test(registry, of_many_threads_one_joins)
{
	for (int round = 0; round < 20; round++) {
		char name[16];
		snprintf(name, sizeof(name), "bob%d", round);
		invite(name, 7, 100);
		cr_assert_eq(join_at_once(registry, (uint8_t)(1 + round * JOINERS)), 1);
		cr_assert_eq(known_count(), round + 1);
	}
}

Test(registry, of_many_processes_one_joins)
{
	enum { PROCESSES = 4, ROUNDS = 10 };

	for (int round = 0; round < ROUNDS; round++) {
		pid_t children[PROCESSES];
		char name[16], byte = 0;
		int start[2], joined = 0;

		snprintf(name, sizeof(name), "bob%d", round);
		invite(name, 7, 100);
		cr_assert_eq(pipe(start), 0);
		for (int i = 0; i < PROCESSES; i++) {
			children[i] = fork();
			cr_assert_geq(children[i], 0);
			if (children[i] > 0)
				continue;
			close(start[1]);
			if (read(start[0], &byte, 1) != 0)
				_exit(2);
			_exit(join(registry, 7, (uint8_t)(1 + round * PROCESSES + i),
				      NULL) != 0);
		}
		close(start[1]);
		for (int i = 0; i < PROCESSES; i++) {
			int status;
			cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
			cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2);
			joined += WEXITSTATUS(status) == 0;
		}
		close(start[0]);
		cr_assert_eq(joined, 1);
		cr_assert_eq(known_count(), round + 1);
	}
}

/* -- many finds while another process rewrites the file -- */

static bool stop; /* atomic */

/* "stays" is always known; "comes" and goes, with one of two sets of rights. */
static void *finder_run(void *arg)
{
	long *finds = arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct client *c = registry_find(registry, fp_of(1));
		if (!c || c->rights != RIGHT_READ || strcmp(c->name, "stays") != 0)
			return "a client that stays was not found";
		client_put(c);
		c = registry_find(registry, fp_of(2));
		if (c && (strcmp(c->name, "comes") != 0 ||
				 (c->rights != RIGHT_LIST && c->rights != RIGHT_WRITE)))
			return "a client that is no one's";
		client_put(c);
		registry_version(registry);
		++*finds;
	}
	return NULL;
}

Test(registry, finds_go_on_while_the_file_changes)
{
	enum { FINDERS = 4, CHANGES = 200 };
	pthread_t threads[FINDERS];
	long finds[FINDERS] = {0};
	int status;

	authorize("stays", 1, RIGHT_READ);
	pid_t writer = fork();
	cr_assert_geq(writer, 0);
	if (writer == 0) {
		for (int i = 0; i < CHANGES; i++) {
			authorize("comes", 2, i % 2 ? RIGHT_LIST : RIGHT_WRITE);
			if (i % 3 == 0)
				file_change(NULL, "comes");
		}
		_exit(0);
	}
	for (int i = 0; i < FINDERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, finder_run, &finds[i]), 0);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(registry_configure(registry, &config), 0);
	cr_assert_eq(waitpid(writer, &status, 0), writer);
	cr_assert_eq(status, 0);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < FINDERS; i++) {
		void *complaint = NULL;
		pthread_join(threads[i], &complaint);
		cr_assert_null(complaint, "%s", (const char *)complaint);
		cr_assert_gt(finds[i], 0);
	}
	cr_assert(knows(2, "comes"));
}
