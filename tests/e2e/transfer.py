#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files go over and come back: of all sizes, one and many, and to where they were sent."""
import os

from harness import (CHECKPOINT, LONG, MIB, Daemon, at, cp, did, digest, new_seed, random_bytes,
                     read, run, scratch, tap, tree_diff, write)

CHUNK_SIZES = (4096, 65536, MIB, 4 * MIB)


def sizes_around(chunk):
    edges = (chunk, CHECKPOINT, 2 * CHECKPOINT)
    return sorted({0, 1, *(edge + by for edge in edges for by in (-1, 0, 1))})


def check_one_and_many():
    src = scratch()
    for name in "abc":
        write(f"{src}/{name}", name * 1000)
    with Daemon() as d:
        did(cp("put", f"{src}/a", at("a"), daemon=d), "put a file")
        tap.ok(read(f"{d.root}/a") == b"a" * 1000, "it is there")
        did(cp("get", at("a"), f"{src}/back", daemon=d), "get a file")
        tap.ok(read(f"{src}/back") == b"a" * 1000, "it is back")
        write(f"{src}/a", "new")
        did(cp("put", f"{src}/a", at("a"), daemon=d), "put it again")
        tap.ok(read(f"{d.root}/a") == b"new", "it is replaced")

        done = cp("put", *(f"{src}/{name}" for name in "abc"), at("many/"), daemon=d)
        did(done, "put several files")
        tap.ok(done.stderr.startswith("3 files, ") and "verified, on disk" in done.stderr,
               "the summary counts them", done.stderr)
        tap.ok(sorted(os.listdir(f"{d.root}/many")) == ["a", "b", "c"], "all are there")
        did(cp("get", *(at(f"many/{name}") for name in "abc"), f"{src}/all/", daemon=d),
            "get several files")
        tap.ok(not tree_diff(f"{src}/all", f"{d.root}/many"), "all are back")


def check_streams():
    data = random_bytes(7, CHECKPOINT + 12345)
    with Daemon() as d:
        for n in (0, 1, len(data)):
            did(cp("put", "-", at(f"in/{n}"), daemon=d, input=data[:n]), f"put {n} bytes of stdin")
            tap.ok(read(f"{d.root}/in/{n}") == data[:n], "they are there")
            done = cp("get", at(f"in/{n}"), "-", daemon=d)
            did(done, "get them to stdout")
            tap.ok(done.data == data[:n], "nothing else is on stdout")
            tap.ok("1 file, " in done.stderr, "the summary is on stderr", done.stderr)
        did(cp("put", "-", at("x"), "more", daemon=d), "stdin among several is a usage error", 2)
        did(cp("put", "-", at("dir/"), daemon=d), "stdin has no name of its own", 2)


def check_one_argument():
    here = scratch()
    write(f"{here}/sub/f.txt", "put")
    write(f"{here}/-", "dash")
    with Daemon() as d:
        did(cp("put", at("sub/f.txt"), daemon=d, cwd=here), "put HOST:FILE sends ./FILE to FILE")
        tap.ok(read(f"{d.root}/sub/f.txt") == b"put", "directories and all")
        did(cp("put", at("-"), daemon=d, cwd=here), "put HOST:- sends ./-")
        tap.ok(read(f"{d.root}/-") == b"dash", "and does not read standard input")
        write(f"{d.root}/sub/g.txt", "get")
        did(cp("get", at("sub/g.txt"), daemon=d, cwd=here), "get HOST:FILE")
        tap.ok(read(f"{here}/g.txt") == b"get", "brings it here")


def check_targets_of_put():
    src = scratch()
    write(f"{src}/f", "1")
    write(f"{src}/g", "2")
    write(f"{src}/t/x", "3")
    with Daemon() as d:
        os.mkdir(f"{d.root}/dir")
        for dest, path in (("", "f"), ("dir", "dir/f"), ("dir/", "dir/f"), ("new/", "new/f"),
                           ("/abs/./deep//er/name", "abs/deep/er/name"), ("a/b/c", "a/b/c")):
            did(cp("put", f"{src}/f", at(dest), daemon=d), f"put to '{dest}'")
            tap.ok(os.path.isfile(f"{d.root}/{path}"), f"makes '{path}'")
        did(cp("-r", "put", f"{src}/t", at("dir"), daemon=d), "a tree to a directory")
        tap.ok(os.path.isfile(f"{d.root}/dir/t/x"), "goes into it")
        did(cp("-r", "put", f"{src}/t", at("renamed"), daemon=d), "a tree to a new name")
        tap.ok(os.path.isfile(f"{d.root}/renamed/x"), "takes that name")
        did(cp("-r", "put", ".", at("dot"), daemon=d, cwd=f"{src}/t"), "'.' to a new name")
        tap.ok(os.path.isfile(f"{d.root}/dot/x"), "brings what is in it")
        did(cp("put", f"{src}/f", f"{src}/g", at("a/b/c"), daemon=d),
            "several files to a file are refused", 2)
        did(cp("put", f"{src}/f", at("a/b/c/d"), daemon=d), "a file is no directory", 8)
        did(cp("put", f"{src}/t", at("dir"), daemon=d), "a directory needs -r", 7)
        tap.ok(read(f"{d.root}/a/b/c") == b"1", "and what was there is as it was")
        os.makedirs(f"{d.root}/dir2/f")
        did(cp("put", f"{src}/f", at("dir2"), daemon=d), "a file does not replace a directory", 8)
        tap.ok(os.path.isdir(f"{d.root}/dir2/f"), "which stays")


def check_targets_of_get():
    here = scratch()
    with Daemon() as d:
        write(f"{d.root}/f", "1")
        write(f"{d.root}/t/x", "3")
        os.mkdir(f"{here}/dir")
        for dest, path in ((".", "f"), ("dir", "dir/f"), ("dir/", "dir/f"), ("new/", "new/f"),
                           ("deep//er/name", "deep/er/name"), (f"{here}/abs", "abs")):
            did(cp("get", at("f"), dest, daemon=d, cwd=here), f"get to '{dest}'")
            tap.ok(os.path.isfile(f"{here}/{path}"), f"makes '{path}'")
        did(cp("-r", "get", at("t"), "dir", daemon=d, cwd=here), "a tree to a directory")
        tap.ok(os.path.isfile(f"{here}/dir/t/x"), "goes into it")
        did(cp("-r", "get", at("t"), "renamed", daemon=d, cwd=here), "a tree to a new name")
        tap.ok(os.path.isfile(f"{here}/renamed/x"), "takes that name")
        did(cp("-r", "get", at(), "whole", daemon=d, cwd=here), "the root itself")
        tap.ok(not tree_diff(f"{here}/whole", d.root), "brings all of it")
        did(cp("get", at("f"), at("t/x"), "abs", daemon=d, cwd=here),
            "several files to a file are refused", 2)
        did(cp("get", at("t"), "dir", daemon=d, cwd=here), "a directory needs -r", 8)
        did(cp("get", at("f"), "abs/f", daemon=d, cwd=here), "a file is no directory", 7)
        did(cp("get", at("none"), "nothing", daemon=d, cwd=here), "what is not there", 5)
        tap.ok(not os.path.exists(f"{here}/nothing"), "makes nothing")


def check_sizes():
    seed = new_seed()
    for chunk in CHUNK_SIZES:
        src, back = scratch(), scratch()
        for size in sizes_around(chunk):
            write(f"{src}/{size}", random_bytes(seed + size, size))
        with Daemon(f"--chunk-size={chunk}") as d:
            did(cp("-r", "put", f"{src}/.", at("t"), daemon=d), f"chunks of {chunk}: put")
            differ = tree_diff(src, f"{d.root}/t")
            tap.ok(not differ, "sizes around chunk and checkpoint arrive", differ)
            did(cp("-r", "get", at("t"), f"{back}/t", daemon=d), f"chunks of {chunk}: get")
            differ = tree_diff(src, f"{back}/t")
            tap.ok(not differ, "and come back", differ)
            streams = sizes_around(chunk) if LONG else (chunk - 1, chunk, CHECKPOINT)
            for size in streams:
                done = cp("put", "-", at("s"), daemon=d, input=read(f"{src}/{size}"))
                did(done, f"{size} bytes as a stream")
                tap.ok(digest(f"{src}/{size}") == digest(f"{d.root}/s"), "arrive")


run(check_one_and_many, check_streams, check_one_argument, check_targets_of_put,
    check_targets_of_get, check_sizes)
