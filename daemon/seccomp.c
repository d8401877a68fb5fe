/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/seccomp.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

#ifndef __has_feature /* clang's; gcc has the __SANITIZE_ macros */
#define __has_feature(x) 0
#endif
/* These map their shadow while the program runs, and symbolize a report by a process of
 * their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                     \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* clone(2): "on the cris and s390 architectures the order is reversed". */
#ifdef __s390__
#define CLONE_FLAGS_ARG 1
#else
#define CLONE_FLAGS_ARG 0
#endif

#define NAMESPACES                                                                       \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |   \
		CLONE_NEWPID | CLONE_NEWNET)
/* Of an argument that is an int; what is in the other half means nothing. */
#define LOW_HALF UINT32_MAX

/*
 * What is called here, by libc and by OpenSSL, and what other architectures and newer
 * versions of libc take for the same.  A name that an architecture does not have costs
 * nothing.
 */
static const char *const allowed[] = {
	/* descriptors */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "_llseek",
	"close", "close_range", "dup", "dup2", "dup3", "fcntl", "fcntl64", "flock",
	"poll", "ppoll", "ppoll_time64", "eventfd2", "signalfd4", "inotify_init1",
	"inotify_add_watch", "inotify_rm_watch",
	/* files: what may be touched is lib/os/beneath's matter, and Landlock's */
	"open", "openat", "openat2", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir",
	"rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat",
	"readlink", "readlinkat", "getdents64", "ftruncate", "ftruncate64", "fallocate",
	"fchmod", "fchown", "fchown32", "utimensat", "utimensat_time64", "access",
	"faccessat", "faccessat2", "stat", "stat64", "lstat", "lstat64", "fstat",
	"fstat64", "newfstatat", "fstatat64", "statx", "fstatfs", "fstatfs64",
	"fadvise64", "fadvise64_64", "arm_fadvise64_64", "fsync", "fdatasync", "syncfs",
	"sync_file_range", "sync_file_range2",
	/* sockets: those that listen were opened before */
	"accept", "accept4", "getsockname", "getpeername", "getsockopt", "setsockopt",
	"shutdown", "recv", "recvfrom", "recvmsg", "send", "sendto", "sendmsg",
	/* memory */
	"brk", "munmap", "mremap", "madvise",
	/* threads and signals */
	"futex", "futex_time64", "set_robust_list", "rseq", "membarrier", "gettid",
	"getpid", "sched_yield", "sched_getaffinity", "rt_sigaction", "rt_sigprocmask",
	"rt_sigreturn", "sigreturn", "restart_syscall", "exit", "exit_group",
	/* time and chance */
	"clock_gettime", "clock_gettime64", "clock_getres", "clock_getres_time64",
	"clock_nanosleep", "clock_nanosleep_time64", "nanosleep", "gettimeofday", "time",
	"getrandom",
	/* who and where we are */
	"getuid", "getuid32", "geteuid", "geteuid32", "getgid", "getgid32", "getegid",
	"getegid32", "getcwd", "umask", "sysinfo", "uname", "getrlimit", "ugetrlimit",
	"setrlimit",
	/* less than this */
	"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"};

/* Allowed when ARGUMENT & MASK is VALUE; any of the rows of a call will do. */
static const struct {
	const char *name;
	unsigned argument;
	uint64_t mask;
	uint64_t value;
} conditions[] = {
	/* A thread, not a process, and in the namespaces that we are in. */
	{"clone", CLONE_FLAGS_ARG, CLONE_THREAD | NAMESPACES, CLONE_THREAD},
	{"mmap", 2, PROT_EXEC, 0},
	{"mmap2", 2, PROT_EXEC, 0},
	{"mprotect", 2, PROT_EXEC, 0},
	/* Of ourselves. */
	{"prlimit64", 0, LOW_HALF, 0},
	{"prctl", 0, LOW_HALF, PR_SET_NO_NEW_PRIVS},
	{"prctl", 0, LOW_HALF, PR_SET_NAME},
	/* sd_notify(3). */
	{"socket", 0, LOW_HALF, AF_UNIX},
};

/* Libc goes an older way when these are said not to exist, and only then.  The flags of
 * clone3 lie in memory, where a filter cannot see them. */
static const char *const missing[] = {"clone3", "fchmodat2"};

/* -EDOM: there is no such call on this architecture. */
static int rule_result(int r)
{
	return r == -EDOM ? 0 : r;
}

static int rule_add(scmp_filter_ctx filter, uint32_t action, const char *name)
{
	int call = seccomp_syscall_resolve_name(name);

	/* libseccomp is older than the call: nobody can make it here. */
	if (call == __NR_SCMP_ERROR)
		return 0;
	return rule_result(seccomp_rule_add_array(filter, action, call, 0, NULL));
}

static int condition_add(scmp_filter_ctx filter, const char *name, unsigned argument,
	uint64_t mask, uint64_t value)
{
	int call = seccomp_syscall_resolve_name(name);
	struct scmp_arg_cmp cmp = {
		.arg = argument,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = mask,
		.datum_b = value,
	};

	return rule_result(seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &cmp));
}

static int rules_add(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(allowed); i++)
		r = rule_add(filter, SCMP_ACT_ALLOW, allowed[i]);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(conditions); i++)
		r = condition_add(filter, conditions[i].name, conditions[i].argument,
			conditions[i].mask, conditions[i].value);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(missing); i++)
		r = rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), missing[i]);
	/* abort(3), of ourselves alone. */
	if (r == 0)
		r = condition_add(filter, "tgkill", 0, LOW_HALF, (uint32_t)getpid());
	return r;
}

int seccomp_restrict(void)
{
	if (SANITIZED)
		return -ERR_UNSUPPORTED;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return -ERR_RESOURCE;
	/* As a tree: what comes last in a list of a hundred is not slower. */
	int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = rules_add(filter);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r == 0 ? 0 : r == -ENOMEM ? -ERR_RESOURCE : -ERR_UNSUPPORTED;
}
