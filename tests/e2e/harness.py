# SPDX-License-Identifier: GPL-3.0-or-later
"""What the end-to-end tests share: a daemon, its client, a bad line between them.

Not a test itself.  `import harness` also makes tests/tap.py importable, as
harness.tap.
"""
import atexit
import concurrent.futures
import contextlib
import functools
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402 (needs the line above)

SOCKD = os.environ["SOCKD"]
SOCKCP = os.environ["SOCKCP"]
LONG = bool(os.environ.get("SOCKD_TEST_LONG"))
# Sanitized programs do all of this too, only later, and with fewer at a time.
with open(SOCKD, "rb") as program:
    SANITIZED = re.search(rb"__[at]san_init", program.read()) is not None
SLOW = 8 if SANITIZED else 1  # all time limits are multiplied by it

MIB = 1 << 20
CHECKPOINT = 4 * MIB  # CHECKPOINT_INTERVAL of the wire
RESERVED = ".sockd-partial"
# The whole of a test over TLS instead of plaintext.
TLS = bool(os.environ.get("SOCKD_TEST_TLS"))

# Names that are no text can be found in what is printed.
sys.stdout.reconfigure(errors="backslashreplace")
# By way of what cleans up.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def diag(text):
    """Words for whoever reads the log of the test."""
    print("\n".join(f"# {line}" for line in str(text).splitlines()), flush=True)


def run(*checks):
    """Calls each of CHECKS, or those named on the command line; then ends the
    program.  An exception is a test point that failed."""
    wanted = sys.argv[1:]
    for check in checks:
        if wanted and check.__name__ not in wanted:
            continue
        began = time.monotonic()
        try:
            check()
        except Exception:  # pylint: disable=broad-except
            tap.ok(False, check.__name__, traceback.format_exc())
        diag(f"{check.__name__}: {time.monotonic() - began:.1f} s")
    tap.finish()


def in_parallel(name, work, items, workers=4):
    """A test point for all of ITEMS together: WORK(item) found nothing wrong, that is,
    returned nothing and raised nothing."""
    items = list(items)

    def find_fault(item):
        try:
            return work(item)
        except Exception:  # pylint: disable=broad-except
            return traceback.format_exc()

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        faults = [f"{item}: {fault}" for item, fault in zip(items, pool.map(find_fault, items)) if fault]
    return tap.ok(not faults, f"{name} ({len(items)} times)", "\n".join(faults)[:8000])


def new_seed():
    """A seed, printed so that the test can be had again: SOCKD_TEST_SEED=N."""
    seed = int(os.environ.get("SOCKD_TEST_SEED", 0)) or random.SystemRandom().randrange(1 << 32)
    diag(f"SOCKD_TEST_SEED={seed}")
    return seed


def wait_for(reached, timeout=20, what="it"):
    """Polls until REACHED() is true, and returns what it returned."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = reached()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come about in {timeout * SLOW} s")
        time.sleep(0.005)


def private_homes():
    """Identities and known servers of this test alone."""
    top = tempfile.mkdtemp(prefix="homes.")
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        os.environ[variable] = os.path.join(top, variable.lower())


private_homes()


# -- Files -------------------------------------------------------------------


def scratch():
    """A new directory, removed at the end."""
    path = tempfile.mkdtemp(prefix="e2e.")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def random_bytes(seed, n):
    return random.Random(seed).randbytes(n)


def write(path, data):
    """Makes the file PATH, and the directories on the way; returns PATH."""
    parent = os.path.dirname(path)
    if parent:
        os.makedirs(parent, exist_ok=True)
    with open(path, "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


def digest(path):
    """As sha256sum prints it."""
    sha = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(MIB):
            sha.update(block)
    return sha.hexdigest()


def tree_read(top):
    """{path below TOP: what is there}, names as bytes; the reserved directory is left out."""
    top = os.fsencode(top)
    found = {}
    for where, dirs, files in os.walk(top):
        if os.fsencode(RESERVED) in dirs:
            dirs.remove(os.fsencode(RESERVED))
        for name in dirs + files:
            path = os.path.join(where, name)
            st = os.lstat(path)
            if stat.S_ISLNK(st.st_mode):
                what = ("link", os.readlink(path))
            elif stat.S_ISDIR(st.st_mode):
                what = ("dir",)
            elif stat.S_ISREG(st.st_mode):
                what = ("file", digest(path))
            else:
                what = ("other", stat.S_IFMT(st.st_mode))
            found[os.path.relpath(path, top)] = what
    return found


def tree_diff(a, b):
    """What differs between two trees, a line each: names, kinds, contents, targets of links."""
    ours, theirs = tree_read(a), tree_read(b)
    return "\n".join(f"{path!r}: {ours.get(path)} / {theirs.get(path)}"
                     for path in sorted(ours.keys() | theirs.keys())
                     if ours.get(path) != theirs.get(path))


def tree_equal(a, b):
    return not tree_diff(a, b)


def partials(root):
    """The unfinished transfers below ROOT."""
    path = os.path.join(root, RESERVED)
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.path.join(path, name) for name in os.listdir(path))
    return []


class Watch:
    """Looks at the file PATH all the time while the context lasts: whoever opens it must
    see one of the contents with DIGESTS, whole."""

    def __init__(self, path, *digests):
        self.path, self.digests = path, digests
        self.wrong = []
        self.seen = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        last = None
        while not self.ended.wait(0.002):
            with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as f:
                st = os.fstat(f.fileno())
                now = (st.st_ino, st.st_size, st.st_mtime_ns)
                if now != last:
                    last = now
                    found = hashlib.file_digest(f, "sha256").hexdigest()
                    self.seen.add(found)
                    if found not in self.digests:
                        self.wrong.append(f"{now}: {found}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def ok(self, name):
        return tap.ok(not self.wrong, f"{name}: never a wrong or partial file", self.wrong)


# -- Programs ----------------------------------------------------------------


def child_running(pid, program):
    """The process that runs PROGRAM: PID, or one below it; None."""
    with contextlib.suppress(OSError):
        if os.path.realpath(f"/proc/{pid}/exe") == os.path.realpath(program):
            return pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            for child in children.read().split():
                found = child_running(int(child), program)
                if found:
                    return found
    return None


class Daemon:
    """A sockd that serves ROOT (default: a new directory) while the context lasts.

    PREFIX is put before its command, as in ['strace', ...].  A later option
    overrides an earlier one, so that *ARGS can say --anonymous=read."""

    def __init__(self, *args, root=None, prefix=(), env=None):
        self.root = root or scratch()
        self.args = args
        self.prefix = list(prefix)
        self.env = env
        self.port = 0
        self.pid = None
        self.process = None
        fd, self.log = tempfile.mkstemp(prefix="sockd.", suffix=".log")
        os.close(fd)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process:
            self.kill9()

    def start(self):
        """On the port it had before, if it ran before."""
        size = os.path.getsize(self.log)
        line = [] if TLS else ["--plaintext"]
        command = [*self.prefix, SOCKD, f"--root={self.root}", f"--listen=127.0.0.1:{self.port}",
                   *line, "--anonymous=write", "--penalty-max=0", *self.args]
        env = {**os.environ, **self.env} if self.env else None
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, env=env)

        def listening():
            if self.process.poll() is not None:
                raise ChildProcessError(f"{command} ended:\n{self.log_text()}")
            for line in self.log_text()[size:].splitlines(keepends=True):
                if "listening on " in line and line.endswith("\n"):
                    return int(line.rstrip().rpartition(":")[2])
            return 0

        self.port = wait_for(listening, what="'listening on'")
        self.pid = child_running(self.process.pid, SOCKD) or self.process.pid

    def log_text(self):
        return read(self.log).decode("utf-8", "replace")

    def signal(self, signum):
        os.kill(self.pid, signum)

    def wait(self, timeout=60):
        """Until it has ended; its exit status."""
        status = self.process.wait(timeout * SLOW)
        self.process = self.pid = None
        return status

    def stop(self, timeout=60):
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill9(self):
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        return self.wait()

    def restart(self):
        if self.process:
            self.stop()
        self.start()


def at(path=""):
    """PATH on the server, as sockcp takes it."""
    return b"127.0.0.1:" + os.fsencode(path)


@functools.cache
def server_pin():
    """The identity of all daemons of this test: they have one state directory."""
    done = subprocess.run([SOCKD, "fingerprint"], check=True, stdout=subprocess.PIPE, text=True)
    return "--pin=" + done.stdout.strip()


def cp_command(args, daemon=None, port=None, prefix=()):
    port = port or daemon.port
    return [os.fsencode(arg) for arg in
            (*prefix, SOCKCP, server_pin() if TLS else "--plaintext", "-P", str(port), *args)]


def cp_start(*args, daemon=None, port=None, prefix=(), **options):
    """A sockcp under way, as a Popen; its words go into pipes unless OPTIONS say otherwise."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
               "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(cp_command(args, daemon, port, prefix), **options)


def cp(*args, daemon=None, port=None, input=None, timeout=60, prefix=(), **options):
    """sockcp, run to its end.  Its output is text that os.fsencode() makes bytes of
    again, and .data has what stdout was in bytes."""
    if isinstance(input, str):
        input = input.encode()
    given = {"input": input} if input is not None or "stdin" in options else \
        {"stdin": subprocess.DEVNULL}
    if "stdin" in options:
        given = {}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given, **options}
    done = subprocess.run(cp_command(args, daemon, port, prefix), check=False,
                          timeout=timeout * SLOW, **options)
    done.data = done.stdout or b""
    done.stdout = os.fsdecode(done.data)
    done.stderr = os.fsdecode(done.stderr or b"")
    return done


def did(result, name, status=0):
    """A test point: the command ended with STATUS."""
    return tap.ok(result.returncode == status, name,
                  f"status {result.returncode}, not {status}\n{result.stdout[:2000]}"
                  f"{result.stderr[:4000]}")


# -- The line between them ---------------------------------------------------

UP, DOWN = "up", "down"  # from the client to the server, and back


class Fault:
    """What befalls one connection when the byte at offset AT of one direction passes.

    cut        both ends see the connection end (reset: a RST)
    flip       that byte is changed by MASK; once
    blackhole  nothing passes any more, either way, and nobody is told
    """

    def __init__(self, kind, way, at, mask=0x20, reset=False):
        self.kind, self.way, self.at, self.mask, self.reset = kind, way, at, mask, reset

    def __repr__(self):
        return f"{self.kind} {self.way} at {self.at}, mask {self.mask:#x}, reset {self.reset}"


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy, client, server, fault):
        self.proxy = proxy
        self.ends = {UP: (client, server), DOWN: (server, client)}
        self.counts = {UP: 0, DOWN: 0}  # bytes that went through
        self.fault = fault
        self.dead = threading.Event()  # a black hole
        for way in (UP, DOWN):
            threading.Thread(target=self.pump, args=(way,), daemon=True).start()

    def pump(self, way):
        source, sink = self.ends[way]
        try:
            while data := source.recv(65536):
                if self.proxy.delay:
                    time.sleep(self.proxy.delay)
                data = self.strike(way, data)
                if self.dead.is_set():
                    return  # both sockets stay open, and nobody reads
                sink.sendall(data)
                self.counts[way] += len(data)
                if self.is_cut(way):
                    self.proxy.struck += 1
                    self.cut(self.fault.reset)
                    return
            if not self.dead.is_set():
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            if not self.dead.is_set():
                self.cut()

    def is_cut(self, way):
        fault = self.fault
        return fault and fault.kind == "cut" and fault.way == way and self.counts[way] >= fault.at

    def strike(self, way, data):
        """DATA as the fault leaves it."""
        fault = self.fault
        if not fault or fault.way != way:
            return data
        at = fault.at - self.counts[way]
        if not 0 <= at < len(data):
            return data
        if fault.kind == "cut":
            return data[:at]
        self.proxy.struck += 1
        if fault.kind == "blackhole":
            self.blackhole()
            return b""
        self.fault = None
        return data[:at] + bytes([data[at] ^ fault.mask]) + data[at + 1:]

    def blackhole(self):
        self.dead.set()

    def cut(self, reset=False):
        if reset:
            self.dead.set()
        for end in self.ends[UP]:
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Also wakes the other thread, without which closing would not be the end.
                end.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        if reset:
            for end in self.ends[UP]:
                end.close()


class Proxy:
    """A line to PORT that does what it is told, while the context lasts.

    The n-th connection suffers the n-th of FAULTS (None: nothing); those behind the
    last suffer nothing.  `struck` counts the faults that came about."""

    def __init__(self, port, faults=()):
        self.target = port
        self.faults = list(faults)
        self.links = []
        self.struck = 0
        self.delay = 0  # seconds for each piece
        self.listener = socket.socket()
        # What lies in buffers has been sent, but did not go through: not much of it.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for link in self.links:
            link.blackhole()
            link.cut()
            for end in link.ends[UP]:
                end.close()

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                client = self.listener.accept()[0]
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
                fault = self.faults.pop(0) if self.faults else None
                self.links.append(Link(self, client, server, fault))

    def passed(self, way):
        """Bytes that went through, all connections together."""
        return sum(link.counts[way] for link in self.links)

    def cut_all(self, reset=False):
        for link in list(self.links):
            link.cut(reset)

    def blackhole_all(self):
        for link in list(self.links):
            link.blackhole()
