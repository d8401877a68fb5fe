/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

/* -- Escaping ----------------------------------------------------------- */

#define BYTES(s) s, sizeof(s) - 1

static const struct {
	const char *bytes;
	size_t len;
	size_t cap;
	const char *want;
} escapes[] = {
	{BYTES(""), 9, ""},
	{BYTES("report.pdf"), 99, "report.pdf"},
	{BYTES("a b\"'$"), 99, "a b\"'$"},
	{BYTES("a\nb\tc\\d"), 99, "a\\nb\\tc\\\\d"},
	{BYTES("\0\x01\r\x1b[31m\x7f"), 99, "\\x00\\x01\\x0d\\x1b[31m\\x7f"},
	{BYTES("gr\u00f6\u00dfe \u4e2d \U0001f600"), 99,
		"gr\u00f6\u00dfe \u4e2d \U0001f600"},
	{BYTES("\xc2\x9b\x33\x31m"), 99, "\\xc2\\x9b31m"}, /* CSI as a C1 control */
	{BYTES("\xc2\x80\xc2\x9f\xc2\xa0"), 99, "\\xc2\\x80\\xc2\\x9f\xc2\xa0"},
	{BYTES("\x9b"), 99, "\\x9b"},
	{BYTES("\xff\xfe"), 99, "\\xff\\xfe"},
	{BYTES("\xc3"), 99, "\\xc3"},          /* cut short */
	{BYTES("\xc3("), 99, "\\xc3("},        /* and the next byte is itself again */
	{BYTES("\xc0\xaf"), 99, "\\xc0\\xaf"}, /* overlong '/' */
	{BYTES("\xed\xa0\x80"), 99, "\\xed\\xa0\\x80"}, /* surrogate */
	/* cuts */
	{BYTES("abcdef"), 7, "abcdef"},
	{BYTES("abcdef"), 6, "ab\u2026"},
	{BYTES("abcdef"), 5, "a\u2026"},
	{BYTES("abcdef"), 4, "\u2026"},
	{BYTES("abcdef"), 3, "ab"},
	{BYTES("abcdef"), 1, ""},
	{BYTES("abc"), 4, "abc"},
	{BYTES("a\nbcd"), 6, "a\u2026"}, /* "a\n" would leave no room for the mark */
	{BYTES("a\nbcd"), 7, "a\\nbcd"},
	{BYTES("ab\x1b"), 6, "ab\u2026"},
	{BYTES("\u00e4\u00f6\u00fc\u00df"), 8, "\u00e4\u00f6\u2026"},
	{BYTES("\u00e4\u00f6\u00fc\u00df"), 7, "\u00e4\u2026"},
	{BYTES("\x01"), 4, "\u2026"},
	{BYTES("\x01"), 3, ""},
};

Test(text, escapes_what_a_terminal_would_obey)
{
	for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
		char *out = malloc(escapes[i].cap); /* exact, for AddressSanitizer */
		char *ret = text_escape(
			out, escapes[i].cap, escapes[i].bytes, escapes[i].len);

		cr_assert_eq(ret, out);
		cr_assert_str_eq(out, escapes[i].want, "row %zu", i);
		free(out);
	}
}

Test(text, escaped_text_fits_in_the_promised_size)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		char bytes[8], out[TEXT_ESCAPED_MAX(8)];

		memset(bytes, (int)byte, sizeof(bytes));
		text_escape(out, sizeof(out), bytes, sizeof(bytes));
		cr_assert_null(strstr(out, "\u2026"), "byte %u was cut", byte);
		cr_assert_geq(strlen(out), 8);
	}
}

/* Whatever comes in, what goes out is UTF-8 without control characters. */
Test(text, escaped_text_is_safe_whatever_came_in)
{
	unsigned seed = 1;

	for (int round = 0; round < 20000; round++) {
		char bytes[16], out[40];
		size_t cap = 4 + (size_t)rand_r(&seed) % (sizeof(out) - 4);

		for (size_t i = 0; i < sizeof(bytes); i++) {
			int r = rand_r(&seed);
			bytes[i] = (char)(r & 0x100 ? r & 0xff
						    : "\xc2\x9b\xe2\x80\xf0\n\\a"[r % 8]);
		}
		text_escape(out, cap, bytes, sizeof(bytes));
		cr_assert_lt(strlen(out), cap);
		cr_assert(text_is_utf8(out, strlen(out)), "round %d", round);
		for (char *p = out; *p; p++)
			cr_assert(((unsigned char)*p >= 0x20 && *p != 0x7f) &&
				  !(*p == '\xc2' && (unsigned char)p[1] < 0xa0));
	}
}

static const struct {
	const char *bytes;
	size_t len;
	bool want;
} utf8s[] = {
	{BYTES(""), true},
	{BYTES("a\0b"), true},
	{BYTES("\xc2\x80"), true},
	{BYTES("\xdf\xbf"), true},
	{BYTES("\xe0\xa0\x80"), true},
	{BYTES("\xed\x9f\xbf"), true},
	{BYTES("\xee\x80\x80"), true},
	{BYTES("\xef\xbf\xbf"), true},
	{BYTES("\xf0\x90\x80\x80"), true},
	{BYTES("\xf4\x8f\xbf\xbf"), true},
	{BYTES("\x80"), false},
	{BYTES("\xbf"), false},
	{BYTES("\xc1\xbf"), false}, /* overlong */
	{BYTES("\xe0\x9f\xbf"), false},
	{BYTES("\xf0\x8f\xbf\xbf"), false},
	{BYTES("\xed\xa0\x80"), false}, /* surrogates */
	{BYTES("\xed\xbf\xbf"), false},
	{BYTES("\xf4\x90\x80\x80"), false}, /* above U+10FFFF */
	{BYTES("\xf5\x80\x80\x80"), false},
	{BYTES("\xff"), false},
	{BYTES("\xc2"), false}, /* cut short */
	{BYTES("\xe2\x80"), false},
	{BYTES("\xf0\x90\x80"), false},
	{BYTES("\xe2\x80\x41"), false},
	{BYTES("\xf0\x90\x80\x41"), false},
	{BYTES("a\xe2\x41"), false},
};

Test(text, utf8_by_rfc_3629)
{
	for (size_t i = 0; i < ARRAY_LEN(utf8s); i++) {
		char *exact = malloc(utf8s[i].len + 1);

		memcpy(exact + 1, utf8s[i].bytes, utf8s[i].len);
		cr_assert_eq(text_is_utf8(exact + 1, utf8s[i].len), utf8s[i].want,
			"row %zu", i);
		free(exact);
	}
}

/* -- Numbers ------------------------------------------------------------ */

#define KEPT UINT64_C(123456789) /* what must stay after a failure */

static const struct {
	const char *s;
	int err;
	uint64_t want;
} sizes[] = {
	{"0", 0, 0},
	{"1", 0, 1},
	{"007", 0, 7},
	{"4096", 0, 4096},
	{"1K", 0, 1024},
	{"3M", 0, 3145728},
	{"2G", 0, 2147483648},
	{"1T", 0, 1099511627776},
	{"18446744073709551615", 0, UINT64_MAX},
	{"16777215T", 0, UINT64_C(16777215) << 40},
	{"18446744073709551616", -ERR_USAGE, KEPT},
	{"99999999999999999999999", -ERR_USAGE, KEPT},
	{"16777216T", -ERR_USAGE, KEPT},
	{"", -ERR_USAGE, KEPT},
	{"K", -ERR_USAGE, KEPT},
	{"-1", -ERR_USAGE, KEPT},
	{"+1", -ERR_USAGE, KEPT},
	{" 1", -ERR_USAGE, KEPT},
	{"1 ", -ERR_USAGE, KEPT},
	{"1KB", -ERR_USAGE, KEPT},
	{"1KK", -ERR_USAGE, KEPT},
	{"1P", -ERR_USAGE, KEPT},
	{"1.5G", -ERR_USAGE, KEPT},
	{"0x10", -ERR_USAGE, KEPT},
};

Test(text, parses_sizes)
{
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t got = KEPT;

		cr_assert_eq(text_parse_size(sizes[i].s, &got), sizes[i].err, "%s",
			sizes[i].s);
		cr_assert_eq(got, sizes[i].want, "%s", sizes[i].s);
	}
}

static const struct {
	const char *s;
	uint64_t min, max;
	int err;
	uint64_t want;
} uints[] = {
	{"0", 0, 0, 0, 0},
	{"1", 1, 65535, 0, 1},
	{"65535", 1, 65535, 0, 65535},
	{"18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX},
	{"0", 1, 65535, -ERR_USAGE, KEPT},
	{"65536", 1, 65535, -ERR_USAGE, KEPT},
	{"18446744073709551616", 0, UINT64_MAX, -ERR_USAGE, KEPT},
	{"1K", 0, UINT64_MAX, -ERR_USAGE, KEPT},
	{"", 0, 9, -ERR_USAGE, KEPT},
	{"-1", 0, UINT64_MAX, -ERR_USAGE, KEPT},
	{"1x", 0, 9, -ERR_USAGE, KEPT},
};

Test(text, parses_numbers_in_a_range)
{
	for (size_t i = 0; i < ARRAY_LEN(uints); i++) {
		uint64_t got = KEPT;

		cr_assert_eq(
			text_parse_uint(uints[i].s, uints[i].min, uints[i].max, &got),
			uints[i].err, "%s", uints[i].s);
		cr_assert_eq(got, uints[i].want, "%s", uints[i].s);
	}
}

static const struct {
	uint64_t bytes;
	const char *want;
} shown_sizes[] = {
	{0, "0 B"},
	{17, "17 B"},
	{1023, "1023 B"},
	{1024, "1.0 K"},
	{1289, "1.3 K"},
	{10188, "9.9 K"},
	{10189, "10 K"}, /* 9.95 */
	{1023 << 10, "1023 K"},
	{(1024 << 10) - 513, "1023 K"},
	{(1024 << 10) - 512, "1.0 M"}, /* not 1024 K */
	{300 << 20, "300 M"},
	{UINT64_C(1288490189), "1.2 G"},
	{UINT64_C(1) << 40, "1.0 T"},
	{UINT64_C(1) << 50, "1.0 P"},
	{UINT64_C(1) << 60, "1.0 E"},
	{UINT64_MAX, "16 E"},
};

Test(text, shows_sizes)
{
	char out[TEXT_SIZE_MAX];

	for (size_t i = 0; i < ARRAY_LEN(shown_sizes); i++)
		cr_assert_str_eq(
			text_format_size(out, shown_sizes[i].bytes), shown_sizes[i].want);
}

static const struct {
	uint64_t ms;
	const char *want;
} shown_durations[] = {
	{0, "0.00 s"},
	{9, "0.00 s"},
	{420, "0.42 s"},
	{59999, "59.99 s"},
	{60000, "1:00"},
	{187000, "3:07"},
	{3599999, "59:59"},
	{3600000, "1:00:00"},
	{7844000, "2:10:44"},
	{360000000, "100:00:00"},
	{UINT64_C(3599999999999999), "999999999:59:59"},
};

Test(text, shows_durations)
{
	char out[TEXT_DURATION_MAX];

	for (size_t i = 0; i < ARRAY_LEN(shown_durations); i++)
		cr_assert_str_eq(text_format_duration(out, shown_durations[i].ms),
			shown_durations[i].want);
	cr_assert_eq(strncmp(text_format_duration(out, UINT64_MAX), "999999999:", 10), 0);
	cr_assert_eq(strlen(out), 15);
}

/* -- Hexadecimal -------------------------------------------------------- */

Test(text, hex_both_ways)
{
	const uint8_t bytes[] = {0x00, 0x09, 0x0a, 0x7f, 0x80, 0xaf, 0xff};
	uint8_t back[sizeof(bytes)];
	char out[2 * sizeof(bytes) + 1];

	cr_assert_eq(text_hex(out, bytes, sizeof(bytes)), out);
	cr_assert_str_eq(out, "00090a7f80afff");
	cr_assert_eq(text_unhex("00090A7f80aFFf", back, sizeof(back)), 0);
	cr_assert_arr_eq(back, bytes, sizeof(bytes));
	cr_assert_str_eq(text_hex(out, bytes, 0), "");
	cr_assert_eq(text_unhex("", back, 0), 0);
}

Test(text, unhex_takes_nothing_else)
{
	static const char *const wrong[] = {"", "0", "00", "000", "00000", "000000",
		"0g00", "00 0", "0000g", "0000 ", " 000", "0x00", "-100", "00:0", "000\n",
		"@000", "`000", "G000"};
	uint8_t out[2] = {7, 7};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		cr_assert_eq(text_unhex(wrong[i], out, 2), -ERR_USAGE, "%s", wrong[i]);
		cr_assert(out[0] == 7 && out[1] == 7, "written on failure");
	}
}
