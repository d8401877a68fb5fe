#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file costs, in counts that no clock disturbs: system calls for each small file and for each
megabyte of a large one, by strace, and instructions for each byte outside of libcrypto, by callgrind.

And what a connection that waits for a request has resident.

What a transfer of one size costs is taken away from one of twice the size, so that what happens once,
such as the start of the program, is not in it.  The bounds leave a quarter of headroom over what was
measured when they were set, and more where it depends on the machine how much comes or goes at once;
whoever passes one says why, or mends it."""
import os
import re
import shutil
import time

import spectls
from harness import (MIB, SANITIZED, Daemon, at, cp, diag, did, random_bytes, run, scratch, tap, write)
from peers import TIMEOUT, Client

SMALL = 400  # files, and twice as many
LARGE = 32  # megabytes, and twice as many
COUNTED = 8  # megabytes under callgrind, and twice as many

# System calls of (client, server), for each file of 4 KiB in a tree.
FILE_MAX = {"put": (6.25, 6.25), "get": (5, 8.75)}
# The same for each megabyte of a large file.  How much comes with one recv(2) depends on how busy
# the machine is: with 64 KiB, the least that loopback has, there are sixteen.
MEGABYTE_MAX = {"put": (10, 40), "get": (40, 10)}
# KiB of the daemon for each connection that is idle.
IDLE_MAX = {"in plaintext": 12, "over TLS": 64}
IDLE = 300  # connections, and twice as many
RELAX_SEC = 2  # by then it has given back what it can: RELAX_AFTER_MS

# Instructions of the client for each byte, outside of libcrypto: 0.0013 and 0.0016, and some for each call.
BYTE_MAX = {"put": 0.004, "get": 0.004}


def calls_in(path):
    """{name: calls} of a summary of strace."""
    found = {}
    with open(path, encoding="ascii") as summary:
        for line in summary:
            columns = line.split()
            if len(columns) >= 5 and columns[0].replace(".", "").isdigit() and columns[-1] != "total":
                found[columns[-1]] = int(columns[3])
    return found


def strace(path):
    return ["strace", "-f", "-qq", "-c", "-o", path]


def calls(args, root):
    """The system calls of one transfer: of the client, and of the daemon."""
    here = scratch()
    with Daemon(root=root, prefix=strace(f"{here}/server")) as d:
        did(cp("--no-sync", *args, daemon=d, prefix=strace(f"{here}/client")), f"{args[0]} under strace")
        d.stop()
    return calls_in(f"{here}/client"), calls_in(f"{here}/server")


def difference(one, two, count):
    """What each of COUNT more costs: in all, and by name."""
    each = {name: (two.get(name, 0) - one.get(name, 0)) / count for name in {*one, *two}}
    parts = sorted(((cost, name) for name, cost in each.items() if abs(cost) >= 0.05), reverse=True)
    return sum(each.values()), " ".join(f"{name} {cost:.2f}" for cost, name in parts)


def compare(title, bounds, count, transfer):
    """TRANSFER(command, twice) gives the calls of both sides; their difference keeps to BOUNDS."""
    for command in ("put", "get"):
        once, twice = transfer(command, False), transfer(command, True)
        for side, one, two, most in zip(("client", "server"), once, twice, bounds[command]):
            total, parts = difference(one, two, count)
            diag(f"{title}, {command}, {side}: {total:.2f}: {parts}")
            tap.ok(total <= most, f"{command}: the {side} makes no more than {most} system calls {title}",
                   f"{total:.2f}: {parts}")


def traced():
    if SANITIZED or not shutil.which("strace"):
        tap.skip("system calls", "a sanitizer makes calls of its own" if SANITIZED else "no strace")
        return False
    return True


def check_small_files():
    if not traced():
        return
    src = scratch()
    for twice in (False, True):
        for n in range(SMALL * (1 + twice)):
            write(f"{src}/{twice}/{n:04}", random_bytes(n, 4096))

    def transfer(command, twice):
        root = scratch()
        if command == "put":
            return calls(("-r", "put", f"{src}/{twice}", at("t")), root)
        return calls(("-r", "get", at(str(twice)), f"{root}/t"), src)

    compare("for a small file", FILE_MAX, SMALL, transfer)


def check_large_files():
    if not traced():
        return
    src = scratch()
    for twice in (False, True):
        write(f"{src}/{twice}", random_bytes(1, LARGE * (1 + twice) * MIB))

    def transfer(command, twice):
        root = scratch()
        if command == "put":
            return calls(("put", f"{src}/{twice}", at("f")), root)
        return calls(("get", at(str(twice)), f"{root}/f"), src)

    compare("for a megabyte", MEGABYTE_MAX, LARGE, transfer)


def instructions_in(path):
    """Of an output of callgrind: what was executed outside of libcrypto."""
    names, total, inside, is_call = {}, 0, "", False
    with open(path, encoding="utf-8", errors="replace") as profile:
        for line in profile:
            named = re.match(r"ob=\((\d+)\)(?: (.*))?", line)
            if named:
                inside = names.setdefault(named[1], named[2] or "")
            elif line.startswith("cob=") and (named := re.match(r"cob=\((\d+)\) (.*)", line)):
                names.setdefault(named[1], named[2])
            elif line.startswith("calls="):
                is_call = True  # the next line has what the callee costs
            elif line[:1] in "0123456789+-*":
                if not is_call and "libcrypto" not in inside:
                    total += int(line.split()[-1])
                is_call = False
    return total


def instructions(args, root):
    out = f"{scratch()}/profile"
    with Daemon(root=root) as d:
        did(cp("--no-sync", *args, daemon=d, timeout=250,
               prefix=["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}"]), f"{args[0]} counted")
    return instructions_in(out)


def check_instructions():
    if SANITIZED or not shutil.which("valgrind"):
        tap.skip("instructions", "a sanitizer's are not ours" if SANITIZED else "no valgrind")
        return
    src = scratch()
    for times in (1, 2):
        write(f"{src}/{times}", random_bytes(2, times * COUNTED * MIB))
    for command in ("put", "get"):
        counts = []
        for times in (1, 2):
            root = scratch()
            counts.append(instructions(("put", f"{src}/{times}", at("f")), root) if command == "put" else
                          instructions(("get", at(str(times)), f"{root}/f"), src))
        each = (counts[1] - counts[0]) / (COUNTED * MIB)
        diag(f"instructions for a byte, {command}, client: {each:.4f}")
        tap.ok(each <= BYTE_MAX[command], f"{command}: no more than {BYTE_MAX[command]} instructions for a byte "
               "outside of libcrypto", f"{each:.4f}: {counts}")


def resident(pid):
    """KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status.read(), re.M)[1])


def check_idle_connections():
    if SANITIZED:
        tap.skip("memory of idle connections", "a sanitizer has its own")
        return
    for line, most in IDLE_MAX.items():
        with Daemon("--max-connections=4000", "--max-per-address=4000", "--idle-timeout=600") as d:
            clients, sizes = [], []
            for _ in range(2):
                for _ in range(IDLE):
                    sock = spectls.connect(d.port, TIMEOUT) if line == "over TLS" else None
                    clients.append(Client(d, sock=sock))
                    clients[-1].put(b"f", bytes(100000))
                time.sleep(RELAX_SEC)
                sizes.append(resident(d.pid))
            each = (sizes[1] - sizes[0]) / IDLE
            diag(f"an idle connection {line}: {each:.1f} KiB")
            tap.ok(each <= most, f"an idle connection {line} has no more than {most} KiB", f"{each:.1f}")
            for client in clients:
                client.sock.close()


if __name__ == "__main__":
    os.environ.pop("SOCKD_TEST_TLS", None)
    run(check_small_files, check_large_files, check_instructions, check_idle_connections)
