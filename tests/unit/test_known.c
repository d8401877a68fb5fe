/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/known.h"

#include <stdlib.h>
#include <sys/wait.h>

#include "base/err.h"
#include "prints.h"
#include "scratch.h"

Test(known, names)
{
	static const struct {
		const char *host;
		uint16_t port;
		const char *name; /* NULL: refused */
	} rows[] = {
		{"localhost", 7625, "localhost:7625"},
		{"Files.Example.ORG", 1, "files.example.org:1"},
		{"127.0.0.1", 65535, "127.0.0.1:65535"},
		{"::1", 22, "[::1]:22"},
		{"FE80::1%eth0", 22, "[fe80::1%eth0]:22"},
		{"b\xc3\xbc"
		 "cher.example",
			22,
			"b\xc3\xbc"
			"cher.example:22"},
		{"", 22, NULL},
		{"#h", 22, NULL},
		{"a b", 22, NULL},
		{"a\tb", 22, NULL},
		{"a\nb", 22, NULL},
		{"a\x1b[1m", 22, NULL},
		{"a\x7f", 22, NULL},
	};
	char name[KNOWN_NAME_MAX], host[2 * SOCK_HOST_MAX];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int err = known_name(name, rows[i].host, rows[i].port);
		cr_assert_eq(err, rows[i].name ? 0 : -ERR_USAGE, "%s", rows[i].host);
		if (rows[i].name)
			cr_expect_str_eq(name, rows[i].name);
	}
	memset(host, 'a', sizeof(host));
	host[SOCK_HOST_MAX + 2] = '\0';
	cr_expect_eq(known_name(name, host, 65535), -ERR_USAGE);
	host[SOCK_HOST_MAX - 1] = '\0';
	cr_expect_eq(known_name(name, host, 65535), 0);
	host[0] = ':';
	cr_expect_eq(known_name(name, host, 65535), 0);
	cr_expect_eq(strlen(name), KNOWN_NAME_MAX - 1);
}

Test(known, lines)
{
	static const struct {
		const char *text;
		int found; /* of h:1 */
		size_t line;
		char letter;
	} rows[] = {
		{"", 0, 0, 0},
		{"\n\n", 0, 0, 0},
		{"# h:1 " A "\n", 0, 0, 0},
		{"h:1 " A "\n", 1, 1, 'A'},
		{"h:1 " A, 1, 1, 'A'},
		{"H:1 " A "\n", 1, 1, 'A'},
		{"g:1 " A "\n\n#x\nh:1 " B "\ni:1 " C "\n", 1, 4, 'B'},
		{"h:2 " A "\nhh:1 " A "\nh.h:1 " A "\n[h]:1 " A "\n", 0, 0, 0},
		{"h:1 " A "\nh:1 " A "\n", 1, 1, 'A'},
		{"h:1 " A "\nh:2 " B "\n", 1, 1, 'A'},
		/* what makes no sense, before and behind what is looked for */
		{"h:1 " A "\nh:1 " B "\n", -ERR_USAGE, 2, 0},
		{"h:1 " A "\nH:1 " B "\n", -ERR_USAGE, 2, 0},
		{"h:1 " A "\n\nx\n", -ERR_USAGE, 3, 0},
		{"x\nh:1 " A "\n", -ERR_USAGE, 1, 0},
		{" \nh:1 " A "\n", -ERR_USAGE, 1, 0},
		{" h:1 " A "\n", -ERR_USAGE, 1, 0},
		{"h:1  " A "\n", -ERR_USAGE, 1, 0},
		{"h:1\t" A "\n", -ERR_USAGE, 1, 0},
		{"h:1 " A " \n", -ERR_USAGE, 1, 0},
		{"h:1 " A "\r\n", -ERR_USAGE, 1, 0},
		{"h:1 " A "x\n", -ERR_USAGE, 1, 0},
		{"h:1 " A " " B "\n", -ERR_USAGE, 1, 0},
		{"h:1 SHA256:QUFB\n", -ERR_USAGE, 1, 0},
		{"h:1 sha256:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE\n", -ERR_USAGE,
			1, 0},
		{"h:1 \n", -ERR_USAGE, 1, 0},
		{"h:1\n", -ERR_USAGE, 1, 0},
		{"h " A "\n", -ERR_USAGE, 1, 0},
		{":1 " A "\n", -ERR_USAGE, 1, 0},
		{"h: " A "\n", -ERR_USAGE, 1, 0},
		{"h:0 " A "\n", -ERR_USAGE, 1, 0},
		{"h:65536 " A "\n", -ERR_USAGE, 1, 0},
		{"h:000001 " A "\n", -ERR_USAGE, 1, 0},
		{"h:x " A "\n", -ERR_USAGE, 1, 0},
		{"::1 " A "\n", 0, 0, 0},
		{"\x1b[1mh:1 " A "\n", -ERR_USAGE, 1, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct known known = {0};
		/* exactly as long as it is: a sanitizer sees the byte behind it */
		size_t len = strlen(rows[i].text);
		char *text = malloc(len > 0 ? len : 1);
		memcpy(text, rows[i].text, len);
		int found = known_find(text, len, "h:1", &known);
		free(text);
		cr_expect_eq(found, rows[i].found, "%s: %d", rows[i].text, found);
		cr_expect_eq(
			known.line, rows[i].line, "%s: %zu", rows[i].text, known.line);
		if (found == 1)
			cr_expect_arr_eq(
				known.fp, print_of(rows[i].letter), FINGERPRINT_LEN);
	}
}

Test(known, a_nul_is_no_end)
{
	static const char text[] = "h:1 " A "\0\nh:1 " A "\n", name[] = "h\0:1 " A "\n";
	struct known known = {0};

	cr_expect_eq(known_find(text, sizeof(text) - 1, "h:1", &known), -ERR_USAGE);
	cr_expect_eq(known_find(name, sizeof(name) - 1, "h:1", &known), -ERR_USAGE);
}

static void file_write(const struct scratch *s, const char *text, mode_t mode)
{
	scratch_file(s->fd, KNOWN_FILE, text);
	cr_assert_eq(fchmodat(s->fd, KNOWN_FILE, mode, 0), 0);
}

Test(known, added)
{
	static const struct {
		const char *before;
		int err;
		const char *after; /* NULL: as before */
	} rows[] = {
		{"", 0, "h:1 " A "\n"},
		{"# mine\n\ng:1 " B "\n", 0, "# mine\n\ng:1 " B "\nh:1 " A "\n"},
		{"g:1 " B, 0, "g:1 " B "\nh:1 " A "\n"},
		{"h:1 " A "\ng:1 " B "\n", 0, NULL},
		{"h:1 " B "\n", -ERR_EXISTS, NULL},
		{"nonsense\n", -ERR_USAGE, NULL},
	};
	char text[KNOWN_CAP];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct known known = {0};
		struct scratch s;
		struct stat st;
		scratch_init(&s);
		if (*rows[i].before)
			file_write(&s, rows[i].before, 0600);
		cr_expect_eq(known_add(s.fd, "h:1", print_of('A'), &known), rows[i].err);
		cr_expect_str_eq(file_read(s.fd, text),
			rows[i].after ? rows[i].after : rows[i].before);
		cr_expect_eq(known.line, rows[i].err < 0 || i == 3 ? 1 : 0);
		if (*rows[i].before || rows[i].after)
			cr_expect(fstatat(s.fd, KNOWN_FILE, &st, 0) == 0 &&
				  (st.st_mode & 07777) == 0600);
		scratch_fini(&s);
	}
}

/* Two who add at once both stand in it. */
Test(known, added_by_many)
{
	enum { WRITERS = 8, EACH = 10 };
	struct scratch s;
	char text[KNOWN_CAP * 2], name[32];
	int status;

	scratch_init(&s);
	for (int w = 0; w < WRITERS; w++)
		if (fork() == 0) {
			struct known known;
			int failed = 0;
			for (int i = 0; i < EACH; i++) {
				snprintf(name, sizeof(name), "h%d.%d:1", w, i);
				failed |= known_add(s.fd, name, print_of('A'), &known);
			}
			_exit(failed != 0);
		}
	for (int w = 0; w < WRITERS; w++)
		cr_assert(wait(&status) > 0 && status == 0);
	int fd = openat(s.fd, KNOWN_FILE, O_RDONLY);
	ssize_t len = read(fd, text, sizeof(text));
	close(fd);
	for (int w = 0; w < WRITERS; w++)
		for (int i = 0; i < EACH; i++) {
			struct known known;
			snprintf(name, sizeof(name), "h%d.%d:1", w, i);
			cr_expect_eq(known_find(text, (size_t)len, name, &known), 1, "%s",
				name);
		}
	scratch_fini(&s);
}

Test(known, must_be_ours_alone)
{
	struct known known;
	struct scratch s;

	scratch_init(&s);
	file_write(&s, "h:1 " A "\n", 0600);
	cr_expect_eq(known_read(s.fd, "h:1", &known), 1);
	cr_expect_eq(known_read(s.fd, "h:2", &known), 0);
	file_write(&s, "h:1 " A "\n", 0666);
	cr_expect_eq(known_read(s.fd, "h:1", &known), -ERR_ACCESS);
	cr_expect_eq(known_add(s.fd, "h:2", print_of('A'), &known), -ERR_ACCESS);
	scratch_fini(&s);
}
