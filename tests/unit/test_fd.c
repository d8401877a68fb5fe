/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "os/clock.h"

#define BIG (1u << 20)

static bool fd_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

Test(fd, owned_closes_and_keeps_errno)
{
	int number;
	{
		FD_OWNED fd = open("/dev/null", O_RDONLY);
		number = fd;
		cr_assert(fd_is_open(number));
		errno = ENOSPC;
	}
	cr_assert_eq(errno, ENOSPC);
	cr_assert_not(fd_is_open(number));
	errno = ENOSPC;
	fd_close(-1);
	fd_close(number);
	cr_assert_eq(errno, ENOSPC);
}

Test(fd, take_gives_away)
{
	int taken;
	{
		FD_OWNED fd = open("/dev/null", O_RDONLY);
		taken = fd_take(&fd);
		cr_assert_eq(fd, -1);
	}
	cr_assert(fd_is_open(taken));
	close(taken);
}

static void *write_big(void *arg)
{
	static uint8_t bytes[BIG];
	const int *fd = arg;

	memset(bytes, 7, BIG);
	cr_assert_eq(fd_write_full(*fd, bytes, BIG), 0);
	close(*fd);
	return NULL;
}

/* A socket pair takes and gives less than a mebibyte at once. */
Test(fd, full_goes_on_after_short_counts)
{
	int fds[2];
	pthread_t writer;
	static uint8_t bytes[2 * BIG];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(pthread_create(&writer, NULL, write_big, &fds[0]), 0);
	cr_assert_eq(fd_read_full(fds[1], bytes, 2 * BIG), BIG);
	for (size_t i = 0; i < BIG; i++)
		cr_assert_eq(bytes[i], 7);
	pthread_join(writer, NULL);
	close(fds[1]);
}

Test(fd, full_reports_failure)
{
	uint8_t byte = 0;
	int full = open("/dev/full", O_RDWR);
	int dir = open("/", O_RDONLY);

	cr_assert_eq(fd_write_full(full, &byte, 1), -ERR_NO_SPACE);
	cr_assert_eq(fd_read_full(dir, &byte, 1), -ERR_IS_DIR);
	close(full);
	close(dir);
}

Test(fd, locate_tells_file_systems_apart)
{
	dev_t root_dev, proc_dev;
	uint64_t root_mount, proc_mount;
	int root = open("/", O_RDONLY), proc = open("/proc", O_RDONLY);

	cr_assert_eq(fd_locate(root, &root_dev, &root_mount), 0);
	cr_assert_eq(fd_locate(proc, &proc_dev, &proc_mount), 0);
	cr_assert_neq(root_dev, proc_dev);
	close(root);
	close(proc);
	cr_assert_lt(fd_locate(root, &root_dev, &root_mount), 0);
}

static const struct {
	int64_t deadline, now;
	int expected;
} polls[] = {
	{-1, 1000, -1},
	{0, 1000, 0},
	{1000, 1000, 0},
	{999, 1000, 0},
	{1001, 1000, 1},
	{1000 + (int64_t)INT_MAX, 1000, INT_MAX},
	{1001 + (int64_t)INT_MAX, 1000, INT_MAX},
	{INT64_MAX, 0, INT_MAX},
};

Test(clock, poll_ms)
{
	for (size_t i = 0; i < ARRAY_LEN(polls); i++)
		cr_assert_eq(clock_poll_ms(polls[i].deadline, polls[i].now),
			polls[i].expected, "row %zu", i);
}

Test(clock, goes_forward_in_its_units)
{
	uint64_t ns = clock_now_ns();
	int64_t ms = clock_now_ms();

	usleep(20000);
	cr_assert_geq(clock_now_ns(), ns + 20000000);
	cr_assert_geq(clock_now_ms(), ms + 20);
	cr_assert_lt(clock_now_ms(), ms + 20000);
}

Test(clock, random_bytes_differ)
{
	uint8_t a[300] = {0}, b[300] = {0}, zero[32] = {0};

	cr_assert_eq(random_bytes(a, sizeof(a)), 0);
	cr_assert_eq(random_bytes(b, sizeof(b)), 0);
	cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
	cr_assert_neq(memcmp(a + sizeof(a) - 32, zero, 32), 0, "the end is filled");
}
