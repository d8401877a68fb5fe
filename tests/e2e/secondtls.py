#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second implementation over TLS, from sockd-protocol(7) alone.

Identities and codes are read by hand; its client joins by an invitation, puts and gets;
its server serves sockcp and takes up what it was invited with.
"""
import base64
import contextlib
import os
import random
import re
import socket
import ssl
import subprocess
import threading

import spec
import spectls
from harness import (CHECKPOINT, SLOW, SOCKCP, SOCKD, Daemon, at, did, in_parallel, new_seed, random_bytes,
                     read, run, scratch, tap, write)
from peers import ERROR, TIMEOUT, Client, Server, equal, the_end
from secondimpl import replay

ONLY_12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, check=True,
                          stderr=subprocess.PIPE).stdout


# -- What the page shows -----------------------------------------------------


def check_identity():
    """An identity is what the page says, and what another program finds in a certificate."""
    lines = spec.literals(spec.page.parts["Identity"])[0].split()
    key, text = bytes.fromhex("".join(lines[:2])), lines[2]
    equal(spectls.identity_text(spectls.identity_of(key)), text, "the identity that the page shows")
    tag, content, _ = spectls.items(key)[0]
    equal((tag, len(content)), (0x30, len(key) - 2), "its key is DER")
    here = scratch()
    for kind, *options in (("ed25519",), ("rsa:2048",), ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        path = spectls.make_identity(here, kind.replace(":", ""), kind, options)
        public = openssl("x509", "-in", path, "-noout", "-pubkey")
        der = openssl("pkey", "-pubin", "-outform", "DER", data=public)
        equal(spectls.identity_in(path).hex(), spec.sha256(der).hex(), f"the identity of a key of {kind}")


def check_code():
    page = spec.page.parts["Code"]
    text = spec.literals(page)[0].strip()
    code = spectls.Code(bytes(range(32)), bytes(range(32, 48)))
    equal(spectls.read_code(text), code, "the code that the page shows")
    equal(spectls.write_code(code), text, "and written")
    sizes = [int(size) for size in re.findall(r"^\.It \d+ Ta (\d+) bytes", page, re.M)]
    equal(sizes, [32, 16, spectls.CHECK], "its parts have these lengths")
    seed = new_seed()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    chance = random.Random(seed)
    taken = []
    for n, right in enumerate(text):
        wrong = text[:n] + chance.choice(letters.replace(right, "")) + text[n + 1:]
        with contextlib.suppress(ValueError):
            taken.append((wrong, spectls.read_code(wrong)))
    equal(taken, [], "a character that is wrong is found, wherever it stands")
    frame = spec.page.frames()[-1][0]
    equal((frame.name, frame.payload), ("JOIN", code.secret), "the example of JOIN has its secret")


# -- Our client --------------------------------------------------------------


class TlsDaemon(Daemon):
    """With a state directory of its own, and nothing for those it does not know."""

    def __init__(self, *args, **given):
        self.state = scratch()
        super().__init__(f"--state-dir={self.state}", "--anonymous=none", "--penalty-max=0", *args, **given)

    def command(self, *args):
        return subprocess.run([SOCKD, f"--state-dir={self.state}", *args], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, timeout=30 * SLOW)

    def identity(self):
        text = self.command("fingerprint").stdout.strip()
        return base64.b64decode(text.removeprefix("SHA256:") + "=")

    def invite(self, name, *args):
        return spectls.read_code(self.command("invite", name, *args).stdout.strip())

    def client(self, identity, **given):
        sock = spectls.connect(self.port, TIMEOUT, identity, self.identity())
        return Client(self, sock=sock, **given)


def check_session():
    """The examples of the page, and a large file, over TLS."""
    _, _, _, greeting, *session, _, _, _ = spec.page.frames()
    data = random_bytes(new_seed(), 2 * CHECKPOINT + 4321)
    me = spectls.make_identity(scratch(), "me")
    with TlsDaemon("--anonymous=write") as d:
        tap.ok(spectls.identity_text(d.identity()) in d.log_text(), "the log tells the server's identity",
               d.log_text())
        with d.client(me, greet=False) as c:
            equal((c.sock.version(), c.sock.selected_alpn_protocol()), ("TLSv1.3", "sockd/1"), "TLS 1.3, ALPN")
            equal(spectls.peer_identity(c.sock), d.identity(), "the identity is the one that sockd tells")
            for block in (greeting, *session):
                replay(c, block)
        for identity in (me, None):
            with d.client(identity) as c:
                equal(c.put(b"large", data)["digest"], spec.sha256(data), f"put over TLS, as {identity}")
                tap.ok(c.get(b"large")[1] == data, "and got")
        with d.client(None) as c:
            c.request("JOIN", secret=bytes(16))
            equal(the_end(c), "DENIED", "JOIN without a certificate ends the connection")


def refusal(port, **given):
    """Why no session came about with a client of which GIVEN is special; None if one did."""
    with spec.connect(port, TIMEOUT) as sock:
        try:
            with spectls.context("client", **given).wrap_socket(sock) as session:
                session.sendall(spec.PREFACE)
                return None if session.recv(1) else EOFError("ended behind the handshake")
        except OSError as error:
            return error


def check_handshake():
    """What the server does not take, and what it says outside of TLS."""
    me = spectls.make_identity(scratch(), "me")
    with TlsDaemon("--handshake-timeout=2") as d:
        equal(refusal(d.port, identity=me), None, "control: a session comes about")
        for what, given in (("without ALPN", {"alpn": ()}), ("for http/1.1", {"alpn": ("http/1.1",)}),
                            ("of TLS 1.2", {"versions": ONLY_12})):
            error = refusal(d.port, identity=me, **given)
            tap.ok(isinstance(error, (ssl.SSLError, EOFError)), f"a handshake {what} fails", repr(error))
        for first, name in ((b"sockd/2\n", "VERSION"), (b"\x16\x03\x01\0\0\0\0\0", "PROTOCOL")):
            with d.client(me, greet=False) as c:
                c.sock.sendall(first)
                equal((c.read_preface(), the_end(c)), (spec.PREFACE, name), f"{first} inside TLS is {name}")
        with spec.connect(d.port, TIMEOUT) as sock:
            sock.sendall(b"\x16")
            tap.ok(not sock.recv(100).startswith(spec.PREFACE), "half a record is not answered in plaintext")
    with TlsDaemon("--max-connections=1", "--anonymous=read") as d, d.client(me) as c:
        c.flush()
        with spec.connect(d.port, TIMEOUT) as sock, sock.makefile("rb") as answer:
            sock.sendall(b"\x16\x03\x01")
            late = spec.Connection(sock, "client")
            equal((late.read_preface(), the_end(late)), (spec.PREFACE, "BUSY"), "busy is said in plaintext")
            del answer


def check_join():
    """From a code to a file on the server."""
    here = scratch()
    me, other = (spectls.make_identity(here, name) for name in ("me", "other"))
    with TlsDaemon() as d:
        with d.client(me) as c:
            c.request("FLUSH")
            equal(the_end(c), "DENIED", "who is not known may ask for nothing")
        code = d.invite("laptop", "--rights=read,list,write", "--path=of/laptop")
        equal(code.server, d.identity(), "the code has the server's identity")
        with d.client(me) as c:
            equal(c.answer(c.request("JOIN", secret=bytes(16))).name, "DENIED", "another secret is refused")
            equal(the_end(c), "DENIED", "and the connection ended")
        with contextlib.closing(spectls.connect(d.port, TIMEOUT, me, code.server)) as sock:
            c = Client(d, sock=sock)
            answer = c.answer(c.request("JOIN", secret=code.secret))
            equal((answer.name, answer.values), ("OK", {"durability": 1}), "JOIN is answered by OK, on disk")
        with d.client(me) as c:
            equal(c.put(b"f", b"mine")["size"], 4, "then the client is known")
            equal(c.stat(b"f")["size"], 4, "and sees what it put")
        equal(read(f"{d.root}/of/laptop/f"), b"mine", "below the root that it was given")
        with d.client(other) as c:
            c.request("JOIN", secret=code.secret)
            equal(the_end(c), "DENIED", "the secret is used up")
        again = d.invite("desktop")
        with d.client(me) as c:
            c.request("JOIN", secret=again.secret)
            equal(the_end(c), "DENIED", "an identity that is known does not join again")
        with d.client(other) as c:
            equal(c.answer(c.request("JOIN", secret=again.secret)).name, "OK", "which uses nothing up")
        with Client(d) as c:
            c.request("JOIN", secret=d.invite("late").secret)
            equal(the_end(c), "DENIED", "JOIN in plaintext is refused")
    with TlsDaemon("--anonymous=read") as d:
        code = d.invite("guest")
        with d.client(me) as c:
            equal(c.list(), [], "who may read without being known")
            c.request("JOIN", secret=code.secret)
            equal(the_end(c), "DENIED", "cannot join in the middle of that")
        with d.client(me) as c:
            equal(c.answer(c.request("JOIN", secret=code.secret)).name, "OK", "but before it")
        with d.client(me) as c:
            equal(c.put(b"f", b"x")["size"], 1, "and has more rights then")


def joined(d, name, *args):
    """A new identity that has joined D under NAME."""
    me = spectls.make_identity(scratch(), name)
    with d.client(me) as c:
        c.answer(c.request("JOIN", secret=d.invite(name, *args).secret))
    return me


def check_own_root():
    """Two clients below one served root: each sees its own part, and what it left itself."""
    data = random_bytes(new_seed(), CHECKPOINT + 1000)
    with TlsDaemon() as d:
        ann, bob, eve = (joined(d, name, f"--path={path}")
                         for name, path in (("ann", "a"), ("bob", "b"), ("eve", "a")))
        with d.client(ann) as c:
            equal(c.put(b"mine", b"ann's")["size"], 5, "ann has a file")
            c.put_part(b"part", data, len(data) + 1)
            c.hang_up()
        equal(read(f"{d.root}/a/mine"), b"ann's", "in her part")
        write(f"{d.root}/outside", "of nobody")
        os.makedirs(f"{d.root}/b", exist_ok=True)
        for link, target in (("up", ".."), ("other", "../a"), ("file", "../a/mine"), ("root", d.root)):
            os.symlink(target, f"{d.root}/b/{link}")
        with d.client(bob) as c:
            entries = c.list(how="RECURSIVE")
            said = {entry["path"]: ERROR.get(entry["code"]) for entry in entries}
            equal(said, {path: "ESCAPE" for path in (b"up", b"other", b"file", b"root")}, "bob sees his part alone")
            for path in (b"up/outside", b"up/a/mine", b"other/mine", b"file", b"root/outside"):
                equal((c.get(path), c.stat(path)), ("ESCAPE",) * 2, f"{path} leads out of it")
                equal(c.ask(path, "WHOLE", 5, (0, 0))[1] in ("ESCAPE", "NONE"), True, "and is not asked about")
            for path in (b"up/new", b"other/mine", b"root/new"):
                equal(c.put(path, b"bob's"), "ESCAPE", f"nor is {path} put")
            for path in (b"../a/mine", b"a/../../a/mine", f"{d.root}/a/mine".encode()):
                equal((c.get(path), c.put(path, b"x")), ("BAD_NAME",) * 2, f"{path} is no name")
            equal(c.tree("LINK", flags=0, path=b"l", target=b"../a"), "ESCAPE", "no link is made that leads out")
            equal(c.get(b"a/mine"), "NOT_FOUND", "what ann has is not there")
        equal((read(f"{d.root}/a/mine"), os.path.exists(f"{d.root}/new")), (b"ann's", False), "nothing came of it")
        with d.client(eve) as c:
            equal(c.get(b"mine")[1], b"ann's", "eve shares ann's part")
            equal(c.ask(b"part", "PARTIAL", len(data) + 1)[1], "NONE", "and is not offered what ann left unfinished")
        with d.client(ann) as c:
            equal(c.ask(b"part", "PARTIAL", len(data) + 1)[1:3], ("PARTIAL", CHECKPOINT), "ann is")


def check_drop_box():
    """Create alone: what is there is not told."""
    with TlsDaemon() as d:
        me = joined(d, "sender", "--rights=create")
        write(f"{d.root}/there", "x")
        os.utime(f"{d.root}/there", (0, 0))
        os.mkdir(f"{d.root}/dir")
        os.symlink("/etc", f"{d.root}/out")
        with d.client(me) as c:
            equal(c.put(b"new", b"abc")["size"], 3, "it drops a file")
            for what, found in (("PUT of a name that is taken", c.put(b"there", b"y")),
                                ("of its own name", c.put(b"new", b"abd")), ("of a directory", c.put(b"dir", b"")),
                                ("below a file", c.put(b"there/f", b"")), ("out of it", c.put(b"out/f", b"")),
                                ("below nothing", c.put(b"none/f", b"", how="")),
                                ("MKDIR of a file", c.tree("MKDIR", flags=0, mode=0o700, path=b"there")),
                                ("LINK", c.tree("LINK", flags=0, path=b"there", target=b"x")),
                                ("GET", c.get(b"there")), ("LIST", c.list()), ("STAT", c.stat(b"there")),
                                ("STAT of nothing", c.stat(b"none")), ("GET of nothing", c.get(b"none")),
                                ("ATTR", c.tree("ATTR", mode=0o700, mtime=(0, 0), path=b"dir"))):
                equal(found, "DENIED", f"{what} is DENIED")
            for path in (b"there", b"none", b"dir", b"there/f", b"out/f", b"none/f"):
                for how in ("NO_CLOBBER", "UPDATE", "WHOLE", "PARTIAL", "NO_CLOBBER UPDATE WHOLE PARTIAL"):
                    equal(c.ask(path, how, 1, (0, 0))[1], "NONE", f"ASK of {path} with {how} finds nothing")
        equal(read(f"{d.root}/there"), b"x", "what was there is as it was")


# -- Our server --------------------------------------------------------------


class Client2:
    """sockcp with an identity that openssl made and a configuration of its own."""

    def __init__(self):
        self.config = scratch()
        self.identity = spectls.make_identity(self.config, "client")

    def run(self, port, *args):
        env = {**os.environ, "XDG_CONFIG_HOME": self.config}
        command = [SOCKCP, "-P", str(port), f"--identity={self.identity}", *args]
        return subprocess.run([os.fsencode(word) for word in command], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                              timeout=60 * SLOW)


def check_server():
    data = random_bytes(new_seed(), CHECKPOINT + 777)
    here, sockcp = scratch(), Client2()
    write(f"{here}/f", data)
    mine, another = (spectls.make_identity(here, name) for name in ("server", "another"))
    pin = "--pin=" + spectls.identity_text(spectls.identity_in(mine))
    with Server(tls=spectls.server_context(mine, sockcp.identity)) as s:
        did(sockcp.run(s.port, pin, "put", f"{here}/f", at("f")), "sockcp puts over TLS")
        tap.ok(s.files.get(b"f") == data, "it arrives")
        did(sockcp.run(s.port, pin, "get", at("f"), f"{here}/back"), "and gets")
        tap.ok(read(f"{here}/back") == data, "it comes back")
        identities = {spectls.identity_of(spectls.public_key(shown)) for shown in s.clients if shown}
        equal(identities, {spectls.identity_in(sockcp.identity)}, "it showed its certificate each time")
        equal(s.fault, None, "and kept to the rules")
        s.asked.clear()
        wrong = "--pin=" + spectls.identity_text(spectls.identity_in(another))
        did(Client2().run(s.port, wrong, "put", f"{here}/f", at("g")), "with another pin it does not", 4)
        equal((s.asked, b"g" in s.files), ([], False), "and asks for nothing")


def check_invited():
    """sockcp joins by a code that we made, and checks who it is that it tells the secret."""
    here, sockcp = scratch(), Client2()
    mine, another = (spectls.make_identity(here, name) for name in ("server", "another"))
    code = spectls.Code(spectls.identity_in(mine), os.urandom(16))
    with Server(tls=spectls.server_context(another, sockcp.identity)) as s:
        s.secret = code.secret
        did(sockcp.run(s.port, "join", "127.0.0.1", spectls.write_code(code)), "another server than the code's", 4)
        equal((s.asked, s.secret), ([], code.secret), "is not told the secret")
    with Server(tls=spectls.server_context(mine, sockcp.identity)) as s:
        s.secret = code.secret
        broken = spectls.write_code(code)[:-1] + ("A" if spectls.write_code(code)[-1] != "A" else "B")
        did(sockcp.run(s.port, "join", "127.0.0.1", broken), "a code that was written wrong", 2)
        equal(s.clients, [], "does not leave the machine")
        did(sockcp.run(s.port, "join", "127.0.0.1", spectls.write_code(code)), "the server of the code")
        equal((s.asked, s.secret, s.fault), (["JOIN"], None, None), "is told the secret")
        did(sockcp.run(s.port, "put", mine, at("f")), "and known from then on")
        did(sockcp.run(s.port, "join", "127.0.0.1", spectls.write_code(code)), "the code is used up", 4)


def check_plaintext_answer():
    """What comes in place of TLS is taken for "busy", and never shown or answered."""
    here, sockcp = scratch(), Client2()
    write(f"{here}/f", "x")

    def answered(error, at_once):
        """How sockcp takes it: None when it is well."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            heard = []
            thread = threading.Thread(target=lambda: heard.append(
                spectls.answer_in_plaintext(listener, error, b"give me your password", at_once)), daemon=True)
            thread.start()
            done = sockcp.run(listener.getsockname()[1], "--retries=0", "--accept-new", "put", f"{here}/f", at("f"))
            thread.join(TIMEOUT)
        if done.returncode != 3 or "busy" not in done.stderr or "password" in done.stderr:
            return f"{done.returncode}: {done.stderr}"
        return heard if heard == [] or heard[0][:1] not in (b"", b"\x16") or spec.PREFACE in heard[0] else None

    for error in ("BUSY", "DENIED", "VERSION"):
        for at_once in (False, True):
            in_parallel(f"a plaintext {error} in place of TLS, {'at once' if at_once else 'behind ClientHello'}, "
                        "is told as busy, in other words", lambda _: answered(error, at_once), range(12), 2)


if __name__ == "__main__":
    run(check_identity, check_code, check_session, check_handshake, check_join, check_own_root,
        check_drop_box, check_server, check_invited, check_plaintext_answer)
