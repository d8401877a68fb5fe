# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that does what its table says, and what a hostile one can do in the greeting,
in frames and with single files.

Not a test itself; hostile_server.py is.
"""
import os
import socket
import struct
import threading
import time
import traceback

import spec
from breaches import message, raw_frame
from harness import CHECKPOINT, MIB, at, random_bytes
from hostile import EVIL, PACE
from peers import ENTRY, WHEN, Server

TIMEOUT = PACE  # of sockcp, in seconds
LIMIT = 20 * PACE  # no behaviour holds sockcp for longer
FAILURES = {1, 3, 4, 5, 6, 7, 8, 9}
FIRST = 1024  # the id of sockcp's first request
FLUSH = 2**32 - 1  # and of its FLUSH

F, G, H = b"f, as it is on the server\n", b"g, another one\n", b"h\n"
OLD = b"what was here before\n"
BIG = random_bytes(1, 2 * CHECKPOINT + 12345)
FILES = {b"f": F, b"g": G, b"h": H, b"big": BIG, b"d/1": F, b"d/2": G, b"d/3": H}
CODES = spec.page.errors
KINDS = {name: number for number, name in ENTRY.items()}

GET = ("get", at("f"), "out/f")
GET_MANY = ("get", at("f"), at("g"), at("h"), "out/")
GET_BIG = ("get", at("big"), "out/big")
STDOUT = ("get", at("f"), "-")
TREE = ("-r", "get", at("d"), "out/")
TREE_P = ("-rp", "get", at("d"), "out/")
PUT = ("put", "src/f", at("to/"))
PUT_BIG = ("put", "src/big", at("to/"))
PUT_MANY = ("put", "src/f", "src/g", "src/h", at("to/"))
PUT_TREE = ("-r", "put", "src/tree", at("to/"))
STDIN = ("put", "-", at("f"))

# -- The server ----------------------------------------------------------------


class Hang(Exception):
    """The behaviour has done all it does; the connection stays as it is."""


class Hostile(Server):
    """Honest, but for the requests that ACT is about."""

    def __init__(self, act, tls=None):
        super().__init__(act.files, tls=tls if act.line is None else None)
        self.act, self.connections, self.broken = act, 0, None
        self.over = threading.Event()  # sockcp has ended
        self.state = {}  # what a behaviour remembers from one connection to the next

    def serve(self, c):
        self.connections += 1
        try:
            if self.act.on == "connect":
                self.act.do(self, c)
            else:
                super().serve(c)
        except (EOFError, OSError, spec.Breach):
            raise
        except Hang:
            hold(c)
        except Exception:
            self.broken = traceback.format_exc()
            raise OSError("broken") from None

    def answer(self, c, request):
        if request.name in self.act.on.split():
            self.act.do(self, c, request)
        else:
            super().answer(c, request)

    def serve_mkdir(self, c, ident, _):
        c.send("OK", ident, durability=1)

    serve_link = serve_attr = serve_mkdir


def hold(c):
    """Says no more, until the client leaves."""
    while c.sock.recv(1 << 16):
        pass


def until_gone(s, c, gap=0.3, each=lambda: None):
    """Does EACH now and then, and reads nothing else, until sockcp has ended: its closing
    does not come through to one who reads nothing."""
    while not s.over.wait(gap):
        each()
    cut(c)


def cut(c, reset=False):
    if reset:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.sock.close()
    raise EOFError("cut")


def pour(c, pieces, seconds=LIMIT * 2):
    """Sends PIECES for as long as there are any and somebody takes them."""
    end = time.monotonic() + seconds
    for piece in pieces:
        c.send_raw(piece)
        if time.monotonic() > end:
            break


def drip(c, data, gap=0.3):
    """A byte at a time, each well before sockcp's timeout."""
    for byte in data:
        c.send_raw(bytes([byte]))
        time.sleep(gap * PACE)


# Messages for the request with id I.


def file(i, size, offset=0, mode=0o644, mtime=WHEN):
    return message("FILE", i, size=size, offset=offset, mode=mode, mtime=mtime)


def hole(i, count):
    return message("HOLE", i, len=count)


def data(i, some):
    return spec.frame("DATA", i, some)


def end(i, offset, digest, name="END"):
    return message(name, i, offset=offset, digest=digest)


def whole(i, content, **about):
    return file(i, len(content), **about) + (data(i, content) if content else b"") + \
        end(i, len(content), spec.sha256(content))


def error(i, code, text=b"", name="ERROR"):
    return message(name, i, code=CODES.get(code, code), text=text)


def entry(i, kind, path, size=0, mode=0o755, mtime=WHEN, target=b"", code=0):
    return message("ENTRY", i, kind=KINDS.get(kind, kind), code=code, size=size, mode=mode, mtime=mtime,
                   path=path, target=target)


def listed(i, more=0):
    return message("LISTED", i, more=more)


# -- The table -------------------------------------------------------------------


class Act:
    """A behaviour: DO(server, connection, request) is what happens ON a request, or on
    'connect'; DONE are files that must be right if the status is 0, and the only ones that may
    have changed, but for MAY."""

    def __init__(self, do, on="GET", args=GET, status=None, done=None, may=None, files=None, proof=None,
                 **about):
        self.do, self.on, self.args = do, on, args
        self.status = status or FAILURES
        self.done, self.may = done or {}, may
        self.files = FILES if files is None else files
        self.proof = proof  # what else must hold when the status is 0: proof(server, run)
        self.terminal = about.pop("terminal", False)
        self.line = about.pop("line", None)  # of sockcp, in place of --plaintext
        self.prepare = about.pop("prepare", None)  # prepare(place, port)
        self.about = about

    def allowed(self):
        if callable(self.may):
            return self.may
        allowed = {path: [content] for path, content in self.done.items()}
        for path, states in (self.may or {}).items():
            allowed[path] = states + allowed.get(path, [])
        return allowed


TABLE = []


def act(name, **about):
    def enter(do):
        TABLE.append((name, Act(do, **about)))
        return do
    return enter


def sends(name, make, **about):
    """A behaviour that is bytes: MAKE(id of the request), and silence behind them."""
    def do(_, c, request):
        c.send_raw(make(request.id))
        raise Hang
    TABLE.append((name, Act(do, **about)))


def opens(name, first, **about):
    """A behaviour that is bytes in place of the greeting."""
    def do(_, c):
        c.send_raw(first)
        raise Hang
    TABLE.append((name, Act(do, on="connect", **about)))


# -- Before and in the greeting ------------------------------------------------

LOST, BREACH, WRONG = {3}, {9}, {6}
REFUSED = LOST | BREACH  # a header that makes no sense may as well be a broken line
GOT_F = {b"out/f": F}


def hello(version=1, chunk=MIB, depth=64, features=0, agent=b"hostile", ident=0, **_):
    return message("HELLO", ident, version=version, chunk_size=chunk, depth=depth, features=features,
                   run=bytes(16), agent=agent)


def greeting(**about):
    return spec.PREFACE + hello(**about)


opens("silence from the start", b"", status=LOST)
opens("a preface, then silence", spec.PREFACE, status=LOST)
opens("half a preface, then silence", b"sock", status=LOST)
opens("garbage for a preface", b"\0\xff\x1b[2J!!", status=BREACH)
opens("a preface of version 2", b"sockd/2\n", status=BREACH)
opens("HTTP", b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", status=BREACH)
opens("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", status=BREACH)
opens("the preface again and again", spec.PREFACE * 10000, status=REFUSED)
opens("HELLO with depth 0", greeting(depth=0), status=BREACH)
opens("HELLO with depth 65536", greeting(depth=65536), status=BREACH)
opens("HELLO with depth 2^32 - 1", greeting(depth=2**32 - 1), status=BREACH)
opens("HELLO with chunk size 0", greeting(chunk=0), status=BREACH)
opens("HELLO with chunk size 2^31", greeting(chunk=2**31), status=BREACH)
opens("HELLO with a chunk size below the least", greeting(chunk=2048), status=BREACH)
opens("HELLO with a chunk size that is no power of two", greeting(chunk=65537), status=BREACH)
opens("HELLO with version 0", greeting(version=0), status=BREACH)
opens("HELLO with an agent of 65 bytes", greeting(agent=b"a" * 65), status=BREACH)
opens("HELLO whose agent is longer than HELLO", spec.PREFACE +
      spec.frame("HELLO", 0, spec.encode("HELLO", {"version": 1, "chunk_size": 4096, "depth": 1, "features": 0,
                                                   "run": bytes(16), "agent": b""})[:-2] + b"\xff\xff"), status=BREACH)
opens("HELLO of 1025 bytes", spec.PREFACE + spec.frame("HELLO", 0, bytes(1025)), status=REFUSED)
opens("HELLO with an id", greeting(ident=7), status=BREACH)
opens("HELLO with a wrong checksum", greeting()[:20] + b"\0\0\0\0" + greeting()[24:], status=LOST)
opens("NOTE in place of HELLO", spec.PREFACE + message("NOTE", 0, done=1), status=BREACH)
opens("an answer in place of HELLO", spec.PREFACE + message("OK", FIRST, durability=1), status=BREACH)
opens("ERROR that ends it with what no terminal should get", spec.PREFACE + error(0, "BUSY", EVIL * 6), status=LOST)
opens("ERROR that denies everything", spec.PREFACE + error(0, "DENIED", EVIL), status={4})
opens("ERROR that is about a file, for the whole connection", spec.PREFACE + error(0, "NOT_FOUND", EVIL))
opens("ERROR that is a mismatch, for the whole connection", spec.PREFACE + error(0, "MISMATCH", EVIL))
opens("ERROR of no known kind for the whole connection", spec.PREFACE + error(0, 255, EVIL))


@act("close at once", on="connect", status=LOST)
def close_at_once(_, c):
    cut(c)


@act("reset at once", on="connect", status=LOST)
def reset_at_once(_, c):
    cut(c, reset=True)


@act("no end of zero bytes", on="connect", status=BREACH)
def zeros(_, c):
    pour(c, iter(lambda: bytes(1 << 16), None))


@act("a preface and HELLO, a byte at a time, and then silence", on="connect", status=LOST)
def drip_greeting(_, c):
    drip(c, greeting()[:30], 0.15)
    raise Hang


@act("busy, for ever", on="connect", status=LOST, args=("--retries=4", *GET))
def busy(_, c):
    c.send_raw(spec.PREFACE + error(0, "BUSY"))


@act("stopping, for ever", on="connect", status=LOST, args=("--retries=4", *GET))
def stopping(_, c):
    c.send_raw(spec.PREFACE + error(0, "SHUTDOWN"))


@act("HELLO, and at once every answer that there is", on="connect",
     status=FAILURES | {0}, done={b"out/f": G})
def answers_first(_, c):
    c.send_raw(greeting() + whole(FIRST, G) + message("OK", FLUSH, durability=1) + listed(FIRST))
    raise Hang


@act("HELLO twice", on="connect", status=BREACH)
def hello_twice(_, c):
    c.send_raw(greeting() + hello())
    raise Hang


@act("version 9 in HELLO, which is taken as 1", on="connect", status={0}, done=GOT_F)
def later_version(s, c):
    c.read_preface()
    c.send_raw(greeting(version=9, depth=1, chunk=4096, features=2**64 - 1))
    c.chunk = 4096
    c.receive()
    Server.answer(s, c, c.receive())


@act("a first connection that is lost, and a second that is another server's", on="connect",
     status=FAILURES)
def other_later(s, c):
    if s.connections == 1:
        c.send_raw(greeting())
        cut(c)
    c.send_raw(b"220 smtp ready\r\n")
    raise Hang


# -- Frames ----------------------------------------------------------------------

sends("a frame of an unknown type", lambda i: raw_frame(200, ident=i), status=REFUSED)
sends("a frame with flags", lambda i: raw_frame(65, flags_=1, ident=i, payload=b"\1"), status=REFUSED)
sends("a frame with reserved bits", lambda i: raw_frame(65, reserved=1, ident=i, payload=b"\1"), status=REFUSED)
sends("a frame longer than its type may be", lambda i: raw_frame(2, length=2**32 - 1, ident=i), status=REFUSED)
sends("a frame shorter than its type may be", lambda i: raw_frame(32, ident=i, payload=bytes(31)), status=REFUSED)
sends("a frame with a wrong checksum", lambda i: raw_frame(32, ident=i, payload=bytes(32), crc=1), status=LOST)
sends("DATA with a wrong checksum", lambda i: file(i, 3) + raw_frame(33, ident=i, payload=b"abc", crc=1),
      status=LOST)
sends("DATA of 4 MiB and one byte", lambda i: file(i, 8 * MIB) + raw_frame(33, length=4 * MIB + 1, ident=i, crc=0),
      status=REFUSED)
sends("DATA larger than the chunk that was agreed on",
      lambda i: file(i, 3 * MIB) + spec.frame("DATA", i, bytes(MIB + 1)), status=BREACH)
sends("DATA of no bytes", lambda i: file(i, 3) + spec.frame("DATA", i, b""), status=REFUSED)
sends("a request, of all things", lambda i: message("GET", i, alg=1, offset=0, path=b"/etc/passwd"), status=BREACH)
sends("a header, and silence where its payload was to be", lambda i: file(i, 3)[:16], status=LOST)
sends("half a header, and silence", lambda i: file(i, 3)[:7], status=LOST)

for where, count in (("in a header", 9), ("in a payload", 30), ("behind FILE", 52), ("in DATA", 70),
                     ("before END", 52 + 16 + len(F)), ("in END", 52 + 16 + len(F) + 20)):
    def cut_there(_, c, request, n=count):
        c.send_raw(whole(request.id, F)[:n])
        cut(c, reset=n == 30)
    TABLE.append((f"a connection cut {where}", Act(cut_there, status=LOST)))

# -- Files -----------------------------------------------------------------------

sends("DATA without FILE", lambda i: data(i, F), status=BREACH)
sends("END without FILE", lambda i: end(i, 0, spec.sha256(b"")), status=BREACH)
sends("CHECK without FILE", lambda i: end(i, 0, spec.sha256(b""), "CHECK"), status=BREACH)
sends("ABORT without FILE", lambda i: error(i, "ABORTED", name="ABORT"), status=BREACH)
sends("FILE twice", lambda i: file(i, len(F)) + whole(i, F), status=BREACH)
sends("FILE again behind DATA", lambda i: file(i, len(F)) + data(i, F) + whole(i, F), status=BREACH)
sends("END before all bytes were sent", lambda i: file(i, 100) + data(i, F) + end(i, len(F), spec.sha256(F)),
      status=BREACH)
sends("END that tells of all bytes when there were fewer",
      lambda i: file(i, 100) + data(i, F) + end(i, 100, spec.sha256(F)), status=BREACH)
sends("more bytes than were announced", lambda i: file(i, 3) + data(i, F) + end(i, len(F), spec.sha256(F)),
      status=BREACH)
sends("bytes of a file of 0 bytes", lambda i: file(i, 0) + data(i, F), status=BREACH)
sends("DATA of another request", lambda i: file(i, len(F)) + data(i + 1, F), status=BREACH)
sends("END of another request", lambda i: file(i, 0) + end(i + 1, 0, spec.sha256(b"")), status=BREACH)
sends("CHECK between checkpoints",
      lambda i: file(i, len(F)) + data(i, F) + end(i, len(F), spec.sha256(F), "CHECK"), status=BREACH)
sends("CHECK at a checkpoint that was not reached",
      lambda i: file(i, CHECKPOINT * 2) + data(i, F) + end(i, CHECKPOINT, bytes(32), "CHECK"), status=BREACH)
sends("HOLE without FILE", lambda i: hole(i, 3), status=BREACH)
sends("HOLE larger than announced", lambda i: file(i, len(F)) + hole(i, len(F) + 1), status=BREACH)
sends("HOLE over a checkpoint", lambda i: file(i, CHECKPOINT * 2) + data(i, F) + hole(i, CHECKPOINT),
      status=BREACH)
sends("HOLE of nothing", lambda i: file(i, len(F)) + hole(i, 0), status=BREACH)
sends("holes only, and the digest of other bytes",
      lambda i: file(i, len(F)) + hole(i, len(F)) + end(i, len(F), spec.sha256(F)), status=WRONG)
sends("CHECK at offset 0, again and again", lambda i: file(i, 3) + end(i, 0, spec.sha256(b""), "CHECK") * 1000 +
      data(i, b"abc") + end(i, 3, bytes(32)), status={6, 9})
sends("a size of 2^63 - 1", lambda i: whole(i, F).replace(struct.pack(">Q", len(F)), struct.pack(">Q", 2**63 - 1), 1),
      status=FAILURES)
sends("a true frame that announces 2^63 - 1 bytes", lambda i: file(i, 2**63 - 1) + data(i, F), status={3, 7})
sends("a size of 2^63", lambda i: file(i, 2**63), status=BREACH)
sends("an offset beyond the size", lambda i: file(i, 3, offset=4), status=BREACH)
sends("an offset that nobody asked for", lambda i: file(i, 3, offset=2) + data(i, b"x"), status=BREACH)
sends("an offset of 2^63 - 1", lambda i: file(i, 2**63 - 1, offset=2**63 - 1), status=BREACH)
sends("a mode with setuid", lambda i: whole(i, F, mode=0o4755), status=BREACH)
sends("a mode of all ones", lambda i: whole(i, F, mode=2**32 - 1), status=BREACH)
sends("more nanoseconds than a second has", lambda i: whole(i, F, mtime=(0, 10**9)), status=BREACH)
sends("nanoseconds that would mean 'now'", lambda i: whole(i, F, mtime=(0, (1 << 30) - 1)), status=BREACH)
sends("a mode of 0, without -p", lambda i: whole(i, F, mode=0), status={0}, done=GOT_F)
for year, sec in (("the beginning", -2**63), ("the end", 2**63 - 1), ("1969", -1)):
    sends(f"a time at {year} of time", lambda i, sec=sec: whole(i, F, mode=0o777, mtime=(sec, 999999999)),
          args=("-p", *GET), status={0, 7}, done=GOT_F, may={b"out/f": [OLD]})
sends("ABORT with code 0", lambda i: file(i, 3) + error(i, 0, name="ABORT"), status=BREACH)
sends("ABORT with code 256", lambda i: file(i, 3) + error(i, 256, name="ABORT"), status=BREACH)
sends("ABORT with code 65535", lambda i: file(i, 3) + error(i, 65535, name="ABORT"), status=BREACH)
sends("ABORT with an unknown code", lambda i: file(i, 3) + error(i, 255, EVIL, name="ABORT"))
sends("ABORT with a code that only makes sense elsewhere", lambda i: file(i, 3) + error(i, "BUSY", name="ABORT"))
sends("ABORT because it changed", lambda i: file(i, 3) + error(i, "CHANGED", EVIL, name="ABORT"), status=WRONG)
sends("a wrong digest", lambda i: file(i, len(F)) + data(i, F) + end(i, len(F), spec.sha256(G)), status=WRONG)
sends("the digest of no bytes", lambda i: file(i, len(F)) + data(i, F) + end(i, len(F), spec.sha256(b"")), status=WRONG)
sends("the right digest, and other bytes",
      lambda i: file(i, len(F)) + data(i, F[::-1]) + end(i, len(F), spec.sha256(F)), status=WRONG)
sends("another file with its own digest, where --sha256 names the first", lambda i: whole(i, G), status=WRONG,
      args=("--sha256", spec.sha256(F).hex(), *GET))
sends("an answer for nobody", lambda i: whole(i + 1, F), status=BREACH)
sends("an answer with id 0", lambda i: whole(0, F), status=BREACH)
for answer, values in (("OK", {"durability": 1}), ("LISTED", {"more": 0}), ("OFFER", {"kind": 0, "offset": 0}),
                       ("PROOF", {"digest": bytes(32)}),
                       ("DONE", {"durability": 1, "size": len(F), "digest": spec.sha256(F)})):
    sends(f"{answer} for an answer to GET", lambda i, n=answer, v=values: message(n, i, **v), status=BREACH)
sends("ENTRY for an answer to GET", lambda i: entry(i, "FILE", b"f"), status=BREACH)
sends("an answer to the second request first", lambda i: whole(i + 1, G) + whole(i, F), args=GET_MANY, status=BREACH)
sends("BUSY in the middle of a file", lambda i: file(i, len(F)) + data(i, F[:3]) + error(0, "BUSY"), status=LOST)
sends("SHUTDOWN in the middle of a file", lambda i: file(i, len(F)) + data(i, F[:3]) + error(0, "SHUTDOWN", EVIL),
      status=LOST)
sends("NOT_FOUND for the connection, in the middle of a file",
      lambda i: file(i, len(F)) + data(i, F[:3]) + error(0, "NOT_FOUND", EVIL))
sends("ERROR for the request, in the middle of its file",
      lambda i: file(i, len(F)) + data(i, F[:3]) + error(i, "NOT_FOUND"), status=BREACH)
sends("all but the end of a file", lambda i: whole(i, F)[:-1], status=LOST)
sends("NOTE that goes back", lambda i: message("NOTE", 0, done=2) + message("NOTE", 0, done=1), status=BREACH)


@act("the same answer twice", args=GET_MANY, status={0, 9}, done={b"out/f": F, b"out/g": G, b"out/h": H},
     may={b"out/f": [OLD], b"out/g": [OLD], b"out/h": [None]})
def twice(s, c, request):
    Server.answer(s, c, request)
    if request.values["path"] == b"f":
        Server.answer(s, c, request)


@act("no end of data, of a size that is not told; then a cut", status=LOST)
def endless_data(_, c, request):
    c.send_raw(file(request.id, spec.UNKNOWN))
    pour(c, (data(request.id, bytes(MIB)) for _ in range(64)))
    cut(c)


@act("no end of data that a pipe has enough of", args=STDOUT, status={7},
     reader=lambda fd: [os.read(fd, 65536) for _ in range(20)])
def endless_pipe(_, c, request):
    c.send_raw(file(request.id, spec.UNKNOWN))
    pour(c, iter(lambda: data(request.id, bytes(MIB)), None))


@act("200,000 times one byte; then a cut", status=LOST)
def tiny_data(_, c, request):
    c.send_raw(file(request.id, spec.UNKNOWN))
    pour(c, (data(request.id, b"x") * 1000 for _ in range(200)))
    cut(c)


@act("a byte now and then, for ever", status=LOST)
def drip_data(_, c, request):
    c.send_raw(file(request.id, 10**9))
    pour(c, drops(request.id))


def drops(ident):
    while True:
        time.sleep(0.5 * PACE)
        yield data(ident, b"x")


@act("nothing but NOTEs, each with more done", status=LOST, args=("--retries=0", *GET))
def endless_notes(_, c, request):
    del request
    pour(c, (message("NOTE", 0, done=n) for n in ticks()))


@act("nothing but NOTEs, as fast as can be", status=REFUSED)
def flood_of_notes(_, c, request):
    del request
    pour(c, iter(lambda: message("NOTE", 0, done=7) * 1000, None))


def ticks():
    n = 0
    while True:
        time.sleep(0.2)
        n += 1
        yield n


@act("a wrong CHECK, on each connection", args=GET_BIG, status=WRONG)
def wrong_check(_, c, request):
    c.send_raw(file(request.id, len(BIG)))
    pour(c, (data(request.id, BIG[n:n + MIB]) for n in range(0, CHECKPOINT, MIB)))
    c.send_raw(end(request.id, CHECKPOINT, spec.sha256(b""), "CHECK"))
    raise Hang


@act("no CHECK at all", args=GET_BIG, status={0, 9}, done={b"out/big": BIG}, may={b"out/big": [None]})
def no_check(_, c, request):
    c.send_raw(file(request.id, len(BIG)) +
               b"".join(data(request.id, BIG[n:n + MIB]) for n in range(0, len(BIG), MIB)) +
               end(request.id, len(BIG), spec.sha256(BIG)))
    raise Hang


def to_checkpoint(c, request, count, of=BIG):
    """FILE, and OF up to its COUNT-th checkpoint."""
    offset = request.values["offset"]
    c.send_raw(file(request.id, len(of), offset=offset))
    for n in range(offset, count * CHECKPOINT, MIB):
        c.send_raw(data(request.id, of[n:n + MIB]))
        if (n + MIB) % CHECKPOINT == 0:
            c.send_raw(end(request.id, n + MIB, spec.sha256(of[:n + MIB]), "CHECK"))


@act("a beginning; then other bytes behind what was proved", args=GET_BIG, status=WRONG)
def splice(s, c, request):
    if request.values["offset"]:
        c.receive()
        rest = BIG[request.values["offset"]:][::-1]
        c.send_raw(file(request.id, len(BIG), offset=request.values["offset"]))
        c.send_raw(data(request.id, rest[:MIB]) * (CHECKPOINT // MIB))
        c.send_raw(end(request.id, 2 * CHECKPOINT, spec.sha256(BIG[:2 * CHECKPOINT]), "CHECK"))
        raise Hang
    to_checkpoint(c, request, 1)
    cut(c)


@act("a cut behind each checkpoint, until all is there", args=GET_BIG, status={0}, done={b"out/big": BIG})
def cut_at_checkpoints(s, c, request):
    offset = request.values["offset"]
    if offset == 2 * CHECKPOINT:
        Server.answer(s, c, request)
        return
    if offset:
        c.receive()
    to_checkpoint(c, request, offset // CHECKPOINT + 1)
    cut(c)


@act("a cut behind the first checkpoint, for ever", args=("--retries=3", *GET_BIG), status=LOST)
def cut_for_ever(_, c, request):
    if request.values["offset"]:
        c.receive()
    c.send_raw(file(request.id, len(BIG)) if request.values["offset"] else b"")
    if not request.values["offset"]:
        to_checkpoint(c, request, 1)
    cut(c)


@act("an offset in a proof that it has not asked for, after a cut", args=GET_BIG, status=BREACH)
def other_offset(_, c, request):
    if request.values["offset"]:
        c.receive()
        c.send_raw(file(request.id, len(BIG), offset=2 * CHECKPOINT))
        raise Hang
    to_checkpoint(c, request, 1)
    cut(c)


@act("standard output, and after a cut another beginning", args=STDOUT, status=FAILURES)
def stdout_anew(_, c, request):
    if request.values["offset"]:
        c.receive()
        c.send_raw(whole(request.id, G))
        raise Hang
    c.send_raw(file(request.id, len(F)) + data(request.id, F[:5]))
    cut(c)


@act("standard output, and wrong bytes", args=STDOUT, status=WRONG)
def stdout_wrong(_, c, request):
    c.send_raw(file(request.id, len(F)) + data(request.id, F[::-1]) + end(request.id, len(F), spec.sha256(F)))
    raise Hang


# -- Words -------------------------------------------------------------------------

for name, args in (("", GET), (", in JSON", ("--json", *GET)), (", with -v", ("-v", *GET))):
    sends(f"ERROR with what no terminal should get{name}", lambda i: error(i, "IO", EVIL), args=args, status={8})
sends("ERROR with what no terminal should get, on a terminal", lambda i: error(i, "IO", EVIL), args=("-v", *GET),
      status={8}, terminal=True)
sends("ERROR with a text of 512 bytes, all of them to be escaped", lambda i: error(i, "IO", b"\xc2\x9b" * 256),
      status={8})
sends("ERROR with a text of 513 bytes", lambda i: error(i, "IO", b"x" * 513), status=REFUSED)
sends("ERROR with a text that ends behind it",
      lambda i: spec.frame("ERROR", i, struct.pack(">HH", 7, 500) + b"short"), status=BREACH)
sends("ERROR with NUL in its text", lambda i: error(i, "IO", b"a\0\x1b[2Jb"), status={8})
sends("ERROR of an unknown kind", lambda i: error(i, 200, b"who knows"))
sends("ERROR with code 0", lambda i: error(i, 0, b"no error"), status=BREACH)
sends("ERROR with code 256", lambda i: error(i, 256, b"closed"), status=BREACH)
for code in ("BUSY", "SHUTDOWN", "TIMEOUT", "PROTOCOL", "VERSION", "MISMATCH", "TAKEN_OVER", "DENIED"):
    sends(f"ERROR {code} for one request", lambda i, code=code: error(i, code, b"\x1b[2J"))
