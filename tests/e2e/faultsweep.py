#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every system call of an upload and of a download fails in turn, on either side, or does
less than it was asked for: each name is absent, old or new, success is never reported
falsely, nothing hangs, the daemon lets go of everything, and the next run succeeds.

The short form takes some of the calls, chosen by the seed."""
import collections
import random

from faults import (CC, CLIENT, DAEMON, LINES_MAX, Point, Resumed, Transfer, Watched, choose,
                    disturb, missing_tool, record, shim, suffering, work_in_memory)
from harness import LONG, diag, new_seed, run, tap

POINTS = 8  # of each sweep, in the short form
CASES = (("small", True), ("big", False), ("tree", False))

ERRORS = ("EIO", "ENOSPC", "EINTR")
# What else the kernel may say.
MORE = {
    "accept4": ("EAGAIN", "ECONNABORTED", "EMFILE", "ENOMEM"),
    "connect": ("ECONNREFUSED", "ETIMEDOUT"),
    "flock": ("EAGAIN", "ENOLCK"),
    "mkdirat": ("EACCES", "EROFS"),
    "openat": ("EACCES", "EMFILE"),
    "openat2": ("EAGAIN", "EMFILE"),
    "poll": ("ENOMEM",),
    "pwrite64": ("EDQUOT", "EFBIG"),
    "recvfrom": ("EAGAIN", "ECONNRESET"),
    "renameat": ("EACCES", "EROFS"),
    "renameat2": ("EACCES", "EROFS"),
    "sendto": ("EAGAIN", "ECONNRESET", "EPIPE"),
    "socket": ("EMFILE",),
}
# These fail in one way, if at all.
ONLY = {
    "clone3": ("EAGAIN",),
    "mmap": ("ENOMEM",),
    "mprotect": ("ENOMEM",),
}
# Cannot fail; or not by an error code (brk); or must not, as the C library relies on it; or
# fail only when they have done their work (close: see check_close).
NEVER = {"brk", "close", "futex", "geteuid", "madvise", "munmap", "rseq", "rt_sigprocmask",
         "set_robust_list", "umask"}
FLUSHES = {"fsync", "syncfs"}
# No failure to anyone who asks again.
HARMLESS = {(call, "EINTR") for call in ("accept4", "poll", "pread64", "pwrite64", "recvfrom",
                                         "sendto")}
HARMLESS |= {(call, "EAGAIN") for call in ("accept4", "recvfrom", "sendto")}
OPTIONS = ("--retries=1", "--timeout=10")
LIMITS = ("--handshake-timeout=10", "--idle-timeout=10")


def errors_of(call):
    if call in NEVER:
        return ()
    return ONLY.get(call) or ERRORS + MORE.get(call, ())


def fail_at(transfer, side, daemon, point, error, fault=None):
    """What is wrong after POINT of SIDE failed by ERROR, a line each; and whether it did."""
    if side == DAEMON:
        daemon.restart()  # as it was when its calls were recorded
    transfer.reset(daemon)
    done, reached = disturb(transfer, side, daemon, point, f"error={error}", *OPTIONS, fault=fault)
    status = done.returncode
    wrong = transfer.judge(status)
    if not 0 <= status < 10 or (status != 0 and not done.stderr):
        wrong.append(f"it ended with {status}: {done.stderr!r}")
    if reached and status == 0 and point.call in FLUSHES:
        wrong.append(f"success was said after a failed {point.call}: {done.stderr}")
    if reached and status != 0 and (point.call, error) in HARMLESS:
        wrong.append(f"it failed with {status}: {done.stderr}")
    return wrong + daemon.ails() + transfer.judge_again(daemon), reached


def attempts(points, seed):
    """What is to fail, and how.  In the long form each point by one error at least, and each
    call by every error."""
    rng = random.Random(seed)
    if not LONG:
        return [(point, rng.choice(errors_of(point.call)))
                for point in choose(points, POINTS, seed)]
    counts = collections.Counter(point.call for point in points)
    return [(point, error) for point in points
            for i, error in enumerate(errors_of(point.call))
            if counts[point.call] < 4 or (point.nth + i) % len(errors_of(point.call)) == 0]


def sweep(transfer, side, seed):
    report, failures = [], 0
    with Watched(*LIMITS, root=transfer.root) as daemon:
        transfer.prepare(daemon)
        points = [point for point in record(transfer, side, daemon) if errors_of(point.call)]
        tried = attempts(points, seed)
        for point, error in tried:
            wrong, reached = fail_at(transfer, side, daemon, point, error)
            failures += reached
            report += [f"{point.call} {point.nth} {error}: {line}" for line in wrong]
            if len(report) > LINES_MAX:
                break
    diag(f"{side}: {len(points)} calls, {failures} failures of {len(tried)} tried")
    tap.ok(not report, f"{transfer.name}: calls of the {side} may fail", "\n".join(report))
    # How many receptions and waits there are is up to the kernel.
    tap.ok(failures * 2 > len(tried), f"{transfer.name}: most calls of the {side} did")


def check_errors():
    seed = new_seed()
    for way in ("put", "get"):
        for what, replaces in CASES:
            for side in (CLIENT, DAEMON):
                sweep(Transfer(way, what, replaces), side, seed)
        for side in (CLIENT, DAEMON):
            sweep(Resumed(way), side, seed)


# -- Calls that do less, or more, than they say ------------------------------


def suffer(transfer, fault):
    """TRANSFER, both sides suffering FAULT; what is wrong then, a line each."""
    with Watched(*LIMITS, root=transfer.root, env=suffering(fault)) as daemon:
        transfer.reset(daemon)
        done = transfer.run(daemon, *OPTIONS, fault=fault)
        wrong = transfer.judge(done.returncode)
        if done.returncode != 0:
            wrong.append(f"it ended with {done.returncode}: {done.stderr}")
        return wrong + daemon.ails()


def check_shortening():
    """The library is there between the program and the C library."""
    transfer = Transfer("put", "big", False)
    for side, calls in ((CLIENT, ("pread64", "sendto")), (DAEMON, ("recvfrom", "pwrite64"))):
        counts = []
        for fault in (None, "short"):
            with Watched(*LIMITS, root=transfer.root, env=suffering(fault)) as daemon:
                points = record(transfer, side, daemon, fault)
                counts.append(collections.Counter(point.call for point in points))
        for call in calls:
            tap.ok(counts[1][call] > 3 * counts[0][call], f"short counts make more of {call}",
                   f"{counts[1][call]}, not {counts[0][call]}")


# Seeds that have found something once: a look at the first byte that EINTR broke off.
FOUND = (835665908,)


def check_short_counts():
    seed = new_seed()
    for way in ("put", "get"):
        for what, replaces in CASES:
            transfer = Transfer(way, what, replaces)
            wrong = []
            for i in (*FOUND, *range(seed, seed + (20 if LONG else 1))):
                wrong += [f"seed {i}: {line}" for line in suffer(transfer, f"short:{i}")]
            tap.ok(not wrong, f"{transfer.name}: by short counts and EINTR", "\n".join(wrong))


def check_close():
    for way in ("put", "get"):
        for what, replaces in CASES:
            transfer = Transfer(way, what, replaces)
            wrong = suffer(transfer, "close")
            tap.ok(not wrong, f"{transfer.name}: close may fail", "\n".join(wrong))


# -- Negative controls -------------------------------------------------------


def check_flush_controls():
    """The receiving side is one that does not take a failed flush for what it is."""
    for way, side in (("put", DAEMON), ("get", CLIENT)):
        for fault in (None, "deaf", "again"):
            transfer = Transfer(way, "small", False)
            with Watched(*LIMITS, root=transfer.root, env=suffering(fault)) as daemon:
                wrong, reached = fail_at(transfer, side, daemon, Point("fsync", 1), "EIO", fault)
            if fault:
                tap.ok(reached and wrong, f"{way}: control caught: {fault}")
                diag("\n".join(wrong))
            else:
                tap.ok(reached and not wrong, f"{way}: without it there is nothing to catch",
                       "\n".join(wrong))


def check_count_control():
    for way in ("put", "get"):
        wrong = suffer(Transfer(way, "big", False), "lost-count")
        tap.ok(wrong, f"{way}: control caught: lost-count")
        diag("\n".join(wrong))


def main():
    reason = missing_tool("strace", CC[0])
    if reason:
        tap.skip_all(reason)
    shim()  # on disk: from memory it might not be allowed to run
    work_in_memory()
    run(check_errors, check_shortening, check_short_counts, check_close, check_flush_controls,
        check_count_control)


if __name__ == "__main__":
    main()
