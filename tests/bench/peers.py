# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that are compared: each with a daemon of its own on loopback,
set up below a scratch directory, and the commands that put and get there."""
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse

START_SEC = 60


def tool(name):
    """Where NAME is installed, or None; daemons are often not in PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def first_line(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    return done.stdout.partition("\n")[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def files_below(top):
    """The files in the tree TOP, relative to it; of a file, just its name."""
    if os.path.isfile(top):
        return [""]
    return [os.path.relpath(os.path.join(where, name), top)
            for where, _, names in os.walk(top) for name in names]


class Peer:
    """A program to be compared.  AREA is its own directory, for configuration and logs;
    DATA is what its daemon serves.  put() and get() make a command of it: SOURCE goes into
    the directory INTO under its own name; both are paths below DATA."""
    name = ""
    needs = ()        # programs
    options = ""
    verifies = False  # that both ends hold the same
    about = ""        # what the reader of the table has to know
    daemon = None

    def __init__(self, data, area):
        self.data = data
        self.area = area
        self.port = free_port()
        os.makedirs(area)

    def missing(self):
        """Why it cannot be measured here, or None."""
        lacking = [name for name in self.needs if not tool(name)]
        return "no " + ", ".join(lacking) if lacking else None

    def can(self, direction, files):
        """Whether it does this with so many FILES."""
        return bool(files) and hasattr(self, direction)

    def path(self, *parts):
        return os.path.join(self.data, *parts)

    def start(self):
        self.spawn(*self.serve())
        end = time.monotonic() + START_SEC
        while not self.is_up():
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name}: its daemon did not start: {self.log_text()}")
            time.sleep(0.02)

    def spawn(self, *command):
        with open(os.path.join(self.area, "log"), "w", encoding="utf-8") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log_text(self):
        with open(os.path.join(self.area, "log"), encoding="utf-8") as log:
            return log.read()

    def is_up(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if not self.daemon:
            return
        self.daemon.terminate()
        try:
            self.daemon.wait(10)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()


class Sockd(Peer):
    name = "sockcp"
    verifies = True
    about = "-r, --plaintext; SHA-256"
    line = "--plaintext"
    programs = {"sockd": os.environ.get("SOCKD", "sockd"), "sockcp": os.environ.get("SOCKCP", "sockcp")}
    needs = tuple(programs.values())

    def version(self):
        return first_line(self.programs["sockd"], "--version")

    def serve(self):
        return (self.programs["sockd"], "--root=" + self.data, "--listen=127.0.0.1:0", "--plaintext",
                "--anonymous=write")

    def is_up(self):
        found = re.search(r"listening on .*:(\d+)$", self.log_text(), re.M)
        self.port = int(found[1]) if found else 0
        return self.port > 0

    def command(self, *args):
        return [self.programs["sockcp"], self.line, "-q", "-r", *self.options.split(), "-P",
                str(self.port), *args]

    def put(self, source, into):
        return self.command("put", self.path(source), f"127.0.0.1:{into}/")

    def get(self, source, into):
        return self.command("get", f"127.0.0.1:{source}", self.path(into) + "/")


class SockdNoSync(Sockd):
    name = "sockcp --no-sync"
    options = "--no-sync"


class SockdTls(Sockd):
    name = "sockcp, TLS"
    line = "--accept-new"
    about = "-r, TLS 1.3, AES-128-GCM; SHA-256"


class SockdNoSyncTls(SockdTls):
    name = "sockcp --no-sync, TLS"
    options = "--no-sync"


class Rsync(Peer):
    name = "rsync"
    needs = ("rsync",)
    verifies = True
    about = "-r, its daemon; XXH128"

    def version(self):
        return "rsync " + re.search(r"version (\S+)", first_line("rsync", "--version"))[1]

    def serve(self):
        owner = "uid = root\ngid = root\n" if os.geteuid() == 0 else ""
        conf = write(os.path.join(self.area, "rsyncd.conf"), f"""
{owner}use chroot = no
reverse lookup = no
[data]
path = {self.data}
read only = no
""")
        return ("rsync", "--daemon", "--no-detach", "--config=" + conf, "--address=127.0.0.1",
                f"--port={self.port}")

    def command(self, *args):
        return ["rsync", "-r", *self.options.split(), *args]

    def url(self, path):
        return f"rsync://127.0.0.1:{self.port}/data/{path}"

    def put(self, source, into):
        return self.command(self.path(source), self.url(into) + "/")

    def get(self, source, into):
        return self.command(self.url(source), self.path(into) + "/")


class RsyncFsync(Rsync):
    name = "rsync --fsync"
    options = "--fsync"


class Scp(Peer):
    name = "scp"
    needs = ("scp", "sshd", "ssh-keygen")
    about = "-r -c aes128-gcm@openssh.com; verifies nothing, but encrypts"
    run_dir = None  # made by us

    def version(self):
        return first_line("ssh", "-V").partition(",")[0].replace("_", " ")

    def missing(self):
        if os.geteuid() == 0 or os.path.isdir("/run/sshd"):
            return super().missing()
        return "no /run/sshd, and not root"

    def serve(self):
        if not os.path.isdir("/run/sshd"):
            os.mkdir("/run/sshd", 0o755)
            self.run_dir = "/run/sshd"
        for name in ("host", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f",
                            os.path.join(self.area, name)], check=True)
        with open(os.path.join(self.area, "host.pub"), encoding="utf-8") as host:
            write(os.path.join(self.area, "known"), f"[127.0.0.1]:{self.port} {host.read()}")
        conf = write(os.path.join(self.area, "sshd_config"), f"""
ListenAddress 127.0.0.1
Port {self.port}
HostKey {self.area}/host
AuthorizedKeysFile {self.area}/key.pub
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
""")
        return (tool("sshd"), "-D", "-e", "-f", conf)

    def command(self, source, into):
        return ["scp", "-F", "none", "-q", "-B", "-r", "-c", "aes128-gcm@openssh.com", "-i",
                os.path.join(self.area, "key"), "-o", f"UserKnownHostsFile={self.area}/known",
                "-o", "IdentitiesOnly=yes", "-P", str(self.port), source, into]

    def put(self, source, into):
        return self.command(self.path(source), "127.0.0.1:" + self.path(into) + "/")

    def get(self, source, into):
        return self.command("127.0.0.1:" + self.path(source), self.path(into) + "/")

    def stop(self):
        super().stop()
        if self.run_dir:
            os.rmdir(self.run_dir)


class Nginx(Peer):
    name = "curl, nginx"
    needs = ("nginx", "curl")
    about = "-Z --parallel-max 8 with a list of the files; verifies nothing"

    def version(self):
        nginx = first_line(tool("nginx"), "-v").partition("/")[2]
        return f"nginx {nginx}, curl {first_line('curl', '--version').split()[1]}"

    def missing(self):
        why = super().missing()
        if why:
            return why
        built = subprocess.run([tool("nginx"), "-V"], stderr=subprocess.PIPE, text=True, check=True)
        return None if "http_dav_module" in built.stderr else "nginx without its module dav"

    def serve(self):
        user = "user root;" if os.geteuid() == 0 else ""
        # What is received is moved into place, so both are on one file system.
        conf = write(os.path.join(self.area, "nginx.conf"), f"""
{user}
worker_processes auto;
daemon off;
pid {self.area}/pid;
error_log {self.area}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log {self.area}/access.log;
    sendfile on;
    tcp_nopush on;
    client_max_body_size 0;
    client_body_temp_path {self.area}/body;
    proxy_temp_path {self.area}/proxy;
    fastcgi_temp_path {self.area}/fastcgi;
    uwsgi_temp_path {self.area}/uwsgi;
    scgi_temp_path {self.area}/scgi;
    server {{
        listen 127.0.0.1:{self.port};
        root {self.data};
        location / {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
""")
        return (tool("nginx"), "-c", conf, "-e", os.path.join(self.area, "error.log"))

    def url(self, *parts):
        path = urllib.parse.quote(os.path.join(*parts))
        return f"http://127.0.0.1:{self.port}/{path}"

    def command(self, lines):
        """curl with its list of transfers, each a pair of LINES."""
        conf = write(os.path.join(self.area, "curlrc"), "\n".join(lines) + "\n")
        parallel = ["-Z", "--parallel-max", "8"] if len(lines) > 2 else []
        return ["curl", "-q", "-s", "-S", "-f", "--create-dirs", *parallel, "-K", conf]

    def pairs(self, source):
        """The files of SOURCE, each with the path it gets."""
        name = os.path.basename(source)
        return [(os.path.join(source, rel).rstrip("/"), os.path.join(name, rel).rstrip("/"))
                for rel in files_below(self.path(source))]

    def put(self, source, into):
        return self.command([line for ours, its in self.pairs(source) for line in (
            f'upload-file = "{self.path(ours)}"', f'url = "{self.url(into, its)}"')])

    def get(self, source, into):
        return self.command([line for its, ours in self.pairs(source) for line in (
            f'url = "{self.url(its)}"', f'output = "{self.path(into, ours)}"')])


class Limit(Peer):
    """No peer: the least that can be done, see limit.c."""
    name = "limit"
    verifies = True
    about = ("tests/bench/limit.c; read, SHA-256, send, receive, SHA-256, write, and nothing else, on one "
             "thread at each end")
    program = os.path.join(os.environ.get("SOCKD_BUILDDIR", "."), "tests/bench/limit")
    needs = (program,)
    how = ()

    def version(self):
        return None

    def start(self):
        pass

    def put(self, source, into):
        return [self.program, *self.how, self.path(source), self.path(into, os.path.basename(source))]

    def get(self, source, into):
        return self.put(source, into)

    def can(self, direction, files):
        return len(files) == 1


class LimitTls(Limit):
    name = "limit, TLS"
    about = "the same over TLS 1.3, AES-128-GCM"
    how = ("--tls",)


class Digests(Peer):
    """No peer: what is run in addition where nothing was verified, on both ends at once."""
    name = "+SHA"
    needs = ("openssl",)
    about = "and then openssl dgst -sha256 on both ends at once"

    def version(self):
        return first_line("openssl", "version").partition("(")[0].strip()

    def start(self):
        pass

    def put(self, source, _into):
        one = 'find "$0" -type f -print0 | xargs -0 openssl dgst -sha256 >/dev/null'
        return ["sh", "-c", f"({one}) & {one} && wait", self.path(source)]
