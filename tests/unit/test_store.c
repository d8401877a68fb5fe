/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "os/store.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/err.h"
#include "os/fd.h"
#include "scratch.h"

#define NOBODY 65534
#define ROUNDS 200

static struct scratch top; /* a store: mode 0700 */
static char text[64];

static void setup(void)
{
	scratch_init(&top);
	umask(0);
}

static void teardown(void)
{
	scratch_fini(&top);
}

TestSuite(store, .init = setup, .fini = teardown, .timeout = 120);

static void need_root(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
}

static const char *path_of(const char *name)
{
	static char path[sizeof(top.path) + 64];

	snprintf(path, sizeof(path), "%s/%s", top.path, name);
	return path;
}

static int entries(void)
{
	int count = 0, fd = openat(top.fd, ".", O_RDONLY | O_DIRECTORY);
	DIR *dir = fdopendir(fd);

	cr_assert_not_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static struct stat stat_of(const char *name)
{
	struct stat st;

	cr_assert_eq(fstatat(top.fd, name, &st, AT_SYMLINK_NOFOLLOW), 0, "%s", name);
	return st;
}

static void assert_open(const char *name, bool make, int expected)
{
	FD_OWNED fd = store_open(path_of(name), make);

	cr_assert_eq(fd < 0 ? fd : 0, expected, "%s: %d", name, fd);
	if (fd >= 0)
		cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void assert_read(int dirfd, const char *name, int expected)
{
	char *bytes = NULL;
	size_t len = 0;

	cr_assert_eq(store_read(dirfd, name, &bytes, &len), expected, "%s", name);
	if (expected < 0)
		cr_assert_null(bytes);
	free(bytes);
}

/* -- Directories --------------------------------------------------------- */

Test(store, open_makes_what_is_missing_for_us_alone)
{
	static const char *const made[] = {"a", "a/b", "a/b/c"};

	assert_open("a/b/c", false, -ERR_NOT_FOUND);
	assert_open("a//b/./c/", true, 0);
	for (size_t i = 0; i < ARRAY_LEN(made); i++)
		cr_assert_eq(stat_of(made[i]).st_mode & 07777, 0700, "%s", made[i]);
	assert_open("a/b/c", true, 0);
	assert_open("a/b/c", false, 0);
	cr_assert_eq(entries(), 1);
	cr_assert_eq(fchdir(top.fd), 0);
	FD_OWNED fd = store_open("rel/ative", true);
	cr_assert_geq(fd, 0);
	cr_assert_eq(stat_of("rel/ative").st_mode & 07777, 0700);
}

/* systemd's /var/lib/sockd is a link to private/sockd. */
Test(store, open_goes_through_links)
{
	scratch_mkdir(top.fd, "private");
	scratch_link(top.fd, "private", "link");
	assert_open("link", false, 0);
	assert_open("link/deep", true, 0);
	cr_assert(S_ISDIR(stat_of("private/deep").st_mode));
	scratch_link(top.fd, "nowhere", "dangling");
	assert_open("dangling", true, -ERR_NOT_FOUND);
	assert_open("dangling/deep", true, -ERR_NOT_FOUND);
}

static const struct {
	mode_t mode;
	int expected;
} dir_modes[] = {
	{0700, 0},
	{0755, 0},
	{0711, 0},
	{0500, 0},
	{0720, -ERR_ACCESS},
	{0702, -ERR_ACCESS},
	{0770, -ERR_ACCESS},
	{01777, -ERR_ACCESS},
};

Test(store, open_refuses_what_others_could_write_to)
{
	scratch_mkdir(top.fd, "d");
	for (size_t i = 0; i < ARRAY_LEN(dir_modes); i++) {
		cr_assert_eq(fchmodat(top.fd, "d", dir_modes[i].mode, 0), 0);
		assert_open("d", false, dir_modes[i].expected);
		assert_open("d", true, dir_modes[i].expected);
	}
	cr_assert_eq(fchmodat(top.fd, "d", 0700, 0), 0);
}

Test(store, open_refuses_what_is_no_directory)
{
	char name[300];

	scratch_file(top.fd, "file", "");
	assert_open("file", true, -ERR_NOT_DIR);
	assert_open("file/d", true, -ERR_NOT_DIR);
	cr_assert_eq(mkfifoat(top.fd, "fifo", 0600), 0);
	assert_open("fifo", true, -ERR_NOT_DIR);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(store_open("", true), -ERR_NOT_FOUND);
	cr_assert_eq(fchdir(top.fd), 0);
	cr_assert_eq(store_open(name, true), -ERR_NAME_TOO_LONG);
}

/* By relative paths: others may not come into what the test's directory lies in. */
static void assert_open_here(const char *name, int expected)
{
	FD_OWNED fd = store_open(name, false);

	cr_assert_eq(fd < 0 ? fd : 0, expected, "%s: %d", name, fd);
}

Test(store, open_by_another_user)
{
	need_root();
	scratch_mkdir(top.fd, "roots");
	scratch_mkdir(top.fd, "theirs");
	cr_assert_eq(fchownat(top.fd, "theirs", NOBODY, NOBODY, 0), 0);
	cr_assert_eq(fchdir(top.fd), 0);
	assert_open_here("theirs", 0);
	cr_assert_eq(fchmod(top.fd, 0755), 0);
	cr_assert_eq(seteuid(NOBODY), 0);
	assert_open_here("theirs", 0);
	assert_open_here("roots", -ERR_ACCESS);
	cr_assert_eq(seteuid(0), 0);
}

/* -- Reading and writing ------------------------------------------------- */

static void put(const char *name, const char *bytes)
{
	cr_assert_eq(store_write(top.fd, name, bytes, strlen(bytes)), 0, "%s", name);
}

Test(store, read_gives_what_was_written)
{
	static const char bytes[] = "a\0b\n\0";
	char *got;
	size_t len;

	cr_assert_eq(store_write(top.fd, "f", bytes, sizeof(bytes)), 0);
	cr_assert_eq(stat_of("f").st_mode & 07777, 0600);
	cr_assert_eq(store_read(top.fd, "f", &got, &len), 0);
	cr_assert_eq(len, sizeof(bytes));
	cr_assert_eq(memcmp(got, bytes, len), 0);
	cr_assert_eq(got[len], '\0');
	free(got);
	put("f", "");
	cr_assert_eq(store_read(top.fd, "f", &got, &len), 0);
	cr_assert_eq(len, 0);
	cr_assert_eq(got[0], '\0');
	free(got);
	cr_assert_eq(entries(), 1, "nothing else is left");
	assert_read(top.fd, "absent", -ERR_NOT_FOUND);
}

Test(store, write_makes_a_new_file)
{
	put("f", "old");
	FD_OWNED reader = openat(top.fd, "f", O_RDONLY);
	cr_assert_eq(fchmodat(top.fd, "f", 0644, 0), 0);
	put("f", "new");
	cr_assert_eq(read(reader, text, sizeof(text)), 3);
	cr_assert_eq(memcmp(text, "old", 3), 0, "a reader goes on with the old one");
	cr_assert_str_eq(scratch_read(top.fd, "f", text), "new");
	cr_assert_eq(stat_of("f").st_mode & 07777, 0600);
}

Test(store, too_large_is_refused)
{
	char *bytes = calloc(1, STORE_FILE_MAX + 1);

	cr_assert_eq(store_write(top.fd, "f", bytes, STORE_FILE_MAX), 0);
	assert_read(top.fd, "f", 0);
	cr_assert_eq(store_write(top.fd, "f", bytes, STORE_FILE_MAX + 1), -ERR_TOO_LARGE);
	cr_assert_eq(stat_of("f").st_size, STORE_FILE_MAX);
	cr_assert_eq(truncate(path_of("f"), STORE_FILE_MAX + 1), 0);
	assert_read(top.fd, "f", -ERR_TOO_LARGE);
	free(bytes);
}

static const struct {
	mode_t mode;
	int expected, roots; /* of a user; of root:root */
} file_modes[] = {
	{0600, 0, 0},
	{0400, 0, 0},
	{0700, 0, 0},
	{0440, -ERR_ACCESS, 0}, /* a credential of systemd */
	{0640, -ERR_ACCESS, 0},
	{0620, -ERR_ACCESS, -ERR_ACCESS},
	{0660, -ERR_ACCESS, -ERR_ACCESS},
	{0610, -ERR_ACCESS, -ERR_ACCESS},
	{0604, -ERR_ACCESS, -ERR_ACCESS},
	{0602, -ERR_ACCESS, -ERR_ACCESS},
	{0601, -ERR_ACCESS, -ERR_ACCESS},
	{0644, -ERR_ACCESS, -ERR_ACCESS},
};

Test(store, read_refuses_what_others_could_read_or_write)
{
	bool root = geteuid() == 0;

	put("f", "secret");
	if (root)
		cr_assert_eq(fchownat(top.fd, "f", NOBODY, NOBODY, 0), 0);
	for (size_t i = 0; i < ARRAY_LEN(file_modes); i++) {
		cr_assert_eq(fchmodat(top.fd, "f", file_modes[i].mode, 0), 0);
		assert_read(top.fd, "f", file_modes[i].expected);
		assert_read(AT_FDCWD, path_of("f"), file_modes[i].expected);
	}
}

Test(store, read_lets_the_group_root_read_what_is_roots)
{
	need_root();
	put("f", "secret");
	for (size_t i = 0; i < ARRAY_LEN(file_modes); i++) {
		cr_assert_eq(fchmodat(top.fd, "f", file_modes[i].mode, 0), 0);
		assert_read(AT_FDCWD, path_of("f"), file_modes[i].roots);
	}
	cr_assert_eq(fchmodat(top.fd, "f", 0440, 0), 0);
	cr_assert_eq(fchownat(top.fd, "f", 0, NOBODY, 0), 0);
	assert_read(AT_FDCWD, path_of("f"), -ERR_ACCESS);
	cr_assert_eq(fchownat(top.fd, "f", NOBODY, 0, 0), 0);
	assert_read(AT_FDCWD, path_of("f"), -ERR_ACCESS);
}

/* With the rights of root on files and the identity of another: what the kernel would
 * let pass is refused by us. */
Test(store, read_refuses_the_files_of_third_parties)
{
	need_root();
	put("f", "secret");
	cr_assert_eq(fchownat(top.fd, "f", 1234, 1234, 0), 0);
	assert_read(top.fd, "f", 0);
	cr_assert_eq(seteuid(NOBODY), 0);
	setfsuid(0);
	assert_read(top.fd, "f", -ERR_ACCESS);
	cr_assert_eq(fchownat(top.fd, "f", NOBODY, 1234, 0), 0);
	assert_read(top.fd, "f", 0);
	cr_assert_eq(fchownat(top.fd, "f", 0, 0, 0), 0);
	assert_read(top.fd, "f", 0);
	cr_assert_eq(seteuid(0), 0);
}

/* -- What is no plain name of a plain file ------------------------------- */

Test(store, links_are_not_followed)
{
	scratch_mkdir(top.fd, "out");
	scratch_file(top.fd, "out/victim", "victim");
	cr_assert_eq(fchmodat(top.fd, "out/victim", 0600, 0), 0);
	scratch_link(top.fd, "out/victim", "f");
	scratch_link(top.fd, "out/victim", ".f.new");
	scratch_link(top.fd, "out/made", "dangling");
	scratch_link(top.fd, "out/victim", "lock");

	assert_read(top.fd, "f", -ERR_NOT_REGULAR);
	assert_read(top.fd, "dangling", -ERR_NOT_REGULAR);
	assert_read(AT_FDCWD, path_of("f"), 0);
	cr_assert_eq(store_lock(top.fd), -ERR_NOT_REGULAR);
	cr_assert_eq(store_create(top.fd, "dangling", "new", 3), -ERR_EXISTS);
	cr_assert_eq(store_create(top.fd, "f", "new", 3), -ERR_EXISTS);
	put("f", "new");
	cr_assert(S_ISREG(stat_of("f").st_mode));
	cr_assert_str_eq(scratch_read(top.fd, "f", text), "new");
	cr_assert_str_eq(scratch_read(top.fd, "out/victim", text), "victim");
	cr_assert_str_eq(scratch_read(top.fd, "out/made", text), "(absent)");
	cr_assert_eq(unlinkat(top.fd, "lock", 0), 0);
	scratch_link(top.fd, "out/made", "lock");
	cr_assert_eq(store_lock(top.fd), -ERR_NOT_REGULAR);
	cr_assert_str_eq(scratch_read(top.fd, "out/made", text), "(absent)");
}

Test(store, fifos_sockets_and_devices_are_refused_without_waiting)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "socket"};
	FD_OWNED sock = socket(AF_UNIX, SOCK_STREAM, 0);

	cr_assert_eq(fchdir(top.fd), 0);
	cr_assert_eq(bind(sock, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_assert_eq(mkfifo("fifo", 0600), 0);
	cr_assert_eq(mkfifo("lock", 0600), 0);
	scratch_mkdir(top.fd, "dir");
	assert_read(top.fd, "fifo", -ERR_NOT_REGULAR);
	assert_read(top.fd, "socket", -ERR_NOT_REGULAR);
	assert_read(top.fd, "dir", -ERR_IS_DIR);
	assert_read(AT_FDCWD, "fifo", -ERR_NOT_REGULAR);
	assert_read(AT_FDCWD, "/dev/zero", -ERR_NOT_REGULAR);
	cr_assert_eq(store_lock(top.fd), -ERR_NOT_REGULAR);
	cr_assert_eq(store_write(top.fd, "dir", "x", 1), -ERR_IS_DIR);
	cr_assert_eq(store_create(top.fd, "fifo", "x", 1), -ERR_EXISTS);
	cr_assert_eq(entries(), 4, "and nothing was left");
}

static const struct {
	const char *name;
	int expected;
} names[] = {
	{"", -ERR_BAD_NAME},
	{".", -ERR_BAD_NAME},
	{"..", -ERR_BAD_NAME},
	{"../f", -ERR_BAD_NAME},
	{"dir/f", -ERR_BAD_NAME},
	{"/f", -ERR_BAD_NAME},
	{"f/", -ERR_BAD_NAME},
};

Test(store, names_are_single_components)
{
	char name[300] = "";

	scratch_mkdir(top.fd, "dir");
	scratch_file(top.fd, "dir/f", "kept");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		int r = names[i].expected;
		assert_read(top.fd, names[i].name, r);
		cr_assert_eq(store_write(top.fd, names[i].name, "x", 1), r);
		cr_assert_eq(store_create(top.fd, names[i].name, "x", 1), r);
	}
	memset(name, 'x', 255);
	assert_read(top.fd, name, -ERR_NOT_FOUND);
	cr_assert_eq(store_write(top.fd, name, "x", 1), -ERR_NAME_TOO_LONG);
	name[250] = '\0';
	put(name, "fits");
	cr_assert_str_eq(scratch_read(top.fd, "dir/f", text), "kept");
	cr_assert_eq(entries(), 2);
}

/* -- Creating ------------------------------------------------------------ */

static void assert_create_once(void)
{
	cr_assert_eq(store_create(top.fd, "f", "first", 5), 0);
	cr_assert_eq(entries(), 1, "the temporary name is gone");
	cr_assert_eq(store_create(top.fd, "f", "second", 6), -ERR_EXISTS);
	cr_assert_str_eq(scratch_read(top.fd, "f", text), "first");
	struct stat st = stat_of("f");
	cr_assert_eq(st.st_mode & 07777, 0600);
	cr_assert_eq(st.st_nlink, 1);
	cr_assert_eq(entries(), 1);
}

Test(store, create_never_overwrites)
{
	assert_create_once();
}

/* As NFS does: it has no RENAME_NOREPLACE. */
Test(store, create_without_rename_noreplace)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
		BPF_STMT(
			BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RENAME_NOREPLACE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = ARRAY_LEN(code), .filter = code};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
	cr_assert_lt(renameat2(top.fd, "x", top.fd, "y", RENAME_NOREPLACE), 0);
	cr_assert_eq(errno, EINVAL);
	assert_create_once();
}

/* -- What breaks in the middle ------------------------------------------- */

Test(store, what_a_killed_writer_left_goes)
{
	put("f", "old");
	scratch_file(top.fd, ".f.new", "half of something that was longer");
	cr_assert_eq(fchmodat(top.fd, ".f.new", 0, 0), 0);
	put("f", "new");
	cr_assert_str_eq(scratch_read(top.fd, "f", text), "new");
	cr_assert_eq(entries(), 1);
	/* Between the link and the unlink of a create: the file's second name. */
	cr_assert_eq(linkat(top.fd, "f", top.fd, ".f.new", 0), 0);
	cr_assert_eq(store_create(top.fd, "f", "newer", 5), -ERR_EXISTS);
	cr_assert_str_eq(scratch_read(top.fd, "f", text), "new");
	cr_assert_eq(entries(), 1);
}

Test(store, a_write_that_fails_changes_nothing)
{
	char bytes[4096] = {0};
	struct rlimit small = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY};

	put("f", "old");
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	cr_assert_eq(store_write(top.fd, "f", bytes, sizeof(bytes)), -ERR_TOO_LARGE);
	cr_assert_eq(store_create(top.fd, "g", bytes, sizeof(bytes)), -ERR_TOO_LARGE);
	small.rlim_cur = RLIM_INFINITY;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	cr_assert_str_eq(scratch_read(top.fd, "f", text), "old");
	cr_assert_eq(entries(), 1);
}

/* LEN bytes that all are the same: a mix of two of them is seen. */
static void assert_whole(const char *name)
{
	char *bytes;
	size_t len;

	cr_assert_eq(store_read(top.fd, name, &bytes, &len), 0);
	cr_assert_eq(len % 10000, 0);
	cr_assert_neq(len, 0);
	for (size_t i = 1; i < len; i++)
		cr_assert_eq(bytes[i], bytes[0], "byte %zu of %zu", i, len);
	free(bytes);
}

/* Writes F for ever, in turns long and short; ends the process where that fails, and
 * with the test. */
static void write_on(char letter)
{
	static char bytes[30000];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(bytes, letter, sizeof(bytes));
	for (size_t i = 0;; i++)
		if (store_write(top.fd, "f", bytes, i % 2 ? 10000 : sizeof(bytes)) < 0)
			_exit(1);
}

Test(store, readers_see_one_of_the_writers_and_all_of_it)
{
	pid_t pids[4];

	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			write_on((char)('a' + i));
	}
	while (faccessat(top.fd, "f", F_OK, 0) < 0)
		usleep(1000);
	for (int i = 0; i < ROUNDS; i++) {
		assert_whole("f");
		usleep(1000);
	}
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		int status;
		kill(pids[i], SIGKILL);
		cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
		cr_assert(WIFSIGNALED(status), "a writer failed");
	}
	assert_whole("f");
	cr_assert_leq(entries(), 2);
	put("f", "after");
	cr_assert_eq(entries(), 1);
}

Test(store, a_killed_writer_leaves_a_whole_file)
{
	put("f", "0000000000"); /* of no length that is written */
	for (unsigned i = 0; i < 40; i++) {
		char *bytes;
		size_t len;
		pid_t pid = fork();
		if (pid == 0)
			write_on('x');
		usleep(200 * i);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		cr_assert_leq(entries(), 2);
		cr_assert_eq(store_read(top.fd, "f", &bytes, &len), 0);
		cr_assert(len == 10 || len == 10000 || len == 30000, "%zu", len);
		free(bytes);
	}
	put("f", "after");
	cr_assert_eq(entries(), 1);
}

static pthread_barrier_t barrier;

static void *create_thread(void *arg)
{
	const char *letter = arg;

	pthread_barrier_wait(&barrier);
	return (void *)(intptr_t)store_create(top.fd, "f", letter, 1);
}

/* Exactly one of them has made it, and it is that one's. */
Test(store, create_by_many_at_once)
{
	static char letters[] = "abcdefgh";
	pthread_t threads[8];

	cr_assert_eq(pthread_barrier_init(&barrier, NULL, 8), 0);
	for (int round = 0; round < ROUNDS / 4; round++) {
		char winner = '\0';
		for (size_t i = 0; i < 8; i++)
			pthread_create(&threads[i], NULL, create_thread, &letters[i]);
		for (size_t i = 0; i < 8; i++) {
			void *result;
			pthread_join(threads[i], &result);
			int r = (int)(intptr_t)result;
			cr_assert(r == -ERR_EXISTS || (r == 0 && !winner), "%d", r);
			if (r == 0)
				winner = letters[i];
		}
		cr_assert_eq(scratch_read(top.fd, "f", text)[0], winner);
		cr_assert_eq(entries(), 1);
		cr_assert_eq(unlinkat(top.fd, "f", 0), 0);
	}
	pthread_barrier_destroy(&barrier);
}

/* -- Locks --------------------------------------------------------------- */

static void *lock_thread(void *arg)
{
	FD_OWNED lock = store_lock(top.fd);

	cr_assert_geq(lock, 0);
	cr_assert_eq(write(*(const int *)arg, "x", 1), 1);
	return NULL;
}

static bool came(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	return poll(&p, 1, timeout_ms) == 1 && read(fd, &byte, 1) == 1;
}

Test(store, lock_holds_threads_and_processes_off)
{
	int pipe_fds[2];
	pthread_t thread;
	FD_OWNED lock = store_lock(top.fd);

	cr_assert_geq(lock, 0);
	cr_assert_eq(stat_of("lock").st_mode & 07777, 0600);
	cr_assert(fcntl(lock, F_GETFD) & FD_CLOEXEC);
	put("f", "written by whoever holds it");
	cr_assert_eq(pipe(pipe_fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		fd_close(lock); /* which fork has shared */
		lock_thread(&pipe_fds[1]);
		_exit(0);
	}
	cr_assert_eq(pthread_create(&thread, NULL, lock_thread, &pipe_fds[1]), 0);
	cr_assert_not(came(pipe_fds[0], 200));
	fd_close(fd_take(&lock));
	cr_assert(came(pipe_fds[0], 20000));
	cr_assert(came(pipe_fds[0], 20000));
	pthread_join(thread, NULL);
	waitpid(pid, NULL, 0);
}

/* -- Root in a directory of another -------------------------------------- */

Test(store, what_root_makes_belongs_to_the_directory)
{
	need_root();
	cr_assert_eq(fchown(top.fd, NOBODY, 1234), 0);
	FD_OWNED lock = store_lock(top.fd);
	cr_assert_geq(lock, 0);
	put("written", "x");
	cr_assert_eq(store_create(top.fd, "created", "x", 1), 0);
	static const char *const made[] = {"lock", "written", "created"};
	for (size_t i = 0; i < ARRAY_LEN(made); i++) {
		struct stat st = stat_of(made[i]);
		cr_assert_eq(st.st_uid, NOBODY, "%s", made[i]);
		cr_assert_eq(st.st_gid, 1234, "%s", made[i]);
		cr_assert_eq(st.st_mode & 07777, 0600, "%s", made[i]);
	}
	assert_read(top.fd, "written", 0);
}

/* Where the kernel lets users link to files of others (fs.protected_hardlinks). */
Test(store, root_gives_away_no_file_with_another_name)
{
	need_root();
	scratch_mkdir(top.fd, "theirs");
	scratch_file(top.fd, "shadow", "root's");
	cr_assert_eq(linkat(top.fd, "shadow", top.fd, "theirs/lock", 0), 0);
	cr_assert_eq(linkat(top.fd, "shadow", top.fd, "theirs/.f.new", 0), 0);
	cr_assert_eq(fchownat(top.fd, "theirs", NOBODY, NOBODY, 0), 0);
	FD_OWNED dir = store_open(path_of("theirs"), false);
	FD_OWNED lock = store_lock(dir);
	cr_assert_geq(lock, 0);
	cr_assert_eq(store_write(dir, "f", "x", 1), 0);
	cr_assert_eq(stat_of("shadow").st_uid, 0);
	cr_assert_str_eq(scratch_read(top.fd, "shadow", text), "root's");
}
