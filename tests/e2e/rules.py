#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways around the rules that somebody found once: what a client is told it may no longer
do, or may not do, does not come about by another way."""
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import spec
import spectls
from harness import (MIB, SLOW, SOCKD, Daemon, read, run, scratch, tap,
                     wait_for, write)
from peers import TAG, TIMEOUT, Client, equal, error_name, the_end


class Server(Daemon):
    """One that knows only whom it was told of."""

    def __init__(self, *args, **given):
        self.state = scratch()
        super().__init__(f"--state-dir={self.state}", "--anonymous=none", *args, **given)

    def command(self, *args, status=0):
        done = subprocess.run([SOCKD, f"--state-dir={self.state}", *args], capture_output=True,
                              text=True, check=False, timeout=30 * SLOW)
        if status is not None and done.returncode != status:
            raise ChildProcessError(f"{args}: {done}")
        return done

    def known(self, name, *rights):
        """The file of a new identity, which is client NAME."""
        file = spectls.make_identity(scratch(), name)
        self.command("authorize", name, spectls.identity_text(spectls.identity_in(file)), *rights)
        return file

    def client(self, identity):
        return Client(self, sock=spectls.connect(self.port, TIMEOUT, identity))


def check_requests_of_the_revoked():
    """All of it lies in buffers of the daemon's when its client is revoked."""
    directories = [spec.frame("MKDIR", 1000 + n, spec.encode("MKDIR", {"flags": 0, "mode": 0o755, "path": b"d%d" % n}))
                   for n in range(2000)]
    with Server() as d:
        me = d.known("bob", "--rights=write", "--limit=64K")
        c = d.client(me)
        c.put(b"before", b"x")
        c.sock.setblocking(False)
        blob, sent = b"".join(directories), 0
        end = time.monotonic() + 1
        while sent < len(blob) and time.monotonic() < end:
            try:
                sent += c.sock.send(blob[sent:sent + 16384])
            except (ssl.SSLWantWriteError, BlockingIOError):
                time.sleep(0.01)
        there = len(os.listdir(d.root))
        d.command("revoke", "bob")
        wait_for(lambda: "bob was revoked" in d.log_text(), what="the end of its session")
        time.sleep(0.2)
        now = len(os.listdir(d.root))
        time.sleep(2)
        equal(len(os.listdir(d.root)), now, f"nothing of {sent} bytes is done after it ({there} names before)")
        tap.ok(now < 2000, "and not all of it before", now)


def check_reload_takes_from_all():
    """Also from a connection that has not said yet who it is."""
    state, root, conf = scratch(), scratch(), os.path.join(scratch(), "sockd.conf")

    def configure(rights):
        write(conf, f"root = {root}\nlisten = 127.0.0.1:0\nstate-dir = {state}\nanonymous = {rights}\n")

    configure("write")
    log = os.path.join(scratch(), "log")
    with open(log, "wb") as err, subprocess.Popen([SOCKD, "--config", conf], stderr=err) as daemon:
        try:
            wait_for(lambda: b"listening on" in read(log), what="a start")
            port = int(read(log).partition(b"listening on ")[2].split(b"\n")[0].rpartition(b":")[2])
            early = spectls.connect(port, TIMEOUT)
            control = Client(None, sock=spectls.connect(port, TIMEOUT))
            equal(control.put(b"control", b"x")["size"], 1, "control: it could write")
            time.sleep(0.2)
            configure("none")
            daemon.send_signal(signal.SIGHUP)
            wait_for(lambda: b"reloaded" in read(log), what="a reload")
            try:
                said = Client(None, sock=early).put(b"late", b"x")
            except (spec.Breach, EOFError, OSError, TypeError) as e:
                said = repr(e)
            tap.ok("late" not in os.listdir(root), "what a reload takes away is gone for all", said)
        finally:
            daemon.terminate()


def check_reload_makes_no_identity():
    """A daemon that lost its key does not become somebody else."""
    with Server() as d:
        os.rename(f"{d.state}/identity.pem", f"{d.state}/away")
        d.signal(signal.SIGHUP)
        wait_for(lambda: "not reloaded" in d.log_text(), what="a refusal")
        tap.ok(not os.path.exists(f"{d.state}/identity.pem"), "none is made at a reload", d.log_text())
        os.rename(f"{d.state}/away", f"{d.state}/identity.pem")
        d.signal(signal.SIGHUP)
        wait_for(lambda: d.log_text().rstrip().endswith(" reloaded"), what="a reload")
        tap.ok(len(set(re.findall("identity (SHA256:.*)", d.log_text()))) == 1, "it stays who it is", d.log_text())


def check_quota_gives_nothing_back():
    """An upload that takes up a whole file and fails leaves that file as it is."""
    data = bytes(8 * MIB)
    with Server() as d:
        c = d.client(d.known("a", "--rights=write,read", "--quota-bytes=10M"))
        equal(c.put(b"f0", data)["size"], len(data), "one file fits")
        equal(c.put(b"f1", data), "QUOTA", "a second does not")
        for k in range(3):
            ident, kind, offset, _ = c.ask(b"f0", "WHOLE", size=len(data))
            c.send("PUT", ident, flags=0, alg=1, tag=TAG, path=b"f0")
            c.send("FILE", ident, size=len(data), offset=offset, mode=0o644, mtime=(0, 0))
            c.send("END", ident, offset=offset, digest=bytes(32))
            equal((kind, error_name(c.flush()[0])), ("WHOLE", "MISMATCH"), "what was offered is not finished")
            equal(c.put(b"g%d" % k, data), "QUOTA", "and makes no room")


def check_root_by_a_link():
    """Who may make links above it does not choose another's root."""
    with Server() as d:
        box = d.known("box", "--rights=create", "--path=inbox")
        bob = d.known("bob", "--rights=read,list", "--path=inbox/bob")
        write(f"{d.root}/inbox/carol/letter", b"for her eyes")
        with d.client(box) as c:
            c.tree("LINK", flags=0, path=b"bob", target=b"carol")
        tap.ok(os.path.islink(f"{d.root}/inbox/bob"), "control: the link is made")
        with d.client(bob) as c:
            c.request("LIST", flags=0, max=0, path=b"")
            equal(the_end(c), "DENIED", "a root is not found through a link")
        tap.ok("cannot open the directory of client bob, inbox/bob" in d.log_text(), "the log names it")


def check_state_is_not_served():
    root = scratch()
    inside = os.path.join(root, "deep", "state")
    os.makedirs(inside, mode=0o700)
    for args in ([f"--root={root}", f"--state-dir={inside}"], [f"--root={inside}", f"--state-dir={inside}"],
                 [f"--root={root}", f"--state-dir={inside}", "--check"]):
        done = subprocess.run([SOCKD, *args, "--listen=127.0.0.1:0"], capture_output=True, text=True,
                              check=False, timeout=60 * SLOW)
        tap.ok(done.returncode in (1, 2) and "lies in what is served" in done.stderr,
               "a state directory that clients could read is refused", done)
    identity = spectls.make_identity(root, "me.pem")
    done = subprocess.run([SOCKD, f"--root={root}", f"--state-dir={scratch()}", f"--identity={identity}",
                           "--check"], capture_output=True, text=True, check=False, timeout=60 * SLOW)
    tap.ok(done.returncode == 2 and "lies in what is served" in done.stderr, "and such an identity", done)
    top = scratch()
    os.mkdir(f"{top}/files")
    with Daemon(f"--state-dir={top}", root=f"{top}/files"):
        tap.ok(True, "control: a root below the state directory is served")


def check_lock_of_root():
    """A file of root's that the owner of the state directory names "lock" stays root's."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        tap.skip("a file of root's", "needs root and setpriv")
        return
    state = scratch()
    subprocess.run([SOCKD, f"--state-dir={state}", "fingerprint"], check=True, stdout=subprocess.PIPE)
    os.chown(state, 65534, 65534)
    write(f"{state}/lock", b"")
    os.chown(f"{state}/lock", 0, 0)
    subprocess.run([SOCKD, f"--state-dir={state}", "revoke", "nobody"], check=False, stderr=subprocess.PIPE)
    equal(os.stat(f"{state}/lock").st_uid, 0, "a lock that was there is not given away")
    os.unlink(f"{state}/lock")
    subprocess.run([SOCKD, f"--state-dir={state}", "revoke", "nobody"], check=False, stderr=subprocess.PIPE)
    equal(os.stat(f"{state}/lock").st_uid, 65534, "control: one that we make is")


def check_authorize_adds_nothing():
    with Server() as d:
        me = spectls.identity_text(spectls.identity_in(spectls.make_identity(scratch(), "c")))
        d.command("authorize", "c", me, "--rights=read", "--path=of/c", "--quota-bytes=5M")
        d.command("authorize", "c", me, "--limit=1M")
        row = [line.split() for line in d.command("clients").stdout.splitlines() if line.startswith("c ")][0]
        equal((row[1], row[2]), ("read", "of/c"), "what was not said anew stays")
        tap.ok("quota-bytes=5242880" in row[4] and "limit=1048576" in row[4], "and what was is added", row)
        equal(d.command("invite", "x", "--path=", status=None).returncode, 2, "an empty path is none")


def check_slow_ones_hold_nobody_up():
    """Whoever is let a byte a second cannot make the others wait."""
    with Server("--max-per-address=8", "--max-connections=64", "--penalty-max=0") as d:
        me = d.known("slow", "--rights=read", "--limit=1")
        held = [d.client(me) for _ in range(8)]
        for c in held:
            c.sock.send(b"\0")
        time.sleep(0.3)
        newcomers = []

        def knock():
            for _ in range(6):
                newcomers.append(socket.create_connection(("127.0.0.1", d.port)))

        knocking = threading.Thread(target=knock)
        knocking.start()
        time.sleep(0.2)
        began = time.monotonic()
        with socket.socket() as s:
            s.settimeout(TIMEOUT)
            s.bind(("127.0.0.2", 0))
            s.connect(("127.0.0.1", d.port))
            s.sendall(b"sockd/1\n" + bytes(100))
            s.recv(8)
        took = time.monotonic() - began
        knocking.join()
        tap.ok(took < 1.5 * SLOW, f"another address is answered in {took:.2f} s")
        for s in newcomers + held:
            getattr(s, "sock", s).close()


def check_strikes_are_not_wiped():
    """Rights that everybody has make nobody known."""
    with Server("--anonymous=read", "--penalty-max=60") as d:
        stranger = spectls.make_identity(scratch(), "s")
        refused = 0
        for _ in range(12):
            try:
                c = d.client(stranger)
                c.request("JOIN", secret=os.urandom(16))
                the_end(c)
                d.client(stranger).stat(b"")
            except (spec.Breach, EOFError, OSError, TypeError, KeyError):
                refused += 1
        tap.ok(refused > 0, f"who guesses is held off, whatever else it asks: {refused} of 12")


def check_hung_up_strangers():
    with Server("--penalty-max=60") as d:
        stranger = spectls.make_identity(scratch(), "s")
        held_off = False
        for _ in range(20):
            try:
                d.client(stranger).sock.close()
            except (spec.Breach, EOFError, OSError, TypeError, KeyError):
                held_off = True
                break
            time.sleep(0.05)
        tap.ok(held_off, "greetings that come to nothing count")


run(check_requests_of_the_revoked, check_reload_takes_from_all, check_reload_makes_no_identity,
    check_quota_gives_nothing_back,
    check_root_by_a_link, check_state_is_not_served, check_lock_of_root, check_authorize_adds_nothing,
    check_slow_ones_hold_nobody_up, check_strikes_are_not_wiped, check_hung_up_strangers)
