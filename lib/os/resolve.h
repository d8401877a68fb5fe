/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS, done by hand, for
 * where the kernel call may not be made: systemd's RestrictSUIDSGID=, which
 * DynamicUser= brings with it, answers openat2 with ENOSYS, because a seccomp
 * filter cannot see the mode that it is given (systemd.exec(5)).
 *
 * Each component is opened by itself with O_NOFOLLOW from the descriptor of
 * the directory before it, and links are read and followed here, so no race
 * leads outside: at no time does the kernel follow a link or go up for us.
 */
#ifndef SOCKD_OS_RESOLVE_H
#define SOCKD_OS_RESOLVE_H

#include <sys/types.h>

#include "base/compiler.h"

/* Opens PATH ("" is DIR itself) beneath DIR with FLAGS (O_CLOEXEC is added) and MODE. The
 * descriptor or -ERR_…; -ERR_ESCAPE also for more links than the kernel would follow. */
int resolve_open(int dir, const char *path, int flags, mode_t mode) MUST_CHECK;

#endif
