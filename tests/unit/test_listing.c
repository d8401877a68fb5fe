/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/listing.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static struct listing list;
static char got[1 << 16]; /* the paths that were taken, each with a blank */

static void setup(void)
{
	listing_init(&list);
}

static void teardown(void)
{
	listing_fini(&list);
}

TestSuite(listing, .init = setup, .fini = teardown, .timeout = 60);

static int add_entry(const struct msg_entry *e)
{
	uint8_t payload[MSG_PAYLOAD_MAX];
	struct wcur w;

	wcur_init(&w, payload, sizeof(payload));
	msg_entry_encode(&w, e);
	int len = wcur_finish(&w);
	cr_assert_geq(len, 0);
	int err = listing_add(&list, payload, (size_t)len);
	memset(payload, 0xee, sizeof(payload)); /* it has to be copied */
	return err;
}

/* What stands in front of a path; nothing in front of that of a file. */
static const char marks[] = {
	[ENTRY_DIR] = '+', [ENTRY_LINK] = '@', [ENTRY_OTHER] = '?', [ENTRY_ERROR] = '!'};

static uint8_t kind_of(char mark)
{
	for (uint8_t kind = ENTRY_DIR; kind <= ENTRY_ERROR; kind++)
		if (marks[kind] == mark)
			return kind;
	return ENTRY_FILE;
}

/* Each marked path of TEXT, between blanks.  The first error. */
static int add(const char *text)
{
	while (*text) {
		struct msg_entry e = {.kind = kind_of(*text), .target = {"", 0}};
		text += e.kind != ENTRY_FILE;
		e.path = (struct wire_str){text, strcspn(text, " ")};
		if (e.kind == ENTRY_ERROR)
			e.code = ERR_ACCESS;
		if (e.kind == ENTRY_LINK)
			e.target = (struct wire_str){"target", 6};
		int err = add_entry(&e);
		if (err < 0)
			return err;
		text += e.path.len;
		text += *text == ' ';
	}
	return 0;
}

static void take(void)
{
	struct msg_entry e;
	size_t len = strlen(got);

	cr_assert(listing_take(&list, &e));
	cr_assert_lt(len + e.path.len + 3, sizeof(got));
	if (e.kind != ENTRY_FILE)
		got[len++] = marks[e.kind];
	snprintf(got + len, sizeof(got) - len, "%.*s ", (int)e.path.len, e.path.bytes);
}

static const char *take_all(void)
{
	struct msg_entry e;

	*got = '\0';
	while (list.count > 0)
		take();
	cr_assert_not(listing_take(&list, &e));
	return got;
}

Test(listing, gives_what_came_as_it_came)
{
	struct msg_entry link = {.kind = ENTRY_LINK,
		.size = 5,
		.mode = 0777,
		.mtime = {.sec = -3, .nsec = 7},
		.path = {"link", 4},
		.target = {"there", 5}};
	struct msg_entry e;

	cr_assert_not(listing_take(&list, &e));
	cr_assert_eq(add_entry(&link), 0);
	cr_assert_eq(list.count, 1);
	cr_assert(listing_take(&list, &e));
	cr_assert(e.kind == ENTRY_LINK && e.size == 5 && e.mode == 0777 &&
		  e.mtime.sec == -3 && e.mtime.nsec == 7);
	cr_assert(e.path.len == 4 && memcmp(e.path.bytes, "link", 4) == 0);
	cr_assert(e.target.len == 5 && memcmp(e.target.bytes, "there", 5) == 0);
	cr_assert_not(listing_take(&list, &e));
	cr_assert_eq(list.count, 0);
}

static const struct {
	const char *entries;
	int want;
} orders[] = {
	{"a b c", 0},
	{"+a +a/b a/b/c a/c b", 0},
	{"+a a/b a.b a0",
		0}, /* what is in a directory comes before its longer neighbours */
	{"@a ?b", 0},
	{"a-b", 0},
	{"\x01 \x7f \x80 \xff", 0},
	{"b a", -ERR_PROTOCOL},
	{"a a", -ERR_PROTOCOL},
	{"a b b", -ERR_PROTOCOL},
	{"+a a/b a", -ERR_PROTOCOL},
	{"+a a.b a/b", -ERR_PROTOCOL},
	{"\x80 \x7f", -ERR_PROTOCOL},
	{"a .", -ERR_PROTOCOL},
	{"a/", -ERR_PROTOCOL},
	{"../a", -ERR_PROTOCOL},
	{"/a", -ERR_PROTOCOL},
	/* only directories have something in them */
	{"a/b", -ERR_PROTOCOL},
	{"a a/b", -ERR_PROTOCOL},
	{"@a a/b", -ERR_PROTOCOL},
	{"!a a/b", -ERR_PROTOCOL},
	{"+a a/b/c", -ERR_PROTOCOL},
	{"+a @a/b a/b/c", -ERR_PROTOCOL},
	{"+a b/c", -ERR_PROTOCOL},
	{"+ab ab/c b ba/c", -ERR_PROTOCOL},
	/* errors come anywhere, and move nothing */
	{"!", 0},
	{"!b +a !a !a/x !a b !a", 0},
	{"b !c a", -ERR_PROTOCOL},
	{"b !a b", -ERR_PROTOCOL},
	{"!..", -ERR_PROTOCOL},
};

Test(listing, keeps_the_order)
{
	for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
		char want[64];

		teardown();
		setup();
		cr_assert_eq(add(orders[i].entries), orders[i].want, "row %zu: %s", i,
			orders[i].entries);
		snprintf(want, sizeof(want), "%s ", orders[i].entries);
		if (orders[i].want == 0)
			cr_assert_str_eq(take_all(), want, "row %zu", i);
	}
}

Test(listing, the_root_itself_is_no_entry)
{
	struct msg_entry e = {.kind = ENTRY_DIR, .path = {"", 0}, .target = {"", 0}};

	cr_assert_eq(add_entry(&e), -ERR_PROTOCOL);
}

Test(listing, bytes_that_are_no_entry_are_refused)
{
	static const uint8_t bytes[100];

	for (size_t len = 0; len <= sizeof(bytes); len++)
		cr_assert_eq(
			listing_add(&list, bytes, len), -ERR_PROTOCOL, "%zu bytes", len);
}

/* -- Lost connections ------------------------------------------------------------ */

Test(listing, a_new_beginning_passes_over_what_came)
{
	list.asked = list.started = true;
	cr_assert_eq(add("a +b b/c"), 0);
	take();
	listing_restart(&list);
	cr_assert(!list.asked && !list.started);
	cr_assert_eq(list.count, 2, "what is here stays");
	cr_assert_eq(add("a +b b/c b/d e"), 0);
	cr_assert_str_eq(take_all(), "+b b/c b/d e ");
	cr_assert_eq(add("f"), 0);
	cr_assert_str_eq(take_all(), "f ");
}

/* A link is not taken for a directory because another connection says so. */
Test(listing, a_new_beginning_does_not_make_a_directory)
{
	cr_assert_eq(add("@b"), 0);
	listing_restart(&list);
	cr_assert_eq(add("+b b/c"), -ERR_PROTOCOL);
}

/* The tree need not be the same any more. */
Test(listing, a_new_beginning_may_find_another_tree)
{
	cr_assert_eq(add("a c e"), 0);
	take_all();
	listing_restart(&list);
	cr_assert_eq(add("b c d f"), 0);
	cr_assert_str_eq(take_all(), "f ");
}

Test(listing, a_new_beginning_keeps_the_order)
{
	cr_assert_eq(add("a b c"), 0);
	listing_restart(&list);
	cr_assert_eq(add("b a"), -ERR_PROTOCOL);
}

Test(listing, connections_lost_while_passing_over)
{
	cr_assert_eq(add("a b c d"), 0);
	listing_restart(&list);
	cr_assert_eq(add("a b"), 0);
	listing_restart(&list);
	listing_restart(&list);
	cr_assert_eq(add("a b c d e"), 0);
	cr_assert_str_eq(take_all(), "a b c d e ", "each once");
	listing_restart(&list);
	cr_assert_eq(add("a b c d e f"), 0);
	cr_assert_str_eq(take_all(), "f ");
}

/* What was said before the last entry was heard; what is said behind it may not have
 * been. */
Test(listing, errors_are_passed_over_with_what_was_around_them)
{
	cr_assert_eq(add("!x a !a b"), 0);
	listing_restart(&list);
	cr_assert_eq(add("!x a !a b !b"), 0);
	cr_assert_str_eq(take_all(), "!x a !a b !b ");
}

/* -- Many --------------------------------------------------------------------------- */

Test(listing, grows_and_makes_room_by_what_is_taken)
{
	int added = 0, taken = 0;

	while (taken < 5000) {
		struct msg_entry e;
		/* Three come for two that go, up to the last. */
		for (int i = 0; i < 3 && added < 5000; i++, added++) {
			char path[300];
			memset(path, 'x', sizeof(path));
			path[snprintf(path, sizeof(path), "%08d", added)] = 'x';
			e = (struct msg_entry){.kind = ENTRY_FILE,
				.size = (uint64_t)added,
				.path = {path, (size_t)(10 + added % 240)},
				.target = {"", 0}};
			cr_assert_eq(add_entry(&e), 0, "%d", added);
			if ((added + 1) % LISTING_PART == 0)
				cr_assert_eq(listing_part_ends(&list, true), 0);
		}
		for (int i = 0; i < 2 && taken < added; i++, taken++) {
			cr_assert(listing_take(&list, &e), "%d", taken);
			cr_assert_eq(e.size, (uint64_t)taken);
			cr_assert_eq(e.path.len, (size_t)(10 + taken % 240));
		}
		cr_assert_eq(list.count, (size_t)(added - taken));
	}
	cr_assert_lt(list.cap, 5000u * 300, "%zu bytes for a third of them", list.cap);
}

/* A part is what was asked for and no more, or the server would fill our memory. */
Test(listing, a_part_has_an_end)
{
	for (int round = 0; round < 2; round++) {
		char path[16];
		struct msg_entry e = {.kind = ENTRY_FILE, .target = {"", 0}};
		for (int i = 0; i <= LISTING_PART; i++) {
			int len = snprintf(path, sizeof(path), "%d-%05d", round, i);
			e.path = (struct wire_str){path, (size_t)len};
			cr_assert_eq(add_entry(&e), i < LISTING_PART ? 0 : -ERR_PROTOCOL, "%d", i);
		}
		cr_assert_eq(listing_part_ends(&list, true), 0);
	}
}

/* With every directory on the way. */
Test(listing, the_longest_names_fit)
{
	static char path[PATH_WIRE_MAX], target[PATH_TARGET_MAX];
	struct msg_entry dir = {.kind = ENTRY_DIR, .target = {"", 0}};
	struct msg_entry link = {.kind = ENTRY_LINK,
		.path = {path, sizeof(path)},
		.target = {target, sizeof(target)}};
	size_t count = 1;

	memset(path, 'p', sizeof(path));
	memset(target, 't', sizeof(target));
	for (size_t i = 200; i < sizeof(path) - 1; i += 201, count++) {
		path[i] = '/';
		dir.path = (struct wire_str){path, i};
		cr_assert_eq(add_entry(&dir), 0, "%zu", i);
	}
	cr_assert_eq(add_entry(&link), 0);
	cr_assert_eq(list.count, count);
	while (list.count > 0)
		cr_assert(listing_take(&list, &dir));
	cr_assert_eq(dir.path.len, sizeof(path));
	cr_assert_eq(memcmp(dir.path.bytes, path, sizeof(path)), 0);
	cr_assert_eq(dir.target.len, sizeof(target));
}

Test(listing, parts_of_nothing_do_not_go_on)
{
	cr_expect_eq(listing_part_ends(&list, true), -ERR_PROTOCOL);
	cr_expect_eq(listing_part_ends(&list, false), 0);
}
