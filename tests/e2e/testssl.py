#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""testssl.sh has nothing to say of the daemon's TLS, and does of a server that takes more."""
import contextlib
import json
import os
import shutil
import subprocess
import time

import spectls
from harness import SLOW, TLS, Daemon, diag, run, scratch, tap

# Words of the tool about itself: the OpenSSL that comes with it is too old for TLS 1.3.
ITS_OWN = {"service", "scanProblem"}
HARMLESS = {"OK", "INFO"}


def scan(port, *options):
    """{id: (severity, finding)} of what testssl.sh found."""
    out = os.path.join(scratch(), "found.json")
    done = subprocess.run(["testssl", "--quiet", "--color", "0", "--warnings", "off", "--jsonfile", out,
                           *options, f"127.0.0.1:{port}"], check=False, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=240 * SLOW, errors="backslashreplace")
    diag(done.stdout)
    with open(out, encoding="utf-8") as f:
        return {row["id"]: (row["severity"], row["finding"]) for row in json.load(f)}


def faults(found):
    return {ident: row for ident, row in found.items()
            if ident not in ITS_OWN and row[0] not in HARMLESS}


def check_daemon():
    with Daemon("--anonymous=none") as d:
        found = scan(d.port, "-p", "-s", "-f", "-P", "-S", "-U")
    tap.ok(not faults(found), "nothing is found", faults(found))
    offered = [ident for ident, row in found.items()
               if ident.startswith(("SSLv", "TLS1")) and row[1].startswith("offered")]
    tap.ok(offered == ["TLS1_3"], "TLS 1.3 is all that is offered", offered)
    tap.ok(len(found) > 40, f"{len(found)} things were looked at", found)


@contextlib.contextmanager
def old_server():
    """One that still speaks TLS 1.1."""
    me = spectls.make_identity(scratch(), "old", "rsa:2048")
    with subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", me, "-key", me,
                           "-cipher", "ALL:@SECLEVEL=0", "-www"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            for line in server.stdout:
                if line.startswith("ACCEPT"):
                    yield int(line.rpartition(":")[2])
                    break
        finally:
            server.kill()


def check_control():
    with old_server() as port:
        time.sleep(0.2)
        found = scan(port, "-p")
    tap.ok(faults(found), "control: older versions are found", found)


def main():
    if TLS or not shutil.which("testssl") or not shutil.which("openssl"):
        tap.skip_all("testssl.sh (the command testssl) or openssl is missing")
    run(check_daemon, check_control)


main()
