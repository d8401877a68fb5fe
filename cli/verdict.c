/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/verdict.h"

#include <stdlib.h>

#include "base/err.h"

#define CONTINUE "run the same command again to continue"
#define ANY      (-1)

/* The first row that fits; a side of its own stands before ANY. */
static const struct row {
	int side; /* enum side or ANY */
	int code;
	int status; /* enum exit_status; EXIT_OK: that of the side */
	const char *advice;
	const char *why; /* NULL: err_text */
} table[] = {
	{SIDE_LOCAL, ERR_BUSY, EXIT_LOCAL,
		"let it finish, then run the same command again",
		"another sockcp is moving this file"},
	{SIDE_LOCAL, ERR_DENIED, EXIT_DENIED, "name a server on this machine",
		"without TLS only loopback addresses are allowed"},
	{ANY, ERR_PROTOCOL, EXIT_PROTOCOL, "check that the port is that of a sockd",
		NULL},
	{ANY, ERR_VERSION, EXIT_PROTOCOL, "bring sockcp and sockd to the same version",
		NULL},
	{ANY, ERR_TLS, EXIT_PROTOCOL, "check that the port is that of a sockd", NULL},
	{SIDE_LOCAL, ERR_UNTRUSTED, EXIT_DENIED,
		"correct that, then run the same command again",
		"the list of known servers is of no use"},
	{ANY, ERR_UNTRUSTED, EXIT_DENIED,
		"to be sure, compare with what 'sockd fingerprint' prints on the server",
		NULL},
	{ANY, ERR_BAD_IDENTITY, EXIT_LOCAL,
		"name another file, or move it away: sockcp makes a new identity.pem",
		NULL},
	{ANY, ERR_UNSUPPORTED, EXIT_PROTOCOL, "a newer sockd may do it",
		"not supported by the server"},
	{ANY, ERR_BUSY, EXIT_CONNECTION, "try again later", NULL},
	{ANY, ERR_SHUTDOWN, EXIT_CONNECTION, "once it is back, " CONTINUE, NULL},
	{ANY, ERR_TIMEOUT, EXIT_CONNECTION, CONTINUE, NULL},
	{ANY, ERR_CLOSED, EXIT_CONNECTION, CONTINUE, NULL},
	{ANY, ERR_GARBLED, EXIT_CONNECTION, CONTINUE, NULL},
	{ANY, ERR_TAKEN_OVER, EXIT_CONNECTION, "let that one finish", NULL},
	{ANY, ERR_CONNECT, EXIT_CONNECTION, "check that sockd runs there, and the port",
		NULL},
	{ANY, ERR_RESOLVE, EXIT_CONNECTION, "check the name", NULL},
	{ANY, ERR_INTERRUPTED, EXIT_SIGNAL, CONTINUE, NULL},
	{ANY, ERR_DENIED, EXIT_DENIED, "ask those who run the server for the right",
		NULL},
	{ANY, ERR_REFUSED, EXIT_DENIED, "ask those who run the server for an invitation",
		NULL},
	{ANY, ERR_MISMATCH, EXIT_VERIFY,
		"nothing was put in place; check the source, then run the same command "
		"again",
		NULL},
	{ANY, ERR_CHANGED, EXIT_VERIFY,
		"run the same command again when nothing writes to it any more", NULL},
	{ANY, ERR_EXISTS, EXIT_NOT_FOUND, "without --no-clobber it would be replaced",
		NULL},
	{ANY, ERR_USAGE, EXIT_USAGE, "end the destination with /",
		"several sources need a directory"},

	{SIDE_SERVER, ERR_NOT_FOUND, EXIT_NOT_FOUND,
		"check the path, which begins at the served root",
		"no such file or directory on the server"},
	{SIDE_SERVER, ERR_NO_SPACE, EXIT_SERVER, "nothing was changed there, " CONTINUE,
		"the server's disk is full"},
	{ANY, ERR_QUOTA, EXIT_SERVER, "remove what is not needed there, or ask for more",
		"the quota of this client is used up"},
	{SIDE_SERVER, ERR_READ_ONLY, EXIT_SERVER, "nothing was changed there",
		"the server's file system is read-only"},
	{SIDE_SERVER, ERR_IO, EXIT_SERVER,
		"see the log of the server, then run the same command again",
		"the server's file system failed"},
	{SIDE_SERVER, ERR_ACCESS, EXIT_SERVER, "check the permissions there",
		"the server's file system denies it"},
	{SIDE_SERVER, ERR_RESOURCE, EXIT_SERVER, "try again later",
		"the server is out of memory, descriptors or threads"},
	{SIDE_SERVER, ERR_ABORTED, EXIT_SERVER, CONTINUE, "the server gave up sending"},

	{SIDE_LOCAL, ERR_NOT_FOUND, EXIT_LOCAL, "check the name", NULL},
	{SIDE_LOCAL, ERR_NO_SPACE, EXIT_LOCAL, "make room and " CONTINUE,
		"the disk of this machine is full"},
	{SIDE_LOCAL, ERR_READ_ONLY, EXIT_LOCAL, "choose another place", NULL},
	{SIDE_LOCAL, ERR_IO, EXIT_LOCAL,
		"check the disk, then run the same command again", NULL},
	{SIDE_LOCAL, ERR_ACCESS, EXIT_LOCAL, "check its permissions", NULL},
	{SIDE_LOCAL, ERR_RESOURCE, EXIT_LOCAL, "end other programs or raise the limits",
		NULL},
	{SIDE_LOCAL, ERR_ABORTED, EXIT_LOCAL, CONTINUE, NULL},

	/* The rest is a matter of names, on whichever side: the status is the side's own.
	 */
	{ANY, ERR_IS_DIR, EXIT_OK, "use -r for a directory, or name a file", NULL},
	{ANY, ERR_NOT_DIR, EXIT_OK, "choose another path", NULL},
	{ANY, ERR_NOT_REGULAR, EXIT_OK, "leave it out", NULL},
	{ANY, ERR_BAD_NAME, EXIT_OK, "rename it", NULL},
	{ANY, ERR_NAME_TOO_LONG, EXIT_OK, "choose a shorter name", NULL},
	{ANY, ERR_ESCAPE, EXIT_OK, "choose a path or link that stays inside", NULL},
	{ANY, ERR_TOO_LARGE, EXIT_OK, "leave it out", NULL},
};

static const int status_of_side[] = {
	[SIDE_LOCAL] = EXIT_LOCAL,
	[SIDE_SERVER] = EXIT_SERVER,
	[SIDE_CONNECTION] = EXIT_CONNECTION,
};

struct verdict verdict_of(enum side side, int code)
{
	struct verdict v = {.status = status_of_side[side], .why = err_text(code)};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const struct row *row = &table[i];
		if (row->code != abs(code) ||
			(row->side != ANY && row->side != (int)side))
			continue;
		if (row->status != EXIT_OK)
			v.status = row->status;
		if (row->why)
			v.why = row->why;
		v.advice = row->advice;
		break;
	}
	return v;
}

int report_status(enum side side, int code)
{
	return verdict_of(side, code).status;
}
