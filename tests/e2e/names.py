#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names: any byte but '/' and NUL arrives as it is, and none of them reaches a terminal or a log raw."""
import contextlib
import os
import re

from harness import (LONG, RESERVED, Daemon, at, cp, did, new_seed, random, read, run, scratch,
                     tap, tree_diff, write)

ESC = b"\x1b[31mred\x1b]0;title\x07"
CONTROLS = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")  # all but newline

HOSTILE = [
    b"new\nline", b"\n", b"\xff", b"\xff\xfe\x80 not UTF-8", b"-r", b"--help", b"-", b" ", b"~", b"a:b",
    b"host:file", b"back\\slash", b"\\n", b"'\"`$(id)", b"*?[x]", b"...", b".hidden", b"tab\there",
    b"\r", b"\x7f", ESC, "ünïcødé \u202e \U0001f600".encode(), b"x" * 255, b"\xff" * 255,
    (".sockd-partial" + "x").encode(), b".sockd-partia", b"%s%n",
]


def write_hostile(top):
    top = os.fsencode(top)
    for name in HOSTILE:
        write(top + b"/files/" + name, name)
        os.makedirs(top + b"/dirs/" + name)
        write(top + b"/dirs/" + name + b"/f", b"1")
        os.makedirs(top + b"/links", exist_ok=True)
        os.symlink(b"../files/" + name, top + b"/links/" + name)
    for byte in range(1, 256):
        if byte not in b"./":
            write(top + b"/bytes/" + bytes([byte]), bytes([byte]))


def check_hostile_names():
    src, back = scratch(), scratch()
    write_hostile(src)
    with Daemon() as d:
        did(cp("-r", "put", src, at("t"), daemon=d), "hostile names: put")
        differ = tree_diff(src, f"{d.root}/t")
        tap.ok(not differ, "they arrive", differ)
        did(cp("-r", "get", at("t"), f"{back}/t", daemon=d), "get")
        differ = tree_diff(src, f"{back}/t")
        tap.ok(not differ, "and come back", differ)
        for name in HOSTILE:
            local = b"./" + name
            done = cp("put", "--", local, at(b"one/" + name), daemon=d, cwd=f"{src}/files")
            did(done, f"{name!r} by its name")
            tap.ok(read(os.fsencode(d.root) + b"/one/" + name) == name, "arrives")
        tap.ok(not CONTROLS.search(read(d.log)), "the log has no control characters")


def check_long_and_deep():
    src, back = scratch(), scratch()
    deep = "/".join(f"level{n}" for n in range(40))
    write(f"{src}/{deep}/bottom", "here")
    long = "/".join("y" * 255 for _ in range(12))  # 3,072 bytes
    write(f"{src}/{long}/f", "far")
    with Daemon() as d:
        did(cp("-r", "put", src, at("t"), daemon=d), "40 levels and 3,000 bytes deep: put")
        did(cp("-r", "get", at("t"), f"{back}/t", daemon=d), "get")
        differ = tree_diff(src, f"{back}/t")
        tap.ok(not differ, "they are the same", differ)
        done = cp("put", f"{src}/{deep}/bottom", at("z" * 256), daemon=d)
        did(done, "a name of 256 bytes is refused as usage", 2)
        tap.ok("too long" in done.stderr, "and why is said", done.stderr)
        done = cp("put", f"{src}/{deep}/bottom", at("/".join("d" for _ in range(257))), daemon=d)
        did(done, "257 levels are refused", 2)


def make_deep(top, levels):
    """Deeper than a path can be long."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(b"d", dir_fd=fd)
        below = os.open(b"d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def check_too_deep():
    src, back = scratch(), scratch()
    write(f"{src}/ok", "1")
    make_deep(src, 300)
    with Daemon() as d:
        done = cp("-r", "put", src, at("t"), daemon=d)
        did(done, "a tree that is too deep fails in part: put", 1)
        tap.ok(os.path.exists(f"{d.root}/t/ok"), "the rest arrives", done.stderr)
        tap.ok(done.stderr.count("\n") < 10, "and little is said of it", done.stderr[:2000])
        make_deep(d.root, 300)
        done = cp("-r", "get", at(), f"{back}/t", daemon=d)
        did(done, "get", 1)
        tap.ok(os.path.exists(f"{back}/t/t/ok"), "the rest arrives", done.stderr)


def check_reserved():
    src = scratch()
    write(f"{src}/{RESERVED}/p-0", "partial")
    write(f"{src}/sub/{RESERVED}", "a file of that name")
    write(f"{src}/f", "1")
    os.symlink(f"{RESERVED}/other", f"{src}/way")
    with Daemon() as d:
        did(cp("put", f"{src}/f", at(RESERVED), daemon=d), "the reserved name: put to it", 2)
        did(cp("put", f"{src}/f", at(f"a/{RESERVED}/b"), daemon=d), "put below it", 2)
        write(f"{d.root}/{RESERVED}/p-{64 * '0'}", "secret of another")
        write(f"{d.root}/{RESERVED}/other", "secret of another")
        write(f"{d.root}/given", "1")
        write(f"{d.root}/sub/{RESERVED}", "a file of that name")
        did(cp("get", at(f"{RESERVED}/other"), ".", daemon=d, cwd=src), "get from it", 2)
        done = cp("-r", "get", at(), "got", daemon=d, cwd=src)
        did(done, "get of everything", 1)
        tap.ok(sorted(os.listdir(f"{src}/got")) == ["given", "sub"] and
               not os.listdir(f"{src}/got/sub"), "leaves it out", os.listdir(f"{src}/got"))
        tap.ok(done.stderr.startswith("sockcp: sub: not a valid path; ")
               and done.stderr.count("\n") == 2, "and names what is no partial", done.stderr)
        done = cp("-r", "put", src, at("t"), daemon=d)
        did(done, "put of everything", 1)
        tap.ok(os.path.exists(f"{d.root}/t/f") and not os.path.lexists(f"{d.root}/t/{RESERVED}")
               and not os.path.lexists(f"{d.root}/t/sub/{RESERVED}"), "leaves it out")
        tap.ok("/way: the path leaves the tree" in done.stderr and
               not os.path.lexists(f"{d.root}/t/way"), "a link is no way into it", done.stderr)
        tap.ok(f"/sub/{RESERVED}: not a valid path" in done.stderr and done.stderr.count("\n") == 3,
               "and names what is no partial", done.stderr)


def escaped_well(text):
    return not CONTROLS.search(text) and ESC not in text


def check_messages():
    src = scratch()
    name = b"evil" + ESC + b"\nsockcp: all is well\xff"
    shown = rb"evil\x1b[31mred\x1b]0;title\x07\nsockcp: all is well\xff"
    with Daemon() as d:
        done = cp("put", b"./" + name, at("x"), daemon=d, cwd=src)
        did(done, "what is not there: put", 7)
        said = os.fsencode(done.stderr)
        tap.ok(said == b"sockcp: ./" + shown + b": no such file or directory; check the name\n",
               "one line: program, file, why, what to do", said)
        done = cp("get", at(name), "x", daemon=d, cwd=src)
        did(done, "get", 5)
        said = os.fsencode(done.stderr)
        tap.ok(said.startswith(b"sockcp: " + shown + b": no such file or directory on the server; ")
               and said.count(b"\n") == 1 and escaped_well(said), "is said the same way", said)
        done = cp("put", b"x", name, daemon=d)
        done = cp("put", b"x", b"x" + ESC, daemon=d)
        did(done, "in a complaint about usage", 2)
        tap.ok(escaped_well(os.fsencode(done.stderr)), "it is escaped too", done.stderr)
        os.makedirs(os.fsencode(d.root) + b"/" + name)
        write(src + "/f", "1")
        did(cp("put", src + "/f", at(name + b"/f"), daemon=d), "into a hostile directory")
        log = read(d.log)
        tap.ok(shown.replace(b'"', b'\\"') in log and escaped_well(log),
               "the daemon's log has it escaped", log)
        tap.ok(b"\nsockcp: all is well" not in log, "and on one line")


def check_output_escapes():
    """Digests on stdout are for programs: as they are; --json is JSON."""
    src = scratch()
    write(os.fsencode(src) + b"/" + ESC, "1")
    with Daemon() as d:
        done = cp("-n", "put", b"./" + ESC, at("x"), daemon=d, cwd=src)
        did(done, "dry run of a hostile name")
        tap.ok(escaped_well(os.fsencode(done.stderr)), "is escaped", done.stderr)
        done = cp("--progress=always", "put", b"./" + ESC, at("x"), daemon=d, cwd=src)
        tap.ok(ESC not in os.fsencode(done.stderr), "in the progress line too", done.stderr)
        done = cp("--json", "put", b"./" + ESC, at("x"), daemon=d, cwd=src)
        tap.ok(escaped_well(done.data), "in JSON too", done.stdout)


def check_random_names():
    seed = new_seed()
    rng = random.Random(seed)
    for _ in range(20 if LONG else 2):
        src, back = scratch(), scratch()
        top = os.fsencode(src)
        dirs = [top]
        for _ in range(60):
            name = bytes(rng.choice(range(1, 256)) for _ in range(rng.randint(1, 40)))
            path = os.path.join(rng.choice(dirs), name.replace(b"/", b"_"))
            with contextlib.suppress(FileExistsError, IsADirectoryError):
                if rng.random() < 0.3:
                    os.mkdir(path)
                    dirs.append(path)
                else:
                    write(path, rng.randbytes(rng.randint(0, 3000)))
        with Daemon() as d:
            did(cp("-r", "put", src, at("t"), daemon=d), "random names: put")
            did(cp("-r", "get", at("t"), f"{back}/t", daemon=d), "get")
            differ = tree_diff(src, f"{back}/t")
            tap.ok(not differ, "they are the same", differ)


run(check_hostile_names, check_long_and_deep, check_too_deep, check_reserved, check_messages,
    check_output_escapes, check_random_names)
