/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bounded cursors over wire bytes, big-endian, with a sticky error.
 *
 * A codec reads like its schema: every get or put first checks what is left,
 * and after the first failure all later calls do nothing and yield zero.  The
 * caller looks once, at the end.  One thread; memory is the caller's.
 */
#ifndef SOCKD_WIRE_CURSOR_H
#define SOCKD_WIRE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct rcur {               /* reading */
	const uint8_t *pos; /* borrowed (until the last get) */
	const uint8_t *end;
	bool failed;
};

struct wcur {           /* writing */
	uint8_t *start; /* borrowed */
	uint8_t *pos;
	uint8_t *end;
	bool failed;
};

/* Bytes inside the buffer that a cursor was made over; not NUL-terminated. */
struct wire_str {
	const char *bytes; /* borrowed (as long as the decoded buffer) */
	size_t len;
};

void rcur_init(struct rcur *c, const void *bytes, size_t len);
uint8_t rcur_u8(struct rcur *c);
uint16_t rcur_u16(struct rcur *c);
uint32_t rcur_u32(struct rcur *c);
uint64_t rcur_u64(struct rcur *c);
void rcur_bytes(struct rcur *c, void *out, size_t len); /* zeroed on failure */
/* A 16-bit length and so many bytes; fails when longer than MAX. */
struct wire_str rcur_str(struct rcur *c, size_t max);
/* 0 when nothing failed and every byte was read, else -ERR_PROTOCOL. */
int rcur_finish(const struct rcur *c) MUST_CHECK;

void wcur_init(struct wcur *c, void *bytes, size_t cap);
void wcur_u8(struct wcur *c, uint8_t v);
void wcur_u16(struct wcur *c, uint16_t v);
void wcur_u32(struct wcur *c, uint32_t v);
void wcur_u64(struct wcur *c, uint64_t v);
void wcur_bytes(struct wcur *c, const void *bytes, size_t len);
void wcur_str(struct wcur *c, const char *bytes, size_t len);
/* The number of bytes written, or -ERR_TOO_LARGE when they did not fit. */
int wcur_finish(const struct wcur *c) MUST_CHECK;

#endif
