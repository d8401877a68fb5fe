# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a program reached for: a log of strace, read call by call.

Not a test itself; hostile_names.py is.
"""
import contextlib
import functools
import glob
import os
import re
import subprocess

from harness import wait_for

# strace prints a descriptor as 5</its/path>; < and > in a path are escaped.
FD = rb"(?:AT_FDCWD|\d+)<((?:[^<>\\]|\\.)*)>(?:\(deleted\))?"
TEXT = rb'"((?:[^"\\]|\\.)*)"'
# The files that a call names: a directory and a path below it; or a path.
BELOW = FD + rb", " + TEXT
SHAPES = {
    **dict.fromkeys(("openat", "openat2", "newfstatat", "statx", "mkdirat", "unlinkat", "readlinkat",
                     "faccessat", "faccessat2", "mknodat", "fchmodat", "fchownat"), BELOW),
    **dict.fromkeys(("renameat", "renameat2", "linkat"), BELOW + rb", " + BELOW),
    "symlinkat": TEXT + rb", " + BELOW,
    "utimensat": FD + rb", (?:" + TEXT + rb"|NULL)",
    **dict.fromkeys(("open", "stat", "lstat", "access", "readlink", "mkdir", "rmdir", "unlink",
                     "truncate", "chmod", "statfs"), TEXT),
}
CALL = re.compile(rb"(\w+)\((.*)\) += (-?\d+|\?)(.*)$", re.S)
SHAPES = {name: re.compile(shape) for name, shape in SHAPES.items()}
RESULT = re.compile(rb"<((?:[^<>\\]|\\.)*)>(?:\(deleted\))?$")
ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.S)
LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}
GUARDED = b"resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_BENEATH}"


@contextlib.contextmanager
def recording(daemon, prefix):
    """What files the threads of DAEMON name goes to PREFIX.N, one for each thread; until
    those that were not there before have ended."""
    threads = f"/proc/{daemon.pid}/task"
    before = len(os.listdir(threads))
    with subprocess.Popen(["strace", "-ff", "-y", "-e", "trace=%file", "-o", prefix,
                           "-p", str(daemon.pid)], stderr=subprocess.PIPE) as tracer:
        try:
            said = tracer.stderr.readline()
            if b" attached" not in said:
                raise ChildProcessError(os.fsdecode(said + tracer.stderr.read()))
            yield
            wait_for(lambda: len(os.listdir(threads)) <= before, what="the end of all threads")
        finally:
            tracer.terminate()


def unescape(text):
    def one(match):
        code = match[1]
        return bytes([int(code, 8)]) if code[:1].isdigit() else LETTERS.get(code, code)

    return ESCAPE.sub(one, text)


@functools.cache
def where_is(directory):
    return os.path.realpath(directory)


class Audit:
    """Looks for calls that reach outside of ALLOWED, a list of paths."""

    def __init__(self, *allowed):
        self.allowed = [os.fsencode(path) for path in allowed]
        self.calls, self.found = 0, []

    def may(self, path):
        return any(path == top or path.startswith(top + b"/") for top in self.allowed)

    def target(self, directory, path, follow):
        """The file that PATH in DIRECTORY is; FOLLOW: also if it is a link."""
        whole = os.path.join(directory, path) if path else directory
        if follow:
            return os.path.realpath(whole)
        above, leaf = os.path.split(whole)
        if leaf in (b"", b".", b".."):
            return os.path.realpath(whole)
        return os.path.join(where_is(above), leaf)

    def named(self, name, arguments):
        """The files that a call names; None when it makes no sense to us."""
        match = SHAPES[name].match(arguments) if name in SHAPES else None
        if not match:
            return None
        texts = [unescape(text or b"") for text in match.groups()]
        if name == "openat2":
            # The kernel sees to the rest: the result is looked at.
            return texts[:1] if GUARDED in arguments else None
        if name == "symlinkat":
            texts = texts[1:]
        follow = not re.search(b"NOFOLLOW|O_EXCL", arguments) and \
            name in ("openat", "newfstatat", "statx", "open", "stat", "access", "utimensat")
        pairs = [(b"/", texts[0])] if len(texts) == 1 else zip(texts[::2], texts[1::2])
        return [self.target(directory, path, follow) for directory, path in pairs]

    def look(self, line):
        match = CALL.match(line)
        if not match:
            if not line.startswith((b"+++ ", b"--- ")):
                self.found.append(line)
            return
        self.calls += 1
        files = self.named(match[1].decode(), match[2])
        if files is not None and int(match[3]) >= 0 and (result := RESULT.search(match[4])):
            files.append(unescape(result[1]))
        if files is None or not all(map(self.may, files)):
            self.found.append(line)

    def read(self, prefix):
        for path in glob.glob(glob.escape(prefix) + ".*"):
            with open(path, "rb") as log:
                for line in log:
                    self.look(line.rstrip(b"\n"))
        return self
