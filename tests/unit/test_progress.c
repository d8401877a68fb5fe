/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/progress.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "base/compiler.h"
#include "base/text.h"

#define GIB     (UINT64_C(1) << 30)
#define E_ACUTE "e\xcc\x81"        /* a letter and a combining accent: one column */
#define KANJI   "\xe6\xbc\xa2"     /* two columns */
#define EMOJI   "\xf0\x9f\x98\x80" /* two columns */

static void utf8_setup(void)
{
	cr_assert_not_null(setlocale(LC_CTYPE, "C.UTF-8"));
}

TestSuite(progress, .init = utf8_setup);

/* An independent measure: the C library's own conversion. */
static int columns_of(const char *text)
{
	wchar_t wide[PROGRESS_LINE_MAX];
	size_t len = mbstowcs(wide, text, PROGRESS_LINE_MAX);

	cr_assert_neq(len, (size_t)-1, "not UTF-8: %s", text);
	return wcswidth(wide, len);
}

Test(progress, fields)
{
	static const struct {
		struct progress_state state;
		unsigned width;
		const char *line;
	} rows[] = {
		{{"report.pdf", GIB / 2, GIB, true, 64 << 20}, 60,
			"report.pdf              50%  512 M/1.0 G     64 M/s     0:08"},
		{{"report.pdf", GIB / 2, GIB, true, 1 << 20}, 60,
			"report.pdf              50%  512 M/1.0 G    1.0 M/s     8:32"},
		/* what goes first when it gets narrow */
		{{"report.pdf", GIB / 2, GIB, true, 64 << 20}, 50,
			"report.pdf             50%  512 M/1.0 G     64 M/s"},
		{{"report.pdf", GIB / 2, GIB, true, 64 << 20}, 40,
			"report.pdf              50%  512 M/1.0 G"},
		{{"report.pdf", GIB / 2, GIB, true, 64 << 20}, 30,
			"report.pdf                 50%"},
		/* the total still grows: no percentage, no time left */
		{{"a", GIB / 2, GIB, false, 64 << 20}, 60,
			"a                                    512 M/1.0 G+     64 M/s"},
		/* nothing is known, as of stdin */
		{{"-", GIB, 0, false, 64 << 20}, 40,
			"-                       1.0 G     64 M/s"},
		{{"a", 99, 100, true, 0}, 41,
			"a              99%  99 B/100 B      0 B/s"},
		{{"a", 9999, 10000, true, 0}, 12, "a        99%"},
		{{"a", 0, 0, true, 0}, 12, "a       100%"},
		{{"a", 7, 5, true, 0}, 12, "a       100%"},
		{{"report.pdf", GIB / 2, GIB, true, 64 << 20}, 10,
			"r\xe2\x80\xa6"
			"df   50%"},
		/* a month is no forecast */
		{{"a", 0, 1000 * GIB, true, 1}, 60, NULL},
	};
	char line[PROGRESS_LINE_MAX];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		progress_format(line, &rows[i].state, rows[i].width);
		if (rows[i].line)
			cr_expect_str_eq(line, rows[i].line, "row %zu: '%s'", i, line);
		else
			cr_expect_str_eq(line + strlen(line) - 3, "B/s", "'%s'", line);
	}
}

Test(progress, name_is_shortened_in_its_middle)
{
	static const struct {
		const char *name;
		unsigned width; /* of the line; 6 are the percentage's */
		const char *shown;
	} rows[] = {
		{"abcdefgh", 14, "abcdefgh"},
		{"abcdefgh", 13,
			"abc\xe2\x80\xa6"
			"fgh"},
		{"abcdefgh", 12,
			"ab\xe2\x80\xa6"
			"fgh"},
		{"abcdefgh", 7, "\xe2\x80\xa6"},
		{"abcdefgh", 6, ""},
		{KANJI KANJI KANJI, 12, KANJI KANJI KANJI},
		{KANJI KANJI KANJI, 11, KANJI "\xe2\x80\xa6" KANJI},
		{KANJI KANJI KANJI, 10,
			"\xe2\x80\xa6" KANJI " "}, /* half a one is none */
		{E_ACUTE E_ACUTE E_ACUTE, 9, E_ACUTE E_ACUTE E_ACUTE},
		{"a" E_ACUTE "b" E_ACUTE "c", 9,
			"a\xe2\x80\xa6"
			"c"},
		{"a" E_ACUTE "bc" E_ACUTE, 9, "a\xe2\x80\xa6" E_ACUTE},
		{EMOJI "abcd", 11,
			EMOJI "\xe2\x80\xa6"
			      "cd"},
	};
	char line[PROGRESS_LINE_MAX], expected[PROGRESS_LINE_MAX];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct progress_state state = {rows[i].name, 1, 2, true, 0};
		progress_format(line, &state, rows[i].width);
		snprintf(expected, sizeof(expected), "%s   50%%", rows[i].shown);
		cr_expect_str_eq(line, expected, "row %zu: '%s'", i, line);
	}
}

/* Every width gives a line of exactly that width, whatever is in it. */
Test(progress, widths)
{
	static const char *const names[] = {"", "a",
		"a/rather/long/name/of/a/file-in-a-tree.tar.gz",
		KANJI KANJI KANJI KANJI KANJI KANJI KANJI KANJI,
		EMOJI EMOJI EMOJI EMOJI EMOJI "x",
		E_ACUTE E_ACUTE E_ACUTE E_ACUTE E_ACUTE E_ACUTE E_ACUTE E_ACUTE,
		"caf\xc3\xa9"};
	static const struct progress_state states[] = {
		{NULL, 0, 0, false, 0},
		{NULL, 5, 0, true, 1},
		{NULL, 5 * GIB, 9 * GIB, true, 1},
		{NULL, 5 * GIB, 9 * GIB, false, 350 << 20},
		{NULL, 1023, UINT64_MAX, true, UINT64_MAX},
		{NULL, UINT64_MAX - 1, UINT64_MAX, true, 1},
	};
	char line[PROGRESS_LINE_MAX];

	for (size_t n = 0; n < ARRAY_LEN(names); n++)
		for (size_t i = 0; i < ARRAY_LEN(states); i++)
			for (unsigned width = 6; width <= PROGRESS_WIDTH_MAX; width++) {
				struct progress_state s = states[i];
				s.name = names[n];
				progress_format(line, &s, width);
				cr_assert_eq(columns_of(line), (int)width, "%u: '%s'",
					width, line);
			}
}

Test(progress, tiny_widths_hold)
{
	struct progress_state s = {"abc", 1, 2, true, 0};
	char line[PROGRESS_LINE_MAX];

	for (unsigned width = 0; width < 6; width++) {
		progress_format(line, &s, width);
		cr_expect_leq(columns_of(line), (int)width, "%u: '%s'", width, line);
	}
}

/* Accents without end do not make a line without end. */
Test(progress, accents)
{
	static char name[16384];
	char line[PROGRESS_LINE_MAX];
	struct progress_state s = {name, 1, 2, true, 0};

	for (size_t i = 0; i + 2 < sizeof(name); i += 2)
		memcpy(name + i, "\xcc\x81", 2);
	progress_format(line, &s, 80);
	cr_expect(text_is_utf8(line, strlen(line)));
}

/* What the locale does not know is taken for wide: never too long a line. */
Test(progress, other_locale)
{
	struct progress_state s = {
		KANJI "caf\xc3\xa9" EMOJI "abcdefghijklmnop", 1, 2, true, 0};
	char line[PROGRESS_LINE_MAX];

	for (unsigned width = 6; width < 60; width++) {
		setlocale(LC_CTYPE, "C");
		progress_format(line, &s, width);
		setlocale(LC_CTYPE, "C.UTF-8");
		cr_expect_leq(columns_of(line), (int)width, "%u: '%s'", width, line);
	}
}

Test(progress, pace)
{
	struct pace p = {.every_ms = 100};
	unsigned due = 0;

	for (int64_t now = 5000; now < 6000; now++)
		due += pace_is_due(&p, now);
	cr_expect_eq(due, 10);
	cr_expect(pace_is_due(&p, 1000000));
	cr_expect_not(pace_is_due(&p, 1000099));
	cr_expect(pace_is_due(&p, 1000100));
}

static void rate_run(struct rate *r, int64_t seconds, uint64_t per_sec)
{
	for (int64_t i = 0; i < seconds * 10; i++)
		rate_sample(r, r->bytes + per_sec / 10, r->at_ms + 100);
}

Test(progress, rate)
{
	struct rate r = {.at_ms = 777};

	rate_sample(&r, 0, 777);
	cr_expect(r.per_sec >= 0 && r.per_sec <= 0);
	rate_run(&r, 1, 1000);
	cr_expect(fabs(r.per_sec - 1000) < 1, "%f", r.per_sec);
	rate_run(&r, 1, 1000000);
	cr_expect(r.per_sec > 100000 && r.per_sec < 900000, "it jumped: %f", r.per_sec);
	rate_run(&r, 20, 1000000);
	cr_expect(fabs(r.per_sec - 1000000) < 1000, "%f", r.per_sec);
	rate_run(&r, 20, 0);
	cr_expect(r.per_sec < 100, "it does not fall: %f", r.per_sec);
}

/* -- On a terminal ------------------------------------------------------ */

struct terminal {
	int fd;
	struct progress progress;
	char text[8192];
};

static void terminal_init(struct terminal *t, unsigned short columns)
{
	int slave;

	cr_assert_eq(
		openpty(&t->fd, &slave, NULL, NULL, &(struct winsize){.ws_col = columns}),
		0);
	fcntl(t->fd, F_SETFL, O_NONBLOCK);
	t->progress = (struct progress){.out = fdopen(slave, "w")};
	cr_assert_not_null(t->progress.out);
}

static const char *terminal_read(struct terminal *t)
{
	ssize_t len = read(t->fd, t->text, sizeof(t->text) - 1);

	t->text[len < 0 ? 0 : len] = '\0';
	return t->text;
}

Test(progress, terminal)
{
	struct progress_state s = {"abc", 1, 2, true, 0};
	struct terminal t;
	char line[PROGRESS_LINE_MAX], expected[PROGRESS_LINE_MAX + 2];

	terminal_init(&t, 40);
	progress_erase(&t.progress);
	cr_expect_str_empty(terminal_read(&t));
	progress_draw(&t.progress, &s);
	progress_format(line, &s, 39); /* one column stays free */
	snprintf(expected, sizeof(expected), "\r%s", line);
	cr_expect_str_eq(terminal_read(&t), expected, "'%s'", t.text);

	cr_assert_eq(ioctl(t.fd, TIOCSWINSZ, &(struct winsize){.ws_col = 60}), 0);
	progress_draw(&t.progress, &s);
	cr_expect_eq(strlen(terminal_read(&t)), 60);
	progress_erase(&t.progress);
	snprintf(expected, sizeof(expected), "\r%59s\r", "");
	cr_expect_str_eq(terminal_read(&t), expected);
	progress_erase(&t.progress);
	cr_expect_str_empty(terminal_read(&t));
}

Test(progress, no_terminal)
{
	struct progress_state s = {"abc", 1, 2, true, 0};
	struct progress none = {0}, file = {.out = tmpfile()};

	progress_draw(&none, &s);
	progress_erase(&none);
	progress_draw(&file, &s); /* --progress=always */
	cr_expect_eq(ftell(file.out), 80);
	fclose(file.out);
}
