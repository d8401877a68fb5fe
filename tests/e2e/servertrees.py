# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile server can do where sockcp asks about names, lists and uploads.

Not a test itself; hostile_server.py is.
"""
import spec
from harness import CHECKPOINT, MIB
from hostile import EVIL, PACE
from peers import WHEN
from serveracts import (BIG, BREACH, F, FAILURES, FLUSH, G, GET, GOT_F, H, LOST, OLD, PUT, PUT_BIG, PUT_MANY,
                        PUT_TREE, REFUSED, STDIN, TABLE, TREE, TREE_P, WRONG, Act, Hang, act, cut, drip, entry, error,
                        listed, message, pour, sends, ticks, until_gone, whole)

# -- What is asked about one name -------------------------------------------------

LOOK = ("-r", *GET)  # asks what f is before it gets it


def looks(name, make, **about):
    """As sends(), for the question what a name is."""
    sends(name, make, **{"on": "STAT", "args": LOOK, "status": BREACH, **about})


looks("another name for the one that was asked about", lambda i: entry(i, "FILE", b"g", 3))
looks(".. for the name that was asked about", lambda i: entry(i, "DIR", b".."))
looks("an absolute name for the one that was asked about", lambda i: entry(i, "FILE", b"/etc/passwd"))
looks("the same question answered twice", lambda i: entry(i, "FILE", b"", len(F)) * 2, status={0, 9},
      done=GOT_F, may={b"out/f": [OLD]})
looks("a kind that is none", lambda i: entry(i, 0, b""))
looks("kind 6", lambda i: entry(i, 6, b""))
looks("a file with an error", lambda i: entry(i, "FILE", b"", 3, code=7))
looks("an error without one", lambda i: entry(i, "ERROR", b""))
looks("an error for a kind", lambda i: entry(i, "ERROR", b"", code=17), status=FAILURES)
looks("a link for a kind", lambda i: entry(i, "LINK", b"", target=b"/etc/passwd"), status=FAILURES)
looks("a fifo for a kind", lambda i: entry(i, "OTHER", b""), status=FAILURES)
looks("a target of what is no link", lambda i: entry(i, "FILE", b"", target=b"x"))
looks("a file of 2^63 bytes", lambda i: entry(i, "FILE", b"", 2**63))
looks("a mode with setgid", lambda i: entry(i, "DIR", b"", mode=0o2755))
looks("a FILE in answer to the question what it is", lambda i: whole(i, F))
looks("an answer to another question", lambda i: entry(7, "FILE", b""))
looks("a directory where no -r was given", lambda i: entry(i, "DIR", b""), args=("-u", *GET),
      status=FAILURES)
looks("'nothing has changed', with -u", lambda i: entry(i, "FILE", b"", len(OLD), mtime=WHEN),
      args=("-u", *GET), status={0}, done={b"out/f": OLD})
looks("silence, with -N", lambda i: b"", args=("-N", *GET), status=LOST)
looks("a file that is there, with -N", lambda i: entry(i, "FILE", b"", len(F)), args=("-N", *GET),
      status={5, 7})

# -- Listings ------------------------------------------------------------------------


def listing(name, do, **about):
    """A behaviour in answer to LIST and NEXT; what d is, is told honestly."""
    about = {"on": "LIST NEXT", "args": TREE, "status": BREACH, **about}
    TABLE.append((name, Act(do, **about)))


def lists(name, make, **about):
    """A listing that is bytes; the files in it are sent honestly."""
    def do(_, c, request):
        c.send_raw(make(request.id))
    listing(name, do, **about)


def names(i, *paths, kind="FILE", **about):
    return b"".join(entry(i, kind, path, len(F), **about) for path in paths)


def one(i, path, **about):
    return names(i, path, **about) + listed(i)


for what, path in (("an absolute name", b"/etc/x"), ("..", b".."), ("../x", b"../x"), ("../../outside/canary",
                   b"../../outside/canary"), ("a/../../x", b"a/../../x"), ("a name of one point", b"."),
                   ("a//b", b"a//b"), ("a/", b"a/"), ("an empty name", b""), ("NUL in a name", b"a\0b"),
                   ("the reserved name", b".sockd-partial"), ("a name in the reserved directory", b".sockd-partial/x"),
                   ("a name in a directory that was not listed", b"new/x"), ("a name of 256 bytes", b"n" * 256),
                   ("a path of 257 names", b"/".join([b"n"] * 257))):
    lists(f"{what} in a listing", lambda i, path=path: one(i, path))
    if path:
        lists(f"a directory with {what} in a listing", lambda i, path=path: one(i, path, kind="DIR"))
        lists(f"a link with {what} in a listing", lambda i, path=path: one(i, path, kind="LINK", target=b"1"))
lists("a path of 16385 bytes in a listing", lambda i: one(i, b"n" * 16385))
lists("a path that is longer than its frame", lambda i: spec.frame("ENTRY", i, bytes([1]) + bytes(26) +
                                                                    b"\xff\xff" + b"abc\0\0"))
lists("a name that comes twice", lambda i: names(i, b"1", b"1") + listed(i), may={b"out/d/1": [F]})
lists("names out of order", lambda i: names(i, b"2", b"1") + listed(i), may={b"out/d/2": [G]})
lists("a file, then a name in it", lambda i: names(i, b"1", b"1/x") + listed(i), may={b"out/d/1": [F]})
lists("a link, then a file through it", lambda i: names(i, b"a", kind="LINK", target=b"sub") + names(i, b"a/x") +
      listed(i), may={b"out/d/a": [("link", b"sub")]})
lists("a link that leads out, then a directory of the same name, then a file in it",
      lambda i: names(i, b"a", kind="LINK", target=b"../../outside") + names(i, b"a", kind="DIR") +
      names(i, b"a/x") + listed(i))
for target in (b"/etc", b"..", b"../x", b"../../outside/dir", b"a/../../../outside", b"./../x", b"sub/../../..",
               b"trap/../..", b".sockd-partial/x", b"sub/.sockd-partial"):
    lists(f"a link to {target.decode()}", lambda i, target=target: one(i, b"a", kind="LINK", target=target),
          status={1, 7})
lists("a link without a target", lambda i: one(i, b"a", kind="LINK"))
lists("a link with NUL in its target", lambda i: one(i, b"a", kind="LINK", target=b"1\0/etc"))
lists("a link with a target of 4096 bytes", lambda i: one(i, b"a", kind="LINK", target=b"t" * 4096))
lists("a file with a target", lambda i: one(i, b"1", target=b"/etc/passwd"))
lists("a link through which another leads out", lambda i: names(i, b"a", kind="LINK", target=b"sub") +
      names(i, b"b", kind="LINK", target=b"a/../../..") + listed(i),
      may={b"out/d/a": [("link", b"sub"), None]}, status={1, 7})
lists("links in circles, and a file through them", lambda i: names(i, b"a", kind="LINK", target=b"b") +
      names(i, b"b", kind="LINK", target=b"a") + names(i, b"b/x") + listed(i),
      may={b"out/d/a": [("link", b"b")], b"out/d/b": [("link", b"a")]})
for trap in (b"trap", b"trap2"):
    lists(f"a file through a link that was here before and leads out ({trap.decode()})",
          lambda i, trap=trap: names(i, trap, kind="DIR") + names(i, trap + b"/f", trap + b"/new") + listed(i),
          files={b"d/1": F, b"d/" + trap + b"/f": F, b"d/" + trap + b"/new": F}, status={1, 7})
lists("a directory where a file is, and a file in it",
      lambda i: names(i, b"file", kind="DIR") + names(i, b"file/x") + listed(i), status={1, 7},
      files={b"d/1": F, b"d/file/x": F})
lists("a file where a directory is", lambda i: one(i, b"sub"), status={1, 7}, files={b"d/1": F, b"d/sub": F})
lists("a link where a directory is", lambda i: one(i, b"sub", kind="LINK", target=b"1"), status={1, 7})
lists("fifos, sockets and devices", lambda i: names(i, b"a", b"b", kind="OTHER") + listed(i), status={1, 8})
lists("kind 0 in a listing", lambda i: one(i, b"1", kind=0))
lists("kind 255 in a listing", lambda i: one(i, b"1", kind=255))
lists("a directory with setuid, setgid and sticky", lambda i: one(i, b"new", kind="DIR", mode=0o7777), args=TREE_P)
lists("a directory of mode 0, and a file in it",
      lambda i: names(i, b"new", kind="DIR", mode=0) + names(i, b"new/x") + listed(i), args=TREE_P,
      files={b"d/1": F, b"d/new/x": F}, status={0, 1, 7},
      may={b"out/d/new": [("dir",)], b"out/d/new/x": [F], b"out/d": [("dir", 0o755)]})
lists("times at both ends of time, with -p", lambda i: names(i, b"new", kind="DIR", mtime=(-2**63, 0)) +
      names(i, b"newer", kind="DIR", mtime=(2**63 - 1, 999999999)) + listed(i), args=TREE_P, status={0, 1, 7},
      may={b"out/d/new": [("dir",)], b"out/d/newer": [("dir",)], b"out/d": [("dir", 0o755)]})
lists("more than was asked for in one part", lambda i: names(i, *(b"%04d" % n for n in range(513)), kind="OTHER") +
      listed(i), status={1, 9})
lists("an end that is neither", lambda i: names(i, b"1") + listed(i, more=2), may={b"out/d/1": [F]})
lists("an end, and more behind it", lambda i: names(i, b"1") + listed(i) + names(i, b"2"), status={0, 9},
      may={b"out/d/1": [F]})
lists("a listing that nothing ends", lambda i: names(i, b"1"), status=REFUSED, may={b"out/d/1": [F]})
lists("OK for an answer to LIST", lambda i: message("OK", i, durability=1))
lists("a file for an answer to LIST", lambda i: whole(i, F))
lists("an error behind some names", lambda i: names(i, b"1") + error(i, "IO", EVIL), status={1, 8},
      may={b"out/d/1": [F]})
lists("files that are not there when they are asked for", lambda i: names(i, b"1", b"missing") + listed(i),
      status={1}, may={b"out/d/1": [F]})
lists("files that are other files when they are asked for",
      lambda i: names(i, b"1", b"2", b"3") + listed(i), status={0},
      done={b"out/d/1": F, b"out/d/2": G, b"out/d/3": H})
for shown, args, terminal in (("", TREE, False), (", in JSON", ("--json", *TREE), False),
                              (", on a terminal with -v", ("-v", "--progress=always", *TREE), True)):
    lists(f"names that no terminal should get{shown}",
          lambda i: names(i, EVIL, EVIL + b"2", kind="OTHER") + entry(i, "ERROR", EVIL + b"3", code=17) + listed(i),
          args=args, terminal=terminal, status={1, 8})
    lists(f"a file of a name that no terminal should get{shown}", lambda i: one(i, EVIL), args=args,
          terminal=terminal, status={0}, files={b"d/" + EVIL: F}, done={b"out/d/" + EVIL: F})


def grow(make, count=300000, part=512):
    """Parts of a listing that has no end, made by MAKE(id, n), and after COUNT names a cut."""
    def do(s, c, request):
        first = s.state.get("next", 0) if request.name == "NEXT" else 0
        s.state["next"] = first + part
        if first >= count:
            cut(c)
        c.send_raw(b"".join(make(request.id, n) for n in range(first, first + part)) + listed(request.id, 1))
    return do


listing("no end of names", grow(lambda i, n: names(i, b"%012d" % n, kind="OTHER"), 20000), status=LOST)
listing("no end of errors", grow(lambda i, n: entry(i, "ERROR", b"1", code=17), 20000), status=LOST)
listing("no end of links", grow(lambda i, n: names(i, b"%012d" % n, kind="LINK", target=b"1"), 3000), status=LOST,
        may=lambda path, now: path.startswith(b"out/d/0") and now == ("link", b"1"))
listing("no end of long names", grow(lambda i, n: names(
    i, b"%012d" % n + b"n" * 200 + (b"/" + b"n" * 255) * 60, kind="ERROR", code=17), 3000), status=LOST)
listing("parts of no names, for ever", lambda _, c, request: c.send_raw(listed(request.id, 1)))
listing("a listing that drips", lambda _, c, request: drip(c, names(request.id, b"1", b"2") + listed(request.id), 0.3),
        status=LOST, args=("--retries=0", *TREE), may={b"out/d/1": [F]})


@act("a directory at first; after a cut, a link in its place and a file through it", on="LIST NEXT", args=TREE,
     status=FAILURES | {0}, files={b"d/1": F, b"d/a/x": F}, may={b"out/d/a": [("dir",)], b"out/d/a/x": [F]})
def changed_mind(s, c, request):
    i = request.id
    if s.connections == 1:
        c.send_raw(names(i, b"a", kind="DIR") + listed(i, more=1))
        c.receive()
        cut(c)
    else:
        c.send_raw(names(i, b"a", kind="LINK", target=b"../..") + names(i, b"a/x") + listed(i))


# -- Uploads -----------------------------------------------------------------------


def done(i, content, digest=None, durability=1, size=None):
    return message("DONE", i, durability=durability, size=len(content) if size is None else size,
                   digest=digest or spec.sha256(content))


def offer(i, kind, offset=0):
    return message("OFFER", i, kind=kind, offset=offset)


def proof(i, digest):
    return message("PROOF", i, digest=digest)


OK = message("OK", FLUSH, durability=1)


def stored(path=b"to/f", content=F):
    """A proof that the server has all that was acknowledged."""
    return lambda s, _: None if s.files.get(path) == content else "status 0, but the server has another file"


def answers(name, make, on="PUT", args=PUT, whole_file=True, **about):
    """A behaviour that is bytes in answer to PUT: MAKE(id), once the file has come."""
    def do(s, c, request):
        if whole_file:
            s.files[request.values["path"]] = c.receive_file(c.receive().values)[0]
        c.send_raw(make(request.id))
        if on != "PUT" or not whole_file:
            raise Hang
    TABLE.append((name, Act(do, on=on, args=args, **about)))


answers("DONE with another digest", lambda i: done(i, F, spec.sha256(G)), status=WRONG)
answers("DONE with a digest of zeros", lambda i: done(i, F, bytes(32)), status=WRONG)
answers("DONE with another size", lambda i: done(i, F, size=1), status=WRONG)
answers("DONE with a size of 2^63", lambda i: done(i, F, size=2**63), status=BREACH)
answers("DONE with durability 2", lambda i: done(i, F, durability=2), status=BREACH)
answers("DONE twice", lambda i: done(i, F) * 2, args=PUT_MANY, status=BREACH)
answers("DONE for a file that was never sent", lambda i: done(i + 100, F) + done(i, F), status=BREACH)
answers("DONE with id 0", lambda i: done(0, F), status=BREACH)
answers("DONE with the id of FLUSH", lambda i: done(FLUSH, F), status=BREACH)
answers("DONE with the digest of zeros before a byte was sent", lambda i: done(i, F, bytes(32), size=len(F)) + OK,
        whole_file=False)
answers("DONE with the right digest before a byte was sent", lambda i: done(i, F) + OK, whole_file=False,
        status=FAILURES | {0})
answers("DONE with size 0 and a digest of zeros for what comes out of a pipe, before it has come",
        lambda i: done(i, b"", bytes(32)) + OK, args=STDIN, whole_file=False, feed=bytes(3 * MIB))
answers("OK for an answer to PUT", lambda i: message("OK", i, durability=1), status=BREACH)
answers("ENTRY for an answer to PUT", lambda i: entry(i, "FILE", b"f"), status=BREACH)
answers("a file for an answer to PUT", lambda i: whole(i, F), status=BREACH)
answers("OFFER for an answer to PUT", lambda i: offer(i, 0), status=BREACH)
answers("PROOF for an answer to PUT", lambda i: proof(i, bytes(32)), status=BREACH)
answers("ERROR for a file that was never sent", lambda i: error(i + 100, "IO"), status=BREACH)
answers("ERROR twice", lambda i: error(i, "IO", EVIL) * 2, args=PUT_MANY, status=FAILURES)
answers("ERROR with what no terminal should get, for an upload", lambda i: error(i, "NO_SPACE", EVIL), status={8})
answers("ERROR of an unknown kind, for an upload", lambda i: error(i, 255, EVIL))
answers("ERROR and then DONE", lambda i: error(i, "IO") + done(i, F), status=FAILURES)
answers("not allowed, for an upload", lambda i: error(i, "DENIED"), status={4})
answers("'the digests differ', for ever", lambda i: error(i, "MISMATCH"), status=WRONG, args=("--retries=3", *PUT))
answers("no answer to an upload", lambda i: b"", status=FAILURES, whole_file=False)
answers("FLUSH answered again and again, the upload never", lambda i: b"", args=PUT, status=FAILURES)


@act("answers to uploads in another order", on="PUT FLUSH", args=PUT_MANY, status=FAILURES | {0},
     proof=stored(b"to/h", H))
def disorder(s, c, request):
    held = s.state.setdefault(s.connections, [])
    if request.name == "PUT":
        content = c.receive_file(c.receive().values)[0]
        s.files[request.values["path"]] = content
        held.append(done(request.id, content))
    else:
        c.send_raw(b"".join(reversed(held)) + message("OK", request.id, durability=1))
        held.clear()


@act("FLUSH that fails", on="FLUSH", args=PUT_TREE, status=FAILURES | {0}, proof=stored(b"to/tree/1"))
def no_flush(_, c, request):
    c.send_raw(error(request.id, "IO"))
    raise Hang


@act("a connection that ends behind DONE", on="FLUSH", args=PUT, status={0}, proof=stored())
def done_and_gone(_, c, request):
    del request
    cut(c)


@act("NOTEs for ever in place of an answer to FLUSH", on="FLUSH", args=("--retries=0", *PUT_TREE), status={0, 3},
     proof=stored(b"to/tree/1"))
def slow_flush(_, c, request):
    del request
    pour(c, (message("NOTE", 0, done=n) for n in ticks()))


@act("a server that takes nothing in", on="ASK", args=PUT_BIG, status=LOST)
def deaf(s, c, request):
    c.send_raw(offer(request.id, 0))
    until_gone(s, c)


@act("a server that takes in a little now and then", on="ASK", args=PUT_BIG, status=LOST)
def hard_of_hearing(s, c, request):
    c.send_raw(offer(request.id, 0))
    until_gone(s, c, 0.3 * PACE, lambda: c.sock.recv(100))


@act("an error while the file is on its way, and nothing taken in after it", on="PUT", args=PUT_BIG)
def refuse_midway(s, c, request):
    c.receive()
    c.send_raw(error(request.id, "NO_SPACE", EVIL))
    until_gone(s, c)


@act("DONE while the file is on its way, with a digest of zeros", on="PUT", args=PUT_BIG)
def done_midway(_, c, request):
    c.receive()
    c.send_raw(done(request.id, BIG, bytes(32)) + OK)
    raise Hang


def asks(name, make, on="ASK", args=PUT_BIG, **about):
    """A behaviour that is bytes in answer to ASK."""
    def do(_, c, request):
        c.send_raw(make(request.id))
        raise Hang
    TABLE.append((name, Act(do, on=on, args=args, **{"status": BREACH, **about})))


PROVED = spec.sha256(BIG[:CHECKPOINT])
asks("an offer beyond the size", lambda i: offer(i, 1, 3 * CHECKPOINT) + proof(i, bytes(32)))
asks("an offer of 2^63 - 1 bytes", lambda i: offer(i, 1, 2**63 - 1) + proof(i, bytes(32)))
asks("an offer of 2^63 bytes", lambda i: offer(i, 1, 2**63))
asks("an offer of a kind that is none", lambda i: offer(i, 4))
asks("an offer of nothing, at an offset", lambda i: offer(i, 0, 5))
asks("an offer of a whole file that nobody asked for", lambda i: offer(i, 2, len(BIG)) + proof(i, spec.sha256(BIG)))
asks("'it is the same' where nobody asked for that", lambda i: offer(i, 3))
asks("an offer twice", lambda i: offer(i, 1, CHECKPOINT) * 2)
asks("an offer for another request", lambda i: offer(i + 1, 1, CHECKPOINT))
asks("an offer without its proof", lambda i: offer(i, 1, CHECKPOINT), status=LOST)
asks("an offer, and another message for its proof", lambda i: offer(i, 1, CHECKPOINT) + error(i, "IO"))
asks("a proof for another request", lambda i: offer(i, 1, CHECKPOINT) + proof(i + 1, PROVED))
asks("a proof without an offer", lambda i: proof(i, PROVED))
asks("a proof twice", lambda i: offer(i, 1, CHECKPOINT) + proof(i, PROVED) * 2)
asks("DONE for an answer to ASK", lambda i: done(i, BIG))
asks("OK for an answer to ASK", lambda i: message("OK", i, durability=1))
asks("NOTEs for ever, and no proof", lambda i: offer(i, 1, CHECKPOINT) + b"".join(
    message("NOTE", 0, done=n) for n in range(100000)), status=REFUSED)
asks("'it exists', where nobody asked for that", lambda i: error(i, "EXISTS"), status=FAILURES)
asks("silence where a name is not to be replaced", lambda i: b"", args=("-N", *PUT), status=LOST)
asks("a partial where only its time was asked for", lambda i: offer(i, 1, 1), args=("-u", *PUT))


@act("a proof of other bytes", on="ASK", args=PUT_BIG, status={0}, proof=stored(b"to/big", BIG))
def wrong_proof(_, c, request):
    c.send_raw(offer(request.id, 1, CHECKPOINT) + proof(request.id, bytes(32)))


@act("a proof, then none, and so on for ever", on="ASK PUT", args=("--retries=3", *PUT_BIG), status=LOST)
def forgetful(s, c, request):
    i = request.id
    if request.name == "PUT":
        cut(c)
    c.send_raw(offer(i, 1, CHECKPOINT) + proof(i, PROVED) if s.connections % 2 else offer(i, 0))


@act("a digest that differs, each time a checkpoint further and back", on="PUT", args=("--retries=2", *PUT_BIG),
     status=WRONG)
def never_right(_, c, request):
    c.receive_file(c.receive().values)
    c.send_raw(error(request.id, "MISMATCH"))


@act("a tree whose directories are files", on="MKDIR LINK ATTR", args=PUT_TREE, status=FAILURES)
def no_directories(_, c, request):
    c.send_raw(error(request.id, "NOT_DIR", EVIL))


@act("DONE for a directory", on="MKDIR", args=PUT_TREE, status=BREACH)
def directory_done(_, c, request):
    c.send_raw(done(request.id, b""))
    raise Hang


@act("OK for a link, twice", on="LINK", args=PUT_TREE, status={0, 9}, proof=stored(b"to/tree/1"))
def link_twice(_, c, request):
    c.send_raw(message("OK", request.id, durability=1) * 2)
    raise Hang
