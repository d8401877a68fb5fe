/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The least that a verified transfer has to do, to hold the others against:
 *	limit SOURCE TARGET
 * One process reads, hashes and sends, another receives, hashes and writes, over one
 * TCP connection on loopback.  Nothing else: no frames, no names, no resume.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/digest.h"

#define CHUNK (1u << 20)

static void require(bool held, const char *what)
{
	if (held)
		return;
	perror(what);
	exit(1);
}

/* Moves all of IN to OUT; *SUM_OUT is the digest of it. */
static void move(int in, int out, uint8_t sum_out[DIGEST_LEN])
{
	struct digest *digest = digest_new();
	uint8_t *chunk = malloc(CHUNK);
	ssize_t n;
	require(digest && chunk && digest_start(digest) == 0, "memory");
	while ((n = read(in, chunk, CHUNK)) > 0) {
		require(digest_update(digest, chunk, (size_t)n) == 0, "digest");
		for (ssize_t done = 0, sent; done < n; done += sent) {
			sent = write(out, chunk + done, (size_t)(n - done));
			require(sent > 0, "write");
		}
	}
	require(n == 0, "read");
	require(digest_finish(digest, sum_out) == 0, "digest");
	digest_free(digest);
	free(chunk);
}

static int listen_any(struct sockaddr_in *addr_out)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	require(fd >= 0 && bind(fd, (struct sockaddr *)&addr, len) == 0 && listen(fd, 1) == 0 &&
			getsockname(fd, (struct sockaddr *)&addr, &len) == 0,
		"listen");
	*addr_out = addr;
	return fd;
}

static void receive(int listener, const char *target, uint8_t sum_out[DIGEST_LEN])
{
	int in = accept(listener, NULL, NULL);
	int out = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	require(in >= 0 && out >= 0, target);
	move(in, out, sum_out);
	require(close(out) == 0, target);
}

static void send_to(const struct sockaddr_in *addr, const char *source,
	uint8_t sum_out[DIGEST_LEN])
{
	int in = open(source, O_RDONLY);
	int out = socket(AF_INET, SOCK_STREAM, 0);
	require(in >= 0 && out >= 0, source);
	require(connect(out, (const struct sockaddr *)addr, sizeof(*addr)) == 0, "connect");
	move(in, out, sum_out);
	require(close(out) == 0, "close");
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	uint8_t ours[DIGEST_LEN], its[DIGEST_LEN];
	int sums[2], status;
	if (argc != 3) {
		fputs("Usage: limit SOURCE TARGET\n", stderr);
		return 2;
	}
	int listener = listen_any(&addr);
	require(pipe(sums) == 0, "pipe");
	pid_t child = fork();
	require(child >= 0, "fork");
	if (child == 0) {
		receive(listener, argv[2], its);
		require(write(sums[1], its, sizeof(its)) == sizeof(its), "pipe");
		return 0;
	}
	send_to(&addr, argv[1], ours);
	require(waitpid(child, &status, 0) == child && status == 0, "receiver");
	require(read(sums[0], its, sizeof(its)) == sizeof(its), "pipe");
	require(memcmp(ours, its, sizeof(its)) == 0, "the digests differ");
	return 0;
}
