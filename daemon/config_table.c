/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config_impl.h"

#include <stdio.h>
#include <string.h>

#include <config.h> /* the one of configure, not ours */

#include "wire/frame.h"

#define HELP_COLUMN 30
#define DAY_SEC     86400
#define COUNT_MAX   (1u << 20)

#define FIELD(name) .field = offsetof(struct config, name)

/* tests/check-docs reads this table. */
/* clang-format off */
const struct option_row options[] = {
	{.name = "root", .letter = 'r', .arg = "DIR",
		.kind = OPTION_TEXT, .commands = FOR_SERVE,
		.in_file = true, .is_fixed = true,
		.help = "directory tree that is served",
		FIELD(root)},
	{.name = "listen", .letter = 'l', .arg = "ADDR",
		.kind = OPTION_LISTEN, .commands = FOR_SERVE,
		.in_file = true, .is_fixed = true,
		.help = "HOST, HOST:PORT, [V6]:PORT or :PORT; repeatable\n"
			"(default localhost:7625; port 0 picks a free one)"},
	{.name = "config", .letter = 'c', .arg = "FILE",
		.kind = OPTION_TEXT, .commands = FOR_ALL,
		.help = "read sockd.conf(5); the command line counts\n"
			"before it",
		FIELD(file)},
	{.name = "state-dir", .letter = 's', .arg = "DIR",
		.kind = OPTION_TEXT, .commands = FOR_ALL,
		.in_file = true, .is_fixed = true,
		.help = "key, clients and invitations (default\n"
			"$STATE_DIRECTORY, else $XDG_STATE_HOME/sockd,\n"
			"else ~/.local/state/sockd)",
		FIELD(state_dir)},
	{.name = "identity", .arg = "FILE",
		.kind = OPTION_TEXT,
		.commands = FOR_SERVE | FOR_INVITE | FOR_FINGERPRINT,
		.in_file = true, .is_fixed = true,
		.help = "key and certificates, PEM (default identity.pem\n"
			"of the state directory, made when missing)",
		FIELD(identity)},
	{.name = "anonymous", .arg = "RIGHT",
		.kind = OPTION_ANONYMOUS, .commands = FOR_SERVE,
		.in_file = true,
		.help = "rights of a client whom nobody knows: none,\n"
			"read (read, list) or write (read, list, write)\n"
			"(default none)"},
	{.name = "plaintext",
		.kind = OPTION_FLAG, .commands = FOR_SERVE,
		.in_file = true, .is_fixed = true,
		.help = "take connections without TLS, too; loopback\n"
			"addresses only",
		FIELD(plaintext)},
	{.name = "max-connections", .arg = "N",
		.kind = OPTION_COUNT, .commands = FOR_SERVE | FOR_GRANT,
		.in_file = true, .is_fixed = true, .is_grant = true,
		.help = "connections at a time (default 4096); with\n"
			"invite and authorize: of this client",
		FIELD(max_connections), .min = 1, .max = COUNT_MAX},
	{.name = "max-per-address", .arg = "N",
		.kind = OPTION_COUNT, .commands = FOR_SERVE,
		.in_file = true,
		.help = "connections at a time of one address\n"
			"(default a quarter of --max-connections)",
		FIELD(max_per_address), .min = 1, .max = COUNT_MAX},
	{.name = "penalty-max", .arg = "SEC",
		.kind = OPTION_SEC_MS, .commands = FOR_SERVE,
		.in_file = true,
		.help = "longest time that an address is held off after\n"
			"failures; 0 never (default 300)",
		FIELD(penalty_max_ms), .min = 0, .max = DAY_SEC},
	{.name = "chunk-size", .arg = "SIZE",
		.kind = OPTION_POWER, .commands = FOR_SERVE,
		.in_file = true,
		.help = "largest piece of a file in one frame, a power\n"
			"of two (default 1M)",
		FIELD(chunk_size), .min = CHUNK_SIZE_MIN, .max = CHUNK_SIZE_MAX},
	{.name = "handshake-timeout", .arg = "SEC",
		.kind = OPTION_SEC_MS, .commands = FOR_SERVE,
		.in_file = true,
		.help = "from accept to the first request (default 20)",
		FIELD(handshake_timeout_ms), .min = 1, .max = DAY_SEC},
	{.name = "idle-timeout", .arg = "SEC",
		.kind = OPTION_SEC_MS, .commands = FOR_SERVE,
		.in_file = true,
		.help = "between requests, and without progress\n"
			"(default 300)",
		FIELD(idle_timeout_ms), .min = 1, .max = DAY_SEC},
	{.name = "drain-timeout", .arg = "SEC",
		.kind = OPTION_SEC_MS, .commands = FOR_SERVE,
		.in_file = true,
		.help = "for transfers to finish when told to stop\n"
			"(default 30)",
		FIELD(drain_timeout_ms), .min = 0, .max = DAY_SEC},
	{.name = "min-rate", .arg = "RATE",
		.kind = OPTION_SIZE, .commands = FOR_SERVE,
		.in_file = true,
		.help = "bytes per second below which a transfer is\n"
			"given up; 0 never (default 1K)",
		FIELD(min_rate), .min = 0, .max = UINT32_MAX},
	{.name = "partial-age", .arg = "SEC",
		.kind = OPTION_SEC, .commands = FOR_SERVE,
		.in_file = true, .is_fixed = true,
		.help = "after which an unfinished transfer is removed;\n"
			"0 never (default 604800, a week)",
		FIELD(partial_age_sec), .min = 0, .max = UINT32_MAX},
	{.name = "rights", .arg = "LIST",
		.kind = OPTION_GRANT, .commands = FOR_GRANT, .is_grant = true,
		.help = "invite, authorize: of read, list, create, write\n"
			"and delete (default read,list,write)"},
	{.name = "path", .arg = "DIR",
		.kind = OPTION_GRANT, .commands = FOR_GRANT, .is_grant = true,
		.help = "invite, authorize: directory below the root that\n"
			"is the client's root (default the root itself)"},
	{.name = "quota-bytes", .arg = "SIZE",
		.kind = OPTION_GRANT, .commands = FOR_GRANT, .is_grant = true,
		.help = "invite, authorize: bytes there (default 0, any)"},
	{.name = "quota-files", .arg = "N",
		.kind = OPTION_GRANT, .commands = FOR_GRANT, .is_grant = true,
		.help = "invite, authorize: names there (default 0, any)"},
	{.name = "limit", .arg = "RATE",
		.kind = OPTION_GRANT, .commands = FOR_GRANT, .is_grant = true,
		.help = "invite, authorize: bytes per second, all\n"
			"connections together (default 0, any)"},
	{.name = "expires", .arg = "TIME",
		.kind = OPTION_TIME, .commands = FOR_INVITE,
		.help = "invite: how long the code can be used, as in\n"
			"90s, 30m, 12h or 2d (default 1d)",
		FIELD(expires_sec), .min = 1, .max = 365 * DAY_SEC},
	{.name = "check", .letter = 't',
		.kind = OPTION_FLAG, .commands = FOR_SERVE,
		.help = "check the configuration, then exit",
		FIELD(check)},
	{.name = "help", .letter = 'h',
		.kind = OPTION_HELP, .commands = FOR_ALL,
		.help = "print this help, then exit"},
	{.name = "version", .letter = 'V',
		.kind = OPTION_VERSION, .commands = FOR_ALL,
		.help = "print the version, then exit"},
};

const struct command_row commands[] = {
	[COMMAND_SERVE] = {.args = ""},
	[COMMAND_INVITE] = {"invite", " NAME", 1,
		"print a code with which a machine joins as NAME,\n"
		"once: sockcp join HOST CODE"},
	[COMMAND_CLIENTS] = {"clients", "", 0,
		"list clients and open invitations"},
	[COMMAND_REVOKE] = {"revoke", " NAME", 1,
		"take NAME's rights or invitation away"},
	[COMMAND_AUTHORIZE] = {"authorize", " NAME FINGERPRINT", 2,
		"make the machine with this identity the client\n"
		"NAME, or change what NAME may do"},
	[COMMAND_FINGERPRINT] = {"fingerprint", "", 0,
		"print the fingerprint of this server"},
};
/* clang-format on */

_Static_assert(ARRAY_LEN(options) < OPTIONS_MAX, "they fit a set");

const size_t option_count = ARRAY_LEN(options);
const size_t command_count = ARRAY_LEN(commands);

const struct option_row *option_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	return NULL;
}

/* HELP behind what takes COLUMN characters of its first line. */
static void help_text_print(int column, const char *help)
{
	for (const char *line = help; line; column = 0) {
		int len = (int)strcspn(line, "\n");

		printf("%*s%.*s\n", HELP_COLUMN - column, "", len, line);
		line = line[len] == '\n' ? line + len + 1 : NULL;
	}
}

static void option_print(const struct option_row *row)
{
	int column = row->letter ? printf("  -%c, --%s", row->letter, row->name)
				 : printf("      --%s", row->name);

	if (row->arg)
		column += printf("=%s", row->arg);
	help_text_print(column, row->help);
}

void help_print(void)
{
	puts("Usage: sockd --root=DIR [--listen=ADDR]... [OPTION]...\n"
	     "   or: sockd --config=FILE [OPTION]...\n"
	     "   or: sockd [OPTION]... COMMAND\n"
	     "Serves the files below DIR to sockcp(1), or manages who may have them.\n");
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		option_print(&options[i]);
	puts("\nThe commands are:");
	for (size_t i = COMMAND_SERVE + 1; i < ARRAY_LEN(commands); i++)
		help_text_print(printf("  %s%s", commands[i].word, commands[i].args),
			commands[i].help);
	puts("\nSIZE and RATE take the suffixes K, M and G, powers of 1024.");
}

void version_print(void)
{
	puts("sockd " PACKAGE_VERSION "\n"
	     "License GPLv3+: GNU GPL version 3 or later "
	     "<https://gnu.org/licenses/gpl.html>.\n"
	     "This is free software: you are free to change and redistribute it.\n"
	     "There is NO WARRANTY, to the extent permitted by law.");
}
