/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/compiler.h"
#include "base/err.h"

/* The numbers of the wire: written out, because they must never change. */
static const struct {
	int code, number;
} numbers[] = {
	{ERR_PROTOCOL, 1},
	{ERR_VERSION, 2},
	{ERR_BUSY, 3},
	{ERR_SHUTDOWN, 4},
	{ERR_TIMEOUT, 5},
	{ERR_DENIED, 6},
	{ERR_NOT_FOUND, 7},
	{ERR_EXISTS, 8},
	{ERR_IS_DIR, 9},
	{ERR_NOT_DIR, 10},
	{ERR_NOT_REGULAR, 11},
	{ERR_BAD_NAME, 12},
	{ERR_NAME_TOO_LONG, 13},
	{ERR_ESCAPE, 14},
	{ERR_NO_SPACE, 15},
	{ERR_READ_ONLY, 16},
	{ERR_IO, 17},
	{ERR_ACCESS, 18},
	{ERR_RESOURCE, 19},
	{ERR_TOO_LARGE, 20},
	{ERR_MISMATCH, 21},
	{ERR_CHANGED, 22},
	{ERR_TAKEN_OVER, 23},
	{ERR_ABORTED, 24},
	{ERR_UNSUPPORTED, 25},
	{ERR_QUOTA, 26},
};

static const int locals[] = {ERR_CLOSED, ERR_GARBLED, ERR_INTERRUPTED, ERR_CONNECT,
	ERR_RESOLVE, ERR_USAGE, ERR_AGAIN};

Test(err, wire_numbers_stand)
{
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		cr_assert_eq(numbers[i].code, numbers[i].number);
		cr_assert(err_is_wire(numbers[i].code));
	}
}

Test(err, only_these_are_of_the_wire)
{
	cr_assert_not(err_is_wire(ERR_NONE));
	cr_assert_not(err_is_wire(-ERR_IO));
	cr_assert_not(err_is_wire((int)ARRAY_LEN(numbers) + 1));
	cr_assert_not(err_is_wire(ERR_LOCAL - 1));
	for (size_t i = 0; i < ARRAY_LEN(locals); i++)
		cr_assert_not(err_is_wire(locals[i]), "%d", locals[i]);
	cr_assert_not(err_is_wire(INT_MAX));
}

static void check_text(int code)
{
	cr_assert_str_neq(err_text(code), "unknown error", "%d", code);
	cr_assert_str_neq(err_text(code), "", "%d", code);
	cr_assert_eq(err_text(code), err_text(-code), "%d", code);
}

Test(err, every_code_has_words_of_its_own)
{
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		check_text(numbers[i].code);
		for (size_t k = 0; k < i; k++)
			cr_assert_str_neq(
				err_text(numbers[i].code), err_text(numbers[k].code));
	}
	for (size_t i = 0; i < ARRAY_LEN(locals); i++)
		check_text(locals[i]);
	cr_assert_str_eq(err_text(ERR_NO_SPACE), "the disk is full");
	cr_assert_str_eq(err_text(ERR_QUOTA + 1), "unknown error");
	cr_assert_str_eq(err_text(9999), "unknown error");
}

static const struct {
	int errnum, code;
} errnos[] = {
	{ENOENT, ERR_NOT_FOUND},
	{EEXIST, ERR_EXISTS},
	{EISDIR, ERR_IS_DIR},
	{ENOTDIR, ERR_NOT_DIR},
	{ENAMETOOLONG, ERR_NAME_TOO_LONG},
	{ELOOP, ERR_ESCAPE},
	{EXDEV, ERR_ESCAPE},
	{ENOSPC, ERR_NO_SPACE},
	{EDQUOT, ERR_NO_SPACE},
	{EROFS, ERR_READ_ONLY},
	{EACCES, ERR_ACCESS},
	{EPERM, ERR_ACCESS},
	{EMFILE, ERR_RESOURCE},
	{ENOMEM, ERR_RESOURCE},
	{EIO, ERR_IO},
	/* of a network file system */
	{ENOTCONN, ERR_IO},
	{ETIMEDOUT, ERR_IO},
	{EHOSTDOWN, ERR_IO},
	{EINVAL, ERR_IO},
	{0, ERR_IO},
	{9999, ERR_IO},
};

Test(err, errnos_fold_into_portable_codes)
{
	for (size_t i = 0; i < ARRAY_LEN(errnos); i++)
		cr_assert_eq(err_from_errno(errnos[i].errnum), errnos[i].code, "%s",
			strerror(errnos[i].errnum));
}

static const struct {
	int errnum, code;
} socket_errnos[] = {
	{ECONNRESET, ERR_CLOSED},
	{EPIPE, ERR_CLOSED},
	{EHOSTUNREACH, ERR_CLOSED},
	{9999, ERR_CLOSED},
	{ETIMEDOUT, ERR_TIMEOUT},
	{ENOBUFS, ERR_RESOURCE},
};

Test(err, a_socket_has_errnos_of_its_own)
{
	for (size_t i = 0; i < ARRAY_LEN(socket_errnos); i++)
		cr_assert_eq(err_from_socket(socket_errnos[i].errnum), socket_errnos[i].code,
			"%s", strerror(socket_errnos[i].errnum));
}

Test(err, no_file_ends_a_connection)
{
	for (int errnum = 0; errnum < 200; errnum++)
		cr_assert_not(err_is_connection(err_from_errno(errnum)), "%s", strerror(errnum));
}

Test(err, tells_the_connection_from_a_request)
{
	static const int connection[] = {ERR_PROTOCOL, ERR_VERSION, ERR_BUSY,
		ERR_SHUTDOWN, ERR_TIMEOUT, ERR_CLOSED, ERR_GARBLED, ERR_INTERRUPTED,
		ERR_CONNECT, ERR_RESOLVE};
	static const int request[] = {ERR_NONE, ERR_DENIED, ERR_NOT_FOUND, ERR_NO_SPACE,
		ERR_MISMATCH, ERR_TAKEN_OVER, ERR_ABORTED, ERR_USAGE, 9999};

	for (size_t i = 0; i < ARRAY_LEN(connection); i++)
		cr_assert(err_is_connection(connection[i]) &&
				  err_is_connection(-connection[i]),
			"%d", connection[i]);
	for (size_t i = 0; i < ARRAY_LEN(request); i++)
		cr_assert_not(
			err_is_connection(request[i]) || err_is_connection(-request[i]),
			"%d", request[i]);
}
