/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a piece of a test writes to a descriptor. */
#ifndef SOCKD_TESTS_CAPTURE_H
#define SOCKD_TESTS_CAPTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct capture {
	int fd; /* what is captured: 1 or 2 */
	int saved;
	int mem;
	char text[65536];
};

static inline void capture_begin(struct capture *c, int fd)
{
	fflush(NULL);
	c->fd = fd;
	c->saved = dup(fd);
	c->mem = memfd_create("capture", MFD_CLOEXEC);
	cr_assert(c->saved >= 0 && c->mem >= 0);
	cr_assert_eq(dup2(c->mem, fd), fd);
}

/* The text, which is cut at the size of the buffer. */
static inline const char *capture_end(struct capture *c)
{
	ssize_t len;

	fflush(NULL);
	cr_assert_eq(dup2(c->saved, c->fd), c->fd);
	len = pread(c->mem, c->text, sizeof(c->text) - 1, 0);
	cr_assert_geq(len, 0);
	c->text[len] = '\0';
	close(c->saved);
	close(c->mem);
	return c->text;
}

#endif
