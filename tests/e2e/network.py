#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever knocks: strangers, babblers, silent ones, slow ones, crowds; and clients that mean harm."""
import contextlib
import os
import random
import resource
import socket
import threading
import time

import spec
from harness import (LONG, RESERVED, SANITIZED, SLOW, Daemon, at, cp, cp_start, did, new_seed,
                     random_bytes, read, run, scratch, tap, wait_for, write)
from peers import NO_TAG, RUN, Client, equal, the_end

PREFACE = spec.PREFACE
DRIBBLE = 10 << 20  # bytes that a slow sender announces


def told(client, greeted=False):
    """The name of the ERROR with which the daemon ends the connection."""
    if not greeted and client.read_preface() != PREFACE:
        return "no preface"
    return the_end(client)


def known(d):
    """A client that has made a request, and is no stranger any more."""
    client = Client(d)
    client.stat(b"")
    return client


def begin_put(client, size):
    ident = client.request("PUT", flags=0, alg=1, tag=NO_TAG, path=b"f")
    client.send("FILE", ident, size=size, offset=0, mode=0o644, mtime=(0, 0))
    return ident


def honest(d, name="an honest client is served"):
    data = random_bytes(1, 100_000)
    done = cp("put", "-", at("honest"), daemon=d, input=data)
    return tap.ok(done.returncode == 0 and cp("get", at("honest"), "-", daemon=d).data == data, name,
                  f"{done.stderr}{d.log_text()[-2000:]}")


def check_strangers():
    client_hello = b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(238)
    with Daemon("--handshake-timeout=2") as d:
        with Client(d, greet=False) as c:
            c.send_raw(client_hello)
            equal(c.sock.recv(1), b"\x15", "TLS that is none gets an alert")
        for name, said in (("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ("zeros", bytes(100)), ("0xff", b"\xff" * 100), ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n")):
            with Client(d, greet=False) as c:
                c.send_raw(said)
                equal(told(c), "PROTOCOL", f"{name}: is told what is wrong")
        with Client(d, greet=False) as c:
            with contextlib.suppress(OSError, EOFError):
                c.send_raw(bytes(10_000_000))
        for said in (b"sockd/2\n", b"sockd/0\n"):
            with Client(d, greet=False) as c:
                c.send_raw(said + bytes(30))
                equal(told(c), "VERSION", f"{said}: is told that the version is wrong")
        for said in (b"", b"so", PREFACE[:7]):
            with Client(d, greet=False) as c:
                c.send_raw(said)
                c.sock.shutdown(socket.SHUT_WR)
                wait_for(lambda: not c.sock.recv(100), what="the end")
        right = c.greet(16, RUN, b"test")
        for what, wrong in (("of another checksum", right[:20] + b"\xff" + right[21:]),
                            ("of another length", right[:8] + b"\xff\xff\xff\xff" + right[12:]),
                            ("that is a request", spec.frame("FLUSH", 1, b"")),
                            ("of an unknown type", b"\xc8" + right[1:]),
                            ("of zeros", spec.frame("HELLO", 0, bytes(46)))):
            with Client(d, greet=False) as c:
                c.send_raw(PREFACE + wrong)
                equal(told(c), "PROTOCOL", f"a greeting {what} is told")
        honest(d)
        tap.ok("connection ended: protocol error" in d.log_text() and
               "connection ended: no protocol version in common" in d.log_text(), "the log has them")
        equal(d.stop(), 0, "and the daemon stops in good order")


def babble(d, rng):
    """One connection of nonsense: more and more of it in order."""
    with contextlib.suppress(OSError, EOFError, spec.Breach), Client(d, greet=False) as c:
        c.sock.settimeout(1)
        if rng.random() < 0.8:
            c.send_raw(PREFACE)
        if rng.random() < 0.8:
            c.send_raw(c.greet(16, RUN, b"babbler"))
        for _ in range(rng.randrange(20)):
            name = rng.choice(sorted(spec.page.types))
            low, high = spec.page.limits[name]
            length = rng.choice((low, min(high, low + rng.randrange(300)), rng.randrange(5000)))
            c.send_raw(spec.frame(name, rng.randrange(3), rng.randbytes(length)))
        c.send_raw(rng.randbytes(rng.randrange(3000)))
        c.sock.shutdown(socket.SHUT_WR)
        while c.sock.recv(65536):
            pass


def check_babblers():
    seed = new_seed()
    ended = threading.Event()

    def keep_babbling(n):
        rng = random.Random(seed + n)
        while not ended.is_set():
            babble(d, rng)

    with Daemon("--handshake-timeout=5") as d:
        babblers = [threading.Thread(target=keep_babbling, args=(n,)) for n in range(4)]
        for babbler in babblers:
            babbler.start()
        end = time.monotonic() + (60 if LONG else 3)
        try:
            while honest(d, "an honest client is served among babblers") and time.monotonic() < end:
                pass
        finally:
            ended.set()
            for babbler in babblers:
                babbler.join()
        equal(set(os.listdir(d.root)) - {RESERVED}, {"honest"}, "they made no file")
        equal(d.stop(), 0, "and the daemon stops in good order")


def check_silent_crowd():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(300 if SANITIZED else 3000, hard - 200)
    with Daemon("--max-connections=256", "--max-per-address=256", "--handshake-timeout=600") as d, contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(Client(d, greet=False))
        honest(d, f"{count} silent connections do not keep an honest client out")
        tap.ok("all connections are taken (--max-connections): closed the oldest that had made no request"
               in d.log_text(), "the log says how")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_busy():
    with Daemon("--max-connections=2") as d:
        file = write(f"{scratch()}/f", "1")
        with known(d) as first, known(d):
            done = cp("--retries=0", "put", file, at("f"), daemon=d)
            tap.ok(done.returncode == 3 and "the server is busy: all its connections are taken" in done.stderr,
                   "a connection beyond the cap is told that the server is busy",
                   f"{done.returncode} {done.stderr}")
            with Client(d, greet=False) as c:
                equal(told(c), "BUSY", "at once, and before it says a word")
            patient = cp_start("--retries=20", "put", file, at("f"), daemon=d)
            wait_for(lambda: "turned a new one away" in d.log_text(), what="a refusal")
            first.sock.close()
            said = patient.communicate()[1].decode()
            tap.ok(patient.returncode == 0, "who comes again is served when another has left", said)


def lasted(client, says=lambda: None):
    """Seconds until CLIENT is hung up on while it SAYS something now and then."""
    began = time.monotonic()
    client.sock.settimeout(0.1)
    while time.monotonic() - began < 60 * SLOW:
        with contextlib.suppress(TimeoutError, ConnectionError, EOFError):
            says()
        try:
            block = client.sock.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            block = b""
        if not block:
            break
        client.buffer += block
    return time.monotonic() - began


def check_deadlines():
    with Daemon("--handshake-timeout=1", "--idle-timeout=600") as d:
        with Client(d, greet=False) as c:
            took = lasted(c)
            tap.ok(0.9 < took < 60, "a silent connection is closed after the handshake timeout", took)
        letters = iter(PREFACE)
        with Client(d, greet=False) as c:
            took = lasted(c, lambda: c.send_raw(bytes([next(letters, 0)])))
            tap.ok(0.9 < took < 60, "whatever it dribbles meanwhile", took)
        with Client(d) as c:
            took = lasted(c)
            tap.ok(0.5 < took < 60, "a greeting without a request is not enough", took)
            equal(told(c, True), "TIMEOUT", "and that is said")
    with Daemon("--idle-timeout=1") as d:
        with known(d) as c:
            took = lasted(c)
            tap.ok(0.9 < took < 60, "an idle connection is closed after the idle timeout", took)
            equal(told(c, True), "TIMEOUT", "and told")
        with Client(d) as c:
            begin_put(c, DRIBBLE)
            took = lasted(c)
            tap.ok(0.9 < took < 60, "so is a transfer that stands still", took)
        honest(d)


def dribble(d, seconds):
    """Whether a sender of some KiB/s is still welcome after SECONDS."""
    began = time.monotonic()
    with Client(d) as c:
        ident = begin_put(c, DRIBBLE)
        c.sock.settimeout(0.05)
        while time.monotonic() - began < seconds:
            with contextlib.suppress(TimeoutError):
                try:
                    c.send_raw(spec.frame("DATA", ident, bytes(200)))
                    if not (block := c.sock.recv(65536)):
                        return False
                    c.buffer += block
                except (ConnectionError, EOFError):
                    return False
        return not c.buffer


def check_dribbler():
    with Daemon("--idle-timeout=1", "--min-rate=100K") as d:
        tap.ok(not dribble(d, 60 * SLOW), "a sender below the minimum rate is given up")
        tap.ok("no progress for too long" in d.log_text(), "the log says so", d.log_text())
        honest(d)
    with Daemon("--idle-timeout=1", "--min-rate=0") as d:
        tap.ok(dribble(d, 3), "without a minimum rate it is not")


def check_crowd():
    count = 50 if SANITIZED else 200
    src = scratch()
    for n in range(count):
        write(f"{src}/{n}", random_bytes(n, 20_000 + n))
    with Daemon() as d:
        puts = [cp_start("put", f"{src}/{n}", at(f"t/{n}"), daemon=d) for n in range(count)]
        said = [p.communicate()[1] for p in puts]
        failed = [(p.returncode, words) for p, words in zip(puts, said) if p.returncode]
        tap.ok(not failed, f"{count} clients at once: put", failed[:5])
        gets = [cp_start("get", at(f"t/{n}"), f"{src}/{n}.back", daemon=d) for n in range(count)]
        said = [p.communicate()[1] for p in gets]
        failed = [(p.returncode, words) for p, words in zip(gets, said) if p.returncode]
        tap.ok(not failed, f"{count} clients at once: get", failed[:5])
        tap.ok(all(read(f"{src}/{n}") == read(f"{src}/{n}.back") for n in range(count)), "all is right")


def check_harm():
    """A client that asks for what sockcp would not ask for."""
    outside = scratch()
    write(f"{outside}/secret", "secret")
    climb = b"../" + os.path.basename(outside).encode()
    partial = RESERVED.encode() + b"/p-" + b"0" * 64
    with Daemon() as d, Client(d) as c:
        write(os.fsencode(d.root) + b"/" + partial, "another's")
        os.mkdir(f"{d.root}/d")
        for path in (climb + b"/secret", b"/etc/hostname", b"a/../../x", b"./a", b"a\0b", partial):
            equal(c.get(path), "BAD_NAME", f"get {path} is refused")
            equal(c.put(path, b"x"), "BAD_NAME", "and put")
            equal(c.tree("MKDIR", flags=0, mode=0o755, path=path), "BAD_NAME", "and mkdir")
            equal(c.list(path), "BAD_NAME", "and list")
        for path, target in ((b"l", outside.encode()), (b"l", climb), (b"d/l", b"../" + climb),
                             (b"l", RESERVED.encode()), (b"l", b"./" + partial), (b"d/l", b"../" + partial)):
            equal(c.tree("LINK", flags=1, path=path, target=target), "ESCAPE",
                  f"a link {path} to {target} is refused")
        equal(sorted(os.listdir(d.root)), [RESERVED, "d"], "and nothing came of it")
        equal(os.listdir(outside), ["secret"], "outside neither")


def check_ipv6():
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6") or not read("/proc/net/if_inet6"):
        tap.skip("IPv6", "this machine has none")
        return
    here = scratch()
    with Daemon("--listen=[::1]:0") as d:
        line = [line for line in d.log_text().splitlines() if "[::1]:" in line][0]
        port = int(line.rpartition(":")[2])
        done = cp("put", "-", "[::1]:f", port=port, input="six")
        did(done, "put to [::1]:f")
        done = cp("get", "[::1]:f", f"{here}/f", port=port)
        tap.ok(done.returncode == 0 and read(f"{here}/f") == b"six", "and get", done.stderr)


run(check_strangers, check_babblers, check_silent_crowd, check_busy, check_deadlines, check_dribbler,
    check_crowd, check_harm, check_ipv6)
