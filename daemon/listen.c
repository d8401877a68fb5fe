/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "daemon/log.h"
#include "daemon/systemd.h"
#include "os/fd.h"

#define DEFAULT_LISTEN "localhost"

const char *listen_error(int err)
{
	switch (err) {
	case -ERR_USAGE:
		return "HOST, HOST:PORT, [V6]:PORT or :PORT is needed";
	case -ERR_DENIED:
		return "with --plaintext only loopback addresses are allowed";
	default:
		return err_text(err);
	}
}

static bool addr_is_among(
	const struct sock_addr *addr, const struct sock_addr *addrs, int count)
{
	for (int i = 0; i < count; i++)
		if (addrs[i].len == addr->len &&
			memcmp(&addrs[i].ss, &addr->ss, addr->len) == 0)
			return true;
	return false;
}

/* Appends those of FOUND that are of FAMILY, each once: an /etc/hosts that names
 * localhost twice gives it twice. */
static int family_copy(struct sock_addr *out, int count, const struct sock_addr *found,
	int found_count, sa_family_t family)
{
	for (int i = 0; i < found_count; i++)
		if (found[i].ss.ss_family == family &&
			!addr_is_among(&found[i], out, count))
			out[count++] = found[i];
	return count;
}

int listen_resolve(const char *text, bool loopback, struct sock_addr out[LISTEN_HOST_MAX])
{
	struct sock_addr found[LISTEN_HOST_MAX];
	char host[SOCK_HOST_MAX];
	uint16_t port;
	int found_count, count;
	int err = sock_split(text, SOCK_DEFAULT_PORT, host, &port);

	if (err < 0)
		return err;
	found_count = sock_resolve(host, port, true, found, LISTEN_HOST_MAX);
	if (found_count < 0)
		return found_count;
	for (int i = 0; i < found_count; i++)
		if (loopback && !sock_is_loopback(&found[i]))
			return -ERR_DENIED;
	count = family_copy(out, 0, found, found_count, AF_INET);
	count = family_copy(out, count, found, found_count, AF_INET6);
	return count > 0 ? count : -ERR_RESOLVE;
}

static in_port_t *addr_port(struct sock_addr *addr)
{
	return addr->ss.ss_family == AF_INET6
		       ? &((struct sockaddr_in6 *)&addr->ss)->sin6_port
		       : &((struct sockaddr_in *)&addr->ss)->sin_port;
}

/* The port that the kernel chose for FD, given to ADDR too. */
static void port_copy(int fd, struct sock_addr *addr)
{
	struct sock_addr bound;

	if (sock_local(fd, &bound) == 0)
		*addr_port(addr) = *addr_port(&bound);
}

/*
 * A host may have addresses that this machine lacks (::1 where IPv6 is off);
 * that is fine as long as one works.  With port 0 the second family gets the
 * port of the first, or is left out where that is taken.
 */
static int host_listen(struct listeners *l, struct sock_addr *addrs, int count)
{
	bool any_port = *addr_port(&addrs[0]) == 0;
	size_t before = l->count;
	int err = -ERR_CONNECT;

	for (int i = 0; i < count; i++) {
		bool follows = any_port && l->count > before;
		int fd;

		if (follows)
			port_copy(l->fds[before], &addrs[i]);
		fd = sock_listen(&addrs[i], SOMAXCONN);
		if (fd >= 0)
			l->fds[l->count++] = fd;
		else if (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT ||
			 (follows && errno == EADDRINUSE))
			err = fd;
		else
			return fd;
	}
	return l->count > before ? 0 : err;
}

static int text_listen(struct listeners *l, const char *text, bool loopback)
{
	struct sock_addr addrs[LISTEN_HOST_MAX];
	int count = listen_resolve(text, loopback, addrs);
	int err;

	if (count < 0) {
		log_line(LOG_LEVEL_ERR, "cannot listen on %s: %s", text,
			listen_error(count));
		return count;
	}
	err = host_listen(l, addrs, count);
	if (err < 0)
		log_line(LOG_LEVEL_ERR, "cannot listen on %s: %s", text, strerror(errno));
	return err;
}

static bool fd_is_listening(int fd, const struct sock_addr *addr)
{
	int listening = 0;
	socklen_t len = sizeof(listening);

	return (addr->ss.ss_family == AF_INET || addr->ss.ss_family == AF_INET6) &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 &&
	       listening;
}

/* One that systemd passed: it must be what we would have opened. */
static int passed_adopt(struct listeners *l, int fd, bool loopback)
{
	struct sock_addr addr;
	char name[SOCK_NAME_MAX];

	if (l->count == LISTEN_FD_MAX || sock_local(fd, &addr) < 0 ||
		!fd_is_listening(fd, &addr) || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		log_line(LOG_LEVEL_ERR,
			"descriptor %d, passed by systemd, is not a listening TCP socket",
			fd);
		return -ERR_UNSUPPORTED;
	}
	l->fds[l->count++] = fd;
	if (loopback && !sock_is_loopback(&addr)) {
		log_line(LOG_LEVEL_ERR, "cannot listen on %s, passed by systemd: %s",
			sock_format(name, &addr), listen_error(-ERR_DENIED));
		return -ERR_DENIED;
	}
	return 0;
}

static int passed_listen(struct listeners *l, int first, int count, bool loopback)
{
	for (int i = 0; i < count; i++) {
		int err = passed_adopt(l, first + i, loopback);

		if (err < 0)
			return err;
	}
	return 0;
}

int listeners_open(struct listeners *l, const struct config *config)
{
	bool loopback = config->plaintext;
	int first = -1;
	int passed = systemd_sockets(&first);
	int err;

	l->count = 0;
	if (passed < 0)
		log_line(LOG_LEVEL_ERR, "cannot take sockets from systemd: %s",
			err_text(passed));
	if (passed != 0)
		return passed < 0 ? passed : passed_listen(l, first, passed, loopback);
	if (config->listen_count == 0)
		return text_listen(l, DEFAULT_LISTEN, loopback);
	for (size_t i = 0; i < config->listen_count; i++) {
		err = text_listen(l, config->listen[i], loopback);
		if (err < 0)
			return err;
	}
	return 0;
}

void listeners_close(struct listeners *l)
{
	while (l->count > 0)
		fd_close(l->fds[--l->count]);
}

void listeners_announce(const struct listeners *l)
{
	struct sock_addr addr;
	char name[SOCK_NAME_MAX];

	for (size_t i = 0; i < l->count; i++)
		if (sock_local(l->fds[i], &addr) == 0)
			log_line(LOG_LEVEL_NOTICE, "listening on %s",
				sock_format(name, &addr));
}
