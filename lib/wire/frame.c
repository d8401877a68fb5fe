/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wire/frame.h"

#include <string.h>
#include <zlib.h>

#include "base/err.h"
#include "wire/cursor.h"
#include "wire/msg.h"

#define CHECKED_LEN 12 /* the header up to its checksum */

int preface_check(const uint8_t bytes[WIRE_PREFACE_LEN])
{
	static const char name[] = "sockd/";

	if (memcmp(bytes, WIRE_PREFACE, WIRE_PREFACE_LEN) == 0)
		return 0;
	return memcmp(bytes, name, strlen(name)) == 0 ? -ERR_VERSION : -ERR_PROTOCOL;
}

static uint32_t frame_checksum(
	const uint8_t *header, uint8_t type, const uint8_t *payload, size_t len)
{
	uLong crc = crc32_z(0, header, CHECKED_LEN);

	/* crc32 of a NULL buffer is not the sum so far, but starts anew. */
	if (type != MSG_DATA && len > 0)
		crc = crc32_z(crc, payload, len);
	return (uint32_t)crc;
}

int frame_decode(struct frame *out, const uint8_t bytes[FRAME_HEADER_LEN])
{
	struct frame f = {0};
	struct rcur c;
	uint32_t min, max;

	rcur_init(&c, bytes, FRAME_HEADER_LEN);
	f.type = rcur_u8(&c);
	uint8_t flags = rcur_u8(&c);
	uint16_t reserved = rcur_u16(&c);
	f.id = rcur_u32(&c);
	f.len = rcur_u32(&c);
	f.checksum = rcur_u32(&c);
	if (flags != 0 || reserved != 0)
		return -ERR_GARBLED;
	if (!msg_limits(f.type, &min, &max) || f.len < min || f.len > max)
		return -ERR_GARBLED;
	if (f.type == MSG_DATA && f.checksum != frame_checksum(bytes, f.type, NULL, 0))
		return -ERR_GARBLED;
	*out = f;
	return 0;
}

int frame_verify(const struct frame *f, const uint8_t header[FRAME_HEADER_LEN],
	const uint8_t *payload)
{
	uint32_t checksum = frame_checksum(header, f->type, payload, f->len);

	return f->checksum == checksum ? 0 : -ERR_GARBLED;
}

void frame_encode(uint8_t out[FRAME_HEADER_LEN], uint8_t type, uint32_t id,
	const uint8_t *payload, uint32_t len)
{
	struct wcur c;

	wcur_init(&c, out, FRAME_HEADER_LEN);
	wcur_u8(&c, type);
	wcur_u8(&c, 0);
	wcur_u16(&c, 0);
	wcur_u32(&c, id);
	wcur_u32(&c, len);
	wcur_u32(&c, frame_checksum(out, type, payload, len));
}
