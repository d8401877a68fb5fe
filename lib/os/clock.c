/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/clock.h"

#include <errno.h>
#include <limits.h>
#include <sys/random.h>
#include <time.h>

#include "base/err.h"

uint64_t clock_now_ns(void)
{
	struct timespec ts = {0};

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int64_t clock_now_ms(void)
{
	return (int64_t)(clock_now_ns() / 1000000);
}

int clock_poll_ms(int64_t deadline_ms, int64_t now_ms)
{
	if (deadline_ms < 0)
		return -1;
	if (deadline_ms <= now_ms)
		return 0;
	int64_t left = deadline_ms - now_ms;
	return left < INT_MAX ? (int)left : INT_MAX;
}

int random_bytes(void *out, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = getrandom((char *)out + done, len - done, 0);
		if (n < 0 && errno != EINTR)
			return -ERR_RESOURCE;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}
