# SPDX-License-Identifier: GPL-3.0-or-later
"""A client and a server that know only sockd-protocol(7), by way of spec.py.

Not a test itself; secondimpl.py and breaches.py are.
"""
import contextlib
import socket
import threading

import spec
from harness import CHECKPOINT, MIB, SLOW, tap

TIMEOUT = 20 * SLOW
RUN = bytes(range(16))
OTHER_RUN = bytes(range(100, 116))
TAG = bytes(range(16, 32))
NO_TAG = bytes(16)
WHEN = (1700000000, 500000000)
ASK, PUT, LIST = (spec.page.values[name] for name in ("ASK", "PUT", "LIST"))
OFFER = {kind: name for name, kind in spec.page.values["OFFER"].items()}
ENTRY = {kind: name for name, kind in spec.page.values["ENTRY"].items()}
ERROR = {code: name for name, code in spec.page.errors.items()}


def flags(table, names):
    return sum(table[name] for name in names.split())


class Client(spec.Connection):
    """Greeted, unless GREET is false; each request waits for its answer.  SOCK is a
    connection to DAEMON that was made already, by way of TLS."""

    def __init__(self, daemon, run_id=RUN, chunk=MIB, greet=True, narrow=False, sock=None):
        super().__init__(sock or spec.connect(daemon.port, TIMEOUT, narrow), "client", chunk)
        self.last = 0
        if not greet:
            return
        self.send_raw(spec.PREFACE + self.greet(65535, run_id, b"second client"))
        if self.read_preface() != spec.PREFACE:
            raise spec.Breach("preface")
        self.hello = self.receive().values
        self.chunk = min(chunk, self.hello["chunk_size"])

    def next_id(self):
        self.last += 1
        return self.last

    def request(self, name, **values):
        ident = self.next_id()
        self.send(name, ident, **values)
        return ident

    def answer(self, ident):
        """The next message, which must be for IDENT; an ERROR as its name."""
        message = self.receive()
        if message.id != ident:
            raise spec.Breach(f"{message} is not for {ident}")
        return message._replace(name=error_name(message)) if message.name == "ERROR" else message

    def flush(self):
        """What FLUSH gives: the answers before its own."""
        ident = self.request("FLUSH")
        answers = []
        while (message := self.receive()).id != ident:
            answers.append(message)
        assert message.name == "OK", message
        return answers

    def put(self, path, data, how="PARENTS", tag=NO_TAG, ident=None, alg=1, **file):
        """A whole upload: what DONE says, or the name of its error."""
        ident = ident or self.next_id()
        self.send("PUT", ident, flags=flags(PUT, how), alg=alg, tag=tag, path=path)
        self.send_file(ident, data, **file)
        return self.put_answer(ident)

    def put_answer(self, ident):
        answers = self.flush()
        if len(answers) != 1 or answers[0].id != ident:
            raise spec.Breach(f"one answer for {ident} expected: {answers}")
        return answers[0].values if answers[0].name == "DONE" else error_name(answers[0])

    def put_part(self, path, data, size, tag=TAG, how="RESUMABLE"):
        """The beginning of an upload of SIZE bytes: up to a checkpoint, and not ended."""
        ident = self.request("PUT", flags=flags(PUT, how), alg=1, tag=tag, path=path)
        self.send("FILE", ident, size=size, offset=0, mode=0o600, mtime=WHEN)
        for start in range(0, len(data), self.chunk):
            self.send_raw(spec.frame("DATA", ident, data[start:start + self.chunk]))
            end = start + self.chunk
            if end % CHECKPOINT == 0:
                self.send("CHECK", ident, offset=end, digest=spec.sha256(data[:end]))
        return ident

    def ask(self, path, how, size=0, mtime=WHEN, tag=TAG):
        """(id, kind of the offer or name of the error, offset, proof)"""
        ident = self.request("ASK", flags=flags(ASK, how), size=size, mtime=mtime, tag=tag, path=path)
        message = self.answer(ident)
        if message.name != "OFFER":
            return ident, message.name, 0, None
        kind, offset = OFFER[message.values["kind"]], message.values["offset"]
        proof = self.answer(ident).values["digest"] if kind in ("PARTIAL", "WHOLE") else None
        return ident, kind, offset, proof

    def get(self, path, have=b"", proof=None, alg=1):
        """(the FILE, its bytes), or the name of an error."""
        ident = self.request("GET", alg=alg, offset=len(have), path=path)
        if have:
            self.send("PROOF", ident, digest=proof or spec.sha256(have))
        message = self.answer(ident)
        if message.name != "FILE":
            return message.name
        data, last = self.receive_file(message.values, have)
        return (message.values, data) if last.name == "END" else error_name(last)

    def list(self, path=b"", how="", most=0, parts=None):
        """The entries, or the name of an error."""
        ident = self.request("LIST", flags=flags(LIST, how), max=most, path=path)
        entries = []
        while True:
            message = self.answer(ident)
            if message.name == "ENTRY":
                entries.append(message.values)
            elif message.name != "LISTED":
                return message.name
            elif not message.values["more"]:
                return entries
            else:
                ident = self.request("NEXT", max=most)
                if parts is not None:
                    parts.append(len(entries))

    def stat(self, path):
        """The ENTRY, or the name of an error."""
        message = self.answer(self.request("STAT", path=path))
        return message.values if message.name == "ENTRY" else message.name

    def hang_up(self):
        """Sends no more, and waits until the server has taken note of that."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)  # with TLS: of what carries it
        with contextlib.suppress(EOFError, OSError):
            self.receive()
            raise spec.Breach("the server goes on")

    def tree(self, name, **values):
        """MKDIR, LINK or ATTR: OK, or the name of an error."""
        ident = self.request(name, **values)
        answers = self.flush()
        assert [message.id for message in answers] == [ident], answers
        return "OK" if answers[0].name == "OK" else error_name(answers[0])


def error_name(message):
    return ERROR.get(message.values["code"], message.values["code"])


def the_end(client):
    """The name of the ERROR with id 0 that ends the connection, or how else it ended."""
    try:
        while (message := client.receive()).name != "ERROR" or message.id != 0:
            pass
        with contextlib.suppress(ConnectionResetError, EOFError):
            client.receive()
            return "not the end"
        return error_name(message)
    except (EOFError, OSError) as error:
        return repr(error)


def equal(found, wanted, name):
    return tap.ok(found == wanted, name, f"found {str(found)[:800]}\nwanted {str(wanted)[:800]}")


class Server:
    """Serves FILES, a {path: bytes}, to sockcp, one connection at a time; with TLS when it
    has a context for it."""

    def __init__(self, files=None, lie=None, tls=None):
        self.files = dict(files or {})
        self.tls = tls
        self.secret = None  # of an invitation
        self.clients = []  # the certificates they showed
        self.lie = lie  # which rule this server breaks
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.fault = None
        self.asked = []

    def __enter__(self):
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(TIMEOUT)

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(TIMEOUT)
            with sock, contextlib.suppress(EOFError, OSError):
                try:
                    self.serve(spec.Connection(self.begin_tls(sock) if self.tls else sock, "server"))
                except spec.Breach as breach:
                    self.fault = str(breach)

    def begin_tls(self, sock):
        sock = self.tls.wrap_socket(sock, server_side=True)
        self.clients.append(sock.getpeercert(binary_form=True))
        return sock

    def serve(self, c):
        self.greet(c)
        while True:
            request = c.receive()
            self.asked.append(request.name)
            self.answer(c, request)

    def greet(self, c):
        if c.read_preface() != spec.PREFACE:
            raise spec.Breach("preface")
        c.send_raw(b"sockd/9\n" if self.lie == "version" else spec.PREFACE)
        c.send_raw(c.greet(64, bytes(16), b"second server"))
        c.chunk = min(c.chunk, c.receive().values["chunk_size"])

    def answer(self, c, request):
        getattr(self, "serve_" + request.name.lower())(c, request.id, request.values)

    def serve_flush(self, c, ident, _):
        c.send("OK", ident, durability=1)

    def serve_ask(self, c, ident, ask):
        kind = spec.page.values["OFFER"]["SAME" if self.lie == "unasked offer" else "NONE"]
        del ask
        c.send("OFFER", ident, kind=kind, offset=0)

    def serve_put(self, c, ident, put):
        data, last = c.receive_file(c.receive().values)
        if last.name != "END":
            c.send_error("ERROR", ident, "MISMATCH" if last.name == "wrong" else "ABORTED")
            return
        self.files[put["path"]] = data
        digest = bytes(32) if self.lie == "digest" else last.values["digest"]
        c.send("DONE", ident, durability=1, size=len(data), digest=digest)

    def serve_get(self, c, ident, get):
        proof = c.receive().values["digest"] if get["offset"] else b""
        data = self.files.get(get["path"])
        if data is None:
            c.send_error("ERROR", ident, "NOT_FOUND")
            return
        offset = get["offset"] if proof == spec.sha256(data[:get["offset"]]) else 0
        if self.lie == "digest":
            c.send("FILE", ident, size=len(data), offset=0, mode=0o644, mtime=WHEN)
            c.send_raw(spec.frame("DATA", ident, data[::-1]))
            c.send("END", ident, offset=len(data), digest=spec.sha256(data))
        else:
            c.send_file(ident, data, offset, mode=0o640, mtime=WHEN)

    def serve_list(self, c, ident, listing):
        path = listing["path"]
        for name in self.names(path):
            self.send_entry(c, ident, "FILE", self.files[path + b"/" + name], name)
        c.send("LISTED", ident, more=0)

    def serve_stat(self, c, ident, stat):
        path = stat["path"]
        if path in self.files:
            self.send_entry(c, ident, "FILE", self.files[path], b"")
        elif self.names(path):
            self.send_entry(c, ident, "DIR", b"", b"")
        else:
            c.send_error("ERROR", ident, "NOT_FOUND")

    def serve_join(self, c, ident, join):
        if not self.clients or not self.clients[-1] or join["secret"] != self.secret:
            c.send_error("ERROR", ident, "DENIED")
            c.send_error("ERROR", 0, "DENIED")
            raise EOFError
        self.secret = None
        c.send("OK", ident, durability=1)

    def names(self, path):
        found = [p[len(path) + 1:] for p in self.files if p.startswith(path + b"/")]
        return sorted(found, reverse=self.lie == "order")

    @staticmethod
    def send_entry(c, ident, kind, data, path):
        c.send("ENTRY", ident, kind=spec.page.values["ENTRY"][kind], code=0, size=len(data), mode=0o755,
               mtime=WHEN, path=path, target=b"")
