/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/path.h"

#include <string.h>

#include "base/err.h"

static bool is_text(const char *component, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(component, text, len) == 0;
}

static int component_check(const char *component, size_t len)
{
	if (len > PATH_COMPONENT_MAX)
		return -ERR_NAME_TOO_LONG;
	if (len == 0 || is_text(component, len, ".") || is_text(component, len, "..") ||
		is_text(component, len, PATH_RESERVED))
		return -ERR_BAD_NAME;
	return 0;
}

int path_check(const char *path, size_t len)
{
	const char *end = path + len;

	if (len == 0)
		return 0;
	if (len > PATH_WIRE_MAX)
		return -ERR_NAME_TOO_LONG;
	if (memchr(path, '\0', len))
		return -ERR_BAD_NAME;
	for (int depth = 1; depth <= PATH_DEPTH_MAX; depth++) {
		const char *slash = memchr(path, '/', (size_t)(end - path));
		const char *stop = slash ? slash : end;
		int err = component_check(path, (size_t)(stop - path));
		if (err < 0 || !slash)
			return err;
		path = slash + 1;
	}
	return -ERR_NAME_TOO_LONG;
}

void path_normalise(char *path, bool *was_dir_out)
{
	const char *in = path;
	char *out = path;
	bool was_dir = true;

	while (*in) {
		size_t len = strcspn(in, "/");
		bool is_nothing = len == 0 || is_text(in, len, ".");

		was_dir = is_nothing || in[len] == '/';
		if (!is_nothing) {
			if (out != path)
				*out++ = '/';
			memmove(out, in, len);
			out += len;
		}
		in += len;
		in += *in == '/';
	}
	*out = '\0';
	*was_dir_out = was_dir;
}

const char *path_leaf(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

size_t path_parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

int path_join(char *out, size_t cap, const char *a, const char *b)
{
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);
	size_t slash_len = a_len > 0 && b_len > 0;

	if (a_len + slash_len + b_len >= cap)
		return -ERR_NAME_TOO_LONG;
	memcpy(out, a, a_len);
	memcpy(out + a_len, "/", slash_len);
	memcpy(out + a_len + slash_len, b, b_len + 1);
	return 0;
}

/* How many directories stand above the last component. */
static int parent_depth(const char *path)
{
	int depth = 0;

	for (; *path; path++)
		depth += *path == '/';
	return depth;
}

bool path_link_stays_inside(const char *link, const char *target)
{
	int depth = parent_depth(link);

	if (target[0] == '/')
		return false;
	while (*target && depth >= 0) {
		size_t len = strcspn(target, "/");

		if (is_text(target, len, PATH_RESERVED))
			return false;
		if (is_text(target, len, ".."))
			depth--;
		else if (len > 0 && !is_text(target, len, "."))
			depth++;
		target += len;
		target += *target == '/';
	}
	return depth >= 0;
}

int path_compare(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	/* A component that ends is before one that goes on. */
	int x = *a == '/' ? 1 : *a ? 1 + (unsigned char)*a : 0;
	int y = *b == '/' ? 1 : *b ? 1 + (unsigned char)*b : 0;
	return x - y;
}
