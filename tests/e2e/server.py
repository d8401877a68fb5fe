#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon is stopped, and its disks are full or read-only; and so are those of the client.

Small file systems are mounted in a mount namespace of the test's own."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys

from harness import (CHECKPOINT, DOWN, MIB, UP, Daemon, Proxy, at, cp, cp_start, did, digest,
                     partials, random_bytes, read, run, scratch, tap, tree_diff, tree_equal, wait_for,
                     write)
from peers import Client, equal, the_end
from sparse import same, sparse


def passed(line, way, n, process):
    wait_for(lambda: line.passed(way) > n or process.poll() is not None, what="the transfer")


def is_refused(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return False
    return True


def check_drain():
    for signum in (signal.SIGTERM, signal.SIGINT):
        for way in (UP, DOWN):
            with Daemon() as d, Proxy(d.port) as line:
                here, there = f"{scratch()}/f", f"{d.root}/f"
                # So large that the daemon is not done before the client is.
                source = write(here if way == UP else there, random_bytes(1, 24 * MIB))
                args = ("put", here, at("f")) if way == UP else ("get", at("f"), here)
                idle = Client(d)
                idle.stat(b"")
                process = cp_start("--limit=16M", *args, port=line.port)
                passed(line, way, 2 * MIB, process)
                d.signal(signum)
                # Of a download the daemon may have sent all by now: the kernel holds a lot.
                wait_for(lambda: "stopping: 2 connections, " in d.log_text(), what="the word")
                tap.ok(is_refused(d.port), f"{signum.name}: nobody else is let in")
                said = process.communicate()[1].decode()
                tap.ok(process.returncode == 0 and "trying again" not in said and digest(source) ==
                       digest(there if way == UP else here), f"the transfer {way} finishes", said)
                equal(the_end(idle), "SHUTDOWN", "a client that asks for nothing is told to come back")
                status = d.wait()
                tap.ok(status == 0 and d.log_text().endswith("stopped\n"), "and the daemon ends with 0",
                       f"{status} {d.log_text()}")


def check_drain_timeout():
    with Daemon("--drain-timeout=1") as d, Proxy(d.port) as line:
        size = 24 * MIB
        source = write(f"{scratch()}/f", random_bytes(2, size))
        process = cp_start("--limit=8M", "--retries=20", "put", source, at("f"), port=line.port)
        passed(line, UP, 6 * MIB, process)
        status = d.stop()
        tap.ok(status == 0, "the drain timeout is over: the daemon ends with 0", f"{status} {d.log_text()}")
        tap.ok("closing 1 connections" in d.log_text(), "the log says so", d.log_text())
        tap.ok(not os.path.exists(f"{d.root}/f") and partials(d.root), "what arrived is kept")
        d.start()
        said = process.communicate()[1].decode()
        tap.ok(process.returncode == 0 and "continuing at" in said and digest(f"{d.root}/f") == digest(source),
               "the client continues when it is back", said)
        tap.ok(line.passed(UP) < size + CHECKPOINT + MIB, "and sends little again", line.passed(UP))


def check_second_signal():
    with Daemon("--drain-timeout=600") as d, Proxy(d.port) as line:
        source = write(f"{scratch()}/f", random_bytes(2, 40 * MIB))
        process = cp_start("--limit=2M", "--retries=0", "put", source, at("f"), port=line.port)
        passed(line, UP, MIB, process)
        d.signal(signal.SIGTERM)
        wait_for(lambda: "stopping: 1 connections" in d.log_text(), what="the word")
        tap.ok(d.process.poll() is None, "one signal lets the transfer go on")
        d.signal(signal.SIGTERM)
        status = d.wait(10)
        tap.ok(status == 0, "a second one ends it at once", f"{status} {d.log_text()}")
        said = process.communicate()[1].decode()
        tap.ok(process.returncode == 3, "the client is told to try again", f"{process.returncode} {said}")


# -- Small disks ---------------------------------------------------------------


def mount(options, *args):
    """A tmpfs with OPTIONS; the namespace takes it with it."""
    where = scratch()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, *args, "tmpfs", where], check=True)
    return where


def remount(where, options):
    subprocess.run(["mount", "-o", f"remount,{options}", where], check=True)


def check_full_server():
    root = mount("size=16m")
    src = scratch()
    for name in ("a", "z"):
        write(f"{src}/{name}", name)
    big = write(f"{src}/big", random_bytes(3, 20 * MIB))
    with Daemon(root=root) as d:
        write(f"{root}/big", "the old one")
        done = cp("put", big, at("big"), daemon=d)
        did(done, "a file larger than the server's disk", 8)
        tap.ok("the server's disk is full" in done.stderr and "needs 20 M, has 16 M" in done.stderr
               and "nothing was changed there, run the same command again" in done.stderr,
               "is refused with what it needs and what there is", done.stderr)
        done = cp("put", "-", at("big"), daemon=d, input=read(big))
        did(done, "the same without a size", 8)
        tap.ok("the server's disk is full" in done.stderr, "fails when it is full", done.stderr)
        tap.ok(read(f"{root}/big") == b"the old one", "and what was there is as it was")
        wait_for(lambda: os.statvfs(root).f_bfree * 4096 > 15 * MIB, what="the room to be free again")
        done = cp("-r", "put", f"{src}/.", at("t"), daemon=d)
        did(done, "in a tree", 1)
        tap.ok(read(f"{root}/t/a") + read(f"{root}/t/z") == b"az", "the others go on", done.stderr)
        remount(root, "size=64m")
        did(cp("-r", "put", f"{src}/.", at("t"), daemon=d), "with more room the same command succeeds")
        tap.ok(tree_equal(src, f"{root}/t"), "and all is there")


def check_sparse():
    """A file with a hole may be larger than the disk that takes it."""
    top = mount("size=16m")
    ours = sparse(f"{scratch()}/f", 1024 * MIB, ((100 * MIB, MIB),))
    os.mkdir(f"{top}/root")
    with Daemon(root=f"{top}/root") as d:
        did(cp("put", ours, at("f"), daemon=d), "put of a file with a hole that is larger than the disk")
        same(ours, f"{top}/root/f", "what is there")
        did(cp("get", at("f"), f"{top}/f", daemon=d), "and get")
        same(ours, f"{top}/f", "what is here")


def check_full_under_way():
    """The disk fills while the file arrives; what was verified waits for room."""
    root = mount("size=24m")
    source = write(f"{scratch()}/f", random_bytes(4, 20 * MIB))
    with Daemon(root=root) as d, Proxy(d.port) as line:
        process = cp_start("--limit=10M", "put", source, at("f"), port=line.port)
        passed(line, UP, 5 * MIB, process)
        write(f"{root}/filler", bytes(12 * MIB))
        said = process.communicate()[1].decode()
        tap.ok(process.returncode == 8 and "the server's disk is full" in said and
               not os.path.exists(f"{root}/f"), "the disk fills under way: exit status 8", said)
        os.unlink(f"{root}/filler")
        before = line.passed(UP)
        done = cp("put", source, at("f"), port=line.port)
        did(done, "with room again the same command succeeds")
        tap.ok(line.passed(UP) - before < 17 * MIB and "were already there" in done.stderr,
               "and continues", f"{line.passed(UP) - before} {done.stderr}")
        tap.ok(digest(f"{root}/f") == digest(source), "and it is right")


def check_no_inodes():
    root = mount("size=16m,nr_inodes=30")
    src = scratch()
    for n in range(40):
        write(f"{src}/{n:02}", str(n))
    with Daemon(root=root) as d:
        done = cp("-r", "put", src, at("t"), daemon=d)
        did(done, "no inodes are left", 1)
        arrived = os.listdir(f"{root}/t")
        tap.ok(10 < len(arrived) < 30 and all(read(f"{root}/t/{n}") == read(f"{src}/{n}") for n in arrived)
               and done.stderr.count("the server's disk is full") == 40 - len(arrived),
               "as many as there is room for arrive, and each other is named",
               f"{arrived} {done.stderr}")
        remount(root, "size=16m,nr_inodes=200")
        did(cp("-r", "put", f"{src}/.", at("t"), daemon=d), "with more of them it succeeds")
        differ = tree_diff(src, f"{root}/t")
        tap.ok(not differ, "and all is there", differ)


def check_read_only_server():
    root = mount("size=16m")
    write(f"{root}/f", "given")
    remount(root, "ro")
    src = scratch()
    write(f"{src}/a", "1")
    with Daemon(root=root) as d:
        done = cp("put", f"{src}/a", at("a"), daemon=d)
        did(done, "a read-only root", 8)
        tap.ok("the server's file system is read-only; nothing was changed there" in done.stderr,
               "is said", done.stderr)
        big = write(f"{src}/big", random_bytes(5, CHECKPOINT + 1))
        did(cp("put", big, at("big"), daemon=d), "a large file", 8)
        did(cp("-r", "put", src, at("t"), daemon=d), "a tree", 8)
        did(cp("get", at("f"), f"{src}/got", daemon=d), "can still be read")


def check_full_client():
    here = mount("size=8m")
    with Daemon() as d:
        write(f"{d.root}/big", random_bytes(6, 12 * MIB))
        write(f"{d.root}/small", "small")
        write(f"{here}/big", "the old one")
        done = cp("get", at("big"), at("small"), here, daemon=d)
        did(done, "the client's disk is full: in part", 1)
        tap.ok("the disk of this machine is full; make room and run the same command again" in done.stderr,
               "it says so", done.stderr)
        tap.ok(read(f"{here}/big") == b"the old one" and read(f"{here}/small") == b"small",
               "what was there is as it was, and the other arrives")
        did(cp("get", at("big"), f"{here}/big", daemon=d), "alone: exit status 7", 7)
        remount(here, "size=64m")
        did(cp("get", at("big"), f"{here}/big", daemon=d), "with more room it succeeds")
        tap.ok(digest(f"{here}/big") == digest(f"{d.root}/big"), "and is right")
    here = mount("size=24m")
    with Daemon() as d, Proxy(d.port) as line:
        source = write(f"{d.root}/f", random_bytes(4, 20 * MIB))
        process = cp_start("--limit=10M", "get", at("f"), f"{here}/f", port=line.port)
        passed(line, DOWN, 6 * MIB, process)
        write(f"{here}/filler", bytes(12 * MIB))
        said = process.communicate()[1].decode()
        tap.ok(process.returncode == 7 and "the disk of this machine is full" in said and
               not os.path.exists(f"{here}/f"), "it fills under way: exit status 7", said)
        os.unlink(f"{here}/filler")
        done = cp("get", at("f"), f"{here}/f", port=line.port)
        did(done, "with room again it succeeds")
        tap.ok("were already there" in done.stderr and digest(f"{here}/f") == digest(source),
               "continues, and is right", done.stderr)


def check_read_only_client():
    here = mount("size=8m,ro")
    with Daemon() as d:
        write(f"{d.root}/f", "1")
        done = cp("get", at("f"), f"{here}/f", daemon=d)
        did(done, "a read-only place of the client's", 7)
        tap.ok("the file system is read-only; choose another place" in done.stderr, "is said", done.stderr)


MOUNTED = (check_full_server, check_sparse, check_full_under_way, check_no_inodes, check_read_only_server,
           check_full_client, check_read_only_client)


# -- Permissions ---------------------------------------------------------------

# Root, but without the right to ignore permissions.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def check_permissions():
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        tap.skip("permissions", "needs root and setpriv")
        return
    src = scratch()
    os.chmod(write(f"{src}/secret", "1"), 0)
    write(f"{src}/open", "1")
    os.makedirs(f"{src}/closed/in")
    os.chmod(f"{src}/closed", 0)
    with Daemon(prefix=BOUND) as d:
        shutil.copytree(src, f"{d.root}/t")
        os.chmod(f"{d.root}/t/secret", 0)
        os.chmod(f"{d.root}/t/closed", 0)
        done = cp("get", at("t/secret"), f"{src}/got", daemon=d)
        did(done, "the daemon may not read it", 8)
        tap.ok("the server's file system denies it; check the permissions there" in done.stderr,
               "is said", done.stderr)
        done = cp("-r", "get", at("t"), f"{src}/got", daemon=d)
        did(done, "in a tree", 1)
        tap.ok("sockcp: t/closed: " in done.stderr and "sockcp: t/secret: " in done.stderr and
               read(f"{src}/got/open") == b"1", "each is named, the others arrive", done.stderr)
        os.chmod(d.root, 0o555)
        done = cp("put", f"{src}/open", at("new"), daemon=d)
        did(done, "the daemon may not write", 8)
        os.chmod(d.root, 0o755)
        done = cp("put", f"{src}/secret", at("new"), daemon=d, prefix=BOUND)
        did(done, "the client may not read it", 7)
        tap.ok("permission denied; check its permissions" in done.stderr, "is said", done.stderr)
        done = cp("-r", "put", src, at("u"), daemon=d, prefix=BOUND)
        did(done, "in a tree", 1)
        tap.ok(f"sockcp: {src}/closed: " in done.stderr and f"sockcp: {src}/secret: " in done.stderr,
               "each is named", done.stderr)
        os.chmod(f"{src}/got", 0o555)
        did(cp("get", at("t/open"), f"{src}/got/new", daemon=d, prefix=BOUND), "nor write", 7)


def mount_namespace():
    """Runs this program again where it can mount; False when that is not possible."""
    if os.environ.get("SOCKD_TEST_MOUNTS"):
        return True
    if os.geteuid() != 0 or subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True,
            check=False).returncode:
        return False
    os.environ["SOCKD_TEST_MOUNTS"] = "1"
    os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])


def check_mounts_skipped():
    for check in MOUNTED:
        tap.skip(check.__name__, "needs root, and the right to mount")


run(check_drain, check_drain_timeout, check_second_signal, check_permissions,
    *(MOUNTED if mount_namespace() else (check_mounts_skipped,)))
