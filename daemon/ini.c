/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/ini.h"

#include <ini.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define BLANKS " \t\r\v\f"

/* One reading of one text. */
struct reading {
	const char *next, *end; /* borrowed: what is left of the text */
	unsigned line;          /* the last that was read */
	char section[INI_SECTION_MAX + 1];
	ini_item_fn *fn;
	void *ctx;
	int result; /* not 0: over */
	struct ini_error error;
};

int ini_complain(struct ini_error *error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(error->why, sizeof(error->why), fmt, args);
	va_end(args);
	return -ERR_USAGE;
}

static void reading_fail(struct reading *r, int result)
{
	r->result = result;
	r->error.line = r->line;
}

static void reading_call(struct reading *r, const char *key, const char *value)
{
	struct ini_item item = {
		.line = r->line, .section = r->section, .key = key, .value = value};
	int result = r->fn(r->ctx, &item, &r->error);

	if (result == 0)
		return;
	if (!*r->error.why)
		ini_complain(&r->error, "%s", err_text(result));
	reading_fail(r, result);
}

/* TEXT is a line that begins with '['.  libinih would cut a long name, overlook what
 * stands behind it, and tell nobody of a section without keys. */
static int section_begin(struct reading *r, const char *text)
{
	size_t len = strcspn(text + 1, "]");
	const char *rest = text + 1 + len;

	if (*rest != ']')
		return ini_complain(
			&r->error, "there is no ']' behind the section's name");
	rest += 1 + strspn(rest + 1, BLANKS);
	if (*rest && (*rest != ';' || rest[-1] == ']'))
		return ini_complain(
			&r->error, "there is something behind the ']' of the section");
	if (len > INI_SECTION_MAX)
		return ini_complain(&r->error,
			"the section's name is longer than %d bytes", INI_SECTION_MAX);
	memcpy(r->section, text + 1, len);
	r->section[len] = '\0';
	reading_call(r, NULL, NULL);
	return 0;
}

static bool is_blank(char c)
{
	return c != '\0' && strchr(BLANKS, c) != NULL;
}

/* Copies the next line, without the space around it, to OUT. */
static int line_take(struct reading *r, char *out, size_t cap)
{
	const char *newline = memchr(r->next, '\n', (size_t)(r->end - r->next));
	const char *begin = r->next, *stop = newline ? newline : r->end;

	r->line++;
	r->next = newline ? newline + 1 : r->end;
	while (begin < stop && is_blank(*begin))
		begin++;
	while (begin < stop && is_blank(stop[-1]))
		stop--;
	size_t len = (size_t)(stop - begin);
	if (memchr(begin, '\0', len))
		return ini_complain(&r->error, "there is a NUL byte in the line");
	if (len >= cap)
		return ini_complain(
			&r->error, "the line is longer than %zu bytes", cap - 1);
	memcpy(out, begin, len);
	out[len] = '\0';
	return 0;
}

/* The reader of libinih: like fgets(3), the next line into OUT. */
static char *reading_next(char *out, int cap, void *stream)
{
	struct reading *r = stream;

	if (r->result < 0 || r->next == r->end)
		return NULL;
	int err = line_take(r, out, (size_t)cap);
	if (err == 0 && *out == '[')
		err = section_begin(r, out);
	if (err < 0)
		reading_fail(r, err);
	return r->result < 0 ? NULL : out;
}

/* The handler of libinih; its own idea of the section may be cut. */
static int reading_pair(
	void *user, const char *section, const char *key, const char *value)
{
	struct reading *r = user;

	(void)section;
	if (r->result == 0)
		reading_call(r, key, value);
	return r->result == 0;
}

int ini_read(const char *text, size_t len, ini_item_fn *fn, void *ctx,
	struct ini_error *error_out)
{
	static const char bom[] = "\xef\xbb\xbf";
	struct reading r = {.next = text, .end = text + len, .fn = fn, .ctx = ctx};

	/* libinih takes one, and each that it sees would hide a section from us. */
	while ((size_t)(r.end - r.next) >= strlen(bom) &&
		memcmp(r.next, bom, strlen(bom)) == 0)
		r.next += strlen(bom);
	int bad_line = ini_parse_stream(reading_next, &r, reading_pair, &r);
	/* It goes on behind a line that it does not understand; we do not. */
	if (bad_line > 0 && (r.result == 0 || (unsigned)bad_line < r.error.line)) {
		r.line = (unsigned)bad_line;
		reading_fail(
			&r, ini_complain(&r.error,
				    "the line is neither [SECTION] nor KEY = VALUE"));
	}
	if (bad_line < 0) { /* it needed memory */
		r.line = 0;
		ini_complain(&r.error, "%s", err_text(ERR_RESOURCE));
		reading_fail(&r, -ERR_RESOURCE);
	}
	if (r.result < 0)
		*error_out = r.error;
	return r.result;
}
