#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this the server that is meant: remembered servers, pins, authorities, invitations."""
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import termios
import threading
import time

from harness import (DOWN, SLOW, SOCKCP, SOCKD, Daemon, Fault, Proxy, did, digest, in_parallel,
                     read, run, scratch, tap, wait_for, write)

PRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
NEVER = "SHA256:" + "A" * 43  # nobody's


class Client:
    """A sockcp with an identity and servers of its own."""

    def __init__(self):
        self.home = scratch()
        self.config = f"{self.home}/sockd"
        self.known = f"{self.config}/known_hosts"
        self.file = write(f"{self.home}/file", "hello\n")
        self.env = {**os.environ, "XDG_CONFIG_HOME": self.home, "SSL_CERT_DIR": "/nonexistent",
                    "SSL_CERT_FILE": "/dev/null"}

    def command(self, port, *args):
        return [SOCKCP, "-P", str(port), "--retries=0", *args]

    def cp(self, port, *args, env=None, stdin=None):
        """sockcp without a terminal, run to its end."""
        return subprocess.run(self.command(port, *args), env={**self.env, **(env or {})},
                              input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True, timeout=60 * SLOW, check=False)

    def put(self, port, *args, host="127.0.0.1", **more):
        return self.cp(port, *args, "put", self.file, f"{host}:", **more)

    def known_text(self):
        with contextlib.suppress(FileNotFoundError):
            return read(self.known).decode()
        return ""


class Server(Daemon):
    """A sockd with a state directory of its own, that takes TLS alone."""

    def __init__(self, *args, **more):
        self.state = scratch()
        super().__init__(f"--state-dir={self.state}", *args, **more)

    def ask(self, *args):
        """`sockd ARGS`, what it prints."""
        done = subprocess.run([SOCKD, f"--state-dir={self.state}", *args], check=True, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60 * SLOW)
        return done.stdout.strip()

    def change(self):
        """Starts again, on the same port, as somebody else."""
        self.stop()
        os.unlink(f"{self.state}/identity.pem")
        self.start()


def refused(done, name, *words):
    """A test point: sockcp did not trust the server, and said why in one line."""
    lines = done.stderr.splitlines()
    return tap.ok(done.returncode == 4 and len(lines) == 1 and
                  all(word in done.stderr for word in words), name,
                  f"status {done.returncode}, wanted {words}\n{done.stdout}{done.stderr}")


# -- Servers that are remembered ---------------------------------------------


def check_new():
    with Server() as d:
        fp = d.ask("fingerprint")
        tap.ok(PRINT.fullmatch(fp), "sockd fingerprint prints one", fp)
        client = Client()
        refused(client.put(d.port), "without a terminal a new server is refused",
                fp, f"127.0.0.1:{d.port}", "--pin", "--accept-new", "sockd fingerprint")
        tap.ok(not client.known_text() and not os.path.exists(f"{d.root}/file"),
               "and nothing is remembered or sent")
        done = client.put(d.port, "--accept-new")
        did(done, "--accept-new takes it")
        tap.ok(fp in done.stderr and digest(f"{d.root}/file") == digest(client.file),
               "and shows its fingerprint", done.stderr)
        tap.ok(client.known_text() == f"127.0.0.1:{d.port} {fp}\n", "and remembers it",
               client.known_text())
        tap.ok(os.stat(client.known).st_mode & 0o777 == 0o600, "known_hosts is private")
        did(client.put(d.port), "and then it is known")
        tap.ok(client.known_text().count("\n") == 1, "once", client.known_text())
        refused(client.put(d.port, host="localhost"), "by that name alone", f"localhost:{d.port}")
        did(client.put(d.port, "-q", "--accept-new", host="LOCALHOST"), "another name")
        tap.ok(client.known_text() == f"127.0.0.1:{d.port} {fp}\nlocalhost:{d.port} {fp}\n",
               "is a line of its own, in lower case", client.known_text())


def check_pin():
    with Server() as d:
        fp, client = d.ask("fingerprint"), Client()
        refused(client.put(d.port, f"--pin={NEVER}"), "a wrong --pin is refused", fp, NEVER)
        refused(client.put(d.port, f"--pin={NEVER}", "--accept-new"), "--accept-new or not", fp, NEVER)
        did(client.put(d.port, f"--pin={fp}"), "the right --pin is taken")
        tap.ok(not client.known_text(), "and not remembered")
        did(client.put(d.port, "--accept-new"), "remembered now")
        refused(client.put(d.port, f"--pin={NEVER}"), "a wrong --pin for a known server", fp, NEVER)


def check_changed():
    with Server() as d:
        client, before = Client(), d.ask("fingerprint")
        did(client.put(d.port, "--accept-new"), "a server is known")
        write(client.known, f"# mine\n\nother:1 {NEVER}\n{client.known_text()}")
        os.chmod(client.known, 0o600)
        text = client.known_text()
        os.unlink(f"{d.root}/file")
        d.change()
        after = d.ask("fingerprint")
        tap.ok(after != before, "and has a new key")
        ca = write(f"{client.home}/ca.pem", read(f"{d.state}/identity.pem"))
        for name, *options in (("no option",), ("--accept-new", "--accept-new"),
                               ("the new --pin", f"--pin={after}"), ("the old --pin", f"--pin={before}"),
                               ("--ca", f"--ca={ca}"),
                               ("all", "--accept-new", f"--pin={after}", f"--ca={ca}")):
            refused(client.put(d.port, *options), f"changed: refused with {name}",
                    before, after, client.known, "line 4")
        done = client.cp(d.port, "--json", "get", "127.0.0.1:x", "-")
        tap.ok(done.returncode == 4, "and so with --json", done.stderr)
        events = [json.loads(line) for line in done.stderr.splitlines()]
        tap.ok([e["event"] for e in events] == ["error", "end"] and events[0]["status"] == 4 and
               events[0]["code"] == 264 and before in events[0]["detail"], "as an event", events)
        tap.ok(client.known_text() == text and not os.path.exists(f"{d.root}/file"),
               "nothing was changed or sent", client.known_text())
        write(client.known, "".join(text.splitlines(keepends=True)[:3]))
        did(client.put(d.port, "--accept-new"), "without that line it is new")


def check_known_hosts():
    """A file that cannot be read, makes no sense, or cannot be written."""
    with Server() as d:
        fp, client = d.ask("fingerprint"), Client()
        did(client.put(d.port, "--accept-new"), "a server is known")
        text = client.known_text()
        for wrong in (text + "127.0.0.1:1\n", text + f"127.0.0.1:{d.port} {NEVER}\n", text + "x y\n"):
            write(client.known, wrong)
            refused(client.put(d.port, f"--pin={fp}"), "nonsense trusts nobody",
                    client.known, "line 2")
        write(client.known, text)
        os.chmod(client.known, 0o644)
        refused(client.put(d.port), "a file that others can read", client.known, "mode 600")
        os.chmod(client.known, 0o600)
        did(client.put(d.port), "put right, it is read again")

        client = Client()
        refused(client.put(d.port), "new")  # makes the directory
        # Root may write anywhere, but not lock a directory that is in the way.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{client.config}/lock")
        os.mkdir(f"{client.config}/lock")
        refused(client.put(d.port, "--accept-new"), "what cannot be remembered is not trusted",
                client.known, "cannot be written")
        did(client.put(d.port, f"--pin={fp}"), "--pin needs no memory")


def check_together():
    """Many at once that meet the same new server."""
    with Server() as d:
        client, ours = Client(), d.ask("fingerprint")
        did(client.put(d.port, "--accept-new"), "first")  # its identity is made
        os.unlink(client.known)

        def meet(n):
            done = client.cp(d.port, "--accept-new", "put", client.file, f"127.0.0.1:{n}")
            return done.returncode and done.stderr
        in_parallel("--accept-new at the same time", meet, range(12))
        tap.ok(client.known_text() == f"127.0.0.1:{d.port} {ours}\n", "is remembered once",
               client.known_text())


# -- The question --------------------------------------------------------------


class Terminal:
    """A sockcp whose controlling terminal is ours; its own input and output are pipes."""

    def __init__(self, client, port, *args, stdin=b""):
        # Until the end somebody holds the other side, without which it would be a hang-up.
        self.master, self.slave = os.openpty()
        self.screen = ""

        def adopt():
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(client.command(port, *args), env=client.env, preexec_fn=adopt,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.stdin = stdin
        self.reader = threading.Thread(target=self.look)
        self.reader.start()

    def look(self):
        with contextlib.suppress(OSError):  # EIO: nobody holds its other side any more
            while data := os.read(self.master, 4096):
                self.screen += data.decode()

    def answer(self, *answers):
        """Types each when there is a question; returns itself when all is over."""
        for said in answers:
            wait_for(lambda: re.search(r"(\?|one:) $", self.screen), what="the question")
            mark = self.screen
            os.write(self.master, said.encode())
            wait_for(lambda: self.screen != mark or self.process.poll() is not None, what="an echo")
        self.out, self.err = (text.decode() for text in
                              self.process.communicate(self.stdin, timeout=60 * SLOW))
        os.close(self.slave)
        self.reader.join()
        os.close(self.master)
        return self

    def ok(self, name, status, *words):
        return tap.ok(self.process.returncode == status and
                      all(word in self.screen for word in words), name,
                      f"status {self.process.returncode}\n{self.screen}\n{self.err}")


def check_question():
    with Server() as d:
        fp = d.ask("fingerprint")
        for answers, status, name in (
                (("yes\n",), 0, "yes"), (("no\n",), 4, "no"), ((f"{fp}\n",), 0, "the fingerprint"),
                (("sure\n", f"{NEVER}\n", "yes\n"), 0, "yes, at the third time"),
                (("a\n", "\n", "b\n", "c\n"), 4, "nothing but garbage"), (("\x04",), 4, "an end of file"),
                (("\x03",), 130, "an interrupt"), (("hm\n", "\x03"), 130, "garbage and an interrupt")):
            client = Client()
            terminal = Terminal(client, d.port, "put", "-", "127.0.0.1:got", stdin=b"from a pipe")
            terminal.answer(*answers).ok(f"asked, {name}", status, fp, f"127.0.0.1:{d.port}",
                                         "sockd fingerprint")
            known = f"127.0.0.1:{d.port} {fp}\n" if status == 0 else ""
            tap.ok(client.known_text() == known, "and remembered or not", client.known_text())
            got = f"{d.root}/got"
            tap.ok(os.path.exists(got) == (status == 0), "sent or not")
            if status == 0:
                tap.ok(read(got) == b"from a pipe", "standard input is what is sent")
                os.unlink(got)
        again = Terminal(client, d.port, "--accept-new", "put", client.file, "127.0.0.1:got").answer()
        tap.ok(again.process.returncode == 0 and not again.screen, "--accept-new does not ask", again.screen)
        again = Terminal(client, d.port, "put", client.file, "127.0.0.1:got").answer()
        tap.ok(again.process.returncode == 0 and not again.screen, "nor does one that is known", again.screen)
        d.change()
        again = Terminal(client, d.port, "put", client.file, "127.0.0.1:got").answer()
        tap.ok(again.process.returncode == 4 and not again.screen and fp in again.err,
               "one that has changed is refused without a question", again.screen + again.err)


def check_patience():
    """Whoever compares fingerprints takes longer than a server waits for a handshake."""
    with Server("--handshake-timeout=1") as d:
        client = Client()
        terminal = Terminal(client, d.port, "put", client.file, "127.0.0.1:got")
        wait_for(lambda: terminal.screen.endswith("? "), what="the question")
        wait_for(lambda: "timeout" in d.log_text() or "too long" in d.log_text(), what="the end of patience")
        terminal.answer("yes\n").ok("a slow answer is an answer", 0)


def check_signal():
    """SIGTERM from elsewhere ends the question, too."""
    with Server() as d:
        client = Client()
        terminal = Terminal(client, d.port, "put", client.file, "127.0.0.1:got")
        wait_for(lambda: terminal.screen.endswith("? "), what="the question")
        os.kill(terminal.process.pid, signal.SIGTERM)
        terminal.answer().ok("SIGTERM ends the question", 130)


# -- Authorities ---------------------------------------------------------------

CONFIG = """
[req]
distinguished_name = dn
[dn]
[ca]
default_ca = d
[d]
database = {top}/index
new_certs_dir = {top}
policy = p
default_md = sha256
unique_subject = no
rand_serial = yes
copy_extensions = none
[p]
commonName = supplied
"""
ROOT = "basicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\nsubjectKeyIdentifier = hash\n"
LEAF = "basicConstraints = CA:FALSE\nsubjectAltName = {san}\n"
SAN = "DNS:localhost,IP:127.0.0.1"
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
DAY = 24 * 3600


def openssl(*args):
    done = subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise ChildProcessError(f"openssl {args}: {done.stderr.decode()}")


def date(offset):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + offset))


class Authority:
    """A root, or what ISSUER makes of it: `cert` and `key` are its files, `chain` what a
    server has to show with what it has issued."""

    def __init__(self, issuer=None, extensions=ROOT, name="a test authority"):
        self.top = scratch()
        self.conf = write(f"{self.top}/conf", CONFIG.format(top=self.top))
        write(f"{self.top}/index", "")
        self.cert, self.key, self.chain = f"{self.top}/ca.pem", f"{self.top}/ca.key", b""
        if issuer:
            self.key, self.cert = issuer.issue(name, extensions)
            self.chain = read(self.cert) + issuer.chain
            return
        self.request(name, self.key, f"{self.top}/csr")
        self.sign(f"{self.top}/csr", self.cert, extensions, "-selfsign", "-keyfile", self.key)

    def request(self, name, key, csr, kind=EC):
        openssl("req", "-config", self.conf, "-new", *kind, "-nodes", "-keyout", key, "-out", csr,
                "-subj", f"/CN={name}")

    def sign(self, csr, cert, extensions, *args, start=-DAY, end=DAY, md="sha256"):
        ext = write(f"{cert}.ext", extensions)
        openssl("ca", "-config", self.conf, "-batch", "-notext", "-in", csr, "-out", cert, "-extfile", ext,
                "-startdate", date(start), "-enddate", date(end), "-md", md, *args)

    def issue(self, name="server", extensions=LEAF.format(san=SAN), kind=EC, **how):
        """A new key and its certificate, as files."""
        place = scratch()
        key, csr, cert = (f"{place}/{what}" for what in ("key", "csr", "cert"))
        self.request(name, key, csr, kind)
        self.sign(csr, cert, extensions, "-cert", self.cert, "-keyfile", self.key, **how)
        return key, cert

    def identity(self, damage=False, **how):
        """The same as one file for --identity, with the rest of its chain."""
        key, cert = self.issue(**how)
        if damage:  # the last byte of a certificate is one of its signature
            der = bytearray(ssl.PEM_cert_to_DER_cert(read(cert).decode()))
            der[-1] ^= 1
            write(cert, ssl.DER_cert_to_PEM_cert(bytes(der)))
        return identity_file(key, cert, self.chain)


def identity_file(key, cert, chain=b""):
    path = f"{scratch()}/server.pem"
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(read(key) + read(cert) + chain)
    return path


def self_signed(authority):
    place = scratch()
    key, cert = f"{place}/key", f"{place}/cert"
    authority.request("server", key, f"{place}/csr")
    authority.sign(f"{place}/csr", cert, LEAF.format(san=SAN), "-selfsign", "-keyfile", key)
    return identity_file(key, cert)


def check_authority():
    root = Authority()
    middle = Authority(root, ROOT, "in between")
    for name, identity in (("issued by it", root.identity()),
                           ("through another one", middle.identity()),
                           ("with an RSA key", root.identity(kind=("-newkey", "rsa:2048"))),
                           ("for servers", root.identity(
                               extensions=LEAF.format(san=SAN) + "extendedKeyUsage = serverAuth\n"))):
        with Server(f"--identity={identity}") as d:
            for host in ("localhost", "127.0.0.1"):
                client = Client()
                did(client.put(d.port, f"--ca={root.cert}", host=host), f"--ca: {name}, {host}")
                tap.ok(not client.known_text(), "nothing is asked, nothing remembered")
            did(client.put(d.port, env={"SSL_CERT_FILE": root.cert}), f"the system's: {name}")
            refused(client.put(d.port), "but nobody's without")
            fp = PRINT.search(client.put(d.port).stderr).group()
            did(client.put(d.port, f"--ca={root.cert}", f"--pin={fp}"), "--ca and --pin together")
            refused(client.put(d.port, f"--ca={root.cert}", f"--pin={NEVER}"), "both must hold", NEVER)
            done = client.put(d.port, "--accept-new", host="localhost")
            did(done, "it can be remembered, too")
            did(client.put(d.port, host="localhost"), "and is known then")
            for option, file, why in (("--ca", f"{client.home}/nothing", "no such file"),
                                      ("--ca", client.file, "PEM"), ("--ca", client.home, ""),
                                      ("-i", f"{client.home}/nothing", "no such file"),
                                      ("-i", root.cert, "")):
                done = client.put(d.port, option, file) if option == "-i" else \
                    client.put(d.port, f"{option}={file}")
                tap.ok(done.returncode == 7 and file in done.stderr and why in done.stderr,
                       f"{option}: {os.path.basename(file)} is of no use", f"{done.returncode} {done.stderr}")


def bad_ones(root):
    """(what is wrong, the identity, what is said of it)"""
    wrong_ca = Authority(root, "basicConstraints = CA:FALSE\n", "no authority")
    short = Authority(root, ROOT.replace("CA:TRUE", "CA:TRUE,pathlen:0"), "short")
    too_long = Authority(short, ROOT, "one too many")
    for_clients = LEAF.format(san=SAN) + "extendedKeyUsage = clientAuth\n"
    other = LEAF.format(san="DNS:other.example,IP:127.9.9.9")
    return (
        ("expired", root.identity(start=-2 * DAY, end=-60), "expired"),
        ("not yet valid", root.identity(start=3600, end=DAY), "not yet valid"),
        ("another host's", root.identity(extensions=other), "mismatch"),
        ("another authority's", Authority(name="a stranger").identity(), "issuer"),
        ("self-signed", self_signed(root), "self-signed"),
        ("issued by what is no authority", wrong_ca.identity(), "CA"),
        ("for clients", root.identity(extensions=for_clients), "purpose"),
        ("at the end of too long a path", too_long.identity(), "path length"),
        ("damaged", root.identity(damage=True), "signature"),
        ("the host's in its CN alone", root.identity(name="localhost", extensions=other), "mismatch"),
        ("the host's in its CN, without names", root.identity(
            name="localhost", extensions="basicConstraints = CA:FALSE\n"), "mismatch"),
        ("of the authority itself", identity_file(root.key, root.cert), "purpose"),
        ("for a name that ends alike", root.identity(
            extensions=LEAF.format(san="DNS:localhost.example,DNS:alocalhost")), "mismatch"),
        ("for everybody", root.identity(extensions=LEAF.format(san="DNS:*")), "mismatch"),
    )


def check_bad_certificates():
    root = Authority()
    for what, identity, why in bad_ones(root):
        with Server(f"--identity={identity}") as d:
            client = Client()
            refused(client.put(d.port, f"--ca={root.cert}", host="localhost"), f"--ca: {what}",
                    "SHA256:", why)
            refused(client.put(d.port, f"--ca={root.cert}", "--accept-new", host="localhost"),
                    "--accept-new or not", "SHA256:", why)
            refused(client.put(d.port, host="localhost", env={"SSL_CERT_FILE": root.cert}),
                    "for the system it is a stranger", "not known yet")
            tap.ok(not client.known_text() and not os.listdir(d.root), "nothing is remembered or sent")


class WeakServer:
    """TLS with a certificate that sockd itself would not show; says nothing further."""

    def __init__(self, identity):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_ciphers("DEFAULT@SECLEVEL=0")
        self.context.set_alpn_protocols(["sockd/1"])
        self.context.load_cert_chain(identity)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.said = b""

    def serve(self):
        with contextlib.suppress(OSError):  # closed; or the peer did not like it
            while True:
                peer = self.listener.accept()[0]
                with contextlib.suppress(OSError), self.context.wrap_socket(peer, server_side=True) as tls:
                    self.said += tls.recv(4096)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


def check_weak_servers():
    root, client = Authority(), Client()
    with WeakServer(root.identity(md="sha1")) as server:
        refused(client.put(server.port, f"--ca={root.cert}", host="localhost"), "--ca: signed with SHA-1")
        tap.ok(not server.said, "nothing is said to it", server.said)
    # What a weak key signs proves nothing, so there is no question of trust.
    with WeakServer(root.identity(kind=("-newkey", "rsa:1024"))) as server:
        for option in (f"--ca={root.cert}", "--accept-new"):
            done = client.put(server.port, option, host="localhost")
            tap.ok(done.returncode == 9 and "too weak" in done.stderr, f"RSA with 1024 bits, {option[:5]}",
                   f"{done.returncode} {done.stderr}")
        tap.ok(not server.said and not client.known_text(), "nothing is said to it or remembered",
               server.said)
    with WeakServer(root.identity()) as server:  # that it is the weakness
        client.put(server.port, f"--ca={root.cert}", "--timeout=1", host="localhost")
        tap.ok(server.said, "control: a strong one is spoken to")


# -- Invitations ---------------------------------------------------------------


def check_join():
    with Server("--anonymous=none") as d:
        client, fp = Client(), d.ask("fingerprint")
        code = d.ask("invite", "alice", "--rights=read,list,write")
        done = client.put(d.port, f"--pin={fp}")
        tap.ok(done.returncode == 4, "who is not known may do nothing", done.stderr)
        done = client.cp(d.port, "join", "127.0.0.1", code)
        did(done, "join")
        mine = PRINT.search(done.stderr)
        tap.ok(mine and mine.group() != fp and
               done.stderr == f"joined 127.0.0.1:{d.port} as {mine.group()}; the server is remembered\n",
               "says who we are there", done.stderr)
        tap.ok(client.known_text() == f"127.0.0.1:{d.port} {fp}\n", "the server is remembered",
               client.known_text())
        did(client.put(d.port), "and both know each other")

        other = Client()
        refused(other.cp(d.port, "join", "127.0.0.1", code), "a code is used once", "it was used")
        tap.ok(not other.known_text(), "and a server that refuses it is not remembered")
        tap.ok(code not in done.stderr + d.log_text(), "the code is nowhere to be read")

        for stdin in ("bob", "carol"):
            client, code = Client(), d.ask("invite", stdin, "--rights=read,list,write")
            done = client.cp(d.port, "--json", "join", "127.0.0.1", "-", stdin=code + "\n")
            did(done, f"{stdin} joins, code from standard input, --json")
            events = {e["event"]: e for e in map(json.loads, done.stdout.splitlines())}
            tap.ok(events["start"]["command"] == "join" and
                   PRINT.fullmatch(events["joined"]["fingerprint"]) and
                   events["joined"]["server_fingerprint"] == fp and events["end"]["status"] == 0 and
                   not done.stderr, "with an event", done.stdout + done.stderr)
            did(client.put(d.port), "and is known")


def check_join_unused():
    """What goes wrong before the code is sent does not use it up."""
    with Server("--anonymous=none") as d, Server("--anonymous=none") as stranger:
        client, fp = Client(), d.ask("fingerprint")
        code = d.ask("invite", "alice", "--rights=read,list,write")
        wrong = code[:20] + ("A" if code[20] != "A" else "B") + code[21:]
        done = client.cp(d.port, "join", "127.0.0.1", wrong)
        tap.ok(done.returncode == 2 and "copy all of it again" in done.stderr and wrong not in done.stderr,
               "a mistyped code is known at once, and not shown", done.stderr)
        refused(client.cp(stranger.port, "join", "127.0.0.1", code), "another server", fp,
                stranger.ask("fingerprint"))
        os.makedirs(client.config, exist_ok=True)
        write(client.known, f"127.0.0.1:{d.port} {NEVER}\n")
        os.chmod(client.known, 0o600)
        refused(client.cp(d.port, "join", "127.0.0.1", code), "a server that was another", fp, NEVER,
                "line 1")
        os.unlink(client.known)
        shutil.rmtree(f"{client.config}/lock", ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{client.config}/lock")
        os.mkdir(f"{client.config}/lock")
        done = client.cp(d.port, "join", "127.0.0.1", code)
        tap.ok(done.returncode == 7 and "was not used" in done.stderr, "nowhere to remember it", done.stderr)
        os.rmdir(f"{client.config}/lock")
        did(client.cp(d.port, "join", "127.0.0.1", code), "the code is as good as new")
        did(client.put(d.port), "and used now")


def check_join_lost():
    """The connection is cut where the answer is on its way."""
    with Server("--anonymous=none") as d, Proxy(d.port) as line:
        fp = d.ask("fingerprint")

        def join(name):
            client = Client()
            code = d.ask("invite", name, "--rights=read,list,write")
            return client, client.cp(line.port, "--retries=3", "join", "127.0.0.1", code)

        did(join("whole")[1], "join")
        answered = line.passed(DOWN)
        lost = 0
        for before in range(4, 60, 8):
            line.faults = [Fault("cut", DOWN, answered - before)]
            client, done = join(f"cut{before}")
            if done.returncode == 0:
                continue
            tap.ok(done.returncode == 4 and "is that of a client already" in done.stderr and
                   "the answer to a first try was lost" in done.stderr, "a lost answer: the second try is "
                   "refused, and says how that may be", f"{done.returncode} {done.stderr}")
            did(client.put(d.port, f"--pin={fp}"), "the first had been taken")
            lost += 1
        tap.ok(lost > 0, "some answers were lost")


def check_plaintext():
    """It is about nobody: what asks who somebody is does not go with it."""
    client = Client()
    for options in (("--pin=" + NEVER,), ("--accept-new",), ("--ca=x",), ("-i", "x")):
        done = client.put(1, "--plaintext", *options)
        tap.ok(done.returncode == 2, f"--plaintext and {options[0]} do not go together", done.stderr)
    tap.ok(not os.path.exists(client.config), "and make no identity")


def main():
    if not shutil.which("openssl"):
        tap.skip_all("openssl is missing")
    run(check_new, check_pin, check_changed, check_known_hosts, check_together, check_question,
        check_patience, check_signal, check_authority, check_bad_certificates, check_weak_servers,
        check_join, check_join_unused, check_join_lost, check_plaintext)


if __name__ == "__main__":
    main()
