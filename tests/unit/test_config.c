/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command line; test_config_file has the file. */
#include "daemon/config.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/session.h"

#define ARGS_MAX 24

#define FP_A "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

/* The words of a line, and what became of them.  One at a time. */
static char words[512];
static char *argv[ARGS_MAX + 2];
static struct config *c; /* owned; given back by line_end */
static int status;

static enum parsed line_parse(const char *line)
{
	int argc = 1;
	char *rest = NULL;

	snprintf(words, sizeof(words), "%s", line);
	argv[0] = (char *)"sockd";
	for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) {
		cr_assert_lt(argc, ARGS_MAX);
		argv[argc++] = w;
	}
	argv[argc] = NULL;
	config_put(c);
	c = NULL;
	status = -1;
	return config_parse(argc, argv, &c, &status);
}

static void line_taken(const char *line)
{
	cr_assert_eq(line_parse(line), PARSED_RUN, "%s", line);
	cr_assert_not_null(c);
}

static void setup(void)
{
	unsetenv("STATE_DIRECTORY");
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", "/home/of", 1);
	cr_redirect_stderr();
	cr_redirect_stdout();
}

static void teardown(void)
{
	config_put(c);
}

TestSuite(config, .init = setup, .fini = teardown, .timeout = 30);

Test(config, defaults)
{
	line_taken("--root=/srv");
	cr_assert_eq(c->command, COMMAND_SERVE);
	cr_assert_str_eq(c->root, "/srv");
	cr_assert_null(c->file);
	cr_assert_null(c->name);
	cr_assert_null(c->granted);
	cr_assert_eq(c->listen_count, 0);
	cr_assert_str_eq(c->state_dir, "/home/of/.local/state/sockd");
	cr_assert(c->state_dir_make);
	cr_assert_null(c->identity);
	cr_assert_str_eq(c->anonymous->name, "anonymous");
	cr_assert_eq(c->anonymous->rights, RIGHT_NONE);
	cr_assert_str_eq(c->anonymous->path, "");
	cr_assert_eq(c->client_count, 0);
	cr_assert_not(c->plaintext);
	cr_assert_not(c->check);
	cr_assert_eq(c->max_connections, 4096);
	cr_assert_eq(c->max_per_address, 1024);
	cr_assert_eq(c->penalty_max_ms, 300000);
	cr_assert_eq(c->chunk_size, 1048576);
	cr_assert_eq(c->handshake_timeout_ms, 20000);
	cr_assert_eq(c->idle_timeout_ms, 300000);
	cr_assert_eq(c->drain_timeout_ms, 30000);
	cr_assert_eq(c->min_rate, 1024);
	cr_assert_eq(c->partial_age_sec, 7 * 24 * 3600);
}

Test(config, every_option_lands_in_its_field)
{
	line_taken("-r dir -l 127.0.0.1:0 --listen=[::1]:80 -s state --plaintext -t "
		   "--anonymous=read --max-connections=7 --chunk-size=64K "
		   "--handshake-timeout=1 --idle-timeout=2 --drain-timeout=3 "
		   "--min-rate=4K --partial-age=5 --identity=me.pem "
		   "--max-per-address=6 --penalty-max=8");
	cr_assert_str_eq(c->root, "dir");
	cr_assert_eq(c->listen_count, 2);
	cr_assert_str_eq(c->listen[0], "127.0.0.1:0");
	cr_assert_str_eq(c->listen[1], "[::1]:80");
	cr_assert_str_eq(c->state_dir, "state");
	cr_assert_not(c->state_dir_make);
	cr_assert_str_eq(c->identity, "me.pem");
	cr_assert(c->plaintext);
	cr_assert(c->check);
	cr_assert_eq(c->anonymous->rights, RIGHT_READ | RIGHT_LIST);
	cr_assert_eq(c->max_connections, 7);
	cr_assert_eq(c->max_per_address, 6);
	cr_assert_eq(c->penalty_max_ms, 8000);
	cr_assert_eq(c->chunk_size, 65536);
	cr_assert_eq(c->handshake_timeout_ms, 1000);
	cr_assert_eq(c->idle_timeout_ms, 2000);
	cr_assert_eq(c->drain_timeout_ms, 3000);
	cr_assert_eq(c->min_rate, 4096);
	cr_assert_eq(c->partial_age_sec, 5);
}

Test(config, rights)
{
	line_taken("-r d --anonymous=write");
	cr_assert_eq(c->anonymous->rights, RIGHT_READ | RIGHT_LIST | RIGHT_WRITE);
	line_taken("-r d --anonymous=none");
	cr_assert_eq(c->anonymous->rights, RIGHT_NONE);
}

Test(config, the_last_one_counts)
{
	line_taken("-r a --idle-timeout=1 -r b --idle-timeout=2");
	cr_assert_str_eq(c->root, "b");
	cr_assert_eq(c->idle_timeout_ms, 2000);
	line_taken("-tttttttttttttttttttttttttttttttt -r z");
	cr_assert_str_eq(c->root, "z");
}

Test(config, a_quarter_for_one_address)
{
	line_taken("-r d --max-connections=400");
	cr_assert_eq(c->max_per_address, 100);
	line_taken("-r d --max-connections=9");
	cr_assert_eq(c->max_per_address, 16);
}

static const struct {
	const char *systemd, *xdg, *home; /* NULL: not set */
	const char *line;
	const char *state_dir;
	bool make;
} state_dirs[] = {
	{"/var/lib/sockd", "/x", "/h", "-r d", "/var/lib/sockd", false},
	{"/var/lib/sockd:/var/lib/sockd/files", "/x", "/h", "-r d", "/var/lib/sockd",
		false},
	{"/var/lib/sockd", "/x", "/h", "-r d -s own", "own", false},
	{"", "/x", "/h", "-r d", "/x/sockd", true},
	{NULL, "/x", "/h", "-r d", "/x/sockd", true},
	{NULL, "x", "/h", "-r d", "/h/.local/state/sockd", true},
	{NULL, "", "/h", "-r d", "/h/.local/state/sockd", true},
	{NULL, NULL, "/h", "-r d", "/h/.local/state/sockd", true},
	{NULL, NULL, "/h", "clients", "/h/.local/state/sockd", true},
	{NULL, NULL, "h", "-r d", NULL, false},
	{NULL, NULL, "", "-r d", NULL, false},
	{NULL, NULL, NULL, "-r d", NULL, false},
	{NULL, NULL, NULL, "-r d -s own", "own", false},
};

static void env_set(const char *name, const char *value)
{
	cr_assert_eq(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

Test(config, state_dir_by_default)
{
	for (size_t i = 0; i < ARRAY_LEN(state_dirs); i++) {
		env_set("STATE_DIRECTORY", state_dirs[i].systemd);
		env_set("XDG_STATE_HOME", state_dirs[i].xdg);
		env_set("HOME", state_dirs[i].home);
		line_taken(state_dirs[i].line);
		cr_assert_eq(!c->state_dir, !state_dirs[i].state_dir, "%zu", i);
		if (c->state_dir)
			cr_assert_str_eq(c->state_dir, state_dirs[i].state_dir);
		cr_assert_eq(c->state_dir_make, state_dirs[i].make, "%zu", i);
	}
}

static const struct {
	const char *line;
	enum config_command command;
} command_lines[] = {
	{"-r d", COMMAND_SERVE},
	{"clients", COMMAND_CLIENTS},
	{"-s state clients", COMMAND_CLIENTS},
	{"clients -s state", COMMAND_CLIENTS},
	{"fingerprint --identity=me.pem", COMMAND_FINGERPRINT},
	{"revoke bob --state-dir=state", COMMAND_REVOKE},
	{"invite bob", COMMAND_INVITE},
	{"invite --rights=create bob", COMMAND_INVITE},
	{"--rights=create invite bob --path=in --identity=me.pem", COMMAND_INVITE},
	{"authorize bob " FP_A, COMMAND_AUTHORIZE},
};

Test(config, commands_are_operands)
{
	for (size_t i = 0; i < ARRAY_LEN(command_lines); i++) {
		const char *line = command_lines[i].line;

		line_taken(line);
		cr_assert_eq(c->command, command_lines[i].command, "%s", line);
		cr_assert_eq(c->name != NULL, strstr(line, "bob") != NULL, "%s", line);
		if (c->name)
			cr_assert_str_eq(c->name, "bob");
		cr_assert_eq(c->granted != NULL,
			c->command == COMMAND_INVITE || c->command == COMMAND_AUTHORIZE);
	}
}

Test(config, what_is_granted_by_default)
{
	line_taken("invite bob");
	cr_assert_str_eq(c->granted->name, "bob");
	cr_assert_not(c->granted->has_fingerprint);
	cr_assert_eq(c->granted->rights, RIGHT_READ | RIGHT_LIST | RIGHT_WRITE);
	cr_assert_str_eq(c->granted->path, "");
	cr_assert_eq(c->expires_sec, 86400);
	line_taken("authorize bob " FP_A);
	cr_assert_eq(c->granted->rights, RIGHT_READ | RIGHT_LIST | RIGHT_WRITE);
	cr_assert(c->granted->has_fingerprint);
	cr_assert_str_eq(c->fingerprint, FP_A);
}

Test(config, what_is_granted)
{
	line_taken("invite bob --rights=read,delete --path=a/b --quota-bytes=2K "
		   "--quota-files=3 --max-connections=4 --limit=5M --expires=2d");
	cr_assert_eq(c->granted->rights, RIGHT_READ | RIGHT_DELETE);
	cr_assert_str_eq(c->granted->path, "a/b");
	cr_assert_eq(c->granted->quota_bytes, 2048);
	cr_assert_eq(c->granted->quota_files, 3);
	cr_assert_eq(c->granted->max_connections, 4);
	cr_assert_eq(c->granted->limit, 5 << 20);
	cr_assert_eq(c->expires_sec, 2 * 86400);
	cr_assert_eq(c->max_connections, 4096, "the daemon's is another");
}

static const struct {
	const char *line;
	int64_t sec;
} times[] = {
	{"invite bob --expires=1s", 1},
	{"invite bob --expires=90s", 90},
	{"invite bob --expires=30m", 1800},
	{"invite bob --expires=1h", 3600},
	{"invite bob --expires=365d", 365 * 86400},
	{"invite bob --expires=8760h", 365 * 86400},
};

Test(config, times)
{
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		line_taken(times[i].line);
		cr_assert_eq(c->expires_sec, times[i].sec, "%s", times[i].line);
	}
}

/* What is within the limits of an option. */
static const char *const taken[] = {
	"-r d --chunk-size=4096",
	"-r d --chunk-size=4M",
	"-r d --max-connections=1",
	"-r d --max-connections=1048576",
	"-r d --max-per-address=1048576",
	"-r d --idle-timeout=86400",
	"-r d --drain-timeout=0",
	"-r d --penalty-max=0",
	"-r d --penalty-max=86400",
	"-r d --min-rate=0",
	"-r d --partial-age=0",
	"-r d --plaintext -l 127.0.0.1 -l 127.9.9.9:1 -l [::1] -l ::1 -l localhost:0",
	"-r d -l 0.0.0.0 -l :7625 -l [::]:7625 -l 192.0.2.1",
	"-r d --plain",
};

Test(config, taken)
{
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		line_taken(taken[i]);
}

/* Each is refused, with status 2; and why. */
static const struct {
	const char *line;
	const char *said;
} refused[] = {
	{"", "--root=DIR is needed"},
	{"--plaintext", "--root=DIR is needed"},
	{"--root=", "--root=: there is no value"},
	{"-r d --state-dir=", "--state-dir=: there is no value"},
	{"-r d --config=", "--config=: there is no value"},
	{"-r d -l localhost --listen=", "--listen=: "},
	{"-r d extra", "extra: there is no such command; there are invite, "},
	{"-r d -- extra", "extra: there is no such command"},
	{"-r d --no-such-option", "--no-such-option"},
	{"-r d -x", "'x'"},
	{"-r d --plaintext=yes", "doesn't allow an argument"},
	{"-r", "requires an argument"},
	{"-r d --anonymous=all", "--anonymous=all: none, read or write is needed"},
	{"-r d --anonymous=", "--anonymous=: "},
	{"-r d --max-connections=0", "a number from 1 to 1048576 is needed"},
	{"-r d --max-connections=1048577", "a number from 1 to 1048576 is needed"},
	{"-r d --max-connections=1K", "a number from"},
	{"-r d --max-per-address=0", "a number from 1 to 1048576 is needed"},
	{"-r d --penalty-max=86401", "a number from 0 to 86400 is needed"},
	{"-r d --chunk-size=2K", "a power of two from 4096 to 4194304 is needed"},
	{"-r d --chunk-size=8M", "a power of two from"},
	{"-r d --chunk-size=5000", "--chunk-size=5000: a power of two from"},
	{"-r d --handshake-timeout=0", "a number from 1 to 86400 is needed"},
	{"-r d --idle-timeout=0", "a number from"},
	{"-r d --idle-timeout=86401", "a number from"},
	{"-r d --idle-timeout=-1", "a number from"},
	{"-r d --idle-timeout=1.5", "a number from"},
	{"-r d --idle-timeout=", "--idle-timeout=: "},
	{"-r d --idle-timeout=x", "--idle-timeout=x: a number from 1 to 86400"},
	{"-r d --idle-timeout=\x1b[1m", "--idle-timeout=\\x1b[1m: "},
	{"-r d --min-rate=4G", "a number from"},
	{"-r d --partial-age=x", "a number from"},
	{"-r d --plaintext -l 0.0.0.0", "with --plaintext only loopback addresses"},
	{"-r d --plaintext -l :7625", "only loopback"},
	{"-r d --plaintext -l [::]:7625", "only loopback"},
	{"-r d --plaintext -l 192.0.2.1:7625", "--listen=192.0.2.1:7625: with"},
	{"-r d --plaintext -l 127.0.0.1 -l 192.0.2.1", "only loopback"},
	{"-r d -l localhost:", "HOST, HOST:PORT"},
	{"-r d -l localhost:65536", "--listen=localhost:65536: HOST, HOST:PORT"},
	{"-r d -c /dev/null", "sockd: /dev/null: it is not a regular file\n"},
	{"-r d -c /no/such/file", "sockd: /no/such/file: cannot be opened: No such"},
	/* commands */
	{"invite", "invite takes these arguments: NAME, and nothing else"},
	{"invite a b", "invite takes these arguments"},
	{"clients bob", "clients takes no arguments, and nothing else"},
	{"fingerprint bob", "fingerprint takes no arguments"},
	{"revoke", "revoke takes these arguments: NAME"},
	{"authorize bob", "authorize takes these arguments: NAME FINGERPRINT"},
	{"authorize bob SHA256:AAAA", "SHA256:AAAA: SHA256: and 43 characters"},
	{"invite .bob", ".bob: the name of a client cannot begin"},
	{"revoke bo/b", "bo/b: the name of a client"},
	{"invite anonymous", "anonymous: this name is for clients whom nobody knows"},
	{"authorize anonymous " FP_A, "this name is for"},
	{"invite bob --rights=fly", "--rights=fly: none, or some of read"},
	{"invite bob --path=../x", "--path=../x: a directory below the root"},
	{"invite bob --max-connections=x", "--max-connections=x: "},
	{"invite bob --expires=0s", "a time from 1s to 365d"},
	{"invite bob --expires=366d", "a time from"},
	{"invite bob --expires=10", "--expires=10: a time from"},
	{"invite bob --expires=h", "a time from"},
	{"invite bob --expires=", "--expires=: "},
	{"invite bob --expires=1w", "a time from"},
	{"invite bob --expires=99999999999999999999d", "a time from"},
	{"invite bob --expires=213503982334602d", "a time from"}, /* 2^64 and a bit */
	/* options of another command */
	{"-r d --rights=read", "--rights goes with the commands invite and authorize"},
	{"-r d --expires=1h", "--expires goes with the command invite only"},
	{"authorize bob " FP_A " --expires=1h", "--expires means nothing with the "
						"command authorize"},
	{"clients -r d", "--root means nothing with the command clients"},
	{"invite bob -l localhost", "--listen means nothing"},
	{"revoke bob --rights=read", "--rights means nothing"},
	{"clients --max-connections=2", "--max-connections means nothing"},
	{"fingerprint -t", "--check means nothing"},
	{"authorize bob " FP_A " --identity=x", "--identity means nothing"},
};

Test(config, refused)
{
	FILE *f = cr_get_redirected_stderr();

	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		char said[8192];
		size_t len;

		cr_assert_eq(
			line_parse(refused[i].line), PARSED_EXIT, "%s", refused[i].line);
		cr_assert_null(c);
		cr_assert_eq(status, 2, "%s", refused[i].line);
		fflush(stderr);
		len = fread(said, 1, sizeof(said) - 1, f);
		said[len] = '\0';
		cr_assert_not_null(strstr(said, refused[i].said),
			"%s: '%s' is not in '%s'", refused[i].line, refused[i].said,
			said);
	}
}

Test(config, listen_is_bounded)
{
	char *many[2 * CONFIG_LISTEN_MAX + 8] = {"sockd", "-r", "d"};
	int argc = 3;

	for (int i = 0; i < CONFIG_LISTEN_MAX; i++)
		many[argc++] = (char *)"-l127.0.0.1";
	cr_assert_eq(config_parse(argc, many, &c, &status), PARSED_RUN);
	cr_assert_eq(c->listen_count, CONFIG_LISTEN_MAX);
	config_put(c);
	c = NULL;
	many[argc++] = (char *)"-l127.0.0.1";
	cr_assert_eq(config_parse(argc, many, &c, &status), PARSED_EXIT);
	cr_assert_eq(status, 2);
}

/* What sockd said on F, of which the other side is redirected. */
static void assert_says(FILE *f, const char *text)
{
	char said[16384];
	size_t len = fread(said, 1, sizeof(said) - 1, f);

	said[len] = '\0';
	cr_assert_not_null(strstr(said, text), "'%s' is not in '%s'", text, said);
}

static void assert_exits(const char *line, int expected)
{
	cr_assert_eq(line_parse(line), PARSED_EXIT);
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

Test(config, it_is_counted)
{
	line_taken("-r d");
	cr_assert_eq(config_get(c), c);
	config_put(c);
	cr_assert_str_eq(c->root, "d");
}
