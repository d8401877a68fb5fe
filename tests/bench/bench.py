#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long sockcp takes beside others: puts and gets one large file, many small
ones and a real tree, and prints the table that stands in the README.

Every program is measured from start to exit, with both ends on this machine.
The commands of a round are run in random order, so that what else happens
here meets all of them alike; what counts is the ratio of medians."""
import argparse
import contextlib
import filecmp
import mmap
import os
import platform
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import peers

SRC = os.environ.get("SOCKD_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PAGE = 4096
MARKS = ("<!-- bench:start -->", "<!-- bench:end -->")
DIRECTIONS = ("put", "get")
POPULATE_WRITE = 23  # madvise(2): MADV_POPULATE_WRITE


class Workload:
    """What is moved: SOURCE is its name below the served directory."""

    def __init__(self, source, title):
        self.source = source
        self.title = title
        self.files = 0
        self.bytes = 0

    def count(self, data):
        top = os.path.join(data, self.source)
        sizes = [os.path.getsize(os.path.join(top, rel).rstrip("/")) for rel in peers.files_below(top)]
        self.files = len(sizes)
        self.bytes = sum(sizes)


class Arena:
    """A directory on one file system, and the peers that are compared there; the first of them is
    ours, and the ratios are to it."""

    def __init__(self, title, top, kinds, flushed):
        self.title = title
        self.top = top
        self.data = os.path.join(top, "data")
        self.flushed = flushed
        self.peers = [kind(self.data, os.path.join(top, kind.__name__)) for kind in kinds]
        self.absent = {peer: why for peer in self.peers if (why := peer.missing())}
        self.times = {}

    def present(self):
        return [peer for peer in self.peers if peer not in self.absent]

    def jobs(self, workloads):
        for peer in self.present():
            for load in workloads:
                if isinstance(peer, peers.Limit) and load.files > 1:
                    continue
                for direction in DIRECTIONS:
                    if hasattr(peer, direction):
                        yield self, peer, load, direction

    def median(self, peer, load, direction):
        times = self.times.get((peer, load, direction))
        return statistics.median(times) if times else None


# -- What is moved ------------------------------------------------------------

def write_random(rng, path, size):
    with open(path, "wb") as file:
        while size > 0:
            file.write(rng.randbytes(min(size, 1 << 20)))
            size -= 1 << 20


def only_plain(where, names):
    """For copytree: a link means something else to each program."""
    paths = ((name, os.path.join(where, name)) for name in names)
    return [name for name, path in paths
            if os.path.islink(path) or not (os.path.isfile(path) or os.path.isdir(path))]


def sources_make(data, options):
    """Fills DATA/source; what there is to be moved from it."""
    rng = random.Random(options.seed)
    top = os.path.join(data, "source")
    os.makedirs(os.path.join(top, "small"))
    write_random(rng, os.path.join(top, "large"), options.size)
    for number in range(options.count):
        write_random(rng, os.path.join(top, "small", f"{number:05}"), PAGE)
    loads = [Workload("source/large", f"one file of {size_text(options.size)}"),
             Workload("source/small", f"{options.count:,} files of 4 KiB")]
    if os.path.isdir(options.tree):
        shutil.copytree(options.tree, os.path.join(top, "tree"), ignore=only_plain)
        loads.append(Workload("source/tree", ""))
    for load in loads:
        load.count(data)
    loads[-1].title = loads[-1].title or (
        f"{options.tree_name}: {loads[-1].files:,} files, {size_text(loads[-1].bytes)}")
    return loads


def arrived(data, source, into, contents):
    """Whether SOURCE stands below INTO with all its files."""
    ours = os.path.join(data, source)
    its = os.path.join(data, into, os.path.basename(source))
    if os.path.isdir(ours) != os.path.isdir(its) or not os.path.exists(its):
        return False
    names = peers.files_below(ours)
    pairs = [[os.path.join(top, rel).rstrip("/") for top in (ours, its)] for rel in names]
    return (sorted(names) == sorted(peers.files_below(its)) and
            all(os.path.getsize(a) == os.path.getsize(b) for a, b in pairs) and
            not (contents and any(not filecmp.cmp(a, b, shallow=False) for a, b in pairs)))


def size_text(count):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


# -- Measuring ----------------------------------------------------------------

def memory_hold(need):
    """A virtual machine may give free memory back to its host, and getting it again is slow.  The
    kernel only gives away large free blocks: one page held in each 256 KiB keeps them."""
    with open("/proc/meminfo", encoding="ascii") as info:
        free = int(re.search(r"MemAvailable: +(\d+)", info.read())[1]) << 10
    size = min(need, free // 2) & -(256 << 10)
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.madvise(mmap.MADV_NOHUGEPAGE)
    with contextlib.suppress(OSError):
        held.madvise(POPULATE_WRITE)
        for at in range(0, size, 256 << 10):
            held.madvise(mmap.MADV_DONTNEED, at + PAGE, (256 << 10) - PAGE)
    return held


def run_once(job, contents):
    """The seconds that one command takes."""
    arena, peer, load, direction = job
    into = os.path.join(arena.data, "into")
    os.mkdir(into)
    command = getattr(peer, direction)(load.source, "into")
    if arena.flushed and not contents:
        os.sync() # what the one before left behind is not this one's
    with tempfile.TemporaryFile(dir=arena.top) as said:
        began = time.monotonic()
        status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        took = time.monotonic() - began
        said.seek(0)
        if status != 0:
            raise RuntimeError(f"{peer.name}: {' '.join(command)}: status {status}\n" +
                               said.read().decode(errors="replace"))
    if not isinstance(peer, peers.Digests) and not arrived(arena.data, load.source, "into", contents):
        raise RuntimeError(f"{peer.name}: {' '.join(command)}: not all of it arrived")
    shutil.rmtree(into)
    return took


def measure(arenas, loads, options):
    rng = random.Random(options.seed)
    for turn in range(options.rounds):
        jobs = [job for arena in arenas for job in arena.jobs(loads)]
        rng.shuffle(jobs)
        for job in jobs:
            took = run_once(job, options.quick)
            arena, *key = job
            arena.times.setdefault(tuple(key), []).append(took)
        print(f"round {turn + 1} of {options.rounds} done", file=sys.stderr, flush=True)


@contextlib.contextmanager
def running(arenas):
    """The daemons of all peers."""
    with contextlib.ExitStack() as stack:
        for arena in arenas:
            for peer in arena.present():
                stack.callback(peer.stop)
                peer.start()
        yield


# -- Telling ------------------------------------------------------------------

def cell(seconds, ours):
    if seconds is None:
        return "–"
    return f"{seconds:.2f}" if seconds is ours else f"{seconds:.2f} ({seconds / ours:.2f})"


def table_row(arena, loads, name, value):
    """VALUE(load, direction) gives the seconds; ours stand without a ratio."""
    columns = [(load, direction) for load in loads for direction in DIRECTIONS]
    cells = []
    for column in columns:
        ours = arena.median(arena.peers[0], *column)
        seconds = value(*column)
        cells.append(cell(ours if seconds == ours else seconds, ours))
    return f"| {name} | {' | '.join(cells)} |"


def table(arena, loads):
    digests = next((p for p in arena.present() if isinstance(p, peers.Digests)), None)
    heads = [f"{load.title}: {direction}" if direction == "put" else direction
             for load in loads for direction in DIRECTIONS]
    lines = [f"| {arena.title} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for peer in arena.present():
        if peer is digests:
            continue
        name = peer.label()
        lines.append(table_row(arena, loads, name, lambda *at, p=peer: arena.median(p, *at)))
        if not peer.checks and digests:
            lines.append(table_row(arena, loads, f"{peer.name}, +SHA", lambda load, direction, p=peer:
                                   arena.median(p, load, direction) +
                                   arena.median(digests, load, "put")))
    return "\n".join(lines)


def machine():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
        text = info.read()
    model = re.search(r"model name\s*: (.*)", text)
    sha = ", SHA instructions" if re.search(r"\bsha_ni\b|\bsha2\b", text) else ""
    kernel = re.match(r"[\d.]*\d", platform.release())[0]
    return (f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}{sha}, "
            f"{platform.system()} {kernel}")


def file_system(path):
    """The type of the file system that PATH is on."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        rows = [line.split() for line in mounts]
    where = os.path.realpath(path)
    over = [row for row in rows if os.path.commonpath((row[4], where)) == row[4]]
    last = max(over, key=lambda row: len(row[4]))
    return last[last.index("-") + 1]


def wrap(text, width=80):
    import textwrap
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def report(arenas, loads, options):
    versions = dict.fromkeys(peer.version() for arena in arenas for peer in arena.present())
    absent = dict.fromkeys(f"{peer.name} ({why})" for arena in arenas
                           for peer, why in arena.absent.items())
    about = (f"Seconds from start to exit, the median of {options.rounds}, and in brackets how many "
             "times that of sockcp; both ends on one machine. The commands were run in turn, in random "
             "order, by tests/bench/bench.py (make bench). \"+SHA\" adds, for what verifies nothing, "
             "what has to be run to know that both ends hold the same: openssl dgst -sha256 on both at once.")
    facts = (f"Measured with {', '.join(filter(None, versions))} on {machine()}; "
             f"{' and '.join(dict.fromkeys(file_system(arena.top) for arena in arenas))}." +
             (f" Not measured: {', '.join(absent)}." if absent else ""))
    return "\n\n".join([wrap(about)] + [table(arena, loads) for arena in arenas] + [wrap(facts)]) + "\n"


def readme_update(path, text):
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    peers.write(path, before + MARKS[0] + "\n" + text + MARKS[1] + after)


# -- The program --------------------------------------------------------------

def options_parse(argv):
    parser = argparse.ArgumentParser(description="Compares sockcp with others; prints a table.")
    parser.add_argument("--rounds", type=int, help="how often each command is run (5)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32),
                        help="of the order and the contents (printed)")
    parser.add_argument("--dir", default="/dev/shm", help="memory, for what is not flushed (/dev/shm)")
    parser.add_argument("--disk", default="/var/tmp", help="disk, for what is flushed (/var/tmp)")
    parser.add_argument("--tree", default="/usr/include", help="the real tree (/usr/include)")
    parser.add_argument("--size", type=int, help="bytes of the large file (2 GiB)")
    parser.add_argument("--count", type=int, help="number of small files (10000)")
    parser.add_argument("--quick", action="store_true",
                        help="one round, little data, every byte compared")
    parser.add_argument("--write-readme", action="store_true", help="put the table into README")
    options = parser.parse_args(argv)
    usual = (1, 5 << 20, 50) if options.quick else (5, 2 << 30, 10000)
    options.rounds = options.rounds or usual[0]
    options.size = options.size or usual[1]
    options.count = options.count or usual[2]
    options.tree_name = options.tree
    return options


def bench(options):
    """All that is measured, as Markdown."""
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bench.", dir=options.dir) as memory, \
            tempfile.TemporaryDirectory(prefix="bench.", dir=options.disk) as disk:
        arenas = [
            Arena("in memory, not flushed", memory,
                  (peers.SockdNoSync, peers.Limit, peers.Rsync, peers.Nginx, peers.Scp, peers.Digests),
                  flushed=False),
            Arena("on disk, flushed", disk, (peers.Sockd, peers.RsyncFsync), flushed=True),
        ]
        held = None if options.quick else memory_hold(8 * options.size)
        loads = sources_make(arenas[0].data, options)
        shutil.copytree(arenas[0].data, arenas[1].data)
        with running(arenas):
            measure(arenas, loads, options)
        del held
        return report(arenas, loads, options)


def main():
    options = options_parse(None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)) # by way of what cleans up
    text = bench(options)
    print(text, end="")
    if options.write_readme:
        readme_update(os.path.join(SRC, "README"), text)


if __name__ == "__main__":
    main()
