/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/secret.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

/* Computed by Python's hashlib and base64: the server's fingerprint is the bytes 0 to 31,
 * the secret 128 to 143. */
#define HASH "23d545f657a00f0227a5eeff502f52eb7148adc5b72f0b04d316c0fe0b56e7c4"
#define CODE "sockd1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-AgYKDhIWGh4iJiouMjY6PuhCW"
#define CODE_HIGH                                                                        \
	"sockd1.__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eC_vr28u7q5uLe2tbSzsrGwzPDL"

static struct invite_code vector(void)
{
	struct invite_code code;

	for (size_t i = 0; i < FINGERPRINT_LEN; i++)
		code.server[i] = (uint8_t)i;
	for (size_t i = 0; i < SECRET_LEN; i++)
		code.secret[i] = (uint8_t)(128 + i);
	return code;
}

/* Other bits, so that the characters 62 and 63 of the alphabet stand in the code. */
static struct invite_code vector_high(void)
{
	struct invite_code code = vector();
	uint8_t *bytes = (uint8_t *)&code;

	for (size_t i = 0; i < sizeof(code); i++)
		bytes[i] ^= i < FINGERPRINT_LEN ? 0xff : 0x3f;
	return code;
}

Test(secret, make_gives_others_each_time)
{
	enum { COUNT = 64 };
	uint8_t made[COUNT][SECRET_LEN] = {{0}}, seen[SECRET_LEN] = {0};

	for (size_t i = 0; i < COUNT; i++) {
		cr_assert_eq(secret_make(made[i]), 0);
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(memcmp(made[i], made[k], SECRET_LEN), 0);
		for (size_t k = 0; k < SECRET_LEN; k++)
			seen[k] |= (uint8_t)(made[i][k] ^ made[0][k]);
	}
	/* A bit that never changes in 64 is one in 2^63, and there are 128. */
	for (size_t k = 0; k < SECRET_LEN; k++)
		cr_assert_eq(seen[k], 0xff, "all bits of byte %zu are random", k);
}

Test(secret, hash_is_the_one_that_the_header_says)
{
	struct invite_code code = vector();
	uint8_t hash[SECRET_HASH_LEN];
	char hex[2 * SECRET_HASH_LEN + 1];

	cr_assert_eq(secret_hash(code.secret, hash), 0);
	cr_assert_str_eq(text_hex(hex, hash, sizeof(hash)), HASH);
}

Test(secret, equal_sees_each_bit)
{
	uint8_t a[65], b[65];

	for (size_t len = 0; len <= 64; len++) {
		for (size_t i = 0; i < sizeof(a); i++)
			a[i] = b[i] = (uint8_t)(i * 37 + len);
		b[len] ^= 1;
		cr_assert(secret_equal(a, b, len), "only %zu bytes count", len);
		b[len] ^= 1;
		for (size_t bit = 0; bit < 8 * len; bit++) {
			b[bit / 8] ^= (uint8_t)(1 << bit % 8);
			cr_assert_not(
				secret_equal(a, b, len), "bit %zu of %zu", bit, len);
			b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

Test(secret, wipe_clears_so_much)
{
	char bytes[] = "abcdef";

	secret_wipe(bytes + 1, 4);
	cr_assert_eq(memcmp(bytes, "a\0\0\0\0f", 7), 0);
	secret_wipe(bytes, 0);
	cr_assert_eq(bytes[0], 'a');
}

static void assert_code(const struct invite_code *code, const char *expected)
{
	char text[CODE_TEXT_MAX];
	struct invite_code parsed = {{0}, {0}};

	cr_assert_eq(code_format(text, code), 0);
	cr_assert_str_eq(text, expected);
	cr_assert_eq(code_parse(text, &parsed), 0);
	cr_assert_eq(memcmp(&parsed, code, sizeof(parsed)), 0);
}

Test(code, known_answers)
{
	struct invite_code code = vector(), high = vector_high();

	assert_code(&code, CODE);
	assert_code(&high, CODE_HIGH);
}

Test(code, survives_for_random_secrets)
{
	struct invite_code code = vector(), parsed;
	char text[CODE_TEXT_MAX];

	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(secret_make(code.secret), 0);
		cr_assert_eq(code_format(text, &code), 0);
		cr_assert_eq(strlen(text), CODE_TEXT_MAX - 1);
		cr_assert_eq(code_parse(text, &parsed), 0);
		cr_assert_eq(memcmp(&parsed, &code, sizeof(parsed)), 0);
	}
}

static void assert_refused(const char *text)
{
	struct invite_code code, before;

	memset(&code, 0x5a, sizeof(code));
	before = code;
	cr_assert_eq(code_parse(text, &code), -ERR_USAGE, "\"%s\"", text);
	cr_assert_eq(memcmp(&code, &before, sizeof(code)), 0, "nothing is written");
}

/* All that one character could be, also another of the alphabet: the check decides. */
Test(code, each_change_of_one_character_is_refused)
{
	static const char *const codes[] = {CODE, CODE_HIGH};
	char text[CODE_TEXT_MAX];

	for (size_t c = 0; c < ARRAY_LEN(codes); c++)
		for (size_t at = 0; at < CODE_TEXT_MAX - 1; at++)
			for (int byte = 0; byte < 256; byte++) {
				memcpy(text, codes[c], sizeof(text));
				if (text[at] == (char)byte)
					continue;
				text[at] = (char)byte;
				assert_refused(text);
			}
}

Test(code, neighbours_swapped_are_refused)
{
	for (size_t at = 0; at < CODE_TEXT_MAX - 2; at++) {
		char text[CODE_TEXT_MAX] = CODE;
		text[at] = CODE[at + 1];
		text[at + 1] = CODE[at];
		if (strcmp(text, CODE) != 0)
			assert_refused(text);
	}
}

Test(code, a_character_too_few_or_too_many_is_refused)
{
	for (size_t at = 0; at < CODE_TEXT_MAX - 1; at++) {
		char fewer[CODE_TEXT_MAX], more[CODE_TEXT_MAX + 1];
		memcpy(fewer, CODE, at);
		memcpy(fewer + at, &CODE[at + 1], CODE_TEXT_MAX - at - 1);
		assert_refused(fewer);
		memcpy(more, CODE, at + 1);
		memcpy(more + at + 1, &CODE[at], CODE_TEXT_MAX - at);
		assert_refused(more);
	}
}

static const char *const refused[] = {
	"",
	"sockd1.",
	"sockd",
	CODE "\n",
	CODE " ",
	CODE "=",
	CODE "====",
	CODE CODE,
	" " CODE,
	"\n" CODE,
	/* Of the right length. */
	"sockd2.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-AgYKDhIWGh4iJiouMjY6PuhCW",
	"SOCKD1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-AgYKDhIWGh4iJiouMjY6PuhCW",
	"sockd1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+AgYKDhIWGh4iJiouMjY6PuhCW",
	"sockd1.    AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-AgYKDhIWGh4iJiouMjY6P",
};

Test(code, other_texts_are_refused)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		assert_refused(refused[i]);
}
