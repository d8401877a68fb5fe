/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/account.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/path.h"
#include "daemon/tally.h"
#include "os/clock.h"
#include "scratch.h"

#define QUOTA 100000

static struct scratch tmp;
static struct accounts *all;

static void init(void)
{
	scratch_init(&tmp);
	all = accounts_new();
	cr_assert_not_null(all);
}

static void fini(void)
{
	accounts_free(all);
	scratch_fini(&tmp);
}

TestSuite(account, .timeout = 60, .init = init, .fini = fini);
TestSuite(tally, .timeout = 60, .init = init, .fini = fini);

static void file_of(int at, const char *path, size_t size)
{
	int fd = openat(at, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0, "create %s", path);
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static struct account *opened(const struct client *client)
{
	struct account *a = NULL;

	cr_assert_eq(account_open(all, client, tmp.fd, &a), 0);
	cr_assert_not_null(a);
	return a;
}

static int reserve(struct account *a, uint64_t files, uint64_t bytes)
{
	struct account_room left;

	return account_reserve(a, files, bytes, &left);
}

/* What is left, as a refusal tells. */
static struct account_room left_in(struct account *a)
{
	struct account_room left = {0};

	cr_assert_eq(account_reserve(a, UINT64_MAX, UINT64_MAX, &left), -ERR_QUOTA);
	return left;
}

/* -- Counting --------------------------------------------------------------- */

static void tree_make(void)
{
	file_of(tmp.fd, "a", 1000);
	scratch_mkdir(tmp.fd, "d");
	file_of(tmp.fd, "d/b", 200);
	file_of(tmp.fd, "d/empty", 0);
	scratch_mkdir(tmp.fd, "d/e");
	file_of(tmp.fd, "d/e/c", 30);
	scratch_link(tmp.fd, "a", "d/link");
	scratch_link(tmp.fd, "/", "d/out");
}

#define TREE_NAMES 8
#define TREE_BYTES 1230

static struct tally tallied(void)
{
	struct tally t = {0};

	cr_assert_eq(tally_tree(tmp.fd, NULL, NULL, &t), 0);
	return t;
}

Test(tally, counts_names_and_the_bytes_of_files)
{
	struct tally t = tallied();

	cr_assert(t.names == 0 && t.bytes == 0);
	tree_make();
	t = tallied();
	cr_assert_eq(t.names, TREE_NAMES);
	cr_assert_eq(t.bytes, TREE_BYTES);
}

/* Wherever they lie; stages that nobody comes back for are somebody's room already. */
Test(tally, counts_the_bytes_of_partials)
{
	static const char *const kept[] = {
		PATH_RESERVED "/p-00112233445566778899aabbccddeeff",
		"d/" PATH_RESERVED "/p-0123456789abcdef0123456789abcdef",
	};

	tree_make();
	scratch_mkdir(tmp.fd, PATH_RESERVED);
	scratch_mkdir(tmp.fd, "d/" PATH_RESERVED);
	file_of(tmp.fd, kept[0], 5);
	file_of(tmp.fd, kept[1], 7);
	file_of(tmp.fd, PATH_RESERVED "/t-0123456789abcdef-0", 11);
	file_of(tmp.fd, PATH_RESERVED "/something", 13);
	struct tally t = tallied();
	cr_assert_eq(t.names, TREE_NAMES);
	cr_assert_eq(t.bytes, TREE_BYTES + 12, "%" PRIu64, t.bytes);
}

/* -- Quotas ------------------------------------------------------------------ */

Test(account, room_is_exact_to_the_byte)
{
	struct client client = {.name = "alice", .quota_bytes = QUOTA};
	struct account *a = opened(&client);

	tree_make();
	cr_assert(account_has_quota(a));
	cr_assert_eq(reserve(a, 1000000, QUOTA - TREE_BYTES), 0);
	cr_assert_eq(reserve(a, 1, 0), 0);
	cr_assert_eq(reserve(a, 0, 1), -ERR_QUOTA);
	cr_assert_eq(left_in(a).bytes, 0);
	account_release(a, 0, 100);
	cr_assert_eq(left_in(a).bytes, 100);
	cr_assert_eq(reserve(a, 0, 101), -ERR_QUOTA);
	cr_assert_eq(reserve(a, 0, 100), 0);
	account_close(a);
}

Test(account, room_is_exact_to_the_name)
{
	struct client client = {.name = "alice", .quota_files = TREE_NAMES + 2};
	struct account *a = opened(&client);

	tree_make();
	cr_assert_eq(reserve(a, 1, 1u << 30), 0);
	cr_assert_eq(reserve(a, 2, 0), -ERR_QUOTA);
	cr_assert_eq(left_in(a).files, 1);
	cr_assert_eq(reserve(a, 1, 1u << 30), 0);
	cr_assert_eq(reserve(a, 1, 0), -ERR_QUOTA);
	cr_assert_eq(reserve(a, 0, 1), 0, "what needs no name needs no room for one");
	account_close(a);
}

Test(account, what_is_settled_stays_what_is_released_comes_back)
{
	struct client client = {.name = "alice", .quota_bytes = QUOTA, .quota_files = 9};
	struct account *a = opened(&client);

	cr_assert_eq(reserve(a, 9, QUOTA), 0);
	account_settle(a, 3, 40000);
	account_release(a, 6, 60000);
	cr_assert_eq(left_in(a).bytes, 60000);
	cr_assert_eq(left_in(a).files, 6);
	/* What is gone again is found out by a walk, when it matters: this tree is empty. */
	account_forget(a);
	cr_assert_eq(left_in(a).bytes, QUOTA);
	account_close(a);
}

Test(account, a_closed_connection_has_nothing_reserved)
{
	struct client client = {.name = "alice", .quota_bytes = QUOTA};
	struct account *a = opened(&client), *b = opened(&client);

	cr_assert_eq(reserve(a, 1, QUOTA), 0);
	cr_assert_eq(reserve(b, 1, 1), -ERR_QUOTA);
	account_settle(a, 1, 1000);
	account_close(a);
	cr_assert_eq(left_in(b).bytes, QUOTA - 1000);
	account_close(b);
}

Test(account, less_than_nothing_is_left_as_nothing)
{
	struct client client = {.name = "alice", .quota_bytes = 1000, .quota_files = 2};
	struct account *a = opened(&client);

	tree_make();
	cr_assert_eq(reserve(a, 0, 1), -ERR_QUOTA);
	cr_assert_eq(left_in(a).bytes, 0);
	cr_assert_eq(left_in(a).files, 0);
	account_close(a);
}

Test(account, sizes_beyond_all_disks_do_not_overflow)
{
	struct client client = {.name = "alice"};
	struct account *a = opened(&client);
	uint64_t huge = UINT64_C(1) << 62;

	cr_assert_not(account_has_quota(a));
	cr_assert_not(account_has_quota(NULL));
	for (unsigned i = 0; i < 2; i++) {
		client.quota_files = i;
		account_close(opened(&client));
		cr_assert_eq(reserve(a, 0, UINT64_MAX - 1), -ERR_QUOTA);
		cr_assert_eq(reserve(a, 0, huge), 0);
		cr_assert_eq(reserve(a, 0, huge), -ERR_QUOTA);
		account_release(a, 0, huge);
	}
	account_close(a);
}

/* -- Looking again ------------------------------------------------------------ */

/* At once, and also a second time: whoever replaces files is not to be refused. */
Test(account, what_was_replaced_makes_room)
{
	struct client client = {.name = "alice", .quota_bytes = QUOTA};
	struct account *a = opened(&client);
	int64_t start_ms = clock_now_ms();

	file_of(tmp.fd, "f", 40000);
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(reserve(a, 0, 40000), 0, "round %d", i);
		file_of(tmp.fd, "f", 40000);
		account_settle(a, 0, 40000);
	}
	cr_assert_lt(clock_now_ms() - start_ms, RESCAN_MS);
	cr_assert_eq(reserve(a, 0, 60001), -ERR_QUOTA);
	cr_assert_eq(reserve(a, 0, 60000), 0);
	account_close(a);
}

Test(account, what_others_remove_is_noticed_late)
{
	struct client client = {.name = "alice", .quota_bytes = QUOTA};
	struct account *a = opened(&client);

	file_of(tmp.fd, "f", QUOTA);
	cr_assert_eq(reserve(a, 1, 1), -ERR_QUOTA);
	cr_assert_eq(unlinkat(tmp.fd, "f", 0), 0);
	cr_assert_eq(reserve(a, 1, 1), -ERR_QUOTA);
	nanosleep(
		&(struct timespec){.tv_sec = RESCAN_MS / 1000, .tv_nsec = 1000000}, NULL);
	cr_assert_eq(reserve(a, 1, QUOTA), 0);
	account_close(a);
}

/* What was reserved and not settled stays so over a walk. */
Test(account, a_walk_does_not_forget_what_is_to_come)
{
	struct client client = {.name = "alice", .quota_bytes = QUOTA};
	struct account *a = opened(&client), *b = opened(&client);

	cr_assert_eq(reserve(a, 1, 70000), 0);
	cr_assert_eq(reserve(b, 0, 20000), 0);
	account_settle(b, 0, 20000);
	cr_assert_eq(reserve(b, 0, 30000), 0, "what settled is not there");
	cr_assert_eq(reserve(b, 0, 1), -ERR_QUOTA);
	account_close(b);
	account_close(a);
}

Test(account, another_root_or_a_new_quota_is_counted_anew)
{
	struct client client = {.name = "alice", .quota_bytes = QUOTA};
	struct account *a = opened(&client), *b;

	tree_make();
	cr_assert_eq(left_in(a).bytes, QUOTA - TREE_BYTES);
	int sub = openat(tmp.fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(account_open(all, &client, sub, &b), 0);
	cr_assert_eq(left_in(b).bytes, QUOTA - 230);
	account_close(b);
	close(sub);
	account_close(opened(&client));
	cr_assert_eq(left_in(a).bytes, QUOTA - TREE_BYTES);
	client.quota_bytes = 0;
	account_close(opened(&client));
	file_of(tmp.fd, "more", 5000);
	client.quota_bytes = QUOTA;
	account_close(opened(&client));
	cr_assert_eq(left_in(a).bytes, QUOTA - TREE_BYTES - 5000);
	account_close(a);
}

/* -- Connections and rate ------------------------------------------------------- */

Test(account, connections_are_capped_for_each_client)
{
	struct client alice = {.name = "alice", .max_connections = 2};
	struct client bob = {.name = "bob", .max_connections = 1};
	struct account *a[3], *b, *none;

	a[0] = opened(&alice);
	a[1] = opened(&alice);
	cr_assert_eq(account_open(all, &alice, tmp.fd, &none), -ERR_BUSY);
	b = opened(&bob);
	account_close(a[0]);
	a[0] = opened(&alice);
	alice.max_connections = 3;
	a[2] = opened(&alice);
	alice.max_connections = 1;
	cr_assert_eq(account_open(all, &alice, tmp.fd, &none), -ERR_BUSY);
	for (int i = 0; i < 3; i++)
		account_close(a[i]);
	account_close(opened(&alice));
	account_close(b);
	account_close(NULL);
}

Test(account, connections_of_one_client_share_one_rate)
{
	struct client alice = {.name = "alice", .limit = 100 << 10},
		      bob = {.name = "bob"};
	struct account *a = opened(&alice), *b = opened(&alice), *c = opened(&bob);
	uint64_t now_ns = clock_now_ns() + 1000000000;
	int wait_ms;

	cr_assert_eq(account_throttle(a), account_throttle(b));
	cr_assert_neq(account_throttle(a), account_throttle(c));
	cr_assert_null(account_throttle(NULL));
	cr_assert_not(throttle_has_limit(account_throttle(c)));
	cr_assert_eq(throttle_take(account_throttle(a), now_ns, 10000, &wait_ms), 10000);
	cr_assert_eq(throttle_take(account_throttle(b), now_ns, 240, &wait_ms), 240);
	cr_assert_eq(throttle_take(account_throttle(b), now_ns, 1, &wait_ms), 0);
	alice.limit = 0;
	account_close(opened(&alice));
	cr_assert_not(throttle_has_limit(account_throttle(a)));
	account_close(a);
	account_close(b);
	account_close(c);
}

/* -- Several at once -------------------------------------------------------------- */

#define THREADS    6
#define TURNS      300
#define SIZE_MAX_K 9000

/* What is really there or on its way, told by the threads themselves. */
static atomic_uint_fast64_t live, most;
static atomic_uint refused;

static void live_add(uint64_t bytes)
{
	uint64_t now = atomic_fetch_add(&live, bytes) + bytes;
	uint64_t seen = atomic_load(&most);

	while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
		;
}

struct worker {
	pthread_t thread;
	const struct client *client;
	unsigned seed;
	int number;
	size_t sizes[4]; /* of its files */
};

/* One upload over one of four names: refused, broken off, or published. */
static void worker_upload(struct worker *w, struct account *a)
{
	unsigned which = (unsigned)rand_r(&w->seed) % 4;
	size_t size = (size_t)(1 + rand_r(&w->seed) % SIZE_MAX_K);
	char name[32], stage[64];

	if (reserve(a, 0, size) < 0) {
		atomic_fetch_add(&refused, 1);
		return;
	}
	live_add(size);
	if (rand_r(&w->seed) % 4 == 0) {
		atomic_fetch_sub(&live, size);
		account_release(a, 0, size);
		return;
	}
	snprintf(name, sizeof(name), "w%d-%u", w->number, which);
	snprintf(stage, sizeof(stage), PATH_RESERVED "/t-%016x-0", (unsigned)w->number);
	file_of(tmp.fd, stage, size);
	/* Before it is so: whoever walks may know it at once. */
	atomic_fetch_sub(&live, w->sizes[which]);
	w->sizes[which] = size;
	cr_assert_eq(renameat(tmp.fd, stage, tmp.fd, name), 0);
	account_settle(a, 0, size);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct account *a = NULL;

	for (int i = 0; i < TURNS; i++) {
		if (!a)
			cr_assert_eq(account_open(all, w->client, tmp.fd, &a), 0);
		worker_upload(w, a);
		if (rand_r(&w->seed) % 50 == 0) {
			account_close(a);
			a = NULL;
		}
	}
	account_close(a);
	return NULL;
}

Test(account, several_threads_never_exceed_the_quota)
{
	struct client client = {.name = "alice", .quota_bytes = QUOTA};
	struct account *keep = opened(&client);
	const char *given = getenv("SOCKD_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	struct worker workers[THREADS];

	fprintf(stderr, "SOCKD_TEST_SEED=%u\n", seed);
	scratch_mkdir(tmp.fd, PATH_RESERVED);
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){
			.client = &client, .seed = seed + (unsigned)i, .number = i};
		cr_assert_eq(pthread_create(
				     &workers[i].thread, NULL, worker_main, &workers[i]),
			0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	cr_expect_leq(atomic_load(&most), QUOTA, "%" PRIu64, (uint64_t)most);
	cr_expect_gt(atomic_load(&most), QUOTA / 2, "%" PRIu64, (uint64_t)most);
	cr_expect_gt(atomic_load(&refused), 0, "the quota was felt");
	cr_expect_eq(tallied().bytes, atomic_load(&live));
	/* Nothing has drifted: a last look finds all the room there is. */
	cr_expect_eq(left_in(keep).bytes, QUOTA - tallied().bytes);
	account_close(keep);
}
