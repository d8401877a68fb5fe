/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/err.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/compiler.h"

static const struct {
	int code;
	const char *text;
} texts[] = {
	{ERR_NONE, "no error"},
	{ERR_PROTOCOL, "protocol error"},
	{ERR_VERSION, "no protocol version in common"},
	{ERR_BUSY, "the server is busy: all its connections are taken"},
	{ERR_SHUTDOWN, "the server is stopping"},
	{ERR_TIMEOUT, "no progress for too long"},
	{ERR_DENIED, "not allowed"},
	{ERR_NOT_FOUND, "no such file or directory"},
	{ERR_EXISTS, "the name exists"},
	{ERR_IS_DIR, "it is a directory"},
	{ERR_NOT_DIR, "a part of the path is not a directory"},
	{ERR_NOT_REGULAR, "not a regular file, directory or symbolic link"},
	{ERR_BAD_NAME, "not a valid path"},
	{ERR_NAME_TOO_LONG, "the name is too long"},
	{ERR_ESCAPE, "the path leaves the tree"},
	{ERR_NO_SPACE, "the disk is full"},
	{ERR_READ_ONLY, "the file system is read-only"},
	{ERR_IO, "the file system failed"},
	{ERR_ACCESS, "permission denied"},
	{ERR_RESOURCE, "out of memory, descriptors or threads"},
	{ERR_TOO_LARGE, "too large"},
	{ERR_MISMATCH, "verification failed: the digests differ"},
	{ERR_CHANGED, "the source changed while it was read"},
	{ERR_TAKEN_OVER, "another connection continues this transfer"},
	{ERR_ABORTED, "the sender gave up"},
	{ERR_UNSUPPORTED, "not supported"},
	{ERR_QUOTA, "the quota of this client is used up"},
	{ERR_CLOSED, "the connection was lost"},
	{ERR_GARBLED, "the connection garbled the data"},
	{ERR_INTERRUPTED, "interrupted"},
	{ERR_CONNECT, "cannot connect"},
	{ERR_RESOLVE, "the host name has no address"},
	{ERR_USAGE, "usage error"},
	{ERR_AGAIN, "nothing there yet"},
	{ERR_TLS, "no secure connection could be made"},
	{ERR_UNTRUSTED, "the server is not trusted"},
	{ERR_REFUSED, "the server refuses to serve this client"},
	{ERR_BAD_IDENTITY, "not a key that is strong enough with its certificate, in PEM"},
};

/* Several errnos fold into one code: the portable codes say what a caller on
 * another machine can do about it, not what the kernel saw. */
static const struct {
	int errnum;
	int code;
} errnos[] = {
	{ENOENT, ERR_NOT_FOUND},
	{EEXIST, ERR_EXISTS},
	{ENOTEMPTY, ERR_EXISTS},
	{EISDIR, ERR_IS_DIR},
	{ENOTDIR, ERR_NOT_DIR},
	{ENAMETOOLONG, ERR_NAME_TOO_LONG},
	{EILSEQ, ERR_BAD_NAME},
	{ELOOP, ERR_ESCAPE},
	{EXDEV, ERR_ESCAPE},
	{ENOSPC, ERR_NO_SPACE},
	{EDQUOT, ERR_NO_SPACE},
	{EROFS, ERR_READ_ONLY},
	{EACCES, ERR_ACCESS},
	{EPERM, ERR_ACCESS},
	{ENOMEM, ERR_RESOURCE},
	{EMFILE, ERR_RESOURCE},
	{ENFILE, ERR_RESOURCE},
	{EAGAIN, ERR_RESOURCE},
	{EFBIG, ERR_TOO_LARGE},
	{ENXIO, ERR_NOT_REGULAR},
};

int err_from_errno(int errnum)
{
	for (size_t i = 0; i < ARRAY_LEN(errnos); i++)
		if (errnos[i].errnum == errnum)
			return errnos[i].code;
	return ERR_IO;
}

int err_from_socket(int errnum)
{
	switch (errnum) {
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case ENOMEM:
	case ENOBUFS:
	case EMFILE:
	case ENFILE:
		return ERR_RESOURCE;
	default:
		return ERR_CLOSED;
	}
}

const char *err_text(int code)
{
	code = abs(code);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (texts[i].code == code)
			return texts[i].text;
	return "unknown error";
}

bool err_is_wire(int code)
{
	return code > ERR_NONE && code <= ERR_QUOTA;
}

bool err_is_connection(int code)
{
	switch (abs(code)) {
	case ERR_PROTOCOL:
	case ERR_VERSION:
	case ERR_BUSY:
	case ERR_SHUTDOWN:
	case ERR_TIMEOUT:
	case ERR_CLOSED:
	case ERR_GARBLED:
	case ERR_INTERRUPTED:
	case ERR_CONNECT:
	case ERR_RESOLVE:
	case ERR_TLS:
	case ERR_UNTRUSTED:
	case ERR_REFUSED:
		return true;
	default:
		return false;
	}
}
