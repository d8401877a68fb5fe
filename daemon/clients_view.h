/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The file "clients" as a running daemon sees it: read again when it is another one,
 * which its inode, size and times tell.  A file that cannot be read or makes no sense is
 * said once in the log, and the view stays as it was.  One thread, or its owner's lock.
 */
#ifndef SOCKD_CLIENTS_VIEW_H
#define SOCKD_CLIENTS_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/compiler.h"
#include "daemon/clients_file.h"
#include "wire/msg.h" /* DIGEST_LEN */

/* By what a file is known to be another one. */
struct file_stamp {
	bool there;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct clients_view {
	int state_fd;             /* borrowed */
	struct clients_file file; /* what it said when it last made sense */
	bool has_sense;           /* it did, once */
	bool has_stamp;           /* STAMP tells whether there is something new */
	struct file_stamp stamp;
	bool has_digest;
	uint8_t digest[DIGEST_LEN]; /* of the text that was read last */
	int complained;             /* the error that was logged last, or 0 */
};

void clients_view_init(struct clients_view *v, int state_fd);
void clients_view_fini(struct clients_view *v);

/* Looks at the file: 1 when FILE is another than before, 0 when it is not; an error has
 * been logged. */
int clients_view_refresh(struct clients_view *v) MUST_CHECK;

#endif
