#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the benchmark from rotting: one round of it with little data, in which every
byte is compared.  Says nothing about speed."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import bench
import peers
import table
import tap  # noqa: E402 (needs the line above)

SCRATCH = os.environ.get("TMPDIR", "/tmp")


def check_run():
    options = bench.options_parse(["--quick", "--dir", SCRATCH, "--disk", SCRATCH,
                                   "--tree", os.path.join(bench.SRC, "lib")])
    print(f"# seed {options.seed}")
    text = bench.bench(options)
    print("".join(f"# {line}\n" for line in text.splitlines()), end="")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| sockcp")]
    ours = sum(issubclass(kind, peers.Sockd) for kind in bench.MEMORY_PEERS + bench.DISK_PEERS)
    tap.ok([len(row) for row in rows] == [7] * ours, "ours is measured in all columns of both tables", text)
    for kind in bench.MEMORY_PEERS + bench.DISK_PEERS:
        tap.ok(f"\n- {kind.name}: " in text, f"{kind.name} is measured, or it is said why not", text)
    left = [name for name in os.listdir(SCRATCH) if name.startswith("bench.")]
    tap.ok(not left, "nothing is left behind", left)
    return text


def check_readme(text):
    path = os.path.join(SCRATCH, "README")
    with open(os.path.join(bench.SRC, "README"), encoding="utf-8") as file:
        peers.write(path, file.read())
    for _ in range(2):
        table.readme_update(path, text)
    with open(path, encoding="utf-8") as file:
        written = file.read()
    tap.ok(written.count(text) == 1 and written.count(table.MARKS[0]) == 1,
           "the table takes the place of the one before")


def check_controls():
    """This test finds what it is there to find."""
    for name in ("source", "into"):
        os.makedirs(os.path.join(SCRATCH, name, "tree"))
        peers.write(os.path.join(SCRATCH, name, "tree", "file"), "some bytes")
    load = bench.Load(SCRATCH, "source/tree", "tree", "")
    into = os.path.join(SCRATCH, "into")
    tap.ok(bench.arrived(SCRATCH, load, into, True), "control: equal trees are equal")
    peers.write(os.path.join(into, "tree/file"), "same bytes")
    tap.ok(not bench.arrived(SCRATCH, load, into, True), "control: a wrong byte is found")
    tap.ok(bench.arrived(SCRATCH, load, into, False), "control: where bytes are compared")
    os.rename(os.path.join(into, "tree/file"), os.path.join(into, "tree/other"))
    tap.ok(not bench.arrived(SCRATCH, load, into, False), "control: a missing file is found")
    tap.ok(table.cell(3.0, 2.0) == "3.00 (1.50)", "control: a ratio is theirs by ours")


def main():
    check_controls()
    check_readme(check_run())
    tap.finish()


if __name__ == "__main__":
    main()
