/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/client.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define FP "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static struct client *client_make(void)
{
	struct client *c;
	const char *why;

	cr_assert_eq(client_new(&c, "bob", &why), 0);
	return c;
}

/* KEY takes VALUE, or says why not. */
static bool takes(struct client *c, const char *key, const char *value)
{
	const char *why = NULL;
	int err = client_set(c, key, value, &why);

	cr_assert(err == 0 || (err == -ERR_USAGE && why), "%s = \"%s\"", key, value);
	return err == 0;
}

Test(client, begins_without_rights)
{
	struct client *c = client_make();

	cr_assert_str_eq(c->name, "bob");
	cr_assert_eq(c->rights, RIGHT_NONE);
	cr_assert_str_eq(c->path, "");
	cr_assert_not(c->has_fingerprint);
	cr_assert(c->quota_bytes == 0 && c->quota_files == 0 && c->limit == 0 &&
		  c->max_connections == 0);
	client_put(c);
	client_put(NULL);
}

Test(client, names)
{
	static const char longest[] = "1234567890123456789012345678901234567890"
				      "123456789012345678901234";
	static const char *const good[] = {"a", "a-b", "a.b_c@d", "7", "@", "_", longest};
	static const char *const bad[] = {"", "-a", ".a", "a b", "a/b", "a]", "a\n",
		"b\xc3\xb6", "a;b", "a\\", "a\x7f",
		"12345678901234567890123456789012345678901234567890123456789012345"};
	struct client *c = NULL;
	const char *why;

	cr_assert_eq(strlen(longest), CLIENT_NAME_MAX);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		cr_assert_eq(client_new(&c, good[i], &why), 0, "%s", good[i]);
		cr_assert_str_eq(c->name, good[i]);
		client_put(c);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		why = NULL;
		cr_assert_eq(client_new(&c, bad[i], &why), -ERR_USAGE, "%s", bad[i]);
		cr_assert_not_null(why);
	}
}

Test(client, rights_by_their_words)
{
	uint32_t rights = 0;

	cr_assert_eq(rights_parse("read", &rights), 0);
	cr_assert_eq(rights, RIGHT_READ);
	cr_assert_eq(rights_parse("delete,list", &rights), 0);
	cr_assert_eq(rights, RIGHT_DELETE | RIGHT_LIST);
	cr_assert_eq(rights_parse("none", &rights), 0);
	cr_assert_eq(rights, RIGHT_NONE);
}

Test(client, rights_that_make_no_sense)
{
	static const char *const bad[] = {"", ",", "read,", ",read", "read,,list",
		"read,read", "none,read", "read,none", "none,", "Read", "reading", "rea",
		"read list", "read, list", "all", " read"};
	uint32_t rights = 77;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_eq(rights_parse(bad[i], &rights), -ERR_USAGE, "\"%s\"", bad[i]);
	cr_assert_eq(rights, 77, "only written on success");
}

Test(client, every_set_of_rights_reads_back)
{
	for (uint32_t rights = 0; rights < 32; rights++) {
		char text[RIGHTS_TEXT_MAX];
		uint32_t again = 77;

		cr_assert_eq(rights_format(text, rights), text);
		cr_assert_lt(strlen(text), RIGHTS_TEXT_MAX);
		cr_assert_eq(rights_parse(text, &again), 0, "%s", text);
		cr_assert_eq(again, rights, "%s", text);
	}
}

Test(client, paths)
{
	static const char *const roots[] = {".", "/"};
	static const char *const good[] = {"a", "a/b", "a b/c;d", "...", "-"};
	static const char *const bad[] = {"", "/a", "a/", "//", "a//b", "..", "../a",
		"a/../b", "./a", "a/.", ".sockd-partial", "a/.sockd-partial/b"};
	struct client *c = client_make();

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		cr_assert(takes(c, "path", good[i]), "%s", good[i]);
		cr_assert_str_eq(c->path, good[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_not(takes(c, "path", bad[i]), "%s", bad[i]);
	cr_assert_str_eq(c->path, "-", "what is wrong changes nothing");
	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		cr_assert(takes(c, "path", "x"));
		cr_assert(takes(c, "path", roots[i]));
		cr_assert_str_eq(c->path, "");
	}
	client_put(c);
}

Test(client, numbers)
{
	struct client *c = client_make();

	cr_assert(takes(c, "quota-bytes", "10G"));
	cr_assert_eq(c->quota_bytes, UINT64_C(10) << 30);
	cr_assert(takes(c, "quota-bytes", "0"));
	cr_assert_eq(c->quota_bytes, 0);
	cr_assert(takes(c, "quota-files", "1000"));
	cr_assert_eq(c->quota_files, 1000);
	cr_assert_not(takes(c, "quota-files", "1K"));
	cr_assert(takes(c, "max-connections", "4294967295"));
	cr_assert_eq(c->max_connections, UINT32_MAX);
	cr_assert_not(takes(c, "max-connections", "4294967296"));
	cr_assert(takes(c, "limit", "2M"));
	cr_assert_eq(c->limit, 2u << 20);
	for (size_t i = 0; i < 4; i++) {
		static const char *const keys[] = {
			"quota-bytes", "quota-files", "max-connections", "limit"};
		static const char *const bad[] = {"", "-1", "x", "1x", " 1", "1 ", "0x10",
			"1.5", "18446744073709551616"};
		for (size_t k = 0; k < ARRAY_LEN(bad); k++)
			cr_assert_not(
				takes(c, keys[i], bad[k]), "%s = %s", keys[i], bad[k]);
	}
	client_put(c);
}

Test(client, fingerprint)
{
	static const uint8_t zeroes[FINGERPRINT_LEN];
	struct client *c = client_make();

	cr_assert_not(takes(c, "fingerprint", "SHA256:AAAA"));
	cr_assert_not(c->has_fingerprint);
	memset(c->fingerprint, 1, sizeof(c->fingerprint));
	cr_assert(takes(c, "fingerprint", FP));
	cr_assert(c->has_fingerprint);
	cr_assert_arr_eq(c->fingerprint, zeroes, FINGERPRINT_LEN);
	client_put(c);
}

Test(client, a_key_that_there_is_not)
{
	struct client *c = client_make();
	const char *why = "untouched";

	cr_assert_eq(client_set(c, "right", "read", &why), -ERR_USAGE);
	cr_assert_null(why);
	client_put(c);
}

Test(client, equal_is_who_may_do_the_same)
{
	static const char *const changes[][2] = {{"rights", "read"}, {"path", "a"},
		{"quota-bytes", "1"}, {"quota-files", "1"}, {"max-connections", "1"},
		{"limit", "1"}};
	struct client *a = client_make(), *b = client_make(), *other;
	const char *why;

	cr_assert(takes(a, "fingerprint", FP));
	cr_assert(client_is_equal(a, b), "fingerprints apart");
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		cr_assert(takes(a, changes[i][0], changes[i][1]));
		cr_assert_not(client_is_equal(a, b), "%s", changes[i][0]);
		cr_assert(takes(b, changes[i][0], changes[i][1]));
		cr_assert(client_is_equal(a, b), "%s", changes[i][0]);
	}
	cr_assert_eq(client_new(&other, "rob", &why), 0);
	client_put(b);
	b = client_make();
	cr_assert_not(client_is_equal(other, b), "name");
	client_put(a);
	client_put(b);
	client_put(other);
}

Test(client, lives_as_long_as_anybody_has_it)
{
	struct client *c = client_make();

	cr_assert_eq(client_get(c), c);
	client_put(c);
	cr_assert_str_eq(c->name, "bob"); /* AddressSanitizer sees when it is gone */
	client_put(c);
}
