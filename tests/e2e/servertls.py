# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile server can do before and below the protocol: TLS, certificates, plaintext
where TLS is due.

Not a test itself; hostile_server.py is.  Each behaviour is one on 'connect', and sockcp
is told by line= whom to trust.
"""
import contextlib
import os
import selectors
import ssl
import struct
import subprocess
import time

import spec
import spectls
from harness import MIB, read, scratch, write
from hostile import EVIL, PACE
from serveracts import (F, FAILURES, GET, GOT_F, LOST, OLD, PUT, STDOUT, TABLE, Act, Hang, Server, act, cut, data, drip,
                        end, error, file, greeting, hold, opens, pour, whole)

HERE = scratch()
OURS_PEM, OTHER_PEM = (spectls.make_identity(HERE, name) for name in ("ours", "other"))
OURS, OTHER = (spectls.context("server", pem) for pem in (OURS_PEM, OTHER_PEM))


def pin(pem):
    return "--pin=" + spectls.identity_text(spectls.identity_in(pem))


PIN = pin(OURS_PEM)
PINNED = (PIN,)
NOT_TRUSTED = {4}
ONLY_12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)


def tls(name, **about):
    return act(name, **{"on": "connect", "line": PINNED, **about})


def secure(c, ctx=OURS):
    """TLS on the connection C; what comes of a failed handshake is the end of it."""
    c.sock = ctx.wrap_socket(c.sock, server_side=True)


def shakes(name, ctx, **about):
    """A handshake by CTX, and honest from there on."""
    def do(s, c):
        secure(c, ctx)
        Server.serve(s, c)
    TABLE.append((name, Act(do, on="connect", **{"line": PINNED, **about})))


def bares(name, first, **about):
    """Bytes in place of TLS, and silence behind them."""
    opens(name, first, **{"line": PINNED, "status": FAILURES, **about})


def record(kind, payload, version=0x0303):
    return struct.pack(">BHH", kind, version, len(payload)) + payload


HANDSHAKE, ALERT, CCS, DATA, HEARTBEAT = 22, 21, 20, 23, 24

# -- Control, and who it is ------------------------------------------------------

shakes("nothing wrong, over TLS", OURS, status={0}, done=GOT_F)
shakes("nothing wrong, over TLS, and a server seen for the first time", OURS, line=("--accept-new",), status={0},
       done=GOT_F)
shakes("a server that nobody knows", OURS, line=(), status=NOT_TRUSTED)
shakes("another key than the pinned one", OTHER, status=NOT_TRUSTED)


def remember(place, port):
    os.makedirs(f"{place.top}/home/config/sockd", 0o700)
    os.chmod(f"{place.top}/home/config", 0o700)
    known = write(f"{place.top}/home/config/sockd/known_hosts", f"127.0.0.1:{port} {PIN[6:]}\n")
    os.chmod(known, 0o600)


shakes("the key that is known", OURS, line=("--accept-new",), prepare=remember, status={0}, done=GOT_F)
shakes("another key than the known one", OTHER, line=("--accept-new",), prepare=remember, status=NOT_TRUSTED)
shakes("another key than the known one, which is pinned", OTHER, line=(pin(OTHER_PEM),), prepare=remember,
       status=NOT_TRUSTED)


@tls("the pinned key at first; after a cut, another", args=("--retries=2", *GET), status=NOT_TRUSTED)
def changed_key(s, c):
    secure(c, OURS if s.connections == 1 else OTHER)
    if s.connections > 1:
        said = c.sock.recv(1 << 16)
        assert not said, f"it has said {said[:100]!r} to somebody else"
    s.greet(c)
    c.receive()
    cut(c)


@tls("a new server; after a cut, another", args=("--retries=2", *GET), line=("--accept-new",), status=NOT_TRUSTED)
def changed_new(s, c):
    changed_key(s, c)


# -- Certificates ------------------------------------------------------------------


def weak(bits):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.set_ciphers("DEFAULT:@SECLEVEL=0")
    ctx.set_alpn_protocols([spectls.ALPN])
    ctx.minimum_version = ssl.TLSVersion.TLSv1_3
    pem = spectls.make_identity(HERE, f"rsa{bits}", f"rsa:{bits}")
    ctx.load_cert_chain(pem)
    return ctx, pin(pem)


WEAK, WEAK_PIN = weak(1024)
shakes("a key of 1024 bits", WEAK, line=(WEAK_PIN,), status=FAILURES)


def chain(count):
    """A context that shows COUNT certificates behind its own."""
    with open(OURS_PEM, "rb") as ours, open(OTHER_PEM, "rb") as other:
        text = ours.read() + b"".join([other.read()[-4000:].partition(b"-----BEGIN CERT")[2].join(
            [b"-----BEGIN CERT", b""])] * count)
    path = write(f"{HERE}/chain{count}.pem", text)
    return spectls.context("server", path)


shakes("a chain of 5 certificates that do not belong together", chain(5), status={0}, done=GOT_F)
shakes("a chain of 2,000 certificates", chain(2000), status=FAILURES)


def expired():
    """Its subject is something that no terminal should get."""
    here = f"{HERE}/authority"
    write(f"{here}/conf", f"[ca]\ndefault_ca=d\n[d]\ndatabase={here}/index\nnew_certs_dir={here}\n"
          f"serial={here}/serial\ndefault_md=default\npolicy=p\n[p]\ncommonName=supplied\n")
    write(f"{here}/index", "")
    write(f"{here}/serial", "01\n")
    for command in (
            ("req", "-new", "-newkey", "ed25519", "-nodes", "-utf8", "-subj", "/CN=\x1b]0;owned\x07\x1b[2J", "-keyout",
             f"{here}/key", "-out", f"{here}/request"),
            ("ca", "-config", f"{here}/conf", "-batch", "-selfsign", "-notext", "-keyfile", f"{here}/key", "-in",
             f"{here}/request", "-out", f"{here}/cert", "-startdate", "20200101000000Z", "-enddate",
             "20200102000000Z")):
        subprocess.run(["openssl", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    return write(f"{HERE}/expired.pem", read(f"{here}/key") + read(f"{here}/cert"))


EXPIRED = expired()
shakes("a certificate that has expired, and is pinned", spectls.context("server", EXPIRED), line=(pin(EXPIRED),),
       status={0, 4}, done=GOT_F, may={b"out/f": [OLD]})
shakes("a certificate that has expired, with a name that no terminal should get", spectls.context("server", EXPIRED),
       line=(), status=NOT_TRUSTED)
shakes("a certificate that the given authority did not issue", OTHER, line=(f"--ca={OURS_PEM}",), status=NOT_TRUSTED)
shakes("no certificate", spectls.context("server"), status=FAILURES)

# -- Versions and protocols ------------------------------------------------------------

shakes("TLS 1.2", spectls.context("server", OURS_PEM, versions=ONLY_12), status=FAILURES)
shakes("no ALPN", spectls.context("server", OURS_PEM, alpn=()), status=FAILURES)
shakes("another ALPN", spectls.context("server", OURS_PEM, alpn=("http/1.1",)), status=FAILURES)

# -- Plaintext where TLS is due ----------------------------------------------------------

bares("plaintext: garbage", os.urandom(100))
bares("plaintext: HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n")
bares("plaintext: silence", b"", status=LOST)
bares("plaintext: a preface and no more", spec.PREFACE, status=LOST)
bares("plaintext: busy, with what no terminal should get", spec.PREFACE + error(0, "BUSY", EVIL), status=LOST)
bares("plaintext: an answer that is no error", greeting() + whole(1024, F), status=FAILURES)


@tls("plaintext: all of the protocol", args=PUT, status=FAILURES)
def downgrade(s, c):
    heard = c.sock.recv(1 << 16)
    c.send_raw(greeting())
    with contextlib.suppress(OSError):
        while more := c.sock.recv(1 << 16):
            heard += more
    for secret in (F, b"sockd/1\n", b"to/f"):
        assert secret not in heard, f"{secret!r} was sent in plaintext"


@tls("plaintext: the preface, a byte at a time", status=LOST)
def drip_plain(_, c):
    drip(c, spec.PREFACE + error(0, "BUSY"))


@tls("plaintext behind the handshake", status=FAILURES)
def plain_later(_, c):
    raw = os.dup(c.sock.fileno())
    secure(c)
    with contextlib.suppress(OSError), open(raw, "wb", buffering=0) as line:
        line.write(greeting())
    hold(c)


# -- Handshakes that go wrong ---------------------------------------------------------------


def client_hello(c):
    """The first record that the client sends."""
    first = b""
    while len(first) < 5 or len(first) < 5 + int.from_bytes(first[3:5], "big"):
        got = c.sock.recv(1 << 16)
        if not got:
            raise EOFError("no ClientHello")
        first += got
    return first


def flight(c, ctx=OURS):
    """What a server answers to a ClientHello: ServerHello to Finished."""
    taken, given = ssl.MemoryBIO(), ssl.MemoryBIO()
    end_ = ctx.wrap_bio(taken, given, server_side=True)
    taken.write(client_hello(c))
    with contextlib.suppress(ssl.SSLWantReadError):
        end_.do_handshake()
    return given.read()


for count in (1, 5, 50, 200, 600):
    @tls(f"{count} bytes of a handshake, and silence", status=LOST)
    def stall(_, c, count=count):
        c.send_raw(flight(c)[:count])
        raise Hang

    @tls(f"{count} bytes of a handshake, and a cut", status=LOST)
    def stop(_, c, count=count):
        c.send_raw(flight(c)[:count])
        cut(c, reset=count == 50)

    @tls(f"a handshake of which byte {count} is wrong", status=FAILURES)
    def flip(_, c, count=count):
        some = bytearray(flight(c))
        some[count] ^= 0x55
        c.send_raw(bytes(some))
        raise Hang


@tls("a handshake that drips for ever", status=LOST)
def drip_handshake(_, c):
    some = flight(c)
    drip(c, some[:130] + record(HANDSHAKE, bytes(16000)))


@tls("a handshake of 16 MiB", status=FAILURES)
def long_handshake(_, c):
    client_hello(c)
    c.send_raw(record(HANDSHAKE, b"\x02" + (16 * MIB - 1).to_bytes(3, "big")))
    pour(c, [record(HANDSHAKE, bytes(16000))] * 1100)
    raise Hang


def hello_retry(hello, group):
    """A HelloRetryRequest that answers HELLO: RFC 8446, section 4.1.4."""
    session = hello[43 + 1:43 + 1 + hello[43]]
    extensions = struct.pack(">HHH", 43, 2, 0x0304) + struct.pack(">HHH", 51, 2, group)
    body = b"\x03\x03" + spec.sha256(b"HelloRetryRequest") + bytes([len(session)]) + session + b"\x13\x01\0" + \
        struct.pack(">H", len(extensions)) + extensions
    return record(HANDSHAKE, b"\x02" + len(body).to_bytes(3, "big") + body)


@tls("'say hello again', for ever", status=FAILURES)
def again(_, c):
    hello = client_hello(c)[5:]
    for group in (23, 24, 23, 24, 29) * 100:
        c.send_raw(hello_retry(hello, group))
    raise Hang


for what, some in (("warnings", record(ALERT, b"\x01\x00")), ("unknown alerts", record(ALERT, b"\x01\x99")),
                   ("changes of cipher", record(CCS, b"\x01")), ("empty records", record(HANDSHAKE, b"")),
                   ("hello requests", record(HANDSHAKE, b"\0\0\0\0")),
                   ("heartbeats", record(HEARTBEAT, b"\1\xff\xff")),
                   ("data", record(DATA, bytes(1000)))):
    @tls(f"no end of {what} before the handshake", status=FAILURES)
    def flood(_, c, some=some):
        client_hello(c)
        pour(c, iter(lambda: some * 1000, None))

    @tls(f"no end of {what} in the middle of the handshake", status=FAILURES)
    def flood_later(_, c, some=some):
        c.send_raw(flight(c)[:127])
        pour(c, iter(lambda: some * 1000, None))

    @tls(f"no end of {what} behind the handshake, in the clear", status=FAILURES)
    def flood_behind(_, c, some=some):
        raw = os.dup(c.sock.fileno())
        secure(c)
        c.sock.setblocking(True)
        with contextlib.suppress(OSError), open(raw, "wb", buffering=0) as line:
            for _ in range(1000):
                line.write(some * 100)
        hold(c)

bares("a fatal alert at once", record(ALERT, b"\x02\x28"))
bares("'close' at once", record(ALERT, b"\x01\x00"))
bares("a record longer than a record may be", record(HANDSHAKE, bytes(20000)))
bares("a record of an unknown kind", record(99, bytes(100)))
bares("a record of SSL 3", record(HANDSHAKE, b"\x02\0\0\x26" + bytes(38), 0x0300))
bares("a ClientHello for an answer", record(HANDSHAKE, b"\x01\0\0\x26" + bytes(38)))

# -- Sessions that go wrong --------------------------------------------------------------------


def got_get(s, c):
    """Greeted; the id of the GET that came."""
    secure(c)
    s.greet(c)
    return c.receive().id


for closing in (False, True):
    how = "with" if closing else "without"

    def leave(c, closing=closing):
        if closing:
            with contextlib.suppress(OSError, ssl.SSLError):
                c.sock.settimeout(0.2)
                c.sock.unwrap()
        cut(c)

    @tls(f"the end in the middle of DATA, {how} close_notify", status=LOST)
    def truncate(s, c, leave=leave):
        i = got_get(s, c)
        c.send_raw(file(i, len(F)) + data(i, F)[:-5])
        leave(c)

    @tls(f"the end of what has no size, {how} close_notify", args=STDOUT, status={3, 6})
    def truncate_stream(s, c, leave=leave):
        i = got_get(s, c)
        c.send_raw(file(i, spec.UNKNOWN) + data(i, F))
        leave(c)

    @tls(f"the end in the middle of END, {how} close_notify", status=LOST)
    def truncate_end(s, c, leave=leave):
        i = got_get(s, c)
        c.send_raw(whole(i, F)[:-1])
        leave(c)


@tls("a record changed on its way", status=FAILURES)
def tampered(s, c):
    """The line is in our hands, but TLS is not."""
    taken, given = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = OURS.wrap_bio(taken, given, server_side=True)

    def step(do):
        while True:
            try:
                return do()
            except ssl.SSLWantReadError:
                c.sock.sendall(given.read())
                got = c.sock.recv(1 << 16)
                if not got:
                    raise EOFError("gone") from None
                taken.write(got)

    step(inside.do_handshake)
    inside.write(greeting())
    c.sock.sendall(given.read())
    while b"f" not in step(lambda: inside.read(1 << 16))[-3:]:
        pass
    inside.write(file(1024, len(F)) + data(1024, F) + end(1024, len(F), spec.sha256(F)))
    some = bytearray(given.read())
    some[-20] ^= 1
    c.sock.sendall(bytes(some))
    hold(c)


@tls("TLS inside of TLS", status=FAILURES)
def nested(_, c):
    secure(c)
    c.sock.sendall(record(HANDSHAKE, b"\x02\0\0\x26" + bytes(38)))
    hold(c)


@tls("20,000 records of one byte; then a cut", status=LOST)
def tiny_records(s, c):
    i = got_get(s, c)
    c.send_raw(file(i, spec.UNKNOWN))
    some = data(i, bytes(20000))
    c.sock.settimeout(None)
    for n in range(20000):
        c.sock.send(some[n:n + 1])
    cut(c)


@tls("a record of one byte now and then, for ever", status=LOST)
def drip_records(s, c):
    i = got_get(s, c)
    c.send_raw(file(i, 10**9))
    drip(c, data(i, bytes(MIB)))


TICKETS = spectls.context("server", OURS_PEM)
TICKETS.num_tickets = 5000


@tls("5,000 session tickets", status=FAILURES | {0}, done=GOT_F, may={b"out/f": [OLD]})
def tickets(s, c):
    secure(c, TICKETS)
    Server.serve(s, c)


@tls("no end of key updates", status=FAILURES)
def key_updates(s, c):
    """By openssl s_server, whose 'k' is a key update; we are the line between."""
    s_server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", OURS_PEM, "-key", OURS_PEM, "-tls1_3", "-alpn",
         "sockd/1", "-naccept", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        while not (line := s_server.stdout.readline()).startswith(b"ACCEPT"):
            assert line, "s_server has ended"
        with spec.connect(int(line.rpartition(b":")[2]), 20 * PACE) as behind:
            shuttle(c.sock, behind, s_server.stdin, b"k\n")
    finally:
        s_server.kill()
        s_server.communicate()


def shuttle(client, server, keys, key):
    """Carries bytes between the two, and strikes KEY all the time, once they have shaken hands."""
    began, carried = time.monotonic(), 0
    with selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ, server)
        ready.register(server, selectors.EVENT_READ, client)
        while time.monotonic() - began < 30 * PACE:
            for event, _ in ready.select(0.01):
                some = event.fileobj.recv(1 << 16)
                if not some:
                    return
                event.data.sendall(some)
                carried += len(some)
            if carried > 1200:
                keys.write(key)
                keys.flush()
