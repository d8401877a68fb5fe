/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/sock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/clock.h"
#include "os/fd.h"

static const struct {
	const char *text;
	const char *host; /* NULL: refused */
	uint16_t port;
} splits[] = {
	{"host", "host", 7625},
	{"host:80", "host", 80},
	{"host:0", "host", 0},
	{"host:65535", "host", 65535},
	{"127.0.0.1:9", "127.0.0.1", 9},
	{":9", "", 9},
	{"[::1]", "::1", 7625},
	{"[::1]:9", "::1", 9},
	{"[fe80::1%eth0]:9", "fe80::1%eth0", 9},
	{"::1", "::1", 7625},
	{"::", "::", 7625},
	{"fe80::1:80", "fe80::1:80", 7625},
	{"", NULL, 0},
	{":", NULL, 0},
	{"host:", NULL, 0},
	{"host:65536", NULL, 0},
	{"host:-1", NULL, 0},
	{"host: 1", NULL, 0},
	{"host:9x", NULL, 0},
	{"[::1", NULL, 0},
	{"[]", NULL, 0},
	{"[host]:9", NULL, 0},
	{"[::1]9", NULL, 0},
	{"[::1]:", NULL, 0},
	{"[::1]:9:", NULL, 0},
};

Test(sock, split)
{
	for (size_t i = 0; i < ARRAY_LEN(splits); i++) {
		char host[SOCK_HOST_MAX] = "untouched";
		uint16_t port = 1;
		int r = sock_split(splits[i].text, 7625, host, &port);

		cr_assert_eq(r, splits[i].host ? 0 : -ERR_USAGE, "'%s'", splits[i].text);
		cr_assert_str_eq(host, splits[i].host ? splits[i].host : "untouched",
			"'%s'", splits[i].text);
		cr_assert_eq(port, splits[i].host ? splits[i].port : 1, "'%s'",
			splits[i].text);
	}
}

Test(sock, split_limits_the_host)
{
	char text[SOCK_HOST_MAX + 1], host[SOCK_HOST_MAX];
	uint16_t port;

	memset(text, 'a', sizeof(text));
	text[SOCK_HOST_MAX] = '\0';
	cr_assert_eq(sock_split(text, 1, host, &port), -ERR_USAGE);
	cr_assert_eq(sock_split(text + 1, 1, host, &port), 0);
	cr_assert_str_eq(host, text + 1);
}

static struct sock_addr address_of(const char *host, uint16_t port)
{
	struct sock_addr addr = {0};

	cr_assert_eq(sock_resolve(host, port, false, &addr, 1), 1, "%s", host);
	return addr;
}

static const struct {
	const char *host;
	const char *formatted;
	bool loopback;
} addresses[] = {
	{"127.0.0.1", "127.0.0.1:7625", true},
	{"127.255.3.4", "127.255.3.4:7625", true},
	{"128.0.0.1", "128.0.0.1:7625", false},
	{"0.0.0.0", "0.0.0.0:7625", false},
	{"10.127.0.1", "10.127.0.1:7625", false},
	{"::1", "[::1]:7625", true},
	{"::", "[::]:7625", false},
	{"::ffff:127.9.9.9", "[::ffff:127.9.9.9]:7625", true},
	{"::ffff:126.0.0.1", "[::ffff:126.0.0.1]:7625", false},
	{"fe80::1%lo", "[fe80::1%lo]:7625", false},
	{"2001:db8::7f00:1", "[2001:db8::7f00:1]:7625", false},
};

Test(sock, addresses)
{
	for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
		struct sock_addr addr = address_of(addresses[i].host, 7625);
		char name[SOCK_NAME_MAX];

		cr_assert_str_eq(sock_format(name, &addr), addresses[i].formatted);
		cr_assert_eq(sock_is_loopback(&addr), addresses[i].loopback, "%s", name);
	}
}

Test(sock, resolve_of_nothing_is_the_wildcard)
{
	struct sock_addr addrs[4];
	int n = sock_resolve("", 9, true, addrs, 4);
	char name[SOCK_NAME_MAX];

	cr_assert_geq(n, 1);
	for (int i = 0; i < n; i++) {
		sock_format(name, &addrs[i]);
		cr_assert(strcmp(name, "0.0.0.0:9") == 0 || strcmp(name, "[::]:9") == 0,
			"%s", name);
	}
}

/* No resolver asks the network for a label of more than 63 bytes. */
Test(sock, resolve_fails)
{
	char host[200];
	struct sock_addr addr;

	memset(host, 'a', sizeof(host));
	host[sizeof(host) - 1] = '\0';
	cr_assert_eq(sock_resolve(host, 9, false, &addr, 1), -ERR_RESOLVE);
}

static int listen_somewhere(const char *host, int backlog, struct sock_addr *addr_out)
{
	struct sock_addr any = address_of(host, 0);
	int fd = sock_listen(&any, backlog);

	cr_assert_geq(fd, 0);
	cr_assert_eq(sock_local(fd, addr_out), 0);
	return fd;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	cr_assert_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void assert_flags(int fd)
{
	cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

Test(sock, listen_and_connect)
{
	struct sock_addr addr, far;
	FD_OWNED server = listen_somewhere("127.0.0.1", 8, &addr);
	FD_OWNED client = sock_connect(&addr, 5000, -1);

	cr_assert_geq(client, 0);
	assert_flags(server);
	assert_flags(client);
	cr_assert_eq(option(server, SOL_SOCKET, SO_REUSEADDR), 1);

	FD_OWNED accepted =
		accept(server, (struct sockaddr *)&far.ss, &(socklen_t){sizeof(far.ss)});
	cr_assert_geq(accepted, 0);
	cr_assert_eq(fd_write_full(client, "hello", 5), 0);
	char text[6] = "";
	cr_assert_eq(fd_read_full(accepted, text, 5), 5);
	cr_assert_str_eq(text, "hello");
}

Test(sock, listen_on_v6_is_v6_only)
{
	struct sock_addr any = address_of("::", 0);
	FD_OWNED server = sock_listen(&any, 8);

	if (server < 0)
		cr_skip_test("no IPv6 here");
	cr_assert_eq(option(server, IPPROTO_IPV6, IPV6_V6ONLY), 1);
}

Test(sock, listen_twice_fails_with_errno)
{
	struct sock_addr addr;
	int server = listen_somewhere("127.0.0.1", 8, &addr);

	errno = 0;
	cr_assert_lt(sock_listen(&addr, 8), 0);
	cr_assert_eq(errno, EADDRINUSE);
	close(server);
}

Test(sock, connect_refused)
{
	struct sock_addr addr;

	fd_close(listen_somewhere("127.0.0.1", 8, &addr));
	cr_assert_eq(sock_connect(&addr, 5000, -1), -ERR_CONNECT);
}

/* A listener whose queue is full does not answer. */
static int listen_deaf(struct sock_addr *addr_out, int fillers[4])
{
	int server = listen_somewhere("127.0.0.1", 0, addr_out);

	for (int i = 0; i < 4; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		int r = connect(
			fillers[i], (struct sockaddr *)&addr_out->ss, addr_out->len);
		cr_assert(r == 0 || errno == EINPROGRESS);
	}
	usleep(20000);
	return server;
}

Test(sock, connect_times_out)
{
	struct sock_addr addr;
	int fillers[4];
	int server = listen_deaf(&addr, fillers);
	int64_t start = clock_now_ms();

	cr_assert_eq(sock_connect(&addr, 200, -1), -ERR_TIMEOUT);
	cr_assert_geq(clock_now_ms() - start, 200);
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(server);
}

Test(sock, connect_is_interrupted, .timeout = 20)
{
	struct sock_addr addr;
	int fillers[4], stop[2];
	int server = listen_deaf(&addr, fillers);

	cr_assert_eq(pipe(stop), 0);
	cr_assert_eq(write(stop[1], "", 1), 1);
	cr_assert_eq(sock_connect(&addr, -1, stop[0]), -ERR_INTERRUPTED);
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(server);
	close(stop[0]);
	close(stop[1]);
}

static const struct {
	int timeout_ms, idle, interval, user_timeout;
} tunes[] = {
	{30000, 15, 5, 30000},
	{1000, 1, 1, 1000},
	{2000000000, 32767, 32767, 2000000000},
};

Test(sock, tune)
{
	for (size_t i = 0; i < ARRAY_LEN(tunes); i++) {
		FD_OWNED fd = socket(AF_INET, SOCK_STREAM, 0);

		sock_tune(fd, tunes[i].timeout_ms);
		cr_assert_eq(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
		cr_assert_eq(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
		cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), tunes[i].idle);
		cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), tunes[i].interval);
		cr_assert_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
		cr_assert_eq(
			option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), tunes[i].user_timeout);
	}
}

Test(sock, tune_without_timeout)
{
	FD_OWNED fd = socket(AF_INET, SOCK_STREAM, 0);

	sock_tune(fd, -1);
	cr_assert_eq(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	cr_assert_eq(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
}

/* What a datagram socket is connected to: no packet is sent. */
static bool is_within(const char *ours, const char *its)
{
	struct sock_addr from[1], to[1];
	int one = 1;
	FD_OWNED fd = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(sock_resolve(ours, 0, false, from, 1), 1);
	cr_assert_eq(sock_resolve(its, 9, false, to, 1), 1);
	cr_assert_eq(setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one)), 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&from->ss, from->len), 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&to->ss, to->len), 0);
	return sock_is_within(fd);
}

Test(sock, both_ends_on_this_machine)
{
	int local[2];
	cr_assert_not(sock_is_within(-1));
	cr_assert(is_within("127.0.0.1", "127.0.0.1"));
	cr_assert(is_within("127.0.0.1", "127.0.0.2"));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, local), 0);
	cr_assert(sock_is_within(local[0]));
	close(local[0]);
	close(local[1]);
}

static const struct {
	const char *one, *other;
	bool same;
} same_addresses[] = {
	{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false},
	{"2001:db8::1", "2001:db8::1", true}, {"2001:db8::1", "2001:db8::2", false},
	{"192.0.2.1", "::ffff:192.0.2.1", false}, /* never both on one connection */
};

Test(sock, one_address)
{
	for (size_t i = 0; i < ARRAY_LEN(same_addresses); i++) {
		struct sock_addr one, other;
		cr_assert_eq(sock_resolve(same_addresses[i].one, 1, false, &one, 1), 1);
		cr_assert_eq(
			sock_resolve(same_addresses[i].other, 2, false, &other, 1), 1);
		cr_assert_eq(sock_is_same_address(&one, &other), same_addresses[i].same,
			"row %zu", i);
	}
}
