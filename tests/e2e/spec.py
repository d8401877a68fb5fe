# SPDX-License-Identifier: GPL-3.0-or-later
"""sockd-protocol(7) as a program.

Not a test itself.  Messages, their fields, the states and the error codes are
read out of the tables of the manual page, so that an implementation that
stands on this (secondimpl.py) works only if the page is right.
"""
import collections
import contextlib
import hashlib
import os
import re
import select
import socket
import ssl
import struct
import zlib

PAGE = os.path.join(os.environ["SOCKD_SRCDIR"], "man", "sockd-protocol.7")
PREFACE = b"sockd/1\n"
HEADER = 16
CHECKPOINT = 4194304
UNKNOWN = 2**64 - 1
NUMBERS = {"u8": ">B", "u16": ">H", "u32": ">I", "u64": ">Q"}
OPAQUE = {"b16": 16, "b32": 32}
TYPES = {*NUMBERS, *OPAQUE, "time", "str"}
# What a socket that does not wait says when it would have to; TLS has records that hold
# nothing for us.
NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Message = collections.namedtuple("Message", "name id values")
Frame = collections.namedtuple("Frame", "side name id payload raw")


class Breach(Exception):
    """The other side broke the rules of the page."""


# -- The page ----------------------------------------------------------------


def table(text):
    """The rows of the tables in TEXT, as lists of cells."""
    return [re.split(r" Ta ?", row) for row in re.findall(r"^\.It (.* Ta.*)$", text, re.M)]


def sections(text):
    """{heading: what stands below it}"""
    parts = re.split(r"^\.S[hs] (.*)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def literals(text):
    return re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.M | re.S)


class Page:
    def __init__(self, text):
        parts = sections(text)
        rows = [row for row in table(parts["MESSAGES"]) if row[0].isdigit()]
        self.types = {row[1]: int(row[0]) for row in rows}
        self.names = {number: name for name, number in self.types.items()}
        self.limits = {row[1]: (int(row[3]), int(row[4])) for row in rows}
        self.errors = {row[1]: int(row[0]) for row in table(parts["ERROR CODES"]) if row[0].isdigit()}
        self.fields, self.offsets, self.values = {}, {}, {}
        for heading, part in parts.items():
            for name in heading.split(" and "):
                if name in self.types:
                    self.read_message(name, table(part))
        self.states = {}
        for row in table(parts["STATES"]):
            if row[0] in ("client", "server"):
                for name in row[2].split(", "):
                    self.states[row[0], row[1], name] = re.match(r"\w+", row[3])[0]
        self.parts, self.text = parts, text

    def read_message(self, name, rows):
        fields = [row for row in rows if row[1] in TYPES]
        self.fields[name] = [(row[1], row[2]) for row in fields]
        self.offsets[name] = [int(row[0]) for row in fields]
        # Flags and kinds: a number and its name.
        self.values[name] = {row[1]: int(row[0]) for row in rows
                             if row[0].isdigit() and row[1] not in TYPES}

    def frames(self):
        """The frames that are shown as C and S, a list for each example."""
        return [[read_example(entry) for entry in re.split(r"\n(?=[CS]  )", block.rstrip("\n"))]
                for block in literals(self.text) if re.match("[CS]  ", block)]

    def payloads(self):
        """{name: hexadecimal words} of the examples of payloads."""
        block = literals(self.parts["Payloads"])[0]
        entries = re.split(r"\n(?=\S)", block.rstrip("\n"))
        return {entry.split()[0]: entry.split()[1:] for entry in entries}


def from_hex(word):
    digits, _, count = word.partition("*")
    return bytes.fromhex(digits) * int(count or 1)


def read_example(entry):
    side, *words = entry.split()
    if len(words) == 1:
        return Frame(side, "preface", 0, b"", from_hex(words[0]))
    header, name, payload = words[:6], words[6], words[7:]
    payload = b"".join(map(from_hex, payload))
    return Frame(side, name, int(header[3], 16), payload, from_hex("".join(header)) + payload)


with open(PAGE, encoding="utf-8") as page_file:
    page = Page(page_file.read())

# -- Messages ----------------------------------------------------------------


def encode_field(kind, value):
    if kind in NUMBERS:
        return struct.pack(NUMBERS[kind], value)
    if kind == "time":
        return struct.pack(">qI", *value)
    if kind == "str":
        return struct.pack(">H", len(value)) + value
    assert len(value) == OPAQUE[kind]
    return value


def encode(name, values):
    if name == "FILE":
        values = {"flags": 0, **values}  # no holes, unless it says so
    return b"".join(encode_field(kind, values[field]) for kind, field in page.fields[name])


def decode(name, payload):
    """{field: value}; every byte must be used, but for those behind a HELLO."""
    at, values = 0, {}

    def take(count):
        nonlocal at
        if at + count > len(payload):
            raise Breach(f"{name} ends early")
        at += count
        return payload[at - count:at]

    for kind, field in page.fields[name]:
        if kind in NUMBERS:
            values[field] = int.from_bytes(take(struct.calcsize(NUMBERS[kind])), "big")
        elif kind == "time":
            values[field] = struct.unpack(">qI", take(12))
        elif kind == "str":
            values[field] = take(int.from_bytes(take(2), "big"))
        else:
            values[field] = take(OPAQUE[kind])
    if at != len(payload) and name != "HELLO":
        raise Breach(f"{name} has {len(payload) - at} bytes too many")
    return values


def frame(name, ident, payload):
    head = struct.pack(">BBHII", page.types[name], 0, 0, ident, len(payload))
    return head + struct.pack(">I", checksum(name, head, payload)) + payload


def checksum(name, head, payload):
    return zlib.crc32(head if name == "DATA" else head + payload)


def sha256(data):
    return hashlib.sha256(data).digest()


# -- One end of a connection -------------------------------------------------


class Connection:
    """SIDE ("client" or "server") is ours: it decides what may be received."""

    def __init__(self, sock, side, chunk=1 << 20):
        self.sock, self.side, self.chunk = sock, side, chunk
        self.state, self.current = "new", 0
        self.buffer, self.noted, self.received = bytearray(), 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def greet(self, depth, run, agent):
        return frame("HELLO", 0, encode("HELLO", {
            "version": 1, "chunk_size": self.chunk, "depth": depth, "features": 0, "run": run,
            "agent": agent}))

    # Writing

    def send_raw(self, data):
        """Reads while it writes, so that two who both write do not wait for each other."""
        data, at = memoryview(data), 0
        timeout = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            while at < len(data):
                readable, writable, _ = select.select([self.sock], [self.sock], [], timeout)
                if not readable and not writable:
                    raise TimeoutError("nothing can be sent")
                if readable:
                    with contextlib.suppress(*NOT_YET):
                        got = self.sock.recv(1 << 20)
                        if not got:
                            raise EOFError("closed while we were sending")
                        self.buffer += got
                        self.received += len(got)
                if writable:
                    with contextlib.suppress(*NOT_YET):
                        at += self.sock.send(data[at:at + (1 << 16)])
        finally:
            self.sock.settimeout(timeout)

    def send(self, name, ident, **values):
        self.send_raw(frame(name, ident, encode(name, values)))

    def send_error(self, name, ident, code):
        self.send(name, ident, code=page.errors[code], text=b"")

    def send_file(self, ident, data, offset=0, size=None, mode=0o644, mtime=(0, 0), holes=False):
        """All of DATA, of which the other side has OFFSET bytes already; with HOLES chunks of zeros
        are such."""
        self.send("FILE", ident, size=len(data) if size is None else size, offset=offset, mode=mode,
                  mtime=mtime, flags=int(holes))
        at = offset
        while at < len(data):
            end = min(at + self.chunk, len(data), at - at % CHECKPOINT + CHECKPOINT)
            if holes and not any(data[at:end]):
                self.send("HOLE", ident, len=end - at)
            else:
                self.send_raw(frame("DATA", ident, data[at:end]))
            at = end
            if at % CHECKPOINT == 0 and at != (len(data) if size is None else size):
                self.send("CHECK", ident, offset=at, digest=sha256(data[:at]))
        self.send("END", ident, offset=at, digest=sha256(data))

    # Reading

    def read(self, count):
        while len(self.buffer) < count:
            got = self.sock.recv(1 << 20)
            if not got:
                raise EOFError(f"closed with {len(self.buffer)} bytes of {count}")
            self.buffer += got
            self.received += len(got)
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def read_preface(self):
        return self.read(len(PREFACE))

    def receive(self):
        """The next message but NOTE; DATA has its bytes for values."""
        while True:
            message = self.receive_frame()
            if message.name != "NOTE":
                self.noted = 0
                return message
            if message.values["done"] < self.noted:
                raise Breach("NOTE goes back")
            self.noted = message.values["done"]

    def receive_frame(self):
        head = self.read(HEADER)
        number, flags, reserved, ident, length, theirs = struct.unpack(">BBHIII", head)
        name = page.names.get(number)
        if flags or reserved or not name or not page.limits[name][0] <= length <= page.limits[name][1]:
            raise Breach(f"header {head.hex()}")
        if name == "DATA" and length > self.chunk:
            raise Breach(f"{length} bytes of DATA")
        payload = self.read(length)
        if theirs != checksum(name, head[:12], payload):
            raise Breach(f"checksum of {name}")
        values = payload if name == "DATA" else decode(name, payload)
        self.admit(name, ident, values)
        return Message(name, ident, values)

    def admit(self, name, ident, values):
        if name == "NOTE" and self.state != "new" or name == "ERROR" and ident == 0:
            return
        after = page.states.get((self.side, self.state, name))
        if not after:
            raise Breach(f"{name} in state {self.state}")
        if name != "HELLO" and ident == 0:
            raise Breach(f"{name} without id")
        if self.state in ("file", "data", "proof") and ident != self.current:
            raise Breach(f"{name} with id {ident}, not {self.current}")
        if name == "OFFER" and values["kind"] in (1, 2) or name == "GET" and values["offset"]:
            after = "proof"
        self.state, self.current = after, ident

    def receive_file(self, file, have=b""):
        """What follows FILE: (all bytes of the file, the last message); HAVE is what we had of it."""
        data = bytearray(have[:file["offset"]])
        digest = hashlib.sha256(data)
        checked = len(data)
        while True:
            message = self.receive()
            if message.name == "ABORT":
                return bytes(data), message
            due = len(data) % CHECKPOINT == 0 and len(data) not in (checked, file["size"])
            if due != (message.name == "CHECK"):
                raise Breach(f"{message.name} at {len(data)}")
            checked = len(data)
            if message.name in ("DATA", "HOLE"):
                come = message.values if message.name == "DATA" else bytes(message.values["len"])
                if len(data) % CHECKPOINT + len(come) > CHECKPOINT:
                    raise Breach(f"{message.name} across a checkpoint")
                data += come
                digest.update(come)
                if len(data) > file["size"]:
                    raise Breach("more than was announced")
                continue
            if message.values["offset"] != len(data):
                raise Breach(f"{message.name} at another offset")
            if message.values["digest"] != digest.digest():
                return bytes(data), message._replace(name="wrong")
            if message.name == "END":
                if file["size"] not in (len(data), UNKNOWN):
                    raise Breach("less than was announced")
                return bytes(data), message


def connect(port, timeout, narrow=False):
    """With NARROW the kernels at both ends hold as little as they can be made to."""
    sock = socket.socket()
    sock.settimeout(timeout)
    if narrow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)
    sock.connect(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
