"""What went wrong with the database, in one line that never holds a password."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_GONE = ("08", "53")
_GONE_CODES = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25006"})


def is_lost(error: BaseException) -> bool:
    """Whether the server or the connection went away, so that the same may succeed on a new connection."""
    import asyncpg

    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return code.startswith(_GONE) or code in _GONE_CODES
    # A value that asyncpg cannot encode is an InterfaceError and a ValueError: trying again would not help.
    return not isinstance(error, ValueError)


def is_nobodys_fault(error: BaseException) -> bool:
    """Whether a statement met others (a deadlock, a serialization failure), so that the same again may succeed."""
    return str(getattr(error.__cause__, "sqlstate", "")).startswith("40")


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line of bounded length."""
    if isinstance(error, OSError) and error.strerror and "\n" not in error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def place_of(url: str) -> str:
    """Return `database 'x' at host:port` for a URL, without user and password."""
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        name = unquote(parts.path[1:]) or options.get("dbname", [""])[0]
        hosts = parts.netloc.rpartition("@")[2] or options.get("host", [""])[0] or "localhost"
        port = options.get("port", [""])[0]
    except ValueError:
        return "the database of the URL"
    where = unquote(hosts) + (f":{port}" if port else "")
    return f"database '{name}' at {where}" if name else f"the server at {where}"


def refusal(url: str, error: BaseException) -> str:
    """Return the line for a connection that could not be made."""
    code: Any = getattr(error, "sqlstate", None)
    place = place_of(url)
    fix = "correct the URL"
    if isinstance(error, TimeoutError):
        return f"{place} did not answer in time; is the server there and the network open? Else {fix}"
    if isinstance(error, OSError):
        return f"no PostgreSQL answers for {place} ({_system_text(error)}); start it or {fix}"
    if code == "3D000":
        return f"the server has no {place}; create it or {fix}"
    if code is not None and code.startswith("28"):
        return f"{place} refuses the login ({one_line(error)}); {fix}"
    if isinstance(error, OverflowError):
        return f"{place} cannot be: a port is at most 65535; {fix}"
    if isinstance(error, ValueError):
        # The text of such an error may quote a part of the URL, and so of the password.
        return "the database URL cannot be read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    return f"{place} accepts no connection ({one_line(error)})"


def _system_text(error: OSError) -> str:
    # The numbers of a failed name look-up are not errno's.
    if error.errno is not None and not isinstance(error, socket.gaierror):
        import os

        return os.strerror(error.errno)
    return one_line(error)
