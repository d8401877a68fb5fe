/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fields of messages: what msg.c and msg_request.c share.
 *
 * A field that is read and must not have its value fails the cursor, as one that is
 * missing does, so that a decoder looks once.
 */
#ifndef SOCKD_WIRE_MSG_IMPL_H
#define SOCKD_WIRE_MSG_IMPL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/path.h"
#include "wire/cursor.h"
#include "wire/msg.h"

#define MODE_MAX   0777u
#define NSEC_COUNT 1000000000u

static inline void must(struct rcur *c, bool holds)
{
	if (!holds)
		c->failed = true;
}

static inline uint8_t get_u8(struct rcur *c, uint8_t min, uint8_t max)
{
	uint8_t v = rcur_u8(c);
	must(c, v >= min && v <= max);
	return v;
}

static inline uint32_t get_u32(struct rcur *c, uint32_t min, uint32_t max)
{
	uint32_t v = rcur_u32(c);
	must(c, v >= min && v <= max);
	return v;
}

static inline uint32_t get_flags(struct rcur *c, uint32_t known)
{
	uint32_t flags = rcur_u32(c);
	must(c, !(flags & ~known));
	return flags;
}

static inline uint64_t get_offset(struct rcur *c)
{
	uint64_t offset = rcur_u64(c);
	must(c, offset <= MSG_SIZE_MAX);
	return offset;
}

static inline uint64_t get_size_or_unknown(struct rcur *c)
{
	uint64_t size = rcur_u64(c);
	must(c, size <= MSG_SIZE_MAX || size == MSG_SIZE_UNKNOWN);
	return size;
}

static inline struct msg_time get_time(struct rcur *c)
{
	struct msg_time t = {.sec = (int64_t)rcur_u64(c)};
	t.nsec = get_u32(c, 0, NSEC_COUNT - 1);
	return t;
}

static inline void put_time(struct wcur *c, struct msg_time t)
{
	wcur_u64(c, (uint64_t)t.sec);
	wcur_u32(c, t.nsec);
}

static inline struct wire_str get_path(struct rcur *c)
{
	return rcur_str(c, PATH_WIRE_MAX);
}

static inline struct wire_str get_target(struct rcur *c)
{
	struct wire_str target = rcur_str(c, PATH_TARGET_MAX);
	must(c, target.len > 0 && !memchr(target.bytes, '\0', target.len));
	return target;
}

static inline void put_str(struct wcur *c, struct wire_str s)
{
	wcur_str(c, s.bytes, s.len);
}

#endif
