#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten thousand hostile names in every request there is: no system call of the daemon reaches
for a file outside of its root, no answer tells of one, none changes.

strace writes down what the daemon's threads do, audit.py looks at every call."""
import collections
import os
import random

import audit
import naive
from faults import missing_tool
from harness import LONG, SANITIZED, Daemon, diag, new_seed, run, scratch, tap, write
from naive import ask, attr, get, leaks, link, listing, mkdir, stat, upload
from peers import Client

if why := missing_tool("strace"):
    tap.skip_all(why)

NAMES = 100000 if LONG else 10000
AT_A_TIME = 50  # names

# -- Names -------------------------------------------------------------------

PARTIAL = b".sockd-partial"
PIECES = [
    b"..", b"..", b"..", b".", b"", b"d", b"d", b"s", b"f", b"inside", b"outside", b"canary", b"root",
    b"out", b"out", b"leaf", b"abs", b"self", b"fds", b"up", b"far", b"loop", b"twice", b"around", b"in",
    b"dots", PARTIAL, PARTIAL.upper(), b".Sockd-Partial", PARTIAL + b" ", PARTIAL + b".",
    PARTIAL + b"\0", b"./" + PARTIAL, PARTIAL + b"/.", b"t-0000000000000000-0", b"p-" + b"0" * 32,
    b"...", b"..\0", b"..\n", b".. ", b" ..", b"..;", b"..\\..",
    b"\\..\\", b"%2e%2e", b"%2e%2e%2f", b"..%2f", b"%00", b"\xc0\xae\xc0\xae", b"\xe0\x80\xae", b"\xc0\xaf",
    "\uff0e\uff0e".encode(), "\u2025".encode(), "\u2024\u2024".encode(), b"\xe2\x80\x8b..",
    "e\u0301".encode(), "\u202e..".encode(), b"\xff\xfe", b"\x1b[2J", b"\r", b"\t", b"\x7f", b"\x01",
    b"-rf", b"--", b"~", b"~root", b"$HOME", b"`id`", b"$(id)", b"*", b"?", b"C:", b"con", b"file:",
    b"a" * 255, b"a" * 256, b"\xff" * 255, b"." * 255, b"../" * 40, b"d/" * 255, b"d/" * 256,
]
# Where the links of the root lead: somewhere of the test's own, should they be followed.
LINKS = {
    "out": "../outside", "leaf": "../outside/canary", "fds": "/proc/self/fd", "up": "..",
    "far": "d/../../outside/", "loop": "loop", "twice": "out", "around": "in/../out/./s", "in": "d",
    "dots": "d/./s/../f", "d/out": "../../outside", "d/s/up": "../../..",
}


def direct_names(outside):
    """Ways to the canary, for each of which somebody has fallen."""
    ways = [b"../" * n + b"outside/canary" for n in range(1, 9)]
    ways += [b"d/" * n + b"../" * (n + 1) + b"outside/canary" for n in range(1, 9)]
    ways += [prefix + os.fsencode(outside) + b"/canary"
             for prefix in (b"", b"/", b"//", b"/proc/self/root", b"/proc/self/cwd/", b"d/", b"./",
                            b"\\", b"\\\\?\\", b"file://")]
    ways += [b"/proc/self/fd/%d" % n for n in range(16)] + [b"fds/%d" % n for n in range(16)]
    ways += [b"fds/%d/../outside/canary" % n for n in range(16)]
    return ways + [start + b"/canary" for start in (
        b"out", b"abs", b"self", b"twice", b"in/out", b"d/out", b"d/s/up/outside", b"around/..",
        b"up/outside", b"far", b"./out", b"out/.")]


def draw_name(rng, direct):
    kind = rng.random()
    if kind < 0.1:
        name = rng.choice(direct)
    elif kind < 0.85:
        name = b"/".join(rng.choice(PIECES) for _ in range(rng.randint(1, 6)))
    elif kind < 0.95:
        name = rng.randbytes(rng.randint(1, 300))
    else:
        name = b"/".join([rng.choice(PIECES)] * rng.choice((2, 16, 255, 256, 257)))
    if rng.random() < 0.2:
        name = rng.choice((b"/", b"//", b"./", b"../", b"\0")) + name
    if rng.random() < 0.2:
        name += rng.choice((b"/", b"//", b"/.", b"/..", b"\0", b"\0/../..", b"/" + PARTIAL))
    return name[:16384]  # the longest that a message may have; more is a breach, see breaches.py


# -- Requests ----------------------------------------------------------------

REQUESTS = {
    "GET": get,
    "STAT": stat,
    "LIST": listing,
    "LIST of the tree": lambda name: listing(name, "RECURSIVE", 64),
    "ASK": ask,
    "PUT": upload,
    # Deeper than the kernel has a name for, strace cannot tell where it is; and what is made by
    # hand is looked for from the root each time.
    "PUT with parents": lambda name: upload(
        name, "PARENTS" if name.count(b"/") < 20 and len(name) < 2000 else ""),
    "MKDIR": mkdir,
    "LINK": lambda name: link(name, b"d/f"),
    "LINK to it": lambda name: link(b"made", name.replace(b"\0", b"0")[:4095] or b"."),
    "ATTR": attr,
}


class Asker:
    def __init__(self):
        self.asked = collections.Counter()
        self.done = collections.Counter()
        self.errors = collections.Counter()
        self.leaked = []

    def take(self, what, answer):
        kind, name = what
        if leaks(answer):
            self.leaked.append((kind, name[:200], answer.name))
        if answer.name == "ERROR":
            self.errors[answer.values["code"]] += 1
        elif answer.name in ("FILE", "DONE", "OK", "ENTRY"):
            self.done[kind] += 1

    def ask_all(self, daemon, names):
        """All REQUESTS with all NAMES; the connection does not end over any of them."""
        with Client(daemon) as c:
            for start in range(0, len(names), AT_A_TIME):
                part = [((kind, name), make(name)) for name in names[start:start + AT_A_TIME]
                        for kind, make in REQUESTS.items()]
                self.asked.update(kind for (kind, _), _ in part)
                naive.ask_all(c, part, self.take)


def make_trees():
    root, outside = naive.make_trees()
    for name, target in {**LINKS, "abs": outside, "self": f"/proc/self/root{outside}"}.items():
        os.symlink(target, f"{root}/{name}")
    write(f"{root}/{'x' * 255}", naive.INSIDE)
    return root, outside


def attempt(seed, count, *lacking):
    """COUNT names in all requests to a daemon; what the audit says, and the asker."""
    rng, asker = random.Random(seed), Asker()
    root, outside = make_trees()
    direct = direct_names(outside)
    names = dict.fromkeys(direct)
    while len(names) < count:
        names[draw_name(rng, direct)] = None
    names = list(names)
    before, beside = naive.state_of(outside), os.listdir(os.path.dirname(root))
    prefix = scratch() + "/calls"
    with Daemon(root=root, env=naive.lacking(root, *lacking) if lacking else None) as d:
        with audit.recording(d, prefix):
            asker.ask_all(d, names)
        # The last one by free(3), of glibc.
        seen = audit.Audit(root, "/proc/sys/vm/overcommit_memory").read(prefix)
        d.stop()
    changed = naive.difference(before, naive.state_of(outside))
    if os.listdir(os.path.dirname(root)) != beside:
        changed.append("beside the root")
    diag(f"{asker.asked.total()} requests with {len(set(names))} names: {asker.done.total()} done, "
         f"{asker.errors.total()} refused; {seen.calls} calls, {len(seen.found)} of them outside")
    return seen, changed, asker


def shown(lines):
    return "\n".join(repr(line[:400]) for line in lines[:20])


def holds(title, *lacking):
    if lacking and SANITIZED:
        tap.skip(title, "what is preloaded cannot come before a sanitizer's library")
        return
    seen, changed, asker = attempt(new_seed(), NAMES, *lacking)
    tap.ok(not seen.found, f"{title}: no call reaches outside", shown(seen.found))
    tap.ok(not changed, f"{title}: nothing outside changes", changed)
    tap.ok(not asker.leaked, f"{title}: nothing outside is told", asker.leaked[:20])
    tap.ok(min(asker.asked.values()) >= NAMES and asker.done.total() > NAMES / 10 and
           seen.calls > NAMES, f"{title}: names of all kinds were asked for",
           f"{asker.asked} {asker.done} {seen.calls}")


def check_names():
    holds("openat2")


def check_names_by_hand():
    holds("by hand", "by-hand", "unlocked")


def check_naive():
    """The audit finds a daemon that follows links."""
    if SANITIZED:
        tap.skip("control", "what is preloaded cannot come before a sanitizer's library")
        return
    seen, changed, asker = attempt(new_seed(), 1000, "follow", "unlocked")
    tap.ok(seen.found, "control: a daemon that follows links is found out")
    tap.ok(changed and asker.leaked, "control: its answers and what it changed, too")


INNOCENT = [
    rb'openat2(5</r>, "a/../../x", {flags=O_RDONLY, %s, 24) = -1 EXDEV (Invalid)' % audit.GUARDED,
    rb'openat2(5</r>, "a", {flags=O_RDONLY, %s, 24) = 6</r/\74\"\\\303>' % audit.GUARDED,
    rb'openat(5</r/a>, "..", O_PATH|O_DIRECTORY) = 6</r>',
    rb'unlinkat(5</r/.sockd-partial>, "../.sockd-partial", AT_REMOVEDIR) = 0',
    rb'newfstatat(5</r/a>(deleted), "", {st_mode=S_IFDIR}, AT_EMPTY_PATH) = 0',
    rb'symlinkat("/etc/passwd", 5</r>, "x") = 0',
    rb'renameat(5</r/p>, "t", 6</r/a>, "b\"c") = 0',
    rb'utimensat(5</r/a>, NULL, [UTIME_OMIT], 0) = 0',
]
GUILTY = [
    rb'openat2(5</r>, "a", {flags=O_RDONLY}, 24) = -1 ENOENT (No such file)',
    rb'openat2(5</r>, "a", {flags=O_RDONLY, %s, 24) = 6</out/a>' % audit.GUARDED,
    rb'openat2(5</rx>, "a", {flags=O_RDONLY, %s, 24) = -1 ENOENT (No)' % audit.GUARDED,
    rb'openat(5</r>, "../x", O_RDONLY) = -1 EACCES (Permission denied)',
    rb'openat(5</r>, "\56./x", O_RDONLY) = -1 EACCES (Permission denied)',
    rb'openat(AT_FDCWD</r>, "/etc/passwd", O_RDONLY) = -1 EACCES (Permission denied)',
    rb'openat(5</r>, "a", O_RDONLY) = 6</etc/passwd>',
    rb'mkdirat(5</r/a>, "../../x", 0777) = 0',
    rb'renameat(5</r/p>, "t", 6</out>, "b") = 0',
    rb'symlinkat("x", 5</out>, "x") = 0',
    rb'execve("/r/a", ["a"], 0x7ffe) = 0',
    rb'chdir("/r") = 0',
    rb'something else',
]


def check_audit():
    for line in INNOCENT:
        seen = audit.Audit("/r")
        seen.look(line)
        tap.ok(not seen.found, f"the audit lets pass: {line!r}")
    for line in GUILTY:
        seen = audit.Audit("/r")
        seen.look(line)
        tap.ok(seen.found, f"the audit finds: {line!r}")


run(check_audit, check_names, check_names_by_hand, check_naive)
