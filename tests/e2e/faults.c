/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Preloaded into sockd or sockcp (faults.py builds it): system calls that are
 * honest but inconvenient, and variants of the programs that are wrong and
 * must be caught.  $SOCKD_FAULT says which:
 *
 *	short[:SEED]  reads, writes, sends and receptions of a random part of what was
 *	              asked for, and EINTR before some of them
 *	close         close does its work, then fails
 * and wrong:
 *	lost-count    the rest of a short write is lost: half is written, all is claimed
 *	deaf          a flush that failed is taken for one that succeeded
 *	again         a flush that failed is tried again
 *	no-sync       nothing is flushed
 *	no-dir-sync   directories are not flushed
 *	late-sync     files are flushed after their names: behind the next directory
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LATE_MAX 64

static const char *fault = "";
static unsigned seed = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows */
static int late[LATE_MAX];
static size_t late_count;

__attribute__((constructor)) static void fault_init(void)
{
	const char *given = getenv("SOCKD_FAULT");
	const char *colon = given ? strchr(given, ':') : NULL;

	if (given)
		fault = strndup(given, colon ? (size_t)(colon - given) : strlen(given));
	if (colon)
		seed = (unsigned)strtoul(colon + 1, NULL, 10);
}

static bool fault_is(const char *name)
{
	return strcmp(fault, name) == 0;
}

static unsigned draw(void)
{
	pthread_mutex_lock(&lock);
	unsigned n = (unsigned)rand_r(&seed);
	pthread_mutex_unlock(&lock);
	return n;
}

/* How much of LEN passes, more often little than much; or -1, a signal came first. */
static ssize_t passing(size_t len)
{
	if (!fault_is("short") || len == 0)
		return (ssize_t)len;
	if (draw() % 8 == 0) {
		errno = EINTR;
		return -1;
	}
	size_t most = (size_t)1 << (draw() % 18);
	return (ssize_t)(1 + draw() % (len < most ? len : most));
}

/* -- Data ---------------------------------------------------------------- */

ssize_t read(int fd, void *buf, size_t len)
{
	ssize_t n = passing(len);

	return n < 0 ? -1 : syscall(SYS_read, fd, buf, n);
}

ssize_t pread64(int fd, void *buf, size_t len, off_t offset)
{
	ssize_t n = passing(len);

	return n < 0 ? -1 : syscall(SYS_pread64, fd, buf, n, offset);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	/* Lines of the log stay whole: a test reads them. */
	ssize_t n = fd == STDERR_FILENO ? (ssize_t)len : passing(len);

	return n < 0 ? -1 : syscall(SYS_write, fd, buf, n);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	bool lost = fault_is("lost-count");
	ssize_t n = lost ? (ssize_t)(len / 2) : passing(len);

	if (n >= 0)
		n = syscall(SYS_pwrite64, fd, buf, n, offset);
	return n >= 0 && lost ? (ssize_t)len : n;
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	ssize_t n = passing(len);

	return n < 0 ? -1 : syscall(SYS_recvfrom, fd, buf, n, flags, NULL, NULL);
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	ssize_t n = passing(len);

	return n < 0 ? -1 : syscall(SYS_sendto, fd, buf, n, flags, NULL, 0);
}

int close(int fd)
{
	int r = (int)syscall(SYS_close, fd);

	if (r < 0 || !fault_is("close"))
		return r;
	errno = draw() % 2 ? EIO : EINTR;
	return -1;
}

/* -- Flushes ------------------------------------------------------------- */

static bool is_directory(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Puts the flush of a file off; that of a directory brings on those put off. */
static int flush_late(int fd, bool of_dir)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!of_dir && late_count < LATE_MAX) {
		late[late_count++] = dup(fd);
	} else {
		r = (int)syscall(SYS_fsync, fd);
		while (late_count > 0) {
			syscall(SYS_fsync, late[--late_count]);
			close(late[late_count]);
		}
	}
	pthread_mutex_unlock(&lock);
	return r;
}

/* syncfs is asked through a directory, but is for all of the file system. */
static int flush(long call, int fd)
{
	bool of_dir = call == SYS_fsync && is_directory(fd);

	if (fault_is("no-sync") || (fault_is("no-dir-sync") && of_dir))
		return 0;
	if (fault_is("late-sync") && call == SYS_fsync)
		return flush_late(fd, of_dir);
	int r = (int)syscall(call, fd);
	if (r < 0 && fault_is("again"))
		r = (int)syscall(call, fd);
	return fault_is("deaf") ? 0 : r;
}

int fsync(int fd)
{
	return flush(SYS_fsync, fd);
}

int syncfs(int fd)
{
	return flush(SYS_syncfs, fd);
}
