#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""sockd.conf: what is wrong in it keeps the daemon from starting, --check says so without
starting, and SIGHUP takes all of a new file or nothing."""
import os
import random
import re
import signal
import subprocess

from harness import (MIB, SLOW, SOCKD, Daemon, at, cp, cp_start, diag, did, digest, new_seed, partials, read,
                     run, scratch, tap, tree_read, wait_for, write)

FP = "SHA256:" + 43 * "A"
OTHER_FP = "SHA256:" + 42 * "B" + "A"
CLIENT = f"[client alice]\nfingerprint = {FP}\nrights = read,list\n"


def conf(text, path=None):
    path = write(path or f"{scratch()}/sockd.conf", text)
    os.chmod(path, 0o644)
    return path


def sockd(*args):
    """Run to its end, which is near."""
    return subprocess.run([SOCKD, *args], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=20 * SLOW, text=True, errors="backslashreplace")


# What stands behind a good beginning, the line of the complaint, and what it says.
BAD = (
    ("rot = /srv\n", 4, "unknown key 'rot'"),
    ("root = /srv\n", 4, "root is set for the second time"),
    ("idle-timeout = never\n", 4, "idle-timeout = never: a number from 1 to 86400 is needed"),
    ("idle-timeout =\n", 4, "idle-timeout has no value"),
    ("idle-timeout\n", 4, "the line is neither [SECTION] nor KEY = VALUE"),
    ("\n[server]\n", 5, "unknown section [server]"),
    (f"{CLIENT}{CLIENT}", 7, "[client alice] stands in line 4 already"),
    (f"{CLIENT}{CLIENT.replace('alice', 'bob')}", 7, "has the fingerprint of [client alice] in line 4"),
    (CLIENT.replace("list", "fly"), 6, "rights = read,fly: none, or some of read, list"),
    ("[client alice]\nrights = read\n", 4, "[client alice] has no fingerprint"),
    ("anonymous = read\n[anonymous]\n", 5, "only one can be"),
    (f"state-dir = {'x' * 3000}\n", 4, "the line is longer than"),
    ("idle-timeout = 5\0\n", 4, "there is a NUL byte in the line"),
    ("plaintext = yes\nlisten = 192.0.2.1\n", 5, "only loopback addresses are allowed"),
)


def check_bad_files():
    for tail, line, why in BAD:
        root, state = scratch(), f"{scratch()}/state"
        path = conf(f"root = {root}\nstate-dir = {state}\nlisten = 127.0.0.1:0\n{tail}")
        for how in ((), ("--check",)):
            done = sockd(f"--config={path}", *how)
            said = done.stderr.splitlines()
            tap.ok(done.returncode == 2 and len(said) == 1 and not done.stdout and
                   said[0].startswith(f"sockd: {path}:{line}: ") and why in said[0],
                   f"{' '.join(how) or 'start'}: {why}", f"{done.returncode} {done.stderr} {done.stdout}")
        tap.ok(not os.path.exists(state) and not os.listdir(root), "nothing was made")


def check_who_can_write():
    path = conf(f"root = {scratch()}\nstate-dir = {scratch()}\n")
    for mode in (0o664, 0o646):
        os.chmod(path, mode)
        done = sockd("-t", "-c", path)
        tap.ok(done.returncode == 2 and done.stderr.startswith(f"sockd: {path}: others than its owner"),
               f"mode {mode:o}: is refused", done.stderr)
    os.chmod(path, 0o600)
    did(sockd("-t", "-c", path), "mode 600: is not")


def check_check():
    root, state = scratch(), scratch()
    path = conf(f"root = {root}\nstate-dir = {state}\nlisten = 127.0.0.1:0\n{CLIENT}")
    done = sockd(f"--config={path}", "--check")
    tap.ok(done.returncode == 0 and done.stdout == f"{path}: the configuration is fine\n" and not done.stderr,
           "--check: a good file", f"{done.returncode} {done.stdout} {done.stderr}")
    done = sockd(f"--root={root}", f"--state-dir={state}", "-t")
    tap.ok(done.returncode == 0 and done.stdout == "sockd: the configuration is fine\n",
           "--check: no file", f"{done.returncode} {done.stdout} {done.stderr}")
    for key, where in (("root", f"root = {root}/none\nstate-dir = {state}\n"),
                       ("state-dir", f"root = {root}\nstate-dir = {root}/none\n")):
        done = sockd("-c", conf(where), "-t")
        tap.ok(done.returncode == 2 and f"{root}/none" in done.stderr and not done.stdout,
               f"--check: {key} cannot be opened", f"{done.returncode} {done.stdout} {done.stderr}")


class FromFile(Daemon):
    """Everything but the port is in a file, which ends with TAIL."""

    def __init__(self, tail):
        super().__init__()
        self.state = scratch()
        self.conf = self.write_conf(tail, self.root)

    def write_conf(self, tail, root, path=None):
        return conf(f"root = {root}\nstate-dir = {self.state}\nplaintext = yes\n{tail}", path)

    def start(self):
        command = [SOCKD, f"--config={self.conf}", "--listen=127.0.0.1:0"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        self.pid = self.process.pid

        def port():
            found = re.search(r"listening on \S+:(\d+)\n", self.log_text())
            if not found and self.process.poll() is not None:
                raise ChildProcessError(self.log_text())
            return int(found[1]) if found else 0

        self.port = wait_for(port, what="'listening on'")

    def reload(self, tail, word, root=None):
        """With a new file, until the log has WORD; what was logged since."""
        before = len(self.log_text())
        self.write_conf(tail, root or self.root, self.conf)
        self.signal(signal.SIGHUP)
        wait_for(lambda: word in self.log_text()[before:], what=word)
        return self.log_text()[before:]


RELOADED = " reloaded\n"
REFUSED = "not reloaded: "


def check_reload():
    here = scratch()
    source = write(f"{here}/f", "some text\n")
    with FromFile("anonymous = read\n") as d:
        os.mkdir(f"{d.root}/box")
        did(cp("put", source, at("f"), daemon=d), "what the file does not give is not had", 4)
        d.reload("anonymous = write\n", RELOADED)
        did(cp("put", source, at("f"), daemon=d), "SIGHUP: a new file counts")
        tap.ok(read(f"{d.root}/f") == b"some text\n", "and the transfer is right")
        d.reload("[anonymous]\nrights = read,list,write\npath = box\n", RELOADED)
        did(cp("put", source, at("g"), daemon=d), "SIGHUP: a section")
        tap.ok(tree_read(d.root).keys() == {b"f", b"box", b"box/g"}, "its path counts", tree_read(d.root))


def check_bad_reload():
    here = scratch()
    source = write(f"{here}/f", "some text\n")
    with FromFile("anonymous = write\n") as d:
        said = d.reload("rot = 1\n[anonymous]\nrights = none\n", REFUSED)
        tap.ok(f"{d.conf}:4: unknown key 'rot'\n" in said, "SIGHUP: a bad file is said, with its line", said)
        did(cp("put", source, at("f"), daemon=d), "and changes nothing")
        os.unlink(d.conf)
        d.signal(signal.SIGHUP)
        wait_for(lambda: f"{d.conf}: cannot be opened: " in d.log_text(), what="the word")
        did(cp("put", source, at("g"), daemon=d), "SIGHUP: no file at all changes nothing")
        said = d.reload("anonymous = write\n", RELOADED, root=here)
        tap.ok("root has changed: that counts from the next start on\n" in said,
               "SIGHUP: what cannot change is said", said)
        did(cp("put", source, at("h"), daemon=d), "and stays as it was")
        tap.ok(os.path.exists(f"{d.root}/h") and not os.path.exists(f"{here}/h"), "the old root is served")
        tap.ok(d.stop() == 0, "it ends as it should", d.log_text())


def check_old_connections():
    """A transfer under way is not disturbed by a reload that does not concern it."""
    source = write(f"{scratch()}/f", os.urandom(6 * MIB))
    with FromFile("anonymous = write\n") as d:
        transfer = cp_start("--limit=3M", "--retries=0", "put", source, at("f"), daemon=d)
        wait_for(lambda: partials(d.root), what="the transfer")
        d.reload("anonymous = write\nidle-timeout = 100\n", RELOADED)
        tap.ok(transfer.poll() is None, "a reload comes while a transfer is under way")
        said = transfer.communicate()[1]
        tap.ok(transfer.returncode == 0 and digest(f"{d.root}/f") == digest(source), "which goes on", said)


def check_commands_read_it():
    """The commands find the state directory by the file, and refuse a bad one."""
    state = scratch()
    path = conf(f"state-dir = {state}\n{CLIENT}")
    did(sockd("fingerprint", "-c", path), "fingerprint: needs no root")
    tap.ok(os.listdir(state), "the state directory is the one of the file")
    done = sockd("-c", conf("rot = 1\n"), "clients")
    tap.ok(done.returncode == 2 and ":1: unknown key 'rot'" in done.stderr, "a bad file is refused", done.stderr)
    for args, why in ((("clients", "--root=/"), "--root means nothing with the command clients"),
                      (("--rights=read", "-r", "/"), "--rights goes with the commands invite and authorize"),
                      (("invent", "bob"), "invent: there is no such command"),
                      (("invite",), "invite takes these arguments: NAME")):
        done = sockd(*args)
        tap.ok(done.returncode == 2 and why in done.stderr, f"usage: {' '.join(args)}", done.stderr)


MARKS = (b"\n", b"[", b"]", b"=", b"\0", b"\xff", b";", b"\x1b[1m")


def check_mutations():
    """Whatever is in the file, it is taken, or refused with one line."""
    rng = random.Random(new_seed())
    state = scratch()
    whole = (f"root = {scratch()}\nstate-dir = {state}\nlisten = 127.0.0.1:0\nmax-connections = 5\n[anonymous]\n"
             f"rights = read\n{CLIENT}[client bob]\nfingerprint = {OTHER_FP}\nrights = create\n").encode()
    path = f"{scratch()}/sockd.conf"
    found = {0: 0, 2: 0}
    wrong = []
    for _ in range(150):
        text = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(text))
            text[start:start + rng.randrange(4)] = rng.choice(MARKS)
        conf(bytes(text), path)
        done = sockd(f"--config={path}", f"--state-dir={state}", "clients")
        if done.returncode not in found or (done.returncode == 2 and done.stderr.count("\n") != 1):
            wrong.append(f"{bytes(text)!r}: {done.returncode} {done.stderr}")
        found[done.returncode] = found.get(done.returncode, 0) + 1
    diag(f"statuses: {found}")
    tap.ok(not wrong and found[2] > 50, "150 changed files: read or refused", "\n".join(wrong))


run(check_bad_files, check_who_can_write, check_check, check_reload, check_bad_reload,
    check_old_connections, check_commands_read_it, check_mutations)
