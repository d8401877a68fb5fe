#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""sockd.service under a real systemd.

Boots a systemd in a container whose root is an overlay of this machine's own
(nothing is written below it), with the build installed into it as `make
install` does it, and lives through what an administrator does with a service.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402 (needs the line above)

SCRATCH = os.environ.get("TMPDIR", "/tmp")
SOCKCP = os.environ.get("SOCKD_BINDIR", "") + "/sockcp"
SOCKD = os.environ.get("SOCKD_SBINDIR", "") + "/sockd"
FILES = "/var/lib/sockd/files"
DROP_IN = '[Service]\nEnvironment=SOCKD_OPTIONS="--anonymous=write"\n'
BOOT_SEC = 60

# In a mount namespace of its own, which takes all its mounts with it.
# $1: an empty directory, $2: cgroup, $3: build directory.
OVERLAY = r"""
mount --make-rprivate /
mount -t tmpfs -o size=1g tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
"""
BOOT = OVERLAY + r"""
echo $$ >"$2/cgroup.procs"
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
	umount -l /sys/fs/cgroup
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
make -s -C "$3" install DESTDIR="$1/root" >&2
systemd-id128 new >"$1/root/etc/machine-id" # a journal of its own
exec systemd-nspawn -D "$1/root" --machine="sockd-test-$$" --boot --register=no --keep-unit \
	--system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" \
	--private-network --console=pipe systemd.unit=basic.target
"""


def unshared(script, *args, **options):
    """What runs SCRIPT in a mount namespace of its own."""
    return subprocess.Popen(["unshare", "-m", "sh", "-ec", script, "sh", *args],
                            stdin=subprocess.DEVNULL, **options)


def cgroup_top():
    """Where the version 2 hierarchy is mounted, or None."""
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(top + "/cgroup.procs"):
            return top
    return None


def reason_to_skip():
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("systemd-nspawn", "systemctl", "nsenter", "unshare", "make"):
        if not shutil.which(tool):
            return f"{tool} is missing"
    top = cgroup_top()
    if not top or not os.access(top, os.W_OK):
        return "there is no writable cgroup2 hierarchy"
    if os.environ.get("SOCKD_UNITDIR") not in (
            "/lib/systemd/system", "/usr/lib/systemd/system", "/usr/local/lib/systemd/system"):
        return "not configured for a prefix that systemd reads: /usr or /usr/local"
    probe = os.path.join(SCRATCH, "probe")
    os.mkdir(probe)
    said = unshared(OVERLAY, probe, stderr=subprocess.PIPE, text=True).communicate()[1]
    return "no overlay can be mounted: " + said.splitlines()[-1] if said else None


@contextlib.contextmanager
def cgroup():
    path = os.path.join(cgroup_top(), f"sockd-test.{os.getpid()}")
    os.mkdir(path)
    try:
        yield path
    finally:
        for where, _, _ in os.walk(path, topdown=False):
            os.rmdir(where)


def first_process(nspawn):
    """The process that is number 1 below NSPAWN, or None."""
    with contextlib.suppress(OSError, IndexError):
        with open(f"/proc/{nspawn}/task/{nspawn}/children", encoding="utf-8") as children:
            for pid in children.read().split():
                with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                    numbers = [line for line in status if line.startswith("NSpid:")][0].split()
                if len(numbers) > 2 and numbers[-1] == "1":
                    return pid
    return None


class Machine:
    """A booted container; commands run in it as root."""

    def __init__(self, group):
        self.console = open(os.path.join(SCRATCH, "console"), "w+b")
        root = os.path.join(SCRATCH, "machine")
        os.mkdir(root)
        # Not the makefile's own flags: this make stands alone.
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        self.nspawn = unshared(BOOT, root, group, os.environ["SOCKD_BUILDDIR"],
                               stdout=self.console, stderr=self.console, env=env)

    def run(self, *command, data=None):
        pid = first_process(self.nspawn.pid)
        if pid is None:
            return subprocess.CompletedProcess(command, 1, "", "the machine is not up")
        return subprocess.run(["nsenter", "-t", pid, "-a", "-r", "-w", "--", *command], input=data,
                              capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL if data is None else None, timeout=120)

    def show(self, name):
        return self.run("systemctl", "show", "--value", "-p", name, "sockd.service").stdout.strip()

    def write(self, path, text):
        self.run("mkdir", "-p", os.path.dirname(path))
        self.run("tee", path, data=text)

    def wait(self, reached, sec=BOOT_SEC):
        """Whether REACHED() came true in time."""
        end = time.monotonic() + sec
        while not reached():
            if self.nspawn.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def is_up(self):
        return self.run("systemctl", "is-active", "basic.target").returncode == 0

    def console_text(self):
        self.console.seek(0)
        return self.console.read().decode(errors="replace")

    def stop(self):
        self.nspawn.terminate()  # nspawn makes an orderly shutdown of it
        try:
            self.nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
        self.console.close()


def did(result, name, status=0):
    """A test point: the command ended with STATUS."""
    return tap.ok(result.returncode == status, name,
                  f"status {result.returncode}\n{result.stdout}{result.stderr}")


def check_start(m):
    verified = m.run("systemd-analyze", "verify", "--man=no", "sockd.service")
    said = [line for line in verified.stderr.splitlines() if "sockd" in line]
    tap.ok(not said, "systemd-analyze verify has nothing to say", "\n".join(said))

    did(m.run("systemctl", "enable", "sockd.service"), "it can be enabled")
    did(m.run("systemctl", "start", "sockd.service"), "it starts and says that it is ready")
    tap.ok(m.show("ActiveState") == "active", "it is active", m.show("ActiveState"))
    tap.ok(m.wait(lambda: m.show("StatusText"), sec=5), "it tells a status")
    owner = m.run("stat", "-c", "%u", "/proc/" + m.show("MainPID")).stdout.strip()
    tap.ok(owner.isdigit() and int(owner) >= 61184, "its user is dynamic", f"uid {owner}")
    did(m.run("test", "-d", FILES), "its directory is there")


def check_default_rights(m):
    m.write(FILES + "/given", "from the administrator\n")
    refused = m.run(SOCKCP, "--accept-new", "get", "localhost:given", "/root/")
    did(refused, "a stranger may not even read", status=4)
    tap.ok("sockd authorize" in refused.stderr, "and is told what to ask for", refused.stderr)
    did(m.run(SOCKCP, "--plaintext", "get", "localhost:given", "/root/"), "nor without TLS", status=4)
    owner = m.run("stat", "-Lc", "%u %a", "/var/lib/sockd/identity.pem").stdout.split()
    tap.ok(owner and owner[0] != "0" and owner[1] == "600", "the key is the service's own", owner)


def check_invitation(m):
    """What the administrator does as root counts for the service at once."""
    code = m.run(SOCKD, "--state-dir=/var/lib/sockd", "invite", "alice", "--rights=read,list")
    did(code, "root invites somebody")
    did(m.run(SOCKCP, "join", "localhost", code.stdout.strip()), "who joins")
    did(m.run(SOCKCP, "get", "localhost:given", "/root/"), "and may read")
    did(m.run("cmp", FILES + "/given", "/root/given"), "what stands there")
    m.write("/root/new", "from a user\n")
    did(m.run(SOCKCP, "put", "/root/new", "localhost:"), "but not write", status=4)
    did(m.run(SOCKD, "--state-dir=/var/lib/sockd", "revoke", "alice"), "root revokes it")
    did(m.run(SOCKCP, "get", "localhost:given", "/root/"), "and it may no more", status=4)


def check_reload(m):
    m.write("/etc/sockd.conf", "anonymous = read\n")
    m.write("/etc/systemd/system/sockd.service.d/conf.conf",
            '[Service]\nEnvironment=SOCKD_OPTIONS="--config=/etc/sockd.conf"\n')
    m.run("systemctl", "daemon-reload")
    did(m.run("systemctl", "restart", "sockd.service"), "a configuration file is taken")
    did(m.run(SOCKCP, "get", "localhost:given", "/root/"), "it lets strangers read")
    m.write("/etc/sockd.conf", "anonymous = nobody\n")
    m.run("systemctl", "reload", "sockd.service")
    did(m.run(SOCKCP, "get", "localhost:given", "/root/"), "a bad one changes nothing")
    m.write("/etc/sockd.conf", "anonymous = none\n")
    did(m.run("systemctl", "reload", "sockd.service"), "a good one is taken in")
    did(m.run(SOCKCP, "get", "localhost:given", "/root/"), "and counts", status=4)
    m.run("rm", "/etc/systemd/system/sockd.service.d/conf.conf")


def check_transfer(m):
    m.write("/etc/systemd/system/sockd.service.d/write.conf", DROP_IN)
    did(m.run("systemctl", "daemon-reload"), "a drop-in is taken")
    did(m.run("systemctl", "restart", "sockd.service"), "it restarts")
    did(m.run("sh", "-c", "mkdir -p /root/tree/a/b && head -c 20000000 /dev/urandom >/root/tree/big &&"
              " echo small >/root/tree/a/b/small"), "a tree is made")
    did(m.run(SOCKCP, "-rp", "put", "/root/tree", "localhost:"), "the tree is put")
    did(m.run(SOCKCP, "-rp", "get", "localhost:tree", "/root/back/"), "and got back")
    did(m.run("diff", "-r", "/root/tree", "/root/back/tree"), "and is equal")
    tap.ok(m.run("stat", "-c", "%a", "/var/lib/private/sockd").stdout.strip() == "700",
           "its state is its own")


def check_crash(m):
    before = m.show("MainPID")
    m.run("systemctl", "kill", "-s", "KILL", "sockd.service")
    back = m.wait(lambda: m.show("MainPID") not in ("0", before) and m.show("ActiveState") == "active")
    tap.ok(back and m.show("NRestarts") == "1", "after a crash it is started again", m.show("NRestarts"))
    did(m.run(SOCKCP, "get", "localhost:tree/a/b/small", "/root/again"),
        "and serves the same files")


def check_stop(m):
    run = m.show("InvocationID")
    began = time.monotonic()
    did(m.run("systemctl", "stop", "sockd.service"), "it stops")
    tap.ok(time.monotonic() - began < 10, "at once, as nothing is under way")
    ended = (m.show("Result"), m.show("ExecMainStatus"), m.show("ActiveState"))
    tap.ok(ended == ("success", "0", "inactive"), "with status 0", ended)
    check_journal(m, run)


def check_journal(m, run):
    """What the last run has logged reads well in the journal."""
    m.run("journalctl", "--sync")
    said = m.run("journalctl", "-o", "json", "_SYSTEMD_INVOCATION_ID=" + run).stdout
    lines = [json.loads(line) for line in said.splitlines()]
    text = "\n".join(f"{line['PRIORITY']} {line['MESSAGE']}" for line in lines)
    tap.ok(any("listening on" in str(line["MESSAGE"]) for line in lines),
           "the journal has where it listens", text)
    tap.ok(all(int(line["PRIORITY"]) > 4 and not str(line["MESSAGE"]).startswith("<")
               for line in lines), "no warning, and each line with its priority", text)
    manager = m.run("journalctl", "-o", "cat", "INVOCATION_ID=" + run, "_PID=1").stdout
    tap.ok("Stopped" in manager and "ailed" not in manager and "timed out" not in manager,
           "systemd has nothing to complain of", manager)


def main():
    reason = reason_to_skip()
    if reason:
        tap.skip_all(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of what cleans up
    with cgroup() as group:
        machine = Machine(group)
        try:
            if tap.ok(machine.wait(machine.is_up), "a systemd boots", machine.console_text()):
                for check in (check_start, check_default_rights, check_invitation, check_reload,
                              check_transfer, check_crash, check_stop):
                    check(machine)
            if tap.failed:
                print(machine.run("journalctl", "-o", "short", "-u", "sockd.service").stdout,
                      file=sys.stderr)
        finally:
            machine.stop()
    tap.finish()


if __name__ == "__main__":
    main()
