/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Preface and frame header: sockd-protocol(7), "Framing".
 *
 *	offset  0  type        u8
 *	        1  flags       u8, zero in version 1
 *	        2  reserved    u16, zero
 *	        4  request id  u32
 *	        8  length      u32, bytes of payload
 *	       12  checksum    u32, CRC-32 (ISO 3309, as zlib's crc32) of the
 *	                       12 bytes before it and, except in DATA, of the payload
 *
 * The checksum guards what the digests of the file do not cover: names,
 * sizes and lengths.  The bytes of DATA are guarded by CHECK and END.
 */
#ifndef SOCKD_WIRE_FRAME_H
#define SOCKD_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define WIRE_PREFACE     "sockd/1\n" /* first bytes of either side, without NUL */
#define WIRE_PREFACE_LEN 8
#define FRAME_HEADER_LEN 16

/* Powers of two, so that a checkpoint always falls between two chunks. */
#define CHUNK_SIZE_MIN      4096u
#define CHUNK_SIZE_MAX      (4u << 20)
#define CHECKPOINT_INTERVAL (4u << 20) /* bytes of file between two CHECKs */

struct frame {
	uint8_t type; /* enum msg_type */
	uint32_t id;
	uint32_t len;      /* bytes of payload */
	uint32_t checksum; /* as received */
};

/* 0 for our preface; -ERR_VERSION for a sockd of another version;
 * -ERR_PROTOCOL for anything else. */
int preface_check(const uint8_t bytes[WIRE_PREFACE_LEN]) MUST_CHECK;

/*
 * Reads a header.  The length is checked against the type's own limits (msg.h)
 * before anything else is believed: -ERR_GARBLED for nonzero flags or reserved
 * bytes, an unknown type, a length outside of the limits, or a header of DATA that
 * fails its checksum.
 */
int frame_decode(struct frame *out, const uint8_t bytes[FRAME_HEADER_LEN]) MUST_CHECK;

/* 0 when the PAYLOAD of a frame that is not DATA matches, else -ERR_GARBLED. */
int frame_verify(const struct frame *f, const uint8_t header[FRAME_HEADER_LEN],
	const uint8_t *payload) MUST_CHECK;

/* Writes the header for LEN bytes of PAYLOAD, which stand elsewhere;
 * PAYLOAD is not looked at when TYPE is MSG_DATA. */
void frame_encode(uint8_t out[FRAME_HEADER_LEN], uint8_t type, uint32_t id,
	const uint8_t *payload, uint32_t len);

#endif
