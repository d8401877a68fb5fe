#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What other tests find in plaintext holds over TLS, too: they run again with
SOCKD_TEST_TLS set.  Of those whose line garbles bytes, only what does not look at how."""
import os
import re
import subprocess
import sys

os.environ["SOCKD_TEST_TLS"] = "1"

from harness import SLOW, TLS, Daemon, at, cp, did, diag, run, scratch, tap, write  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
RESUME = ("check_killed_client", "check_killed_daemon", "check_cut_connections",
          "check_cut_pipeline", "check_takeover", "check_two_writers")


def rerun(script, *checks):
    """Each point of SCRIPT becomes one of ours."""
    done = subprocess.run([sys.executable, os.path.join(HERE, script), *checks], check=False,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=280 * SLOW, errors="backslashreplace")
    points = 0
    for line in done.stdout.splitlines():
        point = re.match(r"(not )?ok \d+ - (.*)", line)
        if point:
            points += 1
            tap.ok(not point[1], f"{script}: {point[2]}")
        else:
            diag(line)
    tap.ok(points and done.returncode == 0, f"{script} over TLS: {points} points", done.stderr)


def check_it_is_tls():
    """Control: the runs below are worth nothing without it."""
    src = write(f"{scratch()}/a", "a")
    with Daemon() as d:
        tap.ok(TLS and "--plaintext" not in d.process.args, "the daemon speaks TLS only")
        did(cp("put", src, at("a"), daemon=d), "put over TLS")
        refused = subprocess.run([os.environ["SOCKCP"], "--plaintext", "-P", str(d.port), "put",
                                  src, "127.0.0.1:b"], check=False, capture_output=True, text=True)
        did(refused, "a client without TLS is refused", 4)
        tap.ok("TLS only" in refused.stderr, "and told why", refused.stderr)


def check_transfer():
    rerun("transfer.py")


def check_trees():
    rerun("trees.py")


def check_resume():
    rerun("resume.py", *RESUME)


run(check_it_is_tls, check_transfer, check_trees, check_resume)
