/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/thread.h"

#include <sched.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/err.h"

/* For a few system calls, and for what a sanitizer puts on top. */
#define SIDE_STACK (256u << 10)

int thread_start(pthread_t *out, void *(*main)(void *), void *ctx)
{
	pthread_attr_t attr;
	if (pthread_attr_init(&attr) != 0)
		return -ERR_RESOURCE;
	bool started = pthread_attr_setstacksize(&attr, SIDE_STACK) == 0 &&
		       pthread_create(out, &attr, main, ctx) == 0;
	pthread_attr_destroy(&attr);
	return started ? 0 : -ERR_RESOURCE;
}

unsigned thread_processors(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	/* More than a cpu_set_t has room for. */
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	return online > 0 ? (unsigned)online : 1;
}
