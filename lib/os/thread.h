/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Threads beside the one that serves a connection. */
#ifndef SOCKD_OS_THREAD_H
#define SOCKD_OS_THREAD_H

#include <pthread.h>

#include "base/compiler.h"

/* Starts MAIN(CTX) on a stack of 256 KiB, which is to be joined.  0 or -ERR_RESOURCE. */
int thread_start(pthread_t *out, void *(*main)(void *), void *ctx) MUST_CHECK;

/* Gives back what the stack of this thread was larger before; nothing on the main thread,
 * whose stack nobody has measured out.  Best effort. */
void thread_relax(void);

/* The processors that this process may run on; at least 1.  A quota of a cgroup
 * (CPUQuota=) is not seen. */
unsigned thread_processors(void);

#endif
