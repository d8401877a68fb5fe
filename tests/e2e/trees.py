#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees: what is in them, their modes and times, and the links that would lead out of them."""
import contextlib
import os
import socket
import stat

from harness import (CHECKPOINT, RESERVED, Daemon, at, cp, did, random_bytes, read, run, scratch,
                     tap, tree_diff, tree_read, wait_for, write)

OLD = 1_000_000_000_123_456_789  # nanoseconds: in 2001


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def attributes(top):
    return {path: (mode_of(f"{top}/{path}"), os.stat(f"{top}/{path}").st_mtime_ns)
            for path in map(os.fsdecode, tree_read(top)) if not os.path.islink(f"{top}/{path}")}


def check_shapes():
    src, back = scratch(), scratch()
    os.makedirs(f"{src}/empty/in/empty")
    for n in range(1500):  # more than a batch, a listing part and the slots of a client
        write(f"{src}/many/{n % 7}/{n}", str(n) * (n % 50))
    write(f"{src}/big", random_bytes(3, CHECKPOINT + 1))
    os.makedirs(f"{src}/many/5/below")
    with Daemon() as d:
        done = cp("-r", "put", src, at("t"), daemon=d)
        did(done, "a tree of 1,501 files: put")
        tap.ok(done.stderr.startswith("1501 files, "), "the summary counts files", done.stderr)
        differ = tree_diff(src, f"{d.root}/t")
        tap.ok(not differ, "it arrives, empty directories too", differ)
        did(cp("-r", "get", at("t"), f"{back}/t", daemon=d), "get")
        differ = tree_diff(src, f"{back}/t")
        tap.ok(not differ, "it comes back", differ)
        did(cp("-r", "get", at("t/empty"), at("t/many/3"), at("t/big"), f"{back}/some/", daemon=d),
            "several trees and files: get")
        differ = tree_diff(f"{src}/many/3", f"{back}/some/3")
        tap.ok(not differ and os.path.isdir(f"{back}/some/empty/in/empty")
               and os.path.isfile(f"{back}/some/big"), "they are there", differ)
        write(f"{src}/many/3/3", "changed")
        write(f"{d.root}/t/own", "not of the client")
        did(cp("-r", "put", f"{src}/.", at("t"), daemon=d), "the same over it")
        tap.ok(read(f"{d.root}/t/many/3/3") == b"changed" and os.path.exists(f"{d.root}/t/own"),
               "replaces what differs and leaves what is not its own")
        wait_for(lambda: not os.path.exists(f"{d.root}/{RESERVED}"), what="nothing unfinished")


def make_attributes(top):
    for name, mode in (("a", 0o600), ("b", 0o755), ("c", 0o444), ("s", 0o4755), ("g", 0o2755),
                       ("big", 0o640)):
        data = random_bytes(1, CHECKPOINT + 5) if name == "big" else name
        os.chmod(write(f"{top}/{name}", data), mode)
    for name, mode in (("d", 0o700), ("t", 0o1777), ("ro", 0o555), ("ro/in", 0o555)):
        os.makedirs(f"{top}/{name}", exist_ok=True)
        write(f"{top}/{name}/f", name)
    for name, mode in (("d", 0o700), ("t", 0o1777), ("ro/in", 0o555), ("ro", 0o555)):
        os.chmod(f"{top}/{name}", mode)
    for n, path in enumerate(sorted(tree_read(top), reverse=True)):
        os.utime(os.fsencode(top) + b"/" + path, ns=(OLD, OLD + n))


def compare_preserved(what, want, found):
    plain = {path: (mode & 0o777, time) for path, (mode, time) in want.items()}
    differ = "\n".join(f"{path}: {plain.get(path)} / {found.get(path)}" for path in plain
                       if plain[path] != found.get(path))
    tap.ok(not differ, f"{what}: modes and times to the nanosecond are kept", differ)
    tap.ok(not any(mode & 0o7000 for mode, _ in found.values()),
           f"{what}: setuid, setgid and sticky are not")


def check_preserve():
    src, back = scratch(), scratch()
    make_attributes(src)
    os.chmod(src, 0o750)
    os.utime(src, ns=(OLD, OLD))
    with Daemon() as d:
        did(cp("-rp", "put", src, at("t"), daemon=d), "-p: put")
        compare_preserved("put -p", attributes(src), attributes(f"{d.root}/t"))
        top = os.stat(f"{d.root}/t")
        tap.ok((stat.S_IMODE(top.st_mode), top.st_mtime_ns) == (0o750, OLD), "of the top, too")
        did(cp("-rp", "get", at("t"), f"{back}/t", daemon=d), "-p: get")
        compare_preserved("get -p", attributes(src), attributes(f"{back}/t"))
        top = os.stat(f"{back}/t")
        tap.ok((stat.S_IMODE(top.st_mode), top.st_mtime_ns) == (0o750, OLD), "of the top, too")
        did(cp("-rp", "put", f"{src}/.", at("t"), daemon=d), "-p over it: read-only directories")
        compare_preserved("again", attributes(src), attributes(f"{d.root}/t"))

        os.chmod(f"{d.root}/t/s", 0o4755)
        did(cp("-p", "get", at("t/s"), f"{back}/s", daemon=d), "-p: get of a setuid file")
        tap.ok(mode_of(f"{back}/s") == 0o755, "makes none", oct(mode_of(f"{back}/s")))


def check_not_preserved():
    src, back = scratch(), scratch()
    make_attributes(src)
    mask = os.umask(0o027)  # of the daemon and of the client
    try:
        with Daemon() as d:
            did(cp("-r", "put", src, at("t"), daemon=d), "without -p: put")
            did(cp("-r", "get", at("t"), f"{back}/t", daemon=d), "get")
            did(cp("put", "-", at("stdin"), daemon=d, input="1"), "put of a stream")
            tap.ok(mode_of(f"{d.root}/stdin") == 0o640, "has the usual mode less the umask",
                   oct(mode_of(f"{d.root}/stdin")))
            for top in (f"{d.root}/t", f"{back}/t"):
                wrong = [path for path, (mode, time) in attributes(top).items()
                         if mode & 0o7027 or time < OLD + 10**18 // 10]
                tap.ok(not wrong, "modes obey the umask, times are new", wrong)
            tap.ok(mode_of(f"{d.root}/t/b") == 0o750 and mode_of(f"{d.root}/t/a") == 0o600,
                   "what was executable or private still is")
    finally:
        os.umask(mask)


def make_links(top):
    """Links by name: those that stay inside, and those that do not."""
    outside = scratch()
    write(f"{outside}/secret", "secret")
    write(f"{top}/f", "inside")
    write(f"{top}/d/g", "inside")
    inside = {"plain": "f", "down": "d/g", "dir": "d", "d/up": "../f", "dangling": "nothing",
              "d/deep/up": "../../d/g"}
    out = {"absolute": f"{outside}/secret", "climbs": f"../{os.path.basename(outside)}/secret",
           "d/climbs": "../../x", "late": "d/../../x", "root": "/",
           # Where it leads depends on what the directories before the ".." are.
           "round": "d/../f",
           # By its letters it stays; by the way the kernel takes, it does not.
           "via": "dir/../../x", "through": "absolute-dir/secret"}
    os.makedirs(f"{top}/d/deep")
    os.symlink(outside, f"{top}/absolute-dir")
    for name, target in (inside | out).items():
        os.symlink(target, f"{top}/{name}")
    os.mkfifo(f"{top}/fifo")
    with socket.socket(socket.AF_UNIX) as s, contextlib.chdir(top):
        s.bind("sock")
    return inside, out | {"absolute-dir": outside}


def check_links_of(what, done, dest, inside, out):
    did(done, f"{what}: in part", 1)
    tap.ok(all(os.path.islink(f"{dest}/{name}") and os.readlink(f"{dest}/{name}") == target
               for name, target in inside.items()), f"{what}: links that stay inside arrive as links")
    tap.ok(not any(os.path.lexists(f"{dest}/{name}") for name in out),
           f"{what}: those that lead out do not", sorted(os.listdir(dest)))
    unnamed = [name for name in out if f"/{name}: the path leaves the tree; " not in done.stderr]
    tap.ok(not unnamed, f"{what}: and each is named", f"{unnamed}\n{done.stderr}")
    tap.ok(all(f"/{name}: not a regular file" in done.stderr for name in ("fifo", "sock")) and
           not os.path.lexists(f"{dest}/fifo"), f"{what}: sockets and fifos are named and left out",
           done.stderr)
    tap.ok(read(f"{dest}/f") == b"inside" and read(f"{dest}/d/g") == b"inside",
           f"{what}: the files arrive")
    tap.ok(done.stderr.count("\n") == len(out) + 3, f"{what}: nothing else is said", done.stderr)


def check_links():
    src, back = scratch(), scratch()
    with Daemon() as d:
        inside, out = make_links(src)
        done = cp("-r", "put", src, at("t"), daemon=d)
        check_links_of("put", done, f"{d.root}/t", inside, out)
        os.mkdir(f"{d.root}/made")
        inside, out = make_links(f"{d.root}/made")
        done = cp("-r", "get", at("made"), f"{back}/t", daemon=d)
        check_links_of("get", done, f"{back}/t", inside, out)
        done = cp("put", f"{src}/fifo", at("x"), daemon=d)
        did(done, "a fifo by its name", 7)
        done = cp("get", at("made/fifo"), f"{back}/x", daemon=d)
        did(done, "a fifo of the server", 8)


def check_served_root():
    """Who comes by way of a link of the server's gets what is below the root, and no more."""
    back, outside = scratch(), scratch()
    write(f"{outside}/secret", "secret")
    with Daemon() as d:
        write(f"{d.root}/d/f", "given")
        for name, target in (("in", "d/f"), ("dir", "d"), ("d/up", "../in"),
                             ("out", f"{outside}/secret"), ("outdir", outside),
                             ("climb", f"../{os.path.basename(outside)}"), ("loop", "loop"),
                             ("proc", "/proc/self/root")):
            os.symlink(target, f"{d.root}/{name}")
        for path in ("in", "dir/f", "d/up"):
            did(cp("get", at(path), f"{back}/f", daemon=d), f"get {path}: inside")
            tap.ok(read(f"{back}/f") == b"given", "it is followed")
        for path in ("out", "outdir/secret", "climb/secret", "loop", "proc/etc/hostname"):
            done = cp("get", at(path), f"{back}/no", daemon=d)
            did(done, f"get {path}: outside", 8)
            tap.ok("the path leaves the tree" in done.stderr and not os.path.exists(f"{back}/no"),
                   "it is not followed", done.stderr)
            done = cp("-r", "get", at(os.path.dirname(path) or path), f"{back}/no", daemon=d)
            tap.ok(done.returncode == 8, "nor as a tree", done.stderr)
        write(f"{back}/new", "new")
        for path in ("outdir/new", "climb/new", "proc/tmp/new", "outdir/"):
            done = cp("put", f"{back}/new", at(path), daemon=d)
            tap.ok(done.returncode == 8, f"put {path} is refused", done.stderr)
        did(cp("put", f"{back}/new", at("dir/new"), daemon=d), "put by way of a link inside")
        tap.ok(read(f"{d.root}/d/new") == b"new", "arrives")
        did(cp("put", f"{back}/new", at("out"), daemon=d), "put over a link that leads out")
        tap.ok(not os.path.islink(f"{d.root}/out") and read(f"{d.root}/out") == b"new",
               "replaces the link")
        tap.ok(os.listdir(outside) == ["secret"] and read(f"{outside}/secret") == b"secret",
               "and nothing outside has changed")


def check_conflicts():
    """A name is taken by something of another kind: said, and the rest goes on."""
    src, back = scratch(), scratch()
    write(f"{src}/a/f", "1")
    write(f"{src}/b", "2")
    os.symlink("b", f"{src}/l")
    with Daemon() as d:
        write(f"{d.root}/t/a", "a file where a directory comes")
        os.makedirs(f"{d.root}/t/b/in")
        write(f"{d.root}/t/l", "a file where a link comes")
        done = cp("-r", "put", f"{src}/.", at("t"), daemon=d)
        tap.ok(done.returncode in (1, 8) and "/a: " in done.stderr and "/b: " in done.stderr,
               "put: conflicts are named", f"{done.returncode} {done.stderr}")
        tap.ok(os.path.isfile(f"{d.root}/t/a") and os.path.isdir(f"{d.root}/t/b/in"),
               "what was there is as it was")
        tap.ok(os.path.islink(f"{d.root}/t/l"), "a link replaces a file")
        os.makedirs(f"{back}/t/f/in")
        write(f"{d.root}/u/f", "1")
        write(f"{d.root}/u/g", "1")
        done = cp("get", at("u/f"), at("u/g"), f"{back}/t", daemon=d)
        tap.ok(done.returncode == 1 and "/f: it is a directory" in done.stderr,
               "get: conflicts are named", f"{done.returncode} {done.stderr}")
        tap.ok(os.path.isdir(f"{back}/t/f/in") and os.path.isfile(f"{back}/t/g"),
               "what was there is as it was, and the rest arrives")


run(check_shapes, check_preserve, check_not_preserved, check_links, check_served_root,
    check_conflicts)
