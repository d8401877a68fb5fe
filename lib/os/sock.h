/* SPDX-License-Identifier: GPL-3.0-or-later */
/* TCP sockets: names to addresses, listening, connecting, options. */
#ifndef SOCKD_OS_SOCK_H
#define SOCKD_OS_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/compiler.h"

#define SOCK_DEFAULT_PORT 7625
#define SOCK_NAME_MAX     80 /* "[v6%scope]:port" and NUL */
#define SOCK_HOST_MAX     256

struct sock_addr {
	struct sockaddr_storage ss;
	socklen_t len;
};

/* Splits HOST, HOST:PORT, [V6], [V6]:PORT, :PORT (HOST becomes empty), V6 bare
 * (two or more ':').  DEFAULT_PORT where none is named.  -ERR_USAGE. */
int sock_split(const char *text, uint16_t default_port, char host_out[SOCK_HOST_MAX],
	uint16_t *port_out) MUST_CHECK;

/* Up to MAX addresses of HOST (empty: the wildcard addresses, with PASSIVE).
 * The count, or -ERR_RESOLVE. */
int sock_resolve(const char *host, uint16_t port, bool passive, struct sock_addr *out,
	int max) MUST_CHECK;

/* Whether ADDR is a loopback address (127/8, ::1, ::ffff:127/104). */
bool sock_is_loopback(const struct sock_addr *addr);

/* "127.0.0.1:7625", "[::1]:7625". Returns OUT. */
char *sock_format(char out[SOCK_NAME_MAX], const struct sock_addr *addr);

/* A listening, non-blocking, close-on-exec socket (SO_REUSEADDR; IPV6_V6ONLY
 * for v6).  The descriptor, or -ERR_… with errno kept for the caller's word. */
int sock_listen(const struct sock_addr *addr, int backlog) MUST_CHECK;

/* The bound address of FD. */
int sock_local(int fd, struct sock_addr *out) MUST_CHECK;

/* Whether these are one address, whatever the ports. */
bool sock_is_same_address(const struct sock_addr *a, const struct sock_addr *b);
/* Whether both ends of the connection FD are on this machine: they have one address, or
 * one of loopback. */
bool sock_is_within(int fd);

/*
 * Connects within TIMEOUT_MS; gives up early with -ERR_INTERRUPTED when
 * STOP_FD (or -1) becomes readable.  Non-blocking, close-on-exec.  The
 * descriptor, or -ERR_CONNECT, -ERR_TIMEOUT, -ERR_RESOURCE.
 */
int sock_connect(const struct sock_addr *addr, int timeout_ms, int stop_fd) MUST_CHECK;

/*
 * What every connection of ours wants: TCP_NODELAY, keepalive that notices a
 * vanished peer within about TIMEOUT_MS, TCP_USER_TIMEOUT of TIMEOUT_MS.
 * Failures are ignored: a connection works without them.
 */
void sock_tune(int fd, int timeout_ms);

#endif
