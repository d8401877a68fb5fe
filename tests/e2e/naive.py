# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons that lack a layer of their confinement, a directory that is none of their business,
and requests in a row.

Not a test itself: what confine.py, races.py and hostile_names.py share.
"""
import os
import subprocess

from faults import CC, HERE
from harness import scratch, write
from peers import ASK, LIST, NO_TAG, PUT, TAG, flags
from spec import encode, frame, sha256

INSIDE = b"inside\n"
CANARY = b"CANARY: nobody may see this\n"
ALONE = b"only-outside"  # a name that no request has
SECRET_TIME = (1500000000, 0)
SECRET_MODES = {0o604, 0o705}  # of what is outside


def shim():
    """The library that naive.c makes; built when first needed."""
    if not hasattr(shim, "path"):
        shim.path = scratch() + "/naive.so"
        subprocess.run([*CC, "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared",
                        "-o", shim.path, HERE + "/naive.c"], check=True)
    return shim.path


def lacking(root, *words):
    """The environment in which a daemon is as WORDS of naive.c say; ROOT is of make_trees."""
    top = os.path.realpath(os.path.dirname(root))
    return {"LD_PRELOAD": shim(), "SOCKD_NAIVE": ",".join(words), "SOCKD_FENCE": top,
            "SOCKD_OUTSIDE": f"{top}/outside"}


# -- What is outside ---------------------------------------------------------


def make_trees():
    """(root, outside): two directories side by side.  root/d has what outside has, but for
    the canaries; outside has modes and times of its own."""
    top = scratch()
    root, outside = f"{top}/root", f"{top}/outside"
    for where, text in ((f"{root}/d", INSIDE), (outside, CANARY)):
        write(f"{where}/f", text)
        write(f"{where}/s/f", text)
    write(f"{root}/inside", INSIDE)
    write(f"{outside}/canary", CANARY)
    write(f"{outside}/{ALONE.decode()}", CANARY)
    for where, dirs, files in os.walk(outside, topdown=False):
        for name, mode in [(n, 0o604) for n in files] + [(n, 0o705) for n in dirs]:
            os.chmod(f"{where}/{name}", mode)
            os.utime(f"{where}/{name}", (SECRET_TIME[0], SECRET_TIME[0]))
    return root, outside


def state_of(top):
    """{path below TOP: all that changes when somebody writes to it}"""
    found = {}
    for where, dirs, files in os.walk(top):
        for path in [where] + [os.path.join(where, name) for name in dirs + files]:
            st = os.lstat(path)
            text = b""
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as f:
                    text = f.read()
            found[os.path.relpath(path, top)] = (
                st.st_ino, st.st_mode, st.st_uid, st.st_nlink, st.st_size, st.st_mtime_ns,
                st.st_ctime_ns, text)
    return found


def difference(before, after):
    """The paths of two states that are not the same."""
    return sorted(path for path in before.keys() | after.keys()
                  if before.get(path) != after.get(path))


def leaks(answer):
    """Whether ANSWER tells of what is outside."""
    name, values = answer.name, answer.values
    if name == "DATA":
        return b"CANARY" in values
    return (values.get("size") == len(CANARY) or values.get("mtime") == SECRET_TIME
            or values.get("mode") in SECRET_MODES or values.get("digest") == sha256(CANARY)
            or name == "ENTRY" and values["path"].endswith(ALONE))


# -- Requests in a row: each takes its id and gives its frames ----------------


def message(kind, **values):
    return lambda ident: frame(kind, ident, encode(kind, values))


def upload(path, how="", tag=NO_TAG):
    """A PUT with its file."""
    parts = (("PUT", {"flags": flags(PUT, how + " NO_SYNC"), "alg": 1, "tag": tag, "path": path}),
             ("FILE", {"size": len(INSIDE), "offset": 0, "mode": 0o600, "mtime": (1, 0)}))
    end = {"offset": len(INSIDE), "digest": sha256(INSIDE)}
    return lambda ident: (b"".join(frame(kind, ident, encode(kind, values)) for kind, values in parts)
                          + frame("DATA", ident, INSIDE) + frame("END", ident, encode("END", end)))


def get(path):
    return message("GET", alg=1, offset=0, path=path)


def stat(path):
    return message("STAT", path=path)


def listing(path, how="", most=0):
    return message("LIST", flags=flags(LIST, how), max=most, path=path)


def ask(path):
    """Offered whole only if it is what is outside."""
    return message("ASK", flags=flags(ASK, "WHOLE"), size=len(CANARY), mtime=SECRET_TIME, tag=TAG,
                   path=path)


def attr(path):
    return message("ATTR", mode=0o711, mtime=(1, 0), path=path)


def mkdir(path):
    return message("MKDIR", flags=flags(PUT, "NO_SYNC"), mode=0o755, path=path)


def link(path, target, how=""):
    return message("LINK", flags=flags(PUT, how + " NO_SYNC"), path=path, target=target)


def ask_all(client, requests, take):
    """Sends all of REQUESTS, pairs of a name and what builds it, and calls TAKE with the name
    and each part of its answer."""
    owners, raw = {}, []
    for name, request in requests:
        ident = client.next_id()
        owners[ident] = name
        raw.append(request(ident))
    last = client.next_id()
    client.send_raw(b"".join(raw) + frame("FLUSH", last, b""))
    while (answer := client.receive()).id != last:
        take(owners[answer.id], answer)
