#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power is cut while files are put and got: what was acknowledged is there whole, and
every name that is there has all of its old or all of its new file.

The files lie on an ext4 whose disk logs every write (blklogwrites of qemu).  A cut is a
beginning of that log; in every other cut some of the writes behind the last flush are missing,
too, as a disk with a cache may write in any order."""
import collections
import contextlib
import os
import random
import signal
import struct
import subprocess

from faults import CC, make_version, missing_tool, suffering
from harness import (LONG, Daemon, at, cp, diag, digest, new_seed, run, scratch, tap,
                     tree_read, wait_for)

DISK_SIZE = 64 << 20
SECTOR = 512
FLUSH, DISCARD = 1, 4  # flags of an entry
# No help from the kernel for programs that do not flush before they rename.
MOUNT = "noauto_da_alloc,nodiscard"
CUTS = 500 if LONG else 40
CONTROL_CUTS = 100  # at most, until one does harm
AGAIN_EVERY = 10  # so often the next run is looked at, too

SERVED, GOT = "served", "got"
# What is moved, one after the other: by which way, and under which name.
WORK = (("put", "f0"), ("put", "f1"), ("get", "f0"), ("put", "f0"), ("put", "tree"),
        ("get", "tree"), ("put", "f2"), ("get", "f1"), ("put", "tree"), ("put", "f1"),
        ("get", "f0"), ("get", "tree"), ("put", "big"), ("put", "f2"))


def sh(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# -- The disk ----------------------------------------------------------------


class Disk:
    """An ext4, mounted at .top while the context lasts, and the log of what was written."""

    def __init__(self):
        place = scratch()
        self.base, self.now, self.log, self.export = (
            f"{place}/{name}" for name in ("base.img", "now.img", "log.img", "export"))
        self.top = f"{place}/top"
        os.mkdir(self.top)
        for path, size in ((self.base, DISK_SIZE), (self.log, 2 << 30), (self.export, 0)):
            with open(path, "wb") as f:
                f.truncate(size)
        sh("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.base)
        sh("cp", "--sparse=always", self.base, self.now)
        self.stack = contextlib.ExitStack()
        self.counted, self.counted_to = 0, SECTOR  # entries of the log, and where the next begins

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            qemu = subprocess.Popen([
                "qemu-storage-daemon",
                "--blockdev", f"file,node-name=disk,filename={self.now}",
                "--blockdev", f"file,node-name=log,filename={self.log}",
                "--blockdev", "blklogwrites,node-name=logged,file=disk,log=log",
                "--export", f"fuse,id=export,node-name=logged,mountpoint={self.export},"
                            "writable=on,growable=off"])
            stack.callback(qemu.wait)
            stack.callback(qemu.send_signal, signal.SIGTERM)
            wait_for(lambda: os.stat(self.export).st_size or qemu.poll() is not None)
            loop = sh("losetup", "-f", "--show", self.export)
            stack.callback(sh, "losetup", "-d", loop)
            sh("mount", "-o", MOUNT, loop, self.top)
            stack.callback(sh, "umount", self.top)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def position(self):
        """
        How many entries the log has.  They are counted one by one: the number in its head is
        written with each flush, but of two flushes at once the older may write it last.
        """
        with open(self.log, "rb") as log:
            while True:
                log.seek(self.counted_to)
                where, sectors, flags, _ = struct.unpack("<QQQQ", log.read(32))
                if not (where or sectors or flags):
                    return self.counted
                self.counted += 1
                self.counted_to += SECTOR + (0 if flags & DISCARD else sectors * SECTOR)

    def entries(self):
        """(flags, where, data) of everything that was written."""
        entries = []
        with open(self.log, "rb") as log:
            count = struct.unpack_from("<QQQ", log.read(SECTOR))[2]
            for _ in range(count):
                where, sectors, flags, _ = struct.unpack_from("<QQQQ", log.read(SECTOR))
                data = b"" if flags & DISCARD else log.read(sectors * SECTOR)
                entries.append((flags, where * SECTOR, data))
        return entries


class Wreck:
    """What an old disk has after a cut, mounted at .top while the context lasts."""

    def __init__(self):
        self.place = scratch()
        self.image, self.top = f"{self.place}/image", f"{self.place}/top"
        os.mkdir(self.top)

    def make(self, base, entries, dropped):
        """BASE with ENTRIES, but for those whose number is in DROPPED."""
        sh("cp", "--sparse=always", base, self.image)
        with open(self.image, "r+b") as image:
            for i, (_, where, data) in enumerate(entries):
                if i not in dropped:
                    os.pwrite(image.fileno(), data, where)

    def __enter__(self):
        sh("mount", "-o", f"loop,{MOUNT}", self.image, self.top)
        return self

    def __exit__(self, *_):
        sh("umount", self.top)

    def tree(self):
        return {path: what for place in (SERVED, GOT)
                for path, what in tree_at(place, f"{self.top}/{place}").items()}


# -- The work ----------------------------------------------------------------


class Version:
    """What a name was to have from some moment on."""

    def __init__(self, what):
        self.what = what
        self.acknowledged = None  # position in the log


class Ledger:
    """What was promised of every name, in the order of time."""

    def __init__(self):
        self.versions = collections.defaultdict(list)

    def begin(self, tree):
        """New versions of the names in TREE, which are returned."""
        begun = []
        for path, what in tree.items():
            if what != ("dir",):
                begun.append(Version(what))
                self.versions[path].append(begun[-1])
        return begun

    def unacknowledged(self):
        return [path for path, versions in self.versions.items()
                if None in [version.acknowledged for version in versions]]

    def wrong(self, tree, cut):
        """What is wrong with TREE after a cut behind CUT entries, a line each."""
        lines = []
        for path in self.versions.keys() | tree.keys():
            versions, found = self.versions.get(path, []), tree.get(path)
            kept = [i for i, version in enumerate(versions)
                    if version.acknowledged is not None and version.acknowledged <= cut]
            if kept and found is None:
                lines.append(f"{path!r} was acknowledged and is lost")
            elif kept and found not in [version.what for version in versions[kept[-1]:]]:
                lines.append(f"{path!r} is {found} in place of what was acknowledged")
            elif found not in (None, ("dir",)) and found not in [v.what for v in versions]:
                lines.append(f"{path!r} is {found}, torn")
        return lines


def tree_at(place, top):
    """tree_read, with PLACE before the names."""
    return {os.fsencode(f"{place}/") + path: what for path, what in tree_read(top).items()}


def make_sources(seed):
    """A directory for each step of the work, with what is moved in it."""
    sources = scratch()
    for i, (_, name) in enumerate(WORK):
        make_version(f"{sources}/{i}/{name}", "small" if name[0] == "f" else name, seed + 100 * i)
    return sources


def step(disk, ledger, daemons, sources, number, fault):
    way, name = WORK[number]
    source = f"{sources}/{number}"
    begun = ledger.begin(tree_at(SERVED if way == "put" else GOT, source))
    args = ("put", f"{source}/{name}", at()) if way == "put" else \
        ("get", at(f"{number}/{name}"), f"{disk.top}/{GOT}/")
    done = cp("-r", *args, daemon=daemons[way], env={**os.environ, **suffering(fault)})
    if done.returncode == 0:
        now = disk.position()
        for version in begun:
            version.acknowledged = now


def work(fault, sources):
    """Does the work with programs that suffer FAULT; what then can be cut."""
    ledger = Ledger()
    with Disk() as disk:
        for place in (SERVED, GOT):
            os.mkdir(f"{disk.top}/{place}")
        sh("sync", "-f", disk.top)
        began = disk.position()
        with Daemon(root=f"{disk.top}/{SERVED}", env=suffering(fault)) as receiver, \
                Daemon(root=sources) as sender:
            daemons = {"put": receiver, "get": sender}
            for number in range(len(WORK)):
                step(disk, ledger, daemons, sources, number, fault)
    return Cuts(disk, ledger, began)


# -- The cuts ----------------------------------------------------------------


class Cuts:
    """What the log of a disk is good for."""

    def __init__(self, disk, ledger, began):
        self.base, self.entries = disk.base, disk.entries()
        self.ledger, self.began = ledger, began
        self.flushes = [i for i, entry in enumerate(self.entries)
                        if entry[0] & FLUSH and i >= began]
        self.wreck = Wreck()

    def choose(self, rng, reorder):
        """How much of the log is there, and what is missing of that."""
        cut = rng.randrange(self.began, len(self.entries) + 1)
        if rng.random() < 0.5:  # just before or behind a flush
            cut = rng.choice(self.flushes) + rng.randrange(2)
        behind = max((i for i in self.flushes if i < cut), default=self.began)
        dropped = {i for i in range(behind, cut) if rng.random() < 0.5}
        return cut, dropped if reorder else ()

    def make(self, rng, number, again=None):
        """What is wrong after one cut, also when the file AGAIN is put once more; a line each."""
        cut, dropped = self.choose(rng, number % 2)
        self.wreck.make(self.base, self.entries[:cut], dropped)
        with self.wreck:
            lines = self.ledger.wrong(self.wreck.tree(), cut)
            if again and number % AGAIN_EVERY == 1:
                lines += put_again(self.wreck, again)
        return [f"cut {cut} less {len(dropped)}: {line}" for line in lines]


def put_again(wreck, source):
    """What is wrong with the upload of SOURCE to where a part of it may be; a line each."""
    with Daemon(root=f"{wreck.top}/{SERVED}") as daemon:
        done = cp("put", source, at(), daemon=daemon)
        right = done.returncode == 0 and \
            digest(f"{daemon.root}/{os.path.basename(source)}") == digest(source)
        daemon.stop()
    return [] if right else [f"the next upload ended with {done.returncode}: {done.stderr}"]


# -- The checks --------------------------------------------------------------


def check_promises():
    seed = new_seed()
    sources, rng = make_sources(seed), random.Random(seed)
    cuts = work(None, sources)
    diag(f"{len(cuts.entries)} writes, {len(cuts.flushes)} flushes")
    tap.ok(not cuts.ledger.unacknowledged(), "everything is acknowledged",
           cuts.ledger.unacknowledged())
    big = f"{sources}/{WORK.index(('put', 'big'))}/big"
    wrong = [line for number in range(CUTS) for line in cuts.make(rng, number, big)]
    tap.ok(not wrong, f"{CUTS} power cuts: nothing is lost or torn", "\n".join(wrong))


def check_controls():
    """Programs that do not flush, or too late, must be caught."""
    seed = new_seed()
    sources = make_sources(seed)
    for fault in ("no-sync", "no-dir-sync", "late-sync"):
        cuts, rng, wrong = work(fault, sources), random.Random(seed), []
        for number in range(CONTROL_CUTS):
            wrong = wrong or cuts.make(rng, number)
        tap.ok(wrong, f"control caught: {fault}", f"{CONTROL_CUTS} power cuts did no harm")
        diag("\n".join(wrong[:3]))


def reason_to_skip():
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/dev/fuse"):
        return "/dev/fuse is missing"
    missing = missing_tool(CC[0], "qemu-storage-daemon", "mkfs.ext4", "losetup")
    if missing:
        return missing
    try:
        with Disk():
            return None
    except (subprocess.CalledProcessError, TimeoutError) as e:
        return f"no file system on a logged disk: {getattr(e, 'stderr', '') or e}"


def main():
    reason = reason_to_skip()
    if reason:
        tap.skip_all(reason)
    run(check_promises, check_controls)


if __name__ == "__main__":
    main()
