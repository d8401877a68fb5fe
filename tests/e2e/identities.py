#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is known to the daemon: invitations, the commands that manage clients, and that what
they change counts at once, whole or not at all."""
import base64
import concurrent.futures
import contextlib
import glob
import hashlib
import os
import re
import shutil
import subprocess
import time

from harness import (SANITIZED, SLOW, SOCKCP, SOCKD, Daemon, diag, digest, in_parallel,
                     random_bytes, read, run, scratch, tap, wait_for, write)

CODE = re.compile(r"sockd1\.[A-Za-z0-9_-]{68}\n")
PRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
NEVER = "SHA256:" + "A" * 43  # nobody's
HEAD = ["NAME", "RIGHTS", "PATH", "FINGERPRINT", "LIMITS", "EXPIRES"]


class Server(Daemon):
    """A sockd with a state directory of its own, in which nobody has rights unless known."""

    def __init__(self, *args, state=None, **more):
        self.state = state or scratch()
        super().__init__(f"--state-dir={self.state}", "--anonymous=none", *args, **more)

    def command(self, *args, prefix=(), **more):
        """`sockd ARGS` for this daemon, run to its end."""
        return command(self.state, *args, prefix=prefix, **more)

    def invite(self, name, *args):
        return self.command("invite", name, *args).stdout.strip()


def command(state, *args, prefix=(), **more):
    return subprocess.run([*prefix, SOCKD, f"--state-dir={state}", *args], text=True,
                          stdin=subprocess.DEVNULL, stdout=more.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE, check=False, timeout=60 * SLOW, **more)


class Client:
    """A sockcp with an identity of its own, which trusts the servers that it meets."""

    def __init__(self):
        self.home = scratch()
        self.env = {**os.environ, "XDG_CONFIG_HOME": f"{self.home}/config"}

    def words(self, daemon, *args):
        return [SOCKCP, "-P", str(daemon.port), "--retries=0", *args]

    def cp(self, daemon, *args, timeout=60):
        return subprocess.run(self.words(daemon, *args), env=self.env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False, timeout=timeout * SLOW)

    def start(self, daemon, *args):
        return subprocess.Popen(self.words(daemon, *args), env=self.env, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def join(self, daemon, code):
        return self.cp(daemon, "join", "127.0.0.1", code)

    def put(self, daemon, file, *args):
        return self.cp(daemon, "--accept-new", *args, "put", file, "127.0.0.1:")

    def fingerprint(self, daemon):
        """Its own; which a server that does not know it says."""
        done = self.put(daemon, write(f"{self.home}/x", "x"))
        found = PRINT.findall(done.stderr)
        assert done.returncode == 4 and found, f"{done.returncode} {done.stderr}"
        return found[-1]


def exits(done, status, name, *words):
    """A test point: the command ended with STATUS, and said WORDS."""
    return tap.ok(done.returncode == status and all(word in done.stderr for word in words), name,
                  f"status {done.returncode}, wanted {status} and {words}\n"
                  f"{done.stdout}{done.stderr}")


def table(daemon):
    """What `sockd clients` prints: {name: {heading: cell}}, and its first line."""
    done = daemon.command("clients")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[1:]}, lines[0]


# -- An invitation -------------------------------------------------------------


def check_invitation():
    with Server() as d:
        made = d.command("invite", "bob", "--rights=read,list,write", "--path=inbox/bob")
        exits(made, 0, "invite", "bob", "join HOST CODE")
        tap.ok(CODE.fullmatch(made.stdout), "prints the code and nothing else", made.stdout)
        code, bob, eve = made.stdout.strip(), Client(), Client()
        file = write(f"{bob.home}/file", random_bytes(1, 100000))
        exits(bob.put(d, file), 4, "before the join a client is nobody", "SHA256:")
        exits(bob.join(d, code), 0, "join")
        exits(bob.cp(d, "put", file, "127.0.0.1:"), 0, "put, without another question")
        tap.ok(digest(f"{d.root}/inbox/bob/file") == digest(file), "below the client's own root")
        exits(bob.cp(d, "get", "127.0.0.1:file", f"{bob.home}/back"), 0, "get")
        tap.ok(digest(f"{bob.home}/back") == digest(file), "the same file")
        exits(eve.join(d, code), 4, "a second use is refused", "no such invitation")
        exits(eve.put(d, file), 4, "and changes nothing")
        exits(bob.join(d, code), 4, "also to whom it was for", "client already")
        exits(bob.cp(d, "get", "127.0.0.1:file", f"{bob.home}/more"), 0, "who stays a client")


def altered(code):
    """CODE with another secret, as if it were one."""
    raw = bytearray(base64.urlsafe_b64decode(code.split(".")[1]))
    raw[40] ^= 1
    raw[48:] = hashlib.sha256(raw[:48]).digest()[:3]
    return "sockd1." + base64.urlsafe_b64encode(raw).decode()


def check_refused():
    with Server() as d:
        code, eve = d.invite("bob", "--expires=1s"), Client()
        refusal = eve.join(d, altered(code))
        exits(refusal, 4, "a wrong secret is refused", "no such invitation")
        exits(eve.cp(d, "join", "127.0.0.1", code[:-1] + ("A" if code[-1] != "A" else "B")), 2,
              "a mistyped code is not even sent")
        time.sleep(1.1)
        late = eve.join(d, code)
        exits(late, 4, "an expired one is refused")
        tap.ok(late.stderr == refusal.stderr, "in the same words",
               f"{refusal.stderr}{late.stderr}")
        old = d.invite("bob", "--expires=1h")
        again = d.command("invite", "bob")
        exits(again, 0, "another invitation", "earlier invitation for bob no longer counts")
        exits(eve.join(d, old), 4, "makes an end of the first")
        d.command("revoke", "bob")
        exits(eve.join(d, again.stdout.strip()), 4, "a revoked one is refused")
        text = read(f"{d.state}/clients").decode()
        tap.ok("[" not in text, "and none is left in the file", text)
        exits(d.command("authorize", "eve", eve.fingerprint(d), "--rights=none"), 0,
              "who has no rights", "--rights=LIST")
        exits(eve.join(d, d.invite("eve2")), 4, "is a client all the same", "client already")


def check_at_once():
    """One code, several machines at the same time."""
    with Server() as d:
        for turn in range(3):
            code = d.invite(f"bob{turn}")
            clients = [Client() for _ in range(6)]
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                results = list(pool.map(lambda c: c.join(d, code), clients))
            statuses = sorted(done.returncode for done in results)
            tap.ok(statuses == [0, 4, 4, 4, 4, 4], "of six who join at once, one is a client",
                   "\n".join(done.stderr for done in results))
        tap.ok(len(table(d)[0]) == 3, "for each of the codes")


# -- Where a secret must not be --------------------------------------------------


def forms(secret):
    """How the bytes could be written."""
    plain = base64.b64encode(secret)
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), plain.rstrip(b"="),
            plain.translate(bytes.maketrans(b"+/", b"-_")).rstrip(b"=")]


def holders(needles, places):
    """Which of PLACES, {name: bytes}, have one of NEEDLES in them."""
    return [name for name, text in places.items() if any(needle in text for needle in needles)]


def places_of(d):
    files = glob.glob(f"{d.state}/**", recursive=True) + glob.glob(f"{d.state}/.*") + [d.log]
    found = {name: read(name) for name in files if os.path.isfile(name)}
    for name in ("cmdline", "environ"):
        found[f"/proc/{name}"] = read(f"/proc/{d.pid}/{name}")
    return found


def check_secrets():
    with Server() as d:
        code, bob = d.invite("bob"), Client()
        text = code.split(".")[1]
        secret = base64.urlsafe_b64decode(text)[32:48]
        # As they stand in the code, beside other bytes.
        needles = forms(secret) + [code.encode(), text[43:64].encode()]
        hashed = hashlib.sha256(b"sockd invitation\0" + secret).hexdigest().encode()
        places = places_of(d)
        tap.ok(holders([hashed], places) == [f"{d.state}/clients"], "only a hash is kept",
               places.keys())
        tap.ok(holders(needles, {"control": b"x" + code.encode()}), "a secret would be found")
        tap.ok(not holders(needles, places), "the secret is nowhere before the join",
               holders(needles, places))
        exits(Client().join(d, altered(code)), 4, "one who guesses")
        exits(bob.join(d, code), 0, "one who knows")
        exits(Client().join(d, code), 4, "one who is late")
        places = places_of(d)
        tap.ok(not holders(needles, places), "nor after it", holders(needles, places))
        tap.ok(not holders([hashed], places), "and the hash is gone")
        tap.ok("join" in d.log_text() and 'client="bob"' in d.log_text(),
               "though the log says who joined", d.log_text())
        for name in ("clients", "identity.pem"):
            mode = os.stat(f"{d.state}/{name}").st_mode & 0o777
            tap.ok(mode == 0o600, f"{name} is private", oct(mode))


# -- The commands ------------------------------------------------------------


def check_table():
    with Server() as d:
        rows, head = table(d)
        tap.ok(head == HEAD and not rows, "the table begins with its headings", head)
        d.command("authorize", "zoe", NEVER, "--rights=create", "--path=in box")
        d.command("invite", "bob", "--quota-bytes=1K", "--quota-files=5", "--limit=2M",
                  "--max-connections=3", "--rights=read,list,create,write,delete")
        d.command("invite", "gone", "--expires=1s")
        time.sleep(1.1)
        rows, head = table(d)
        tap.ok(list(rows) == ["bob", "zoe"], "sorted, without what has expired", rows)
        tap.ok(rows["zoe"] == dict(zip(HEAD, ["zoe", "create", r"in\x20box", NEVER, "-", "-"])),
               "a client", rows["zoe"])
        expires = rows["bob"].pop("EXPIRES")
        tap.ok(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", expires), "an invitation", expires)
        tap.ok(rows["bob"] == dict(zip(HEAD, [
            "bob", "read,list,create,write,delete", ".", "-",
            "quota-bytes=1024,quota-files=5,max-connections=3,limit=2097152"])),
            "all there is to it", rows["bob"])
        with open("/dev/full", "w", encoding="ascii") as full:
            exits(d.command("clients", stdout=full), 7, "an output that is full")
            exits(d.command("invite", "lost", stdout=full), 7, "a code that nobody has seen",
                  "invite again")


def check_statuses():
    with Server() as d:
        fp = d.command("fingerprint").stdout
        tap.ok(PRINT.fullmatch(fp.strip()) and fp.endswith("\n"), "fingerprint prints it", fp)
        tap.ok(f"identity {fp.strip()}\n" in d.log_text(), "and the log the same", d.log_text())
        exits(d.command("revoke", "bob"), 5, "revoke of nobody", "bob")
        exits(d.command("authorize", "bob", "SHA256:x"), 2, "authorize of no fingerprint")
        exits(d.command("authorize", "bob", NEVER), 0, "authorize")
        exits(d.command("authorize", "bob", NEVER, "--rights=read"), 0, "again", "replaced bob", NEVER)
        tap.ok(table(d)[0]["bob"]["RIGHTS"] == "read", "replaces")
        exits(d.command("authorize", "carol", NEVER), 5, "a fingerprint that is another's", "bob")
        exits(d.command("invite", "bob"), 5, "invite of a client", "sockd revoke bob")
        before = read(f"{d.state}/clients")
        exits(d.command("invite", "dave", "--path=a ;b"), 2, "a path that cannot be kept", "dave")
        exits(d.command("invite", "da ve"), 2, "a name that cannot be")
        exits(d.command("invite", "dave", "--rights=reed"), 2, "a right that there is not")
        tap.ok(read(f"{d.state}/clients") == before, "none of which changes the file")
        d.command("invite", "dave")
        exits(d.command("authorize", "dave", NEVER.replace("AA", "BB")), 0,
              "authorize of whom was invited", "invitation for dave no longer counts")
        exits(d.command("revoke", "dave"), 0, "revoke")
        tap.ok(list(table(d)[0]) == ["bob"], "of a client")
        write(f"{d.state}/clients", "[client bob]\nrights = reed\n")
        exits(d.command("clients"), 7, "a file that makes no sense", f"{d.state}/clients:2: rights")
        exits(d.command("invite", "x"), 7, "is not written over", "clients:2:")
        tap.ok(read(f"{d.state}/clients") == b"[client bob]\nrights = reed\n", "at all")
    exits(command(f"{scratch()}/none", "clients"), 7, "a state directory that is not there")


def check_configured():
    """Clients of the configuration file are told from those of the state directory."""
    home, state = scratch(), scratch()
    conf = write(f"{home}/sockd.conf", f"[client conny]\nfingerprint = {NEVER}\nrights = read\n")
    os.chmod(conf, 0o600)
    option = f"--config={conf}"
    exits(command(state, option, "invite", "conny"), 5, "invite of a client of sockd.conf", conf)
    exits(command(state, option, "revoke", "conny"), 5, "revoke of one", conf)
    exits(command(state, option, "authorize", "bob", NEVER), 5, "authorize of its fingerprint",
          "conny")
    done = command(state, option, "clients")
    tap.ok(done.returncode == 0 and "conny" in done.stdout, "clients shows it", done.stdout)


# -- A daemon that runs --------------------------------------------------------


def check_changes_count():
    with Server() as d:
        bob = Client()
        file = write(f"{bob.home}/file", "hello\n")
        fp = bob.fingerprint(d)
        d.command("authorize", "bob", fp, "--rights=write")
        exits(bob.put(d, file), 0, "an authorized client is let in at once")
        exits(bob.cp(d, "get", "127.0.0.1:file", f"{bob.home}/a"), 4, "to what it may do")
        d.command("authorize", "bob", fp, "--rights=read")
        exits(bob.cp(d, "get", "127.0.0.1:file", f"{bob.home}/a"), 0, "other rights count at once")
        exits(bob.put(d, file), 4, "also where they are fewer")
        good = read(f"{d.state}/clients")
        write(f"{d.state}/clients", good + b"nonsense\n")
        exits(bob.cp(d, "get", "127.0.0.1:file", f"{bob.home}/b"), 0, "a bad file changes nothing")
        bob.cp(d, "get", "127.0.0.1:file", f"{bob.home}/c")
        said = [line for line in d.log_text().splitlines() if "clients stay as they were" in line]
        tap.ok(len(said) == 1 and "line" in said[0], "and is said once", d.log_text())
        write(f"{d.state}/clients", good)
        d.command("revoke", "bob")
        exits(bob.cp(d, "get", "127.0.0.1:file", f"{bob.home}/d"), 4, "a revoked one is nobody", fp)


def check_open_session():
    for how in ("revoke", "authorize", "file"):
        with Server() as d:
            bob, ann = Client(), Client()
            exits(bob.join(d, d.invite("bob")), 0, "join")
            exits(ann.join(d, d.invite("ann")), 0, "join")
            file = write(f"{bob.home}/big", random_bytes(3, 12 << 20))
            work = [c.start(d, "--retries=5", "--limit=1M", "put", file, f"127.0.0.1:{name}")
                    for c, name in ((bob, "bob"), (ann, "ann"))]
            wait_for(lambda: len(glob.glob(f"{d.root}/.sockd-partial/*")) >= 2,
                     what="two transfers under way")
            began = time.monotonic()
            if how == "revoke":
                exits(d.command("revoke", "bob"), 0, "revoke, while it sends")
            elif how == "authorize":
                exits(d.command("authorize", "bob", NEVER), 0, "another machine is bob")
            else:
                text = read(f"{d.state}/clients").decode()
                kept = "".join("[" + part for part in text.split("[")[1:]
                               if not part.startswith("client bob]"))
                write(f"{d.state}/clients", kept)
            try:
                _, words = work[0].communicate(timeout=10 * SLOW)
            except subprocess.TimeoutExpired:
                work[0].kill()
                words = "went on: " + work[0].communicate()[1]
            tap.ok(work[0].returncode == 4, f"{how}: the open session ends, exit 4",
                   f"{work[0].returncode} after {time.monotonic() - began:.1f} s\n{words}\n"
                   f"{d.log_text()}")
            tap.ok(work[1].poll() is None, f"{how}: that of another goes on", d.log_text())
            tap.ok(not os.path.exists(f"{d.root}/bob"), f"{how}: nothing half has a name")
            work[1].kill()
            work[1].communicate()


# -- Killed at any moment --------------------------------------------------------

STRACE = shutil.which("strace") and not SANITIZED
CALL = re.compile(r"^(?:\d+ +)?([a-z0-9_]+)\(")


def calls_made(log, begin):
    """The system calls in the trace LOG from the first line with BEGIN on, each as (name, how
    many of the name there were up to it), as strace counts for `when=`."""
    counts, calls, begun = {}, [], False
    for line in log:
        found = CALL.match(line)
        if not found:
            continue
        name = found.group(1)
        counts[name] = counts.get(name, 0) + 1
        begun = begun or (begin in line and name != "execve")
        if begun and name != "exit_group":
            calls.append((name, counts[name]))
    return calls


def traced(trace, *args):
    return ["strace", "-qq", *args, "-o", trace, "-s", "200"]


def clients_of(state):
    """The names that are in the file, after a look whether it makes sense."""
    done = command(state, "clients")
    assert done.returncode == 0, done.stderr
    return {line.split()[0]: line.split()[3] for line in done.stdout.splitlines()[1:]}


def kill_sweep(name, args, before, after):
    """`sockd ARGS`, killed at each of its system calls, leaves BEFORE or AFTER."""
    origin = scratch()
    command(origin, "authorize", "ann", NEVER)
    trace = f"{scratch()}/trace"

    def copy():
        state = f"{scratch()}/state"
        shutil.copytree(origin, state)
        return state

    done = command(copy(), *args, prefix=traced(trace))
    assert done.returncode == 0, done.stderr
    calls = calls_made(read(trace).decode("utf-8", "replace").splitlines(), "/state")
    reached = set()

    def fault(point):
        call, nth = point
        state = copy()
        killed = command(state, *args, prefix=traced(
            "/dev/null", "-e", f"inject={call}:signal=KILL:when={nth}"))
        if killed.returncode >= 0:
            return f"ended by itself: {killed.returncode}"
        found = clients_of(state)
        if found not in (before, after):
            return f"{found}\n{read(f'{state}/clients').decode()}"
        reached.add(found == after)
        again = command(state, *args)
        if again.returncode not in (0, 5) or clients_of(state) != after:
            return f"and then: {again.returncode} {again.stderr} {clients_of(state)}"
        return None

    tap.ok(len(calls) > 15, f"{name} makes system calls to be killed at", calls)
    in_parallel(f"{name}: killed at any moment, it did all or nothing", fault, calls)
    tap.ok(reached == {False, True}, f"{name}: both came about", reached)


def check_killed_commands():
    if not STRACE:
        tap.skip("commands that are killed", "no strace, or a sanitizer that it disturbs")
        return
    ann = {"ann": NEVER}
    kill_sweep("invite", ["invite", "bob"], ann, {**ann, "bob": "-"})
    other = NEVER.replace("AA", "BB")
    kill_sweep("authorize", ["authorize", "bob", other], ann, {**ann, "bob": other})
    kill_sweep("revoke", ["revoke", "ann"], ann, {})


def join_traced(state, *options):
    """A join with a daemon that runs under strace with OPTIONS from here on; what became of the
    client and the daemon, and what the client had."""
    with Server(state=state) as d:
        code, bob = d.invite("bob"), Client()
        time.sleep(0.2)  # a file that is fresh is read more often than later
        with subprocess.Popen(["strace", "-f", "-p", str(d.pid), *options],
                              stderr=subprocess.PIPE, text=True) as tracer:
            said = tracer.stderr.readline()
            assert " attached" in said, said
            done = bob.join(d, code)
            with contextlib.suppress(subprocess.TimeoutExpired):
                d.process.wait(0.2 * SLOW)
            died = d.process.poll() is not None
            tracer.terminate()
    return done, died, bob, code


def join_calls():
    """The calls of the connection's thread, from its look at the list on."""
    top = scratch()
    done = join_traced(scratch(), "-ff", "-s", "200", "-o", f"{top}/t")[0]
    assert done.returncode == 0, done.stderr
    for trace in glob.glob(f"{top}/t.*"):
        log = read(trace).decode("utf-8", "replace").splitlines()
        if any(line.startswith("renameat") and '"clients"' in line for line in log):
            return [call for call in calls_made(log, '"lock"') if call[0] not in ("poll", "madvise")]
    raise LookupError("no thread has renamed the file of clients")


def check_killed_join():
    if not STRACE:
        tap.skip("a daemon that is killed in a join", "no strace, or a sanitizer that it disturbs")
        return
    calls, seen = join_calls(), []
    behind = next(i for i, call in enumerate(calls) if call[0].startswith("renameat"))
    calls = calls[:behind + 4]
    diag(" ".join(f"{name}#{nth}" for name, nth in calls))

    def fault(call):
        state = scratch()
        done, died, bob, code = join_traced(
            state, "-o", "/dev/null", "-e", f"inject={call[0]}:signal=KILL:when={call[1]}")
        if not died:  # it went another way, by chance
            return None if done.returncode == 0 else f"not killed: {done.stderr}"
        found = clients_of(state).get("bob")
        if not found:
            return f"neither invited nor a client: {read(f'{state}/clients').decode()}"
        joined = found != "-"
        seen.append(joined)
        if done.returncode == 0 and not joined:
            return "success was said, and nothing is on disk"
        with Server(state=state) as d:
            again = bob.join(d, code)
            worked = bob.put(d, write(f"{bob.home}/f", "x"))
        if again.returncode != (4 if joined else 0) or worked.returncode != 0:
            return f"then: joined {joined}, {again.returncode} {again.stderr} {worked.stderr}"
        return None

    in_parallel("a daemon that is killed in a join did it or did not", fault, calls, workers=2)
    tap.ok(set(seen) == {False, True} and len(seen) > len(calls) * 3 // 4, "both came about",
           f"{seen} of {calls}")


run(check_invitation, check_refused, check_at_once, check_secrets, check_table, check_statuses,
    check_configured, check_changes_count, check_open_session, check_killed_commands,
    check_killed_join)
