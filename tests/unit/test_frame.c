/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The bytes expected here were not made by this code: the checksums are those
 * of Python's zlib.crc32. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "wire/frame.h"
#include "wire/msg.h"

static const struct {
	uint8_t type;
	uint32_t id;
	const char *payload; /* hexadecimal */
	const char *header;  /* the same */
} vectors[] = {
	{MSG_NEXT, 7, "00001000", "140000000000000700000004058ee014"},
	{MSG_FLUSH, 0xfffffffe, "", "18000000fffffffe00000000d67c544b"},
	{MSG_PROOF, 9, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"310000000000000900000020fb813001"},
};

/* 4096 bytes, request 258; the payload is in no checksum. */
static const char data_header[] = "210000000000010200001000031fc36c";

static void unhex(const char *hex, uint8_t *out, size_t *len_out)
{
	*len_out = strlen(hex) / 2;
	cr_assert_eq(text_unhex(hex, out, *len_out), 0);
}

static void unhex_header(const char *hex, uint8_t out[FRAME_HEADER_LEN])
{
	size_t len;

	unhex(hex, out, &len);
	cr_assert_eq(len, FRAME_HEADER_LEN);
}

Test(frame, encodes_to_the_vector)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		uint8_t want[FRAME_HEADER_LEN], got[FRAME_HEADER_LEN], payload[64];
		size_t len;

		unhex_header(vectors[i].header, want);
		unhex(vectors[i].payload, payload, &len);
		frame_encode(got, vectors[i].type, vectors[i].id,
			len > 0 ? payload : NULL, (uint32_t)len);
		cr_assert_arr_eq(got, want, FRAME_HEADER_LEN, "row %zu", i);
	}
}

Test(frame, decodes_the_vector)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		uint8_t header[FRAME_HEADER_LEN], payload[64];
		struct frame f;
		size_t len;

		unhex_header(vectors[i].header, header);
		unhex(vectors[i].payload, payload, &len);
		cr_assert_eq(frame_decode(&f, header), 0, "row %zu", i);
		cr_assert_eq(f.type, vectors[i].type);
		cr_assert_eq(f.id, vectors[i].id);
		cr_assert_eq(f.len, len);
		cr_assert_eq(frame_verify(&f, header, payload), 0, "row %zu", i);
	}
}

Test(frame, data_is_checked_by_its_header_alone)
{
	uint8_t want[FRAME_HEADER_LEN], got[FRAME_HEADER_LEN];
	struct frame f;

	unhex_header(data_header, want);
	frame_encode(got, MSG_DATA, 258, NULL, 4096);
	cr_assert_arr_eq(got, want, FRAME_HEADER_LEN);
	cr_assert_eq(frame_decode(&f, want), 0);
	cr_assert_eq(f.type, MSG_DATA);
	cr_assert_eq(f.id, 258);
	cr_assert_eq(f.len, 4096);
}

/* Whether a reader of the frame, with one bit flipped, notices.  A length that
 * grew makes it wait for bytes that do not come, or take those of the next frame. */
static bool flip_is_caught(
	const uint8_t *header, const uint8_t *payload, size_t len, size_t bit)
{
	uint8_t frame[FRAME_HEADER_LEN + 64];
	struct frame f;

	memcpy(frame, header, FRAME_HEADER_LEN);
	memcpy(frame + FRAME_HEADER_LEN, payload, len);
	frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
	if (frame_decode(&f, frame) < 0 || f.len > len)
		return true;
	return f.type != MSG_DATA &&
	       frame_verify(&f, frame, frame + FRAME_HEADER_LEN) == -ERR_GARBLED;
}

Test(frame, every_flipped_bit_is_caught)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		uint8_t header[FRAME_HEADER_LEN], payload[64] = {0};
		size_t len;

		unhex_header(vectors[i].header, header);
		unhex(vectors[i].payload, payload, &len);
		for (size_t bit = 0; bit < (FRAME_HEADER_LEN + len) * 8; bit++)
			cr_assert(flip_is_caught(header, payload, len, bit),
				"row %zu, bit %zu", i, bit);
	}
}

Test(frame, every_flipped_bit_of_a_data_header_is_caught)
{
	uint8_t header[FRAME_HEADER_LEN];
	uint8_t payload[64] = {0};

	unhex_header(data_header, header);
	for (size_t bit = 0; bit < FRAME_HEADER_LEN * 8; bit++)
		cr_assert(flip_is_caught(header, payload, sizeof(payload), bit),
			"bit %zu", bit);
}

/* Frames whose checksum is right and that are refused all the same. */
static const struct {
	uint8_t type;
	uint32_t len;
	int want;
} lengths[] = {
	{0, 0, -ERR_GARBLED},
	{4, 0, -ERR_GARBLED},
	{255, 0, -ERR_GARBLED},
	{MSG_DATA, 0, -ERR_GARBLED},
	{MSG_DATA, 1, 0},
	{MSG_DATA, CHUNK_SIZE_MAX, 0},
	{MSG_DATA, CHUNK_SIZE_MAX + 1, -ERR_GARBLED},
	{MSG_DATA, UINT32_MAX, -ERR_GARBLED},
	{MSG_FLUSH, 0, 0},
	{MSG_OK, 1, 0},
};

Test(frame, length_is_checked_by_type)
{
	const uint8_t payload[1] = {0};

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		uint8_t header[FRAME_HEADER_LEN];
		struct frame f = {.id = 77};

		/* Only DATA may name more payload than stands here. */
		frame_encode(header, lengths[i].type, 1, payload, lengths[i].len);
		cr_assert_eq(frame_decode(&f, header), lengths[i].want, "row %zu", i);
		cr_assert_eq(f.id, lengths[i].want == 0 ? 1 : 77, "row %zu", i);
	}
}

Test(frame, all_limits_hold)
{
	static uint8_t payload[MSG_PAYLOAD_MAX + 1];

	for (unsigned type = 0; type <= UINT8_MAX; type++) {
		uint8_t header[FRAME_HEADER_LEN];
		uint32_t min, max;
		struct frame f;

		if (type == MSG_DATA || !msg_limits((uint8_t)type, &min, &max))
			continue;
		frame_encode(header, (uint8_t)type, 1, payload, max);
		cr_assert_eq(frame_decode(&f, header), 0, "%u", type);
		frame_encode(header, (uint8_t)type, 1, payload, max + 1);
		cr_assert_eq(frame_decode(&f, header), -ERR_GARBLED, "%u", type);
		frame_encode(header, (uint8_t)type, 1, payload, min);
		cr_assert_eq(frame_decode(&f, header), 0, "%u", type);
		if (min == 0)
			continue;
		frame_encode(header, (uint8_t)type, 1, payload, min - 1);
		cr_assert_eq(frame_decode(&f, header), -ERR_GARBLED, "%u", type);
	}
}

/* Headers made elsewhere, with the right checksum and a bit that is not ours. */
Test(frame, flags_and_reserved_bytes_are_zero)
{
	static const char *const headers[] = {
		"210100000000010200001000c2911cac",
		"21800000000001020000100074fef6f3",
		"2100000100000102000010001464d72f",
		"210080000000010200001000e51aca6d",
	};

	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		uint8_t header[FRAME_HEADER_LEN];
		struct frame f;

		unhex_header(headers[i], header);
		cr_assert_eq(frame_decode(&f, header), -ERR_GARBLED, "%s", headers[i]);
	}
}

static const struct {
	const char bytes[WIRE_PREFACE_LEN + 1];
	int want;
} prefaces[] = {
	{"sockd/1\n", 0},
	{"sockd/2\n", -ERR_VERSION},
	{"sockd/12", -ERR_VERSION},
	{"sockd/1\r", -ERR_VERSION},
	{"SOCKD/1\n", -ERR_PROTOCOL},
	{"sockd 1\n", -ERR_PROTOCOL},
	{"SSH-2.0-", -ERR_PROTOCOL},
	{"GET / HT", -ERR_PROTOCOL},
	{"\x16\x03\x01\x02", -ERR_PROTOCOL},
	{"", -ERR_PROTOCOL},
};

Test(frame, preface)
{
	cr_assert_eq(strlen(WIRE_PREFACE), WIRE_PREFACE_LEN);
	for (size_t i = 0; i < ARRAY_LEN(prefaces); i++) {
		uint8_t exact[WIRE_PREFACE_LEN];

		memcpy(exact, prefaces[i].bytes, sizeof(exact));
		cr_assert_eq(preface_check(exact), prefaces[i].want, "row %zu", i);
	}
}
