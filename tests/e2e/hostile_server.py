#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""sockcp against a server that does all that it must not.

Whatever the server does, sockcp ends by itself, with an exit status that is documented
and is 0 only if all is right; nothing that the server said reaches the terminal as it
is; its memory is bounded; and of the place that it works in, only what it was to write
has changed.  Behaviours that are named on the command line are run alone.  The table of
them is in serveracts.py, servertrees.py and servertls.py.
"""
import contextlib
import os
import pty
import resource
import subprocess
import threading
import time

import servertls
import servertrees  # noqa: F401 (fills the table)
from harness import MIB, SANITIZED, SOCKCP, TLS, diag, tap, write
from hostile import PACE, Place, run_program, run_table, unprintable
from peers import WHEN
from serveracts import BIG, F, G, GET, H, LIMIT, OLD, TABLE, TIMEOUT, Act, Hostile

# What it may have resident at any moment, as the kernel counts it; and all that it may have
# of memory that can be written to, which the kernel does not let it exceed.
RESIDENT_MAX = (20 if not SANITIZED else 300) * MIB
DATA_MAX = 24 * MIB
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130}

# -- The place and the run -----------------------------------------------------


def make_place():
    """out/ is written to; there is something in it already, also ways out of it."""
    place = Place("out")
    for name in ("f", "g", "keep", "d/1", "d/keep", "d/file"):
        write(f"{place.top}/out/{name}", OLD)
    os.mkdir(f"{place.top}/out/d/sub")
    os.utime(f"{place.top}/out/f", (WHEN[0], WHEN[0]))
    os.symlink("../../outside/dir", f"{place.top}/out/d/trap")
    os.symlink(f"{place.outside}/dir", f"{place.top}/out/d/trap2")
    os.symlink("../outside/dir/f", f"{place.top}/out/link")
    for name, data in (("f", F), ("g", G), ("h", H), ("big", BIG), ("tree/1", F), ("tree/sub/2", G)):
        write(f"{place.top}/src/{name}", data)
    os.symlink("1", f"{place.top}/src/tree/link")
    return place


class Run:
    """One run of PROGRAM with ARGS in PLACE: .status, or None if it had to be killed; what
    it said; how much memory it had."""

    def __init__(self, place, args, port, program=(SOCKCP,), limit=LIMIT, line=("--plaintext",),
                 terminal=False, reader=None, feed=None):
        self.place, self.limit, self.peak, self.status = place, limit, 0, None
        self.outputs = []
        command = [*program, *line, "-P", str(port), f"--timeout={TIMEOUT}", "--retries=1", *args]
        env = {**os.environ, "HOME": f"{place.top}/home", "XDG_CONFIG_HOME": f"{place.top}/home/config",
               "SSL_CERT_DIR": "/nonexistent", "SSL_CERT_FILE": "/dev/null"}
        ends = [pty.openpty() if terminal else os.pipe() for _ in range(2)]
        self.process = subprocess.Popen(command, cwd=place.top, env=env, stdout=ends[0][1], stderr=ends[1][1],
                                        stdin=subprocess.PIPE if feed else subprocess.DEVNULL)
        if not SANITIZED:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self.process.pid, resource.RLIMIT_DATA, (DATA_MAX, DATA_MAX))
        threads = [threading.Thread(target=self.collect, args=(end[0], reader if n == 0 else None))
                   for n, end in enumerate(ends)]
        if feed:
            threads.append(threading.Thread(target=self.feed, args=(feed,)))
        for end in ends:
            os.close(end[1])
        for thread in threads:
            thread.start()
        self.watch()
        for thread in threads:
            thread.join()

    def collect(self, fd, reader):
        """All that is said; READER, if any, does it another way."""
        data = bytearray()
        self.outputs.append(data)
        with contextlib.suppress(OSError):  # a terminal that was hung up
            if reader:
                reader(fd)
            while not reader and (got := os.read(fd, 65536)):
                if len(data) < 8 * MIB:
                    data += got
        with contextlib.suppress(OSError):
            os.close(fd)

    def feed(self, data):
        with contextlib.suppress(OSError), self.process.stdin as pipe:
            pipe.write(data)

    def watch(self):
        end = time.monotonic() + self.limit
        while self.process.poll() is None:
            with contextlib.suppress(OSError), open(f"/proc/{self.process.pid}/status", "rb") as status:
                for line in status:
                    if line.startswith(b"VmHWM:"):
                        self.peak = max(self.peak, int(line.split()[1]) << 10)
            if time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                return
            time.sleep(0.01)
        self.status = self.process.returncode

    def said(self):
        return b"".join(self.outputs).decode("utf-8", "backslashreplace")

    def faults(self, act):
        """What all runs have to keep to, and what ACT asks for."""
        if self.status is None:
            yield f"it had not ended after {self.limit} s"
        elif self.status not in DOCUMENTED:
            yield f"exit status {self.status}"
        elif self.status not in act.status:
            yield f"exit status {self.status}, not one of {sorted(act.status)}"
        for said in self.outputs if not act.terminal else ():
            if unprintable(bytes(said)):
                yield f"it printed {unprintable(bytes(said))}"
        if act.terminal and any(piece in b"".join(self.outputs) for piece in EVIL_PIECES):
            yield "the terminal got what the server said as it was"
        if self.peak > RESIDENT_MAX:
            yield f"{self.peak >> 20} MiB were resident"
        if "out of memory" in self.said():
            yield f"it wanted more than {DATA_MAX >> 20} MiB of memory"
        if self.status and not self.said():
            yield "it failed without a word"
        yield from self.place.changes(act.allowed())
        for path, data in act.done.items() if self.status == 0 else ():
            with open(os.path.join(os.fsencode(self.place.top), path), "rb") as f:
                if f.read() != data:
                    yield f"status 0, but {path} is not what the server has"


EVIL_PIECES = (b"\x1b]", b"\x07", b"\x1b[2J", b"\xc2\x9b", b"\xff\xfe", b"\x08", b"\x1b[31m")
peaks = []


def judge(name, what):
    del name
    place = make_place()
    with Hostile(what, servertls.OURS if TLS else None) as server:
        if what.prepare:
            what.prepare(place, server.port)
        place.watch()
        line = what.line
        if line is None:
            line = servertls.PINNED if TLS else ("--plaintext",)
        run_ = Run(place, what.args, server.port, line=line, terminal=what.terminal, **what.about)
        server.over.set()
        faults = list(run_.faults(what))
        if run_.status == 0 and what.proof and not faults:
            faults += [what.proof(server, run_)]
        if server.broken:
            faults.append(f"the hostile server itself failed: {server.broken}")
        if not server.connections:
            faults.append("nobody came")
    peaks.append(run_.peak)
    return [fault for fault in faults if fault] and [*filter(None, faults), run_.said()[-2500:]]


# -- Controls ------------------------------------------------------------------------

WRONG_PROGRAMS = (
    ("writes beside its target", "echo x > ../outside; echo x >outside/new", "not there"),
    ("changes a mode outside", "chmod 777 outside/dir/f", "outside/dir/f"),
    ("replaces what has the same size and time", "cp -p outside/canary x && mv x outside/canary", None),
    ("touches a file outside", "touch outside/canary", "outside/canary"),
    ("leaves a directory in the working directory", "mkdir .sockd-partial", "sockd-partial"),
    ("changes another file in the target directory", "echo x >out/keep", "out/keep"),
    ("makes a link in the target directory", "ln -sf /etc/passwd out/f", "out/f"),
    ("takes unverified bytes for the file", "printf 'f, as it is' >out/f", "out/f"),
    ("gives away rights", "printf 'f, as it is on the server\\n' >out/f; chmod u+s out/f", "out/f"),
    ("says that all is well", "exit 0", "exit status 0"),
    ("dies", "kill -SEGV $$", "exit status -11"),
    ("ends with a status of its own", "echo no >&2; exit 42", "exit status 42"),
    ("prints what it was told", r"printf '\033]0;x\007\n' >&2; exit 9", "printed"),
    ("prints what is no UTF-8", r"printf '\377\n' >&2; exit 9", "printed"),
    ("says nothing", "exit 9", "without a word"),
    ("does not end", "exec sleep 1000", "had not ended"),
    ("takes all memory", "echo >&2; exec python3 -c 'import time; x = b\"x\" * (100 << 20); time.sleep(1)'",
     None if SANITIZED else "exit status 1"),
)


def check_controls():
    """A program that does what sockcp must not is caught."""
    what = Act(None, status={9}, done={b"out/f": F})
    for name, script, wanted in WRONG_PROGRAMS:
        place = make_place()
        place.watch()
        run_ = Run(place, GET, 1, program=("sh", "-c", script, "sh"), limit=2 * PACE)
        faults = list(run_.faults(what))
        caught = any(wanted in fault for fault in faults) if wanted else faults
        tap.ok(caught, f"a sockcp that {name} is caught", faults)
    resident = Run(make_place(), GET, 1, program=("sh", "-c", "sleep 0.2; exit 9", "sh")).peak
    tap.ok(0 < resident < RESIDENT_MAX, "memory is looked at", resident)


def check_behaviours():
    diag(f"{len(TABLE)} behaviours")
    run_table(TABLE, judge, 8)
    if peaks:
        diag(f"most memory: {max(peaks) >> 10} KiB")


if __name__ == "__main__":
    run_program(TABLE, check_controls, check_behaviours)
