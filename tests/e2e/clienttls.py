# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile client can do before and below the protocol: TLS, certificates, identities.

Not a test itself; hostile_client.py is.
"""
import contextlib
import os
import socket
import ssl
import struct
import subprocess
import time

import spec
import spectls
from clientacts import (GREETING, IDLE, PUT_F, STATES, TABLE, Act, act, data, drip, file, get, is_let_go, message,
                        reset, send_all, silence, upload)
from harness import SANITIZED, read, scratch, write
from hostile import PACE
from peers import NO_TAG, TIMEOUT, Client, error_name, the_end

HERE = scratch()
ME, OTHER = (spectls.make_identity(HERE, name) for name in ("me", "other"))
ONLY_12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
HANDSHAKE, ALERT, CCS, DATA, HEARTBEAT = 22, 21, 20, 23, 24


def record(kind, payload, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload)) + payload


class Bio:
    """TLS of which the records go where we want."""

    def __init__(self, ctx=None):
        self.taken, self.given = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.end = (ctx or spectls.context("client", ME)).wrap_bio(self.taken, self.given)

    def step(self, do):
        with contextlib.suppress(ssl.SSLWantReadError):
            do()
        return self.given.read()

    def hello(self):
        return self.step(self.end.do_handshake)

    def flight(self, sock):
        """What a client says last in the handshake: Certificate to Finished."""
        sock.sendall(self.hello())
        while True:
            some = sock.recv(1 << 16)
            if not some:
                raise EOFError("closed")
            self.taken.write(some)
            said = self.step(self.end.do_handshake)
            if self.end.version() and said:
                return said

    def write(self, some):
        return self.step(lambda: self.end.write(some))


def secure(arena, identity=ME):
    """A connection on which TLS stands, and no more."""
    sock = spectls.connect(arena.daemon.port, TIMEOUT, identity)
    return Client(arena.daemon, sock=sock, greet=False)


def bares(name, make, **about):
    """What is not TLS, or not all of it: the bytes MAKE(), then silence."""
    def do(arena):
        with arena.client(greet=False) as c:
            return send_some(c, make()) or is_let_go(c)
    TABLE.append((name, Act(do, **about)))


def send_some(c, some):
    c.sock.settimeout(4 * IDLE)
    with contextlib.suppress(OSError):
        c.sock.sendall(some)


def refuses(name, ctx, **about):
    """A handshake by CTX that must not come about."""
    def do(arena):
        with spec.connect(arena.daemon.port, TIMEOUT) as sock, contextlib.suppress(OSError):
            sock = ctx.wrap_socket(sock)
            sock.sendall(GREETING + message("FLUSH", 1))
            got = sock.recv(100)
            return f"it came about: {got[:50]!r}" if got else None
        return None
    TABLE.append((name, Act(do, **about)))


# -- No TLS -----------------------------------------------------------------------

HELLO_RECORD = Bio().hello()

bares("a record of garbage", lambda: record(HANDSHAKE, os.urandom(500)))
bares("one byte of TLS", lambda: b"\x16")
bares("a ClientHello, then silence", lambda: Bio().hello())
bares("a ClientHello twice", lambda: Bio().hello() * 2)
bares("half a ClientHello, then silence", lambda: Bio().hello()[:100])
bares("a ClientHello of TLS 1.1", lambda: Bio().hello().replace(b"\x03\x03", b"\x03\x02", 1).replace(
    b"\x00\x2b\x00\x03\x02\x03\x04", b"\x00\x2b\x00\x03\x02\x03\x02"))
bares("a ClientHello of SSL 3", lambda: record(
    HANDSHAKE, b"\x01\0\0\x2d\x03\x00" + bytes(32) + b"\0\0\x02\0\x2f\x01\0" + bytes(2), 0x0300))
bares("a ClientHello of SSL 2", lambda: b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40))
bares("DTLS", lambda: b"\x16\xfe\xfd" + bytes(40))
bares("a ClientHello of 16 MiB", lambda: record(HANDSHAKE, b"\x01\xff\xff\xff" + bytes(16000)) +
      record(HANDSHAKE, bytes(16000)) * 1000)
bares("a ClientHello in records of one byte", lambda: b"".join(
    record(HANDSHAKE, bytes([byte])) for byte in Bio().hello()[5:]))
bares("a record longer than a record may be", lambda: record(HANDSHAKE, bytes(40000)))
bares("a preface, then a ClientHello", lambda: spec.PREFACE + Bio().hello())
bares("a greeting, then a ClientHello", lambda: GREETING + Bio().hello())
bares("a ClientHello, then the protocol in plaintext", lambda: Bio().hello() + GREETING + PUT_F)
bares("a ClientHello, then early data", lambda: Bio().hello() + record(DATA, os.urandom(1000)) * 20)
for what, some in (("warnings", record(ALERT, b"\x01\x00")), ("unknown alerts", record(ALERT, b"\x01\x99")),
                   ("changes of cipher", record(CCS, b"\x01")), ("empty records", record(HANDSHAKE, b"")),
                   ("hello requests", record(HANDSHAKE, b"\0\0\0\0")),
                   ("heartbeats", record(HEARTBEAT, b"\1\xff\xff")), ("data", record(DATA, bytes(100)))):
    bares(f"100,000 {what} behind a ClientHello", lambda some=some: Bio().hello() + some * 100000)
    if some[0] == HANDSHAKE:
        bares(f"100,000 {what} in place of a ClientHello", lambda some=some: some * 100000)

refuses("TLS 1.2", spectls.context("client", ME, versions=ONLY_12))
refuses("no ALPN", spectls.context("client", ME, alpn=()))
refuses("another ALPN", spectls.context("client", ME, alpn=("http/1.1", "h2")))


def dripped(name, make):
    def do(arena):
        with arena.client(greet=False) as c:
            return drip(c, make())
    TABLE.append((name, Act(do)))


dripped("a ClientHello, a byte at a time", lambda: Bio().hello())
dripped("empty records, a byte at a time", lambda: record(CCS, b"\x01") * 100)


@act("a handshake that goes on a byte at a time, and then half of the preface")
def drip_all(arena):
    with arena.client(greet=False) as c:
        bio = Bio()
        some = bio.flight(c.sock) + bio.write(spec.PREFACE[:4])
        c.sock.sendall(some[:-150])
        return drip(c, some[-150:])


@act("a handshake that is complete, and then silence")
def shaken(arena):
    with secure(arena) as c:
        return silence(c)


for where in (1, 10, 200, -5, -40):
    @act(f"a last flight cut at {where}, then silence")
    def cut_flight(arena, where=where):
        with arena.client(greet=False) as c:
            c.sock.sendall(Bio().flight(c.sock)[:where])
            return silence(c)

    @act(f"a last flight whose byte {where} is wrong")
    def flip_flight(arena, where=where):
        with arena.client(greet=False) as c:
            some = bytearray(Bio().flight(c.sock))
            some[where] ^= 0x55
            c.sock.sendall(bytes(some))
            return is_let_go(c)


@act("500 ClientHellos of which none is followed up")
def half_handshakes(arena):
    for n in range(500):
        with arena.client(greet=False) as c:
            c.sock.sendall(HELLO_RECORD)
            if n % 3 == 0:
                c.sock.recv(1 << 16)
            if n % 2:
                reset(c)


@act("300 handshakes stalled at once, where 64 may be", options=("--max-connections=64",))
def stalled(arena):
    some = []
    for _ in range(300):
        some.append(arena.client(greet=False))
        with contextlib.suppress(OSError):
            some[-1].sock.sendall(HELLO_RECORD)
    fault = arena.serves_honestly()
    for c in some:
        c.sock.close()
    return fault


# -- Certificates ------------------------------------------------------------------


def weak(kind, name, *options):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
    ctx.set_alpn_protocols([spectls.ALPN])
    ctx.load_cert_chain(spectls.make_identity(HERE, name, kind, options))
    return ctx


def chained(count):
    text = read(ME) + (b"-----BEGIN CERT" + read(OTHER).partition(b"-----BEGIN CERT")[2]) * count
    return spectls.context("client", write(f"{HERE}/chain{count}", text))


refuses("a key of 1024 bits", weak("rsa:1024", "rsa1024"))
refuses("a chain of 60 certificates", chained(60))
refuses("a chain of 5,000 certificates", chained(5000))


@act("a key of 4096 bits, 20 times", leaves={})
def heavy_key(arena):
    ctx = HEAVY.get("ctx") or HEAVY.setdefault("ctx", weak("rsa:4096", "rsa4096"))
    for _ in range(20):
        with spec.connect(arena.daemon.port, TIMEOUT) as sock, contextlib.suppress(OSError):
            ctx.wrap_socket(sock).close()


HEAVY = {}


@act("a certificate whose names no terminal should get")
def evil_names(arena):
    path = f"{HERE}/evil"
    if not os.path.exists(path):
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-utf8", "-subj",
                               "/CN=\x1b]0;owned\x07\x1b[2J", "-keyout", "-", "-out", "-"], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
        write(path, made)
    with secure(arena, path) as c:
        c.sock.sendall(GREETING + b"garbage" * 10)
        return is_let_go(c)


@act("sessions to be taken up again")
def resumption(arena):
    ctx = spectls.context("client", ME)
    with spec.connect(arena.daemon.port, TIMEOUT) as sock:
        first = ctx.wrap_socket(sock)
        first.sendall(GREETING)
        first.recv(8)
        session = first.session
        if session and session.has_ticket:
            return "there is a ticket"
        first.close()
    with spec.connect(arena.daemon.port, TIMEOUT) as sock:
        again = ctx.wrap_socket(sock, session=session)
        return "it was taken up" if again.session_reused else None


# -- Sessions that go wrong ------------------------------------------------------------


@act("plaintext behind the handshake")
def plain_later(arena):
    with arena.client(greet=False) as c:
        c.sock.sendall(Bio().flight(c.sock) + GREETING)
        return is_let_go(c)


@act("a record changed on its way", leaves={})
def tampered(arena):
    with arena.client(greet=False) as c:
        bio = Bio()
        some = bio.flight(c.sock) + bio.write(GREETING)
        c.sock.sendall(some)
        some = bytearray(bio.write(upload(b"tampered")))
        some[-30] ^= 1
        c.sock.sendall(bytes(some))
        return is_let_go(c)


@act("a record sent twice")
def replayed(arena):
    with arena.client(greet=False) as c:
        bio = Bio()
        c.sock.sendall(bio.flight(c.sock) + bio.write(GREETING))
        some = bio.write(message("FLUSH", 1))
        c.sock.sendall(some * 2)
        return is_let_go(c)


@act("a file without a size that is cut off, without close_notify")
def truncated(arena):
    with secure(arena) as c:
        c.sock.sendall(GREETING + message("PUT", flags=0, alg=1, tag=NO_TAG, path=b"f") + file(spec.UNKNOWN) +
                       data(b"all there is"))
        time.sleep(0.1)


@act("a file without a size that ends with close_notify")
def closed(arena):
    with secure(arena) as c:
        c.sock.sendall(GREETING + message("PUT", flags=0, alg=1, tag=NO_TAG, path=b"f") + file(spec.UNKNOWN) +
                       data(b"all there is"))
        time.sleep(0.1)
        c.sock.settimeout(IDLE * 3)
        with contextlib.suppress(OSError):
            c.sock.unwrap()


@act("close_notify, and more behind it")
def closed_and_not(arena):
    with arena.client(greet=False) as c:
        bio = Bio()
        c.sock.sendall(bio.flight(c.sock) + bio.write(GREETING))
        some = bio.step(bio.end.unwrap)
        c.sock.sendall(some + record(DATA, bytes(1000)) * 10 + GREETING)
        return is_let_go(c)


@act("30,000 records of one byte")
def tiny_records(arena):
    with arena.client(greet=False) as c:
        bio = Bio()
        some = bio.flight(c.sock) + bio.write(GREETING + PUT_F + file(10**6) + data(bytes(30000))[:16])
        return send_all(c, some + b"".join(bio.write(b"x") for _ in range(30000)))


# A sanitized daemon is slower than its client reads in the end, and so works through all of it.
UNREAD = 60 if SANITIZED else 3000


@act(f"{UNREAD} times GET of 16 MiB over TLS, and no answer read")
def unread(arena):
    with arena.client(greet=False) as c:
        bio = Bio()
        return send_all(c, bio.flight(c.sock) + bio.write(GREETING + b"".join(get(ident=n) for n in range(1, UNREAD + 1))))


@act("TLS inside of TLS")
def nested(arena):
    with secure(arena) as c:
        c.sock.sendall(Bio().hello())
        return is_let_go(c)


for key in ("k", "K"):
    @act(f"no end of key updates ({key})")
    def key_updates(arena, key=key):
        """By openssl s_client, which makes one of each line of its input."""
        with subprocess.Popen(
                ["openssl", "s_client", "-connect", f"127.0.0.1:{arena.daemon.port}", "-tls1_3", "-alpn", "sockd/1",
                 "-cert", ME, "-key", ME], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL) as client:
            time.sleep(0.3 * PACE)
            until = time.monotonic() + 4 * IDLE
            with contextlib.suppress(OSError):
                while client.poll() is None and time.monotonic() < until:
                    client.stdin.write(f"{key}\n".encode() * 50)
                    client.stdin.flush()
                    time.sleep(0.01)
            ended = client.poll() is not None
            client.kill()
        return None if ended else "it was listened to"


for state, said in STATES.items():
    if not said:
        continue
    for way, leave in (("falls silent", silence), ("resets", reset)):
        def do_leave(arena, said=said, leave=leave):
            with secure(arena) as c:
                c.sock.sendall(said)
                time.sleep(0.03)
                return leave(c)
        TABLE.append((f"a client over TLS that {way} {state}", Act(do_leave, {b"f": [b"whole"]})))


# -- Identities --------------------------------------------------------------------------


@act("JOIN with 50 secrets that are none")
def joins(arena):
    for n in range(50):
        with secure(arena) as c:
            c.sock.sendall(GREETING + message("JOIN", 1, secret=os.urandom(16)) + message("FLUSH", 2) * (n % 2))
            c.read_preface()
            if the_end(c) != "DENIED":
                return "a secret that is none was not refused"
    return None


@act("JOIN with 1,000 secrets on one connection")
def many_joins(arena):
    with secure(arena) as c:
        c.sock.settimeout(4 * IDLE)
        with contextlib.suppress(OSError):
            c.sock.sendall(GREETING + b"".join(message("JOIN", n, secret=os.urandom(16)) for n in range(1, 1001)))
        c.read_preface()
        found = []
        with contextlib.suppress(EOFError, OSError):
            while len(found) < 1000:
                found.append(c.receive())
        taken = [m for m in found if m.name == "OK"]
        return f"{taken}" if taken or len(found) > 5 else None


@act("JOIN in plaintext")
def plain_join(arena):
    with arena.client() as c:
        c.request("JOIN", secret=os.urandom(16))
        return None if the_end(c) == "DENIED" else "it was not refused"


FAR = "127.0.0.9"  # where strangers come from; the honest client comes from 127.0.0.1


def strangers(name, do):
    """60 times DO(a connection from far away), which the daemon counts against that address;
    then nobody from there is listened to, and the honest client is served all the same."""
    def flood(arena):
        taken = 0
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", arena.daemon.port), TIMEOUT, (FAR, 0)) as sock:
                sock.settimeout(4 * IDLE)
                with contextlib.suppress(OSError, EOFError, ssl.SSLError):
                    taken += not do(sock)
        with socket.create_connection(("127.0.0.1", arena.daemon.port), TIMEOUT, (FAR, 0)) as sock:
            sock.settimeout(4 * IDLE)
            late = spec.Connection(sock, "client")
            late.read_preface()
            told = error_name(late.receive())
        if taken:
            return f"{taken} of them were taken in"
        return None if told == "BUSY" else f"the last one was told {told}"
    TABLE.append((name, Act(flood, options=(), strict=True)))


def as_stranger(sock):
    c = spec.Connection(spectls.start(sock, spectls.context("client", OTHER)), "client")
    c.send_raw(GREETING + message("GET", 1, alg=1, offset=0, path=b"keep"))
    c.read_preface()
    return the_end(c) == "DENIED"


def with_secret(sock):
    c = spec.Connection(spectls.start(sock, spectls.context("client", OTHER)), "client")
    c.send_raw(GREETING + message("JOIN", 1, secret=os.urandom(16)))
    c.read_preface()
    return the_end(c) == "DENIED"


def in_vain(sock):
    sock.sendall(record(HANDSHAKE, os.urandom(200)))
    return sock.recv(1 << 16)[:1] != b"\x16"


strangers("identities that nobody knows, again and again", as_stranger)
strangers("secrets that are none, again and again", with_secret)
strangers("handshakes that fail, again and again", in_vain)
