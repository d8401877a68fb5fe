/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/ini.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

/* What a handler was told, as text: "LINE[SECTION]KEY=VALUE;". */
struct trace {
	char text[4096];
	const char *refuse; /* this key is refused */
};

static int trace_item(void *ctx, const struct ini_item *item, struct ini_error *error)
{
	struct trace *t = ctx;
	size_t len = strlen(t->text);

	snprintf(t->text + len, sizeof(t->text) - len, "%u[%s]%s%s%s;", item->line,
		item->section, item->key ? item->key : "", item->key ? "=" : "",
		item->value ? item->value : "");
	if (t->refuse && item->key && strcmp(item->key, t->refuse) == 0)
		return ini_complain(error, "no %s here", item->key);
	return 0;
}

static void reads(const char *text, const char *expected)
{
	struct trace t = {.text = ""};
	struct ini_error error;

	cr_assert_eq(ini_read(text, strlen(text), trace_item, &t, &error), 0, "%s", text);
	cr_assert_str_eq(t.text, expected);
}

static void fails_len(const char *text, size_t len, unsigned line, const char *why)
{
	struct trace t = {.text = ""};
	struct ini_error error = {0};

	cr_assert_eq(ini_read(text, len, trace_item, &t, &error), -ERR_USAGE, "%s", text);
	cr_assert_eq(error.line, line, "line %u for %s", error.line, text);
	cr_assert_not_null(strstr(error.why, why), "%s", error.why);
}

static void fails(const char *text, unsigned line, const char *why)
{
	fails_len(text, strlen(text), line, why);
}

Test(ini, sections_and_pairs)
{
	reads("", "");
	reads("a = b", "1[]a=b;");
	reads("a = b\n[s]\n\nc=d\n[t u]\ne: f\n",
		"1[]a=b;2[s];4[s]c=d;5[t u];6[t u]e=f;");
	reads("[s]\n[s]\n", "1[s];2[s];");
	reads("a=b=c\n", "1[]a=b=c;");
	reads("a=\n", "1[]a=;");
	reads("a = b c \r\n\r\nd = e\r\n", "1[]a=b c;3[]d=e;");
	reads("\xef\xbb\xbf[s]\na=b", "1[s];2[s]a=b;");
	reads("\xef\xbb\xbf\xef\xbb\xbf[s]\na=b", "1[s];2[s]a=b;");
}

Test(ini, comments)
{
	reads("# a\n; b\n  # c\na = b ; c\nd = e;f # g\n[s] ; t\n",
		"4[]a=b;5[]d=e;f # g;6[s];");
}

/* libinih alone takes the second for more of the first. */
Test(ini, an_indented_line_continues_nothing)
{
	reads("a = b\n\tc = d\n  [s]\n  e = f\n", "1[]a=b;2[]c=d;3[s];4[s]e=f;");
	fails("a = b\n  c\n", 2, "neither");
}

/* libinih alone cuts it at 49 bytes. */
Test(ini, a_long_section_name_stays_whole)
{
	char text[300], expected[600];
	char name[INI_SECTION_MAX + 2] = "";

	memset(name, 'x', INI_SECTION_MAX);
	snprintf(text, sizeof(text), "[%s]\na=b\n", name);
	snprintf(expected, sizeof(expected), "1[%s];2[%s]a=b;", name, name);
	reads(text, expected);
	name[INI_SECTION_MAX] = 'x';
	snprintf(text, sizeof(text), "\n[%s]\na=b\n", name);
	fails(text, 2, "longer");
}

/* libinih alone cuts it at 200 bytes, and goes on in the middle. */
Test(ini, a_line_is_whole_or_refused)
{
	char text[1100], value[1000], expected[1100];
	unsigned longest = 0;

	for (unsigned len = 1; len < 900; len++) {
		struct trace t = {.text = ""};
		struct ini_error error;

		memset(value, 'v', len);
		value[len] = '\0';
		snprintf(text, sizeof(text), "[s]\nk=%s\n", value);
		int err = ini_read(text, strlen(text), trace_item, &t, &error);
		if (err == 0) {
			snprintf(expected, sizeof(expected), "1[s];2[s]k=%s;", value);
			cr_assert_str_eq(t.text, expected);
			longest = len;
		} else {
			cr_assert(error.line == 2 && strstr(error.why, "longer"));
		}
	}
	cr_assert_geq(longest, 100, "a fingerprint and a digest have to fit");
}

Test(ini, what_is_no_ini_file)
{
	fails("a = b\nc\n", 2, "neither");
	fails("[s\na = b\n", 1, "no ']'");
	fails("[s] a = b\n", 1, "behind the ']'");
	fails("[s];t\n", 1, "behind the ']'");
	fails("[s ; t]\n", 1, "neither");
	fails_len("a = b\nc = \0d\n", 13, 2, "NUL");
	fails_len("a = b\n\0", 7, 2, "NUL");
	fails_len("a = b\0\n", 7, 1, "NUL");
	fails_len("\0", 1, 1, "NUL");
}

Test(ini, the_first_complaint_counts)
{
	struct trace t = {.text = "", .refuse = "x"};
	struct ini_error error;
	static const char handler_first[] = "a=b\nx=1\nnothing\nc=d\n";
	static const char library_first[] = "a=b\nnothing\nx=1\n";

	cr_assert_eq(
		ini_read(handler_first, strlen(handler_first), trace_item, &t, &error),
		-ERR_USAGE);
	cr_assert_eq(error.line, 2);
	cr_assert_str_eq(error.why, "no x here");
	cr_assert_str_eq(t.text, "1[]a=b;2[]x=1;", "nothing is read behind it");
	cr_assert_eq(
		ini_read(library_first, strlen(library_first), trace_item, &t, &error),
		-ERR_USAGE);
	cr_assert_eq(error.line, 2);
	cr_assert_not_null(strstr(error.why, "neither"));
}

static int item_without_words(
	void *ctx, const struct ini_item *item, struct ini_error *error)
{
	(void)ctx;
	(void)item;
	(void)error;
	return -ERR_RESOURCE;
}

Test(ini, an_error_always_has_words)
{
	struct ini_error error;

	cr_assert_eq(
		ini_read("[s]\n", 4, item_without_words, NULL, &error), -ERR_RESOURCE);
	cr_assert_str_eq(error.why, err_text(ERR_RESOURCE));
	cr_assert_eq(error.line, 1);
}

/* Whatever the bytes are, it ends, and says a line that there is. */
Test(ini, random_bytes, .timeout = 60)
{
	static const char alphabet[] = "[]=: ;#\n\n\nab\t\r\xef\xbb\xbf\\\"";
	const char *given = getenv("SOCKD_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();

	fprintf(stderr, "# SOCKD_TEST_SEED=%u\n", seed);
	srand(seed);
	for (int round = 0; round < 20000; round++) {
		char text[400];
		size_t len = (size_t)rand() % sizeof(text);
		unsigned lines = 1;
		struct trace t = {.text = ""};
		struct ini_error error = {0};

		for (size_t i = 0; i < len; i++) {
			/* with the NUL, now and then */
			text[i] = alphabet[(size_t)rand() %
					   (sizeof(alphabet) - (rand() % 50 > 0))];
			lines += text[i] == '\n';
		}
		int err = ini_read(text, len, trace_item, &t, &error);
		if (err < 0)
			cr_assert(err == -ERR_USAGE && error.line >= 1 &&
					  error.line <= lines && *error.why,
				"seed %u round %d", seed, round);
	}
}
