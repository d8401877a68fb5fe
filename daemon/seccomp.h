/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The system calls that the daemon needs, and no others: seccomp(2), by libseccomp. */
#ifndef SOCKD_SECCOMP_H
#define SOCKD_SECCOMP_H

#include "base/compiler.h"

/*
 * From here on every thread of this process, and all it starts, has the calls of the
 * list only; another one fails with EPERM (a program cannot be executed, a socket only be
 * AF_UNIX, memory not be made executable).  0; -ERR_UNSUPPORTED where the kernel or a
 * sanitizer does not let us; -ERR_RESOURCE.  Once, before there are threads.
 */
int seccomp_restrict(void) MUST_CHECK;

#endif
