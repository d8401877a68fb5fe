/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/landlock.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>

#include "base/err.h"
#include "os/beneath.h"
#include "os/fd.h"
#include "os/link.h"
#include "os/stage.h"
#include "os/walk.h"
#include "scratch.h"
#include "transfer/attr.h"

static struct scratch top; /* "in" is the place, "out" lies beside it */
static int in, out;
static int abi;

static void fill(int at)
{
	scratch_file(at, "file", "text");
	scratch_file(at, "program", "");
	cr_assert_eq(fchmodat(at, "program", 0755, 0), 0);
	scratch_mkdir(at, "dir");
	scratch_mkdir(at, "empty");
	scratch_link(at, "../out/file", "lead");
}

static void setup(void)
{
	abi = landlock_abi();
	if (abi == 0)
		cr_skip_test("this kernel has no Landlock");
	scratch_init(&top);
	scratch_mkdir(top.fd, "in");
	scratch_mkdir(top.fd, "out");
	in = openat(top.fd, "in", O_RDONLY | O_DIRECTORY);
	out = openat(top.fd, "out", O_RDONLY | O_DIRECTORY);
	fill(in);
	fill(out);
}

static void teardown(void)
{
	close(in);
	close(out);
	scratch_fini(&top);
}

TestSuite(landlock, .init = setup, .fini = teardown, .timeout = 60);

struct call {
	int (*fn)(void);
	int result;
};

static void *call_main(void *arg)
{
	struct call *call = arg;

	call->result = call->fn();
	return NULL;
}

static int on_thread(int (*fn)(void))
{
	struct call call = {.fn = fn};
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, call_main, &call), 0);
	pthread_join(thread, NULL);
	return call.result;
}

static void restrict_to(int fd, uint32_t access)
{
	struct landlock_place place = {.fd = fd, .access = access};

	cr_assert_eq(landlock_restrict(abi, &place, 1), 0);
}

/* -- Each kind of access -------------------------------------------------- */

static int opened(int fd)
{
	if (fd >= 0)
		close(fd);
	return fd;
}

static int read_file(int at)
{
	return opened(openat(at, "file", O_RDONLY));
}

static int read_dir(int at)
{
	return opened(openat(at, "dir", O_RDONLY | O_DIRECTORY));
}

static int read_self(int at)
{
	return opened(openat(at, ".", O_RDONLY | O_DIRECTORY));
}

static int write_file(int at)
{
	return opened(openat(at, "file", O_WRONLY));
}

static int truncate_file(int at)
{
	return opened(openat(at, "file", O_WRONLY | O_TRUNC));
}

/* By its name; no descriptor is opened for it. */
static int shorten_file(int at)
{
	char path[sizeof(top.path) + 16];

	snprintf(path, sizeof(path), "%s/%s/file", top.path, at == in ? "in" : "out");
	return truncate(path, 1);
}

static int create_file(int at)
{
	return opened(openat(at, "new", O_WRONLY | O_CREAT | O_EXCL, 0600));
}

static int create_unnamed(int at)
{
	return opened(openat(at, "dir", O_WRONLY | O_TMPFILE, 0600));
}

static int make_dir(int at)
{
	return mkdirat(at, "new", 0700);
}

static int make_link(int at)
{
	return symlinkat("file", at, "new");
}

static int rename_here(int at)
{
	return renameat(at, "file", at, "new");
}

static int rename_across(int at)
{
	return renameat(at, "file", at, "dir/new");
}

static int rename_over(int at)
{
	return renameat(at, "file", at, "program");
}

static int link_across(int at)
{
	return linkat(at, "file", at, "dir/new", 0);
}

static int remove_file(int at)
{
	return unlinkat(at, "file", 0);
}

static int remove_dir(int at)
{
	return unlinkat(at, "empty", AT_REMOVEDIR);
}

static int make_fifo(int at)
{
	return mkfifoat(at, "new", 0600);
}

static int make_device(int at)
{
	return mknodat(at, "new", S_IFCHR | 0600, 0x103);
}

static int make_block(int at)
{
	return mknodat(at, "new", S_IFBLK | 0600, 0x700);
}

static int make_socket(int at)
{
	return mknodat(at, "new", S_IFSOCK | 0600, 0);
}

/* An empty program cannot run, and what that says differs from a refusal. */
static int execute(int at)
{
	char *argv[] = {NULL}, *envp[] = {NULL};

	fexecve(openat(at, "program", O_PATH), argv, envp);
	return errno == ENOEXEC ? 0 : -1;
}

#define R  LANDLOCK_READ
#define W  LANDLOCK_WRITE
#define NO 4u /* no right is enough */

static const struct {
	const char *name;
	int (*fn)(int at);
	uint32_t needs;
} accesses[] = {
	{"read a file", read_file, R},
	{"list a directory", read_dir, R},
	{"list the place itself", read_self, R},
	{"write a file", write_file, W},
	{"empty a file", truncate_file, W},
	{"shorten a file", shorten_file, W},
	{"make a file", create_file, W},
	{"make a file without a name", create_unnamed, W},
	{"make a directory", make_dir, W},
	{"make a symbolic link", make_link, W},
	{"rename", rename_here, W},
	{"rename across directories", rename_across, W},
	{"rename over a file", rename_over, W},
	{"link across directories", link_across, W},
	{"remove a file", remove_file, W},
	{"remove a directory", remove_dir, W},
	{"make a fifo", make_fifo, NO},
	{"make a character device", make_device, NO},
	{"make a block device", make_block, NO},
	{"make a socket", make_socket, NO},
	{"execute", execute, NO},
};

static size_t row;       /* of accesses */
static uint32_t granted; /* below in */
static int where;        /* in or out */

/* 0 or the errno. */
static int try_row(void)
{
	if (granted != NO)
		restrict_to(in, granted);
	return accesses[row].fn(where) < 0 ? errno : 0;
}

static int try_afresh(size_t r, uint32_t rights, int *at)
{
	row = r;
	granted = rights;
	scratch_empty(dup(in));
	scratch_empty(dup(out));
	lseek(in, 0, SEEK_SET);
	lseek(out, 0, SEEK_SET);
	fill(in);
	fill(out);
	where = *at;
	return on_thread(try_row);
}

/* Whether the call would go through without Landlock: not everybody may make devices. */
static bool may_at_all(size_t r)
{
	return try_afresh(r, NO, &in) == 0;
}

Test(landlock, each_access_needs_its_right_and_lies_below)
{
	unsigned possible = 0;

	for (size_t r = 0; r < sizeof(accesses) / sizeof(*accesses); r++) {
		if (!may_at_all(r))
			continue;
		if (accesses[r].fn == shorten_file && abi < 3)
			continue;
		possible++;
		for (uint32_t rights = 0; rights <= (R | W); rights++) {
			bool enough = (accesses[r].needs & rights) == accesses[r].needs;
			int err = try_afresh(r, rights, &in);
			cr_expect_eq(err == 0, enough, "%s, rights %u: %s",
				accesses[r].name, rights, strerror(err));
			if (!enough)
				cr_expect(err == EACCES || err == EXDEV, "%s: %s",
					accesses[r].name, strerror(err));
			err = try_afresh(r, rights, &out);
			cr_expect(err == EACCES || err == EXDEV, "%s outside: %s",
				accesses[r].name, strerror(err));
		}
	}
	cr_expect_geq(possible, 16);
}

static int read_by_link(void)
{
	restrict_to(in, R | W);
	return openat(in, "lead", O_RDONLY) < 0 ? errno : 0;
}

Test(landlock, a_link_does_not_lead_out)
{
	FD_OWNED control = openat(in, "lead", O_RDONLY);
	cr_assert_geq(control, 0);
	cr_expect_eq(on_thread(read_by_link), EACCES);
}

static int carry_out(void)
{
	restrict_to(in, R | W);
	int moved = renameat(in, "file", out, "new") < 0 ? errno : 0;
	int linked = linkat(in, "file", out, "new", 0) < 0 ? errno : 0;
	int fetched = renameat(out, "file", in, "new") < 0 ? errno : 0;
	return moved && linked && fetched ? 0 : 1;
}

Test(landlock, nothing_is_moved_over_the_edge)
{
	cr_expect_eq(on_thread(carry_out), 0);
}

static int reach_other_place(void)
{
	struct landlock_place places[] = {
		{.fd = in, .access = R},
		{.fd = out, .access = W},
		{.fd = top.fd, .access = 0},
	};

	if (landlock_restrict(abi, places, 3) < 0)
		return -1;
	return read_file(in) >= 0 && write_file(in) < 0 && read_file(out) < 0 &&
			       write_file(out) >= 0 && read_self(top.fd) < 0
		       ? 0
		       : 1;
}

Test(landlock, places_have_rights_of_their_own)
{
	cr_expect_eq(on_thread(reach_other_place), 0);
}

/* -- Who is restricted ---------------------------------------------------- */

static int restrict_and_read(void)
{
	restrict_to(in, R);
	return read_file(out) < 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 1;
}

Test(landlock, only_this_thread)
{
	cr_expect_eq(on_thread(restrict_and_read), 0);
	cr_expect_geq(read_file(out), 0);
	cr_expect_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
}

static int read_out(void)
{
	return read_file(out) < 0 ? errno : 0;
}

static int restrict_and_start(void)
{
	restrict_to(in, R);
	return on_thread(read_out);
}

Test(landlock, new_threads_inherit)
{
	cr_expect_eq(on_thread(read_out), 0);
	cr_expect_eq(on_thread(restrict_and_start), EACCES);
}

static int restrict_twice(void)
{
	restrict_to(in, R);
	restrict_to(top.fd, R | W);
	return read_file(in) >= 0 && write_file(in) < 0 && read_file(out) < 0 ? 0 : 1;
}

Test(landlock, a_second_time_gives_nothing_back)
{
	cr_expect_eq(on_thread(restrict_twice), 0);
}

static int fail_and_read(void)
{
	struct landlock_place place = {.fd = in, .access = R};
	struct landlock_place wrong = {.fd = -1, .access = R};

	cr_expect_eq(landlock_restrict(0, &place, 1), -ERR_UNSUPPORTED);
	cr_expect_eq(landlock_restrict(1, &place, 1), -ERR_UNSUPPORTED);
	cr_expect_eq(landlock_restrict(abi, &wrong, 1), -ERR_UNSUPPORTED);
	return read_out();
}

Test(landlock, a_failure_is_said_and_changes_nothing)
{
	cr_expect_eq(on_thread(fail_and_read), 0);
}

/* Older kernels, as far as a newer one can play them. */
static int played;

static int restrict_as_played(void)
{
	struct landlock_place place = {.fd = in, .access = R | W};

	if (landlock_restrict(played, &place, 1) < 0)
		return -1;
	return read_file(in) >= 0 && write_file(in) >= 0 && rename_across(in) == 0 &&
			       read_file(out) < 0 && create_file(out) < 0
		       ? 0
		       : 1;
}

Test(landlock, every_abi)
{
	for (played = 2; played <= abi; played++) {
		cr_expect_eq(on_thread(restrict_as_played), 0, "ABI %d", played);
		renameat(in, "dir/new", in, "file");
	}
}

/* -- Not files ------------------------------------------------------------ */

static int bind_tcp(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	FD_OWNED fd = socket(AF_INET, SOCK_STREAM, 0);

	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 ? errno : 0;
}

static struct sockaddr_in listening_at;

static int connect_tcp(void)
{
	FD_OWNED fd = socket(AF_INET, SOCK_STREAM, 0);

	return connect(fd, (struct sockaddr *)&listening_at, sizeof(listening_at)) < 0
		       ? errno
		       : 0;
}

static int restrict_and_bind(void)
{
	restrict_to(in, R | W);
	return bind_tcp();
}

static int restrict_and_connect(void)
{
	restrict_to(in, R | W);
	return connect_tcp();
}

Test(landlock, no_new_tcp)
{
	socklen_t len = sizeof(listening_at);
	FD_OWNED fd = socket(AF_INET, SOCK_STREAM, 0);

	if (abi < 4)
		cr_skip_test("this kernel's Landlock does not know sockets");
	cr_assert_eq(listen(fd, 1), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&listening_at, &len), 0);
	cr_expect_eq(on_thread(bind_tcp), 0);
	cr_expect_eq(on_thread(restrict_and_bind), EACCES);
	cr_expect_eq(on_thread(connect_tcp), 0);
	cr_expect_eq(on_thread(restrict_and_connect), EACCES);
}

static struct sockaddr_un abstract = {.sun_family = AF_UNIX};
static socklen_t abstract_len;

static int connect_abstract(void)
{
	FD_OWNED fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return connect(fd, (struct sockaddr *)&abstract, abstract_len) < 0 ? errno : 0;
}

static int restrict_and_connect_abstract(void)
{
	restrict_to(in, R | W);
	return connect_abstract();
}

static pid_t other;

static int signal_other(void)
{
	return kill(other, 0) < 0 ? errno : 0;
}

static int restrict_and_signal(void)
{
	restrict_to(in, R | W);
	return signal_other();
}

Test(landlock, no_abstract_sockets_no_signals)
{
	FD_OWNED fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (abi < 6)
		cr_skip_test("this kernel's Landlock has no scopes");
	abstract_len = (socklen_t)offsetof(struct sockaddr_un, sun_path) +
		       (socklen_t)snprintf(abstract.sun_path + 1,
			       sizeof(abstract.sun_path) - 1, "sockd-%d", getpid()) +
		       1;
	cr_assert_eq(bind(fd, (struct sockaddr *)&abstract, abstract_len), 0);
	cr_assert_eq(listen(fd, 4), 0);
	cr_expect_eq(on_thread(connect_abstract), 0);
	cr_expect_eq(on_thread(restrict_and_connect_abstract), EPERM);
	other = getppid(); /* not of our domain */
	cr_expect_eq(on_thread(signal_other), 0);
	cr_expect_eq(on_thread(restrict_and_signal), EPERM);
}

static int command_device(void)
{
	FD_OWNED dev = open("/dev", O_RDONLY | O_DIRECTORY);

	if (played)
		restrict_to(dev, R);
	FD_OWNED zero = openat(dev, "zero", O_RDONLY);
	return ioctl(zero, 0x4711) < 0 ? errno : 0;
}

Test(landlock, devices_take_no_commands)
{
	if (abi < 5)
		cr_skip_test("this kernel's Landlock does not know ioctl");
	played = 0;
	cr_expect_eq(on_thread(command_device), ENOTTY);
	played = 1;
	cr_expect_eq(on_thread(command_device), EACCES);
}

/* -- What goes on --------------------------------------------------------- */

static int use_open_descriptors(void)
{
	FD_OWNED file = openat(out, "file", O_RDWR);
	FD_OWNED event = eventfd(0, EFD_CLOEXEC);
	char text[4];

	restrict_to(in, 0);
	return pread(file, text, 4, 0) == 4 && pwrite(file, "TEXT", 4, 0) == 4 &&
			       ftruncate(file, 2) == 0 && fsync(file) == 0 &&
			       eventfd_write(event, 1) == 0 &&
			       write(STDERR_FILENO, "", 0) == 0
		       ? 0
		       : 1;
}

Test(landlock, what_is_open_stays_usable)
{
	cr_expect_eq(on_thread(use_open_descriptors), 0);
}

static void put_one(struct stage_area *area, struct dir *parent)
{
	static const struct msg_time when = {.sec = 1};
	static const uint8_t key[STAGE_KEY_LEN] = {1};
	struct stage s = STAGE_NONE, link = STAGE_NONE;

	cr_assert_eq(stage_resume(area, parent, key, true, &s), 0);
	cr_assert_eq(fd_write_full(s.fd, "new", 3), 0);
	cr_assert_eq(fsync(s.fd), 0);
	stage_keep(&s);
	cr_assert_eq(stage_resume(area, parent, key, false, &s), 0);
	cr_assert_eq(ftruncate(s.fd, 2), 0);
	cr_assert_eq(attr_set(s.fd, 0640, &when), 0);
	cr_assert_eq(stage_publish(&s, parent->fd, "dir", false), -ERR_IS_DIR);
	cr_assert_eq(stage_publish(&s, parent->fd, "old", true), -ERR_EXISTS);
	cr_assert_eq(stage_publish(&s, parent->fd, "old", false), 0);
	cr_assert_eq(stage_link(area, parent, "../../file", &link), 0);
	cr_assert_eq(stage_publish(&link, parent->fd, "link", true), 0);
	cr_assert_eq(fsync(parent->fd), 0);
}

static void walk_all(void)
{
	char target[PATH_TARGET_MAX + 1];
	struct walk_entry e;
	struct walk *walk;
	int links = 0;

	cr_assert_eq(walk_new(&walk, in, "", true), 0);
	while (walk_next(walk, &e) > 0) {
		cr_expect_eq(e.error, 0, "%s", e.path);
		links += S_ISLNK(e.type) &&
			 link_read_inside(in, e.path, e.parent_fd, e.name, target) == 0;
	}
	walk_free(walk);
	cr_expect_eq(links, 1, "not the one that leads out");
}

/* What a connection's thread calls: daemon/put.c, get.c, list.c, tree.c. */
static int serve(void)
{
	struct stage_area area;
	struct dir_cache cache;
	struct dir *parent;
	struct statvfs fs;
	const char *leaf;

	restrict_to(in, R | W);
	cr_assert_eq(stage_area_init(&area, in), 0);
	dir_cache_init(&cache, in);
	cr_assert_eq(dir_cache_parent(&cache, "a/b/old", true, &parent, &leaf), 0);
	cr_assert_eq(dir_make(parent, in, "a/b/dir", 0755), 1);
	scratch_file(parent->fd, "old", "old");
	put_one(&area, parent);
	cr_assert_eq(link_check_target(in, parent->fd, "../../file"), 0);
	cr_assert_eq(link_check_target(in, parent->fd, "../../../file"), -ERR_ESCAPE);
	cr_assert_eq(fstatvfs(parent->fd, &fs), 0);
	cr_assert_eq(syncfs(parent->fd), 0);
	FD_OWNED file = dir_cache_open(&cache, "a/b/old", false);
	cr_assert_geq(file, 0);
	walk_all();
	cr_assert_eq(stage_sweep(in, 0, 0), 0);
	dir_put(parent);
	dir_cache_fini(&cache);
	stage_area_fini(&area);
	return 0;
}

Test(landlock, serving_goes_on)
{
	cr_expect_eq(on_thread(serve), 0);
	cr_expect_lt(faccessat(in, PATH_RESERVED, F_OK, 0), 0, "it was removed again");
}
