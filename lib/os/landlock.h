/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A second lock beside os/beneath: what this thread, and the threads that it starts, may
 * still reach in the file system, enforced by the kernel (landlock(7)).
 *
 * Descriptors that are open already stay usable as they were opened.  Needs no privilege,
 * but no_new_privs, which landlock_restrict sets for the calling thread.
 */
#ifndef SOCKD_OS_LANDLOCK_H
#define SOCKD_OS_LANDLOCK_H

#include <stdint.h>

#include "base/compiler.h"

/* What may be done below a directory. */
enum landlock_access {
	LANDLOCK_READ = 1u << 0, /* open files for reading, list directories */
	LANDLOCK_WRITE =
		1u << 1, /* make, change, rename and remove files, directories and
			  * symbolic links; never sockets, fifos, devices.  Who
			  * uploads has to READ too: a stage is opened for both,
			  * a directory for reading in order to be flushed. */
};

struct landlock_place {
	int fd;          /* borrowed: the directory */
	uint32_t access; /* set of enum landlock_access */
};

/* The ABI of the running kernel; 0 where there is none, or one that is of no use to us
 * (before 2 a rename from one directory to another is always forbidden). */
int landlock_abi(void);

/*
 * From here on this thread may open, make, rename and remove nothing but what is below
 * PLACES, execute nothing, and, as far as ABI goes, not bind or connect TCP sockets, not
 * reach abstract sockets or send signals to others, not command devices.  Looking (stat),
 * and mode and times by a descriptor, the kernel does not hold off.  Cannot be undone; a
 * second time only takes more away.  0, or -ERR_… with the thread as it was:
 * -ERR_UNSUPPORTED where the kernel refuses, as with ABI 0; -ERR_RESOURCE.
 */
int landlock_restrict(
	int abi, const struct landlock_place *places, unsigned count) MUST_CHECK;

#endif
