/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a client asks for; all other messages are in msg.c. */
#include "base/err.h"
#include "base/path.h"
#include "wire/msg.h"
#include "wire/msg_impl.h"

#define LIST_MAX 4096u

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

void msg_stat_encode(struct wcur *c, const struct msg_stat *m)
{
	put_str(c, m->path);
}

int msg_stat_decode(struct msg_stat *out, const uint8_t *p, size_t len)
{
	struct msg_stat m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	m.path = get_path(&c);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return path_check(m.path.bytes, m.path.len);
}

void msg_join_encode(struct wcur *c, const struct msg_join *m)
{
	wcur_bytes(c, m->secret, MSG_SECRET_LEN);
}

int msg_join_decode(struct msg_join *out, const uint8_t *p, size_t len)
{
	struct msg_join m = {0};
	struct rcur c;

	rcur_init(&c, p, len);
	rcur_bytes(&c, m.secret, MSG_SECRET_LEN);
	if (rcur_finish(&c) < 0)
		return -ERR_PROTOCOL;
	*out = m;
	return 0;
}
