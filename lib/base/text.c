/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define ELLIPSIS     "\xe2\x80\xa6"
#define ELLIPSIS_LEN (sizeof(ELLIPSIS) - 1)

/* The longest that one character becomes: three bytes as \xHH. */
#define PIECE_MAX 12

static const char hex_digits[] = "0123456789abcdef";

/* RFC 3629, section 4: what may follow a first byte.  All bytes after the
 * second are 80..BF. */
static const struct {
	uint8_t first_min, first_max;
	uint8_t second_min, second_max;
	uint8_t len;
} sequences[] = {
	{0x00, 0x7f, 0x00, 0x00, 1},
	{0xc2, 0xdf, 0x80, 0xbf, 2},
	{0xe0, 0xe0, 0xa0, 0xbf, 3},
	{0xe1, 0xec, 0x80, 0xbf, 3},
	{0xed, 0xed, 0x80, 0x9f, 3},
	{0xee, 0xef, 0x80, 0xbf, 3},
	{0xf0, 0xf0, 0x90, 0xbf, 4},
	{0xf1, 0xf3, 0x80, 0xbf, 4},
	{0xf4, 0xf4, 0x80, 0x8f, 4},
};

static bool is_between(uint8_t byte, uint8_t min, uint8_t max)
{
	return byte >= min && byte <= max;
}

static bool sequence_is_valid(const uint8_t *p, size_t i)
{
	if (sequences[i].len > 1 &&
		!is_between(p[1], sequences[i].second_min, sequences[i].second_max))
		return false;
	for (size_t k = 2; k < sequences[i].len; k++)
		if (!is_between(p[k], 0x80, 0xbf))
			return false;
	return true;
}

/* Length of the character that P begins with, 0 when it is ill-formed. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
	for (size_t i = 0; i < ARRAY_LEN(sequences); i++) {
		if (!is_between(*p, sequences[i].first_min, sequences[i].first_max))
			continue;
		if (sequences[i].len > left || !sequence_is_valid(p, i))
			return 0;
		return sequences[i].len;
	}
	return 0;
}

/* Characters that turn the direction of what is around them (UAX 9), or end a line or
 * paragraph: they make a name look like another. */
static bool is_deceptive(const uint8_t *p, size_t len)
{
	if (len == 2)
		return p[0] == 0xd8 && p[1] == 0x9c; /* U+061C */
	if (len != 3 || p[0] != 0xe2)
		return false;
	return (p[1] == 0x80 &&
		       (p[2] == 0x8e || p[2] == 0x8f ||            /* U+200E, U+200F */
			       (p[2] >= 0xa8 && p[2] <= 0xae))) || /* U+2028 - 202E */
	       (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);     /* U+2066 - 2069 */
}

static bool is_control(const uint8_t *p, size_t len)
{
	return (len == 1 && (*p < 0x20 || *p == 0x7f)) ||
	       (len == 2 && *p == 0xc2 && p[1] < 0xa0);
}

static size_t escape_byte(char *out, uint8_t byte)
{
	static const char letters[] = {['\n'] = 'n', ['\t'] = 't', ['\\'] = '\\'};

	out[0] = '\\';
	if (byte < sizeof(letters) && letters[byte]) {
		out[1] = letters[byte];
		return 2;
	}
	out[1] = 'x';
	out[2] = hex_digits[byte >> 4];
	out[3] = hex_digits[byte & 15];
	return 4;
}

/* Writes the next character to PIECE; the number of bytes of P it stands for. */
static size_t escape_next(char piece[PIECE_MAX], size_t *piece_len, const uint8_t *p,
	size_t left, bool quoted)
{
	size_t len = utf8_len(p, left);
	bool special = *p == '\\' || (quoted && *p == '"');

	if (len > 0 && !special && !is_control(p, len) && !is_deceptive(p, len)) {
		memcpy(piece, p, len);
		*piece_len = len;
		return len;
	}
	if (len == 0)
		len = 1;
	*piece_len = 0;
	for (size_t i = 0; i < len; i++)
		*piece_len += escape_byte(piece + *piece_len, p[i]);
	return len;
}

static char *escape(char *out, size_t cap, const char *bytes, size_t len, bool quoted)
{
	const uint8_t *p = (const uint8_t *)bytes;
	size_t used = 0;
	size_t cut = 0; /* the last place where a cut leaves room for the mark */

	if (cap == 0)
		return out;
	while (len > 0) {
		char piece[PIECE_MAX];
		size_t piece_len;
		size_t taken = escape_next(piece, &piece_len, p, len, quoted);

		if (piece_len >= cap - used) {
			if (cap > ELLIPSIS_LEN) {
				memcpy(out + cut, ELLIPSIS, ELLIPSIS_LEN);
				used = cut + ELLIPSIS_LEN;
			}
			break;
		}
		memcpy(out + used, piece, piece_len);
		used += piece_len;
		if (cap - used > ELLIPSIS_LEN)
			cut = used;
		p += taken;
		len -= taken;
	}
	out[used] = '\0';
	return out;
}

char *text_escape(char *out, size_t cap, const char *bytes, size_t len)
{
	return escape(out, cap, bytes, len, false);
}

char *text_quote(char *out, size_t cap, const char *bytes, size_t len)
{
	return escape(out, cap, bytes, len, true);
}

bool text_is_utf8(const char *bytes, size_t len)
{
	const uint8_t *p = (const uint8_t *)bytes;

	while (len > 0) {
		size_t n = utf8_len(p, len);
		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

/* Reads one digit or more and leaves *S behind them. */
static int parse_digits(const char **s, uint64_t *out)
{
	uint64_t v = 0;
	const char *p = *s;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERR_USAGE;
	if (p == *s)
		return -ERR_USAGE;
	*s = p;
	*out = v;
	return 0;
}

int text_parse_size(const char *s, uint64_t *out)
{
	static const char suffixes[] = "KMGT";
	uint64_t v;

	if (parse_digits(&s, &v) < 0)
		return -ERR_USAGE;
	if (*s) {
		const char *suffix = strchr(suffixes, *s);
		if (!suffix || s[1])
			return -ERR_USAGE;
		uint64_t unit = UINT64_C(1024) << 10 * (suffix - suffixes);
		if (__builtin_mul_overflow(v, unit, &v))
			return -ERR_USAGE;
	}
	*out = v;
	return 0;
}

int text_parse_uint(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t v;

	if (parse_digits(&s, &v) < 0 || *s || v < min || v > max)
		return -ERR_USAGE;
	*out = v;
	return 0;
}

char *text_format_size(char out[TEXT_SIZE_MAX], uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	double v = (double)bytes;
	size_t unit = 0;

	/* From 1023.5 on it would be shown as 1024: the next unit's 1.0. */
	for (; v >= 1023.5; unit++)
		v /= 1024;
	/* From 9.95 on the decimal would make it 10.0. */
	int decimals = unit > 0 && v < 9.95;
	snprintf(out, TEXT_SIZE_MAX, "%.*f %c", decimals, v, units[unit]);
	return out;
}

char *text_format_duration(char out[TEXT_DURATION_MAX], uint64_t ms)
{
	const uint64_t hours_max = 999999999; /* what the buffer holds */
	uint64_t sec = ms / 1000;
	uint64_t hours = sec / 3600;
	unsigned min = (unsigned)(sec / 60 % 60);

	if (sec < 60)
		snprintf(out, TEXT_DURATION_MAX, "%u.%02u s", (unsigned)sec,
			(unsigned)(ms % 1000 / 10));
	else if (hours == 0)
		snprintf(out, TEXT_DURATION_MAX, "%u:%02u", min, (unsigned)(sec % 60));
	else
		snprintf(out, TEXT_DURATION_MAX, "%" PRIu64 ":%02u:%02u",
			hours < hours_max ? hours : hours_max, min, (unsigned)(sec % 60));
	return out;
}

char *text_hex(char *out, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = hex_digits[bytes[i] >> 4];
		out[2 * i + 1] = hex_digits[bytes[i] & 15];
	}
	out[2 * len] = '\0';
	return out;
}

static unsigned hex_value(char digit)
{
	if (digit <= '9')
		return (unsigned)(digit - '0');
	return (unsigned)((digit | 0x20) - 'a') + 10;
}

int text_unhex(const char *s, uint8_t *out, size_t len)
{
	size_t digits = strspn(s, "0123456789abcdefABCDEF");

	if (digits != 2 * len || s[digits])
		return -ERR_USAGE;
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(hex_value(s[2 * i]) << 4 | hex_value(s[2 * i + 1]));
	return 0;
}
