/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fingerprints for tests, and the file in which they stand. */
#ifndef SOCKD_TESTS_PRINTS_H
#define SOCKD_TESTS_PRINTS_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/known.h"

/* The fingerprints of 32 bytes 'A', 'B' and 'C'. */
#define A "SHA256:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"
#define B "SHA256:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"
#define C "SHA256:Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M"

#define KNOWN_CAP 4096

static inline const uint8_t *print_of(char letter)
{
	static uint8_t fp[FINGERPRINT_LEN];

	memset(fp, letter, sizeof(fp));
	return fp;
}

/* What is in known_hosts; "" when there is none. */
static inline const char *file_read(int dirfd, char out[KNOWN_CAP])
{
	int fd = openat(dirfd, KNOWN_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, out, KNOWN_CAP - 1);

	cr_assert_geq(n, 0);
	out[n] = '\0';
	close(fd);
	return out;
}

#endif
