#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What broke off continues: after killed programs, lost and garbled connections, and
changed sources; and nobody ever sees a file that is not whole."""
import hashlib
import json
import os
import random
import shutil
import threading
import time

from harness import (CHECKPOINT, DOWN, LONG, MIB, SANITIZED, SLOW, UP, Daemon, Fault, Proxy, Watch,
                     at, cp, cp_start, did, digest, in_parallel, new_seed, partials, random_bytes,
                     run, scratch, tap, tree_diff, wait_for, write)

SIZE = 40 * MIB + 12345
# Beside the last checkpoint: what was on its way when it broke, frames, greetings.
SLACK = MIB
AGAIN = CHECKPOINT + SLACK  # bytes that one interruption may cost at the most


class Move:
    """A file that goes one way, PUT or GET, over LINE."""

    def __init__(self, command, daemon, seed, size=SIZE):
        self.command, self.size = command, size
        here, there = f"{scratch()}/f", f"{daemon.root}/f"
        self.source, self.dest = (here, there) if command == "put" else (there, here)
        self.way = UP if command == "put" else DOWN
        self.args = ("put", here, at("f")) if command == "put" else ("get", at("f"), here)
        write(self.source, random_bytes(seed, size))
        self.digest = digest(self.source)

    def pace(self, line):
        """Options for about 40 MiB a second.  The line does it for a client that receives: one
        that reads slowly would leave much of what has passed in buffers."""
        line.delay = 0 if self.command == "put" else 0.0016
        return ["--limit=40M"] if self.command == "put" else []

    def start(self, line, *options):
        return cp_start(*self.pace(line), *options, *self.args, port=line.port)

    def run(self, line, *options, **more):
        return cp(*options, *self.args, port=line.port, **more)

    def partials(self):
        return partials(os.path.dirname(self.dest))

    def check(self, what, line, interruptions):
        """It is there, and went over once."""
        tap.ok(digest(self.dest) == self.digest, f"{what}: it is whole")
        again = line.passed(self.way) - self.size
        tap.ok(again < interruptions * AGAIN, f"{what}: {interruptions} times less than "
               f"{AGAIN} bytes were sent again", again)
        tap.ok(not self.partials(), f"{what}: nothing unfinished is left", self.partials())


def pieces(rng, count):
    """After how many bytes each of COUNT interruptions comes, since the one before."""
    return [rng.randrange(MIB, SIZE // count) for _ in range(count)]


def wait_passed(line, way, more, process):
    target = line.passed(way) + more
    wait_for(lambda: line.passed(way) >= target or process.poll() is not None, 60, "the transfer")


def check_killed_client():
    seed = new_seed()
    rng = random.Random(seed)
    for command in ("put", "get"):
        for _ in range(5 if LONG else 1):
            with Daemon() as d, Proxy(d.port) as line:
                move = Move(command, d, seed)
                with Watch(move.dest, move.digest) as watch:
                    kills = pieces(rng, 6 if LONG else 4)
                    for more in kills:
                        process = move.start(line)
                        wait_passed(line, move.way, more, process)
                        process.kill()
                        process.communicate()
                        tap.ok(process.returncode == -9, f"{command}: the client is killed")
                    did(move.run(line), f"{command}: after {len(kills)} kills it succeeds")
                move.check(f"{command}, killed client", line, len(kills))
                watch.ok(f"{command}, killed client")


def check_killed_daemon():
    seed = new_seed()
    rng = random.Random(seed)
    for command in ("put", "get"):
        for _ in range(5 if LONG else 1):
            with Daemon() as d, Proxy(d.port) as line:
                move = Move(command, d, seed)
                with Watch(move.dest, move.digest) as watch:
                    process = move.start(line, "--retries=30")
                    kills = pieces(rng, 5 if LONG else 3)
                    for more in kills:
                        wait_passed(line, move.way, more, process)
                        d.kill9()
                        d.start()
                    said = process.communicate()[1].decode()
                tap.ok(process.returncode == 0, f"{command}: the client survives {len(kills)} "
                       "killed daemons", said)
                move.check(f"{command}, killed daemon", line, len(kills))
                watch.ok(f"{command}, killed daemon")


def check_cut_connections():
    """One run, cut again and again."""
    seed = new_seed()
    rng = random.Random(seed)
    for command in ("put", "get"):
        with Daemon() as d, Proxy(d.port) as line:
            move = Move(command, d, seed)
            # Each connection gets somewhere, so that the retries are not used up.
            line.faults = [Fault("cut", move.way, rng.randrange(CHECKPOINT + 65536, CHECKPOINT + MIB),
                                 reset=rng.random() < 0.5) for _ in range(8)]
            with Watch(move.dest, move.digest) as watch:
                done = move.run(line, "--retries=2", timeout=120)
            did(done, f"{command}: a run with many cuts succeeds")
            tap.ok("the connection was lost; trying again in" in done.stderr
                   and "continuing at" in done.stderr, f"{command}: and says so", done.stderr)
            move.check(f"{command}, cut", line, line.struck)
            watch.ok(f"{command}, cut")


def check_streams_cut():
    data = random_bytes(5, 3 * CHECKPOINT)
    with Daemon() as d:
        write(f"{d.root}/f", data)
        with Proxy(d.port, [Fault("cut", DOWN, CHECKPOINT + MIB)]) as line:
            done = cp("get", at("f"), "-", port=line.port)
            did(done, "get to stdout, cut")
            tap.ok(done.data == data and line.struck, "each byte comes once", done.stderr)
            tap.ok(line.passed(DOWN) < len(data) + SLACK, "and went over once", line.passed(DOWN))
        with Proxy(d.port, [Fault("cut", UP, CHECKPOINT + MIB)]) as line:
            done = cp("put", "-", at("g"), port=line.port, input=data)
            tap.ok(done.returncode == 3 and "sockcp: " in done.stderr,
                   "put of stdin, cut: it cannot be read again", f"{done.returncode} {done.stderr}")
            tap.ok(not os.path.exists(f"{d.root}/g"), "nothing is published")


class Tree:
    """A tree of all there is, for faults anywhere in it."""

    def __init__(self, command, seed):
        self.command = command
        self.source = scratch()
        write(f"{self.source}/big", random_bytes(seed, 2 * CHECKPOINT + 1000))
        for n in range(5):
            write(f"{self.source}/d/small{n}", random_bytes(seed + n, n * 1000))
        os.symlink("d/small1", f"{self.source}/link")

    def run(self, d, line, *options):
        # What waits for bytes that a flipped length promised waits for so long.
        options = (f"--timeout={2 * SLOW}", "-rp", *options)
        if self.command == "put":
            return cp(*options, "put", self.source, at("t"), port=line.port)
        return cp(*options, "get", at("t"), self.dest(d), port=line.port)

    def dest(self, d):
        return f"{d.root}/t" if self.command == "put" else f"{d.root}.got"

    def daemon(self):
        d = Daemon()
        if self.command == "get":
            shutil.copytree(self.source, f"{d.root}/t", symlinks=True)
        return d

    def measure(self):
        """Bytes each way when nothing happens."""
        with self.daemon() as d, Proxy(d.port) as line:
            did(self.run(d, line), f"{self.command}: the tree, undisturbed")
            return {way: line.passed(way) for way in (UP, DOWN)}

    def suffer(self, fault):
        """What is wrong after FAULT; nothing, hopefully."""
        with self.daemon() as d, Proxy(d.port, [fault]) as line:
            done = self.run(d, line)
            if done.returncode not in (0, 3, 9):
                return f"{done.returncode} {done.stderr}"
            partial = "\n".join(found for found in tree_diff(self.source, self.dest(d)).splitlines()
                                if not found.endswith("/ None"))
            if partial:
                return f"wrong content after {done.returncode}: {partial}"
            if done.returncode:  # broke off while they greeted each other
                done = self.run(d, line)
            differ = tree_diff(self.source, self.dest(d))
            return f"{done.returncode} {done.stderr} {differ}" if done.returncode or differ else ""


def offsets(rng, total, count):
    """Where to strike in TOTAL bytes: half of them in the first and the last kilobyte."""
    for n in range(count):
        if n % 2:
            yield rng.randrange(total)
        else:
            at_start = rng.randrange(min(total, 1000))
            yield at_start if rng.random() < 0.7 else max(0, total - 1 - at_start)


def check_faults_anywhere():
    seed = new_seed()
    rng = random.Random(seed)
    count = 100 if LONG else 4 if SANITIZED else 8
    for command in ("put", "get"):
        tree = Tree(command, seed)
        totals = tree.measure()
        for way in (UP, DOWN):
            for kind in ("cut", "flip"):
                faults = [Fault(kind, way, where, mask=1 << rng.randrange(8), reset=rng.random() < 0.3)
                          for where in offsets(rng, totals[way], count)]
                in_parallel(f"{command}: {kind} anywhere {way}", tree.suffer, faults)


def check_cut_pipeline():
    """Of many small files on their way at once, each arrives and is told of once."""
    seed = new_seed()
    rng = random.Random(seed)
    count = 1200
    src = scratch()
    for n in range(count):
        write(f"{src}/{n % 5}/{n}", rng.randbytes(rng.randrange(3000)))
    with Daemon() as d, Proxy(d.port) as line:
        did(cp("-r", "put", src, at("given"), port=line.port), "many small files, undisturbed")
        total = line.passed(UP)
        for options in ([], ["-N"], ["-rp", "--no-sync"]):
            for command in ("put", "get"):
                name = f"{command}{options}"
                dest = f"{d.root}/{name}" if command == "put" else f"{scratch()}/t"
                # What counts the files for --json has a connection of its own, and a cut.
                line.faults = [Fault("cut", UP if command == "put" else DOWN, rng.randrange(total // 10, total // 3),
                                     reset=rng.random() < 0.5) for _ in range(3)]
                struck = line.struck
                args = ("put", src, at(name)) if command == "put" else ("get", at("given"), dest)
                done = cp("-r", "--json", "--retries=9", *options, *args, port=line.port)
                events = [json.loads(event) for event in done.stdout.splitlines()]
                told = sum(event["event"] == "file" for event in events)
                end = events[-1]
                tap.ok((done.returncode, told, end["files"], end["failed"]) == (0, count, count, 0)
                       and line.struck >= struck + 2, f"{name}: cut again and again, each is told of once",
                       f"{done.returncode} {told} {end} {line.struck - struck}\n{done.stderr[:3000]}")
                differ = tree_diff(src, dest)
                tap.ok(not differ, f"{name}: and all are there", differ)


def check_wrong_byte():
    """Is repaired, and not by starting over."""
    seed = new_seed()
    for command in ("put", "get"):
        with Daemon() as d, Proxy(d.port) as line:
            move = Move(command, d, seed)
            line.faults = [Fault("flip", move.way, SIZE * 2 // 3)]
            with Watch(move.dest, move.digest) as watch:
                done = move.run(line, *move.pace(line))
            did(done, f"{command}: a wrong byte is repaired")
            tap.ok(line.struck == 1 and ("sending again from the last good byte" in done.stderr
                                         or "trying again" in done.stderr),
                   f"{command}: and told of", done.stderr)
            # What was sent before the other side could say so counts, too.
            move.check(f"{command}, wrong byte", line, 2)
            watch.ok(f"{command}, wrong byte")


def break_off(move, line):
    """Leaves a partial of two checkpoints or a little more."""
    process = move.start(line)
    wait_for(lambda: process.poll() is not None or
             any(os.path.getsize(path) > 2 * CHECKPOINT for path in move.partials()), what="a partial")
    process.kill()
    process.communicate()
    tap.ok(process.returncode == -9, f"{move.command}: broken off")


def check_changed_between():
    """A source that changed is never spliced onto what came before."""
    seed = new_seed()
    for command in ("put", "get"):
        for where, what in ((CHECKPOINT + 5, "in what was sent"), (SIZE - 5, "behind it")):
            with Daemon() as d, Proxy(d.port) as line:
                move = Move(command, d, seed)
                break_off(move, line)
                st = os.stat(move.source)
                with open(move.source, "r+b") as f:
                    f.seek(where)
                    f.write(b"\0CHANGED")
                os.utime(move.source, ns=(st.st_atime_ns, st.st_mtime_ns))
                passed = line.passed(move.way)
                with Watch(move.dest, digest(move.source)) as watch:
                    did(move.run(line), f"{command}: changed {what}, same size and time")
                watch.ok(f"{command}: changed {what}")
                tap.ok(digest(move.dest) == digest(move.source), "arrives as it is now")
                anew = line.passed(move.way) - passed >= SIZE
                tap.ok(anew == (where < 2 * CHECKPOINT), "and starts anew when it must",
                       line.passed(move.way) - passed)


def change(path, how):
    with open(path, "r+b") as f:
        if how == "written to":
            f.seek(MIB)
            f.write(b"\0CHANGED")
        elif how == "truncated":
            f.truncate(6 * MIB)
        else:
            f.seek(0, os.SEEK_END)
            f.write(b"more")


def changed_during(item):
    command, how = item
    with Daemon() as d, Proxy(d.port) as line:
        move = Move(command, d, 1, 12 * MIB)
        line.delay = 0.01  # for 64 KiB each, so that not all of it lies in buffers
        process = cp_start("--limit=6M", *move.args, port=line.port)
        wait_passed(line, move.way, 2 * MIB, process)
        change(move.source, how)
        said = process.communicate()[1].decode()
        if process.returncode != 6 or "the source changed while it was read" not in said:
            return f"{process.returncode}, not 6: {said}"
        if os.path.exists(move.dest) or move.partials():
            return "something is published or kept"
        line.delay = 0
        done = move.run(line)
        return done.stderr if done.returncode or digest(move.dest) != digest(move.source) else ""


def check_changed_during():
    in_parallel("a source that changes under way: exit status 6, nothing published, then arrives",
                changed_during, [(command, how) for command in ("put", "get")
                                 for how in ("written to", "truncated", "appended to")], 3)


def check_partial_age():
    with Daemon("--partial-age=3600") as d, Proxy(d.port) as line:
        move = Move("put", d, 1)
        break_off(move, line)
        d.restart()
        tap.ok(len(move.partials()) == 1, "a partial that is not old stays")
        # Of all the times that a file has, its last change cannot be set back.
        wait_for(lambda: time.time() - os.stat(move.partials()[0]).st_ctime > 2.1)
        d.args = ("--partial-age=1",)
        d.restart()
        wait_for(lambda: not move.partials(), what="the sweep")
        wait_for(lambda: "removed 1 unfinished transfers" in d.log_text(), what="a word of it")
        tap.ok(True, "an old one is removed")
        did(move.run(line), "and the transfer starts anew")
        tap.ok(digest(move.dest) == move.digest, "and arrives")


def check_takeover():
    """The server does not know yet that the old connection is dead."""
    for command in ("put", "get"):
        with Daemon() as d, Proxy(d.port) as line:
            move = Move(command, d, 2)
            line.faults = [Fault("blackhole", move.way, SIZE // 2)]
            began = time.monotonic()
            done = move.run(line, f"--timeout={2 * SLOW}")
            did(done, f"{command}: the same run takes over from its vanished connection")
            tap.ok("no progress for too long" in done.stderr and time.monotonic() - began < 60 * SLOW,
                   f"{command}: after --timeout", done.stderr)
            move.check(f"{command}, vanished", line, 1)
    with Daemon() as d, Proxy(d.port) as line:
        move = Move("put", d, 3)
        line.faults = [Fault("blackhole", UP, SIZE // 2)]
        process = move.start(line)
        wait_for(lambda: line.struck)
        process.kill()
        process.communicate()
        stalled = time.monotonic()
        # A connection must be silent for three seconds before a stranger may have its partial.
        wait_for(lambda: time.monotonic() > stalled + 3.2)
        did(move.run(line), "put: another run takes over from a silent connection")
        move.check("put, silent", line, 1)


def check_two_writers():
    with Daemon() as d:
        for n in range(10 if LONG else 2):
            sources = [write(f"{scratch()}/f", random_bytes(n * 2 + i, 3 * CHECKPOINT + i)) for i in (0, 1)]
            whole = [digest(source) for source in sources]
            with Watch(f"{d.root}/f", *whole, *([last] if n else [])) as watch:
                writers = [cp_start("--limit=30M", "put", source, at("f"), daemon=d) for source in sources]
                said = [w.communicate()[1].decode() for w in writers]
            tap.ok([w.returncode for w in writers] == [0, 0], "two who write one name both succeed", said)
            last = digest(f"{d.root}/f")
            tap.ok(last in whole, "and one of them has the last word")
            watch.ok("two writers")
        # Now the same source: two who would continue the same partial.
        writers = [cp_start("--limit=30M", "put", sources[0], at("g"), daemon=d) for _ in range(2)]
        said = [w.communicate()[1].decode() for w in writers]
        tap.ok([w.returncode for w in writers] == [0, 0] and digest(f"{d.root}/g") == whole[0],
               "two who send the same file to the same name both succeed", said)
        tap.ok(not partials(d.root), "nothing unfinished is left", partials(d.root))


def check_readers():
    """While a file is replaced again and again, everyone reads an old or a new one, whole."""
    src = scratch()
    sources = [write(f"{src}/{n}", random_bytes(n, 2 * CHECKPOINT + n)) for n in (0, 1)]
    whole = {digest(source) for source in sources}
    ended = threading.Event()
    found = []

    def replace():
        n = 0
        while not ended.is_set():
            n += 1
            found.append(("put", cp("--no-sync", "put", sources[n % 2], at("f"), daemon=d)))

    with Daemon() as d:
        did(cp("put", sources[0], at("f"), daemon=d), "a file to be replaced")
        writer = threading.Thread(target=replace)
        writer.start()
        try:
            local = []
            for n in range(100 if LONG else 15):
                done = cp("get", at("f"), f"{src}/got", daemon=d)
                found.append(("get", done))
                if done.returncode == 0 and digest(f"{src}/got") not in whole:
                    found.append(("wrong", done))
                with open(f"{d.root}/f", "rb") as f:
                    local.append(f.read())
        finally:
            ended.set()
            writer.join()
    failed = [(what, done.returncode, done.stderr) for what, done in found if done.returncode]
    tap.ok(not failed, "all puts and gets succeed", failed[:5])
    tap.ok(not any(what == "wrong" for what, _ in found), "who gets it gets one of the two")
    seen = {hashlib.sha256(data).hexdigest() for data in local}
    tap.ok(seen <= whole, "who opens it reads one of the two", seen)


run(check_killed_client, check_killed_daemon, check_cut_connections, check_streams_cut,
    check_faults_anywhere, check_cut_pipeline, check_wrong_byte, check_changed_between, check_changed_during,
    check_partial_age, check_takeover, check_two_writers, check_readers)
