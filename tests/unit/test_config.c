/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/session.h"

#define ARGS_MAX 24

/* Runs config_parse on the words of LINE, which stay where they are. */
static enum parsed line_parse(char *line, struct config *out, int *status_out)
{
	char *argv[ARGS_MAX + 2] = {"sockd"};
	int argc = 1;
	char *rest = NULL;

	for (char *w = strtok_r(line, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) {
		cr_assert_lt(argc, ARGS_MAX);
		argv[argc++] = w;
	}
	return config_parse(argc, argv, out, status_out);
}

static struct config config_of(const char *text)
{
	static char line[512]; /* the configuration borrows from it */
	struct config c;
	int status = -1;

	snprintf(line, sizeof(line), "%s", text);
	cr_assert_eq(line_parse(line, &c, &status), PARSED_RUN, "%s", text);
	return c;
}

static void setup(void)
{
	unsetenv("STATE_DIRECTORY");
	cr_redirect_stderr();
	cr_redirect_stdout();
}

TestSuite(config, .init = setup, .timeout = 30);

Test(config, defaults)
{
	struct config c = config_of("--root=/srv --plaintext");

	cr_assert_str_eq(c.root, "/srv");
	cr_assert_eq(c.listen_count, 0);
	cr_assert_null(c.state_dir);
	cr_assert_eq(c.anonymous, RIGHT_NONE);
	cr_assert(c.plaintext);
	cr_assert_not(c.check);
	cr_assert_eq(c.max_connections, 4096);
	cr_assert_eq(c.chunk_size, 1048576);
	cr_assert_eq(c.handshake_timeout_ms, 20000);
	cr_assert_eq(c.idle_timeout_ms, 300000);
	cr_assert_eq(c.drain_timeout_ms, 30000);
	cr_assert_eq(c.min_rate, 1024);
	cr_assert_eq(c.partial_age_sec, 7 * 24 * 3600);
}

Test(config, every_option_lands_in_its_field)
{
	struct config c = config_of(
		"-r dir -l 127.0.0.1:0 --listen=[::1]:80 -s state --plaintext -t "
		"--anonymous=read --max-connections=7 --chunk-size=64K "
		"--handshake-timeout=1 --idle-timeout=2 --drain-timeout=3 "
		"--min-rate=4K --partial-age=5");

	cr_assert_str_eq(c.root, "dir");
	cr_assert_eq(c.listen_count, 2);
	cr_assert_str_eq(c.listen[0], "127.0.0.1:0");
	cr_assert_str_eq(c.listen[1], "[::1]:80");
	cr_assert_str_eq(c.state_dir, "state");
	cr_assert(c.check);
	cr_assert_eq(c.anonymous, RIGHT_READ | RIGHT_LIST);
	cr_assert_eq(c.max_connections, 7);
	cr_assert_eq(c.chunk_size, 65536);
	cr_assert_eq(c.handshake_timeout_ms, 1000);
	cr_assert_eq(c.idle_timeout_ms, 2000);
	cr_assert_eq(c.drain_timeout_ms, 3000);
	cr_assert_eq(c.min_rate, 4096);
	cr_assert_eq(c.partial_age_sec, 5);
}

Test(config, rights)
{
	cr_assert_eq(config_of("-r d --plaintext --anonymous=write").anonymous,
		RIGHT_READ | RIGHT_LIST | RIGHT_CREATE | RIGHT_WRITE);
	cr_assert_eq(
		config_of("-r d --plaintext --anonymous=none").anonymous, RIGHT_NONE);
}

Test(config, the_last_one_counts)
{
	struct config c =
		config_of("-r a --idle-timeout=1 --plaintext -r b --idle-timeout=2");

	cr_assert_str_eq(c.root, "b");
	cr_assert_eq(c.idle_timeout_ms, 2000);
}

static const struct {
	const char *env;
	const char *line;
	const char *state_dir;
} state_dirs[] = {
	{"/var/lib/sockd", "-r d --plaintext", "/var/lib/sockd"},
	{"/var/lib/sockd:/var/lib/sockd/files", "-r d --plaintext", "/var/lib/sockd"},
	{"/var/lib/sockd", "-r d --plaintext -s own", "own"},
	{"", "-r d --plaintext", NULL},
};

Test(config, state_dir_from_systemd)
{
	for (size_t i = 0; i < ARRAY_LEN(state_dirs); i++) {
		struct config c;

		setenv("STATE_DIRECTORY", state_dirs[i].env, 1);
		c = config_of(state_dirs[i].line);
		cr_assert_eq(!c.state_dir, !state_dirs[i].state_dir, "%zu", i);
		if (c.state_dir)
			cr_assert_str_eq(c.state_dir, state_dirs[i].state_dir);
	}
}

/* What is within the limits of an option. */
static const char *const taken[] = {
	"-r d --plaintext --chunk-size=4096",
	"-r d --plaintext --chunk-size=4M",
	"-r d --plaintext --max-connections=1",
	"-r d --plaintext --max-connections=1048576",
	"-r d --plaintext --idle-timeout=86400",
	"-r d --plaintext --drain-timeout=0",
	"-r d --plaintext --min-rate=0",
	"-r d --plaintext --partial-age=0",
	"-r d --plaintext -l 127.0.0.1 -l 127.9.9.9:1 -l [::1] -l ::1 -l localhost:0",
	"-r d --plain",
};

Test(config, taken)
{
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		(void)config_of(taken[i]);
}

/* Each is refused, with status 2. */
static const char *const refused[] = {
	"",
	"--plaintext",
	"-r d",
	"--root= --plaintext",
	"-r d --plaintext extra",
	"-r d --plaintext -- extra",
	"-r d --plaintext --no-such-option",
	"-r d --plaintext -x",
	"-r d --plaintext=yes",
	"--plaintext -r",
	"-r d --plaintext --anonymous=all",
	"-r d --plaintext --anonymous=",
	"-r d --plaintext --max-connections=0",
	"-r d --plaintext --max-connections=1048577",
	"-r d --plaintext --max-connections=1K",
	"-r d --plaintext --chunk-size=2K",
	"-r d --plaintext --chunk-size=8M",
	"-r d --plaintext --chunk-size=5000",
	"-r d --plaintext --handshake-timeout=0",
	"-r d --plaintext --idle-timeout=0",
	"-r d --plaintext --idle-timeout=86401",
	"-r d --plaintext --idle-timeout=-1",
	"-r d --plaintext --idle-timeout=1.5",
	"-r d --plaintext --idle-timeout=",
	"-r d --plaintext --min-rate=4G",
	"-r d --plaintext --partial-age=x",
	"-r d --plaintext -l 0.0.0.0",
	"-r d --plaintext -l :7625",
	"-r d --plaintext -l [::]:7625",
	"-r d --plaintext -l 192.0.2.1:7625",
	"-r d --plaintext -l 127.0.0.1 -l 192.0.2.1",
	"-r d --plaintext -l localhost:",
	"-r d --plaintext -l localhost:65536",
	"-r d -l 127.0.0.1",
};

Test(config, refused)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct config c;
		char line[256];
		int status = -1;

		snprintf(line, sizeof(line), "%s", refused[i]);
		cr_assert_eq(
			line_parse(line, &c, &status), PARSED_EXIT, "%s", refused[i]);
		cr_assert_eq(status, 2, "%s", refused[i]);
	}
}

Test(config, listen_is_bounded)
{
	char *argv[2 * CONFIG_LISTEN_MAX + 8] = {"sockd", "-r", "d", "--plaintext"};
	int argc = 4;
	struct config c;
	int status = -1;

	for (int i = 0; i < CONFIG_LISTEN_MAX; i++)
		argv[argc++] = "-l127.0.0.1";
	cr_assert_eq(config_parse(argc, argv, &c, &status), PARSED_RUN);
	cr_assert_eq(c.listen_count, CONFIG_LISTEN_MAX);
	argv[argc++] = "-l127.0.0.1";
	cr_assert_eq(config_parse(argc, argv, &c, &status), PARSED_EXIT);
	cr_assert_eq(status, 2);
}

/* What LINE makes sockd say on F, of which the other side is redirected. */
static void assert_says(FILE *f, const char *text)
{
	char said[8192];
	size_t len = fread(said, 1, sizeof(said) - 1, f);

	said[len] = '\0';
	cr_assert_not_null(strstr(said, text), "'%s' is not in '%s'", text, said);
}

static void assert_exits(const char *text, int expected)
{
	struct config c;
	char line[256];
	int status = -1;

	snprintf(line, sizeof(line), "%s", text);
	cr_assert_eq(line_parse(line, &c, &status), PARSED_EXIT);
	cr_assert_eq(status, expected);
	fflush(stdout);
	fflush(stderr);
}

Test(config, help_goes_to_stdout)
{
	assert_exits("--plaintext --help --no-such-option", 0);
	assert_says(cr_get_redirected_stdout(), "\n  -r, --root=DIR ");
}

Test(config, version_goes_to_stdout)
{
	assert_exits("-V", 0);
	assert_says(cr_get_redirected_stdout(), "sockd ");
}

static const struct {
	const char *line;
	const char *said;
} complaints[] = {
	{"-r d", "--plaintext is needed"},
	{"-r d --plaintext -l 192.0.2.1",
		"--listen=192.0.2.1: without TLS only loopback"},
	{"-r d --plaintext --chunk-size=5000", "power of two"},
	{"-r d --plaintext --idle-timeout=x",
		"--idle-timeout=x: a number from 1 to 86400"},
	{"-r d --plaintext --anonymous=all", "--anonymous=all: none, read or write"},
	{"--plaintext", "--root=DIR is needed"},
	{"-r d --plaintext extra", "extra: "},
};

Test(config, complaints_say_why)
{
	FILE *said = cr_get_redirected_stderr();

	for (size_t i = 0; i < ARRAY_LEN(complaints); i++) {
		assert_exits(complaints[i].line, 2);
		assert_says(said, complaints[i].said);
	}
}
