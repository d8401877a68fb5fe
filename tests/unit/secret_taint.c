/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For tests/check-constant-time: compares secrets that valgrind holds for undefined, so
 * that it reports each branch and each address that depends on them.  With the argument
 * "control" it compares with memcmp, where it must find one.
 */
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "crypto/secret.h"

#define LEN_MAX 64

/* Through a pointer that no compiler looks through: it would make of a short memcmp a
 * comparison without branches. */
static int (*volatile compare)(const void *, const void *, size_t) = memcmp;

static bool equal_memcmp(const void *a, const void *b, size_t len)
{
	return compare(a, b, len) == 0;
}

/* Two secrets that differ at DIFFERS, or nowhere when that is LEN. */
static bool is_right(
	bool (*equal)(const void *, const void *, size_t), size_t len, size_t differs)
{
	uint8_t a[LEN_MAX + 1], b[LEN_MAX + 1];

	memset(a, 0x5a, sizeof(a));
	memset(b, 0x5a, sizeof(b));
	b[differs] ^= 1;
	VALGRIND_MAKE_MEM_UNDEFINED(a, sizeof(a));
	VALGRIND_MAKE_MEM_UNDEFINED(b, sizeof(b));
	bool result = equal(a, b, len);
	/* Whether they are equal is no secret. */
	VALGRIND_MAKE_MEM_DEFINED(&result, sizeof(result));
	return result == (differs == len);
}

int main(int argc, char **argv)
{
	static const size_t lens[] = {SECRET_LEN, SECRET_HASH_LEN, LEN_MAX};
	bool control = argc == 2 && strcmp(argv[1], "control") == 0;
	int wrong = 0;

	if (!RUNNING_ON_VALGRIND) {
		fprintf(stderr, "not under valgrind\n");
		return 2;
	}
	for (size_t i = 0; i < ARRAY_LEN(lens); i++)
		for (size_t at = 0; at <= lens[i]; at++)
			wrong += !is_right(
				control ? equal_memcmp : secret_equal, lens[i], at);
	printf("%d wrong\n", wrong);
	return wrong ? 1 : 0;
}
