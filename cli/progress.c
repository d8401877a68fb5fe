/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <wchar.h>

#include "base/compiler.h"
#include "base/text.h"

#define ELLIPSIS       "\xe2\x80\xa6"
#define NAME_MIN       12 /* columns: a field that leaves less to the name is left out */
#define GAP            2  /* columns before each field */
#define FIELD_MAX      48
#define WIDTH_DEFAULT  80
#define RATE_SMOOTH_MS 2000
#define ETA_MAX_MS     (100 * 3600 * 1000.0)

bool pace_is_due(struct pace *p, int64_t now_ms)
{
	if (now_ms < p->next_ms)
		return false;
	p->next_ms = now_ms + p->every_ms;
	return true;
}

void rate_sample(struct rate *r, uint64_t bytes, int64_t now_ms)
{
	double passed_ms = (double)(now_ms - r->at_ms);
	double per_sec;

	if (now_ms <= r->at_ms)
		return;
	per_sec = (double)(bytes - r->bytes) * 1000 / passed_ms;
	if (r->bytes == 0)
		r->per_sec = per_sec;
	else
		r->per_sec +=
			(per_sec - r->per_sec) * passed_ms / (passed_ms + RATE_SMOOTH_MS);
	r->at_ms = now_ms;
	r->bytes = bytes;
}

/* -- The name ----------------------------------------------------------- */

struct line {
	char *out; /* PROGRESS_LINE_MAX bytes */
	size_t len;
};

static void line_add(struct line *l, const char *bytes, size_t len)
{
	if (len >= PROGRESS_LINE_MAX - l->len)
		return;
	memcpy(l->out + l->len, bytes, len);
	l->len += len;
	l->out[l->len] = '\0';
}

static void line_pad(struct line *l, unsigned columns)
{
	while (columns-- > 0)
		line_add(l, " ", 1);
}

/* Bytes of the character at S, which is valid UTF-8, and its COLUMNS. */
static size_t char_measure(const char *s, unsigned *columns)
{
	unsigned char first = (unsigned char)*s;
	size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	wchar_t c = len == 1 ? first : first & (0x7f >> len);
	int width;

	for (size_t i = 1; i < len; i++)
		c = c << 6 | (s[i] & 0x3f);
	width = wcwidth(c);
	/* Unknown to the locale: count it as wide, so that no line is ever too long. */
	*columns = width >= 0 ? (unsigned)width : 2;
	return len;
}

static unsigned text_columns(const char *s)
{
	unsigned sum = 0, columns;

	for (; *s != '\0'; sum += columns)
		s += char_measure(s, &columns);
	return sum;
}

/* Adds from the start of S what fits COLUMNS; the columns used. */
static unsigned head_add(struct line *l, const char *s, unsigned columns)
{
	unsigned used = 0, next;

	while (*s != '\0') {
		size_t len = char_measure(s, &next);
		if (used + next > columns)
			break;
		line_add(l, s, len);
		used += next;
		s += len;
	}
	return used;
}

/* Adds from the end of S, which has ALL columns, what fits COLUMNS; the columns used. */
static unsigned tail_add(struct line *l, const char *s, unsigned all, unsigned columns)
{
	unsigned next = 0;

	/* An accent does not stay behind without its letter. */
	while (*s != '\0') {
		size_t len = char_measure(s, &next);
		if (all <= columns && next > 0)
			break;
		all -= next;
		s += len;
	}
	line_add(l, s, strlen(s));
	return all;
}

static void name_add(struct line *l, const char *name, unsigned columns)
{
	unsigned all = text_columns(name);
	unsigned used;

	if (all <= columns) {
		used = head_add(l, name, columns);
	} else if (columns == 0) {
		used = 0;
	} else {
		used = head_add(l, name, (columns - 1) / 2);
		line_add(l, ELLIPSIS, strlen(ELLIPSIS));
		used += 1 + tail_add(l, name, all, columns - 1 - (columns - 1) / 2);
	}
	line_pad(l, columns - used);
}

/* -- The fields behind it ----------------------------------------------- */

typedef void field_fn(char out[FIELD_MAX], const struct progress_state *s);

static void percent_format(char out[FIELD_MAX], const struct progress_state *s)
{
	unsigned percent = 100;

	if (!s->total_final)
		return;
	if (s->done < s->total)
		percent = (unsigned)((double)s->done * 100 / (double)s->total);
	snprintf(out, FIELD_MAX, "%3u%%", percent);
}

static void sizes_format(char out[FIELD_MAX], const struct progress_state *s)
{
	char done[TEXT_SIZE_MAX], total[TEXT_SIZE_MAX];

	text_format_size(done, s->done);
	text_format_size(total, s->total);
	if (s->total_final || s->total > s->done)
		snprintf(out, FIELD_MAX, "%s/%s%s", done, total,
			s->total_final ? "" : "+");
	else
		snprintf(out, FIELD_MAX, "%s", done);
}

static void rate_format(char out[FIELD_MAX], const struct progress_state *s)
{
	char rate[TEXT_SIZE_MAX];

	snprintf(out, FIELD_MAX, "%7s/s", text_format_size(rate, s->rate));
}

/* In the form of a clock also below a minute, where durations have decimals. */
static void eta_format(char out[FIELD_MAX], const struct progress_state *s)
{
	char left[TEXT_DURATION_MAX];
	double ms;

	if (!s->total_final || s->rate == 0 || s->done >= s->total)
		return;
	ms = (double)(s->total - s->done) * 1000 / (double)s->rate;
	if (ms >= ETA_MAX_MS)
		return;
	if (ms < 60000)
		snprintf(left, sizeof(left), "0:%02u", (unsigned)(ms / 1000));
	else
		text_format_duration(left, (uint64_t)ms);
	snprintf(out, FIELD_MAX, "%7s", left);
}

void progress_format(
	char out[PROGRESS_LINE_MAX], const struct progress_state *s, unsigned width)
{
	static field_fn *const fields[] = {
		percent_format, sizes_format, rate_format, eta_format};
	char tail[ARRAY_LEN(fields) * (FIELD_MAX + GAP)] = "";
	struct line line = {.out = out};
	unsigned used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		char field[FIELD_MAX] = "";
		fields[i](field, s);
		unsigned columns = field[0] != '\0' ? GAP + (unsigned)strlen(field) : 0;
		/* The first field stays as long as there is a line at all. */
		unsigned keep = i == 0 ? 0 : NAME_MIN;
		if (used + columns + keep > width)
			break;
		used += (unsigned)snprintf(
			tail + used, sizeof(tail) - used, "%*s", (int)columns, field);
	}
	name_add(&line, s->name, width - used);
	line_add(&line, tail, used);
}

/* -- The terminal ------------------------------------------------------- */

/* One less than there are: a full line would wrap on some terminals. */
static unsigned terminal_columns(FILE *out)
{
	struct winsize size;
	unsigned width = WIDTH_DEFAULT;

	if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		width = size.ws_col;
	return width > PROGRESS_WIDTH_MAX ? PROGRESS_WIDTH_MAX : width - 1;
}

void progress_draw(struct progress *p, const struct progress_state *s)
{
	char line[PROGRESS_LINE_MAX];
	unsigned columns;

	if (!p->out)
		return;
	columns = terminal_columns(p->out);
	if (columns < p->shown)
		progress_erase(p);
	progress_format(line, s, columns);
	fprintf(p->out, "\r%s", line);
	fflush(p->out);
	p->shown = columns;
}

void progress_erase(struct progress *p)
{
	if (!p->out || p->shown == 0)
		return;
	fprintf(p->out, "\r%*s\r", (int)p->shown, "");
	fflush(p->out);
	p->shown = 0;
}
