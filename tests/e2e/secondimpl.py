#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second implementation of the protocol, written from sockd-protocol(7) alone.

Its client puts, continues, gets and lists against sockd; its server serves sockcp.
The examples of the manual are replayed byte by byte.  What is forbidden is in
breaches.py.
"""
import contextlib
import os
import re
import socket
import time

import spec
from harness import (CHECKPOINT, MIB, SLOW, Daemon, at, cp, did, new_seed, partials, random_bytes,
                     read, run, scratch, tap, wait_for, write)
from peers import (ENTRY, ERROR, NO_TAG, OTHER_RUN, PUT, TAG, WHEN, Client, Server, equal,
                   the_end)

# -- The page itself ---------------------------------------------------------


def check_tables():
    """What the page says of one thing in two places is the same."""
    page = spec.page
    width = {**spec.OPAQUE, "u8": 1, "u16": 2, "u32": 4, "u64": 8, "time": 12, "str": 2}
    for name, fields in page.fields.items():
        if name in ("DATA", "HELLO", "ERROR", "ABORT"):
            continue
        sizes = [width[kind] for kind, _ in fields]
        equal(page.offsets[name], [sum(sizes[:n]) for n in range(len(sizes))], f"offsets of {name}")
        variable = {"path": 16384, "target": 4095}
        most = sum(sizes) + sum(variable[field] for kind, field in fields if kind == "str")
        equal(page.limits[name], (sum(sizes), most), f"length of {name}")
    spoken = {name for _, _, name in page.states}
    equal(spoken | {"NOTE"}, set(page.types), "each message stands in the table of states")


def check_source():
    """The page has the numbers of the sources."""
    source = read(os.path.join(os.environ["SOCKD_SRCDIR"], "lib/base/err.h")).decode()
    codes = {name: int(code) for name, code in re.findall(r"ERR_(\w+) = (\d+)", source)}
    wire = {name: code for name, code in codes.items() if 0 < code < codes["LOCAL"]}
    equal(spec.page.errors, wire, "error codes are those of err.h")
    source = read(os.path.join(os.environ["SOCKD_SRCDIR"], "lib/wire/msg.h")).decode()
    enum = re.search(r"enum msg_type \{(.*?)\}", source, re.S)[1]
    types = {name: int(number) for name, number in re.findall(r"MSG_(\w+) = (\d+)", enum)}
    equal(spec.page.types, types, "messages are those of msg.h")


def check_payloads():
    vectors = {}
    path = os.path.join(os.environ["SOCKD_SRCDIR"], "tests/vectors/messages.txt")
    for line in read(path).decode().splitlines():
        if line and not line.startswith("#"):
            name, *words = line.split()
            vectors[name] = words
    equal(spec.page.payloads(), vectors, "the payloads of the page are tests/vectors/messages.txt")
    equal({name.partition(".")[0] for name in vectors}, set(spec.page.types) - {"DATA"},
          "there is one of each message")
    for name, words in vectors.items():
        payload = bytes.fromhex("".join(words))
        kind = name.partition(".")[0]
        equal(spec.encode(kind, spec.decode(kind, payload)).hex(), payload.hex(),
              f"{name} is what its table says")


def check_frames():
    for frame in (frame for block in spec.page.frames() for frame in block):
        if frame.name != "preface":
            equal(spec.frame(frame.name, frame.id, frame.payload).hex()[:64], frame.raw.hex()[:64],
                  f"header and checksum of {frame.name} {frame.id}")
    crc = re.search(r"CRC-32 of the 13 bytes ([0-9a-f \n]+)\.", spec.page.text)[1]
    equal(spec.zlib.crc32(bytes.fromhex(crc)), 0x4CBBAE70, "the worked checksum")


def replay(client, block):
    """Sends the client's frames and compares the server's, but for words meant for people."""
    for frame in block:
        if frame.side == "C":
            client.send_raw(frame.raw)
        elif frame.name == "preface":
            equal(client.read_preface(), frame.raw, "replay: preface")
        elif frame.name in ("HELLO", "ERROR"):
            words = {"agent": b"", "text": b""}
            message = client.receive()
            equal((message.name, message.id, {**message.values, **words}),
                  (frame.name, frame.id, {**spec.decode(frame.name, frame.payload), **words}),
                  f"replay: {frame.name}")
        else:
            message = client.receive()
            data = message.values if message.name == "DATA" else spec.encode(message.name, message.values)
            equal((message.name, message.id, data.hex()), (frame.name, frame.id, frame.payload.hex()),
                  f"replay: {frame.name} {frame.id}")


def check_examples():
    _, _, _, greeting, *session, broken, resumed, _ = spec.page.frames()
    with Daemon() as d:
        with Client(d, greet=False) as c:
            for block in (greeting, *session):
                replay(c, block)
        equal(read(f"{d.root}/hello.txt"), b"hello\n", "the example is a file now")
        with Client(d, greet=False) as c:
            replay(c, greeting)
            replay(c, broken)
            c.hang_up()
        equal([os.path.getsize(path) for path in partials(d.root)], [CHECKPOINT], "the broken one is kept")
        with Client(d, greet=False) as c:
            replay(c, greeting)
            replay(c, resumed)
        equal(read(f"{d.root}/big"), bytes(CHECKPOINT) + b"abc", "the continued example is a file")


# -- Uploads -----------------------------------------------------------------


def check_put():
    data = random_bytes(new_seed(), 2 * CHECKPOINT + 12345)
    with Daemon() as d, Client(d) as c:
        for size in (0, 1, CHECKPOINT - 1, CHECKPOINT, CHECKPOINT + 1, len(data)):
            for known in (size, spec.UNKNOWN):
                name = f"a/b/{size}"
                done = c.put(name.encode(), data[:size], size=known)
                what = f"put of {size} bytes, {'known' if known == size else 'unknown'} size"
                equal(done, {"durability": 1, "size": size, "digest": spec.sha256(data[:size])}, what)
                tap.ok(read(f"{d.root}/{name}") == data[:size], f"{what}: is there")
        holes = bytes(CHECKPOINT) + b"a" + bytes(2 * MIB) + b"b" + bytes(3 * MIB)
        for known in (len(holes), spec.UNKNOWN):
            done = c.put(b"holes", holes, size=known, holes=True)
            equal(done["digest"], spec.sha256(holes), "put of a file with holes")
            tap.ok(read(f"{d.root}/holes") == holes and os.stat(f"{d.root}/holes").st_blocks * 512 < 4 * MIB,
                   "it has them there", os.stat(f"{d.root}/holes").st_blocks)
        before = c.received
        tap.ok(c.get(b"holes")[1] == holes and c.received - before < 4 * MIB, "get of it, without them",
               c.received - before)
        equal(c.put(b"fast", b"x", "NO_SYNC")["durability"], 0, "NO_SYNC: not on disk")
        equal(c.put(b"slow", b"x")["durability"], 1, "without it: on disk")
        c.put(b"exact", b"x", "PRESERVE", mode=0o751, mtime=WHEN)
        st = os.stat(f"{d.root}/exact")
        equal((st.st_mode & 0o7777, st.st_mtime_ns), (0o751, 1700000000500000000), "PRESERVE")
        c.put(b"exact", b"y", mode=0o777)
        umask = os.umask(0)
        os.umask(umask)
        equal(os.stat(f"{d.root}/exact").st_mode & 0o7777, 0o777 & ~umask, "without it: the umask")
    with Daemon("--chunk-size=4K") as d, Client(d) as c:
        equal((c.hello["chunk_size"], c.chunk), (4096, 4096), "the smaller chunk size holds")
        c.put(b"f", data)
        tap.ok(read(f"{d.root}/f") == data, "put in chunks of 4096")
        with Client(d, chunk=65536) as big:
            tap.ok(big.get(b"f")[1] == data, "get in chunks of 4096")


def break_off(d, path, data, size):
    """Leaves a partial with all of DATA verified."""
    with Client(d) as c:
        c.put_part(path, data, size)
        c.hang_up()


def check_resume():
    data = random_bytes(new_seed(), 2 * CHECKPOINT + MIB)
    size, good = len(data), 2 * CHECKPOINT
    with Daemon() as d, Client(d) as c:
        break_off(d, b"f", data[:good + 4096], size)
        equal(c.ask(b"f", "PARTIAL", size, tag=NO_TAG)[1], "NONE", "another tag has no partial")
        equal(c.ask(b"g", "PARTIAL", size)[1], "NONE", "another path has none")
        equal(c.ask(b"f", "PARTIAL", good - 1)[1], "NONE", "a shorter file has none")
        ident, *offer = c.ask(b"f", "PARTIAL", size)
        equal(offer, ["PARTIAL", good, spec.sha256(data[:good])], "the partial is offered and proved")
        done = c.put(b"f", data, "RESUMABLE", TAG, ident, offset=good)
        equal(done["digest"], spec.sha256(data), "and continued")
        tap.ok(read(f"{d.root}/f") == data and not partials(d.root), "the file is there, the partial gone")

        break_off(d, b"f", data[:good], size)
        ident, kind, _, proof = c.ask(b"f", "PARTIAL", size)
        other = bytes(size)
        tap.ok(kind == "PARTIAL" and proof != spec.sha256(other[:good]), "another source is told apart")
        c.put(b"f", other, "RESUMABLE", TAG, ident)
        tap.ok(read(f"{d.root}/f") == other and not partials(d.root), "and starts at 0")


def check_broken():
    """What is kept of an upload that does not come to its end."""
    data = random_bytes(new_seed(), 2 * CHECKPOINT + MIB)
    size = len(data)
    with Daemon() as d, Client(d) as c:
        ident = c.put_part(b"w", data[:CHECKPOINT], size)
        for start in range(CHECKPOINT, 2 * CHECKPOINT, MIB):
            c.send_raw(spec.frame("DATA", ident, data[start:start + MIB]))
        c.send("CHECK", ident, offset=2 * CHECKPOINT, digest=bytes(32))
        equal(c.answer(ident).name, "MISMATCH", "a wrong CHECK is answered while the file is on its way")
        c.send_error("ABORT", ident, "ABORTED")
        equal(c.ask(b"w", "PARTIAL", size)[1:3], ("PARTIAL", CHECKPOINT), "what was good before is kept")
        for code, kept in (("ABORTED", "PARTIAL"), ("CHANGED", "NONE"), ("MISMATCH", "NONE")):
            path = code.encode()
            ident = c.put_part(path, data[:CHECKPOINT], size)
            c.send_error("ABORT", ident, code)
            equal(c.put_answer(ident), "ABORTED", f"ABORT with {code} is answered")
            equal(c.ask(path, "PARTIAL", size)[1], kept, f"then a partial: {kept}")


def check_crash():
    data = random_bytes(new_seed(), CHECKPOINT + MIB)
    with Daemon() as d:
        with Client(d) as c:
            c.put_part(b"f", data, len(data) + 1)
            wait_for(lambda: partials(d.root) and os.path.getsize(partials(d.root)[0]) == len(data),
                     what="the bytes")
            d.kill9()
        d.start()
        with Client(d) as c:
            equal(c.ask(b"f", "PARTIAL", len(data) + 1)[1:], ("PARTIAL", CHECKPOINT, spec.sha256(data[:CHECKPOINT])),
                  "after a crash, what ends at a checkpoint is offered")


def check_offers():
    data = random_bytes(new_seed(), CHECKPOINT + 7)
    with Daemon() as d, Client(d) as c:
        write(f"{d.root}/f", data)
        os.utime(f"{d.root}/f", ns=(0, 1700000000500000000))
        os.chmod(f"{d.root}/f", 0o640)
        equal(c.ask(b"f", "UPDATE", len(data))[1], "SAME", "size and time are the same")
        equal(c.ask(b"f", "UPDATE", len(data), (1700000000, 0))[1], "SAME", "nanoseconds 0 are the same")
        equal(c.ask(b"f", "UPDATE", len(data), (1700000000, 1))[1], "NONE", "others are not")
        equal(c.ask(b"f", "UPDATE", len(data) + 1)[1], "NONE", "nor is another size")
        equal(c.ask(b"f", "NO_CLOBBER")[1], "EXISTS", "NO_CLOBBER")
        equal(c.ask(b"f", "UPDATE NO_CLOBBER", len(data))[1], "EXISTS", "comes first")
        for how, mode in (("PRESERVE", 0o604), ("PRESERVE NO_CLOBBER", 0o600)):
            for path, content in ((b"f", data), (b"empty", b"")):
                write(f"{d.root}/empty", b"")
                ident, kind, offset, proof = c.ask(path, "WHOLE", len(content))
                equal((kind, offset, proof), ("WHOLE", len(content), spec.sha256(content)),
                      f"WHOLE of {path} is proved")
                done = c.put(path, content, how, TAG, ident, offset=len(content), mode=mode)
                equal(done, {"durability": 1, "size": len(content), "digest": proof},
                      f"a lost DONE is had again, with {how}")
        equal(os.stat(f"{d.root}/f").st_mode & 0o7777, 0o604, "NO_CLOBBER leaves the mode alone")
        equal(c.ask(b"f", "WHOLE", 5)[1], "NONE", "WHOLE of another size is not offered")
        break_off(d, b"p", data[:CHECKPOINT], len(data))
        for path, tag in ((b"q", TAG), (b"p", NO_TAG)):
            with Client(d) as other:
                ident = other.ask(b"p", "PARTIAL", len(data))[0]
                other.send("PUT", ident, flags=0, alg=1, tag=tag, path=path)
                other.send("FILE", ident, size=len(data), offset=CHECKPOINT, mode=0, mtime=WHEN)
                equal(the_end(other), "PROTOCOL", f"an offer is not for {path} with {tag[:1]}")
        ident = c.ask(b"f", "WHOLE", len(data))[0]
        equal(c.put(b"x", b"new", ident=ident)["size"], 3, "nor is one taken up by a new file")
        tap.ok(read(f"{d.root}/f") == data and read(f"{d.root}/x") == b"new", "which leaves that one alone")


def check_takeover():
    data = random_bytes(new_seed(), CHECKPOINT + MIB)
    with Daemon() as d, Client(d) as old, Client(d, OTHER_RUN) as other, Client(d) as new:
        old.put_part(b"f", data[:CHECKPOINT + 1000], len(data))
        wait_for(lambda: partials(d.root) and os.path.getsize(partials(d.root)[0]) > CHECKPOINT,
                 what="a partial")
        began = time.monotonic()
        ident, *offer = new.ask(b"f", "PARTIAL", len(data))
        equal(offer, ["PARTIAL", CHECKPOINT, spec.sha256(data[:CHECKPOINT])], "the same run takes over")
        tap.ok(time.monotonic() - began < 3 * SLOW, "at once")
        tap.ok("E" in the_end(old), "the old connection is closed")
        private = other.put(b"f", data[:MIB], "RESUMABLE", TAG)
        equal(private["size"], MIB, "another run is received beside it, without a partial")
        equal(new.put(b"f", data, "RESUMABLE", TAG, ident, offset=CHECKPOINT)["size"], len(data), "and continues")
        tap.ok(read(f"{d.root}/f") == data, "the later one stands")


def check_pause():
    """A client that says no more need not be alive: what it sent is made a file."""
    data = random_bytes(new_seed(), CHECKPOINT + MIB)
    with Daemon() as d, Client(d) as old, Client(d) as new:
        ident = old.next_id()
        old.send("PUT", ident, flags=PUT["RESUMABLE"], alg=1, tag=TAG, path=b"f")
        old.send_file(ident, data)
        wait_for(lambda: os.path.exists(f"{d.root}/f"), what="the file, without FLUSH")
        equal(new.ask(b"f", "PARTIAL WHOLE", len(data))[1], "WHOLE", "it is offered to the next connection")
        equal(old.answer(ident).name, "DONE", "and answered to the first")


# -- Downloads, trees, order -------------------------------------------------


def check_get():
    data = random_bytes(new_seed(), 2 * CHECKPOINT + 12345)
    with Daemon() as d, Client(d) as c:
        write(f"{d.root}/f", data)
        write(f"{d.root}/empty", b"")
        os.symlink("f", f"{d.root}/link")
        for path, content in ((b"f", data), (b"empty", b""), (b"link", data)):
            file, got = c.get(path)
            tap.ok(got == content and file["size"] == len(content), f"get of {path}")
        for have in (1, CHECKPOINT, CHECKPOINT + 1, len(data)):
            file, got = c.get(b"f", data[:have])
            tap.ok(file["offset"] == have and got == data, f"with {have} bytes proved")
        file, got = c.get(b"f", data[:CHECKPOINT], proof=bytes(32))
        tap.ok(file["offset"] == 0 and got == data, "with a wrong proof: from the beginning")
        file, got = c.get(b"f", data + b"more")
        tap.ok(file["offset"] == 0 and got == data, "with more than the file has: from the beginning")
    with Daemon() as d, Client(d) as c:
        equal(c.get(b"none", b"abc"), "NOT_FOUND", "the first request fails, and its proof is passed over")
        equal(c.get(b"a/../b", b"abc"), "BAD_NAME", "so does one with a bad name")
        equal(c.put(b"f", b"here")["size"], 4, "and the connection goes on")


def listing_key(entry):
    """Paths in the order of the page: the end, '/', the other bytes."""
    return entry["path"].replace(b"/", b"\0")


def check_tree():
    with Daemon() as d, Client(d) as c:
        equal(c.tree("MKDIR", flags=0, mode=0o700, path=b"a/b"), "NOT_FOUND", "MKDIR without parents")
        equal(c.tree("MKDIR", flags=1, mode=0o700, path=b"a/b"), "OK", "MKDIR with PARENTS")
        equal(c.tree("MKDIR", flags=1, mode=0o700, path=b"a/b"), "OK", "MKDIR of what is there")
        equal(c.tree("MKDIR", flags=0, mode=0o700, path=b""), "OK", "MKDIR of the root")
        equal(c.tree("LINK", flags=0, path=b"a/l", target=b"../x"), "OK", "LINK")
        equal(os.readlink(f"{d.root}/a/l"), "../x", "is a link")
        equal(c.tree("LINK", flags=0, path=b"a/l", target=b"b"), "OK", "LINK takes another's place")
        equal(c.tree("LINK", flags=2, path=b"a/l", target=b"x"), "EXISTS", "not with NO_CLOBBER")
        for target in (b"../../x", b"/x", b"b/../../../x"):
            equal(c.tree("LINK", flags=0, path=b"a/out", target=target), "ESCAPE", f"LINK to {target}")
        for name in ("a.x", "a-x", "a/b/1", "a/b-1", "aa", "b\xff"):
            c.put(os.fsencode(name), name.encode(), "PARENTS PRESERVE", mode=0o604, mtime=WHEN)
        equal(c.tree("ATTR", mode=0o510, mtime=WHEN, path=b"a/b"), "OK", "ATTR")
        st = os.stat(f"{d.root}/a/b")
        equal((st.st_mode & 0o7777, st.st_mtime_ns), (0o510, 1700000000500000000), "mode and time are set")
        equal(c.tree("ATTR", mode=0o510, mtime=WHEN, path=b"aa"), "NOT_DIR", "ATTR of a file")
        parts = []
        entries = c.list(how="RECURSIVE", most=2, parts=parts)
        paths = [entry["path"] for entry in entries]
        equal(paths, [b"a", b"a/b", b"a/b/1", b"a/b-1", b"a/l", b"a-x", b"a.x", b"aa",
                      "b\xff".encode()], "LIST, recursive")
        equal(entries, sorted(entries, key=listing_key), "in the order of the page")
        equal(parts, [2, 4, 6, 8], "in parts of two")
        equal([ENTRY[entry["kind"]] for entry in entries[:5]], ["DIR", "DIR", "FILE", "FILE", "LINK"], "kinds")
        equal((entries[2]["size"], entries[2]["mode"], entries[2]["mtime"], entries[4]["target"]),
              (5, 0o604, WHEN, b"b"), "what is said of them")
        equal([entry["path"] for entry in c.list(b"a")], [b"b", b"b-1", b"l"], "LIST of one directory")
        check_stat(d, c)


def check_stat(d, c):
    """STAT, in the tree that check_tree made."""
    os.symlink("a/l", f"{d.root}/to-link")
    os.symlink("/", f"{d.root}/out")
    for path, kind, size in ((b"aa", "FILE", 2), (b"a/l/1", "FILE", 5), (b"a/l", "DIR", 0),
                             (b"to-link", "DIR", 0), (b"", "DIR", 0)):
        found = c.stat(path)
        equal((found["path"], ENTRY[found["kind"]], found["size"], found["target"]), (b"", kind, size, b""),
              f"STAT of {path}")
    equal((c.stat(b"aa")["mode"], c.stat(b"aa")["mtime"]), (0o604, WHEN), "mode and time")
    for path, error in ((b"none", "NOT_FOUND"), (b"out", "ESCAPE"), (b"a//b", "BAD_NAME"), (b"aa/x", "NOT_DIR")):
        equal(c.stat(path), error, f"STAT of {path} is {error}")
    equal(c.flush(), [], "each is one answer")


def check_hard_listing():
    """What cannot be listed is said, and the rest is listed."""
    with Daemon() as d, Client(d) as c:
        write(f"{d.root}/in/.sockd-partial", "a file of this name")
        write(f"{d.root}/in/z", "z")
        os.symlink("../../x", f"{d.root}/in/out")
        os.mkfifo(f"{d.root}/in/pipe")
        deep = os.open(f"{d.root}/in", os.O_RDONLY)
        for _ in range(260):
            os.mkdir("d", dir_fd=deep)
            below = os.open("d", os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = below
        os.close(deep)
        entries = c.list(b"in", "RECURSIVE")
        said = {entry["path"]: (ENTRY[entry["kind"]], ERROR.get(entry["code"])) for entry in entries}
        equal(len(said), 256 + 4, "all names that are paths are there, and the directory itself")
        equal(said[b""], ("ERROR", "BAD_NAME"), "a name that is no path")
        equal(said[b"/".join([b"d"] * 256)], ("ERROR", "NAME_TOO_LONG"), "a path that is too long")
        equal(said[b"out"], ("ERROR", "ESCAPE"), "a link that leads out")
        equal((said[b"pipe"], said[b"z"]), (("OTHER", None), ("FILE", None)), "and what is well")
        target = scratch()
        done = cp("-r", "get", at("in"), f"{target}/in", daemon=d)
        did(done, "sockcp gets what it can", 1)
        tap.ok(read(f"{target}/in/z") == b"z", "all of it")
        tap.ok("not a valid path" in done.stderr and "too long" in done.stderr, "and says what it left out",
               done.stderr[-1500:])


def check_order():
    with Daemon() as d, Client(d) as c:
        count = 700
        sent = []
        for n in range(count):
            sent.append(c.next_id())
            c.send("PUT", sent[-1], flags=PUT["NO_CLOBBER"], alg=1, tag=NO_TAG, path=b"%d" % (n % 600))
            c.send_file(sent[-1], b"x")
        first = [c.receive() for _ in range(512)]
        equal([message.id for message in first], sent[:512], "512 uploads are answered without FLUSH")
        rest = c.flush()
        equal([message.id for message in rest], sent[512:], "the others by FLUSH, all in order")
        equal([message.name for message in first + rest], ["DONE"] * 600 + ["ERROR"] * 100,
              "what failed among them in its turn")
        tap.ok(c.hello["depth"] >= 1024, "the depth leaves room for two batches", c.hello)

def kernel_holds():
    """How many bytes the kernels take on behalf of one who does not read."""
    sent = 0
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            spec.connect(listener.getsockname()[1], 0.5, narrow=True) as sock, listener.accept()[0]:
        with contextlib.suppress(TimeoutError):
            while True:
                sent += sock.send(bytes(4096))
    return sent


def check_full_line():
    """Nobody reads what the server sends, and yet it takes 128 KiB of requests in."""
    with Daemon() as d, Client(d, narrow=True) as c:
        name = b"/".join([b"n" * 250] * 15)
        write(os.fsencode(d.root) + b"/" + name, b"x")
        write(f"{d.root}/big", bytes(16 * MIB))
        file = c.answer(c.request("GET", alg=1, offset=0, path=b"big")).values  # from here on it only sends
        request = {"alg": 1, "offset": 0, "path": name}
        size = len(spec.frame("GET", 1, spec.encode("GET", request)))
        ids = [c.next_id() for _ in range(((128 << 10) + kernel_holds()) // size - 2)]
        c.sock.sendall(b"".join(spec.frame("GET", ident, spec.encode("GET", request)) for ident in ids))
        tap.ok(c.receive_file(file)[0] == bytes(16 * MIB), "a server that waits takes requests in")
        found = [c.receive_file(c.answer(ident).values)[0] for ident in ids]
        equal(found, [b"x"] * len(ids), "and answers them in order")


# -- The server --------------------------------------------------------------


def check_server():
    data = random_bytes(new_seed(), 2 * CHECKPOINT + 777)
    here = scratch()
    write(f"{here}/small", "small")
    write(f"{here}/large", data)
    with Server() as s:
        did(cp("put", f"{here}/small", f"{here}/large", at("dir/"), port=s.port), "sockcp puts two files")
        equal({path: spec.sha256(got) for path, got in s.files.items()},
              {b"dir/small": spec.sha256(b"small"), b"dir/large": spec.sha256(data)}, "they arrive")
        did(cp("put", "-", at("piped"), port=s.port, input=data), "sockcp puts standard input")
        tap.ok(s.files[b"piped"] == data, "it arrives")
        did(cp("get", at("dir/small"), at("dir/large"), f"{here}/back/", port=s.port), "sockcp gets them")
        tap.ok(read(f"{here}/back/large") == data and read(f"{here}/back/small") == b"small", "they come back")
        did(cp("-r", "get", at("dir"), f"{here}/tree", port=s.port), "sockcp gets the tree")
        tap.ok(read(f"{here}/tree/large") == data, "it comes back")
        did(cp("get", at("none"), f"{here}/x", port=s.port), "sockcp says what is not there", 5)
        equal(s.fault, None, "sockcp keeps to the rules")
        tap.ok({"PUT", "ASK", "GET", "LIST", "STAT", "FLUSH"} <= set(s.asked), "all of it was used", s.asked)


def check_lying_server():
    """sockcp believes only what it can check."""
    here = scratch()
    write(f"{here}/f", bytes(CHECKPOINT))
    with Server(lie="digest") as s:
        did(cp("put", f"{here}/f", at("g"), port=s.port), "a DONE with another digest", 6)
    with Server({b"f": b"abc"}, "digest") as s:
        did(cp("--retries=0", "get", at("f"), f"{here}/g", port=s.port), "bytes that are not the digest's", 6)
        tap.ok(not os.path.exists(f"{here}/g"), "make no file")
    with Server({b"d/1": b"1", b"d/2": b"2"}, "order") as s:
        did(cp("--retries=0", "-r", "get", at("d"), f"{here}/d", port=s.port), "a listing that is not in order", 9)
    with Server(lie="unasked offer") as s:
        did(cp("--retries=0", "put", f"{here}/f", at("g"), port=s.port), "an offer that was not asked for", 9)
    with Server(lie="version") as s:
        did(cp("put", f"{here}/f", at("g"), port=s.port), "another version", 9)


if __name__ == "__main__":
    run(check_tables, check_source, check_payloads, check_frames, check_examples, check_put, check_resume,
        check_broken, check_crash, check_offers, check_takeover, check_pause, check_get, check_tree,
        check_hard_listing, check_order, check_full_line, check_server, check_lying_server)
