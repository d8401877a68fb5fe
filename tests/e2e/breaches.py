#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each error of sockd-protocol(7), provoked; and each breach of its rules."""
import os
import shutil
import signal
import struct

import spec
from harness import CHECKPOINT, MIB, SANITIZED, Daemon, partials, run, scratch, tap, wait_for, write
from peers import NO_TAG, RUN, WHEN, Client, equal, error_name, the_end


def check_request_errors():
    """Each error that a request can have; after it the connection goes on."""
    with Daemon() as d, Client(d) as c:
        os.mkdir(f"{d.root}/dir")
        os.mkfifo(f"{d.root}/fifo")
        os.symlink("/etc", f"{d.root}/out")
        write(f"{d.root}/file", "x")
        for name, found in (
                ("NOT_FOUND", c.get(b"none")), ("NOT_FOUND", c.put(b"no/f", b"", how="")),
                ("NOT_FOUND", c.list(b"none")), ("EXISTS", c.put(b"file", b"", "NO_CLOBBER")),
                ("IS_DIR", c.get(b"dir")), ("IS_DIR", c.put(b"dir", b"")), ("IS_DIR", c.put(b"", b"")),
                ("NOT_DIR", c.put(b"file/f", b"")), ("NOT_DIR", c.list(b"file")),
                ("NOT_DIR", c.tree("MKDIR", flags=0, mode=0, path=b"file")),
                ("NOT_REGULAR", c.get(b"fifo")), ("BAD_NAME", c.get(b"a//b")), ("BAD_NAME", c.put(b"../f", b"")),
                ("BAD_NAME", c.ask(b"/f", "PARTIAL")[1]), ("BAD_NAME", c.list(b".sockd-partial")),
                ("BAD_NAME", c.tree("MKDIR", flags=0, mode=0, path=b"a\0b")),
                ("NAME_TOO_LONG", c.get(b"n" * 256)), ("NAME_TOO_LONG", c.put(b"/".join([b"d"] * 257), b"")),
                ("NOT_FOUND", c.stat(b"none")), ("BAD_NAME", c.stat(b"/")), ("ESCAPE", c.stat(b"out")),
                ("ESCAPE", c.get(b"out/passwd")), ("ESCAPE", c.put(b"out/f", b"")),
                ("UNSUPPORTED", c.get(b"file", alg=2)), ("UNSUPPORTED", c.put(b"f", b"x", alg=255))):
            equal(found, name, name)
        ident = c.request("PUT", flags=0, alg=1, tag=NO_TAG, path=b"huge")
        c.send("FILE", ident, size=1 << 60, offset=0, mode=0, mtime=WHEN)
        equal(c.answer(ident).name, "NO_SPACE", "NO_SPACE, as soon as the size is known")
        c.send_error("ABORT", ident, "ABORTED")
        ident = c.request("PUT", flags=0, alg=1, tag=NO_TAG, path=b"f")
        c.send_error("ABORT", ident, "ABORTED")
        equal(c.put_answer(ident), "ABORTED", "ABORT in place of FILE")
        c.send("PUT", ident, flags=0, alg=1, tag=NO_TAG, path=b"f")
        c.send("FILE", ident, size=3, offset=0, mode=0, mtime=WHEN)
        c.send_raw(spec.frame("DATA", ident, b"abc"))
        c.send("END", ident, offset=3, digest=spec.sha256(b"abd"))
        equal(c.put_answer(ident), "MISMATCH", "a wrong END")
        equal(c.get(b"f"), "NOT_FOUND", "makes no file")
        check_changed(d, c)


def check_changed(d, c):
    """A source that changes while it is sent."""
    write(f"{d.root}/big", bytes(64 * MIB))
    ident = c.request("GET", alg=1, offset=0, path=b"big")
    file = c.answer(ident).values
    with open(f"{d.root}/big", "r+b") as big:
        big.write(b"other")
    last = c.receive_file(file)[1]
    equal((last.name, error_name(last)), ("ABORT", "CHANGED"), "CHANGED comes with ABORT")
    equal(c.get(b"file")[1], b"x", "and the connection goes on")


def check_rights():
    everything = (
        ("GET", "read", lambda c: c.get(b"f", b"x")),
        ("LIST", "read", lambda c: c.list()),
        ("STAT", "read", lambda c: c.stat(b"f")),
        ("ASK", "write", lambda c: c.ask(b"f", "WHOLE", 1)[1]),
        ("PUT", "write", lambda c: c.put(b"g", bytes(CHECKPOINT + 1))),
        ("MKDIR", "write", lambda c: c.tree("MKDIR", flags=0, mode=0, path=b"d")),
        ("LINK", "write", lambda c: c.tree("LINK", flags=0, path=b"l", target=b"f")),
        ("ATTR", "write", lambda c: c.tree("ATTR", mode=0o700, mtime=WHEN, path=b"d")))
    for right in ("read", "write"):
        with Daemon(f"--anonymous={right}") as d, Client(d) as c:
            write(f"{d.root}/f", "x")
            for name, needs, request in everything:
                found = request(c)
                may = right == "write" or right == needs
                tap.ok((found == "DENIED") != may, f"{name} with --anonymous={right}", found)
            equal(c.flush(), [], f"FLUSH with --anonymous={right}")


def check_no_right():
    """Who may do nothing is told so once."""
    with Daemon("--anonymous=none", "--penalty-max=0") as d:
        write(f"{d.root}/f", "x")
        for name, values in (
                ("GET", {"alg": 1, "offset": 0, "path": b"f"}), ("LIST", {"flags": 0, "max": 0, "path": b""}),
                ("NEXT", {"max": 0}), ("STAT", {"path": b"f"}),
                ("ASK", {"flags": 0, "size": 1, "mtime": WHEN, "tag": NO_TAG, "path": b"f"}),
                ("PUT", {"flags": 0, "alg": 1, "tag": NO_TAG, "path": b"g"}),
                ("MKDIR", {"flags": 0, "mode": 0, "path": b"d"}), ("LINK", {"flags": 0, "path": b"l", "target": b"f"}),
                ("ATTR", {"mode": 0o700, "mtime": WHEN, "path": b""}), ("FLUSH", {}),
                ("JOIN", {"secret": bytes(16)})):
            with Client(d) as c:
                c.request(name, **values)
                equal(the_end(c), "DENIED", f"{name} without any right ends the connection")


def raw_frame(number, length=0, flags_=0, reserved=0, ident=1, payload=b"", crc=None):
    head = struct.pack(">BBHII", number, flags_, reserved, ident, length or len(payload))
    return head + struct.pack(">I", spec.zlib.crc32(head + payload) if crc is None else crc) + payload


def message(name, ident=1, **values):
    return spec.frame(name, ident, spec.encode(name, values))


PUT_F = message("PUT", flags=0, alg=1, tag=NO_TAG, path=b"f")
FILE_3 = message("FILE", size=3, offset=0, mode=0, mtime=WHEN)
BREACHES = (
    ("an unknown type", raw_frame(200)),
    ("flags", raw_frame(24, flags_=1)),
    ("reserved bytes", raw_frame(24, reserved=1)),
    ("a length above the limit", raw_frame(24, length=1, payload=b"x")),
    ("a length below the limit", raw_frame(18, payload=b"x" * 10)),
    ("a wrong checksum", raw_frame(24, crc=0)),
    ("a wrong checksum of DATA", PUT_F + FILE_3 + raw_frame(33, payload=b"abc")),
    ("HELLO again", message("HELLO", 0, version=1, chunk_size=4096, depth=1, features=0, run=RUN, agent=b"")),
    ("an answer from the client", message("OK", durability=1)),
    ("a request with id 0", message("FLUSH", 0)),
    ("NEXT without LIST", message("NEXT", max=0)),
    ("FILE without PUT", FILE_3),
    ("DATA behind PUT", PUT_F + spec.frame("DATA", 1, b"abc")),
    ("a request behind PUT", PUT_F + message("FLUSH", 2)),
    ("FILE with another id", PUT_F + message("FILE", 2, size=3, offset=0, mode=0, mtime=WHEN)),
    ("DATA with another id", PUT_F + FILE_3 + spec.frame("DATA", 2, b"abc")),
    ("more bytes than announced", PUT_F + FILE_3 + spec.frame("DATA", 1, b"abcd")),
    ("fewer bytes than announced", PUT_F + FILE_3 + spec.frame("DATA", 1, b"ab") +
     message("END", offset=2, digest=spec.sha256(b"ab"))),
    ("END at another offset", PUT_F + FILE_3 + spec.frame("DATA", 1, b"abc") +
     message("END", offset=2, digest=spec.sha256(b"abc"))),
    ("CHECK between checkpoints", PUT_F + FILE_3 + spec.frame("DATA", 1, b"abc") +
     message("CHECK", offset=3, digest=spec.sha256(b"abc"))),
    ("HOLE behind PUT", PUT_F + message("HOLE", len=3)),
    ("HOLE of nothing", PUT_F + FILE_3 + message("HOLE", len=0)),
    ("HOLE larger than announced", PUT_F + FILE_3 + message("HOLE", len=4)),
    ("HOLE over a checkpoint", PUT_F + message("FILE", size=2 * CHECKPOINT, offset=0, mode=0, mtime=WHEN) +
     spec.frame("DATA", 1, b"a") + message("HOLE", len=CHECKPOINT)),
    ("HOLE of more than a checkpoint", PUT_F + message("FILE", size=2 * CHECKPOINT, offset=0, mode=0, mtime=WHEN) +
     message("HOLE", len=CHECKPOINT + 1)),
    ("a flag of FILE that is not known", PUT_F + message("FILE", size=3, offset=0, mode=0, mtime=WHEN, flags=2)),
    ("an offset that was not offered", PUT_F + message("FILE", size=3, offset=1, mode=0, mtime=WHEN)),
    ("an offset above the size", PUT_F + message("FILE", size=3, offset=4, mode=0, mtime=WHEN)),
    ("an unknown flag", message("PUT", flags=32, alg=1, tag=NO_TAG, path=b"f")),
    ("no digest", message("PUT", flags=0, alg=0, tag=NO_TAG, path=b"f")),
    ("a mode above 0777", message("MKDIR", flags=0, mode=0o1777, path=b"d")),
    ("nanoseconds of a second", message("ATTR", mode=0, mtime=(0, 10**9), path=b"d")),
    ("a size of 2^63", PUT_F + message("FILE", size=2**63, offset=0, mode=0, mtime=WHEN)),
    ("a path of 16385 bytes", spec.frame("LINK", 1, bytes(4) + struct.pack(">H", 16385) + b"p" * 16385 +
                                         b"\0\1t")),
    ("an empty target", message("LINK", flags=0, path=b"l", target=b"")),
    ("bytes left over", spec.frame("MKDIR", 1, bytes(8) + b"\0\1d?")),
    ("a request before PROOF", message("GET", alg=1, offset=1, path=b"f") + message("FLUSH", 2)),
    ("the flag that LIST had once", message("LIST", flags=2, max=0, path=b"")),
    ("a secret of 15 bytes", spec.frame("JOIN", 1, bytes(15))),
    ("JOIN behind PUT", PUT_F + message("JOIN", 2, secret=bytes(16))),
    ("STAT with bytes left over", spec.frame("STAT", 1, b"\0\1d?")),
    ("a part of 4097 entries", message("LIST", flags=0, max=4097, path=b"")),
    ("NOTE that goes back", message("NOTE", 0, done=2) + message("NOTE", 0, done=1)),
    ("ERROR with code 256", message("ERROR", 0, code=256, text=b"")),
)


def check_breaches():
    """What the page forbids ends the connection with ERROR and PROTOCOL."""
    with Daemon("--penalty-max=0") as d:
        for name, raw in BREACHES:
            with Client(d) as c:
                c.sock.sendall(raw)
                equal(the_end(c), "PROTOCOL", f"{name} is a breach")
        with Client(d, chunk=4096) as c:
            c.sock.sendall(PUT_F + message("FILE", size=9000, offset=0, mode=0, mtime=WHEN) +
                           spec.frame("DATA", 1, bytes(4097)))
            equal(the_end(c), "PROTOCOL", "DATA above the smaller chunk size is a breach")
        with Client(d) as c:
            c.sock.sendall(message("NOTE", 0, done=2) + message("FLUSH") + message("NOTE", 0, done=1))
            equal(c.answer(1).name, "OK", "NOTE may start anew behind another message")


def check_connection_errors():
    with Daemon("--handshake-timeout=2", "--idle-timeout=2", "--penalty-max=0") as d:
        for first, name in ((b"sockd/2\n", "VERSION"), (b"GET / HT", "PROTOCOL"),
                            (b"\x15\x03\x03\0\2\2\x28\0", "PROTOCOL")):
            with Client(d, greet=False) as c:
                c.sock.sendall(first)
                equal((c.read_preface(), the_end(c)), (spec.PREFACE, name), f"{first} is {name}")
        with Client(d, greet=False) as c:
            equal((c.read_preface(), the_end(c)), (spec.PREFACE, "TIMEOUT"), "silence is TIMEOUT")
        with Client(d) as c:
            c.flush()
            equal(the_end(c), "TIMEOUT", "silence behind a request, too")
    with Daemon("--max-connections=1") as d, Client(d) as c:
        c.flush()
        with Client(d, greet=False) as late:
            equal((late.read_preface(), the_end(late)), (spec.PREFACE, "BUSY"), "no place left is BUSY")
        ident = c.next_id()
        c.send("PUT", ident, flags=0, alg=1, tag=NO_TAG, path=b"f")
        c.send_file(ident, b"unanswered")
        wait_for(lambda: partials(d.root) or os.path.exists(f"{d.root}/f"), what="the upload")
        d.signal(signal.SIGTERM)
        equal(c.answer(ident).name, "DONE", "a stopping server answers what it has")
        equal(the_end(c), "SHUTDOWN", "and says SHUTDOWN")


RENAME = "?renameat,renameat2"
SYSTEM_ERRORS = (
    ("READ_ONLY", RENAME, "EROFS"), ("ACCESS", RENAME, "EACCES"), ("RESOURCE", RENAME, "ENOMEM"),
    ("NO_SPACE", "pwrite64", "ENOSPC"), ("TOO_LARGE", "pwrite64", "EFBIG"), ("IO", "pwrite64", "EIO"),
    ("IO", "fsync", "EIO"), ("IO", "pwrite64", "ENOTCONN"),
)


def injected(calls, what, path=None):
    """A daemon under strace, which does WHAT to CALLS, or to those on PATH below its root."""
    root = scratch()
    only = ["-P", f"{root}/{path}"] if path else []
    return Daemon(root=root, prefix=["strace", "-f", "-qq", "-o", "/dev/null", *only, "-e", f"trace={calls}",
                                     "-e", f"inject={calls}:{what}"])


def check_system():
    """What the server's file system says, as it is said on the wire."""
    if not shutil.which("strace") or SANITIZED:
        tap.skip("errors of the file system", "no strace, or a sanitizer that it disturbs")
        return
    for name, calls, errno in SYSTEM_ERRORS:
        with injected(calls, f"error={errno}") as d, Client(d) as c:
            equal(c.put(b"f", b"data"), name, f"{errno} of {calls} is {name}")
    with injected("pread64", "error=EIO", "f") as d, Client(d) as c:
        write(f"{d.root}/f", "data")
        equal(c.get(b"f", b"da"), "IO", "what cannot be read is not proved, and not sent")
        equal(c.get(b"none"), "NOT_FOUND", "and the connection goes on")
    with injected("fsync", "delay_enter=1500000") as d, Client(d) as c:
        ident = c.next_id()
        c.send("PUT", ident, flags=0, alg=1, tag=NO_TAG, path=b"f")
        c.send_file(ident, b"data")
        c.request("FLUSH")
        equal(c.receive_frame().name, "NOTE", "a slow flush is told of by NOTE")
        equal(c.answer(ident).name, "DONE", "and then done")


if __name__ == "__main__":
    run(check_request_errors, check_rights, check_no_right, check_breaches, check_connection_errors, check_system)
