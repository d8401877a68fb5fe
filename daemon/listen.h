/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The listening sockets: opened here, or passed by systemd.  One thread. */
#ifndef SOCKD_LISTEN_H
#define SOCKD_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "daemon/config.h"
#include "os/sock.h"

#define LISTEN_HOST_MAX 8 /* addresses of one host name */
#define LISTEN_FD_MAX   (CONFIG_LISTEN_MAX * LISTEN_HOST_MAX)

struct listeners {
	int fds[LISTEN_FD_MAX]; /* owned; non-blocking, close-on-exec */
	size_t count;
};

/*
 * The addresses that TEXT, an argument of --listen, stands for, each once.
 * With LOOPBACK no other address is allowed.  The count, -ERR_USAGE,
 * -ERR_RESOLVE or -ERR_DENIED, for which listen_error has words.
 */
int listen_resolve(const char *text, bool loopback,
	struct sock_addr out[LISTEN_HOST_MAX]) MUST_CHECK;
const char *listen_error(int err);

/* Opens what CONFIG names, unless systemd passed sockets.  0, -ERR_DENIED for a
 * passed socket that CONFIG does not allow, or -ERR_…; the reason is logged. */
int listeners_open(struct listeners *l, const struct config *config) MUST_CHECK;
void listeners_close(struct listeners *l);

/* Logs "listening on ADDR:PORT" for each. */
void listeners_announce(const struct listeners *l);

#endif
