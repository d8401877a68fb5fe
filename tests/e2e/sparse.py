#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with holes: holes are not sent, and are holes again; every byte is looked at all the
same, whatever the file system says of them."""
import os
import random
import signal
import subprocess
import time

from harness import (CHECKPOINT, DOWN, MIB, SANITIZED, SLOW, UP, Daemon, Fault, Proxy, at, cp, cp_start, did,
                     digest, new_seed, random_bytes, read, run, scratch, tap, write)

SIZE = 16 * CHECKPOINT + 12345
BLOCK = 4096
MAP = 16 * BLOCK  # what a file system may add to know where the blocks are


def sparse(path, size, stretches):
    """A file of SIZE with data at STRETCHES (offset, length) and holes around them."""
    rng = random.Random(size)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, length in stretches:
            file.seek(offset)
            file.write(rng.randbytes(length))
    return path


def stored(path):
    """The bytes that PATH takes on the disk."""
    return os.stat(path).st_blocks * 512


# Where the data are: nowhere, at both ends, in the middle, at checkpoints, and in one odd block.
LAYOUTS = (
    (SIZE, ()),
    (SIZE, ((0, BLOCK), (SIZE - 100, 100))),
    (SIZE, ((3 * CHECKPOINT - BLOCK, 2 * BLOCK), (5 * CHECKPOINT, CHECKPOINT))),
    (SIZE, ((7 * BLOCK, 1), (SIZE - MIB, BLOCK))),
    (8 * CHECKPOINT, ((CHECKPOINT, CHECKPOINT), (6 * CHECKPOINT, BLOCK))),
    (CHECKPOINT - BLOCK, ((BLOCK, 1),)),
    (9 * BLOCK, ((BLOCK, BLOCK), (5 * BLOCK, BLOCK))),
)


def same(ours, its, what):
    equal = os.path.getsize(ours) == os.path.getsize(its) and digest(ours) == digest(its)
    tap.ok(equal and stored(its) <= stored(ours) + MAP, f"{what} is the same, and takes no more room",
           f"{os.path.getsize(its)} {stored(ours)} {stored(its)}")


def check_layouts():
    src = scratch()
    with Daemon() as d, Proxy(d.port) as line:
        for n, (size, stretches) in enumerate(LAYOUTS):
            ours = sparse(f"{src}/f", size, stretches)
            there, back = f"{d.root}/{n}", f"{src}/{n}"
            for way, args in ((UP, ("put", ours, at(str(n)))), (DOWN, ("get", at(str(n)), back))):
                before = line.passed(way)
                did(cp(*args, port=line.port), f"layout {n}: {args[0]}")
                passed = line.passed(way) - before
                tap.ok(passed < stored(ours) + 65536, "no hole goes over the wire", f"{passed} of {stored(ours)}")
            same(ours, there, "what is there")
            same(ours, back, "what came back")
            did(cp("put", ours, at("p"), daemon=d), "over a file that stands there")
            same(ours, f"{d.root}/p", "and that")


def check_streams():
    ours = sparse(f"{scratch()}/f", SIZE, LAYOUTS[2][1])
    with Daemon() as d:
        sparse(f"{d.root}/f", SIZE, LAYOUTS[2][1])
        done = cp("get", at("f"), "-", daemon=d)
        did(done, "to standard output")
        tap.ok(done.data == read(ours), "holes are zeros there")
        did(cp("put", "-", at("g"), daemon=d, input=read(ours)), "from standard input")
        tap.ok(digest(f"{d.root}/g") == digest(ours), "they are bytes like others")


def check_zeros_that_are_stored():
    ours = write(f"{scratch()}/f", bytes(2 * CHECKPOINT))
    with Daemon() as d:
        did(cp("put", ours, at("f"), daemon=d), "zeros that are no hole")
        tap.ok(stored(f"{d.root}/f") >= 2 * CHECKPOINT, "are stored as they were", stored(f"{d.root}/f"))


def check_cut():
    """What is continued behind a hole, or in front of one, is right; so is what takes the place of a
    partial with other contents."""
    src, seed = scratch(), new_seed()
    rng = random.Random(seed)
    for round_ in range(6):
        stretches = [(n * CHECKPOINT + rng.randrange(0, CHECKPOINT - MIB, BLOCK), rng.randrange(1, MIB))
                     for n in range(16) if rng.random() < 0.6]
        ours = sparse(f"{src}/f", SIZE + round_, stretches)
        sent = sum(length for _, length in stretches)
        for way in (UP, DOWN):
            with Daemon() as d, Proxy(d.port) as line:
                line.faults = [Fault("cut", way, rng.randrange(1000, max(sent, 2000)), None)]
                if way == UP:
                    args, its = ("put", ours, at("f")), f"{d.root}/f"
                else:
                    sparse(f"{d.root}/f", SIZE + round_, stretches)
                    args, its = ("get", at("f"), f"{src}/back"), f"{src}/back"
                did(cp(*args, port=line.port), f"{args[0]}, cut within the data")
                tap.ok(line.struck == 1, "it was cut", line.struck)
                same(ours, its, "what came of it")


def check_another_source():
    """A partial has data where the source that is sent next has holes."""
    src = scratch()
    ours = write(f"{src}/f", random_bytes(1, SIZE))
    with Daemon() as d, Proxy(d.port, [Fault("cut", UP, 9 * CHECKPOINT, None)]) as line:
        did(cp("--retries=0", "put", ours, at("f"), port=line.port), "an upload is cut", 3)
        had = os.stat(ours)
        sparse(ours, SIZE, LAYOUTS[2][1])
        os.utime(ours, ns=(had.st_atime_ns, had.st_mtime_ns))
        did(cp("put", ours, at("f"), port=line.port), "of other contents, with holes")
        same(ours, f"{d.root}/f", "what came of it")


def check_interrupt():
    """A signal is heard while nothing goes over the wire."""
    ours = sparse(f"{scratch()}/f", 1 << 40, ())
    with Daemon() as d:
        for way, args in (("put", ("put", ours, at("f"))), ("get", ("get", at("g"), f"{scratch()}/g"))):
            os.close(os.open(f"{d.root}/g", os.O_CREAT | os.O_WRONLY))
            os.truncate(f"{d.root}/g", 1 << 40)
            process = cp_start("--retries=0", *args, daemon=d)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=20 * SLOW)[1].decode()
            tap.ok(process.returncode == 130, f"{way} of a hole of a terabyte is interrupted",
                   f"{process.returncode} {said}")


LIAR = r"""
#include <errno.h>
#include <unistd.h>
/* Nothing but a hole, in every file. */
off_t lseek(int fd, off_t at, int whence)
{
	(void)fd;
	if (whence == SEEK_DATA) {
		errno = ENXIO;
		return -1;
	}
	return at;
}
off_t lseek64(int fd, off_t at, int whence)
{
	return lseek(fd, at, whence);
}
"""


def check_a_file_system_that_is_wrong():
    if SANITIZED:
        tap.skip("a wrong file system", "what is preloaded cannot come before a sanitizer's library")
        return
    here = scratch()
    ours = sparse(f"{here}/f", SIZE, LAYOUTS[2][1])
    with open(ours, "r+b") as file:  # zeros that are stored: only what is preloaded takes them for a hole
        file.seek(9 * CHECKPOINT)
        file.write(bytes(CHECKPOINT))
    write(f"{here}/liar.c", LIAR)
    subprocess.run([*os.environ["CC"].split(), "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", f"{here}/liar.so",
                    f"{here}/liar.c"], check=True)
    with Daemon() as d, Proxy(d.port) as line:
        env = dict(os.environ, LD_PRELOAD=f"{here}/liar.so")
        did(cp("put", ours, at("f"), port=line.port, env=env), "data are said to be a hole")
        tap.ok(line.passed(UP) < stored(ours) - CHECKPOINT // 2, "it is believed of zeros", line.passed(UP))
        tap.ok(digest(f"{d.root}/f") == digest(ours), "they are sent all the same")


if __name__ == "__main__":
    run(check_layouts, check_streams, check_zeros_that_are_stored, check_cut, check_another_source,
        check_interrupt, check_a_file_system_that_is_wrong)
