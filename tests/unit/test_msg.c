/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The build gives TEST_SRCDIR, the top of the source tree. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/path.h"
#include "base/text.h"
#include "wire/frame.h"
#include "wire/msg.h"

#define VECTORS_FILE TEST_SRCDIR "/tests/vectors/messages.txt"

/* clang-format off */
#define STR(s) {(s), sizeof(s) - 1}
#define RUN {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#define TAG {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}
#define SECRET {32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47}
#define WHEN {1700000000, 500000000}
#define ABC { \
	0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, \
	0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad}
#define EMPTY { \
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, \
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55}
/* clang-format on */

#define ABC_HEX   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define EMPTY_HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* Encoder and decoder of each message behind one signature. */
#define CODEC(name)                                                                      \
	static void name##_encode(struct wcur *c, const void *m)                         \
	{                                                                                \
		msg_##name##_encode(c, m);                                               \
	}                                                                                \
	static int name##_recode(struct wcur *c, const uint8_t *p, size_t len)           \
	{                                                                                \
		struct msg_##name m;                                                     \
		int err = msg_##name##_decode(&m, p, len);                               \
		if (err == 0)                                                            \
			msg_##name##_encode(c, &m);                                      \
		return err;                                                              \
	}

CODEC(hello)
CODEC(error)
CODEC(note)
CODEC(ask)
CODEC(offer)
CODEC(proof)
CODEC(put)
CODEC(get)
CODEC(file)
CODEC(hole)
CODEC(check)
CODEC(done)
CODEC(ok)
CODEC(list)
CODEC(next)
CODEC(entry)
CODEC(listed)
CODEC(mkdir)
CODEC(link)
CODEC(attr)
CODEC(stat)
CODEC(join)

#define VECTOR(name_, type_, codec, ...)                                                 \
	.name = name_, .type = type_, .encode = codec##_encode,                          \
	.recode = codec##_recode, .message = &(const struct msg_##codec)                 \
	{                                                                                \
		__VA_ARGS__                                                              \
	}

static const struct vector {
	const char *name;
	uint8_t type;
	void (*encode)(struct wcur *c, const void *m);
	int (*recode)(struct wcur *c, const uint8_t *p, size_t len);
	const void *message;
	const char *hex; /* a space between fields */
} vectors[] = {
	{VECTOR("HELLO", MSG_HELLO, hello, 1, 262144, 64, 5, RUN, STR("sockcp 0.1")),
		.hex = "0001 00040000 00000040 0000000000000005 "
		       "000102030405060708090a0b0c0d0e0f 000a 736f636b637020302e31"},
	{VECTOR("ERROR", MSG_ERROR, error, ERR_NOT_FOUND, STR("no such file")),
		.hex = "0007 000c 6e6f20737563682066696c65"},
	{VECTOR("NOTE", MSG_NOTE, note, 0x12345678), .hex = "0000000012345678"},
	{VECTOR("ASK", MSG_ASK, ask, ASK_PARTIAL | ASK_NO_CLOBBER, 0x100000001, WHEN, TAG,
		 STR("dir/file")),
		.hex = "00000005 0000000100000001 000000006553f100 1dcd6500 "
		       "101112131415161718191a1b1c1d1e1f 0008 6469722f66696c65"},
	{VECTOR("ASK.unknown", MSG_ASK, ask, ASK_UPDATE, MSG_SIZE_UNKNOWN, WHEN, TAG,
		 STR("-")),
		.hex = "00000002 ffffffffffffffff 000000006553f100 1dcd6500 "
		       "101112131415161718191a1b1c1d1e1f 0001 2d"},
	{VECTOR("PUT", MSG_PUT, put,
		 PUT_PARENTS | PUT_NO_SYNC | PUT_PRESERVE | PUT_RESUMABLE, DIGEST_SHA256,
		 TAG, STR("a")),
		.hex = "0000001d 01 101112131415161718191a1b1c1d1e1f 0001 61"},
	{VECTOR("GET", MSG_GET, get, DIGEST_SHA256, 4194304,
		 STR("gr\xc3\xb6\xc3\x9f\x65")),
		.hex = "01 0000000000400000 0007 6772c3b6c39f65"},
	{VECTOR("LIST", MSG_LIST, list, LIST_RECURSIVE, 1000, STR("")),
		.hex = "00000001 000003e8 0000"},
	{VECTOR("LIST.one", MSG_LIST, list, 0, 0, STR("d")),
		.hex = "00000000 00000000 0001 64"},
	{VECTOR("NEXT", MSG_NEXT, next, 4096), .hex = "00001000"},
	{VECTOR("MKDIR", MSG_MKDIR, mkdir, PUT_PARENTS, 0755, STR("a/b")),
		.hex = "00000001 000001ed 0003 612f62"},
	{VECTOR("LINK", MSG_LINK, link, PUT_PARENTS | PUT_NO_CLOBBER, STR("l"),
		 STR("../x")),
		.hex = "00000003 0001 6c 0004 2e2e2f78"},
	{VECTOR("ATTR", MSG_ATTR, attr, 0700, {-1, 999999999}, STR("d")),
		.hex = "000001c0 ffffffffffffffff 3b9ac9ff 0001 64"},
	{VECTOR("STAT", MSG_STAT, stat, STR("dir/link")), .hex = "0008 6469722f6c696e6b"},
	{VECTOR("STAT.root", MSG_STAT, stat, STR("")), .hex = "0000"},
	{VECTOR("JOIN", MSG_JOIN, join, SECRET),
		.hex = "202122232425262728292a2b2c2d2e2f"},
	{VECTOR("FILE", MSG_FILE, file, 10485760, 4194304, 0644, WHEN, FILE_SPARSE),
		.hex = "0000000000a00000 0000000000400000 000001a4 000000006553f100 "
		       "1dcd6500 00000001"},
	{VECTOR("FILE.unknown", MSG_FILE, file, MSG_SIZE_UNKNOWN, 0, 0600, {0, 0}, 0),
		.hex = "ffffffffffffffff 0000000000000000 00000180 0000000000000000 "
		       "00000000 00000000"},
	{VECTOR("HOLE", MSG_HOLE, hole, CHECKPOINT_INTERVAL), .hex = "00400000"},
	{VECTOR("CHECK", MSG_CHECK, check, 8388608, ABC),
		.hex = "0000000000800000 " ABC_HEX},
	{VECTOR("END", MSG_END, check, 0, EMPTY), .hex = "0000000000000000 " EMPTY_HEX},
	{VECTOR("ABORT", MSG_ABORT, error, ERR_CHANGED, STR("")), .hex = "0016 0000"},
	{VECTOR("OFFER", MSG_OFFER, offer, OFFER_PARTIAL, 4194304),
		.hex = "01 0000000000400000"},
	{VECTOR("OFFER.same", MSG_OFFER, offer, OFFER_SAME, 0),
		.hex = "03 0000000000000000"},
	{VECTOR("PROOF", MSG_PROOF, proof, ABC), .hex = ABC_HEX},
	{VECTOR("DONE", MSG_DONE, done, DURABLE_DISK, 3, ABC),
		.hex = "01 0000000000000003 " ABC_HEX},
	{VECTOR("OK", MSG_OK, ok, DURABLE_DISK), .hex = "01"},
	{VECTOR("ENTRY", MSG_ENTRY, entry, ENTRY_FILE, 0, 4096, 0640, WHEN, STR("f"),
		 STR("")),
		.hex = "01 0000 0000000000001000 000001a0 000000006553f100 1dcd6500 "
		       "0001 66 0000"},
	{VECTOR("ENTRY.link", MSG_ENTRY, entry, ENTRY_LINK, 0, 4, 0777, WHEN, STR("l"),
		 STR("../x")),
		.hex = "03 0000 0000000000000004 000001ff 000000006553f100 1dcd6500 "
		       "0001 6c 0004 2e2e2f78"},
	{VECTOR("ENTRY.error", MSG_ENTRY, entry, ENTRY_ERROR, ERR_ACCESS, 0, 0, {0, 0},
		 STR("s"), STR("")),
		.hex = "05 0012 0000000000000000 00000000 0000000000000000 00000000 "
		       "0001 73 0000"},
	{VECTOR("LISTED", MSG_LISTED, listed, 1), .hex = "01"},
};

/* On the heap and of its exact size, so that AddressSanitizer sees a step too far. */
struct bytes {
	uint8_t *p;
	size_t len;
};

/* The digits alone. */
static size_t hex_squeeze(char out[256], const char *hex)
{
	size_t len = 0;

	for (; *hex; hex++)
		if (!strchr(" \n", *hex))
			out[len++] = *hex;
	out[len] = '\0';
	return len;
}

static struct bytes bytes_of(const struct vector *v)
{
	char hex[256];
	struct bytes b = {.len = hex_squeeze(hex, v->hex) / 2};

	b.p = malloc(b.len);
	cr_assert_eq(text_unhex(hex, b.p, b.len), 0, "%s", v->name);
	return b;
}

static struct bytes bytes_part(const uint8_t *p, size_t len)
{
	struct bytes b = {malloc(len), len};
	if (len > 0)
		memcpy(b.p, p, len);
	return b;
}

/* Decodes and, if that went well, expects the same bytes when encoded again. */
static int recode(const struct vector *v, const uint8_t *p, size_t len)
{
	static uint8_t again[MSG_PAYLOAD_MAX];
	struct bytes exact = bytes_part(p, len);
	struct wcur c;

	wcur_init(&c, again, sizeof(again));
	int err = v->recode(&c, exact.p, len);
	if (err == 0 && v->type != MSG_HELLO) {
		cr_assert_eq(wcur_finish(&c), (int)len, "%s", v->name);
		cr_assert_eq(memcmp(again, p, len), 0, "%s", v->name);
	}
	free(exact.p);
	return err;
}

static const struct vector *vector_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++)
		if (strcmp(vectors[i].name, name) == 0)
			return &vectors[i];
	return NULL;
}

Test(msg, encodes_to_the_vector)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct bytes want = bytes_of(v);
		uint8_t *got = malloc(want.len);
		struct wcur c;

		wcur_init(&c, got, want.len);
		v->encode(&c, v->message);
		cr_assert_eq(wcur_finish(&c), (int)want.len, "%s", v->name);
		cr_assert_arr_eq(got, want.p, want.len, "%s", v->name);

		for (size_t cap = 0; cap < want.len; cap++) {
			wcur_init(&c, got, cap);
			v->encode(&c, v->message);
			cr_assert_eq(wcur_finish(&c), -ERR_TOO_LARGE, "%s", v->name);
		}
		free(got);
		free(want.p);
	}
}

/* The encoder writes every field in full, so two messages with the same bytes
 * are the same: decoding and encoding again proves the decoder field by field. */
Test(msg, decodes_from_the_vector)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct bytes b = bytes_of(&vectors[i]);
		uint8_t again[128];
		struct wcur c;

		wcur_init(&c, again, sizeof(again));
		cr_assert_eq(vectors[i].recode(&c, b.p, b.len), 0, "%s", vectors[i].name);
		cr_assert_eq(wcur_finish(&c), (int)b.len, "%s", vectors[i].name);
		cr_assert_arr_eq(again, b.p, b.len, "%s", vectors[i].name);
		free(b.p);
	}
}

Test(msg, refuses_every_truncation)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct bytes b = bytes_of(&vectors[i]);
		for (size_t len = 0; len < b.len; len++)
			cr_assert_eq(recode(&vectors[i], b.p, len), -ERR_PROTOCOL,
				"%s cut to %zu", vectors[i].name, len);
		free(b.p);
	}
}

Test(msg, only_hello_may_grow)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct bytes b = bytes_of(v);
		int want = v->type == MSG_HELLO ? 0 : -ERR_PROTOCOL;

		b.p = realloc(b.p, b.len + 1);
		b.p[b.len] = 0;
		cr_assert_eq(recode(v, b.p, b.len + 1), want, "%s", v->name);
		free(b.p);
	}
}

/* Fields overwritten in a vector, and what the decoder says then. */
static const struct {
	const char *vector;
	size_t offset;
	const char *hex;
	int err;
} patches[] = {
	{"HELLO", 0, "0000", -ERR_PROTOCOL}, /* version */
	{"HELLO", 0, "0002", 0},
	{"HELLO", 2, "00000800", -ERR_PROTOCOL}, /* chunk size */
	{"HELLO", 2, "00001000", 0},
	{"HELLO", 2, "00001001", -ERR_PROTOCOL},
	{"HELLO", 2, "00060000", -ERR_PROTOCOL},
	{"HELLO", 2, "00400000", 0},
	{"HELLO", 2, "00800000", -ERR_PROTOCOL},
	{"HELLO", 6, "00000000", -ERR_PROTOCOL}, /* depth */
	{"HELLO", 6, "00000001", 0},
	{"HELLO", 6, "0000ffff", 0},
	{"HELLO", 6, "00010000", -ERR_PROTOCOL},
	{"HELLO", 10, "ffffffffffffffff", 0}, /* features */
	{"ERROR", 0, "0000", -ERR_PROTOCOL},  /* code */
	{"ERROR", 0, "0019", 0},
	{"ERROR", 0, "0100", -ERR_PROTOCOL}, /* local, cannot be received */
	{"ABORT", 0, "0000", -ERR_PROTOCOL},
	{"NOTE", 0, "ffffffffffffffff", 0},
	{"ASK", 0, "00000010", -ERR_PROTOCOL}, /* flags */
	{"ASK", 0, "80000000", -ERR_PROTOCOL},
	{"ASK", 0, "0000000f", 0},
	{"ASK", 4, "7fffffffffffffff", 0}, /* size */
	{"ASK", 4, "8000000000000000", -ERR_PROTOCOL},
	{"ASK", 4, "fffffffffffffffe", -ERR_PROTOCOL},
	{"ASK", 20, "3b9aca00", -ERR_PROTOCOL}, /* nanoseconds */
	{"ASK", 20, "3b9ac9ff", 0},
	{"ASK", 42, "2f", -ERR_BAD_NAME}, /* path */
	{"ASK", 42, "00", -ERR_BAD_NAME},
	{"PUT", 0, "00000020", -ERR_PROTOCOL},
	{"PUT", 0, "0000001f", 0},
	{"PUT", 4, "00", -ERR_PROTOCOL}, /* algorithm */
	{"PUT", 4, "ff", 0},
	{"PUT", 23, "2e", -ERR_BAD_NAME},
	{"GET", 0, "00", -ERR_PROTOCOL},
	{"GET", 0, "02", 0},
	{"GET", 1, "8000000000000000", -ERR_PROTOCOL},
	{"GET", 11, "2e2e2f", -ERR_BAD_NAME},
	{"LIST", 0, "00000002", -ERR_PROTOCOL},
	{"LIST", 0, "00000004", -ERR_PROTOCOL},
	{"LIST", 4, "00001000", 0}, /* max */
	{"LIST", 4, "00001001", -ERR_PROTOCOL},
	{"LIST.one", 10, "2f", -ERR_BAD_NAME},
	{"NEXT", 0, "00000000", 0},
	{"NEXT", 0, "00001001", -ERR_PROTOCOL},
	{"MKDIR", 0, "00000002", -ERR_PROTOCOL},
	{"MKDIR", 4, "000001ff", 0}, /* mode */
	{"MKDIR", 4, "00000200", -ERR_PROTOCOL},
	{"MKDIR", 4, "80000000", -ERR_PROTOCOL},
	{"MKDIR", 10, "612f2f", -ERR_BAD_NAME},
	{"MKDIR", 0, "00000004", 0}, /* not to be flushed */
	{"LINK", 0, "00000004", 0},
	{"LINK", 0, "00000008", -ERR_PROTOCOL},
	{"LINK", 6, "2e", -ERR_BAD_NAME},
	{"LINK", 9, "00", -ERR_PROTOCOL}, /* NUL in the target */
	{"ATTR", 0, "00000200", -ERR_PROTOCOL},
	{"ATTR", 12, "3b9aca00", -ERR_PROTOCOL},
	{"ATTR", 18, "2f", -ERR_BAD_NAME},
	{"STAT", 6, "2f", -ERR_BAD_NAME},
	{"STAT", 0, "0007", -ERR_PROTOCOL}, /* a byte is left over */
	{"JOIN", 0, "00000000000000000000000000000000", 0},
	{"FILE", 0, "00000000003fffff", -ERR_PROTOCOL}, /* size below the offset */
	{"FILE", 0, "0000000000400000", 0},
	{"FILE", 0, "8000000000000000", -ERR_PROTOCOL},
	{"FILE", 16, "00000200", -ERR_PROTOCOL},
	{"FILE", 16, "000001ff", 0},
	{"FILE", 28, "3b9aca00", -ERR_PROTOCOL},
	{"FILE", 32, "00000002", -ERR_PROTOCOL}, /* a flag that is not known */
	{"FILE", 32, "00000000", 0},
	{"HOLE", 0, "00000000", -ERR_PROTOCOL},
	{"HOLE", 0, "00000001", 0},
	{"HOLE", 0, "00400001", -ERR_PROTOCOL}, /* more than a checkpoint */
	{"FILE.unknown", 8, "7fffffffffffffff", 0},
	{"FILE.unknown", 8, "8000000000000000", -ERR_PROTOCOL},
	{"FILE.unknown", 8, "ffffffffffffffff", -ERR_PROTOCOL},
	{"CHECK", 0, "ffffffffffffffff", -ERR_PROTOCOL},
	{"OFFER", 0, "00", -ERR_PROTOCOL}, /* NONE with an offset */
	{"OFFER", 0, "02", 0},
	{"OFFER", 0, "03", -ERR_PROTOCOL}, /* SAME with an offset */
	{"OFFER", 0, "04", -ERR_PROTOCOL},
	{"OFFER", 1, "8000000000000000", -ERR_PROTOCOL},
	{"OFFER.same", 0, "00", 0},
	{"DONE", 0, "00", 0},
	{"DONE", 0, "02", -ERR_PROTOCOL},
	{"DONE", 1, "ffffffffffffffff", -ERR_PROTOCOL},
	{"OK", 0, "02", -ERR_PROTOCOL},
	{"ENTRY", 0, "00", -ERR_PROTOCOL}, /* kind */
	{"ENTRY", 0, "06", -ERR_PROTOCOL},
	{"ENTRY", 0, "04", 0},
	{"ENTRY", 0, "03", -ERR_PROTOCOL},   /* a link without a target */
	{"ENTRY", 0, "05", -ERR_PROTOCOL},   /* an error without a code */
	{"ENTRY", 1, "0012", -ERR_PROTOCOL}, /* a code without an error */
	{"ENTRY", 3, "8000000000000000", -ERR_PROTOCOL},
	{"ENTRY", 11, "00000200", -ERR_PROTOCOL},
	{"ENTRY", 23, "3b9aca00", -ERR_PROTOCOL},
	{"ENTRY", 29, "2e", -ERR_BAD_NAME},
	{"ENTRY.link", 0, "01", -ERR_PROTOCOL}, /* a file with a target */
	{"ENTRY.link", 35, "00", -ERR_PROTOCOL},
	{"ENTRY.error", 1, "0100", -ERR_PROTOCOL},
	{"LISTED", 0, "00", 0},
	{"LISTED", 0, "02", -ERR_PROTOCOL},
};

Test(msg, checks_every_field)
{
	for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
		const struct vector *v = vector_named(patches[i].vector);
		size_t len = strlen(patches[i].hex) / 2;
		struct bytes b = bytes_of(v);

		cr_assert_leq(patches[i].offset + len, b.len);
		cr_assert_eq(text_unhex(patches[i].hex, b.p + patches[i].offset, len), 0);
		cr_assert_eq(recode(v, b.p, b.len), patches[i].err, "%s at %zu: %s",
			v->name, patches[i].offset, patches[i].hex);
		free(b.p);
	}
}

Test(msg, unknown_code_is_read_as_protocol_error)
{
	const uint8_t error[] = {0x00, ERR_QUOTA + 1, 0x00, 0x02, 'h', 'i'};
	struct msg_error m;

	cr_assert_eq(msg_error_decode(&m, error, sizeof(error)), 0);
	cr_assert_eq(m.code, ERR_PROTOCOL);
	cr_assert_eq(m.text.len, 2);
	cr_assert_arr_eq(m.text.bytes, "hi", 2);
}

/* The receiver of a GET must know whether PROOF follows, also when it refuses. */
Test(msg, bad_name_leaves_the_other_fields)
{
	const uint8_t get[] = {1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, '.', '.'};
	struct msg_get m;

	cr_assert_eq(msg_get_decode(&m, get, sizeof(get)), -ERR_BAD_NAME);
	cr_assert_eq(m.offset, 9);
}

Test(msg, failure_writes_nothing)
{
	const uint8_t ok[] = {2};
	struct msg_ok m = {.durability = 77};

	cr_assert_eq(msg_ok_decode(&m, ok, sizeof(ok)), -ERR_PROTOCOL);
	cr_assert_eq(m.durability, 77);
}

/* Strings of every allowed length pass and fill the type's limit exactly; one
 * byte more does not pass. */

static void fill_path(char *path, size_t len)
{
	memset(path, 'x', len);
	for (size_t i = 200; i < len; i += 200)
		path[i] = '/';
}

static int entry_of(size_t path_len, size_t target_len, size_t *len_out)
{
	static char path[PATH_WIRE_MAX + 1], target[PATH_TARGET_MAX + 1];
	static uint8_t out[MSG_PAYLOAD_MAX];
	struct msg_entry m = {.kind = ENTRY_LINK,
		.path = {path, path_len},
		.target = {target, target_len}};
	struct wcur c;

	fill_path(path, path_len);
	memset(target, 't', target_len);
	wcur_init(&c, out, sizeof(out));
	msg_entry_encode(&c, &m);
	*len_out = (size_t)wcur_finish(&c);
	return msg_entry_decode(&m, out, *len_out);
}

Test(msg, longest_entry_fills_its_limit)
{
	uint32_t min, max;
	size_t len;

	cr_assert(msg_limits(MSG_ENTRY, &min, &max));
	cr_assert_eq(entry_of(PATH_WIRE_MAX, PATH_TARGET_MAX, &len), 0);
	cr_assert_eq(len, max);
	cr_assert_eq(entry_of(PATH_WIRE_MAX + 1, PATH_TARGET_MAX, &len), -ERR_PROTOCOL);
	cr_assert_eq(entry_of(PATH_WIRE_MAX, PATH_TARGET_MAX + 1, &len), -ERR_PROTOCOL);
	cr_assert_eq(entry_of(1, 0, &len), -ERR_PROTOCOL, "an empty target");
}

static int error_of(size_t text_len, size_t *len_out)
{
	static const char text[MSG_TEXT_MAX + 1];
	struct msg_error m = {.code = ERR_IO, .text = {text, text_len}};
	uint8_t out[MSG_TEXT_MAX + 16];
	struct wcur c;

	wcur_init(&c, out, sizeof(out));
	msg_error_encode(&c, &m);
	*len_out = (size_t)wcur_finish(&c);
	return msg_error_decode(&m, out, *len_out);
}

Test(msg, longest_error_fills_its_limit)
{
	uint32_t min, max;
	size_t len;

	cr_assert(msg_limits(MSG_ERROR, &min, &max));
	cr_assert_eq(error_of(MSG_TEXT_MAX, &len), 0);
	cr_assert_eq(len, max);
	cr_assert_eq(error_of(MSG_TEXT_MAX + 1, &len), -ERR_PROTOCOL);
}

Test(msg, agent_is_bounded)
{
	struct msg_hello m = {.version = 1, .chunk_size = 4096, .depth = 1};
	uint8_t out[128];
	char agent[MSG_AGENT_MAX + 1] = "";

	for (size_t len = MSG_AGENT_MAX; len <= MSG_AGENT_MAX + 1; len++) {
		struct wcur c;
		m.agent = (struct wire_str){agent, len};
		wcur_init(&c, out, sizeof(out));
		msg_hello_encode(&c, &m);
		int n = wcur_finish(&c);
		cr_assert_gt(n, 0);
		cr_assert_eq(msg_hello_decode(&m, out, (size_t)n),
			len <= MSG_AGENT_MAX ? 0 : -ERR_PROTOCOL);
	}
}

Test(msg, vectors_lie_in_the_limits)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct bytes b = bytes_of(&vectors[i]);
		uint32_t min, max;

		cr_assert(msg_limits(vectors[i].type, &min, &max));
		cr_assert(b.len >= min && b.len <= max, "%s", vectors[i].name);
		free(b.p);
	}
}

static const struct {
	uint8_t type;
	const char *name;
	uint32_t min, max;
} limits[] = {
	{1, "HELLO", 36, 1024},
	{2, "ERROR", 4, 516},
	{3, "NOTE", 8, 8},
	{16, "ASK", 42, 16426},
	{17, "PUT", 23, 16407},
	{18, "GET", 11, 16395},
	{19, "LIST", 10, 16394},
	{20, "NEXT", 4, 4},
	{21, "MKDIR", 10, 16394},
	{22, "LINK", 8, 20487},
	{23, "ATTR", 18, 16402},
	{24, "FLUSH", 0, 0},
	{25, "STAT", 2, 16386},
	{26, "JOIN", 16, 16},
	{32, "FILE", 36, 36},
	{33, "DATA", 1, 4194304},
	{34, "CHECK", 40, 40},
	{35, "END", 40, 40},
	{36, "ABORT", 4, 516},
	{37, "HOLE", 4, 4},
	{48, "OFFER", 9, 9},
	{49, "PROOF", 32, 32},
	{64, "DONE", 41, 41},
	{65, "OK", 1, 1},
	{66, "ENTRY", 31, 20510},
	{67, "LISTED", 1, 1},
};

Test(msg, limits_and_names_of_all_types)
{
	size_t known = 0;

	for (unsigned type = 0; type <= UINT8_MAX; type++) {
		uint32_t min = 7, max = 7;
		bool is_known = known < ARRAY_LEN(limits) && limits[known].type == type;

		cr_assert_eq(msg_limits((uint8_t)type, &min, &max), is_known, "%u", type);
		if (!is_known) {
			cr_assert_str_eq(msg_name((uint8_t)type), "unknown");
			cr_assert(min == 7 && max == 7, "written on failure");
			continue;
		}
		cr_assert_str_eq(msg_name((uint8_t)type), limits[known].name);
		cr_assert_eq(min, limits[known].min, "%s", limits[known].name);
		cr_assert_eq(max, limits[known].max, "%s", limits[known].name);
		cr_assert(type == MSG_DATA || max <= MSG_PAYLOAD_MAX);
		known++;
	}
	cr_assert_eq(known, ARRAY_LEN(limits));
}

Test(msg, vectors_file_says_the_same)
{
	FILE *f = fopen(VECTORS_FILE, "re");
	char line[256];
	size_t found = 0;

	cr_assert_not_null(f, "%s", VECTORS_FILE);
	while (fgets(line, sizeof(line), f)) {
		char theirs[256], ours[256] = "";
		size_t name_len = strcspn(line, " \n");

		if (line[0] == '#' || name_len == 0)
			continue;
		hex_squeeze(theirs, line + name_len);
		line[name_len] = '\0';
		const struct vector *v = vector_named(line);
		cr_assert(v || strcmp(line, "FLUSH") == 0, "%s is not known here", line);
		if (v)
			hex_squeeze(ours, v->hex);
		cr_assert_str_eq(theirs, ours, "%s", line);
		found += v != NULL;
	}
	fclose(f);
	cr_assert_eq(found, ARRAY_LEN(vectors));
}
