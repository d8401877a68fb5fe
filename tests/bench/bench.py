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
import table

SRC = os.environ.get("SOCKD_SRCDIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PAGE = 4096
HELD_BLOCK = 256 << 10
POPULATE_WRITE = 23  # madvise(2); Python has no name for it
MEMORY_PEERS = (peers.SockdNoSync, peers.SockdNoSyncTls, peers.Limit, peers.LimitTls, peers.Rsync,
                peers.Nginx, peers.Scp, peers.Digests)
DISK_PEERS = (peers.Sockd, peers.SockdTls, peers.RsyncFsync)


class Load:
    """What is moved: SOURCE is its path below the served directory, FILES all that is in it."""

    def __init__(self, data, source, name, title):
        self.source = source
        self.name = name
        self.files = files_in(os.path.join(data, source))
        size = table.size_text(sum(self.files.values()))
        self.title = title.format(files=len(self.files), size=size)


class Arena:
    """A directory on one file system, and the peers that are compared there; the first of
    them is ours.  On a disk all is FLUSHED."""

    def __init__(self, title, top, kinds, flushed):
        self.title = title
        self.top = top
        self.flushed = flushed
        self.data = os.path.join(top, "data")
        self.peers = [kind(self.data, os.path.join(top, kind.__name__)) for kind in kinds]
        self.digests = next((p for p in self.peers if isinstance(p, peers.Digests)), None)
        self.absent = {peer: why for peer in self.peers if (why := peer.missing())}
        self.times = {}

    def present(self):
        return [peer for peer in self.peers if peer not in self.absent]

    def median(self, *job):
        """Of the peer, load and direction JOB; None when it was not run."""
        return statistics.median(self.times[job]) if job in self.times else None


# -- What is moved ------------------------------------------------------------

def files_in(top):
    """The sizes of the files in the tree TOP, by their paths in it."""
    return {rel: os.path.getsize(os.path.join(top, rel).rstrip("/")) for rel in peers.files_below(top)}


def write_random(rng, path, size):
    with open(path, "wb") as file:
        for at in range(0, size, 1 << 20):
            file.write(rng.randbytes(min(size - at, 1 << 20)))


def not_plain(where, names):
    """For copytree: what is to be left out.  A link means something else to each program."""
    paths = {name: os.path.join(where, name) for name in names}
    return [name for name, path in paths.items()
            if os.path.islink(path) or not (os.path.isfile(path) or os.path.isdir(path))]


def loads_make(data, options):
    """Fills DATA/source."""
    rng = random.Random(options.seed)
    top = os.path.join(data, "source")
    os.makedirs(os.path.join(top, "small"))
    write_random(rng, os.path.join(top, "large"), options.size)
    for number in range(options.count):
        write_random(rng, os.path.join(top, "small", f"{number:05}"), PAGE)
    loads = [Load(data, "source/large", "large", "one file of {size}"),
             Load(data, "source/small", "small", "{files:,} files of 4 KiB")]
    if os.path.isdir(options.tree):
        shutil.copytree(options.tree, os.path.join(top, "tree"), ignore=not_plain)
        loads.append(Load(data, "source/tree", "tree", f"{options.tree}, {{files:,}} files of {{size}}"))
    return loads


def same_bytes(ours, its, files):
    pairs = ([os.path.join(top, rel).rstrip("/") for top in (ours, its)] for rel in files)
    return all(filecmp.cmp(*pair, shallow=False) for pair in pairs)


def arrived(data, load, into, every_byte):
    """Whether LOAD stands below INTO with all its files."""
    its = os.path.join(into, os.path.basename(load.source))
    return (os.path.exists(its) and files_in(its) == load.files and
            (not every_byte or same_bytes(os.path.join(data, load.source), its, load.files)))


# -- Measuring ----------------------------------------------------------------

def memory_hold(need):
    """A virtual machine may give free memory back to its host, and getting it again is slow.  Only
    large free blocks are given: holding one page in each 256 KiB keeps them."""
    with open("/proc/meminfo", encoding="ascii") as info:
        free = int(re.search(r"MemAvailable: +(\d+)", info.read())[1]) << 10
    size = min(need, free // 2) // HELD_BLOCK * HELD_BLOCK
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # where the kernel cannot, it is not done
        held.madvise(mmap.MADV_NOHUGEPAGE)
        held.madvise(POPULATE_WRITE)
        for at in range(0, size, HELD_BLOCK):
            held.madvise(mmap.MADV_DONTNEED, at + PAGE, HELD_BLOCK - PAGE)
    return held


def command_time(command, scratch):
    """The seconds that COMMAND takes, which must succeed."""
    with tempfile.TemporaryFile(dir=scratch) as said:
        began = time.monotonic()
        status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        took = time.monotonic() - began
        said.seek(0)
        if status != 0:
            raise RuntimeError(f"{' '.join(command)}: status {status}\n" +
                               said.read().decode(errors="replace"))
    return took


def clear(arena, load, into):
    """Some file systems remember what was removed lately and make new files slowly; so trees on
    a disk stay until the end."""
    if arena.flushed and len(load.files) > 1:
        os.rename(into, tempfile.mkdtemp(prefix="old.", dir=arena.data))
    else:
        shutil.rmtree(into)


def run(arena, peer, load, direction, quick):
    into = os.path.join(arena.data, "into")
    os.mkdir(into)
    command = getattr(peer, direction)(load.source, "into")
    if arena.flushed and not quick:
        os.sync()  # what the one before left behind is not this one's
    took = command_time(command, arena.top)
    if peer is not arena.digests and not arrived(arena.data, load, into, quick):
        raise RuntimeError(f"{' '.join(command)}: not all of it arrived")
    clear(arena, load, into)
    arena.times.setdefault((peer, load, direction), []).append(took)


def measure(arenas, loads, options):
    rng = random.Random(options.seed)
    jobs = [(arena, peer, load, direction) for arena in arenas for peer in arena.present()
            for load in loads for direction in table.DIRECTIONS if peer.can(direction, load.files)]
    for number in range(options.rounds):
        rng.shuffle(jobs)
        for job in jobs:
            run(*job, options.quick)
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr, flush=True)


def is_wanted(kind, options):
    return any(word in kind.name for word in options.only.split(","))


@contextlib.contextmanager
def running(arenas):
    """The daemons of all peers."""
    with contextlib.ExitStack() as stack:
        for arena in arenas:
            for peer in arena.present():
                stack.callback(peer.stop)
                peer.start()
        yield


# -- The program --------------------------------------------------------------

def options_parse(argv):
    parser = argparse.ArgumentParser(description="Compares sockcp with others; prints a table.")
    parser.add_argument("--rounds", type=int, help="how often each command is run (5)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32),
                        help="of the order and the contents; it is printed")
    parser.add_argument("--dir", default="/dev/shm", help="in memory; nothing is flushed there (/dev/shm)")
    parser.add_argument("--disk", default="/var/tmp", help="on a disk; all is flushed there (/var/tmp)")
    parser.add_argument("--tree", default="/usr/include", help="the real tree (/usr/include)")
    parser.add_argument("--size", type=int, help="bytes of the large file (1 GiB)")
    parser.add_argument("--count", type=int, help="number of small files (10000)")
    parser.add_argument("--only", default="", help="peers whose name has one of these in it, separated by commas")
    parser.add_argument("--quick", action="store_true",
                        help="one round, little data, every byte compared")
    parser.add_argument("--write-readme", action="store_true", help="put the table into README")
    options = parser.parse_args(argv)
    rounds, size, count = (1, 5 << 20, 50) if options.quick else (5, 1 << 30, 10000)
    options.rounds = options.rounds or rounds
    options.size = options.size or size
    options.count = options.count or count
    return options


def bench(options):
    """All that is measured, as Markdown."""
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bench.", dir=options.dir) as memory, \
            tempfile.TemporaryDirectory(prefix="bench.", dir=options.disk) as disk:
        for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):  # keys of this run alone
            os.environ[variable] = os.path.join(memory, variable.lower())
        memory_peers, disk_peers = ([kind for kind in kinds if is_wanted(kind, options)]
                                    for kinds in (MEMORY_PEERS, DISK_PEERS))
        arenas = [Arena("in memory", memory, memory_peers, flushed=False),
                  Arena("flushed to disk", disk, disk_peers, flushed=True)]
        arenas = [arena for arena in arenas if arena.peers]
        held = None if options.quick else memory_hold(8 * options.size)
        loads = loads_make(arenas[0].data, options)
        for arena in arenas[1:]:
            shutil.copytree(arenas[0].data, arena.data)
        with running(arenas):
            measure(arenas, loads, options)
        del held
        return table.report(arenas, loads, options.rounds)


def main():
    options = options_parse(None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of what cleans up
    text = bench(options)
    print(text, end="")
    if options.write_readme:
        table.readme_update(os.path.join(SRC, "README"), text)


if __name__ == "__main__":
    main()
