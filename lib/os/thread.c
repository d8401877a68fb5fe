/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/thread.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"

/* For a few system calls, and for what a sanitizer puts on top. */
#define SIDE_STACK (256u << 10)

/* Below the frame that asks: its own, those it calls, and what the ABI calls red zone. */
#define STACK_IN_USE 1024

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

void thread_relax(void)
{
	pthread_attr_t attr;
	void *low;
	size_t size, guard;
	if (gettid() == getpid() || pthread_getattr_np(pthread_self(), &attr) != 0)
		return;
	bool known = pthread_attr_getstack(&attr, &low, &size) == 0 &&
		     pthread_attr_getguardsize(&attr, &guard) == 0;
	pthread_attr_destroy(&attr);
	uintptr_t from = (uintptr_t)low + guard;
	uintptr_t to = (uintptr_t)__builtin_frame_address(0) - STACK_IN_USE;
	to -= to % (uintptr_t)sysconf(_SC_PAGESIZE);
	/* The kernel has zeros for whoever comes there again. */
	if (known && to > from && to < (uintptr_t)low + size)
		madvise((void *)from, to - from, MADV_DONTNEED);
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
