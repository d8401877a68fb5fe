/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/sock.h"

#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "os/clock.h"
#include "os/fd.h"

/* Keepalive: half the time silent, then this many probes in the other half. */
#define KEEPALIVE_PROBES  3
#define KEEPALIVE_SEC_MAX 32767 /* of the kernel, tcp(7) */

/* Where the host ends and the port (or NULL) begins in TEXT. */
static int split_at(const char *text, const char **host, size_t *len, const char **port)
{
	const char *colon = strchr(text, ':');

	if (text[0] == '[') {
		const char *end = strchr(text, ']');
		if (!end || !colon || colon > end || (end[1] != '\0' && end[1] != ':'))
			return -ERR_USAGE;
		*host = text + 1;
		*len = (size_t)(end - *host);
		*port = end[1] == ':' ? end + 2 : NULL;
		return 0;
	}
	/* A second colon makes it a bare IPv6 address. */
	if (colon && strchr(colon + 1, ':'))
		colon = NULL;
	*host = text;
	*len = colon ? (size_t)(colon - text) : strlen(text);
	*port = colon ? colon + 1 : NULL;
	return 0;
}

int sock_split(const char *text, uint16_t default_port, char host_out[SOCK_HOST_MAX],
	uint16_t *port_out)
{
	const char *host, *port_text;
	size_t len;
	uint64_t port = default_port;

	int r = split_at(text, &host, &len, &port_text);
	if (r < 0)
		return r;
	if (len >= SOCK_HOST_MAX || (len == 0 && !port_text))
		return -ERR_USAGE;
	if (port_text)
		r = text_parse_uint(port_text, 0, UINT16_MAX, &port);
	if (r < 0)
		return r;
	memcpy(host_out, host, len);
	host_out[len] = '\0';
	*port_out = (uint16_t)port;
	return 0;
}

int sock_resolve(
	const char *host, uint16_t port, bool passive, struct sock_addr *out, int max)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0),
	};
	struct addrinfo *list = NULL;
	char service[8];
	int count = 0;

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host[0] ? host : NULL, service, &hints, &list))
		return -ERR_RESOLVE;
	for (const struct addrinfo *ai = list; ai && count < max; ai = ai->ai_next) {
		out[count] = (struct sock_addr){.len = ai->ai_addrlen};
		memcpy(&out[count++].ss, ai->ai_addr, ai->ai_addrlen);
	}
	freeaddrinfo(list);
	return count > 0 ? count : -ERR_RESOLVE;
}

bool sock_is_loopback(const struct sock_addr *addr)
{
	if (addr->ss.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)&addr->ss;
		return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	if (addr->ss.ss_family != AF_INET6)
		return false;
	const struct in6_addr *a =
		&((const struct sockaddr_in6 *)(const void *)&addr->ss)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(a) ||
	       (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == IN_LOOPBACKNET);
}

char *sock_format(char out[SOCK_NAME_MAX], const struct sock_addr *addr)
{
	char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE], port[8];

	if (getnameinfo((const struct sockaddr *)&addr->ss, addr->len, host, sizeof(host),
		    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(out, SOCK_NAME_MAX, "?");
	else
		snprintf(out, SOCK_NAME_MAX, strchr(host, ':') ? "[%s]:%s" : "%s:%s",
			host, port);
	return out;
}

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

int sock_listen(const struct sock_addr *addr, int backlog)
{
	bool is_v6 = addr->ss.ss_family == AF_INET6;
	FD_OWNED fd =
		socket(addr->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 ||
		(is_v6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0) ||
		bind(fd, (const struct sockaddr *)&addr->ss, addr->len) < 0 ||
		listen(fd, backlog) < 0)
		return -err_from_errno(errno);
	return fd_take(&fd);
}

int sock_local(int fd, struct sock_addr *out)
{
	struct sock_addr addr = {.len = sizeof(addr.ss)};

	if (getsockname(fd, (struct sockaddr *)&addr.ss, &addr.len) < 0)
		return -err_from_errno(errno);
	*out = addr;
	return 0;
}

bool sock_is_same_address(const struct sock_addr *a, const struct sock_addr *b)
{
	const struct sockaddr_in *a4 = (const void *)&a->ss, *b4 = (const void *)&b->ss;
	const struct sockaddr_in6 *a6 = (const void *)&a->ss, *b6 = (const void *)&b->ss;
	if (a->ss.ss_family != b->ss.ss_family)
		return false;
	if (a->ss.ss_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a->ss.ss_family != AF_INET6 ||
	       memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

bool sock_is_within(int fd)
{
	struct sock_addr ours, its = {.len = sizeof(its.ss)};
	return sock_local(fd, &ours) == 0 &&
	       getpeername(fd, (struct sockaddr *)&its.ss, &its.len) == 0 &&
	       (sock_is_loopback(&its) || sock_is_same_address(&ours, &its));
}

/* The three words that sock_connect has for a failure. */
static int connect_error(int errnum)
{
	int code = err_from_socket(errnum);

	return code == ERR_RESOURCE || code == ERR_TIMEOUT ? -code : -ERR_CONNECT;
}

/* Waits for the connect under way on FD. */
static int connect_wait(int fd, int timeout_ms, int stop_fd)
{
	struct pollfd fds[] = {
		{.fd = fd, .events = POLLOUT}, {.fd = stop_fd, .events = POLLIN}};
	int64_t deadline = timeout_ms < 0 ? -1 : clock_now_ms() + timeout_ms;
	int n;

	do
		n = poll(fds, ARRAY_LEN(fds), clock_poll_ms(deadline, clock_now_ms()));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -ERR_RESOURCE;
	if (n == 0)
		return -ERR_TIMEOUT;
	if (fds[1].revents)
		return -ERR_INTERRUPTED;

	int failure = 0;
	socklen_t len = sizeof(failure);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0)
		return -ERR_CONNECT;
	errno = failure;
	return failure ? connect_error(failure) : 0;
}

int sock_connect(const struct sock_addr *addr, int timeout_ms, int stop_fd)
{
	FD_OWNED fd =
		socket(addr->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return connect_error(errno);
	if (connect(fd, (const struct sockaddr *)&addr->ss, addr->len) < 0) {
		if (errno != EINPROGRESS && errno != EINTR)
			return connect_error(errno);
		int r = connect_wait(fd, timeout_ms, stop_fd);
		if (r < 0)
			return r;
	}
	return fd_take(&fd);
}

/* MS in seconds, within what the kernel takes. */
static int keepalive_sec(int ms)
{
	int sec = ms / 1000;

	if (sec < 1)
		return 1;
	return sec < KEEPALIVE_SEC_MAX ? sec : KEEPALIVE_SEC_MAX;
}

void sock_tune(int fd, int timeout_ms)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (timeout_ms <= 0)
		return;
	int half = timeout_ms / 2;
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepalive_sec(half));
	set_option(
		fd, IPPROTO_TCP, TCP_KEEPINTVL, keepalive_sec(half / KEEPALIVE_PROBES));
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, timeout_ms);
}
