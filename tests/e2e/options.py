#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options promise, what is printed, and the exit statuses."""
import json
import os
import signal
import socket
import subprocess
import threading
import time

from harness import (CHECKPOINT, DOWN, MIB, SOCKCP, SOCKD, UP, Daemon, Proxy, at, cp, cp_start, did,
                     digest, partials, random_bytes, read, run, scratch, tap, tree_read,
                     wait_for, write)

OLD = 1_000_000_000 * 10**9


def small_tree():
    src = scratch()
    write(f"{src}/a", "one")
    write(f"{src}/d/b", "two")
    write(f"{src}/d/c", "")
    return src


def check_update():
    src, back = small_tree(), scratch()
    with Daemon() as d:
        did(cp("-rp", "put", f"{src}/.", at("t"), daemon=d), "-p: put")
        os.utime(write(f"{src}/d/b", "TWO"), ns=(OLD, OLD))  # the same size, another time
        inode = os.stat(f"{d.root}/t/a").st_ino
        done = cp("-rpu", "put", f"{src}/.", at("t"), daemon=d)
        did(done, "-u: put again")
        tap.ok(done.stderr.startswith("1 file, 3 B") and ", 2 skipped" in done.stderr,
               "-u: what has the same size and time is skipped", done.stderr)
        tap.ok(read(f"{d.root}/t/d/b") == b"TWO" and os.stat(f"{d.root}/t/a").st_ino == inode,
               "and the rest is sent")
        did(cp("-rp", "get", at("t"), f"{back}/t", daemon=d), "-p: get")
        os.utime(write(f"{d.root}/t/a", "new"), ns=(OLD, OLD))
        done = cp("-rpu", "get", at("t/a"), at("t/d"), f"{back}/t", daemon=d)
        did(done, "-u: get again")
        tap.ok(done.stderr.startswith("1 file, 3 B") and ", 2 skipped" in done.stderr,
               "-u: the same for get", done.stderr)
        tap.ok(read(f"{back}/t/a") == b"new", "and the rest is fetched")
        done = cp("-rpu", "get", at("t/d"), f"{back}/t", daemon=d)
        tap.ok(done.returncode == 0 and done.stderr == "nothing to move, 2 skipped\n",
               "when all is the same there is nothing to move", done.stderr)


def check_no_clobber():
    src, back = small_tree(), scratch()
    with Daemon() as d:
        write(f"{d.root}/a", "old")
        done = cp("-N", "put", f"{src}/a", at("a"), daemon=d)
        did(done, "-N: put", 5)
        tap.ok("the name exists" in done.stderr and read(f"{d.root}/a") == b"old",
               "-N: what is there stays", done.stderr)
        big = write(f"{src}/big", random_bytes(1, CHECKPOINT + 1))
        write(f"{d.root}/big", "old")
        did(cp("-N", "put", big, at("big"), daemon=d), "-N: put of a large file", 5)
        tap.ok(read(f"{d.root}/big") == b"old" and not partials(d.root), "the same")
        done = cp("-N", "put", "-", at("a"), daemon=d, input="new")
        did(done, "-N: put of a stream", 5)
        did(cp("-N", "put", f"{src}/a", at("new"), daemon=d), "-N: a new name is made")
        os.symlink("nowhere", f"{d.root}/link")
        did(cp("-N", "put", f"{src}/a", at("link"), daemon=d), "-N: a link that leads nowhere", 5)
        tap.ok(os.path.islink(f"{d.root}/link"), "is a name that exists")
        done = cp("-rN", "put", f"{src}/.", at(), daemon=d)
        did(done, "-N: put of a tree, in part", 1)
        tap.ok(read(f"{d.root}/a") == b"old" and read(f"{d.root}/d/b") == b"two",
               "-N: only what is new arrives", done.stderr)

        write(f"{back}/a", "mine")
        done = cp("-N", "get", at("a"), f"{back}/a", daemon=d)
        did(done, "-N: get", 5)
        tap.ok(read(f"{back}/a") == b"mine", "-N: what is here stays", done.stderr)
        write(f"{back}/all/d/b", "mine")
        did(cp("-rN", "get", at("d"), at("new"), f"{back}/all", daemon=d),
            "-N: get of a tree, in part", 1)
        tap.ok(read(f"{back}/all/d/b") == b"mine" and os.path.exists(f"{back}/all/new"),
               "-N: only what is new is fetched")


def check_no_clobber_late():
    """The name appears while the file is on its way to it."""
    here = scratch()
    with Daemon() as d, Proxy(d.port) as line:
        for way, args, dest in ((UP, ("put", f"{here}/f", at("new")), f"{d.root}/new"),
                                (DOWN, ("get", at("f"), f"{here}/new"), f"{here}/new")):
            write(f"{here}/f" if way == UP else f"{d.root}/f", random_bytes(1, 6 * MIB))
            passed = line.passed(way)
            process = cp_start("-N", "--limit=8M", *args, port=line.port)
            wait_for(lambda: line.passed(way) > passed + MIB, what="the transfer")
            write(dest, "another was faster")
            said = process.communicate()[1].decode()
            tap.ok(process.returncode == 5 and read(dest) == b"another was faster",
                   f"-N: {args[0]} does not replace what has come meanwhile",
                   f"{process.returncode} {said}")


def check_dry_run():
    src, back = small_tree(), scratch()
    with Daemon() as d:
        write(f"{d.root}/t/a", "old")
        before = tree_read(d.root)
        done = cp("-rn", "put", f"{src}/.", at("t"), daemon=d)
        did(done, "-n: put")
        tap.ok(all(f"would put {src}/./{name}\n" in done.stderr for name in ("a", "d/b", "d/c")),
               "-n: says what it would send", done.stderr)
        tap.ok("3 files, 6 B would be moved\n" in done.stderr, "and how much", done.stderr)
        tap.ok(tree_read(d.root) == before, "and changes nothing")
        before = tree_read(back)
        write(f"{d.root}/t/d/b", "2")
        done = cp("-rn", "--sums=sums", "get", at("t"), "new/place", daemon=d, cwd=back)
        did(done, "-n: get")
        tap.ok("would get new/place/a\nwould get new/place/d/b\n2 files, 4 B would be moved\n"
               in done.stderr, "-n: says what it would fetch", done.stderr)
        tap.ok(tree_read(back) == before, "and makes nothing")
        done = cp("-n", "get", at("t/a"), "-", daemon=d)
        tap.ok((done.returncode, done.stdout) == (0, ""), "-n: get to stdout writes nothing", done)
        done = cp("-rnu", "put", f"{src}/.", at("t"), daemon=d)
        did(done, "-nu: put")
        did(cp("-n", "put", f"{src}/none", at("t"), daemon=d), "-n: a missing source is a failure", 7)
        did(cp("-n", "get", at("none"), back, daemon=d), "-n: a missing file is a failure", 5)
        did(cp("-nN", "put", f"{src}/a", at("t/a"), daemon=d), "-nN: an existing name is one", 5)


def interrupted(d, port, local):
    """Leaves a partial of at least a checkpoint of LOCAL."""
    process = cp_start("--limit=8M", "put", local, at("f"), port=port)
    wait_for(lambda: any(os.path.getsize(p) > CHECKPOINT + MIB for p in partials(d.root)),
             what="a partial")
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].decode()
    tap.ok(process.returncode == 130, "SIGINT: exit status 130", f"{process.returncode} {said}")
    tap.ok("interrupted; run the same command again to continue" in said, "and says what now", said)


def check_no_resume():
    src = scratch()
    size = 12 * MIB
    local = write(f"{src}/f", random_bytes(2, size))
    with Daemon() as d, Proxy(d.port) as line:
        interrupted(d, line.port, local)
        tap.ok(not os.path.exists(f"{d.root}/f") and partials(d.root), "what was verified is kept")
        passed = line.passed(UP)
        done = cp("--no-resume", "put", local, at("f"), port=line.port)
        did(done, "--no-resume: put")
        tap.ok(line.passed(UP) - passed >= size and "continu" not in done.stderr,
               "--no-resume: all of it is sent", done.stderr)
        tap.ok(digest(local) == digest(f"{d.root}/f"), "and arrives")
        os.unlink(f"{d.root}/f")
        passed = line.passed(UP)
        done = cp("put", local, at("f"), port=line.port)
        did(done, "without it: put")
        tap.ok(line.passed(UP) - passed < size - CHECKPOINT + 65536 and "were already there"
               in done.stderr, "only the rest is sent", done.stderr)
        tap.ok(digest(local) == digest(f"{d.root}/f") and not partials(d.root), "and arrives")


def check_no_sync():
    src, back = small_tree(), scratch()
    calls = f"{back}/calls"
    trace = ["strace", "-f", "-o", calls, "-e", "trace=fsync,syncfs,fdatasync"]
    with Daemon(prefix=trace) as d:
        for options, verb, flushes in (([], "on disk", True),
                                       (["--no-sync"], "not flushed (--no-sync)", False)):
            before = len(read(calls))
            done = cp(*options, "put", f"{src}/a", at("a"), daemon=d)
            did(done, f"put {options}")
            tap.ok(f"verified, {verb}" in done.stderr, f"it says '{verb}'", done.stderr)
            cp("get", at("a"), "-", daemon=d)  # what strace has seen before is written now
            called = b"sync" in read(calls)[before:]
            tap.ok(called == flushes, f"and that is {'' if flushes else 'not '}what it did")
        did(cp("-r", "put", src, at("t"), daemon=d), "put of a tree")
        done = cp("--no-sync", "-r", "get", at("t"), f"{back}/t", daemon=d)
        tap.ok("verified, not flushed (--no-sync)" in done.stderr, "get says the same", done.stderr)
        done = cp("-r", "get", at("t"), f"{back}/t", daemon=d)
        tap.ok("verified, on disk" in done.stderr, "and the opposite", done.stderr)


def check_limit():
    src = scratch()
    local = write(f"{src}/f", random_bytes(3, 3 * MIB))
    with Daemon() as d:
        for command in (("put", local, at("f")), ("get", at("f"), f"{src}/back")):
            began = time.monotonic()
            did(cp("--limit=2M", *command, daemon=d), f"--limit: {command[0]}")
            tap.ok(time.monotonic() - began > 1.2, "3 MiB at 2 MiB/s take their time")


def check_sha256():
    src = scratch()
    for name, size in (("small", 1000), ("big", 3 * CHECKPOINT), ("empty", 0)):
        local = write(f"{src}/{name}", random_bytes(4, size))
        right, wrong = digest(local), "0" * 64
        with Daemon() as d:
            done = cp(f"--sha256={wrong}", "put", local, at("f"), daemon=d)
            did(done, f"--sha256 wrong, {name}: put", 6)
            tap.ok("verification failed" in done.stderr and not os.path.exists(f"{d.root}/f")
                   and not partials(d.root),
                   "nothing is published, nothing is kept", done.stderr)
            did(cp(f"--sha256={right.upper()}", "put", local, at("f"), daemon=d), "right: put")
            done = cp(f"--sha256={wrong}", "get", at("f"), f"{src}/back", daemon=d)
            did(done, f"--sha256 wrong, {name}: get", 6)
            tap.ok("verification failed" in done.stderr and not os.path.exists(f"{src}/back")
                   and not partials(src), "nothing is published, nothing is kept", done.stderr)
            did(cp(f"--sha256={right}", "get", at("f"), f"{src}/back", daemon=d), "right: get")
            done = cp(f"--sha256={wrong}", "get", at("f"), "-", daemon=d)
            did(done, "wrong, to stdout", 6)
            done = cp(f"--sha256={wrong}", "put", "-", at("g"), daemon=d, input=read(local))
            did(done, "wrong, from stdin", 6)
            tap.ok(not os.path.exists(f"{d.root}/g"), "is not published")
            os.unlink(f"{src}/back")


def sha256sum(*args, cwd):
    return subprocess.run(["sha256sum", *args], cwd=cwd, capture_output=True, check=False)


def check_digests():
    src, back = small_tree(), scratch()
    hostile = [b"back\\slash", b"new\nline", b"\xff", b"car\rriage", b" lead", b"-dash"]
    for name in hostile:
        write(os.fsencode(src) + b"/d/" + name, name)
    with Daemon() as d:
        done = cp("-rv", "--sums=../sums.put", "put", "a", "d", at("t/"), daemon=d, cwd=src)
        did(done, "-v --sums: put")
        names = [b"a"] + [b"d/" + name for name in [b"b", b"c"] + hostile]
        right = sha256sum("--", *names, cwd=src).stdout
        tap.ok(sorted(done.data.split(b"\n")) == sorted(right.split(b"\n")),
               "-v prints what sha256sum prints", f"{done.data}\n{right}")
        tap.ok("bytes)" in done.stderr, "and exact sizes", done.stderr)
        checked = sha256sum("-c", "--strict", "../sums.put", cwd=src)
        tap.ok(checked.returncode == 0 and checked.stdout.count(b": OK") == 9,
               "--sums: sha256sum -c is content", checked.stdout + checked.stderr)
        done = cp("-r", "--sums=sums", "get", at("t/a"), at("t/d"), "x/", daemon=d, cwd=back)
        did(done, "--sums: get")
        checked = sha256sum("-c", "--strict", "sums", cwd=back)
        tap.ok(checked.returncode == 0 and checked.stdout.count(b": OK") == 9,
               "--sums: sha256sum -c is content", checked.stdout + checked.stderr)
        write(f"{back}/x/d/b", "changed")
        tap.ok(sha256sum("-c", "sums", cwd=back).returncode == 1, "and not with what was changed")
        done = cp("--sums=no/sums", "put", f"{src}/a", at("u"), daemon=d, cwd=back)
        did(done, "--sums where it cannot be written", 7)
        tap.ok(not os.path.exists(f"{d.root}/u"), "is found out before anything is moved")
        done = cp("-v", "get", at("t/a"), "-", daemon=d)
        tap.ok(done.stdout == "one" and digest(f"{src}/a") in done.stderr,
               "-v with a file on stdout prints the digest on stderr", done.stderr)
    os.unlink(os.path.join(src, "../sums.put"))


def check_quiet():
    src = small_tree()
    with Daemon() as d:
        for command in (("-rq", "put", src, at("t")), ("-rq", "get", at("t"), f"{src}/t")):
            done = cp(*command, daemon=d)
            tap.ok((done.returncode, done.stdout, done.stderr) == (0, "", ""),
                   f"-q: {command[1]} says nothing", done.stderr)
        done = cp("-q", "put", f"{src}/none", at("t"), daemon=d)
        tap.ok(done.returncode == 7 and done.stderr.count("\n") == 1, "-q: but failures", done.stderr)


def json_events(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_json_put_and_get():
    src, back = small_tree(), scratch()
    write(f"{src}/big", random_bytes(5, 6 * MIB))
    write(os.fsencode(src) + b"/\xff", "x")
    total = 6 * MIB + 7
    with Daemon() as d:
        commands = (("--limit=4M", "-r", "put", f"{src}/.", at("t")),
                    ("--limit=4M", "-r", "get", at("t"), f"{back}/t"))
        for command in commands:
            what = command[2]
            done = cp("--json", *command, daemon=d)
            did(done, f"--json: {what}")
            events = json_events(done)
            kinds = [e["event"] for e in events]
            tap.ok(kinds[0] == "start" and kinds[-1] == "end" and "progress" in kinds
                   and kinds.count("file") == 5 and "error" not in kinds, f"{what}: events", kinds)
            tap.ok(events[0]["command"] == what and "127.0.0.1" in events[0]["server"],
                   f"{what}: start", events[0])
            files = {e["path"].rpartition("/")[2]: e for e in events if e["event"] == "file"}
            tap.ok(files["big"]["sha256"] == digest(f"{src}/big") and files["big"]["flushed"]
                   and files["big"]["size"] == 6 * MIB and files["big"]["outcome"] == "moved",
                   f"{what}: file", files["big"])
            tap.ok(bytes.fromhex(files["\\xff"]["path_hex"]).endswith(b"/\xff"),
                   f"{what}: a name that is not UTF-8", files["\\xff"])
            last = [e for e in events if e["event"] == "progress"][-1]
            tap.ok((last["bytes"], last["total_bytes"], last["total_files"], last["total_final"])
                   == (total, total, 5, True), f"{what}: progress ends at the total", last)
            end = events[-1]
            tap.ok((end["status"], end["files"], end["failed"], end["bytes"], end["flushed"])
                   == (0, 5, 0, total, True), f"{what}: end", end)


def check_json_errors():
    src = small_tree()
    with Daemon() as d:
        done = cp("--json", "put", f"{src}/a", f"{src}/none", at("t/"), daemon=d)
        did(done, "--json: a file fails", 1)
        errors = [e for e in json_events(done) if e["event"] == "error"]
        tap.ok(len(errors) == 1 and errors[0]["path"] == f"{src}/none" and
               errors[0]["side"] == "local" and errors[0]["status"] == 7, "--json: error", errors)
        end = json_events(done)[-1]
        tap.ok((end["status"], end["files"], end["failed"]) == (1, 1, 1), "--json: end", end)
        done = cp("--json", "get", at("t/a"), "-", daemon=d)
        tap.ok(done.stdout == "one" and json.loads(done.stderr.splitlines()[-1])["event"] == "end",
               "--json with a file on stdout: events are on stderr", done.stderr)
    done = cp("--json", "put", f"{src}/a", at("t/"), port=1)
    did(done, "--json: no connection", 3)
    events = json_events(done)
    tap.ok([e["event"] for e in events] == ["error", "end"] and events[0]["side"] == "connection"
           and events[1]["status"] == 3, "--json: error and end", events)


def answer_once(answer):
    """A server that gives ANSWER to the first that comes; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            for _ in range(8):
                peer = listener.accept()[0]
                peer.sendall(answer)
                peer.recv(65536)
                peer.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def said(result, status, *words):
    tap.ok(result.returncode == status and all(word in result.stderr for word in words)
           and result.stderr.count("\n") == 1, f"exit status {status}: {words[0]}",
           f"{result.returncode} {result.stderr}")


def check_exit_statuses():
    src = small_tree()
    file = f"{src}/a"
    with Daemon() as d:
        did(cp("put", file, at("a"), daemon=d), "exit status 0: done")
        did(cp("put", file, f"{src}/none", at("t/"), daemon=d), "exit status 1: in part", 1)
        said(cp("get", at("none"), src, daemon=d), 5, "no such file or directory on the server")
        said(cp("put", f"{src}/none", at("x"), daemon=d), 7, "no such file or directory")
        for args in (["put"], ["get"], ["frobnicate", "x"], [], ["--frobnicate"],
                     ["--limit=fast", "put", file, at("x")], ["put", file, "no-host"],
                     ["put", file, at("../x")], ["get", at("a"), at("b")],
                     ["--sha256=12", "put", file, at("x")], ["-P", "0", "put", file, at("x")],
                     ["put", at("a"), at("b")], ["--sha256=" + "0" * 64, "-r", "put", file, at("x")]):
            done = cp(*args, daemon=d)
            tap.ok(done.returncode == 2 and done.stderr.startswith("sockcp: ") and not done.stdout,
                   f"exit status 2: usage: {args}", f"{done.returncode} {done.stderr}")
    said(cp("put", file, at("x"), daemon=d), 3, "cannot connect", "check that sockd runs there")
    with Daemon("--anonymous=read") as d:
        write(f"{d.root}/f", "1")
        said(cp("put", file, at("x"), daemon=d), 4, "not allowed", "ask those who run the server")
        did(cp("-r", "put", src, at("x"), daemon=d), "exit status 4 for a tree, too", 4)
        did(cp("get", at("f"), src, daemon=d), "reading is allowed")
        tap.ok(os.listdir(d.root) == ["f"], "and nothing was written")
    with Daemon("--anonymous=none") as d:
        write(f"{d.root}/f", "1")
        said(cp("get", at("f"), f"{src}/no", daemon=d), 4, "refuses to serve this client")
        did(cp("-r", "get", at(), f"{src}/no", daemon=d), "exit status 4 for a listing", 4)
        did(cp("put", file, at("x"), daemon=d), "and for writing", 4)
        tap.ok(not os.path.exists(f"{src}/no/f"), "nothing was read")
    for answer, word in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol error"),
                         (b"sockd/9\n" + bytes(64), "no protocol version in common"),
                         (b"sockd/1\n" + bytes(64), "the connection garbled the data")):
        done = cp("--retries=0", "put", file, at("x"), port=answer_once(answer))
        status = 3 if "garbled" in word else 9
        tap.ok(done.returncode == status and word in done.stderr, f"exit status {status}: {word}",
               f"{done.returncode} {done.stderr}")
    done = cp("put", file, b"no-such-host.invalid:x", port=1)
    tap.ok(done.returncode == 3 and "no address" in done.stderr, "exit status 3: no address",
           f"{done.returncode} {done.stderr}")
    done = cp("put", file, b"8.8.8.8:x", port=1)
    tap.ok(done.returncode == 4, "exit status 4: plaintext goes to no other machine",
           f"{done.returncode} {done.stderr}")


def check_daemon_usage():
    root = scratch()
    for args, status in ((["--help"], 0), (["--version"], 0), ([], 2), (["--frobnicate"], 2),
                         (["--root=/", "--plaintext", "--listen=0.0.0.0:0"], 2),
                         ([f"--root={root}", "--plaintext", "--chunk-size=5000"], 2),
                         ([f"--root={root}/none", "--plaintext", "--listen=127.0.0.1:0"], 1),
                         ([f"--root={root}", "--plaintext", "--check"], 0)):
        done = subprocess.run([SOCKD, *args], capture_output=True, check=False, timeout=60)
        tap.ok(done.returncode == status, f"sockd {args} ends with {status}", done)
    with Daemon(root=root) as d:
        done = subprocess.run([SOCKD, f"--root={root}", "--plaintext", f"--listen=127.0.0.1:{d.port}"],
                              capture_output=True, check=False, timeout=60)
        tap.ok(done.returncode == 1 and b"Address already in use" in done.stderr,
               "a port that is taken", done)


run(check_update, check_no_clobber, check_no_clobber_late, check_dry_run, check_no_resume, check_no_sync, check_limit,
    check_sha256, check_digests, check_quiet, check_json_put_and_get, check_json_errors,
    check_exit_statuses, check_daemon_usage)
