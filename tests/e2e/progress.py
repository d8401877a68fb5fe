#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line of progress, on a terminal of our own."""
import errno
import fcntl
import os
import re
import signal
import struct
import termios
import threading
import unicodedata

from harness import (MIB, Daemon, at, cp, cp_start, did, random_bytes, run, scratch, tap, wait_for,
                     write)


class Terminal:
    """A pseudo-terminal; `text` has all that was written to it."""

    def __init__(self, columns):
        self.master, self.slave = os.openpty()
        self.resize(columns)
        self.text = ""
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def resize(self, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        data = b""
        try:
            while block := os.read(self.master, 65536):
                data += block
                self.text = data.decode("utf-8", "ignore")
        except OSError as e:  # what a pty says when nobody holds its other side
            if e.errno != errno.EIO:
                raise

    def run(self, *args, daemon, during=lambda process: None, env=None):
        """sockcp with this terminal as its stderr, and what it wrote there."""
        process = cp_start(*args, daemon=daemon, stderr=self.slave,
                           env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})})
        during(process)
        self.status = process.wait(120)
        os.close(self.slave)
        self.reader.join()
        os.close(self.master)
        return self.text

    def drawn(self):
        """The lines of progress, each as it was drawn."""
        return [line for line in re.split("[\r\n]", self.text) if re.search(r"\d%", line)]


def width_of(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def screen_of(text, columns):
    """What stands on a terminal of COLUMNS at the end; a character too many wraps."""
    rows, col = [[" "] * columns], 0
    for c in text:
        if c == "\r":
            col = 0
        elif c == "\n":
            rows.append([" "] * columns)
            col = 0
        else:
            if col + width_of(c) > columns:
                rows.append([" "] * columns)
                col = 0
            rows[-1][col] = c
            col += width_of(c)
    return ["".join(row).rstrip() for row in rows]


def source(name="f", size=3 * MIB):
    return write(os.path.join(scratch(), name), random_bytes(1, size))


def check_line():
    local = source("report.bin")
    with Daemon() as d:
        for command in (("put", local, at("f")), ("get", at("f"), f"{local}.back")):
            t = Terminal(80)
            t.run("--limit=3M", *command, daemon=d)
            drawn = t.drawn()
            what = command[0]
            tap.ok(t.status == 0 and len(drawn) >= 3, f"{what}: it is drawn more than once", t.text)
            tap.ok(all(width_of(line) == 79 for line in drawn), f"{what}: on the whole width but one",
                   "\n".join(drawn))
            tap.ok(all("report.bin" in line and "/s" in line for line in drawn),
                   f"{what}: with the name and a rate", "\n".join(drawn))
            parts = [int(re.search(r"(\d+)%", line)[1]) for line in drawn]
            tap.ok(parts == sorted(parts) and parts[-1] <= 100 and len(set(parts)) > 2,
                   f"{what}: it grows", parts)
            screen = screen_of(t.text, 80)
            tap.ok(len(screen) == 2 and screen[0].startswith("1 file, 3.0 M") and not screen[1],
                   f"{what}: at the end only the summary stands there", screen)


def check_width_changes():
    local = source("レポート-ünïcødé-" + "long" * 20, 6 * MIB)
    with Daemon() as d:
        t = Terminal(80)
        widths = (80, 40, 120, 12, 60)

        def resize(_):
            for columns in widths:
                t.resize(columns)
                wait_for(lambda: any(width_of(line) == columns - 1 for line in t.drawn()),
                         what=f"a line of {columns - 1}\n{t.drawn()}")

        t.run("--limit=1M", "put", local, at("f"), daemon=d, during=resize)
        tap.ok(t.status == 0, "widths: done")
        tap.ok({width_of(line) for line in t.drawn()} == {columns - 1 for columns in widths},
               "it follows the width of the terminal", t.drawn())


def check_others_make_room():
    """What else is said stands on lines of its own."""
    local = source("f", 2 * MIB)
    with Daemon() as d:
        t = Terminal(80)
        t.run("--limit=3M", "put", local, f"{local}.none", "/dev/null", local, at("t/"), daemon=d)
        screen = screen_of(t.text, 80)
        words = "".join(screen).replace(" ", "")  # wherever the long names made it wrap
        tap.ok(t.status == 1 and "nosuchfile" in words and "notaregular" in words
               and not any("%" in row for row in screen), "failures replace the line", screen)
        t = Terminal(80)
        t.run("--limit=1M", "put", local, at("u"), daemon=d,
              during=lambda process: (wait_for(t.drawn), process.send_signal(signal.SIGINT)))
        screen = screen_of(t.text, 80)
        tap.ok(t.status == 130 and not any("%" in row for row in screen),
               "an interrupt leaves no line behind", screen)


def check_when():
    local = source("f", 1000)
    with Daemon() as d:
        done = cp("put", local, at("f"), daemon=d)
        tap.ok("%" not in done.stderr and "\r" not in done.stderr, "not a terminal: no line", done.stderr)
        done = cp("--progress=always", "put", local, at("f"), daemon=d)
        tap.ok("%" in done.stderr and "\r" in done.stderr, "--progress=always: all the same", done.stderr)
        did(done, "done")
        for options in (["--progress=never"], ["-q"], ["--json"]):
            t = Terminal(80)
            t.run(*options, "put", local, at("f"), daemon=d)
            tap.ok(t.status == 0 and "%" not in t.text, f"on a terminal with {options}: no line", t.text)
        t = Terminal(80)
        t.run("put", local, at("f"), daemon=d)
        tap.ok(t.status == 0 and t.drawn(), "on a terminal without: a line", t.text)


run(check_line, check_width_changes, check_others_make_room, check_when)
