/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Preloaded into sockd (naive.py builds it): layers of its confinement are taken away, so
 * that it is seen what the others hold off, and that a test would find an escape.
 * $SOCKD_NAIVE is a list of words:
 *
 *	follow      paths are judged by their letters alone, and links are followed
 *	check       each part of a path is looked at, then the whole is opened
 *	through     the reserved directory may be a link
 *	by-hand     there is no openat2, as under systemd's RestrictSUIDSGID=
 *	unlocked    there is no Landlock
 *	unlockable  there is, but it cannot be used
 *	unfiltered  seccomp is said to be on, and is not
 *	owned       the request for the file "attack" runs what somebody would who runs
 *	            code of his own in a connection's thread; $SOCKD_OUTSIDE is a
 *	            directory that is none of the daemon's business
 *
 * However naive it is, nothing is opened by its name but below the directory
 *$SOCKD_FENCE: the machine that the test runs on is to survive it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long (*real_syscall)(long, ...);
static int (*real_seccomp_load)(void *);
static bool follow, check, through, by_hand, unlocked, unlockable, unfiltered, owned;

static const struct {
	const char *word;
	bool *set;
} words[] = {
	{"follow", &follow},
	{"check", &check},
	{"through", &through},
	{"by-hand", &by_hand},
	{"unlocked", &unlocked},
	{"unlockable", &unlockable},
	{"unfiltered", &unfiltered},
	{"owned", &owned},
};

__attribute__((constructor)) static void naive_init(void)
{
	char *given = strdup(getenv("SOCKD_NAIVE") ? getenv("SOCKD_NAIVE") : "");

	*(void **)&real_syscall = dlsym(RTLD_NEXT, "syscall");
	*(void **)&real_seccomp_load = dlsym(RTLD_NEXT, "seccomp_load");
	for (char *word = strtok(given, ","); word; word = strtok(NULL, ","))
		for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
			*words[i].set |= strcmp(word, words[i].word) == 0;
	free(given);
}

int seccomp_load(void *filter)
{
	return unfiltered ? 0 : real_seccomp_load(filter);
}

/* -- An attack ----------------------------------------------------------- */

static char path[4096];

static const char *outside(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", getenv("SOCKD_OUTSIDE"), name);
	return path;
}

static int read_file(void)
{
	return open(outside("canary"), O_RDONLY);
}

static int write_file(void)
{
	return open(outside("canary"), O_WRONLY);
}

static int make_file(void)
{
	return open(outside("made"), O_WRONLY | O_CREAT, 0600);
}

static int list_dir(void)
{
	return open(outside(""), O_RDONLY | O_DIRECTORY);
}

static int read_key(void)
{
	snprintf(path, sizeof(path), "%s/sockd/identity.pem", getenv("XDG_STATE_HOME"));
	return open(path, O_RDONLY);
}

static int write_memory(void)
{
	return open("/proc/self/mem", O_RDWR);
}

static int change_mode(void)
{
	return chmod(outside("canary"), 0600);
}

static int change_owner(void)
{
	return chown(outside("canary"), getuid(), getgid());
}

static int run_program(void)
{
	char *const arguments[] = {NULL};
	int r = execve("/nowhere", arguments, arguments);

	return errno == ENOENT ? 0 : r;
}

static int start_process(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	return child < 0 ? -1 : waitpid(child, NULL, 0) < 0;
}

static int call_home(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int read_parent(void)
{
	long r = ptrace(PTRACE_PEEKDATA, getppid(), NULL, NULL);

	return r < 0 && errno == ESRCH ? 0 : (int)r; /* it is not traced */
}

static int make_code(void)
{
	void *at = mmap(
		NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? -1 : 0;
}

static int signal_parent(void)
{
	return kill(getppid(), 0);
}

static const struct {
	const char *name;
	int (*fn)(void);
} attacks[] = {
	{"read a file", read_file},
	{"write a file", write_file},
	{"make a file", make_file},
	{"list a directory", list_dir},
	{"read the key", read_key},
	{"write its memory", write_memory},
	{"change a mode", change_mode},
	{"change an owner", change_owner},
	{"run a program", run_program},
	{"start a process", start_process},
	{"call home", call_home},
	{"read the parent's memory", read_parent},
	{"make code", make_code},
	{"signal the parent", signal_parent},
};

static void attack(void)
{
	for (size_t i = 0; i < sizeof(attacks) / sizeof(*attacks); i++) {
		int r = attacks[i].fn();
		dprintf(STDERR_FILENO, "attack: %s: %s\n", attacks[i].name,
			r < 0 ? strerrorname_np(errno) : "done");
	}
}

/* -- Paths --------------------------------------------------------------- */

static bool has_link(int dir, const char *name)
{
	char part[4096];
	struct stat st;

	for (size_t len = strcspn(name, "/");; len += 1 + strcspn(name + len + 1, "/")) {
		if (len >= sizeof(part))
			return true;
		memcpy(part, name, len);
		part[len] = '\0';
		if (fstatat(dir, part, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISLNK(st.st_mode))
			return true;
		if (!name[len])
			return false;
	}
}

static bool climbs(const char *name)
{
	return *name == '/' || strcmp(name, "..") == 0 || strncmp(name, "../", 3) == 0 ||
	       strstr(name, "/../");
}

static bool is_fenced(int dir, const char *name, int flags)
{
	const char *fence = getenv("SOCKD_FENCE");
	char link[64], where[4096];
	int fd = openat(dir, name, O_PATH | (flags & O_NOFOLLOW));

	if (fd < 0)
		return errno != EXDEV; /* there is nothing to be reached */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, where, sizeof(where) - 1);
	close(fd);
	where[len < 0 ? 0 : len] = '\0';
	size_t top = fence ? strlen(fence) : 0;
	return top > 1 && strncmp(where, fence, top) == 0 &&
	       (where[top] == '/' || where[top] == '\0');
}

static int open_naively(int dir, const char *name, const struct open_how *how)
{
	if (climbs(name) || (check && has_link(dir, name)) ||
		!is_fenced(dir, name, (int)how->flags)) {
		errno = EXDEV;
		return -1;
	}
	/* Whoever is to come between the look and the opening can. */
	if (check)
		usleep(20);
	return openat(dir, name, (int)how->flags, (mode_t)how->mode);
}

int openat64(int dir, const char *name, int flags, ...)
{
	va_list list;

	va_start(list, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
	va_end(list);
	if (through && strcmp(name, ".sockd-partial") == 0)
		flags &= ~O_NOFOLLOW;
	return openat(dir, name, flags, mode);
}

static int fail(int errnum)
{
	errno = errnum;
	return -1;
}

long syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_openat2 && owned && strcmp((const char *)a[1], "attack") == 0)
		attack();
	if (number == SYS_openat2 && by_hand)
		return fail(ENOSYS);
	if (number == SYS_openat2 && (follow || check))
		return open_naively(
			(int)a[0], (const char *)a[1], (const struct open_how *)a[2]);
	if (number == SYS_landlock_create_ruleset && unlocked)
		return fail(EOPNOTSUPP);
	if (number == SYS_landlock_restrict_self && unlockable)
		return fail(EPERM);
	return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
