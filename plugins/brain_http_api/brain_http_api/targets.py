"""Targets of requests: the forms that are taken, and what no address of ours holds."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import httptools

from brain_http_api.problems import Problem

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def judged_target(method: bytes, url: bytes) -> bytes:
    """Return path and query of a request's target; a Problem for one that means nothing here."""
    try:
        parts = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise Problem(400, "bad-request", "the target of the request is malformed") from None
    path, query = parts.path or b"/", parts.query
    if not (path.startswith(b"/") or (path == b"*" and method == b"OPTIONS")):
        raise Problem(400, "bad-request", "the target of a request has to begin with /")
    if b"%" in url and (_BAD_ESCAPE.search(path) or b"%00" in url or not _is_text(path)):
        raise Problem(400, "bad-request", "the address holds escapes that stand for no text in UTF-8, or one for NUL")
    return path if query is None else path + b"?" + query


def _is_text(path: bytes) -> bool:
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return True
