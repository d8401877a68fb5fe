# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Python tests say: TAP on stdout, one point for each fact."""
import sys

count = 0
failed = 0


def ok(passed, name, why=""):
    """One test point; WHY (text) tells what was found instead."""
    global count, failed
    count += 1
    failed += not passed
    print(f"{'ok' if passed else 'not ok'} {count} - {name}", flush=True)
    if not passed and why:
        print("\n".join(f"#   {line}" for line in str(why).splitlines()), flush=True)
    return bool(passed)


def skip(name, reason):
    global count
    count += 1
    print(f"ok {count} - {name} # SKIP {reason}", flush=True)


def skip_all(reason):
    """Ends the test, which cannot be run on this machine."""
    print(f"1..0 # SKIP {reason}", flush=True)
    sys.exit(77)


def finish():
    print(f"1..{count}", flush=True)
    sys.exit(1 if failed or not count else 0)
