#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layers of the daemon's confinement: each is there, and each holds alone.

naive.c takes layers away.  Without any, everything tried here reaches what is outside, so
what is refused with one of them is refused by that one."""
import contextlib
import os
import re

import naive
from harness import SANITIZED, Daemon, diag, random_bytes, read, run, tap
from peers import WHEN, Client, the_end
from spec import Breach

if SANITIZED:
    tap.skip_all("a sanitizer needs system calls of its own, and its library first")

# -- Paths that lead out -----------------------------------------------------


def made(answer):
    return answer == "OK" or isinstance(answer, dict)


# What a client may ask, and whether the answer says that it got it outside.
OPERATIONS = {
    "GET": lambda c: made(first(c.get(b"out/canary"))),
    "GET of a link": lambda c: made(first(c.get(b"leaf"))),
    "LIST": lambda c: isinstance(c.list(b"out"), list),
    "LIST of the tree": lambda c: isinstance(c.list(b"out", "RECURSIVE"), list),
    "ASK": lambda c: c.ask(b"out/canary", "WHOLE", len(naive.CANARY), naive.SECRET_TIME)[1] == "WHOLE",
    "PUT": lambda c: made(c.put(b"out/new", b"new", "NO_SYNC")),
    "PUT with parents": lambda c: made(c.put(b"out/a/b", b"new")),
    "PUT over a file": lambda c: made(c.put(b"out/canary", b"new", "NO_SYNC")),
    "MKDIR": lambda c: made(c.tree("MKDIR", flags=0, mode=0o755, path=b"out/made")),
    "LINK": lambda c: made(c.tree("LINK", flags=0, path=b"out/link", target=b"canary")),
    "ATTR": lambda c: made(c.tree("ATTR", mode=0o711, mtime=WHEN, path=b"out/s")),
}


def first(answer):
    return answer[0] if isinstance(answer, tuple) else answer


def escapes(root, outside, *lacking):
    """Those of OPERATIONS that reach what is outside."""
    found = set()
    env = naive.lacking(root, *lacking) if lacking else None
    with Daemon(root=root, env=env) as d:
        for name, operation in OPERATIONS.items():
            before = naive.state_of(outside)
            with Client(d) as c:
                if operation(c) or naive.state_of(outside) != before:
                    found.add(name)
    return found


def fresh():
    root, outside = naive.make_trees()
    os.symlink("../outside", f"{root}/out")
    os.symlink("../outside/canary", f"{root}/leaf")
    return root, outside


def check_paths():
    """All layers; each alone; none."""
    for layers, lacking in (("all layers", ()),
                            ("openat2 alone", ("unlocked", "unfiltered")),
                            ("paths resolved by hand alone", ("by-hand", "unlocked", "unfiltered")),
                            ("Landlock alone", ("follow", "unfiltered"))):
        found = escapes(*fresh(), *lacking)
        tap.ok(not found, f"{layers}: of {len(OPERATIONS)} operations none leads out", found)
    found = escapes(*fresh(), "follow", "unlocked", "unfiltered")
    tap.ok(found == set(OPERATIONS), "control: without any, all do", set(OPERATIONS) - found)
    found = escapes(*fresh(), "follow", "unlocked")
    tap.ok(found == set(OPERATIONS), "seccomp is no matter of paths", set(OPERATIONS) - found)


def check_stat():
    """What a thing outside is like, Landlock does not hide: it hides what is in it."""
    root, _ = fresh()
    with Daemon(root=root) as d, Client(d) as c:
        tap.ok(c.stat(b"out/canary") == "ESCAPE", "STAT does not lead out")
    with Daemon(root=root, env=naive.lacking(root, "by-hand")) as d, Client(d) as c:
        tap.ok(c.stat(b"out/canary") == "ESCAPE", "nor does it by hand")


# -- A thread that is somebody else's ----------------------------------------

FILES = {"read a file", "write a file", "make a file", "list a directory", "read the key",
         "write its memory"}
EITHER = {"signal the parent"}  # held off by both
CALLS = {"change a mode", "change an owner", "run a program", "start a process", "call home",
         "read the parent's memory", "make code"}


def attacks_done(*lacking):
    """What an attacker in a connection's thread brings about."""
    root, _ = naive.make_trees()
    with Daemon(root=root, env=naive.lacking(root, "owned", *lacking)) as d:
        with Client(d) as c:
            c.get(b"attack")
        said = dict(re.findall("^attack: (.*): (.*)$", d.log_text(), re.M))
        if set(said) != FILES | EITHER | CALLS:
            raise ValueError(d.log_text())
        with Client(d) as c:
            tap.ok(first(c.get(b"inside"))["size"] == 7, "the daemon serves on")
    diag(said)
    return {name for name, what in said.items() if what == "done"}


def check_attack():
    done = attacks_done()
    tap.ok(not done, "an attacker in a thread gets nowhere", done)
    done = attacks_done("unfiltered")
    tap.ok(not done & (FILES | EITHER), "Landlock alone keeps him from files", done)
    done = attacks_done("unlocked")
    tap.ok(not done & (CALLS | EITHER), "seccomp alone keeps him from other system calls", done)
    done = attacks_done("unlocked", "unfiltered")
    tap.ok(done == FILES | EITHER | CALLS, "control: without both he does all of it", done)


# -- That they are there -----------------------------------------------------


def statuses(pid):
    """[{field: value}] of all threads of PID."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError):
            text = read(f"/proc/{pid}/task/{thread}/status").decode()
            found.append(dict(re.findall(r"^(\w+):\t(.*)$", text, re.M)))
    return found


def check_threads():
    with Daemon() as d, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(d)) for _ in range(4)]
        for i, c in enumerate(clients):
            c.put_part(b"part%d" % i, random_bytes(i, 1 << 20), 1 << 22)
        threads = statuses(d.pid)
        tap.ok(len(threads) >= 5, "there are threads", threads)
        tap.ok(all(t["Seccomp"] == "2" for t in threads), "all have a filter of system calls",
               [t["Seccomp"] for t in threads])
        tap.ok(all(t["NoNewPrivs"] == "1" for t in threads), "none can gain privileges",
               [t["NoNewPrivs"] for t in threads])
    with Daemon(env=naive.lacking("", "unfiltered")) as d:
        tap.ok(all(t["Seccomp"] == "0" for t in statuses(d.pid)), "control: without the filter")


def check_said():
    """What is missing is said once; what should work and does not ends the connection."""
    with Daemon() as d:
        tap.ok(not re.search("Landlock|seccomp", d.log_text()), "nothing is missing", d.log_text())
    with Daemon(env=naive.lacking("", "unlocked")) as d:
        with Client(d) as c:
            tap.ok(c.put(b"new", b"new") != "ACCESS", "without Landlock it serves")
        with Client(d) as c:
            c.get(b"new")
        tap.ok(len(re.findall("no Landlock", d.log_text())) == 1, "and says so, once", d.log_text())
    with Daemon(env=naive.lacking("", "unlockable")) as d:
        answers = []
        with Client(d, greet=False) as c:
            with contextlib.suppress(OSError):
                c.send_raw(b"sockd/1\n" + c.greet(64, bytes(16), b"test"))
                c.request("GET", alg=1, offset=0, path=b"new")
            try:
                c.read_preface()
                answers.append(the_end(c))
            except (Breach, EOFError, OSError) as e:
                answers.append(f"not the end: {e!r} {d.log_text()}")
        tap.ok(answers and not answers[0].startswith("not the end"), "a connection that cannot be locked ends",
               answers)
        tap.ok("UNSUPPORTED" in answers or "RESOURCE" in answers, "by an error", answers)


run(check_paths, check_stat, check_attack, check_threads, check_said)
