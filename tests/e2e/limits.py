#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one address and one client may cost: connections, failures, room, rate."""
import contextlib
import os
import re
import socket
import stat
import subprocess
import threading
import time

import spec
from harness import (CHECKPOINT, MIB, SOCKCP, SOCKD, UP, Daemon, Fault, Proxy, at, cp, cp_start,
                     did, diag, digest, partials, random_bytes, run, scratch, server_pin, tap, wait_for,
                     write)
from peers import TAG, TIMEOUT, Client, equal, the_end

HERE, THERE, ELSEWHERE = "127.0.0.2", "127.0.0.3", "127.0.0.4"
FREE = 4  # STRIKES_FREE


def come_from(address, daemon):
    sock = socket.create_connection(("127.0.0.1", daemon.port), TIMEOUT, (address, 0))
    sock.settimeout(TIMEOUT)
    return sock


def client_from(address, daemon):
    return Client(daemon, sock=come_from(address, daemon))


def is_served(client):
    return isinstance(client.stat(b""), dict)


def turned_away(address, daemon):
    """(error, its words) that a newcomer from ADDRESS is told before it has said a word."""
    with come_from(address, daemon) as sock:
        peer = spec.Connection(sock, "client")
        assert peer.read_preface() == spec.PREFACE
        message = peer.receive()
        assert message.name == "ERROR" and message.id == 0, message
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b"", "the end"
        code = {number: name for name, number in spec.page.errors.items()}[message.values["code"]]
        return code, message.values["text"].decode()


def threads(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/task"))


def leave(client, daemon):
    """Until the daemon knows nothing of CLIENT any more."""
    before = threads(daemon)
    client.sock.close()
    wait_for(lambda: threads(daemon) < before, what="the end of the thread")


def config(**keys):
    """--config of a file that says what a client whom nobody knows may have."""
    lines = [f"{key.replace('_', '-')} = {value}\n" for key, value in keys.items()]
    return "--config=" + write(f"{scratch()}/sockd.conf",
                               "[anonymous]\nrights = read,list,write\n" + "".join(lines))


# -- Addresses -----------------------------------------------------------------


def check_cap_per_address():
    with Daemon("--max-per-address=3") as d:
        mine = [client_from(HERE, d) for _ in range(3)]
        tap.ok(all(map(is_served, mine)), "an address has the connections that it may have")
        before = threads(d)
        code, text = turned_away(HERE, d)
        tap.ok(code == "BUSY" and "your address has as many connections as it may" in text,
               "one more is told so", f"{code} {text}")
        equal(threads(d), before, "and costs no thread")
        others = [client_from(THERE, d) for _ in range(3)]
        tap.ok(all(map(is_served, others + mine)), "other addresses do not feel it")
        leave(mine.pop(), d)
        mine.append(client_from(HERE, d))
        tap.ok(is_served(mine[-1]), "when one has ended there is room for another")


def check_cap_spares_those_who_work():
    """Those that have made no request make room, of the same address only."""
    with Daemon("--max-per-address=2") as d:
        before = threads(d)
        working = client_from(HERE, d)
        assert is_served(working)
        silent = [come_from(address, d) for address in (THERE, HERE)]
        wait_for(lambda: threads(d) == before + 3, what="threads for all")
        last = client_from(HERE, d)
        tap.ok(is_served(last), "a newcomer takes the place of one that has made no request")
        equal(silent[1].recv(1000), b"", "which is closed")
        silent[0].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            tap.ok(silent[0].recv(1) is None, "that of another address, though older, is not")
        tap.ok(is_served(working), "nor one that works")
        tap.ok(f"{HERE} has as many connections as it may (--max-per-address): closed the oldest that had "
               "made no request" in d.log_text(), "the log says so", d.log_text())
        equal(turned_away(HERE, d)[0], "BUSY", "when all work, the newcomer is turned away")


def fail_from(address, daemon):
    """A connection that does not speak our language; until the daemon is done with it."""
    before = threads(daemon)
    with come_from(address, daemon) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(4096):
                pass
    wait_for(lambda: threads(daemon) <= before, what="the end of the thread")


def held(daemon, address):
    """What the log says of ADDRESS: [(seconds, failures)]"""
    return [(int(s), int(n)) for s, n in re.findall(
        rf"{re.escape(address)}: held off for (\d+) s after (\d+) failures", daemon.log_text())]


def holds(daemon, address, count):
    """Waits for the COUNT-th time that ADDRESS is held off, which is the last."""
    return wait_for(lambda: len(held(daemon, address)) == count and held(daemon, address)[-1],
                    what=f"being held off for the {count}. time")


def check_penalties():
    with Daemon("--penalty-max=2") as d:
        bystander = client_from(THERE, d)
        for _ in range(FREE):
            fail_from(HERE, d)
        tap.ok(is_served(client_from(HERE, d)), "some failures cost nothing")
        equal(held(d, HERE), [], "and the log is silent about them")


def check_penalties_grow():
    with Daemon("--penalty-max=2") as d:
        for _ in range(FREE):
            fail_from(HERE, d)
        for count, seconds in enumerate((1, 2, 2), 1):
            fail_from(HERE, d)
            equal(holds(d, HERE, count), (seconds, FREE + count), f"the {FREE + count}. failure")
            began = time.monotonic()
            base = threads(d)
            code, text = turned_away(HERE, d)
            said = re.fullmatch(r"too many failures from this address: come back in (\d+) s", text)
            tap.ok(code == "BUSY" and said and 1 <= int(said[1]) <= seconds, "it is told when to come back",
                   f"{code} {text}")
            crowd = [come_from(HERE, d) for _ in range(20)]
            answers = [sock.recv(len(spec.PREFACE), socket.MSG_WAITALL) for sock in crowd]
            equal(set(answers), {spec.PREFACE}, "as often as it comes")
            tap.ok(threads(d) <= base, "without a thread", f"{threads(d)} {base}")
            tap.ok(is_served(client_from(THERE, d)), "others are served")
            for sock in crowd:
                sock.close()
            time.sleep(max(0.0, began + seconds + 0.2 - time.monotonic()))
        tap.ok(len(re.findall("turned a new one away", d.log_text())) == 1,
               "the log has one line about all of them", d.log_text())
        mine = client_from(HERE, d)
        tap.ok(is_served(mine), "then it may come in")
        leave(mine, d)
        fail_from(HERE, d)
        equal(len(held(d, HERE)), 4, "rights that everybody has wipe nothing out")


def check_no_penalties():
    with Daemon("--penalty-max=0") as d:
        for _ in range(3 * FREE):
            fail_from(HERE, d)
        tap.ok(is_served(client_from(HERE, d)), "--penalty-max=0 holds nobody off")


def check_known_client():
    """With an identity, over TLS, while others fail at other addresses, and at its own."""
    with Daemon("--penalty-max=60", "--anonymous=none") as d:
        before = threads(d)
        code = subprocess.run([SOCKD, "invite", "alice"], check=True, stdout=subprocess.PIPE,
                              text=True).stdout.strip()
        file = write(f"{scratch()}/f", b"mine")

        def sockcp(*args):
            return subprocess.run([SOCKCP, server_pin(), "-P", str(d.port), "--retries=0", *args],
                                  check=False, capture_output=True, text=True, timeout=TIMEOUT)

        did(sockcp("join", "127.0.0.1", code), "a client joins")
        for _ in range(FREE + 1):
            fail_from(HERE, d)
        holds(d, HERE, 1)
        did(sockcp("put", file, "127.0.0.1:"), "it does not feel what others do at other addresses")
        for _ in range(FREE):
            fail_from("127.0.0.1", d)
        did(sockcp("put", file, "127.0.0.1:"), "nor failures at its own, as long as these are few")
        wait_for(lambda: threads(d) <= before, what="its end")
        for _ in range(FREE):
            fail_from("127.0.0.1", d)
        did(sockcp("put", file, "127.0.0.1:"), "which it wipes out whenever it comes in")
        subprocess.run([SOCKD, "revoke", "alice"], check=True)


# -- Connections of a client -----------------------------------------------------


def check_cap_per_client():
    with Daemon(config(max_connections=2)) as d:
        mine = [client_from(address, d) for address in (HERE, THERE)]
        tap.ok(all(map(is_served, mine)), "a client has the connections that it may have")
        more = client_from(ELSEWHERE, d)
        equal(the_end(more), "BUSY", "one more is refused, wherever it comes from")
        leave(mine.pop(), d)
        equal(is_served(client_from(HERE, d)), True, "when one has ended there is room")


# -- Room --------------------------------------------------------------------------


def used(root):
    """(names, bytes) below ROOT; the bytes with those of unfinished transfers."""
    names = size = 0
    for where, dirs, files in os.walk(root):
        inside = os.path.relpath(where, root).split(os.sep)[0] != ".sockd-partial"
        names += inside and len(files) + len([name for name in dirs if name != ".sockd-partial"])
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                st = os.lstat(os.path.join(where, name))
                size += st.st_size if stat.S_ISREG(st.st_mode) else 0
    return names, size


class Scale:
    """Weighs ROOT all the time while the context lasts."""

    def __init__(self, root):
        self.root = root
        self.most = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.weigh)

    def weigh(self):
        while not self.ended.wait(0.002):
            self.most = max(self.most, used(self.root)[1])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def ok(self, quota, name):
        self.most = max(self.most, used(self.root)[1])
        return tap.ok(self.most <= quota, f"{name}: never a byte more than the quota", self.most)


def result(answer):
    return answer if isinstance(answer, str) else "DONE"


def check_bytes():
    quota = 1000000
    with Daemon(config(quota_bytes=quota)) as d, Scale(d.root) as scale:
        c = Client(d)
        rows = (("a", 600000, "DONE"), ("b", 400001, "QUOTA"), ("b", 400000, "DONE"),
                ("c", 1, "QUOTA"), ("d", 0, "DONE"))
        for name, size, wanted in rows:
            equal(result(c.put(name.encode(), b"x" * size)), wanted, f"{size} bytes more")
        equal(used(d.root), (3, quota), "the quota is used up to the last byte")
        os.unlink(f"{d.root}/a")
        leave(c, d)
        equal(result(Client(d).put(b"c", b"x" * 600000)), "DONE", "a new connection finds what became free")
        scale.ok(quota, "files of a known size")


def check_unknown_size():
    quota = 10 * MIB + 12345
    with Daemon(config(quota_bytes=quota)) as d, Scale(d.root) as scale:
        c = Client(d)
        data = random_bytes(1, quota)
        more = c.put(b"more", data + b"x", size=spec.UNKNOWN)
        equal(result(more), "QUOTA", "a byte too many of a size that was not told")
        equal(used(d.root), (0, 0), "leaves nothing")
        equal(result(c.put(b"all", data, size=spec.UNKNOWN)), "DONE", "exactly the quota")
        equal(used(d.root), (1, quota), "is there")
        equal(result(c.put(b"one", b"x", size=spec.UNKNOWN)), "QUOTA", "then a single byte is too many")
        scale.ok(quota, "files of unknown sizes")


def check_words():
    with Daemon(config(quota_bytes=5 * MIB)) as d:
        source = write(f"{scratch()}/f", random_bytes(2, 6 * MIB))
        for name, done in (("a file", cp("put", source, at("f"), daemon=d)),
                           ("stdin", cp("put", "-", at("f"), daemon=d, input=random_bytes(3, 6 * MIB)))):
            did(done, f"sockcp, {name}, over the quota", 8)
            tap.ok("the quota of this client is used up" in done.stderr and "has 5.0 M" in done.stderr,
                   "says what there is", done.stderr)
        equal(used(d.root), (0, 0), "nothing is left of it")


def check_replacement():
    """What is there and what replaces it count both, until the one is in the place of the other."""
    quota = 1000000
    with Daemon(config(quota_bytes=quota)) as d, Scale(d.root) as scale:
        c = Client(d)
        answers = [result(c.put(b"f", random_bytes(i, 400000 + i))) for i in range(30)]
        equal(set(answers), {"DONE"}, "one file is replaced again and again")
        equal(result(c.put(b"f", bytes(599972))), "QUOTA", "not by one that does not fit beside it")
        equal(result(c.put(b"f", bytes(599971))), "DONE", "but by one that does")
        scale.ok(quota, "replacements")
    with Daemon(config(quota_bytes=quota)) as d:
        top = scratch()
        for i in range(60):
            write(f"{top}/f{i}", random_bytes(i, 10000))
        for turn in range(3):
            did(cp("-r", "put", f"{top}/.", at("t"), daemon=d), f"a tree of 60 % of the quota, turn {turn}")


def check_partial():
    """An unfinished transfer counts as what it is, and can be finished."""
    quota = 12 * MIB
    with Daemon(config(quota_bytes=quota)) as d, Scale(d.root) as scale:
        source = write(f"{scratch()}/f", random_bytes(4, 11 * MIB))
        with Proxy(d.port, [Fault("cut", UP, 9 * MIB)]) as line:
            did(cp("--retries=0", "put", source, at("f"), port=line.port), "cut off", 3)
        wait_for(lambda: used(d.root)[1] == 2 * CHECKPOINT, what="the partial")
        c = Client(d)
        equal(result(c.put(b"g", bytes(4 * MIB + 1))), "QUOTA", "what is left is too small for others")
        equal(result(c.put(b"g", bytes(MIB))), "DONE", "or large enough")
        did(cp("put", source, at("f"), daemon=d), "but the transfer can be continued")
        equal(digest(f"{d.root}/f"), digest(source), "and is right")
        equal(partials(d.root), [], "no partial is left")
        equal(result(c.put(b"h", b"x")), "QUOTA", "the quota is used up by it")
        scale.ok(quota, "continued transfers")


def check_partial_of_another_source():
    """A partial that is not continued makes room for what takes its place."""
    quota = 12 * MIB
    with Daemon(config(quota_bytes=quota)) as d, Scale(d.root) as scale:
        c = Client(d)
        c.put_part(b"f", random_bytes(5, 8 * MIB), 10 * MIB)
        c.hang_up()
        wait_for(lambda: used(d.root)[1] == 8 * MIB, what="the partial")
        c = Client(d)
        ident, kind, offset, _ = c.ask(b"f", "PARTIAL", size=10 * MIB)
        equal((kind, offset), ("PARTIAL", 8 * MIB), "it is offered")
        answer = c.put(b"f", random_bytes(6, 10 * MIB), how="RESUMABLE", tag=TAG, ident=ident)
        equal(result(answer), "DONE", "and begun anew")
        scale.ok(quota, "a transfer begun anew")


def check_partial_beside_others():
    """What one connection leaves unfinished counts for the others at once."""
    quota = 12 * MIB
    with Daemon(config(quota_bytes=quota)) as d, Scale(d.root) as scale:
        c = Client(d)
        equal(result(c.put(b"small", b"x")), "DONE", "a connection that stays")
        broken = Client(d)
        broken.put_part(b"f", random_bytes(5, 8 * MIB), 10 * MIB)
        leave(broken, d)
        equal(used(d.root)[1], 8 * MIB + 1, "another left a partial")
        equal(result(c.put(b"g", bytes(4 * MIB))), "QUOTA", "what is too large beside it")
        equal(result(c.put(b"g", bytes(4 * MIB - 1))), "DONE", "and what is not")
        scale.ok(quota, "beside a partial")


def check_names():
    with Daemon(config(quota_files=6)) as d:
        c = Client(d)
        equal(c.tree("MKDIR", flags=0, mode=0o755, path=b"a"), "OK", "a directory")
        equal(c.tree("MKDIR", flags=0, mode=0o755, path=b"a"), "OK", "that is there")
        equal(result(c.put(b"b/c/f", b"x")), "DONE", "a file with its directories")
        equal(c.tree("LINK", flags=0, path=b"l", target=b"a"), "OK", "a link")
        equal(used(d.root)[0], 5, "are five names")
        equal(result(c.put(b"d/f", b"x")), "QUOTA", "not two more")
        equal(used(d.root)[0], 5, "of which none was made")
        equal(result(c.put(b"g", b"x")), "DONE", "one more")
        full = {"file": result(c.put(b"h", b"x")),
                "directory": c.tree("MKDIR", flags=0, mode=0o755, path=b"e"),
                "link": c.tree("LINK", flags=0, path=b"m", target=b"a")}
        equal(set(full.values()), {"QUOTA"}, "and nothing behind that")
        same = {"file": result(c.put(b"g", b"another")),
                "directory": c.tree("MKDIR", flags=0, mode=0o755, path=b"a"),
                "link": c.tree("LINK", flags=0, path=b"l", target=b"b")}
        equal(same, {"file": "DONE", "directory": "OK", "link": "OK"}, "what is there can be replaced")
        equal(used(d.root)[0], 6, "six names")
        done = cp("put", write(f"{scratch()}/f", b"x"), at("z"), daemon=d)
        tap.ok(done.returncode == 8 and "needs 1 more names, has 0" in done.stderr,
               "sockcp is told so", done.stderr)


def check_refusals_of_many():
    """In a tree that does not fit, what fits is there, and the rest is named."""
    with Daemon(config(quota_bytes=100000)) as d:
        top = scratch()
        for i in range(50):
            write(f"{top}/f{i:02}", random_bytes(i, 10000))
        done = cp("-r", "put", f"{top}/.", at("t"), daemon=d)
        did(done, "a tree five times the quota", 1)
        equal(used(d.root), (11, 100000), "ten files of it are there")
        equal(len(re.findall("the quota of this client is used up", done.stderr)), 40, "the others were named")


def check_two_at_once():
    """Connections of one client have one quota together."""
    quota = 20 * MIB
    with Daemon(config(quota_bytes=quota)) as d, Scale(d.root) as scale:
        sources = [write(f"{scratch()}/f{i}", random_bytes(i, 6 * MIB)) for i in range(5)]
        under_way = [cp_start("put", source, at(f"f{i}"), daemon=d) for i, source in enumerate(sources)]
        for process in under_way:
            process.communicate()
        equal(sorted(process.returncode for process in under_way), [0, 0, 0, 8, 8],
              "of five files at once three fit")
        equal(used(d.root), (3, 18 * MIB), "and are there")
        scale.ok(quota, "several at once")


# -- Rate ----------------------------------------------------------------------------


def rates_of(daemon, count, seconds):
    """Bytes a second of COUNT downloads at once, each for itself."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Proxy(daemon.port)) for _ in range(count)]
        under_way = [cp_start("--retries=0", "get", at("big"), scratch(), port=line.port) for line in lines]
        wait_for(lambda: all(line.passed("down") > 128 << 10 for line in lines), what="the beginning")
        time.sleep(1)
        began, before = time.monotonic(), [line.passed("down") for line in lines]
        time.sleep(seconds)
        took, after = time.monotonic() - began, [line.passed("down") for line in lines]
        for process in under_way:
            process.kill()
            process.communicate()
    return [(b - a) / took for a, b in zip(before, after, strict=True)]


def check_rate():
    limit = 2 * MIB
    with Daemon(config(limit=limit)) as d:
        write(f"{d.root}/big", random_bytes(7, 64 * MIB))
        for count in (1, 2):
            rates = rates_of(d, count, 4)
            diag(rates)
            tap.ok(0.75 * limit < sum(rates) < 1.25 * limit, f"{count} connections have the rate together", rates)
            tap.ok(min(rates) > 0.2 * limit / count, "and each has some of it", rates)


run(check_cap_per_address, check_cap_spares_those_who_work, check_penalties, check_penalties_grow,
    check_no_penalties, check_known_client, check_cap_per_client, check_bytes, check_unknown_size,
    check_words, check_replacement, check_partial, check_partial_of_another_source,
    check_partial_beside_others, check_names, check_refusals_of_many, check_two_at_once, check_rate)
