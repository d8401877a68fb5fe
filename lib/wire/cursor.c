/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wire/cursor.h"

#include <string.h>

#include "base/err.h"

void rcur_init(struct rcur *c, const void *bytes, size_t len)
{
	*c = (struct rcur){.pos = bytes, .end = (const uint8_t *)bytes + len};
}

/* The next LEN bytes, or NULL with the error set. */
static const uint8_t *rcur_take(struct rcur *c, size_t len)
{
	if (c->failed || (size_t)(c->end - c->pos) < len) {
		c->failed = true;
		return NULL;
	}
	const uint8_t *p = c->pos;
	c->pos += len;
	return p;
}

static uint64_t rcur_uint(struct rcur *c, size_t len)
{
	const uint8_t *p = rcur_take(c, len);
	uint64_t v = 0;
	for (size_t i = 0; p && i < len; i++)
		v = v << 8 | p[i];
	return v;
}

uint8_t rcur_u8(struct rcur *c)
{
	return (uint8_t)rcur_uint(c, 1);
}

uint16_t rcur_u16(struct rcur *c)
{
	return (uint16_t)rcur_uint(c, 2);
}

uint32_t rcur_u32(struct rcur *c)
{
	return (uint32_t)rcur_uint(c, 4);
}

uint64_t rcur_u64(struct rcur *c)
{
	return rcur_uint(c, 8);
}

void rcur_bytes(struct rcur *c, void *out, size_t len)
{
	const uint8_t *p = rcur_take(c, len);
	if (p)
		memcpy(out, p, len);
	else
		memset(out, 0, len);
}

struct wire_str rcur_str(struct rcur *c, size_t max)
{
	size_t len = rcur_u16(c);
	if (len > max)
		c->failed = true;
	const uint8_t *p = rcur_take(c, len);
	return p ? (struct wire_str){(const char *)p, len} : (struct wire_str){"", 0};
}

int rcur_finish(const struct rcur *c)
{
	return c->failed || c->pos != c->end ? -ERR_PROTOCOL : 0;
}

void wcur_init(struct wcur *c, void *bytes, size_t cap)
{
	*c = (struct wcur){.start = bytes, .pos = bytes, .end = (uint8_t *)bytes + cap};
}

static uint8_t *wcur_take(struct wcur *c, size_t len)
{
	if (c->failed || (size_t)(c->end - c->pos) < len) {
		c->failed = true;
		return NULL;
	}
	uint8_t *p = c->pos;
	c->pos += len;
	return p;
}

static void wcur_uint(struct wcur *c, uint64_t v, size_t len)
{
	uint8_t *p = wcur_take(c, len);
	for (size_t i = 0; p && i < len; i++)
		p[i] = (uint8_t)(v >> 8 * (len - 1 - i));
}

void wcur_u8(struct wcur *c, uint8_t v)
{
	wcur_uint(c, v, 1);
}

void wcur_u16(struct wcur *c, uint16_t v)
{
	wcur_uint(c, v, 2);
}

void wcur_u32(struct wcur *c, uint32_t v)
{
	wcur_uint(c, v, 4);
}

void wcur_u64(struct wcur *c, uint64_t v)
{
	wcur_uint(c, v, 8);
}

void wcur_bytes(struct wcur *c, const void *bytes, size_t len)
{
	uint8_t *p = wcur_take(c, len);
	if (p && len > 0)
		memcpy(p, bytes, len);
}

void wcur_str(struct wcur *c, const char *bytes, size_t len)
{
	if (len > UINT16_MAX)
		c->failed = true;
	wcur_u16(c, (uint16_t)len);
	wcur_bytes(c, bytes, len);
}

int wcur_finish(const struct wcur *c)
{
	return c->failed ? -ERR_TOO_LARGE : (int)(c->pos - c->start);
}
