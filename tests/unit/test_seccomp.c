/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/seccomp.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/err.h"
#include "daemon/log.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/landlock.h"
#include "os/stage.h"
#include "os/store.h"
#include "os/walk.h"
#include "scratch.h"

#ifndef __has_feature /* clang's; gcc has the __SANITIZE_ macros */
#define __has_feature(x) 0
#endif

static struct scratch top;

static void setup(void)
{
	scratch_init(&top);
}

static void teardown(void)
{
	scratch_fini(&top);
}

TestSuite(seccomp, .init = setup, .fini = teardown, .timeout = 60);

/* A child does what is to be tested: Criterion's own way of telling results would not
 * survive the filter.  What fails stands on stderr. */
static unsigned failures;

#define CHECK(condition) check_at((condition), #condition, __LINE__)

static void check_at(bool holds, const char *what, int line)
{
	if (holds)
		return;
	failures++;
	fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, line, what, strerror(errno));
}

/* The status of a child that calls FN. */
static int run_in_child(void (*fn)(void))
{
	int status = 0;
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		fn();
		_exit(failures > 0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

/* Not by what seccomp_restrict says: a filter that is wrong is not skipped. */
static void skip_unless_supported(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                     \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	cr_expect_eq(seccomp_restrict(), -ERR_UNSUPPORTED);
	cr_skip_test("a sanitizer does not let us");
#endif
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
		cr_skip_test("this kernel has no seccomp");
}

static void (*restricted_fn)(void);

static void restrict_and_call(void)
{
	CHECK(seccomp_restrict() == 0);
	restricted_fn();
}

static void expect_under_filter(void (*fn)(void))
{
	skip_unless_supported();
	restricted_fn = fn;
	cr_expect_eq(run_in_child(restrict_and_call), 0);
}

/* -- What is refused ------------------------------------------------------ */

static char *const nothing[] = {NULL};
static _Alignas(4096) char page[4096];

static int64_t start_program(void)
{
	return execve("/nowhere", nothing, nothing);
}

static int64_t start_program_at(void)
{
	return syscall(SYS_execveat, top.fd, "", nothing, nothing, AT_EMPTY_PATH);
}

static int64_t trace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static int64_t use_tcp(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int64_t use_tcp6(void)
{
	return socket(AF_INET6, SOCK_STREAM, 0);
}

static int64_t use_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int64_t use_packets(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

/* The upper half of the register is not the kernel's. */
static int64_t use_tcp_hidden(void)
{
	return syscall(SYS_socket, INT64_C(0x100000000) | AF_INET, SOCK_STREAM, 0);
}

static int64_t connect_somewhere(void)
{
	struct sockaddr_un nowhere = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};

	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&nowhere,
		sizeof(nowhere));
}

static int64_t listen_anew(void)
{
	return listen(socket(AF_UNIX, SOCK_STREAM, 0), 1);
}

static int64_t mount_something(void)
{
	return mount("none", "/", NULL, MS_REMOUNT | MS_BIND, NULL);
}

static int64_t unmount(void)
{
	return umount2("/nowhere", MNT_DETACH);
}

static int64_t change_root(void)
{
	return chroot("/nowhere");
}

static int64_t change_dir(void)
{
	return chdir("/nowhere");
}

static int64_t load_bpf(void)
{
	return syscall(SYS_bpf, -1, NULL, 0);
}

static int64_t load_module(void)
{
	return syscall(SYS_finit_module, -1, "", 0);
}

static int64_t load_kernel(void)
{
	return syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static int64_t open_by_handle(void)
{
	return syscall(SYS_open_by_handle_at, AT_FDCWD, page, O_RDONLY);
}

static int64_t read_other_memory(void)
{
	struct iovec own = {page, 1}, other = {page, 1};

	return process_vm_readv(getppid(), &own, 1, &other, 1, 0);
}

static int64_t become_root(void)
{
	return setuid(0);
}

static int64_t become_group(void)
{
	return setgid(0);
}

static int64_t make_code_of_data(void)
{
	return mprotect(page, sizeof(page), PROT_READ | PROT_WRITE | PROT_EXEC);
}

static int64_t make_code(void)
{
	return mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static int64_t make_process(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	return child;
}

static int64_t enter_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static int64_t thread_in_namespace(void)
{
	return syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWNS,
		NULL, NULL, NULL, NULL);
}

static int64_t kill_other(void)
{
	return kill(getppid(), 0);
}

static int64_t kill_other_thread(void)
{
	return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static int64_t dump(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int64_t filter_again(void)
{
	return prctl(PR_SET_SECCOMP, 2, NULL, 0, 0);
}

static int64_t limit_other(void)
{
	struct rlimit limit;

	return prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit);
}

static int64_t use_keys(void)
{
	return syscall(SYS_keyctl, 0, -4, 0);
}

static int64_t ring(void)
{
	return syscall(SYS_io_uring_setup, 1, page);
}

static int64_t watch_faults(void)
{
	return syscall(SYS_userfaultfd, 0);
}

static int64_t watch_events(void)
{
	return syscall(SYS_perf_event_open, page, 0, -1, -1, 0);
}

static int64_t make_device(void)
{
	return mknodat(top.fd, "device", S_IFCHR | 0600, 0x103);
}

static int64_t command(void)
{
	return syscall(SYS_ioctl, top.fd, 0, 0);
}

static int64_t emulate(void)
{
	return personality(READ_IMPLIES_EXEC);
}

static int64_t set_attribute(void)
{
	return syscall(SYS_setxattr, "/nowhere", "user.x", "", 0, 0);
}

static int64_t set_time(void)
{
	return syscall(SYS_clock_settime, CLOCK_REALTIME, NULL);
}

static int64_t write_code_into_memory(void)
{
	return syscall(SYS_memfd_create, "code", 0);
}

#define REFUSED(fn)                                                                      \
	{                                                                                \
#fn, fn                                                                  \
	}

static const struct {
	const char *name;
	int64_t (*fn)(void);
} refused[] = {
	REFUSED(start_program),
	REFUSED(start_program_at),
	REFUSED(trace),
	REFUSED(use_tcp),
	REFUSED(use_tcp6),
	REFUSED(use_netlink),
	REFUSED(use_packets),
	REFUSED(use_tcp_hidden),
	REFUSED(connect_somewhere),
	REFUSED(listen_anew),
	REFUSED(mount_something),
	REFUSED(unmount),
	REFUSED(change_root),
	REFUSED(change_dir),
	REFUSED(load_bpf),
	REFUSED(load_module),
	REFUSED(load_kernel),
	REFUSED(open_by_handle),
	REFUSED(read_other_memory),
	REFUSED(become_root),
	REFUSED(become_group),
	REFUSED(make_code_of_data),
	REFUSED(make_code),
	REFUSED(make_process),
	REFUSED(enter_namespace),
	REFUSED(thread_in_namespace),
	REFUSED(kill_other),
	REFUSED(kill_other_thread),
	REFUSED(dump),
	REFUSED(filter_again),
	REFUSED(limit_other),
	REFUSED(use_keys),
	REFUSED(ring),
	REFUSED(watch_faults),
	REFUSED(watch_events),
	REFUSED(make_device),
	REFUSED(command),
	REFUSED(emulate),
	REFUSED(set_attribute),
	REFUSED(set_time),
	REFUSED(write_code_into_memory),
};

static void check_refused(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		errno = 0;
		int64_t r = refused[i].fn();
		check_at(r == -1 && errno == EPERM, refused[i].name, __LINE__);
	}
}

static void *check_on_thread(void *unused)
{
	(void)unused;
	check_refused();
	return NULL;
}

static void check_refused_everywhere(void)
{
	pthread_t thread;

	check_refused();
	CHECK(pthread_create(&thread, NULL, check_on_thread, NULL) == 0);
	pthread_join(thread, NULL);
}

Test(seccomp, everything_else_is_refused)
{
	expect_under_filter(check_refused_everywhere);
}

/* The same calls do something else without the filter: what is tested above is it. */
Test(seccomp, control_nothing_is_refused_before)
{
	cr_expect_geq(use_tcp(), 0);
	cr_expect_eq(make_code_of_data(), 0);
	cr_expect_gt(make_process(), 0);
	cr_expect_eq(kill_other(), 0);
	cr_expect_eq(limit_other(), 0);
	cr_expect(start_program_at() == -1 && errno == EACCES);
	cr_expect(load_bpf() == -1 && errno != ENOSYS);
	cr_expect(change_dir() == -1 && errno == ENOENT);
	cr_expect(command() == -1 && errno == ENOTTY);
}

static pthread_barrier_t restricted;

static void *wait_and_check(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&restricted);
	check_refused();
	return NULL;
}

static void start_then_restrict(void)
{
	pthread_t thread;

	pthread_barrier_init(&restricted, NULL, 2);
	CHECK(pthread_create(&thread, NULL, wait_and_check, NULL) == 0);
	CHECK(seccomp_restrict() == 0);
	pthread_barrier_wait(&restricted);
	pthread_join(thread, NULL);
}

Test(seccomp, older_threads_too)
{
	skip_unless_supported();
	cr_expect_eq(run_in_child(start_then_restrict), 0);
}

/* -- What goes on --------------------------------------------------------- */

static void *count(void *counter)
{
	++*(int *)counter;
	CHECK(pthread_setname_np(pthread_self(), "counter") == 0);
	return NULL;
}

static void start_threads(void)
{
	pthread_attr_t attr;
	int counter = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	for (int i = 0; i < 100; i++) {
		pthread_t thread;
		CHECK(pthread_create(&thread, &attr, count, &counter) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	CHECK(counter == 100);
}

Test(seccomp, threads)
{
	expect_under_filter(start_threads);
}

static void restrict_and_abort(void)
{
	CHECK(seccomp_restrict() == 0);
	abort();
}

Test(seccomp, abort_ends_the_program)
{
	skip_unless_supported();
	int status = run_in_child(restrict_and_abort);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%d", status);
}

static void stage_one(struct stage *s)
{
	CHECK(fd_write_full(s->fd, "new", 3) == 0);
	CHECK(ftruncate(s->fd, 2) == 0);
	CHECK(fchmod(s->fd, 0600) == 0);
	CHECK(futimens(s->fd, NULL) == 0);
	CHECK(sync_file_range(s->fd, 0, 2, SYNC_FILE_RANGE_WRITE) == 0);
	CHECK(posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL) == 0);
	CHECK(fsync(s->fd) == 0);
}

static void put_one(void)
{
	static const uint8_t key[STAGE_KEY_LEN] = {1};
	struct stage_area area;
	struct dir_cache cache;
	struct dir *parent;
	struct stage s = STAGE_NONE;
	const char *leaf;

	CHECK(stage_area_init(&area, top.fd) == 0);
	dir_cache_init(&cache, top.fd);
	CHECK(dir_cache_parent(&cache, "a/b/file", true, &parent, &leaf) == 0);
	CHECK(stage_resume(&area, parent, key, true, &s) == 0);
	stage_one(&s);
	CHECK(stage_publish(&s, parent->fd, "file", true) == 0);
	CHECK(stage_link(&area, parent, "file", &s) == 0);
	CHECK(stage_publish(&s, parent->fd, "link", false) == 0);
	CHECK(syncfs(parent->fd) == 0);
	dir_put(parent);
	dir_cache_fini(&cache);
	stage_area_fini(&area);
}

static void look_around(void)
{
	struct walk_entry e;
	struct statvfs fs;
	struct walk *walk;
	int entries = 0;

	CHECK(walk_new(&walk, top.fd, "", true) == 0);
	while (walk_next(walk, &e) > 0)
		entries += e.error == 0;
	walk_free(walk);
	CHECK(entries >= 4);
	CHECK(fstatvfs(top.fd, &fs) == 0);
	CHECK(stage_sweep(top.fd, 0, 0) >= -ERR_NOT_FOUND);
}

static void keep_secrets(void)
{
	char *text = NULL;
	size_t len;
	FD_OWNED store = store_open(top.path, false);
	FD_OWNED lock = store_lock(store);

	CHECK(store >= 0 && lock >= 0);
	CHECK(store_create(store, "identity", "secret", 6) == 0);
	CHECK(store_write(store, "identity", "other", 5) == 0);
	CHECK(store_read(store, "identity", &text, &len) == 0);
	free(text);
}

/* As libinih does it. */
static void read_config(void)
{
	char line[80];
	FILE *config = fopen("/proc/self/status", "r");

	CHECK(config && fgets(line, sizeof(line), config));
	if (config)
		fclose(config);
}

static void use_files(void)
{
	put_one();
	look_around();
	keep_secrets();
	read_config();
}

Test(seccomp, files)
{
	expect_under_filter(use_files);
}

static void look_for_new_ways(void)
{
	struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};

	CHECK(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
	CHECK(syscall(SYS_openat2, top.fd, ".", &how, sizeof(how)) >= 0);
}

Test(seccomp, libc_finds_its_old_ways)
{
	expect_under_filter(look_for_new_ways);
}

/* Under a name that the kernel makes up, without a file. */
static int bound_socket(int type, struct sockaddr_un *at_out, socklen_t *len_out)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	*at_out = (struct sockaddr_un){.sun_family = AF_UNIX};
	*len_out = sizeof(*at_out);
	cr_assert_eq(bind(fd, (struct sockaddr *)at_out, sizeof(at_out->sun_family)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)at_out, len_out), 0);
	return fd;
}

static int listener, caller;

static void *accept_one(void *unused)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};

	(void)unused;
	CHECK(poll(&ready, 1, -1) == 1);
	int peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CHECK(send(peer, "hello", 5, MSG_NOSIGNAL) == 5);
	CHECK(shutdown(peer, SHUT_WR) == 0);
	close(peer);
	return NULL;
}

static void serve_one(void)
{
	char text[8];
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, accept_one, NULL) == 0);
	CHECK(recv(caller, text, 5, MSG_WAITALL) == 5);
	pthread_join(thread, NULL);
}

Test(seccomp, sockets)
{
	struct sockaddr_un at;
	socklen_t len;

	listener = bound_socket(SOCK_STREAM, &at, &len);
	caller = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(connect(caller, (struct sockaddr *)&at, len), 0);
	expect_under_filter(serve_one);
}

static struct sockaddr_un manager;
static socklen_t manager_len;

/* As sd_notify(3) does it. */
static void notify(void)
{
	struct iovec part = {.iov_base = (char[]){"READY=1"}, .iov_len = 7};
	struct msghdr message = {
		.msg_name = &manager,
		.msg_namelen = manager_len,
		.msg_iov = &part,
		.msg_iovlen = 1,
	};
	FD_OWNED fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CHECK(sendmsg(fd, &message, MSG_NOSIGNAL) == 7);
}

Test(seccomp, a_message_to_systemd)
{
	char text[8];
	int fd = bound_socket(SOCK_DGRAM, &manager, &manager_len);

	expect_under_filter(notify);
	cr_expect_eq(recv(fd, text, sizeof(text), MSG_DONTWAIT), 7);
	close(fd);
}

static void wait_for_things(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	FD_OWNED signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	FD_OWNED event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	FD_OWNED notes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
		{.fd = event, .events = POLLIN}, {.fd = notes, .events = POLLIN}};
	CHECK(inotify_add_watch(notes, top.path, IN_CREATE) == 1);
	CHECK(mkdirat(top.fd, "new", 0700) == 0);
	CHECK(eventfd_write(event, 1) == 0);
	CHECK(poll(fds, 3, 1000) == 2);
}

static void ask_the_kernel(void)
{
	struct rlimit limit;
	uint8_t random[16];

	log_init();
	log_line(LOG_LEVEL_INFO, "this line is part of a test");
	CHECK(random_bytes(random, sizeof(random)) == 0);
	CHECK(clock_now_ms() > 0);
	CHECK(time(NULL) > 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(umask(umask(0)) == 0);
}

Test(seccomp, waiting_time_chance_and_logs)
{
	expect_under_filter(wait_for_things);
	expect_under_filter(ask_the_kernel);
}

static void *lock_thread(void *unused)
{
	struct landlock_place place = {.fd = top.fd, .access = LANDLOCK_READ};

	(void)unused;
	CHECK(landlock_restrict(landlock_abi(), &place, 1) == 0);
	CHECK(openat(AT_FDCWD, "/", O_RDONLY) < 0);
	return NULL;
}

static void lock_a_thread(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, lock_thread, NULL) == 0);
	pthread_join(thread, NULL);
}

Test(seccomp, landlock_works_behind_it)
{
	if (landlock_abi() == 0)
		cr_skip_test("this kernel has no Landlock");
	expect_under_filter(lock_a_thread);
}
