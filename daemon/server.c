/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/server_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "crypto/tls.h"
#include "daemon/accept.h"
#include "daemon/account.h"
#include "daemon/claim.h"
#include "daemon/guard.h"
#include "daemon/listen.h"
#include "daemon/log.h"
#include "daemon/registry.h"
#include "daemon/seccomp.h"
#include "daemon/state.h"
#include "daemon/sweep.h"
#include "daemon/systemd.h"
#include "daemon/table.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/landlock.h"
#include "os/thread.h"
#include "transfer/ring.h"

#define STATUS_FAILED 1
#define STATUS_CONFIG 2

/* How often the list of clients is looked at where the kernel does not tell of changes.
 */
#define LOOK_MS 2000

#define END_TIMEOUT_MS 5000 /* for threads to end after their sockets were shut down */

/* What a connection holds (socket, root), what it holds besides while it is at work (the
 * directory of stages, a stage, the target's directory, a batch), how many are thought to
 * be at work at a time, and the daemon's own. */
#define FDS_PER_CONN  2
#define FDS_AT_WORK   4
#define CONNS_AT_WORK 1024u
#define FDS_OWN       (32 + LISTEN_FD_MAX)

void server_conn_active(struct conn_slot *slot)
{
	slot_set_active(slot);
}

void server_conn_client(struct conn_slot *slot, struct client *client)
{
	slot_set_client(slot, client);
}

void server_conn_outcome(struct conn_slot *slot, enum outcome_of_conn outcome)
{
	slot_set_outcome(slot, outcome);
}

bool server_conn_is_revoked(const struct conn_slot *slot)
{
	return slot_is_revoked(slot);
}

void server_conn_busy(struct conn_slot *slot, bool busy)
{
	slot_set_busy(slot, busy);
}

void server_conn_closing(struct conn_slot *slot)
{
	slot_release(slot);
}

bool server_ring_pays(struct server *s, int fd, uint64_t bytes)
{
	/* For a small file not even the lock of the table. */
	return bytes >= RING_FILE_MIN &&
	       ring_pays(bytes, s->processors, table_transfers(&s->table), fd);
}

bool server_is_draining(const struct server *s)
{
	return atomic_load(&s->draining);
}

/* -- The start ----------------------------------------------------------- */

static int directory_open(const char *option, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		log_line(LOG_LEVEL_ERR, "cannot open --%s=%s: %s", option, path,
			strerror(errno));
	return fd;
}

/* Keys and the list of clients are not to be had by clients. */
static bool secrets_are_served(const struct config *config, int root_fd, int state_fd)
{
	char dir[PATH_MAX];
	FD_OWNED identity_fd = -1;

	if (config->identity) {
		snprintf(dir, sizeof(dir), "%s", config->identity);
		identity_fd = open(dirname(dir), O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (state_is_served(root_fd, state_fd))
		log_line(LOG_LEVEL_ERR,
			"--state-dir=%s lies in what is served: clients could read its "
			"key, or change who may do what; choose another",
			config->state_dir);
	else if (identity_fd >= 0 && state_is_served(root_fd, identity_fd))
		log_line(LOG_LEVEL_ERR,
			"--identity=%s lies in what is served: clients could read it; "
			"move it",
			config->identity);
	else
		return false;
	return true;
}

static int directories_open(const struct config *config, int *root_out, int *state_out)
{
	*root_out = directory_open("root", config->root);
	*state_out = *root_out < 0 ? -1 : state_open(config);
	if (*state_out < 0 || secrets_are_served(config, *root_out, *state_out))
		return -1;
	return 0;
}

int server_check(const struct config *config)
{
	FD_OWNED root_fd = -1;
	FD_OWNED state_fd = -1;

	struct registry *registry = NULL;

	if (directories_open(config, &root_fd, &state_fd) < 0 ||
		state_check(config, state_fd) < 0 ||
		registry_new(&registry, state_fd, config) < 0)
		return STATUS_CONFIG;
	registry_free(registry);
	printf("%s: the configuration is fine\n", config->file ? config->file : "sockd");
	return EXIT_SUCCESS;
}

static void descriptors_raise(const struct config *config)
{
	uint32_t most = config->max_connections;
	uint32_t at_work = most < CONNS_AT_WORK ? most : CONNS_AT_WORK;
	rlim_t needed = (rlim_t)most * FDS_PER_CONN + at_work * FDS_AT_WORK + FDS_OWN;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed)
		return;
	log_line(LOG_LEVEL_WARNING,
		"%u connections may need %llu descriptors, the limit is %llu: raise it "
		"(LimitNOFILE=), or lower --max-connections",
		config->max_connections, (unsigned long long)needed,
		(unsigned long long)limit.rlim_cur);
}

/* Blocked here, and so in all threads; the poll loop reads them. */
static int signals_open(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* What needs nothing but memory and descriptors. */
static int server_init(struct server *s)
{
	s->processors = thread_processors();
	int err = table_init(&s->table, s->config->max_connections);

	s->signal_fd = signals_open();
	s->drain_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->claims = claims_new();
	s->accounts = accounts_new();
	s->guard = guard_new();
	if (err < 0 || s->signal_fd < 0 || s->drain_fd < 0 || !s->claims ||
		!s->accounts || !s->guard) {
		log_line(LOG_LEVEL_ERR, "cannot start: %s", err_text(ERR_RESOURCE));
		return -ERR_RESOURCE;
	}
	return 0;
}

static int server_open_sweep(struct server *s)
{
	int64_t age_sec = s->config->partial_age_sec;
	int err = age_sec > 0 ? sweep_start(&s->sweep, s->root_fd, s->registry, age_sec)
			      : 0;

	if (err < 0)
		log_line(LOG_LEVEL_ERR, "cannot start a thread: %s", err_text(err));
	return err;
}

/* Who we are, and whom we know. */
static int server_open_identities(struct server *s)
{
	uint8_t fp[FINGERPRINT_LEN];
	int err = state_tls(s->config, s->state_fd, true, &s->tls, fp);

	if (err == 0)
		err = registry_new(&s->registry, s->state_fd, s->config);
	if (err < 0)
		return err;
	state_announce(fp);
	s->registry_version = registry_version(s->registry);
	guard_configure(s->guard, s->config->max_per_address, s->config->penalty_max_ms);
	return 0;
}

/* The layers below our own care.  Where the kernel has none we serve without, and say
 * so. */
static int server_confine(struct server *s)
{
	s->env.landlock_abi = landlock_abi();
	if (s->env.landlock_abi == 0)
		log_line(LOG_LEVEL_WARNING,
			"this kernel has no Landlock: connections are confined by path "
			"resolution alone");
	int err = seccomp_restrict();
	if (err == -ERR_UNSUPPORTED)
		log_line(LOG_LEVEL_WARNING, "system calls are not filtered: no seccomp");
	else if (err < 0)
		log_line(LOG_LEVEL_ERR, "cannot filter system calls: %s", err_text(err));
	return err == -ERR_UNSUPPORTED ? 0 : err;
}

/* 0 or the exit status. */
static int server_open(struct server *s)
{
	mode_t mask = umask(0);
	int err;

	umask(mask);

	descriptors_raise(s->config);
	if (server_init(s) < 0 ||
		directories_open(s->config, &s->root_fd, &s->state_fd) < 0 ||
		server_open_identities(s) < 0)
		return STATUS_FAILED;
	err = listeners_open(&s->listeners, s->config);
	if (err < 0)
		return err == -ERR_DENIED ? STATUS_CONFIG : STATUS_FAILED;
	s->env = (struct conn_env){
		.config = s->config,
		.tls = s->tls,
		.server = s,
		.claims = s->claims,
		.registry = s->registry,
		.accounts = s->accounts,
		.root_fd = s->root_fd,
		.state_fd = s->state_fd,
		.drain_fd = s->drain_fd,
		.umask = mask,
	};
	if (server_confine(s) < 0 || server_open_sweep(s) < 0)
		return STATUS_FAILED;
	acceptor_init(&s->acceptor, &s->table, s->guard, &s->env);
	return 0;
}

static void server_announce(struct server *s)
{
	listeners_announce(&s->listeners);
	systemd_beat_init(&s->beat, clock_now_ms());
	systemd_ready();
}

static void server_close(struct server *s)
{
	sweep_stop(s->sweep);
	acceptor_fini(&s->acceptor);
	listeners_close(&s->listeners);
	table_fini(&s->table);
	claims_free(s->claims);
	accounts_free(s->accounts);
	guard_free(s->guard);
	registry_free(s->registry);
	tls_context_free(s->tls);
	config_put(s->config);
	fd_close(s->drain_fd);
	fd_close(s->signal_fd);
	fd_close(s->state_fd);
	fd_close(s->root_fd);
}

/* -- The end ------------------------------------------------------------- */

static void server_set_phase(struct server *s, enum phase phase, int timeout_ms)
{
	s->phase = phase;
	s->phase_end_ms = clock_now_ms() + timeout_ms;
}

static void server_drain(struct server *s)
{
	listeners_close(&s->listeners);
	atomic_store(&s->draining, true);
	eventfd_write(s->drain_fd, 1);
	systemd_stopping();
	log_line(LOG_LEVEL_NOTICE, "stopping: %u connections, %u transfers",
		s->table.count, table_transfers(&s->table));
	server_set_phase(s, PHASE_DRAIN, s->config->drain_timeout_ms);
}

static void server_end(struct server *s)
{
	log_line(LOG_LEVEL_NOTICE, "closing %u connections", s->table.count);
	table_shutdown(&s->table);
	server_set_phase(s, PHASE_END, END_TIMEOUT_MS);
}

/* To the next phase: told to, or the time of this one is over. */
static void server_advance(struct server *s)
{
	switch (s->phase) {
	case PHASE_RUN:
		server_drain(s);
		break;
	case PHASE_DRAIN:
		server_end(s);
		break;
	case PHASE_END:
		log_line(LOG_LEVEL_ERR, "%u connections do not end: leaving them",
			s->table.count);
		_exit(STATUS_FAILED);
	}
}

/* -- While it runs --------------------------------------------------------- */

static void server_take_signal(struct server *s)
{
	struct signalfd_siginfo info;

	if (read(s->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
		server_reload(s);
	else if (s->phase != PHASE_END) /* that one is as fast as it gets */
		server_advance(s);
}

static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
	return a_ms < b_ms ? a_ms : b_ms;
}

/* How long to sleep when nothing happens. */
static int server_timeout(struct server *s, int64_t now_ms)
{
	int64_t wake_ms =
		earlier(s->phase_end_ms, systemd_beat(&s->beat, s->table.count,
						 table_transfers(&s->table), now_ms));

	if (s->acceptor.resume_ms > now_ms)
		wake_ms = earlier(wake_ms, s->acceptor.resume_ms);
	if (registry_watch_fd(s->registry) < 0)
		wake_ms = earlier(wake_ms, now_ms + LOOK_MS);
	return wake_ms == INT64_MAX ? -1 : clock_poll_ms(wake_ms, now_ms);
}

/* One turn: waits until something happens, and deals with it. */
static void server_turn(struct server *s)
{
	struct pollfd fds[3 + LISTEN_FD_MAX] = {
		{.fd = s->signal_fd, .events = POLLIN},
		{.fd = s->table.ended_fd, .events = POLLIN},
		{.fd = registry_watch_fd(s->registry), .events = POLLIN},
	};
	struct pollfd *listening = fds + 3;
	int64_t now_ms = clock_now_ms();
	bool paused = s->acceptor.resume_ms > now_ms;

	for (size_t i = 0; i < s->listeners.count; i++)
		listening[i] = (struct pollfd){
			.fd = paused ? -1 : s->listeners.fds[i],
			.events = POLLIN,
		};
	poll(fds, 3 + s->listeners.count, server_timeout(s, now_ms));
	if (fds[0].revents)
		server_take_signal(s);
	if (fds[1].revents)
		table_reap(&s->table);
	if (fds[2].revents || fds[2].fd < 0 || s->revise)
		server_look_at_clients(s);
	for (size_t i = 0; i < s->listeners.count; i++)
		if (listening[i].revents)
			acceptor_accept(&s->acceptor, listening[i].fd);
}

static void server_loop(struct server *s)
{
	while (s->phase == PHASE_RUN || s->table.count > 0) {
		server_turn(s);
		if (clock_now_ms() >= s->phase_end_ms && s->table.count > 0)
			server_advance(s);
	}
	log_line(LOG_LEVEL_NOTICE, "stopped");
}

int server_run(struct config *config)
{
	struct server s = {
		.config = config_get(config),
		.root_fd = -1,
		.state_fd = -1,
		.drain_fd = -1,
		.signal_fd = -1,
		.phase_end_ms = INT64_MAX,
		.acceptor = {.spare_fd = -1},
	};
	int status = server_open(&s);

	if (status == 0) {
		server_announce(&s);
		server_loop(&s);
	}
	server_close(&s);
	return status;
}
