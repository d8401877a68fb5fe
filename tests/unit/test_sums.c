/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/sums.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/err.h"
#include "base/text.h"
#include "scratch.h"

/* SHA-256 of nothing. */
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const char *const odd_names[] = {
	"plain",
	"two words",
	" leading",
	"back\\slash",
	"new\nline",
	"return\r",
	"\\n",
	"all\\\n\r\\",
	"\xff\xfe not UTF-8",
	"caf\xc3\xa9 \x1b[31m",
	"*star",
};

static void digest_read(uint8_t out[DIGEST_LEN])
{
	cr_assert_eq(text_unhex(EMPTY, out, DIGEST_LEN), 0);
}

static void scratch_enter(struct scratch *s)
{
	scratch_init(s);
	cr_assert_eq(chdir(s->path), 0);
}

static unsigned scratch_count(const struct scratch *s)
{
	DIR *dir = opendir(s->path);
	unsigned count = 0;

	cr_assert_not_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2; /* "." and ".." */
}

Test(sums, line)
{
	static const struct {
		const char *name;
		const char *line;
	} rows[] = {
		{"a", EMPTY "  a\n"},
		{"-", EMPTY "  -\n"},
		{"a b", EMPTY "  a b\n"},
		{"a\\b", "\\" EMPTY "  a\\\\b\n"},
		{"a\nb", "\\" EMPTY "  a\\nb\n"},
		{"a\rb", "\\" EMPTY "  a\\rb\n"},
		{"\xff\t", EMPTY "  \xff\t\n"},
	};
	uint8_t digest[DIGEST_LEN];

	digest_read(digest);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = NULL;
		size_t len;
		FILE *out = open_memstream(&text, &len);

		sums_print(out, digest, rows[i].name);
		fclose(out);
		cr_expect_str_eq(text, rows[i].line);
		free(text);
	}
}

Test(sums, manifest_is_checked_by_coreutils)
{
	struct scratch s;
	struct sums *sums;
	uint8_t digest[DIGEST_LEN];

	scratch_enter(&s);
	digest_read(digest);
	cr_assert_eq(sums_open(&sums, "SUMS"), 0);
	for (size_t i = 0; i < ARRAY_LEN(odd_names); i++) {
		scratch_file(s.fd, odd_names[i], "");
		sums_add(sums, digest, odd_names[i]);
	}
	cr_assert_eq(sums_commit(sums), 0);
	sums_free(sums);
	cr_expect_eq(scratch_count(&s), ARRAY_LEN(odd_names) + 1);
	cr_expect_eq(system("sha256sum -c --strict --quiet SUMS"), 0);
	/* the very bytes that sha256sum itself writes */
	cr_expect_eq(
		system("LC_ALL=C; export LC_ALL; set -- *; for f do [ \"$f\" = SUMS ] "
		       "|| sha256sum -- \"$f\"; done"
		       " | sort >theirs; sort SUMS | cmp - theirs"),
		0);
	/* control: a file that changed is found */
	scratch_file(s.fd, "plain", "x");
	cr_expect_neq(system("sha256sum -c --status SUMS 2>/dev/null"), 0);
	scratch_fini(&s);
}

Test(sums, nothing_is_there_before_commit)
{
	struct scratch s;
	struct sums *sums;
	uint8_t digest[DIGEST_LEN];
	char text[64];

	scratch_enter(&s);
	digest_read(digest);
	scratch_file(s.fd, "SUMS", "old");
	cr_assert_eq(sums_open(&sums, "SUMS"), 0);
	sums_add(sums, digest, "a");
	cr_expect_str_eq(scratch_read(s.fd, "SUMS", text), "old");
	sums_free(sums);
	cr_expect_str_eq(scratch_read(s.fd, "SUMS", text), "old");
	cr_expect_eq(scratch_count(&s), 1, "the temporary file is left");

	cr_assert_eq(sums_open(&sums, "SUMS"), 0);
	cr_assert_eq(sums_commit(sums), 0);
	sums_free(sums);
	cr_expect_str_eq(scratch_read(s.fd, "SUMS", text), "");
	cr_expect_eq(scratch_count(&s), 1);
	scratch_fini(&s);
}

Test(sums, readers_are_those_of_the_umask)
{
	struct scratch s;
	struct sums *sums;
	struct stat st;

	scratch_enter(&s);
	umask(027);
	cr_assert_eq(sums_open(&sums, "SUMS"), 0);
	cr_assert_eq(sums_commit(sums), 0);
	sums_free(sums);
	cr_assert_eq(stat("SUMS", &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0640);
	scratch_fini(&s);
}

Test(sums, refuses_what_is_no_file)
{
	struct scratch s;
	struct sums *sums = NULL;

	scratch_enter(&s);
	scratch_mkdir(s.fd, "dir");
	scratch_file(s.fd, "file", "");
	scratch_link(s.fd, "file", "link");
	cr_assert_eq(mkfifoat(s.fd, "fifo", 0600), 0);
	cr_expect_eq(sums_open(&sums, "dir"), -ERR_IS_DIR);
	cr_expect_eq(sums_open(&sums, "link"), -ERR_NOT_REGULAR);
	cr_expect_eq(sums_open(&sums, "fifo"), -ERR_NOT_REGULAR);
	cr_expect_eq(sums_open(&sums, "/dev/null"), -ERR_NOT_REGULAR);
	cr_expect_eq(sums_open(&sums, "no/SUMS"), -ERR_NOT_FOUND);
	cr_expect_eq(sums_open(&sums, "file/SUMS"), -ERR_NOT_DIR);
	cr_expect_null(sums);
	cr_expect_eq(scratch_count(&s), 4);
	scratch_fini(&s);
}

static void file_limit(rlim_t bytes)
{
	struct rlimit limit = {bytes, RLIM_INFINITY};

	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* As on a disk that is full for the first LINES lines, and then no longer. */
static void full_disk(unsigned lines, bool for_ever)
{
	struct scratch s;
	struct sums *sums;
	uint8_t digest[DIGEST_LEN];
	char text[64];

	scratch_enter(&s);
	digest_read(digest);
	scratch_file(s.fd, "SUMS", "old");
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(sums_open(&sums, "SUMS"), 0);
	file_limit(16);
	for (unsigned i = 0; i < lines; i++)
		sums_add(sums, digest, "a");
	if (!for_ever)
		file_limit(RLIM_INFINITY);
	cr_expect_eq(sums_commit(sums), -ERR_TOO_LARGE);
	sums_free(sums);
	cr_expect_str_eq(scratch_read(s.fd, "SUMS", text), "old");
	cr_expect_eq(scratch_count(&s), 1);
	scratch_fini(&s);
}

Test(sums, full_disk_at_the_end)
{
	full_disk(1, true);
}

/* What was lost on the way is not there, though the last write succeeds. */
Test(sums, full_disk_on_the_way)
{
	full_disk(10000, false);
}
