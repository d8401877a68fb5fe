/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One error space for both programs and for the wire.
 *
 * A function that can fail returns 0 (or a count) on success and -ERR_… on
 * failure.  The codes below ERR_LOCAL travel in ERROR and ABORT messages
 * (sockd-protocol(7)) and are never renumbered; an errno never leaves the
 * machine it arose on.  The codes from ERR_LOCAL on describe this end of the
 * connection and cannot be received.
 */
#ifndef SOCKD_BASE_ERR_H
#define SOCKD_BASE_ERR_H

#include <stdbool.h>

enum err {
	ERR_NONE = 0,
	ERR_PROTOCOL = 1,     /* the peer broke the rules of the protocol */
	ERR_VERSION = 2,      /* no protocol version in common */
	ERR_BUSY = 3,         /* all connections of the server are taken */
	ERR_SHUTDOWN = 4,     /* the server is stopping; come back */
	ERR_TIMEOUT = 5,      /* no progress for too long */
	ERR_DENIED = 6,       /* identity or rights do not allow it */
	ERR_NOT_FOUND = 7,    /* no such file or directory */
	ERR_EXISTS = 8,       /* the name exists and may not be replaced */
	ERR_IS_DIR = 9,       /* a directory where a file was expected */
	ERR_NOT_DIR = 10,     /* a file where a directory was expected */
	ERR_NOT_REGULAR = 11, /* a socket, fifo or device */
	ERR_BAD_NAME = 12,    /* a name that is never valid on the wire */
	ERR_NAME_TOO_LONG = 13,
	ERR_ESCAPE = 14,      /* a path or link that leaves the served tree */
	ERR_NO_SPACE = 15,    /* disk or inodes are full */
	ERR_READ_ONLY = 16,   /* read-only file system */
	ERR_IO = 17,          /* the file system failed */
	ERR_ACCESS = 18,      /* the file system's permissions forbid it */
	ERR_RESOURCE = 19,    /* out of memory, descriptors or threads */
	ERR_TOO_LARGE = 20,   /* over a limit of this side */
	ERR_MISMATCH = 21,    /* the digests of the two sides differ */
	ERR_CHANGED = 22,     /* the source changed while it was read */
	ERR_TAKEN_OVER = 23,  /* another connection continues this transfer */
	ERR_ABORTED = 24,     /* the sender gave up */
	ERR_UNSUPPORTED = 25, /* known, but not offered by this side */
	ERR_QUOTA = 26,       /* what this client may store is used up */
	ERR_LOCAL = 256,
	ERR_CLOSED = 256,      /* the connection was closed or reset */
	ERR_GARBLED = 257,     /* a frame failed its checksum */
	ERR_INTERRUPTED = 258, /* told to stop, by a signal or by the daemon */
	ERR_CONNECT = 259,     /* the server cannot be reached */
	ERR_RESOLVE = 260,     /* the host name has no address */
	ERR_USAGE = 261,       /* the command line makes no sense */
	ERR_AGAIN = 262,       /* nothing to be had without waiting */
	ERR_TLS = 263,         /* the peer does not speak TLS as it should */
	ERR_UNTRUSTED = 264,   /* the server is not who it should be, or nobody we know */
	ERR_BAD_IDENTITY = 265, /* a key or certificate file that holds something else */
	ERR_REFUSED = 266, /* the server does not serve us at all: DENIED, for good */
};

/* The code (positive) for an errno value of a file or of this machine, ERR_IO for one we
 * do not know.  Never one of a connection: a network file system can lose its own. */
int err_from_errno(int errnum);

/* The same for a socket's: ERR_CLOSED, unless time or memory ran out. */
int err_from_socket(int errnum);

/* What people read: "the disk is full".  CODE may have either sign; the
 * text is static and never NULL. */
const char *err_text(int code);

/* Whether CODE (positive) may stand in a message from a peer. */
bool err_is_wire(int code);

/* Whether CODE (either sign) says that the connection, and not one request
 * on it, has ended. */
bool err_is_connection(int code);

#endif
