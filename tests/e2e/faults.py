# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers that can be judged at every moment, and system calls that fail under them.

Not a test itself: what killsweep.py, faultsweep.py and powercut.py share.
"""
import atexit
import collections
import contextlib
import itertools
import os
import random
import re
import shlex
import shutil
import subprocess
import tempfile

from harness import (MIB, RESERVED, Daemon, at, cp, random_bytes, read, scratch, tree_read,
                     wait_for, write)

CC = shlex.split(os.environ.get("CC", "cc"))
HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT, DAEMON = "client", "daemon"
# As long as nobody waits for a peer that was stopped, everything takes milliseconds.
HANG_SEC = 40
LINES_MAX = 10  # of what is wrong; then a sweep need not go on

Point = collections.namedtuple("Point", "call nth")  # the nth CALL of a thread


def missing_tool(*tools):
    """Why this cannot be run here, or None."""
    for tool in tools:
        if not shutil.which(tool):
            return f"{tool} is missing"
    return None


def work_in_memory():
    """From here on, files of the test are made where flushes take no time, if there is room."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > 1 << 30:
            tempfile.tempdir = tempfile.mkdtemp(prefix="sockd-test.", dir="/dev/shm")
            atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)


# -- Faults by preload -------------------------------------------------------


def shim():
    """The library that faults.c makes; built when first needed."""
    if not hasattr(shim, "path"):
        shim.path = scratch() + "/faults.so"
        subprocess.run([*CC, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-fPIC",
                        "-shared", "-o", shim.path, HERE + "/faults.c"], check=True)
    return shim.path


def suffering(fault):
    """The environment in which a program suffers FAULT of faults.c."""
    return {"LD_PRELOAD": shim(), "SOCKD_FAULT": fault} if fault else {}


class Watched(Daemon):
    """A daemon of which is known what it has when it has nothing to do."""

    def start(self):
        super().start()
        self.rest = self.held()

    def held(self):
        """How many threads and descriptors it has."""
        return tuple(len(os.listdir(f"/proc/{self.pid}/{what}")) for what in ("task", "fd"))

    def ends(self):
        """Whether it has done with every connection, or died, in good time."""
        def ended():
            threads, descriptors = self.held()
            # One that is dying has no descriptors any more.
            return threads <= self.rest[0] and descriptors > 0

        with contextlib.suppress(TimeoutError):
            return wait_for(lambda: self.process.poll() is not None or ended(), HANG_SEC)
        return False

    def ails(self):
        """What is wrong with it once all is over, a line each; it is there again afterwards."""
        if not self.ends():
            return ["the daemon does not let go of the connection"]
        if self.process.poll() is not None:
            status = self.wait()
            self.start()
            return [f"the daemon ended with {status}: {self.log_text()}"]
        held = self.held()
        return [f"the daemon has {held[1]} descriptors, not {self.rest[1]}"] \
            if held[1] > self.rest[1] else []


# -- Transfers ---------------------------------------------------------------


def make_version(path, what, seed):
    """A small file, a big one or a tree; different ones for different seeds."""
    if what == "small":
        write(path, random_bytes(seed, 5000))
    elif what == "big":  # large enough to be resumed
        write(path, random_bytes(seed, 5 * MIB + 12345))
    else:  # a tree of more files than are flushed one by one
        for i in range(20):
            leaf = write(f"{path}/{'ab'[i % 2]}/{i}", random_bytes(seed + i, 1 + 300 * i))
            os.chmod(leaf, 0o600 + i % 4 * 0o44)
            os.utime(leaf, (seed, seed))
        write(f"{path}/c/d/empty", b"")
        os.symlink(f"a/{2 * seed}", f"{path}/link")


class Transfer:
    """The upload (put) or download (get) of x, new or over an old one, and its judge."""

    def __init__(self, way, what, replaces):
        self.name = f"{way} of a {what} {'over an old one' if replaces else 'under a new name'}"
        self.way, self.what = way, what
        self.sent, self.received, self.old = scratch(), scratch(), scratch()
        self.root = self.received if way == "put" else self.sent
        make_version(f"{self.sent}/x", what, 100)
        if replaces:
            make_version(f"{self.old}/x", what, 200)
        self.before, self.after = tree_read(self.old), tree_read(self.sent)

    def reset(self, daemon):
        """Nothing has been received yet."""
        daemon.ends()
        for entry in os.scandir(self.received):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        shutil.copytree(self.old, self.received, symlinks=True, dirs_exist_ok=True)

    def prepare(self, daemon):
        """Once, before the first reset."""

    def args(self):
        options = ("-rp",) if self.what == "tree" else ()
        if self.way == "put":
            return (*options, "put", f"{self.sent}/x", at())
        return (*options, "get", at("x"), f"{self.received}/")

    def run(self, daemon, *options, prefix=(), fault=None):
        return cp(*options, *self.args(), daemon=daemon, prefix=prefix, timeout=HANG_SEC,
                  env={**os.environ, **suffering(fault)})

    def kept(self, path):
        """Whether PATH has the mode and the time of its source."""
        ours, theirs = (os.lstat(os.path.join(os.fsencode(top), path))
                        for top in (self.sent, self.received))
        return (ours.st_mode, ours.st_mtime_ns) == (theirs.st_mode, theirs.st_mtime_ns)

    def wrong(self):
        """What is neither as it was nor as it is to be, a line each."""
        lines, found = [], tree_read(self.received)
        for path in found.keys() | self.before.keys():
            old, new, now = (tree.get(path) for tree in (self.before, self.after, found))
            if now not in (old, new):
                lines.append(f"{path!r} is {now}, not {old} nor {new}")
            elif now == new != old and self.what == "tree" and now[0] == "file" and \
                    not self.kept(path):
                lines.append(f"{path!r} has its name, but not yet its mode and time")
        return lines

    def is_done(self):
        return tree_read(self.received) == self.after and \
            (self.what != "tree" or all(self.kept(path) for path, what in self.after.items()
                                        if what[0] != "link"))

    def judge(self, status):
        """What is wrong after a run that ended with STATUS, a line each."""
        lines = self.wrong()
        if status == 0 and not self.is_done():
            lines.append("success was said, but not everything has arrived")
        return lines

    def judge_again(self, daemon):
        """What is wrong when it is run once more, undisturbed; a line each."""
        done = self.run(daemon)
        lines = self.judge(done.returncode)
        if done.returncode != 0:
            lines.append(f"the next run ended with {done.returncode}: {done.stderr}")
        left = [name for name in reserved(self.received) if name.startswith("p-")]
        if left:
            lines.append(f"the next run left partials: {left}")
        return lines


def reserved(top):
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(os.path.join(top, RESERVED))
    return []


# -- Faults by strace --------------------------------------------------------


@contextlib.contextmanager
def attached(daemon, *options):
    """A strace at the daemon and all its threads.  It lets go when the transfer is over, or the
    daemon is dead: of a process that is dying it would wait for ever for the end."""
    tracer = subprocess.Popen(["strace", "-f", "-p", str(daemon.pid), *options],
                              stderr=subprocess.PIPE)
    try:
        said = tracer.stderr.readline()
        if b" attached" not in said:
            raise ChildProcessError(os.fsdecode(said + tracer.stderr.read()))
        yield
        daemon.ends()
    finally:
        tracer.terminate()
        tracer.wait()
        tracer.stderr.close()


def traced(transfer, side, daemon, options, *args, fault=None):
    """TRANSFER with SIDE under strace; the run, and strace's log.  FAULT is the client's."""
    log = transfer.sent + ".strace"
    write(log, "")
    options = ("-o", log, *options)
    if side == CLIENT:
        # The fault is that of sockcp, not of strace.
        given = [word for pair in suffering(fault).items() for word in ("-E", "=".join(pair))]
        done = transfer.run(daemon, *args, prefix=("strace", "-f", *given, *options))
    else:
        with attached(daemon, *options):
            done = transfer.run(daemon, *args, fault=fault)
    return done, read(log).decode("utf-8", "replace")


# The kernel resumes these, or there is nothing left to disturb.
UNTOUCHABLE = {"execve", "exit", "exit_group", "restart_syscall"}
# Memory, threads and settings: not where a short form looks first.
DULL = {"brk", "clone3", "futex", "madvise", "mmap", "mprotect", "munmap", "rseq",
        "rt_sigprocmask", "set_robust_list", "setsockopt"}


def record(transfer, side, daemon, fault=None):
    """The points that SIDE passes in an undisturbed transfer.  strace counts the calls of a
    name for each thread alone."""
    transfer.reset(daemon)
    log = traced(transfer, side, daemon, (), fault=fault)[1]
    counts, points = collections.Counter(), {}
    started = side == DAEMON
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", log, re.MULTILINE):
        counts[thread, call] += 1
        # What comes before has nothing to do with a transfer.
        started = started or call == "socket"
        if started and call not in UNTOUCHABLE:
            points[Point(call, counts[thread, call])] = None
    return list(points)


def disturb(transfer, side, daemon, point, tampering, *args, fault=None):
    """TRANSFER with SIDE tampered with at POINT; the run, and whether it came so far."""
    expressions = ("-e", f"trace={point.call}",
                   "-e", f"inject={point.call}:{tampering}:when={point.nth}")
    done, log = traced(transfer, side, daemon, expressions, *args, fault=fault)
    return done, "(INJECTED)" in log or "killed by SIGKILL" in log


class Resumed(Transfer):
    """The transfer of a big file of which most is there already."""

    def __init__(self, way):
        super().__init__(way, "big", False)
        self.name = f"{way} of the rest of a big"
        self.partial = scratch()

    def prepare(self, daemon):
        """A whole file that did not get its name before the receiver was killed."""
        side = DAEMON if self.way == "put" else CLIENT
        disturb(self, side, daemon, Point("fchmod", 1), "signal=KILL", "--retries=0")
        if side == DAEMON:
            daemon.wait()
            daemon.start()
        shutil.copytree(f"{self.received}/{RESERVED}", self.partial, dirs_exist_ok=True)

    def reset(self, daemon):
        super().reset(daemon)
        shutil.copytree(self.partial, f"{self.received}/{RESERVED}")


def choose(points, count, seed):
    """COUNT of the points, by chance, but as many different calls as there can be."""
    points = [point for point in points if point.call not in DULL]
    random.Random(seed).shuffle(points)
    firsts = {point.call: point for point in points}
    rest = (point for point in points if firsts[point.call] != point)
    return list(itertools.islice(itertools.chain(firsts.values(), rest), count))
