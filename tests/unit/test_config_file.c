/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sockd.conf(5), precedence and reload. */
#include "daemon/config.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "capture.h"
#include "scratch.h"
#include "wire/session.h"

#define ARGS_MAX 16
#define TEXT_MAX 8192

#define FP_A "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define FP_B "SHA256:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"

static struct scratch dir;
static char path[4200]; /* of the file */
static char option[4300];
static char words[512];
static char *argv[ARGS_MAX + 3];
static struct config *c; /* owned */
static int status;
static struct capture said;

static void setup(void)
{
	unsetenv("STATE_DIRECTORY");
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", "/home/of", 1);
	scratch_init(&dir);
	snprintf(path, sizeof(path), "%s/sockd.conf", dir.path);
	snprintf(option, sizeof(option), "--config=%s", path);
}

static void teardown(void)
{
	config_put(c);
	scratch_fini(&dir);
}

TestSuite(config_file, .init = setup, .fini = teardown, .timeout = 120);

static void file_write(const void *text, size_t len)
{
	FILE *f = fopen(path, "w");

	cr_assert_not_null(f);
	cr_assert_eq(fwrite(text, 1, len, f), len);
	cr_assert_eq(fclose(f), 0);
	cr_assert_eq(chmod(path, 0600), 0);
}

/* config_parse with the words of LINE behind --config; what it says is in said.text. */
static enum parsed file_parse(const char *line)
{
	enum parsed parsed;
	char *rest = NULL;
	int argc = 0;

	argv[argc++] = (char *)"sockd";
	argv[argc++] = option;
	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
		argv[argc++] = w;
	cr_assert_leq(argc, ARGS_MAX);
	argv[argc] = NULL;
	config_put(c);
	c = NULL;
	status = -1;
	capture_begin(&said, 2);
	parsed = config_parse(argc, argv, &c, &status);
	capture_end(&said);
	return parsed;
}

static void text_taken(const char *text, const char *line)
{
	file_write(text, strlen(text));
	cr_assert_eq(file_parse(line), PARSED_RUN, "%s: %s", text, said.text);
	cr_assert_str_eq(said.text, "");
}

static const char whole[] = "# a comment\n"
			    "; another\n"
			    "root = /srv/files ; behind a value\n"
			    "listen=127.0.0.1:0\r\n"
			    "  listen : [::1]:0\n"
			    "state-dir = /var/lib/sockd\n"
			    "identity = /etc/sockd.pem\n"
			    "plaintext = yes\n"
			    "max-connections = 100\n"
			    "max-per-address = 3\n"
			    "penalty-max = 0\n"
			    "chunk-size = 64K\n"
			    "handshake-timeout = 1\n"
			    "idle-timeout = 2\n"
			    "drain-timeout = 3\n"
			    "min-rate = 4K\n"
			    "partial-age = 5\n"
			    "\n"
			    "[anonymous]\n"
			    "rights = read,list\n"
			    "path = pub\n"
			    "max-connections = 10\n"
			    "[client alice]\n"
			    "fingerprint = " FP_A "\n"
			    "rights = read,list,write,delete\n"
			    "[client bob@example.org]\n"
			    "rights = create\n"
			    "path = in/bob\n"
			    "quota-bytes = 10M\n"
			    "quota-files = 100\n"
			    "max-connections = 2\n"
			    "limit = 1M\n"
			    "fingerprint = " FP_B;

Test(config_file, every_key_lands_in_its_field)
{
	text_taken(whole, "");
	cr_assert_str_eq(c->file, path);
	cr_assert_str_eq(c->root, "/srv/files");
	cr_assert_eq(c->listen_count, 2);
	cr_assert_str_eq(c->listen[0], "127.0.0.1:0");
	cr_assert_str_eq(c->listen[1], "[::1]:0");
	cr_assert_str_eq(c->state_dir, "/var/lib/sockd");
	cr_assert_not(c->state_dir_make);
	cr_assert_str_eq(c->identity, "/etc/sockd.pem");
	cr_assert(c->plaintext);
	cr_assert_eq(c->max_connections, 100);
	cr_assert_eq(c->max_per_address, 3);
	cr_assert_eq(c->penalty_max_ms, 0);
	cr_assert_eq(c->chunk_size, 65536);
	cr_assert_eq(c->handshake_timeout_ms, 1000);
	cr_assert_eq(c->idle_timeout_ms, 2000);
	cr_assert_eq(c->drain_timeout_ms, 3000);
	cr_assert_eq(c->min_rate, 4096);
	cr_assert_eq(c->partial_age_sec, 5);
}

Test(config_file, every_section_is_a_client)
{
	text_taken(whole, "");
	cr_assert_str_eq(c->anonymous->name, "anonymous");
	cr_assert_eq(c->anonymous->rights, RIGHT_READ | RIGHT_LIST);
	cr_assert_str_eq(c->anonymous->path, "pub");
	cr_assert_eq(c->anonymous->max_connections, 10);
	cr_assert_eq(c->client_count, 2);
	cr_assert_str_eq(c->clients[0]->name, "alice");
	cr_assert(c->clients[0]->has_fingerprint);
	cr_assert_eq(c->clients[0]->rights,
		RIGHT_READ | RIGHT_LIST | RIGHT_WRITE | RIGHT_DELETE);
	cr_assert_str_eq(c->clients[1]->name, "bob@example.org");
	cr_assert_eq(c->clients[1]->rights, RIGHT_CREATE);
	cr_assert_str_eq(c->clients[1]->path, "in/bob");
	cr_assert_eq(c->clients[1]->quota_bytes, 10 << 20);
	cr_assert_eq(c->clients[1]->quota_files, 100);
	cr_assert_eq(c->clients[1]->max_connections, 2);
	cr_assert_eq(c->clients[1]->limit, 1 << 20);
}

Test(config_file, anonymous_in_short)
{
	text_taken("\xef\xbb\xbfroot = d\nanonymous = read\nplaintext = no", "");
	cr_assert_eq(c->anonymous->rights, RIGHT_READ | RIGHT_LIST);
	cr_assert_not(c->plaintext);
}

Test(config_file, the_command_line_counts_before_it)
{
	text_taken(
		whole, "-r other --listen=127.0.0.9:1 --anonymous=none --idle-timeout=9");
	cr_assert_str_eq(c->root, "other");
	cr_assert_eq(c->listen_count, 1);
	cr_assert_str_eq(c->listen[0], "127.0.0.9:1");
	cr_assert_eq(c->anonymous->rights, RIGHT_NONE);
	cr_assert_eq(c->idle_timeout_ms, 9000);
	cr_assert_eq(c->drain_timeout_ms, 3000);
}

/* Who asks for fewer rights than the file gives does not mean to open the whole root. */
Test(config_file, anonymous_of_the_command_line_changes_rights_only)
{
	text_taken(whole, "--anonymous=write");
	cr_assert_eq(c->anonymous->rights, RIGHT_READ | RIGHT_LIST | RIGHT_WRITE);
	cr_assert_str_eq(c->anonymous->path, "pub");
	cr_assert_eq(c->anonymous->max_connections, 10);
}

Test(config_file, commands_need_no_root)
{
	text_taken(
		"state-dir = s\nmax-connections = 5\n", "invite bob --max-connections=2");
	cr_assert_str_eq(c->state_dir, "s");
	cr_assert_eq(c->max_connections, 5);
	cr_assert_eq(c->granted->max_connections, 2);
	text_taken("state-dir = s\nmax-connections = 5\n", "invite bob");
	cr_assert_eq(c->granted->max_connections, 0, "the daemon's is another");
	text_taken("listen = 192.0.2.1\nplaintext = yes\n", "clients");
	text_taken("", "-r d");
}

/* -- what is wrong ---------------------------------------------------------------- */

#define CLIENT(name, fp) "[client " name "]\nfingerprint = " fp "\nrights = read\n"
#define LONG_NAME        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

static const struct {
	const char *text;
	const char *complaint; /* behind "sockd: FILE:", whole */
} bad[] = {
	/* keys */
	{"rot = d", "1: unknown key 'rot'"},
	{"\n\n# x\nrot = d\nroot = e", "4: unknown key 'rot'"},
	{"Root = d", "1: unknown key 'Root'"},
	{"r = d", "1: unknown key 'r'"},
	{"= d", "1: unknown key ''"},
	{"a\x1b[1mb = d", "1: unknown key 'a\\x1b[1mb'"},
	{"config = x", "1: config goes on the command line only"},
	{"check = yes", "1: check goes on the command line only"},
	{"help = yes", "1: help goes on the command line only"},
	{"version = yes", "1: version goes on the command line only"},
	{"expires = 1h", "1: expires goes on the command line only"},
	{"rights = read",
		"1: rights is a key of the sections [anonymous] and [client NAME]"},
	{"fingerprint = " FP_A, "1: unknown key 'fingerprint'"},
	{"root = a\nroot = b", "2: root is set for the second time"},
	{"plaintext = no\nplaintext = no", "2: plaintext is set for the second time"},
	{"root =", "1: root has no value"},
	{"root = ; nothing", "1: root has no value"},
	{"listen = \t", "1: listen has no value"},
	{"root", "1: the line is neither [SECTION] nor KEY = VALUE"},
	{"root = d\n\nplaintext\n", "3: the line is neither [SECTION] nor KEY = VALUE"},
	/* values */
	{"plaintext = true", "1: plaintext = true: yes or no is needed"},
	{"anonymous = all", "1: anonymous = all: none, read or write is needed"},
	{"max-connections = 0",
		"1: max-connections = 0: a number from 1 to 1048576 is needed"},
	{"max-per-address = 0",
		"1: max-per-address = 0: a number from 1 to 1048576 is needed"},
	{"penalty-max = 86401",
		"1: penalty-max = 86401: a number from 0 to 86400 is needed"},
	{"chunk-size = 5000", "1: chunk-size = 5000: a power of two from 4096 to 4194304 "
			      "is needed"},
	{"idle-timeout = 1m", "1: idle-timeout = 1m: a number from 1 to 86400 is needed"},
	{"idle-timeout = \x1b[1m",
		"1: idle-timeout = \\x1b[1m: a number from 1 to 86400 is needed"},
	{"listen = localhost:x", "1: listen = localhost:x: HOST, HOST:PORT, [V6]:PORT or "
				 ":PORT is needed"},
	{"root = d\nplaintext = yes\nlisten = 127.0.0.1\nlisten = 192.0.2.1",
		"4: listen = 192.0.2.1: with --plaintext only loopback addresses are "
		"allowed"},
	{"root = d\nlisten = 192.0.2.1\nplaintext = yes",
		"2: listen = 192.0.2.1: with --plaintext only loopback addresses are "
		"allowed"},
	{"idle-timeout = 1", " a root is needed, by --root=DIR or in the file"},
	/* sections */
	{"[server]\nroot = d",
		"1: unknown section [server]: there are [anonymous] and [client NAME]"},
	{"root = d\n[]",
		"2: unknown section []: there are [anonymous] and [client NAME]"},
	{"[client]",
		"1: unknown section [client]: there are [anonymous] and [client NAME]"},
	{"[clients a]", "1: unknown section [clients a]: there are [anonymous] and "
			"[client NAME]"},
	{"[\x1b[1m]", "1: unknown section [\\x1b[1m]: there are [anonymous] and "
		      "[client NAME]"},
	{"[client ]", "1: [client ]: the name of a client is empty"},
	{"[client a b]", "1: [client a b]: the name of a client has letters, digits and "
			 ". _ @ - only"},
	{"[client ../x]",
		"1: [client ../x]: the name of a client cannot begin with '-' or '.'"},
	{"[client n" LONG_NAME "]",
		"1: [client n" LONG_NAME
		"]: the name of a client has more than 64 characters"},
	{"[client anonymous]",
		"1: [client anonymous]: this name is for clients whom nobody knows"},
	{"[client a", "1: there is no ']' behind the section's name"},
	{"[client a] b", "1: there is something behind the ']' of the section"},
	{"[client a]\nrights = read", "1: [client a] has no fingerprint"},
	{"\n[client a]\nfingerprint = " FP_A, "2: [client a] has no rights"},
	{"[client a]\n" CLIENT("b", FP_B), "1: [client a] has no fingerprint"},
	{"[anonymous]\npath = pub", "1: [anonymous] has no rights"},
	{"[anonymous]\nrights = read\n[anonymous]",
		"3: [anonymous] stands in line 1 already"},
	{"anonymous = read\n[anonymous]", "2: there is [anonymous], and the key "
					  "anonymous before the sections: only "
					  "one can be"},
	{"[anonymous]\nfingerprint = " FP_A, "2: unknown key 'fingerprint'"},
	{CLIENT("a", FP_A) CLIENT("b", FP_B) CLIENT("a", FP_A),
		"7: [client a] stands in line 1 already"},
	{CLIENT("a", FP_A) CLIENT("b", FP_A),
		"4: [client b] has the fingerprint of [client a] in line 1"},
	{CLIENT("a", FP_A) "rights = list", "4: rights is set for the second time"},
	{CLIENT("a", FP_A) "fingerprint = " FP_B,
		"4: fingerprint is set for the second time"},
	{CLIENT("a", FP_A) "root = d",
		"4: root is no key of a section: it stands before the first one"},
	{CLIENT("a", FP_A) "pth = d", "4: unknown key 'pth'"},
	{CLIENT("a", FP_A) "path =", "4: path has no value"},
	{CLIENT("a", FP_A) "path = ../x",
		"4: path = ../x: a directory below the root is needed, without a '/' at "
		"its beginning or end and without '..', or '.' for the root itself"},
	{"[client a]\nrights = read,fly",
		"2: rights = read,fly: none, or some of read, list, create, write and "
		"delete, each once and with a comma between them"},
	{"[client a]\nfingerprint = SHA256:AAAA",
		"2: fingerprint = SHA256:AAAA: SHA256: and 43 characters are needed"},
	{CLIENT("a", FP_A) "quota-bytes = much", "4: quota-bytes = much: a size like "
						 "500M or 10G is needed, or 0 for no limit"},
};

static void assert_complains(size_t i, const char *complaint)
{
	char expected[8192];

	if (*complaint == ' ')
		snprintf(expected, sizeof(expected),
			"sockd:%s\nTry 'sockd --help' for more information.\n",
			complaint);
	else
		snprintf(expected, sizeof(expected), "sockd: %s:%s\n", path, complaint);
	cr_assert_str_eq(said.text, expected, "%zu", i);
	cr_assert_eq(status, 2, "%zu", i);
	cr_assert_null(c);
}

Test(config_file, bad_files_are_refused)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		file_write(bad[i].text, strlen(bad[i].text));
		cr_assert_eq(file_parse(""), PARSED_EXIT, "%zu: %s", i, bad[i].text);
		assert_complains(i, bad[i].complaint);
	}
}

/* Also for those who only manage clients, and whatever the command line overrides. */
Test(config_file, bad_files_are_refused_to_all)
{
	file_write("root = d\nidle-timeout = 0", 25);
	cr_assert_eq(file_parse("--idle-timeout=5"), PARSED_EXIT);
	cr_assert_not_null(strstr(said.text, ":2: idle-timeout = 0: "));
	cr_assert_eq(file_parse("clients"), PARSED_EXIT);
	cr_assert_eq(file_parse("-t"), PARSED_EXIT);
	cr_assert_eq(status, 2);
}

Test(config_file, lines_that_libinih_would_cut)
{
	static const char nul[] = "root = d\nidle-timeout = 5\0\n";
	char line[TEXT_MAX] = "root = d\n";

	file_write(nul, sizeof(nul) - 1);
	cr_assert_eq(file_parse(""), PARSED_EXIT);
	assert_complains(0, "2: there is a NUL byte in the line");
	memset(line + 9, 'a', 5000);
	memcpy(line + 9, "state-dir = ", 12);
	file_write(line, 5009);
	cr_assert_eq(file_parse(""), PARSED_EXIT);
	cr_assert_not_null(strstr(said.text, ":2: the line is longer than "));
}

/* An indented line continues nothing, and hides nothing. */
Test(config_file, an_indented_line_is_a_line)
{
	text_taken("root = d\n   idle-timeout = 5\n\tmin-rate = 6\n", "");
	cr_assert_eq(c->idle_timeout_ms, 5000);
	cr_assert_eq(c->min_rate, 6);
	cr_assert_str_eq(c->root, "d");
}

/* Root can write to everything, so the mode is asked. */
Test(config_file, others_cannot_write_to_it)
{
	static const mode_t modes[] = {0660, 0602, 0622};

	file_write("root = d\n", 9);
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		cr_assert_eq(chmod(path, modes[i]), 0);
		cr_assert_eq(file_parse(""), PARSED_EXIT, "%o", modes[i]);
		cr_assert_not_null(
			strstr(said.text, ": others than its owner can write to it; "
					  "chmod go-w would change that\n"));
		cr_assert_eq(status, 2);
	}
	cr_assert_eq(chmod(path, 0444), 0);
	cr_assert_eq(file_parse(""), PARSED_RUN);
}

Test(config_file, what_is_no_file)
{
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_assert_eq(file_parse(""), PARSED_EXIT);
	cr_assert_not_null(strstr(said.text, ": it is not a regular file\n"));
	cr_assert_eq(rmdir(path), 0);
	cr_assert_eq(mkfifo(path, 0600), 0); /* nobody will ever write to it */
	cr_assert_eq(file_parse(""), PARSED_EXIT);
	cr_assert_not_null(strstr(said.text, ": it is not a regular file\n"));
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(file_parse(""), PARSED_EXIT);
	cr_assert_not_null(strstr(said.text, ": cannot be opened: No such file"));
	file_write("", 0);
	cr_assert_eq(truncate(path, 5 << 20), 0);
	cr_assert_eq(file_parse(""), PARSED_EXIT);
	cr_assert_not_null(strstr(said.text, ": it is larger than 4194304 bytes\n"));
}

/* -- many clients ----------------------------------------------------------------- */

static void clients_write(unsigned count, const char *last)
{
	FILE *f = fopen(path, "w");

	cr_assert_not_null(f);
	fputs("root = d\n", f);
	for (unsigned i = 0; i < count; i++) {
		uint8_t fp[FINGERPRINT_LEN] = {(uint8_t)(i >> 8), (uint8_t)i};
		char text[FINGERPRINT_TEXT_MAX];

		fprintf(f, "[client c%u]\nfingerprint=%s\nrights=read\n", i,
			fingerprint_format(text, fp));
	}
	fputs(last, f);
	cr_assert_eq(fclose(f), 0);
	cr_assert_eq(chmod(path, 0600), 0);
}

Test(config_file, clients_are_bounded)
{
	clients_write(CONFIG_CLIENTS_MAX, "");
	cr_assert_eq(file_parse(""), PARSED_RUN, "%s", said.text);
	cr_assert_eq(c->client_count, CONFIG_CLIENTS_MAX);
	cr_assert_str_eq(c->clients[9999]->name, "c9999");
	clients_write(CONFIG_CLIENTS_MAX, "[client one-more]\n");
	cr_assert_eq(file_parse(""), PARSED_EXIT);
	assert_complains(0, "30002: there are more than 10000 clients");
	clients_write(9000, CLIENT("c17", FP_B));
	cr_assert_eq(file_parse(""), PARSED_EXIT);
	assert_complains(0, "27002: [client c17] stands in line 53 already");
}

/* -- reload ----------------------------------------------------------------------- */

static int reload(const char *text, struct config **out)
{
	int result;

	file_write(text, strlen(text));
	capture_begin(&said, 2);
	result = config_reload(c, out);
	capture_end(&said);
	return result;
}

Test(config_file, reload_takes_what_can_change)
{
	struct config *new = NULL;

	text_taken(whole, "--drain-timeout=77");
	cr_assert_eq(
		reload("root = /srv/files\nlisten = 127.0.0.1:0\nlisten = [::1]:0\n"
		       "state-dir = /var/lib/sockd\nidentity = /etc/sockd.pem\n"
		       "plaintext = yes\nmax-connections = 100\npartial-age = 5\n"
		       "idle-timeout = 20\ndrain-timeout = 1\n[client eve]\nrights = "
		       "list\nfingerprint = " FP_A,
			&new),
		0);
	cr_assert_str_eq(said.text, "");
	cr_assert_eq(new->idle_timeout_ms, 20000);
	cr_assert_eq(new->drain_timeout_ms, 77000, "the command line counts before it");
	cr_assert_eq(new->max_per_address, 25, "its default came back");
	cr_assert_eq(new->anonymous->rights, RIGHT_NONE);
	cr_assert_eq(new->client_count, 1);
	cr_assert_str_eq(new->clients[0]->name, "eve");
	cr_assert_eq(c->client_count, 2, "the old one is as it was");
	cr_assert_eq(c->idle_timeout_ms, 2000);
	config_put(new);
}

static const char *const fixed[] = {"root", "listen", "state-dir", "identity",
	"plaintext", "max-connections", "partial-age"};

Test(config_file, reload_keeps_what_cannot_change)
{
	struct config *new = NULL;
	char word[64];

	text_taken(whole, "");
	cr_assert_eq(reload("root = /other\nlisten = 127.0.0.1:9\nidle-timeout = 20\n"
			    "state-dir = x\nplaintext = no\nmax-connections = 8\n"
			    "partial-age = 9\n",
			     &new),
		0);
	config_put(c); /* what was taken over does not belong to it */
	c = new;
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		snprintf(word, sizeof(word), "%s has changed: that counts", fixed[i]);
		cr_assert_not_null(
			strstr(said.text, word), "%s: %s", fixed[i], said.text);
	}
	cr_assert_null(strstr(said.text, "idle-timeout"));
	cr_assert_eq(c->idle_timeout_ms, 20000);
	cr_assert_str_eq(c->root, "/srv/files");
	cr_assert_eq(c->listen_count, 2);
	cr_assert_str_eq(c->listen[1], "[::1]:0");
	cr_assert_str_eq(c->state_dir, "/var/lib/sockd");
	cr_assert_str_eq(c->identity, "/etc/sockd.pem");
	cr_assert(c->plaintext);
	cr_assert_eq(c->max_connections, 100);
	cr_assert_eq(c->max_per_address, 25);
	cr_assert_eq(c->partial_age_sec, 5);
}

Test(config_file, reload_of_a_bad_file)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct config *new = NULL;

		text_taken("root = d", "");
		cr_assert_eq(reload(bad[i].text, &new), -ERR_USAGE, "%zu", i);
		cr_assert_null(new);
		cr_assert_not_null(
			strstr(said.text, bad[i].complaint), "%zu: %s", i, said.text);
	}
	cr_assert_eq(unlink(path), 0);
	struct config *new = NULL;
	cr_assert_eq(config_reload(c, &new), -ERR_USAGE);
}

/* -- at random -------------------------------------------------------------------- */

/* xorshift64* (Vigna, 2016). */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static size_t below(uint64_t *state, size_t n)
{
	return (size_t)(next_random(state) >> 33) % n;
}

/* One change: a byte, a piece away, a piece twice, a line of another place. */
static size_t mutate(char *text, size_t len, uint64_t *state)
{
	static const char marks[] = "\n[]=:;# \t\0\r\x1b\xff,/.";
	size_t at = len > 0 ? below(state, len) : 0;
	size_t n = 1 + below(state, 60);

	if (n > len - at)
		n = len - at;
	switch (below(state, 4)) {
	case 0:
		if (len > 0)
			text[at] = marks[below(state, sizeof(marks) - 1)];
		return len;
	case 1:
		if (len > 0)
			text[at] = (char)next_random(state);
		return len;
	case 2:
		memmove(text + at, text + at + n, len - at - n);
		return len - n;
	default:
		if (len + n > TEXT_MAX)
			return len;
		memmove(text + at + n, text + at, len - at);
		return len + n;
	}
}

Test(config_file, mutations)
{
	const char *given = getenv("SOCKD_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 10) : 0;
	unsigned taken = 0, rounds = 4000;

	if (!seed) /* zero is no state */
		seed = (uint64_t)time(NULL) << 16 | (uint64_t)getpid() | 1;
	fprintf(stderr, "SOCKD_TEST_SEED=%llu\n", (unsigned long long)seed);
	for (unsigned i = 0; i < rounds; i++) {
		char text[TEXT_MAX];
		uint64_t state = seed + i;
		size_t len = sizeof(whole) - 1;

		memcpy(text, whole, len);
		for (size_t n = 1 + below(&state, 3); n > 0; n--)
			len = mutate(text, len, &state);
		file_write(text, len);
		/* A command: hosts with strange names are not looked up. */
		if (file_parse("clients") == PARSED_RUN) {
			taken++;
			cr_assert_not_null(c);
			continue;
		}
		cr_assert_null(c);
		cr_assert_eq(
			status, 2, "seed %llu, round %u", (unsigned long long)seed, i);
		cr_assert_eq(strncmp(said.text, "sockd: ", 7), 0);
		cr_assert_gt(strlen(said.text), strlen(path) + 10);
	}
	/* Comments are hit, too; and most of what is hit is noticed. */
	cr_assert(taken > rounds / 100 && taken < rounds * 3 / 4, "%u of %u", taken,
		rounds);
}
