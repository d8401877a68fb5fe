#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody on the server's machine swaps a directory, or a file, with a link that leads out
of the root, again and again, while a client asks for all there is to ask: nothing outside is
read, nothing outside is written.

The daemons of naive.c, which look first and then open, are caught at it."""
import collections
import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time

import naive
from faults import work_in_memory
from harness import LONG, RESERVED, SANITIZED, Daemon, diag, run, tap
from naive import ask, attr, get, leaks, link, listing, mkdir, stat, upload
from peers import OTHER_RUN, TAG, Client

SECONDS = 30 if LONG else 3
PATIENCE = 4  # times as long, until everything has gone both ways
REPEATS = 12  # of each request, before the answers are read
# Two names: they are exchanged, so that d is a directory, then a link to ../outside, and x
# is a file, then a link to ../outside/f.  One name: it is a link to ../outside, then nothing.
SWAPPER = """
import ctypes, os, signal, sys
renameat2 = ctypes.CDLL(None).renameat2
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(flips)))
os.chdir(sys.argv[1])
names, flips = sys.argv[2:], 0
while len(names) == 2:
    flips += renameat2(-100, b"d", -100, b"e", 2) == 0
    for source, make in ("inside", os.link), ("../outside/f", os.symlink):
        make(source, "t")
        os.rename("t", "x")
while True:
    try:
        os.symlink("../outside", names[0])
        os.unlink(names[0])
        flips += 1
    except OSError:
        pass
"""


@contextlib.contextmanager
def swapping(root, flips, *names):
    """FLIPS gets the number of times that something else had the name."""
    with subprocess.Popen([sys.executable, "-c", SWAPPER, root, *names],
                          stdout=subprocess.PIPE) as swapper:
        try:
            yield
        finally:
            swapper.send_signal(signal.SIGTERM)
            flips.append(int(swapper.stdout.read() or 0))


# -- What is asked -----------------------------------------------------------

REQUESTS = {
    "GET": lambda n: [get(b"d/f"), get(b"d/s/f")],
    "GET of a file that is swapped": lambda n: [get(b"x")],
    "STAT": lambda n: [stat(b"d/f"), stat(b"d/s")],
    "STAT of a file that is swapped": lambda n: [stat(b"x")],
    "LIST": lambda n: [listing(b"d"), listing(b"d/s")],
    "LIST of the tree": lambda n: [listing(b"d", "RECURSIVE")],
    "ASK": lambda n: [ask(b"d/f"), ask(b"d/s/f")],
    "PUT": lambda n: [upload(b"d/new%d" % (n % 9)), upload(b"d/s/new")],
    "PUT over a file": lambda n: [upload(b"d/f"), upload(b"d/s/f", "RESUMABLE", TAG)],
    "PUT with parents": lambda n: [upload(b"d/p%d/q/f" % (n % 99), "PARENTS")],
    "MKDIR": lambda n: [mkdir(b"d/m%d" % (n % 99))],
    "LINK": lambda n: [link(b"d/l%d" % (n % 9), b"f")],
    "ATTR": lambda n: [attr(b"d"), attr(b"d/s")],
}
READS = {name: make for name, make in REQUESTS.items()
         if name.startswith(("GET", "STAT", "LIST", "ASK"))}
WRITES = {name: make for name, make in REQUESTS.items() if name not in READS}
WRITTEN = {"f$", "new", "p", "m", "l", "s$"}  # outside, by WRITES
# Where somebody is confined by Landlock alone.
HIDDEN = {name: make for name, make in REQUESTS.items() if not name.startswith("STAT")}
UPLOADS = {name: make for name, make in REQUESTS.items() if name.startswith("PUT") or name == "LINK"}


class Racer:
    """A client that asks REQUESTS, and goes through the tree with NEXT if it MOVES_ON, round
    after round, and counts what became of that."""

    def __init__(self, requests, moves_on):
        self.requests = requests
        self.moves_on = moves_on
        self.done = {name: collections.Counter() for name in [*requests, *["NEXT"] * moves_on]}
        self.leaked = collections.Counter()  # requests whose answer told of what is outside
        self.rounds = itertools.count()

    def asked(self):
        return sum(sum(counts.values()) for counts in self.done.values())

    def take(self, name, answer):
        if leaks(answer):
            self.leaked[name] += 1
        if answer.name in ("FILE", "DONE", "OK", "LISTED") or name.startswith("STAT") \
                and answer.name == "ENTRY":
            self.done[name]["done"] += 1
        elif answer.name in ("ERROR", "OFFER"):
            self.done[name]["refused"] += 1

    def move_on(self, c):
        """All of the tree, a few names at a time; d is entered, or is a link and is not."""
        answer, last, entered = None, c.next_id(), False
        c.send_raw(listing(b"", "RECURSIVE", 2)(last))
        while answer is None or answer.name == "ENTRY" or answer.name == "LISTED" \
                and answer.values["more"]:
            if answer and answer.name == "LISTED":
                last = c.request("NEXT", max=2)
            answer = c.answer(last)
            entered |= answer.name == "ENTRY" and answer.values["path"].startswith(b"d/")
            self.leaked["NEXT"] += leaks(answer)
        self.done["NEXT"]["done" if entered else "refused"] += 1

    def ask_all(self, c):
        naive.ask_all(c, [(name, request) for _ in range(REPEATS) for n in [next(self.rounds)]
                          for name, make in self.requests.items() for request in make(n)], self.take)

    def went_both_ways(self):
        return all(counts["refused"] and (counts["done"] or name == "ASK")
                   for name, counts in self.done.items())

    def race(self, daemon, patience):
        """For SECONDS, PATIENCE times as long when fortune was one-sided."""
        began = time.monotonic()
        while (spent := time.monotonic() - began) < SECONDS or (
                not self.went_both_ways() and spent < patience * SECONDS):
            with Client(daemon, run_id=OTHER_RUN) as c:
                self.ask_all(c)
                if self.moves_on:
                    self.move_on(c)


def race(requests, names, lacking, patience):
    """What leaked or was changed outside; and the racer."""
    root, outside = naive.make_trees()
    os.symlink("../outside", f"{root}/e")
    racer = Racer(requests, names == TREE and requests is not WRITES)
    flips, before = [], naive.state_of(outside)
    env = naive.lacking(root, *lacking) if lacking else None
    with Daemon(root=root, env=env) as d:
        with swapping(root, flips, *names):
            racer.race(d, patience)
    changed = naive.difference(before, naive.state_of(outside))
    diag(f"{racer.asked()} requests, {flips[0]} swaps; {racer.leaked.total()} answers told of what "
         f"is outside, {len(changed)} names outside changed")
    return racer, changed


TREE = ("d", "x")
AREA = (RESERVED,)


def holds(title, lacking, requests=None, names=TREE):
    if lacking and SANITIZED:
        tap.skip(title, "what is preloaded cannot come before a sanitizer's library")
        return
    racer, changed = race(requests or REQUESTS, names, lacking, PATIENCE)
    tap.ok(not racer.leaked.total() and not changed, f"{title}: nothing escapes",
           f"{racer.leaked} {changed}")
    tap.ok(racer.went_both_ways() and racer.asked() > 1000, f"{title}: all requests met both",
           {name: dict(counts) for name, counts in racer.done.items()})


def breaks(title, lacking, requests, names=TREE):
    """The same without what is to hold; or None."""
    if SANITIZED:
        tap.skip(f"control: {title}", "what is preloaded cannot come before a sanitizer's library")
        return None
    return race(requests, names, lacking, 1)


def check_all():
    holds("all layers", ())


def check_openat2():
    holds("openat2 alone", ("unlocked",))


def check_by_hand():
    holds("by hand alone", ("by-hand", "unlocked"))


def check_landlock():
    holds("Landlock alone", ("check",), HIDDEN)


def check_naive():
    # What is written outside covers what is to be read there.
    if broken := breaks("looked at, then opened", ("check", "unlocked"), READS):
        dull = {name for name in READS if not broken[0].leaked[name]}
        tap.ok(not dull, "control: looked at, then opened: every question is answered from outside",
               broken[0].leaked)
    if broken := breaks("looked at, then opened", ("check", "unlocked"), WRITES):
        dull = {name for name in WRITTEN if not any(map(re.compile(name).match, broken[1]))}
        tap.ok(not dull, "control: looked at, then opened: every change is made outside", dull)


def check_reserved():
    holds("the reserved directory", ("unlocked",), UPLOADS, AREA)


def check_reserved_naive():
    if broken := breaks("the reserved directory may be a link", ("through", "unlocked"), UPLOADS, AREA):
        tap.ok(broken[1], "control: the reserved directory may be a link: what is outside is changed")


if not SANITIZED:
    naive.shim()  # before: programs may not be run from there
work_in_memory()
run(check_all, check_openat2, check_by_hand, check_landlock, check_naive, check_reserved,
    check_reserved_naive)
