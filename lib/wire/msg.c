/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wire/msg.h"

#include <string.h>

#include "base/err.h"
#include "base/path.h"
#include "wire/frame.h"

#define STR_LEN  2 /* what a string needs beside its bytes */
#define TIME_LEN 12

#define HELLO_LEN     (2 + 4 + 4 + 8 + MSG_RUN_LEN + STR_LEN)
#define HELLO_LEN_MAX 1024 /* leaves room for fields of later features */

#define MODE_MAX   0777u
#define LIST_MAX   4096u
#define NSEC_COUNT 1000000000u

/* What a message has always, and how many bytes its strings may add. */
static const struct {
	const char *name;
	uint32_t fixed, variable;
} types[] = {
	[MSG_HELLO] = {"HELLO", HELLO_LEN, HELLO_LEN_MAX - HELLO_LEN},
	[MSG_ERROR] = {"ERROR", 2 + STR_LEN, MSG_TEXT_MAX},
	[MSG_NOTE] = {"NOTE", 8, 0},
	[MSG_ASK] = {"ASK", 4 + 8 + TIME_LEN + MSG_TAG_LEN + STR_LEN, PATH_WIRE_MAX},
	[MSG_PUT] = {"PUT", 4 + 1 + MSG_TAG_LEN + STR_LEN, PATH_WIRE_MAX},
	[MSG_GET] = {"GET", 1 + 8 + STR_LEN, PATH_WIRE_MAX},
	[MSG_LIST] = {"LIST", 4 + 4 + STR_LEN, PATH_WIRE_MAX},
	[MSG_NEXT] = {"NEXT", 4, 0},
	[MSG_MKDIR] = {"MKDIR", 4 + 4 + STR_LEN, PATH_WIRE_MAX},
	[MSG_LINK] = {"LINK", 4 + STR_LEN + STR_LEN, PATH_WIRE_MAX + PATH_TARGET_MAX},
	[MSG_ATTR] = {"ATTR", 4 + TIME_LEN + STR_LEN, PATH_WIRE_MAX},
	[MSG_FLUSH] = {"FLUSH", 0, 0},
	[MSG_FILE] = {"FILE", 8 + 8 + 4 + TIME_LEN, 0},
	[MSG_DATA] = {"DATA", 1, CHUNK_SIZE_MAX - 1},
	[MSG_CHECK] = {"CHECK", 8 + DIGEST_LEN, 0},
	[MSG_END] = {"END", 8 + DIGEST_LEN, 0},
	[MSG_ABORT] = {"ABORT", 2 + STR_LEN, MSG_TEXT_MAX},
	[MSG_OFFER] = {"OFFER", 1 + 8, 0},
	[MSG_PROOF] = {"PROOF", DIGEST_LEN, 0},
	[MSG_DONE] = {"DONE", 1 + 8 + DIGEST_LEN, 0},
	[MSG_OK] = {"OK", 1, 0},
	[MSG_ENTRY] = {"ENTRY", 1 + 2 + 8 + 4 + TIME_LEN + STR_LEN + STR_LEN,
		PATH_WIRE_MAX + PATH_TARGET_MAX},
	[MSG_LISTED] = {"LISTED", 1, 0},
};

static bool type_is_known(uint8_t type)
{
	return type < ARRAY_LEN(types) && types[type].name;
}

bool msg_limits(uint8_t type, uint32_t *min_out, uint32_t *max_out)
{
	if (!type_is_known(type))
		return false;
	*min_out = types[type].fixed;
	*max_out = types[type].fixed + types[type].variable;
	return true;
}

const char *msg_name(uint8_t type)
{
	return type_is_known(type) ? types[type].name : "unknown";
}

/*
 * Fields.  One that is read and must not have its value fails the cursor, as
 * one that is missing does, so that a decoder looks once.
 */

static void must(struct rcur *c, bool holds)
{
	if (!holds)
		c->failed = true;
}

static uint8_t get_u8(struct rcur *c, uint8_t min, uint8_t max)
{
	uint8_t v = rcur_u8(c);
	must(c, v >= min && v <= max);
	return v;
}

static uint32_t get_u32(struct rcur *c, uint32_t min, uint32_t max)
{
	uint32_t v = rcur_u32(c);
	must(c, v >= min && v <= max);
	return v;
}

static uint32_t get_flags(struct rcur *c, uint32_t known)
{
	uint32_t flags = rcur_u32(c);
	must(c, !(flags & ~known));
	return flags;
}

static uint64_t get_offset(struct rcur *c)
{
	uint64_t offset = rcur_u64(c);
	must(c, offset <= MSG_SIZE_MAX);
	return offset;
}

static uint64_t get_size_or_unknown(struct rcur *c)
{
	uint64_t size = rcur_u64(c);
	must(c, size <= MSG_SIZE_MAX || size == MSG_SIZE_UNKNOWN);
	return size;
}

static struct msg_time get_time(struct rcur *c)
{
	struct msg_time t = {.sec = (int64_t)rcur_u64(c)};
	t.nsec = get_u32(c, 0, NSEC_COUNT - 1);
	return t;
}

static void put_time(struct wcur *c, struct msg_time t)
{
	wcur_u64(c, (uint64_t)t.sec);
	wcur_u32(c, t.nsec);
}

/* A code that only later versions know still says that something failed. */
static uint16_t get_code(struct rcur *c)
{
	uint16_t code = rcur_u16(c);
	must(c, code > ERR_NONE && code < ERR_LOCAL);
	return err_is_wire(code) ? code : ERR_PROTOCOL;
}

static struct wire_str get_path(struct rcur *c)
{
	return rcur_str(c, PATH_WIRE_MAX);
}

static struct wire_str get_target(struct rcur *c)
{
	struct wire_str target = rcur_str(c, PATH_TARGET_MAX);
	must(c, target.len > 0 && !memchr(target.bytes, '\0', target.len));
	return target;
}

static void put_str(struct wcur *c, struct wire_str s)
{
	wcur_str(c, s.bytes, s.len);
}

static bool is_power_of_two(uint32_t v)
{
	return v != 0 && !(v & (v - 1));
}

/* Messages: more of them than a file of ours has lines for, but one schema is
 * best read in one place. */

void msg_hello_encode(struct wcur *c, const struct msg_hello *m)
{
	wcur_u16(c, m->version);
	wcur_u32(c, m->chunk_size);
	wcur_u32(c, m->depth);
	wcur_u64(c, m->features);
	wcur_bytes(c, m->run, sizeof(m->run));
	put_str(c, m->agent);
}

int msg_hello_decode(struct msg_hello *out, const uint8_t *p, size_t len)
{
	struct msg_hello m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.version = rcur_u16(&c);
	m.chunk_size = get_u32(&c, CHUNK_SIZE_MIN, CHUNK_SIZE_MAX);
	m.depth = get_u32(&c, 1, UINT16_MAX);
	m.features = rcur_u64(&c);
	rcur_bytes(&c, m.run, sizeof(m.run));
	m.agent = rcur_str(&c, MSG_AGENT_MAX);
	must(&c, m.version >= 1);
	must(&c, is_power_of_two(m.chunk_size));
	/* What is left over belongs to features we do not know. */
	if (c.failed)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_error_encode(struct wcur *c, const struct msg_error *m)
{
	wcur_u16(c, m->code);
	put_str(c, m->text);
}

int msg_error_decode(struct msg_error *out, const uint8_t *p, size_t len)
{
	struct msg_error m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.code = get_code(&c);
	m.text = rcur_str(&c, MSG_TEXT_MAX);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_note_encode(struct wcur *c, const struct msg_note *m)
{
	wcur_u64(c, m->done);
}

int msg_note_decode(struct msg_note *out, const uint8_t *p, size_t len)
{
	struct msg_note m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.done = rcur_u64(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_ask_encode(struct wcur *c, const struct msg_ask *m)
{
	wcur_u32(c, m->flags);
	wcur_u64(c, m->size);
	put_time(c, m->mtime);
	wcur_bytes(c, m->tag, sizeof(m->tag));
	put_str(c, m->path);
}

int msg_ask_decode(struct msg_ask *out, const uint8_t *p, size_t len)
{
	struct msg_ask m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.flags = get_flags(&c, ASK_KNOWN);
	m.size = get_size_or_unknown(&c);
	m.mtime = get_time(&c);
	rcur_bytes(&c, m.tag, sizeof(m.tag));
	m.path = get_path(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}

void msg_offer_encode(struct wcur *c, const struct msg_offer *m)
{
	wcur_u8(c, m->kind);
	wcur_u64(c, m->offset);
}

int msg_offer_decode(struct msg_offer *out, const uint8_t *p, size_t len)
{
	struct msg_offer m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.kind = get_u8(&c, OFFER_NONE, OFFER_SAME);
	m.offset = get_offset(&c);
	if (m.kind == OFFER_NONE || m.kind == OFFER_SAME)
		must(&c, m.offset == 0);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_proof_encode(struct wcur *c, const struct msg_proof *m)
{
	wcur_bytes(c, m->digest, sizeof(m->digest));
}

int msg_proof_decode(struct msg_proof *out, const uint8_t *p, size_t len)
{
	struct msg_proof m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	rcur_bytes(&c, m.digest, sizeof(m.digest));
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_put_encode(struct wcur *c, const struct msg_put *m)
{
	wcur_u32(c, m->flags);
	wcur_u8(c, m->alg);
	wcur_bytes(c, m->tag, sizeof(m->tag));
	put_str(c, m->path);
}

int msg_put_decode(struct msg_put *out, const uint8_t *p, size_t len)
{
	struct msg_put m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.flags = get_flags(&c, PUT_KNOWN);
	m.alg = get_u8(&c, 1, UINT8_MAX);
	rcur_bytes(&c, m.tag, sizeof(m.tag));
	m.path = get_path(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}

void msg_get_encode(struct wcur *c, const struct msg_get *m)
{
	wcur_u8(c, m->alg);
	wcur_u64(c, m->offset);
	put_str(c, m->path);
}

int msg_get_decode(struct msg_get *out, const uint8_t *p, size_t len)
{
	struct msg_get m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.alg = get_u8(&c, 1, UINT8_MAX);
	m.offset = get_offset(&c);
	m.path = get_path(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}

void msg_file_encode(struct wcur *c, const struct msg_file *m)
{
	wcur_u64(c, m->size);
	wcur_u64(c, m->offset);
	wcur_u32(c, m->mode);
	put_time(c, m->mtime);
}

int msg_file_decode(struct msg_file *out, const uint8_t *p, size_t len)
{
	struct msg_file m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.size = get_size_or_unknown(&c);
	m.offset = get_offset(&c);
	m.mode = get_u32(&c, 0, MODE_MAX);
	m.mtime = get_time(&c);
	must(&c, m.offset <= m.size); /* "unknown" is the largest number */
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_check_encode(struct wcur *c, const struct msg_check *m)
{
	wcur_u64(c, m->offset);
	wcur_bytes(c, m->digest, sizeof(m->digest));
}

int msg_check_decode(struct msg_check *out, const uint8_t *p, size_t len)
{
	struct msg_check m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.offset = get_offset(&c);
	rcur_bytes(&c, m.digest, sizeof(m.digest));
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_done_encode(struct wcur *c, const struct msg_done *m)
{
	wcur_u8(c, m->durability);
	wcur_u64(c, m->size);
	wcur_bytes(c, m->digest, sizeof(m->digest));
}

int msg_done_decode(struct msg_done *out, const uint8_t *p, size_t len)
{
	struct msg_done m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.durability = get_u8(&c, DURABLE_NOT, DURABLE_DISK);
	m.size = get_offset(&c);
	rcur_bytes(&c, m.digest, sizeof(m.digest));
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_ok_encode(struct wcur *c, const struct msg_ok *m)
{
	wcur_u8(c, m->durability);
}

int msg_ok_decode(struct msg_ok *out, const uint8_t *p, size_t len)
{
	struct msg_ok m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.durability = get_u8(&c, DURABLE_NOT, DURABLE_DISK);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_list_encode(struct wcur *c, const struct msg_list *m)
{
	wcur_u32(c, m->flags);
	wcur_u32(c, m->max);
	put_str(c, m->path);
}

int msg_list_decode(struct msg_list *out, const uint8_t *p, size_t len)
{
	struct msg_list m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.flags = get_flags(&c, LIST_KNOWN);
	m.max = get_u32(&c, 0, LIST_MAX);
	m.path = get_path(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}

void msg_next_encode(struct wcur *c, const struct msg_next *m)
{
	wcur_u32(c, m->max);
}

int msg_next_decode(struct msg_next *out, const uint8_t *p, size_t len)
{
	struct msg_next m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.max = get_u32(&c, 0, LIST_MAX);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_entry_encode(struct wcur *c, const struct msg_entry *m)
{
	wcur_u8(c, m->kind);
	wcur_u16(c, m->code);
	wcur_u64(c, m->size);
	wcur_u32(c, m->mode);
	put_time(c, m->mtime);
	put_str(c, m->path);
	put_str(c, m->target);
}

int msg_entry_decode(struct msg_entry *out, const uint8_t *p, size_t len)
{
	struct msg_entry m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.kind = get_u8(&c, ENTRY_FILE, ENTRY_ERROR);
	if (m.kind == ENTRY_ERROR)
		m.code = get_code(&c);
	else
		must(&c, rcur_u16(&c) == 0);
	m.size = get_offset(&c);
	m.mode = get_u32(&c, 0, MODE_MAX);
	m.mtime = get_time(&c);
	m.path = get_path(&c);
	m.target = m.kind == ENTRY_LINK ? get_target(&c) : rcur_str(&c, 0);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}

void msg_listed_encode(struct wcur *c, const struct msg_listed *m)
{
	wcur_u8(c, m->more);
}

int msg_listed_decode(struct msg_listed *out, const uint8_t *p, size_t len)
{
	struct msg_listed m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.more = get_u8(&c, 0, 1);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_mkdir_encode(struct wcur *c, const struct msg_mkdir *m)
{
	wcur_u32(c, m->flags);
	wcur_u32(c, m->mode);
	put_str(c, m->path);
}

int msg_mkdir_decode(struct msg_mkdir *out, const uint8_t *p, size_t len)
{
	struct msg_mkdir m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.flags = get_flags(&c, PUT_PARENTS | PUT_NO_SYNC);
	m.mode = get_u32(&c, 0, MODE_MAX);
	m.path = get_path(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}

void msg_link_encode(struct wcur *c, const struct msg_link *m)
{
	wcur_u32(c, m->flags);
	put_str(c, m->path);
	put_str(c, m->target);
}

int msg_link_decode(struct msg_link *out, const uint8_t *p, size_t len)
{
	struct msg_link m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.flags = get_flags(&c, PUT_PARENTS | PUT_NO_CLOBBER | PUT_NO_SYNC);
	m.path = get_path(&c);
	m.target = get_target(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}

void msg_attr_encode(struct wcur *c, const struct msg_attr *m)
{
	wcur_u32(c, m->mode);
	put_time(c, m->mtime);
	put_str(c, m->path);
}

int msg_attr_decode(struct msg_attr *out, const uint8_t *p, size_t len)
{
	struct msg_attr m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.mode = get_u32(&c, 0, MODE_MAX);
	m.mtime = get_time(&c);
	m.path = get_path(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}
