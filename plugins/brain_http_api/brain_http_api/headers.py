"""The headers that every answer has, whoever gives it."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from time import time

RawHeaders = list[tuple[bytes, bytes]]

CLOSE = (b"connection", b"close")


def common_headers() -> RawHeaders:
    """Return the date, and what keeps answers out of caches and from being taken for what they are not."""
    return [
        (b"date", _date(int(time()))),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
