# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS, identities and invitations of sockd-protocol(7), written from its words.

Not a test itself; secondimpl.py is.  TLS is Python's.  What the page adds to it stands
here: ALPN, the identity in a certificate, and what is in a code.
"""
import base64
import collections
import contextlib
import hashlib
import os
import re
import socket
import ssl
import subprocess

import spec

ALPN = "sockd/1"
CHECK = 3

Code = collections.namedtuple("Code", "server secret")
Item = collections.namedtuple("Item", "tag content whole")

# -- Identities --------------------------------------------------------------


def items(der):
    """What stands in DER (X.690), one after the other."""
    found, at = [], 0
    while at < len(der):
        tag, length, start = der[at], der[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[start:start + count], "big")
            start += count
        end = start + length
        if end > len(der):
            raise spec.Breach("DER ends early")
        found.append(Item(tag, der[start:end], der[at:end]))
        at = end
    return found


def public_key(certificate):
    """SubjectPublicKeyInfo as it stands in CERTIFICATE: RFC 5280, section 4.1."""
    to_be_signed = items(items(certificate)[0].content)[0]
    fields = items(to_be_signed.content)
    if fields[0].tag == 0xA0:  # the version
        del fields[0]
    # serial, signature, issuer, validity, subject, subjectPublicKeyInfo
    return fields[5].whole


def identity_of(key):
    """Of a SubjectPublicKeyInfo."""
    return hashlib.sha256(key).digest()


def identity_text(identity):
    return "SHA256:" + base64.b64encode(identity).decode().rstrip("=")


def make_identity(directory, name, kind="ed25519", options=()):
    """A PEM file with a new key and a certificate for it."""
    path = os.path.join(directory, name)
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", kind, *options, "-nodes", "-days", "3650",
                           "-subj", f"/CN={name}", "-keyout", "-", "-out", "-"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if made.returncode != 0 or made.stdout.count(b"-----BEGIN ") != 2:
        raise ChildProcessError(f"openssl: {made.stderr.decode()}")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(made.stdout)
    return path


def identity_in(path):
    """Of the PEM file PATH."""
    with open(path, encoding="ascii") as file:
        text = file.read()
    begin = "-----BEGIN CERTIFICATE-----"
    certificate = ssl.PEM_cert_to_DER_cert(begin + text.partition(begin)[2])
    return identity_of(public_key(certificate))


# -- Invitations -------------------------------------------------------------


def read_code(text):
    """The Code in TEXT; ValueError when it is none."""
    if not re.fullmatch(r"sockd1\.[A-Za-z0-9_-]{68}", text):
        raise ValueError("no code")
    data = base64.urlsafe_b64decode(text.removeprefix("sockd1."))
    if hashlib.sha256(data[:-CHECK]).digest()[:CHECK] != data[-CHECK:]:
        raise ValueError("the check is wrong")
    return Code(data[:32], data[32:48])


def write_code(code):
    data = code.server + code.secret
    data += hashlib.sha256(data).digest()[:CHECK]
    return "sockd1." + base64.urlsafe_b64encode(data).decode("ascii")


# -- TLS ---------------------------------------------------------------------


def context(side, identity=None, alpn=(ALPN,), versions=(ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)):
    """IDENTITY is a PEM file, or None.  A client looks at the server's identity itself."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if side == "client" else ssl.PROTOCOL_TLS_SERVER)
    ctx.minimum_version, ctx.maximum_version = versions
    if side == "client":
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE
    if alpn:
        ctx.set_alpn_protocols(list(alpn))
    if identity:
        ctx.load_cert_chain(identity)
    return ctx


def peer_identity(sock):
    """None when it showed no certificate."""
    certificate = sock.getpeercert(binary_form=True)
    return identity_of(public_key(certificate)) if certificate else None


def start(sock, ctx, expected=None):
    """TLS on SOCK, a client's; the server must have the identity EXPECTED, if there is one.
    Nothing has been said then but TLS."""
    try:
        sock = ctx.wrap_socket(sock)
        if sock.selected_alpn_protocol() != ALPN:
            raise spec.Breach("the server did not choose sockd/1")
        if expected and peer_identity(sock) != expected:
            raise spec.Breach("another server")
    except BaseException:
        sock.close()
        raise
    return sock


def connect(port, timeout, identity=None, expected=None):
    return start(spec.connect(port, timeout), context("client", identity), expected)


def server_context(identity, client):
    """Of a server that asks for a certificate.  Python takes only those that it has been
    told to trust: that of the one CLIENT (a PEM file)."""
    ctx = context("server", identity)
    ctx.verify_mode = ssl.CERT_OPTIONAL
    ctx.load_verify_locations(client)
    return ctx


def answer_in_plaintext(listener, error, text, at_once):
    """Answers the next client of LISTENER as a busy server does, AT_ONCE or when it has
    said something; all that the client says until it goes."""
    heard = b""
    with listener.accept()[0] as sock, contextlib.suppress(ConnectionError):
        if not at_once:
            heard = sock.recv(1 << 16)
        sock.sendall(spec.PREFACE + spec.frame("ERROR", 0, spec.encode(
            "ERROR", {"code": spec.page.errors[error], "text": text})))
        sock.shutdown(socket.SHUT_WR)
        while more := sock.recv(1 << 16):
            heard += more
    return heard
