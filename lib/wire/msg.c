/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wire/msg.h"

#include "base/err.h"
#include "base/path.h"
#include "wire/frame.h"
#include "wire/msg_impl.h"

#define STR_LEN  2 /* what a string needs beside its bytes */
#define TIME_LEN 12

#define HELLO_LEN     (2 + 4 + 4 + 8 + MSG_RUN_LEN + STR_LEN)
#define HELLO_LEN_MAX 1024 /* leaves room for fields of later features */

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
	[MSG_STAT] = {"STAT", STR_LEN, PATH_WIRE_MAX},
	[MSG_JOIN] = {"JOIN", MSG_SECRET_LEN, 0},
	[MSG_FILE] = {"FILE", 8 + 8 + 4 + TIME_LEN + 4, 0},
	[MSG_DATA] = {"DATA", 1, CHUNK_SIZE_MAX - 1},
	[MSG_CHECK] = {"CHECK", 8 + DIGEST_LEN, 0},
	[MSG_END] = {"END", 8 + DIGEST_LEN, 0},
	[MSG_ABORT] = {"ABORT", 2 + STR_LEN, MSG_TEXT_MAX},
	[MSG_HOLE] = {"HOLE", 4, 0},
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

/* A code that only later versions know still says that something failed. */
static uint16_t get_code(struct rcur *c)
{
	uint16_t code = rcur_u16(c);
	must(c, code > ERR_NONE && code < ERR_LOCAL);
	return err_is_wire(code) ? code : ERR_PROTOCOL;
}

static bool is_power_of_two(uint32_t v)
{
	return v != 0 && !(v & (v - 1));
}

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

void msg_file_encode(struct wcur *c, const struct msg_file *m)
{
	wcur_u64(c, m->size);
	wcur_u64(c, m->offset);
	wcur_u32(c, m->mode);
	put_time(c, m->mtime);
	wcur_u32(c, m->flags);
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
	m.flags = get_u32(&c, 0, FILE_KNOWN);
	must(&c, m.offset <= m.size); /* "unknown" is the largest number */
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}

void msg_hole_encode(struct wcur *c, const struct msg_hole *m)
{
	wcur_u32(c, m->len);
}

int msg_hole_decode(struct msg_hole *out, const uint8_t *p, size_t len)
{
	struct msg_hole m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.len = get_u32(&c, 1, CHECKPOINT_INTERVAL);
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
