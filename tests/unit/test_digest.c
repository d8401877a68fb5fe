/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <criterion/criterion.h>
#include <string.h>

#include "base/text.h"
#include "crypto/digest.h"

#define HEX_LEN (2 * DIGEST_LEN + 1)

/* FIPS 180-4's examples (NIST, "SHA-256 Example"), and sha256sum's word for the rest. */
static const struct {
	const char *text;
	size_t repeat;
	const char *want;
} vectors[] = {
	{"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	{"a", 1000000,
		"cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

static void check_digest(const uint8_t digest[DIGEST_LEN], const char *want)
{
	char hex[HEX_LEN];

	cr_assert_str_eq(text_hex(hex, digest, DIGEST_LEN), want);
}

Test(digest, known_answers_from_one_object)
{
	CLEANUP(digest_freep) struct digest *d = digest_new();
	uint8_t out[DIGEST_LEN];

	cr_assert_not_null(d);
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		cr_assert_eq(digest_start(d), 0);
		for (size_t k = 0; k < vectors[i].repeat; k++)
			cr_assert_eq(digest_update(
					     d, vectors[i].text, strlen(vectors[i].text)),
				0);
		cr_assert_eq(digest_finish(d, out), 0);
		check_digest(out, vectors[i].want);
	}
}

Test(digest, peek_leaves_the_running_state)
{
	CLEANUP(digest_freep) struct digest *d = digest_new();
	uint8_t out[DIGEST_LEN];

	cr_assert_eq(digest_start(d), 0);
	cr_assert_eq(digest_peek(d, out), 0);
	check_digest(out, vectors[0].want);
	cr_assert_eq(digest_update(d, "ab", 2), 0);
	cr_assert_eq(digest_peek(d, out), 0);
	cr_assert_eq(digest_update(d, "c", 1), 0);
	for (int i = 0; i < 3; i++) {
		memset(out, 0, sizeof(out));
		cr_assert_eq(digest_peek(d, out), 0);
		check_digest(out, vectors[1].want);
	}
	cr_assert_eq(digest_finish(d, out), 0);
	check_digest(out, vectors[1].want);
}

Test(digest, start_forgets_what_was_given)
{
	CLEANUP(digest_freep) struct digest *d = digest_new();
	uint8_t out[DIGEST_LEN];

	cr_assert_eq(digest_start(d), 0);
	cr_assert_eq(digest_update(d, "a transfer that broke off", 25), 0);
	cr_assert_eq(digest_peek(d, out), 0);
	cr_assert_eq(digest_start(d), 0);
	cr_assert_eq(digest_update(d, "abc", 3), 0);
	cr_assert_eq(digest_update(d, NULL, 0), 0);
	cr_assert_eq(digest_finish(d, out), 0);
	check_digest(out, vectors[1].want);
}

Test(digest, of_a_short_text)
{
	uint8_t out[DIGEST_LEN];

	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(digest_of(vectors[i].text, strlen(vectors[i].text), out), 0);
		check_digest(out, vectors[i].want);
	}
}

Test(digest, free_takes_nothing)
{
	struct digest *none = NULL;

	digest_free(NULL);
	digest_freep(&none);
}
