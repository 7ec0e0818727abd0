"""Heads: what a request has to look like, beyond what the parser asks for."""

from __future__ import annotations

import re

from brain_http_api.headers import RawHeaders
from brain_http_api.problems import Problem

REQUEST_LINE = re.compile(rb"[A-Z][A-Z-]* [\x21-\x7e]+ HTTP/1\.[01]\r\n")
EMPTY_LINES = re.compile(rb"(?:\r\n)*")
UPGRADE = re.compile(rb"(?i)\r\nupgrade:[\t\x20-\x7e\x80-\xff]*(?=\r\n)")


def doubt_of(pending: bytearray) -> str | None:
    """Say why what has come, which is not nothing, can be no request; None while it can, or when it is one."""
    if pending[0] == 0x16:
        return "this port speaks HTTP without TLS; use http://"
    if (end := pending.find(b"\n")) < 0 and pending[:1].isupper():
        return None
    line = bytes(pending[: end + 1])
    if REQUEST_LINE.fullmatch(line):
        return "this server is no proxy" if line.startswith(b"CONNECT ") else None
    if b" HTTP/2" in line:
        return "HTTP/2 is not spoken here; use HTTP/1.1"
    return "this is no request of HTTP/1.1: its first line has to be METHOD /path HTTP/1.1"


def length_of(headers: RawHeaders, *, old: bool) -> int | None:
    """Return the Content-Length, if any, of a request, of HTTP/1.0 when it is `old`.

    Refuse what the parser lets through and what could be read in two ways.
    """
    hosts: list[bytes] = []
    codings: list[bytes] = []
    length = None
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            codings.append(value.lower())
        elif name == b"content-length":
            length = int(value)
    if len(hosts) > 1 or not (hosts or old):
        raise Problem(400, "bad-request", "a request has to have one header Host")
    if codings and (old or codings != [b"chunked"]):
        raise Problem(400, "bad-request", "the only Transfer-Encoding is chunked, of HTTP/1.1")
    return length
