# SPDX-License-Identifier: GPL-3.0-or-later
"""What hostile_server.py and hostile_client.py share: a place where every change is
seen, a look at what a program prints, and a table of behaviours.

Not a test itself.
"""
import concurrent.futures
import hashlib
import os
import re
import stat
import sys
import time
import traceback

from harness import RESERVED, SANITIZED, diag, run, scratch, tap, write

# What a terminal would act upon, and what no decoder takes: it must never be printed as it
# is.  Without NUL and '/', so that it can be a name.
EVIL = b"\x1b]0;owned\x07\x1b[2J\x1b[31m\r\nsockcp: all is well\x08\x7f\xc2\x9b1m\xff\xfe\x9b\xe2\x80"

# Sanitized programs have longer for all: less than harness.SLOW, as most of these wait for
# a timeout of their own.
PACE = 2 if SANITIZED else 1
# Where a program keeps its identity, in a place.
PRIVATE = b"home/config"


def unprintable(data):
    """What is in DATA (bytes) and must not be: control characters other than the end of
    a line, and what is not UTF-8; or None."""
    found = re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", data)
    if found:
        return f"{found[0]!r} in {data[max(0, found.start() - 60):found.end() + 60]!r}"
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return str(error)
    return None


# -- A place where every change is seen ---------------------------------------


def state(path):
    st = os.lstat(path)
    what, mode = stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode)
    if stat.S_ISLNK(st.st_mode):
        return ("link", os.readlink(path))
    if stat.S_ISDIR(st.st_mode):
        return ("dir", mode, st.st_uid, st.st_mtime_ns)
    content = b""
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as f:
            content = f.read() if st.st_size < 65536 else hashlib.file_digest(f, "sha256").digest()
    return ("file" if content or stat.S_ISREG(st.st_mode) else what, mode, st.st_uid, st.st_mtime_ns,
            st.st_size, content)


def snapshot(top):
    """{path below TOP, as bytes: everything there is to know of it}; no link is followed."""
    top = os.fsencode(top)
    found = {b".": state(top)}
    for where, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(where, name)
            found[os.path.relpath(path, top)] = state(path)
    return found


def changes(before, after, written=b"\0", may=None):
    """What is other in AFTER and may not be, a line each.

    PRIVATE is each program's own.  Below WRITTEN, a directory of the place, directories
    may have another time, there may be RESERVED with regular files in it, and a path of
    MAY may have changed: MAY is a {path: states it may be in, where bytes stand for a file
    that holds them, None for nothing}, or a function that tells this of (path, state)."""
    wrong = []
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if was != now and not is_allowed(path, was, now, written, may or {}):
            wrong.append(f"{path!r} was {short(was)}, is {short(now)}")
    return wrong


def short(found):
    return str(found)[:200] if found else "not there"


def is_allowed(path, was, now, written, may):
    if path == PRIVATE or path.startswith(PRIVATE + b"/"):
        return now is None or not now[1] & 0o077
    if path == os.path.dirname(PRIVATE):
        return was and now and was[:3] == now[:3]
    inside = path == written or path.startswith(written + b"/")
    if not inside:
        return False
    if was and now and was[0] == now[0] == "dir" and was[:3] == now[:3]:
        return True
    if os.fsencode(RESERVED) in path.split(b"/"):
        return now is None or now[0] in ("file", "dir")
    if callable(may):
        return may(path, now)
    return path in may and any(is_state(now, allowed) for allowed in may[path])


def is_state(now, allowed):
    if now is None or allowed is None:
        return now is allowed
    if isinstance(allowed, bytes):
        content = allowed if len(allowed) < 65536 else hashlib.sha256(allowed).digest()
        return now[0] == "file" and now[4] == len(allowed) and now[5] == content and not now[1] & 0o7000
    return now[:len(allowed)] == allowed


class Place:
    """A directory TOP with canaries in it, of which WRITTEN is where a program may write."""

    def __init__(self, written):
        self.top = scratch()
        self.written = os.fsencode(written)
        self.outside = f"{self.top}/outside"
        write(f"{self.outside}/canary", "canary")
        write(f"{self.outside}/dir/f", "canary")
        write(f"{self.outside}/dir/.profile", "canary")
        os.chmod(f"{self.outside}/dir/f", 0o600)
        os.symlink("canary", f"{self.outside}/link")
        os.mkdir(f"{self.top}/home", 0o700)
        os.makedirs(f"{self.top}/{written}")
        self.before = None

    def watch(self):
        """From here on nothing may change."""
        self.before = snapshot(self.top)

    def changes(self, may=None):
        return changes(self.before, snapshot(self.top), self.written, may)


# -- A table of behaviours -----------------------------------------------------


def run_program(table, controls, behaviours):
    """As harness.run(); behaviours of TABLE that are named on the command line are run alone."""
    WANTED.extend(name for name in sys.argv[1:] if name in dict(table))
    if WANTED:
        del sys.argv[1:]
        run(behaviours)
    run(controls, behaviours)


WANTED = []


def run_table(table, judge, workers):
    """A test point for each of TABLE, [(name, what to do)]: JUDGE(name, what) returned
    nothing."""
    names = [name for name, _ in table]
    assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]
    table = [row for row in table if not WANTED or row[0] in WANTED]

    def find_fault(row):
        began = time.monotonic()
        try:
            fault = judge(*row)
        except Exception:  # pylint: disable=broad-except
            fault = traceback.format_exc()
        return fault, time.monotonic() - began

    took = []
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for (name, _), (fault, seconds) in zip(table, pool.map(find_fault, table)):
            if isinstance(fault, (list, tuple)):
                fault = "\n".join(map(str, fault))
            tap.ok(not fault, name, str(fault or "")[:6000])
            took.append((seconds, name))
    for seconds, name in sorted(took, reverse=True)[:5]:
        diag(f"{seconds:5.1f} s: {name}")
