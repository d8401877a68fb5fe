/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <criterion/criterion.h>
#include <string.h>

#include "base/err.h"
#include "wire/cursor.h"

Test(cursor, reads_big_endian)
{
	const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0xf8, 0xf9,
		0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, 0, 3, 'a', 0, 'b', 0x55, 0x66};
	uint8_t rest[2];
	struct rcur c;

	rcur_init(&c, bytes, sizeof(bytes));
	cr_assert_eq(rcur_u8(&c), 0x01);
	cr_assert_eq(rcur_u16(&c), 0x0203);
	cr_assert_eq(rcur_u32(&c), 0x04050607);
	cr_assert_eq(rcur_u64(&c), 0xf8f9fafbfcfdfeff);
	struct wire_str s = rcur_str(&c, 3);
	cr_assert_eq(s.len, 3);
	cr_assert_arr_eq(s.bytes, "a\0b", 3);
	cr_assert_eq(rcur_finish(&c), -ERR_PROTOCOL, "two bytes are left");
	rcur_bytes(&c, rest, sizeof(rest));
	cr_assert(rest[0] == 0x55 && rest[1] == 0x66);
	cr_assert_eq(rcur_finish(&c), 0);
}

Test(cursor, read_failure_sticks)
{
	const uint8_t bytes[] = {1, 2, 3};
	uint8_t out[4] = {9, 9, 9, 9};
	struct rcur c;

	rcur_init(&c, bytes, sizeof(bytes));
	cr_assert_eq(rcur_u32(&c), 0, "one byte short");
	cr_assert_eq(rcur_u8(&c), 0, "what is there is no longer given");
	rcur_bytes(&c, out, sizeof(out));
	cr_assert_arr_eq(out, "\0\0\0\0", 4);
	struct wire_str s = rcur_str(&c, 10);
	cr_assert_eq(s.len, 0);
	cr_assert_not_null(s.bytes);
	cr_assert_eq(rcur_finish(&c), -ERR_PROTOCOL);
}

Test(cursor, failure_at_the_very_end_is_seen)
{
	const uint8_t bytes[] = {1};
	struct rcur c;

	rcur_init(&c, bytes, sizeof(bytes));
	cr_assert_eq(rcur_u8(&c), 1);
	cr_assert_eq(rcur_finish(&c), 0);
	cr_assert_eq(rcur_u8(&c), 0);
	cr_assert_eq(rcur_finish(&c), -ERR_PROTOCOL);
}

static const struct {
	uint8_t bytes[5];
	size_t len, max;
	size_t str_len;
	int err;
} strings[] = {
	{{0, 0}, 2, 0, 0, 0},
	{{0, 3, 'a', 'b', 'c'}, 5, 3, 3, 0},
	{{0, 3, 'a', 'b', 'c'}, 5, 2, 0, -ERR_PROTOCOL}, /* over the limit */
	{{0, 4, 'a', 'b', 'c'}, 5, 9, 0, -ERR_PROTOCOL}, /* over the end */
	{{0xff, 0xff, 'a', 'b', 'c'}, 5, 65535, 0, -ERR_PROTOCOL},
	{{0}, 1, 9, 0, -ERR_PROTOCOL}, /* half a length */
	{{0}, 0, 9, 0, -ERR_PROTOCOL},
};

Test(cursor, strings_are_bounded)
{
	for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
		struct rcur c;

		rcur_init(&c, strings[i].bytes, strings[i].len);
		struct wire_str s = rcur_str(&c, strings[i].max);
		cr_assert_eq(rcur_finish(&c), strings[i].err, "row %zu", i);
		cr_assert_eq(s.len, strings[i].str_len, "row %zu", i);
	}
}

Test(cursor, writes_big_endian)
{
	const uint8_t want[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0xf8, 0xf9,
		0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, 0, 2, 'h', 'i', '!'};
	uint8_t got[sizeof(want)];
	struct wcur c;

	wcur_init(&c, got, sizeof(got));
	wcur_u8(&c, 0x01);
	wcur_u16(&c, 0x0203);
	wcur_u32(&c, 0x04050607);
	wcur_u64(&c, 0xf8f9fafbfcfdfeff);
	wcur_str(&c, "hi", 2);
	wcur_bytes(&c, "!", 1);
	wcur_bytes(&c, NULL, 0);
	cr_assert_eq(wcur_finish(&c), (int)sizeof(want));
	cr_assert_arr_eq(got, want, sizeof(want));
}

Test(cursor, write_failure_sticks)
{
	uint8_t got[4] = {7, 7, 7, 7};
	struct wcur c;

	wcur_init(&c, got, 3);
	wcur_u32(&c, 0x01020304);
	wcur_u8(&c, 1);
	cr_assert_arr_eq(got, "\7\7\7\7", 4, "nothing is written in part or afterwards");
	cr_assert_eq(wcur_finish(&c), -ERR_TOO_LARGE);
}

Test(cursor, string_over_16_bits_is_refused)
{
	static char text[65536];
	static uint8_t got[65536 + 2];
	struct wcur c;

	wcur_init(&c, got, sizeof(got));
	wcur_str(&c, text, 65535);
	cr_assert_eq(wcur_finish(&c), 65537);
	wcur_init(&c, got, sizeof(got));
	wcur_str(&c, text, 65536);
	cr_assert_eq(wcur_finish(&c), -ERR_TOO_LARGE);
}
