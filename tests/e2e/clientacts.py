# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile client can do in the protocol.

Not a test itself; hostile_client.py is.
"""
import contextlib
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import time

import spec
from breaches import BREACHES, message
from harness import CHECKPOINT, MIB, new_seed, partials, random_bytes, wait_for
from hostile import EVIL, PACE, short
from peers import LIST, NO_TAG, OTHER_RUN, PUT, RUN, TAG, WHEN, error_name, flags, the_end

IDLE = 2 * PACE  # seconds: --handshake-timeout, --idle-timeout, --drain-timeout
SEED = new_seed()
BIG = bytes(16 * MIB)  # what the file "big" has

# -- The table -------------------------------------------------------------------


class Act:
    """A behaviour: DO(arena) returns what went wrong, if anything.  LEAVES: {path in root: contents
    that it may have}, or may(path, state).  With OPTIONS it has a daemon of its own, and one
    that serves only clients it knows if it is STRICT."""

    def __init__(self, do, leaves=None, options=None, strict=False):
        self.do, self.leaves, self.options, self.strict = do, leaves, options, strict


TABLE = []


def act(name, **about):
    def enter(do):
        TABLE.append((name, Act(do, **about)))
        return do
    return enter


# -- How a client ends -----------------------------------------------------------


def reset(c):
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.sock.close()


def is_let_go(c, seconds=4 * IDLE):
    """Reads until the daemon has closed the connection; a word if it does not."""
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < end:
            if select.select([c.sock], [], [], 0.5)[0] and not c.sock.recv(1 << 20):
                return None
        return f"the connection still stood after {seconds} s"
    return None


def silence(c):
    return is_let_go(c)


def half_close(c):
    c.sock.shutdown(socket.SHUT_WR)
    return is_let_go(c)


def garbage(c):
    c.sock.settimeout(IDLE * 3)
    with contextlib.suppress(OSError):
        c.sock.sendall(random.Random(SEED).randbytes(100000))
    return is_let_go(c)


def drip(c, data=bytes(1000), gap=0.2):
    """A byte at a time, far below any rate, and yet never silent."""
    end = time.monotonic() + 4 * IDLE
    with contextlib.suppress(OSError):
        for byte in data:
            c.sock.sendall(bytes([byte]))
            if select.select([c.sock], [], [], gap * PACE)[0] and not c.sock.recv(1 << 16):
                return None
            if time.monotonic() > end:
                return f"{data[:20]!r}… dripped for {4 * IDLE} s, and was listened to"
    return None


# -- Where a client can be ---------------------------------------------------------

HELLO = message("HELLO", 0, version=1, chunk_size=MIB, depth=1, features=0, run=RUN, agent=b"hostile")
PUT_F = message("PUT", flags=PUT["RESUMABLE"], alg=1, tag=TAG, path=b"f")
CONTENT = random_bytes(2, CHECKPOINT + 1000)


def file(size, ident=1, offset=0, mode=0o644, mtime=WHEN):
    return message("FILE", ident, size=size, offset=offset, mode=mode, mtime=mtime)


def data(some, ident=1):
    return spec.frame("DATA", ident, some)


def end(content, ident=1, name="END"):
    return message(name, ident, offset=len(content), digest=spec.sha256(content))


def get(path=b"big", offset=0, ident=1):
    return message("GET", ident, alg=1, offset=offset, path=path)


def upload(content, path=b"f", ident=1, how="", tag=NO_TAG):
    return message("PUT", ident, flags=flags(PUT, how), alg=1, tag=tag, path=path) + \
        file(len(content), ident) + (data(content, ident) if content else b"") + end(content, ident)


GREETING = spec.PREFACE + HELLO
CHECKED = PUT_F + file(len(CONTENT)) + b"".join(data(CONTENT[n:n + MIB]) for n in range(0, CHECKPOINT, MIB)) + \
    end(CONTENT[:CHECKPOINT], name="CHECK")
STATES = {
    "before it says anything": b"",
    "in the preface": spec.PREFACE[:3],
    "behind the preface": spec.PREFACE,
    "in HELLO": GREETING[:40],
    "behind HELLO": GREETING,
    "behind a request": GREETING + message("FLUSH", 1),
    "in a header": GREETING + message("FLUSH", 1) + PUT_F[:9],
    "in a request": GREETING + PUT_F[:30],
    "behind PUT": GREETING + PUT_F,
    "behind FILE": GREETING + PUT_F + file(100),
    "in DATA": GREETING + PUT_F + file(100) + data(bytes(90))[:50],
    "behind DATA": GREETING + PUT_F + file(100) + data(bytes(90)),
    "behind a checkpoint": GREETING + CHECKED,
    "behind an upload without FLUSH": GREETING + upload(b"whole"),
    "where a proof is due": GREETING + get(offset=5),
    "while it is sent a file": GREETING + get() + get(),
    "in the middle of a listing": GREETING + message("LIST", 1, flags=0, max=1, path=b""),
}
WAYS = {"falls silent": silence, "sends no more": half_close, "resets": reset, "goes on with garbage": garbage}


def reach(arena, state):
    """A connection that has come to STATE."""
    c = arena.client(greet=False)
    c.sock.sendall(STATES[state])
    if state.startswith("while it is sent"):
        c.sock.recv(100)
    else:
        time.sleep(0.02)
    return c


for place_ in STATES:
    for way, leave in WAYS.items():
        def do_leave(arena, state=place_, leave=leave):
            with reach(arena, state) as c:
                if leave is reset:
                    time.sleep(0.02)
                return leave(c)
        TABLE.append((f"a client that {way} {place_}", Act(do_leave, {b"f": [b"whole"]})))

# -- Breaches, while much is under way --------------------------------------------

TINY = b"".join(upload(b"%d" % n, b"p%d" % n, 100 + n) for n in range(50))
MAY_P = {b"p%d" % n: [b"%d" % n] for n in range(50)}

for breach, raw in BREACHES:
    def do_breach(arena, raw=raw):
        with arena.client(greet=False) as c:
            c.sock.sendall(GREETING + TINY + raw)
            return is_let_go(c, 2)
    TABLE.append((f"50 uploads, and then {breach}", Act(do_breach, MAY_P)))

# -- Slow ----------------------------------------------------------------------------

LONG_PATH = b"/".join([b"n" * 200] * 80)
for where, first, rest in (
        ("the preface", b"", spec.PREFACE * 100), ("HELLO", spec.PREFACE, HELLO),
        ("the first request", GREETING, message("LIST", 1, flags=0, max=0, path=LONG_PATH)),
        ("a later request", GREETING + message("FLUSH", 1), message("LIST", 2, flags=0, max=0, path=LONG_PATH)),
        ("PUT", GREETING + message("FLUSH", 1), upload(b"", LONG_PATH, 2)),
        ("DATA", GREETING + PUT_F + file(10000), data(bytes(10000))),
        ("FILE", GREETING + PUT_F, file(100) * 10),
        ("NOTEs in place of the first request", GREETING, b"".join(message("NOTE", 0, done=n) for n in range(50))),
        ("a proof", GREETING + get(offset=5), message("PROOF", 1, digest=bytes(32)) * 10)):
    def do_drip(arena, first=first, rest=rest):
        with arena.client(greet=False) as c:
            c.sock.sendall(first)
            return drip(c, rest)
    TABLE.append((f"{where}, a byte at a time", Act(do_drip)))


@act("DATA, each of one byte, now and then")
def drip_data(arena):
    with arena.client(greet=False) as c:
        c.sock.sendall(GREETING + PUT_F + file(10**6))
        return drip_frames(c, data(b"x"))


def drip_frames(c, frame, gap=0.3, seconds=4 * IDLE):
    until = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < until:
            c.sock.sendall(frame)
            if select.select([c.sock], [], [], gap * PACE)[0] and not c.sock.recv(1 << 16):
                return None
        return f"it took {seconds} s of that"
    return None


@act("nothing but NOTEs after a request")
def notes(arena):
    with arena.client(greet=False) as c:
        c.sock.sendall(GREETING + message("FLUSH", 1))
        # Ten times the timeout, which is what a client may be at work on something.
        return drip_frames(c, message("NOTE", 0, done=1), seconds=12 * IDLE)


@act("nothing but NOTEs where a file is to come")
def notes_for_file(arena):
    with arena.client(greet=False) as c:
        c.sock.sendall(GREETING + PUT_F + file(100))
        return drip_frames(c, message("NOTE", 0, done=1))


@act("a reader of a few bytes a second")
def slow_reader(arena):
    with arena.client(narrow=True) as c:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.sock.sendall(get())
        until = time.monotonic() + 6 * IDLE
        with contextlib.suppress(OSError):
            while time.monotonic() < until:
                if not c.sock.recv(20) or arena.numbers()[0] == arena.rest[0]:
                    return None
                time.sleep(0.1)
            return "it was sent to for ever"
    return None


# -- Much ------------------------------------------------------------------------------


def send_all(c, raw, seconds=4 * IDLE):
    """Sends for as long as anybody takes it, and reads nothing; then waits for the end."""
    c.sock.settimeout(seconds)
    with contextlib.suppress(OSError):
        c.sock.sendall(raw)
    with contextlib.suppress(OSError):
        c.sock.shutdown(socket.SHUT_WR)
    return is_let_go(c, 10 * IDLE)  # it may work through what it has taken in


for what, frames in (
        ("40,000 times FLUSH", lambda n: message("FLUSH", n)),
        ("3,000 times GET of 16 MiB", lambda n: get(ident=n) if n <= 3000 else b""),
        ("20,000 times LIST", lambda n: message("LIST", n, flags=1, max=0, path=b"") if n <= 20000 else b""),
        ("10,000 times GET of nothing, with a proof",
         lambda n: get(b"none", 5, n) + message("PROOF", n, digest=bytes(32)) if n <= 10000 else b""),
        ("20,000 times ASK",
         lambda n: message("ASK", n, flags=15, size=n, mtime=WHEN, tag=os.urandom(16), path=b"keep")
         if n <= 20000 else b""),
        ("10,000 times MKDIR of the same", lambda n: message("MKDIR", n, flags=0, mode=0o700, path=b"x")
         if n <= 10000 else b""),
        ("20,000 times NOTE", lambda n: message("NOTE", 0, done=n) if n <= 20000 else b"")):
    def do_flood(arena, frames=frames):
        with arena.client(greet=False) as c:
            return send_all(c, GREETING + b"".join(frames(n) for n in range(1, 40001)))
    TABLE.append((f"{what}, and no answer read", Act(do_flood, {b"x": []})))


@act("5,000 uploads of which none is waited for, and a reset", leaves=lambda path, now: re.fullmatch(
    rb"m\d+", path) and (now is None or now[5] == b"many"))
def many_uploads(arena):
    with arena.client() as c:
        c.sock.sendall(b"".join(upload(b"many", b"m%d" % n, n) for n in range(1, 5001)))
        reset(c)


@act("an upload of 2^63 - 1 bytes")
def huge(arena):
    with arena.client() as c:
        ident = c.request("PUT", flags=PUT["RESUMABLE"], alg=1, tag=TAG, path=b"huge")
        c.sock.sendall(file(2**63 - 1, ident))
        answer = error_name(c.receive())
        c.sock.sendall(data(bytes(MIB), ident) * 20)
        c.send_error("ABORT", ident, "ABORTED")
        if answer != "NO_SPACE" or c.flush():
            return f"it is {answer}"
        free = shutil.disk_usage(arena.root).free
        c.sock.sendall(message("PUT", 77, flags=0, alg=1, tag=NO_TAG, path=b"huge") +
                       file(free // 2, 77) + data(bytes(MIB), 77) * 3)
        time.sleep(0.3)
        if shutil.disk_usage(arena.root).free < free // 2 + free // 4:
            return "what was announced was taken from the disk"
    return None


@act("an upload without a size that does not end, and a reset")
def endless(arena):
    with arena.client() as c:
        c.sock.sendall(message("PUT", flags=0, alg=1, tag=NO_TAG, path=b"huge") + file(spec.UNKNOWN))
        for _ in range(64):
            c.sock.sendall(data(bytes(MIB)))
        reset(c)


@act("300,000 times DATA of one byte")
def tiny_data(arena):
    with arena.client() as c:
        c.sock.sendall(message("PUT", flags=0, alg=1, tag=NO_TAG, path=b"tiny") + file(spec.UNKNOWN) +
                       data(b"x") * 300000 + error_frame("ABORTED", name="ABORT"))
        if error_name(c.receive()) != "ABORTED":
            return "it was not aborted"
    return None


def error_frame(code, ident=1, text=b"", name="ERROR"):
    return message(name, ident, code=spec.page.errors.get(code, code), text=text)


@act("1,000 uploads given up, each with another code")
def aborts(arena):
    with arena.client() as c:
        for n in range(1, 1001):
            c.sock.sendall(message("PUT", n, flags=PUT["RESUMABLE"], alg=1, tag=os.urandom(16), path=b"f") +
                           file(10, n) + data(b"x", n) + error_frame(1 + n % 255, n, EVIL, "ABORT"))
        found = {error_name(c.receive()) for _ in range(1000)}
        return None if found == {"ABORTED"} else found


@act("1,000 directories, one in the other", leaves=lambda path, now: set(path) <= set(b"d1/"))
def deep(arena):
    with arena.client() as c:
        found = [c.tree("MKDIR", flags=1, mode=0o700, path=b"/".join([b"d1"] * depth)) for depth in (256, 257, 1000)]
        return None if found == ["OK", "NAME_TOO_LONG", "NAME_TOO_LONG"] else found


@act("500 connections that are closed at once")
def knocks(arena):
    for n in range(500):
        with arena.client(greet=False) as c:
            if n % 2:
                reset(c)


@act("500 greetings that are reset in the middle")
def half_greetings(arena):
    for n in range(500):
        with arena.client(greet=False) as c:
            c.sock.sendall(GREETING[:n % len(GREETING)])
            reset(c)


def crowd(arena, count, first):
    """COUNT connections, each of which has said FIRST."""
    found = [arena.client(greet=False) for _ in range(count)]
    for c in found:
        with contextlib.suppress(OSError):
            c.sock.sendall(first)
    return found


@act("300 silent connections, where 64 may be", options=("--max-connections=64",))
def crowd_silent(arena):
    some = crowd(arena, 300, b"")
    fault = arena.serves_honestly()
    for c in some:
        c.sock.close()
    return fault


@act("300 greeted connections, where 64 may be", options=("--max-connections=64",))
def crowd_greeted(arena):
    some = crowd(arena, 300, GREETING)
    fault = arena.serves_honestly()
    for c in some:
        c.sock.close()
    return fault


@act("64 connections at work, where 64 may be", options=("--max-connections=64",))
def crowd_working(arena):
    some = crowd(arena, 64, GREETING + message("FLUSH", 1))
    time.sleep(0.3)
    with arena.client(greet=False) as late:
        late.read_preface()
        busy = the_end(late)
    fault = arena.serves_honestly()  # when they have been silent for long enough
    for c in some:
        c.sock.close()
    return fault or (None if busy == "BUSY" else f"one more got {busy}")


@act("more connections than descriptors", options=("--max-connections=4000",))
def crowd_descriptors(arena):
    resource.prlimit(arena.pid, resource.RLIMIT_NOFILE, (100, 100))
    some = crowd(arena, 300, GREETING + PUT_F + file(100))
    fault = arena.serves_honestly()
    for c in some:
        reset(c)
    return fault


@act("100 listings begun on one connection")
def listings(arena):
    with arena.client() as c:
        for n in range(1, 101):
            c.sock.sendall(message("LIST", n, flags=LIST["RECURSIVE"], max=1, path=b""))
        found = [c.receive().name for _ in range(200)]
        return None if found == ["ENTRY", "LISTED"] * 100 else found


@act("holes of many gigabytes, and nobody there any more")
def holes_and_gone(arena):
    size = 1 << 43
    with arena.client() as c:
        c.sock.sendall(PUT_F + message("FILE", size=size, offset=0, mode=0o600, mtime=WHEN, flags=1) +
                       message("HOLE", len=CHECKPOINT) * 40000)
    return None


@act("all requests with the same id", leaves={b"same": [b"2"]})
def same_id(arena):
    with arena.client() as c:
        c.sock.sendall(upload(b"1", b"same", 7) + upload(b"2", b"same", 7) + get(b"none", ident=7) +
                       message("FLUSH", 7))
        found = [c.receive().name for _ in range(4)]
        return None if found == ["DONE", "DONE", "ERROR", "OK"] else found


# -- Names -------------------------------------------------------------------------------

REFUSED = {"BAD_NAME", "NAME_TOO_LONG", "ESCAPE", "NOT_FOUND", "NOT_DIR", "IS_DIR", "NOT_REGULAR", "EXISTS",
           "PROTOCOL"}
WAYS_OUT = [b"/etc/passwd", b"/", b"//", b"..", b".", b"../outside/canary", b"../../../../etc/passwd",
            b"d/../../outside/canary", b"d/..", b"./keep", b"d/./keep", b"d//keep", b"keep/", b"/keep", b"ke\0ep",
            b"keep\0", b"\0", b".sockd-partial", b".sockd-partial/x", b"d/.sockd-partial", b"d/.sockd-partial/x",
            b"n" * 256, b"d/" + b"n" * 300, b"/".join([b"n"] * 257), b"out/canary", b"out/dir/f", b"out/new",
            b"abs/canary", b"abs/new", b"up/outside/canary", b"up/root/keep", b"loop/x", b"proc/etc/passwd",
            b"in/../../outside/canary", b"keep/x", b"fifo/x", b"out/../keep", b"d/e/../../../outside/canary"]
BENT = {"lists": LIST["RECURSIVE"]}
OPERATIONS = {
    "GET": lambda i, path: message("GET", i, alg=1, offset=0, path=path),
    "PUT": lambda i, path: upload(b"x", path, i, "PARENTS"),
    "PUT, to be resumed": lambda i, path: upload(b"x", path, i, "PARENTS RESUMABLE", TAG),
    "ASK": lambda i, path: message("ASK", i, flags=15, size=6, mtime=WHEN, tag=TAG, path=path),
    "LIST": lambda i, path: message("LIST", i, flags=1, max=0, path=path),
    "MKDIR": lambda i, path: message("MKDIR", i, flags=1, mode=0o777, path=path),
    "LINK": lambda i, path: message("LINK", i, flags=1, path=path, target=b"keep"),
    "ATTR": lambda i, path: message("ATTR", i, mode=0o777, mtime=WHEN, path=path),
}
if "STAT" in spec.page.types:
    OPERATIONS["STAT"] = lambda i, path: message("STAT", i, path=path)


def answer_to(c, raw, ident):
    """The first answer to RAW, the request IDENT: its name, an error's own."""
    c.sock.sendall(raw + message("FLUSH", ident + 1))
    found = None
    while (got := c.receive()).id != ident + 1:
        found = found or (error_name(got) if got.name == "ERROR" else got.name)
    return found


for operation, make in OPERATIONS.items():
    def do_names(arena, make=make, operation=operation):
        faults = []
        with arena.client() as c:
            for n, path in enumerate(WAYS_OUT):
                found = answer_to(c, make(2 * n + 1, path), 2 * n + 1)
                if found not in REFUSED and not (operation == "ASK" and found == "OFFER"):
                    faults.append(f"{operation} of {path!r} is {found}")
        return "\n".join(faults)
    TABLE.append((f"{operation} by every way out", Act(do_names)))


@act("paths longer than a message may carry")
def overlong(arena):
    for operation, make in OPERATIONS.items():
        with arena.client() as c:
            c.sock.sendall(make(1, b"/".join([b"n" * 200] * 90)))
            if the_end(c) != "PROTOCOL":
                return operation
    return None


UGLY = [EVIL, b"a b", b"-rf", b"~", b"$(reboot)", b"a'b\"c", b"\x01", b"\xff\xfe", b"...", b"a\\b", b"*", b"con",
        b"a:b", b"\xe2\x80\xae", b"n" * 255, b"%s%n%x", b"path=\"x\" result=\"ok\"\n2026-01-01T00:00:00Z fake"]


@act("names that are ugly and allowed", leaves=lambda path, now: path in UGLY and (now is None or now[5] == b"ugly"))
def ugly(arena):
    with arena.client() as c:
        for path in UGLY:
            if not isinstance(c.put(path, b"ugly"), dict) or c.get(path)[1] != b"ugly":
                return f"{path!r} could not be put and got"
            c.get(path + b"/none")
    return None


@act("an agent and an ERROR that no terminal should get")
def evil_words(arena):
    with arena.client(greet=False) as c:
        c.sock.sendall(spec.PREFACE + message("HELLO", 0, version=1, chunk_size=MIB, depth=1, features=0, run=RUN,
                                              agent=EVIL[:64]) + message("FLUSH", 1) + error_frame("IO", 0, EVIL * 7))
        return is_let_go(c)


@act("links by every way out, and files through them", leaves=lambda path, now: re.fullmatch(
    rb"l\d+|l\d+/.*|d/l\d*|x", path) and now[0] == "link")
def links(arena):
    faults = []
    with arena.client() as c:
        for n, target in enumerate((b"/etc", b"..", b"../outside", b"d/../../outside", b"./..", b"d/..", b"out/..",
                                    b"d/e/../../../outside", b".sockd-partial", b"../root/../outside", b"up/outside")):
            made = c.tree("LINK", flags=0, path=b"l%d" % n, target=target)
            # What stands in the root was not made by a client.
            if made != "ESCAPE" and not (target.startswith(b"up/") and made == "OK"):
                faults.append(f"a link to {target!r} is {made}")
            for path in (b"l%d/canary" % n, b"l%d/new" % n, b"l%d/dir/f" % n):
                for found in (c.put(path, b"x", ""), c.get(path)):
                    if isinstance(found, (dict, tuple)) or found not in REFUSED:
                        faults.append(f"{path!r} by {target!r} is {short(found)}")
    return "\n".join(faults)


@act("a link, moved after it was looked at", leaves=lambda path, now: path == b"l" and now[0] == "link")
def moved_link(arena):
    """d/e/l to ../.. stays inside; there is no way to make it stand higher."""
    with arena.client() as c:
        found = [c.tree("LINK", flags=0, path=b"d/e/l", target=b"../.."),
                 c.tree("LINK", flags=0, path=b"l", target=b"d/e/l"),
                 c.tree("LINK", flags=0, path=b"in/l2", target=b"../.."), c.get(b"l/../outside/canary"),
                 c.get(b"d/e/l/outside/canary"), c.put(b"l/../x", b"")]
        os.unlink(f"{arena.root}/d/e/l")
        return None if found == ["OK", "OK", "ESCAPE", "BAD_NAME", "NOT_FOUND", "BAD_NAME"] else found


@act("a link that swings between two directories, and uploads through it", leaves={
    b"s": [], b"d/f": [b"swing"], b"d/e/f": [b"swing"]})
def swing(arena):
    with arena.client() as c, arena.client() as other:
        c.tree("LINK", flags=0, path=b"s", target=b"d")
        for n in range(100):
            other.sock.sendall(upload(b"swing", b"s/f", n + 1))
            target = (b"d", b"d/e", b"fifo", b"out")[n % 4]
            c.sock.sendall(message("LINK", 3000 + n, flags=0, path=b"s", target=target))
        c.last = other.last = 9999
        c.flush()
        other.flush()


@act("a fifo, in every way")
def fifo(arena):
    with arena.client() as c:
        found = [c.get(b"fifo"), c.get(b"fifo", b"x"), c.list(b"fifo"),
                 c.tree("MKDIR", flags=0, mode=0, path=b"fifo"), c.tree("ATTR", mode=0, mtime=WHEN, path=b"fifo"),
                 c.ask(b"fifo", "PARTIAL UPDATE WHOLE", 0)[1]]
        return None if set(found) <= {"NOT_REGULAR", "NOT_DIR", "NONE", "EXISTS"} else found


@act("modes and times at the ends", leaves=lambda path, now: path == b"t" and not now[1] & 0o7000)
def extremes(arena):
    with arena.client() as c:
        for mode in (0, 0o777):
            for sec in (-2**63, -1, 0, 2**63 - 1):
                found = c.put(b"t", b"", "PRESERVE", mode=mode, mtime=(sec, 999999999))
                if not isinstance(found, dict) and found not in ("IO", "TOO_LARGE"):
                    return found
                c.tree("ATTR", mode=mode, mtime=(sec, 0), path=b"d/e")
        c.tree("ATTR", mode=0o755, mtime=WHEN, path=b"d/e")
    return None


# -- What belongs to others ---------------------------------------------------------------


def leave_partial(arena, tag=TAG, run_id=RUN):
    with arena.client(run_id=run_id) as c:
        c.put_part(b"part", CONTENT[:CHECKPOINT], len(CONTENT), tag=tag)
        c.hang_up()
    wait_for(lambda: partials(arena.root), what="a partial")


@act("a partial of somebody else", leaves={b"part": [spec.sha256(CONTENT)]})
def thief(arena):
    leave_partial(arena)
    for tag in (NO_TAG, TAG[::-1], bytes(15) + b"\1", TAG[:15] + b"\0"):
        with arena.client(run_id=OTHER_RUN) as c:
            if c.ask(b"part", "PARTIAL", len(CONTENT), tag=tag)[1] != "NONE":
                return f"it was offered to tag {tag.hex()}"
            ident = c.next_id()
            c.sock.sendall(message("PUT", ident, flags=PUT["RESUMABLE"], alg=1, tag=tag, path=b"part") +
                           file(len(CONTENT), ident, CHECKPOINT))
            if the_end(c) != "PROTOCOL":
                return "it was continued by another"
    with arena.client() as c:
        ident, kind, offset, _ = c.ask(b"part", "PARTIAL", len(CONTENT))
        done = c.put(b"part", CONTENT, "RESUMABLE", TAG, ident, offset=offset)
        return None if (kind, done["digest"]) == ("PARTIAL", spec.sha256(CONTENT)) else (kind, done)


@act("two that fight for one partial", leaves={b"part": [spec.sha256(CONTENT)]})
def fight(arena):
    leave_partial(arena)
    some = [arena.client() for _ in range(2)]
    for n in range(40):
        c = some[n % 2]
        try:
            c.ask(b"part", "PARTIAL", len(CONTENT))
        except (EOFError, OSError):
            some[n % 2] = arena.client()
    for c in some:
        c.sock.close()
    with arena.client() as c:
        ident, kind, offset, _ = c.ask(b"part", "PARTIAL", len(CONTENT))
        done = c.put(b"part", CONTENT, "RESUMABLE", TAG, ident, offset=offset)
        return None if done["digest"] == spec.sha256(CONTENT) else (kind, done)


@act("two that write one file at once", leaves={b"both": [b"1" * 1000, b"2" * 1000]})
def both(arena):
    some = [arena.client(), arena.client(run_id=OTHER_RUN)]
    for n in range(1, 101):
        for k, c in enumerate(some):
            c.sock.sendall(upload(b"12"[k:k + 1] * 1000, b"both", n))
    for c in some:
        c.last = 9999
        c.flush()
        c.sock.close()


@act("proofs of what it does not have")
def false_proofs(arena):
    with arena.client() as c:
        for offset in (1, 5, len(BIG), len(BIG) + 1, 2**40, 2**63 - 1):
            ident = c.request("GET", alg=1, offset=offset, path=b"big")
            c.send("PROOF", ident, digest=os.urandom(32))
            file_ = c.answer(ident).values
            if file_["offset"] != 0 or c.receive_file(file_)[0] != BIG:
                return f"with offset {offset}: {file_}"
    return None


# -- Ends -----------------------------------------------------------------------------------


def stops(name, first, frame):
    """SIGTERM, while a client has sent FIRST and goes on with FRAME for ever."""
    def do(arena):
        with arena.client(greet=False) as c:
            c.sock.sendall(GREETING + first)
            time.sleep(0.2)
            began = time.monotonic()
            arena.daemon.signal(signal.SIGTERM)
            drip_frames(c, frame, 0.1, IDLE + 8)
            status = arena.daemon.wait(20)
            took = time.monotonic() - began
        arena.daemon.start()
        arena.pid = arena.daemon.pid
        return None if status == 0 and took < (IDLE + 6 * PACE) else f"status {status} after {took:.1f} s"
    TABLE.append((f"SIGTERM, and a client that goes on with {name}", Act(do, options=())))


stops("NOTEs", message("FLUSH", 1), message("NOTE", 0, done=1))
stops("requests", message("FLUSH", 1), message("FLUSH", 2))
stops("a byte of a request at a time", message("FLUSH", 1) + PUT_F[:16], b"\0")
stops("its file", PUT_F + file(10**9), data(bytes(2000)))
stops("an upload without FILE", PUT_F, message("NOTE", 0, done=1))
stops("not reading", get() * 20, message("NOTE", 0, done=1))
