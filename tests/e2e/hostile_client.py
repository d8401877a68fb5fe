#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""sockd against clients that do all that they must not.

After each behaviour the daemon serves an honest client, has as many threads and
descriptors as before, and not more memory; of the place that it works in, only what the
behaviour was allowed to leave in the served tree has changed; and its log is lines of
its own.  Behaviours that are named on the command line are run alone.  The table of
them is in clientacts.py and clienttls.py.
"""
import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
import traceback

import clienttls  # noqa: F401 (fills the table)
import spec
import spectls
from clientacts import BIG, IDLE, TABLE, Act
from harness import MIB, SANITIZED, SLOW, SOCKD, Daemon, diag, scratch, tap, wait_for, write
from hostile import EVIL, PACE, Place, run_program, run_table, short, unprintable
from peers import TIMEOUT, Client

OPTIONS = tuple(f"--{name}-timeout={IDLE}" for name in ("handshake", "idle", "drain"))
# What the daemon may have resident, over what it had before the first behaviour: while one
# lasts, and when it is over.
PEAK_MAX = (64 if not SANITIZED else 1200) * MIB
REST_MAX = (12 if not SANITIZED else 1000) * MIB
WORKERS = 4

# What an honest client may hear for a while: no place, no descriptors left.
PASSING = ("BUSY", "RESOURCE")

# -- The daemon and its place ----------------------------------------------------


class Arena:
    """A daemon that serves root/ of a place with canaries around it, and traps in it."""

    def __init__(self, *options):
        self.place = Place("root")
        self.root = f"{self.place.top}/root"
        self.daemon = Daemon(*OPTIONS, *options, root=self.root)
        self.furnish()
        self.daemon.start()
        self.pid = self.daemon.pid
        self.seen = 0  # of the log
        self.serves_honestly()
        time.sleep(0.3)
        self.rest = self.numbers()

    def furnish(self):
        """root/ as each behaviour finds it."""
        for name in os.listdir(self.root):
            path = f"{self.root}/{name}"
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        for name in ("keep", "d/keep", "d/e/keep"):
            write(f"{self.root}/{name}", "keep")
        write(f"{self.root}/big", BIG)  # not a hole, which would cost nothing to send
        for name, target in (("out", "../outside"), ("abs", self.place.outside), ("up", ".."), ("loop", "loop"),
                             ("proc", "/proc/self/root"), ("in", "d")):
            os.symlink(target, f"{self.root}/{name}")
        os.mkfifo(f"{self.root}/fifo")
        self.place.watch()

    def close(self):
        if self.daemon.process:
            self.daemon.kill9()

    def client(self, **about):
        return Client(self.daemon, **about)

    def numbers(self):
        """(threads, descriptors, resident bytes)"""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            found = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        self.peak = int(found["VmHWM"].split()[0]) << 10
        return (int(found["Threads"]), len(os.listdir(f"/proc/{self.pid}/fd")),
                int(found["VmRSS"].split()[0]) << 10)

    def serves_honestly(self):
        """An honest client puts a file, gets it, and has it removed; a word on what went wrong."""
        content = b"honest " + os.urandom(8) + bytes(100000)

        def served():
            with self.client() as c:
                found = c.put(b"honest", content)
                got = None if found in PASSING else c.get(b"honest")
                return (found, got) if got and got not in PASSING else None

        try:
            put, got = await_(lambda: attempt(served), 10, "an answer")
        except TimeoutError as error:
            return str(error)
        with contextlib.suppress(OSError):
            os.unlink(f"{self.root}/honest")
        fair = isinstance(put, dict) and put["digest"] == spec.sha256(content) and got[1] == content
        return None if fair else f"an honest client got {short((put, got))}"

    def new_log(self):
        text = os.fsencode(self.daemon.log)
        with open(text, "rb") as log:
            log.seek(self.seen)
            data = log.read()
        self.seen += len(data)
        return data

    def faults(self, act):
        """What holds after each behaviour, and what ACT may have left."""
        yield self.serves_honestly()
        if not self.daemon.process or self.daemon.process.poll() is not None or self.daemon.pid != self.pid:
            yield "the daemon has ended"
            return
        try:
            await_(lambda: self.numbers()[:2] == self.rest[:2], 6, "rest")
        except TimeoutError:
            yield f"threads and descriptors are {self.numbers()[:2]}, not {self.rest[:2]}"
        resident = self.numbers()[2]
        if resident > self.rest[2] + REST_MAX:
            yield f"{(resident - self.rest[2]) >> 20} MiB more are resident than before"
        if self.peak > self.rest[2] + PEAK_MAX:
            yield f"{(self.peak - self.rest[2]) >> 20} MiB more were resident than before"
        yield from self.place.changes(self.allowed(act))
        yield from log_faults(self.new_log())

    def allowed(self, act):
        def may(path, now):
            if path in self.place.before or act.leaves is None:
                return False
            if callable(act.leaves):
                return act.leaves(path[len(b"root/"):], now)
            contents = act.leaves.get(path[len(b"root/"):])
            return contents is not None and (now is None or now[0] in ("dir", "link") or now[5] in contents)
        return may


class StrictArena(Arena):
    """Strangers may do nothing, and failures of an address count against it."""

    def __init__(self, *options):
        self.state = scratch()
        self.identity = spectls.make_identity(self.state, "honest.pem")
        name = spectls.identity_text(spectls.identity_in(self.identity))
        subprocess.run([SOCKD, f"--state-dir={self.state}", "authorize", "honest", name, "--rights=read,list,write"],
                       check=True, stdout=subprocess.DEVNULL)
        super().__init__(f"--state-dir={self.state}", "--anonymous=none", "--penalty-max=300", *options)

    def client(self, **about):
        return Client(self.daemon, sock=spectls.connect(self.daemon.port, TIMEOUT, self.identity), **about)


def await_(reached, seconds, what):
    return wait_for(reached, seconds * PACE / SLOW, what)


def attempt(do):
    """What DO returned, or None while the server is busy."""
    try:
        return do()
    except (EOFError, OSError, KeyError, spec.Breach):  # no HELLO came
        return None


LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [ -~\x80-\xff]+")
# A name cannot say anything in its line but what it is.
EVENT = re.compile(rb'\S+ [^"=]+( \w+=("[^"]*"|[^" ]*))+')


def log_faults(data):
    if unprintable(data):
        yield f"the log has {unprintable(data)}"
    for line in data.split(b"\n")[:-1]:
        if not LINE.fullmatch(line) or (b'="' in line and not EVENT.fullmatch(line)):
            yield f"in the log: {line[:300]!r}"
            return


ARENAS, LOCAL = [], threading.local()


def judge(name, what):
    del name
    if what.options is None and not hasattr(LOCAL, "arena"):
        LOCAL.arena = Arena()
        ARENAS.append(LOCAL.arena)
    own = StrictArena if what.strict else Arena
    arena = LOCAL.arena if what.options is None else own(*what.options)
    try:
        faults = [what.do(arena)]
    except Exception:  # pylint: disable=broad-except
        faults = [traceback.format_exc()]
    try:
        return [fault for fault in [*faults, *arena.faults(what)] if fault]
    finally:
        if what.options is None:
            arena.furnish()
        else:
            arena.close()


# -- Controls -----------------------------------------------------------------------------


def check_controls():
    """A place, a log, a daemon that are not as they should be are caught."""
    def spoiled(name, spoil, wanted, leaves=None):
        arena = Arena()
        undo = spoil(arena)
        faults = [fault for fault in arena.faults(Act(None, leaves)) if fault]
        if undo:
            undo()
        arena.close()
        tap.ok(any(wanted in fault for fault in faults), f"{name} is caught", faults)

    spoiled("a file outside that changed", lambda a: write(f"{a.place.outside}/canary", "x") and None, "outside/canary")
    spoiled("a file in the root that changed", lambda a: write(f"{a.root}/keep", "x") and None, "root/keep")
    spoiled("a file that was not to be there", lambda a: write(f"{a.root}/new", "x") and None, "root/new")
    spoiled("a file that is not what was sent", lambda a: write(f"{a.root}/new", "x") and None, "root/new",
            {b"new": [b"y"]})
    spoiled("a mode that changed", lambda a: os.chmod(f"{a.place.outside}/dir", 0o777), "outside/dir")
    for name, line in (("a log line of somebody else", b"all is well\n"), ("ANSI in the log", EVIL + b"\n"),
                       ("a line broken in two", b"2026-01-01T00:00:00Z x\ny\n")):
        def spoil(arena, line=line):
            with open(arena.daemon.log, "ab") as log:
                log.write(line)
        spoiled(name, spoil, "log")

    def stay(arena):
        c = arena.client()
        c.flush()
        stop = threading.Event()
        thread = threading.Thread(target=lambda: [c.flush() for _ in iter(lambda: stop.wait(0.5), True)])
        thread.start()
        return lambda: (stop.set(), thread.join(), c.sock.close())
    spoiled("a connection that stays", stay, "threads and descriptors")
    spoiled("a daemon that is gone", lambda a: a.close(), "has ended")


def check_behaviours():
    diag(f"{len(TABLE)} behaviours")
    try:
        run_table(TABLE, judge, WORKERS)
    finally:
        for arena in ARENAS:
            rest, now = arena.rest, arena.numbers()
            diag(f"threads, descriptors, resident: {rest}, in the end {now}, at most {arena.peak}")
            arena.close()


if __name__ == "__main__":
    run_program(TABLE, check_controls, check_behaviours)
