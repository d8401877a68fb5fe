# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, as the Markdown that stands in the README."""
import os
import platform
import re
import textwrap

import peers

DIRECTIONS = ("put", "get")
MARKS = ("<!-- bench:start -->", "<!-- bench:end -->")


def size_text(count):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def columns(loads):
    return [(load, direction) for load in loads for direction in DIRECTIONS]


def cell(seconds, ours):
    """Seconds, and their ratio to OURS, which itself has none."""
    if seconds is None:
        return "–"
    if ours is None:
        return f"{seconds:.2f}"
    return f"{seconds:.2f} ({seconds / ours:.2f})"


def row(name, cells):
    return f"| {' | '.join([name, *cells])} |"


def rows(arena, loads):
    """One for each peer, and one more with the digests for what verifies nothing."""
    at = columns(loads)
    ours = [arena.median(arena.peers[0], *column) for column in at]
    digests = [arena.median(arena.digests, load, "put") for load, _ in at]
    yield row(arena.peers[0].name, [cell(seconds, None) for seconds in ours])
    for peer in arena.present()[1:]:
        if peer is arena.digests:
            continue
        times = [arena.median(peer, *column) for column in at]
        yield row(peer.name, map(cell, times, ours))
        if not peer.verifies and digests[0] is not None:
            both = [time + digest for time, digest in zip(times, digests)]
            yield row(f"{peer.name} {arena.digests.name}", map(cell, both, ours))


def table(arena, loads):
    heads = [f"{load.name} {direction}" for load, direction in columns(loads)]
    lines = [row(f"{arena.title}, {file_system(arena.top)}", heads), "|---" * (len(heads) + 1) + "|"]
    return "\n".join([*lines, *rows(arena, loads)])


def machine():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
        text = info.read()
    model = re.search(r"model name\s*: (.*)", text)
    sha = " with SHA instructions" if re.search(r"\bsha_ni\b|\bsha2\b", text) else ""
    kernel = re.match(r"[\d.]*\d", platform.release())[0]
    return (f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}{sha}; "
            f"{platform.system()} {kernel}")


def file_system(path):
    """The type of the file system that PATH is on."""
    where = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        over = [fields for fields in map(str.split, mounts)
                if os.path.commonpath((fields[4], where)) == fields[4]]
    # Of those on the way the deepest counts, and of several at one place the last.
    deepest = max(len(fields[4]) for fields in over)
    last = [fields for fields in over if len(fields[4]) == deepest][-1]
    return last[last.index("-") + 1]


def paragraph(text, indent=""):
    return textwrap.fill(text, 80, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False)


def peer_notes(arenas):
    """A line for each program: its version, options, and why it is missing."""
    for peer in dict.fromkeys(peer for arena in arenas for peer in arena.peers):
        why = next((arena.absent[peer] for arena in arenas if peer in arena.absent), None)
        said = f"not measured: {why}" if why else "; ".join(filter(None, (peer.version(), peer.about)))
        yield paragraph(f"- {peer.name}: {said}", "  ")


def report(arenas, loads, rounds):
    moved = "; ".join(f"{load.name}, {load.title}" for load in loads)
    head = (f"Seconds from start to exit, the median of {rounds}, and in brackets how many times that "
            "of sockcp, the first row.  Both ends are on one machine; all commands are run in turn, in "
            f"random order, by tests/bench/bench.py (make bench).  What is moved: {moved}.")
    tables = [table(arena, loads) for arena in arenas]
    notes = "\n".join([*peer_notes(arenas), paragraph(f"- the machine: {machine()}", "  ")])
    return "\n\n".join([paragraph(head), *tables, notes]) + "\n"


def readme_update(path, text):
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    peers.write(path, before + MARKS[0] + "\n" + text + MARKS[1] + after)
