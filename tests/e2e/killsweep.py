#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Either side is killed at every system call of an upload and of a download: each name
is absent, old or new, success is never reported falsely, and the next run succeeds.

The short form kills at some of the calls, chosen by the seed."""
import os

from faults import (CLIENT, DAEMON, LINES_MAX, Point, Resumed, Transfer, Watched, choose, disturb,
                    missing_tool, record, reserved, work_in_memory)
from harness import LONG, at, cp, did, diag, new_seed, run, scratch, tap

POINTS = 8  # of each sweep, in the short form
SHORT = (("small", False), ("big", True), ("tree", True))
CASES = [(what, replaces) for what in ("small", "big", "tree") for replaces in (False, True)]


def kill_at(transfer, side, daemon, point):
    """What is wrong after SIDE was killed at POINT, a line each; and whether it was."""
    if side == DAEMON:
        daemon.restart()  # as it was when its calls were recorded
    transfer.reset(daemon)
    done, reached = disturb(transfer, side, daemon, point, "signal=KILL", "--retries=0")
    wrong = transfer.judge(done.returncode)
    if side == DAEMON and reached:
        daemon.wait()
        daemon.start()
    return wrong + transfer.judge_again(daemon) + daemon.ails(), reached


def sweep(transfer, side, seed):
    report, deaths = [], 0
    with Watched(root=transfer.root) as daemon:
        transfer.prepare(daemon)
        points = record(transfer, side, daemon)
        tried = points if LONG else choose(points, POINTS, seed)
        for point in tried:
            wrong, reached = kill_at(transfer, side, daemon, point)
            deaths += reached
            report += [f"{point.call} {point.nth}: {line}" for line in wrong]
            if len(report) > LINES_MAX:
                break
    diag(f"{side}: {len(points)} calls, killed at {deaths} of {len(tried)} tried")
    tap.ok(not report, f"{transfer.name}: the {side} may be killed", "\n".join(report))
    # How many receptions and waits there are is up to the kernel.
    tap.ok(deaths * 2 > len(tried), f"{transfer.name}: the {side} was killed most times")


def check_sweeps():
    seed = new_seed()
    for way in ("put", "get"):
        for what, replaces in CASES if LONG else SHORT:
            for side in (CLIENT, DAEMON):
                sweep(Transfer(way, what, replaces), side, seed)
        for side in (CLIENT, DAEMON):
            sweep(Resumed(way), side, seed)


def check_listing():
    """What a killed upload leaves is for its next run alone."""
    transfer, back = Transfer("put", "big", False), scratch()
    with Watched(root=transfer.root) as daemon:
        reached = disturb(transfer, DAEMON, daemon, Point("pwrite64", 9), "signal=KILL",
                          "--retries=0")[1]
        daemon.wait()
        tap.ok(reached and reserved(transfer.root), "a killed upload leaves a partial")
        daemon.start()
        did(cp("-r", "get", at(), f"{back}/", daemon=daemon), "everything is got")
        tap.ok(not os.listdir(back), "the partial is not in it", os.listdir(back))


# -- Negative controls -------------------------------------------------------


class InPlace(Transfer):
    """Writes where the name is."""

    def run(self, daemon, *options, prefix=(), fault=None):
        writer = f"exec dd bs=256k status=none if={self.sent}/x of={self.received}/x"
        return super().run(daemon, *options, prefix=(*prefix, "sh", "-c", writer), fault=fault)


class Boaster(Transfer):
    """Says success whatever came of it."""

    def run(self, daemon, *options, prefix=(), fault=None):
        return super().run(daemon, *options, fault=fault,
                           prefix=(*prefix, "sh", "-c", '"$@"; exit 0', "sh"))


def check_controls():
    for wrong_one, side, point in ((InPlace, CLIENT, Point("write", 3)),
                                   (Boaster, DAEMON, Point("pwrite64", 3))):
        transfer = wrong_one("put", "big", True)
        with Watched(root=transfer.root) as daemon:
            wrong, reached = kill_at(transfer, side, daemon, point)
        tap.ok(reached and wrong, f"control caught: {wrong_one.__doc__}")
        diag("\n".join(wrong))


def main():
    reason = missing_tool("strace")
    if reason:
        tap.skip_all(reason)
    work_in_memory()
    run(check_sweeps, check_listing, check_controls)


if __name__ == "__main__":
    main()
