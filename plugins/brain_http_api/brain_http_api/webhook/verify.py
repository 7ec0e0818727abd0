"""Whether a delivery is from who has the secret. Pure: the time is given; nothing of a body is read but its bytes.

How much is computed depends on the size of the body alone, and neither on the scheme, nor on what the headers hold, nor
on how many secrets are valid, but for a few microseconds: whoever knocks learns nothing by a watch. What comes in is
compared as bytes, in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import NamedTuple

Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""

WINDOW = 300.0
"""Seconds that a Standard Webhooks timestamp may be off, both ways."""
KEYS = 2
"""How many keys are tried: always so many."""
MOST_SIGNATURES = 10
"""How many a Standard Webhooks delivery may bring; while a sender changes its secret there are two."""

# No full stop: that is what separates the parts of what is signed, and they could be shifted against each other.
_ID = re.compile(rb"[!-\-/-~]{1,255}")
_TIMESTAMP = re.compile(rb"[0-9]{1,15}")
_KEY = re.compile(rb"[!-~](?:[ -~]{0,253}[!-~])?")
_PREFIX = b"sha256="


class Refused(Exception):
    """A delivery is not from who has the secret. Its text is for the log, and never for the sender."""


class WrongSignature(Refused):
    """A delivery is signed with another secret, or is not as it was signed."""


class Proof(NamedTuple):
    """What is known of a delivery whose signature is right.

    `id` is what the sender calls it. `key` is what makes it the same delivery when it comes again. GitHub signs the
    body and no header, so its id proves nothing; yet it is the key, since equal bodies may be different deliveries (a
    `repository_dispatch` twice). Without an id the body is.
    """

    id: str | None
    key: str | None


class _Claim(NamedTuple):
    """What a delivery says of itself: `head` is signed before the body, `given` are the signatures that it brings."""

    head: bytes = b""
    given: tuple[bytes, ...] = ()
    id: bytes | None = None
    problem: str | None = None


def verified(scheme: str, keys: Sequence[bytes], headers: Headers, body: bytes, now: float) -> Proof:
    """Return the proof of a delivery, signed with one of exactly KEYS keys; Refused says what is wrong with it.

    `now` counts seconds since 1970.
    """
    if len(keys) != KEYS:
        raise ValueError(f"{KEYS} keys are tried, not {len(keys)}")
    claim = _claim(scheme, headers, now)
    right = False
    for key in keys:
        # Not of head and body in one: only one scheme has a head, and to copy a large body takes a while.
        mac = hmac.new(key, claim.head, "sha256")
        mac.update(body)
        expected = key if scheme == "bearer" else _written(scheme, mac.digest())
        for given in claim.given:
            # To a byte more than there may be: how long it takes would tell that something long was compared.
            right |= hmac.compare_digest(expected, given[: len(expected) + 1])
    if claim.problem is not None:
        raise Refused(claim.problem)
    if not right:
        raise WrongSignature("the secret is not the one" if scheme == "bearer" else "no signature of it is right")
    found = None if claim.id is None else claim.id.decode("ascii")
    if scheme == "github" and found is None:
        return Proof(None, f"body:{hashlib.sha256(body).hexdigest()}")
    return Proof(found, None if found is None else f"id:{found}")


def _written(scheme: str, mac: bytes) -> bytes:
    return base64.b64encode(mac) if scheme == "standard" else _PREFIX + mac.hex().encode()


def _claim(scheme: str, headers: Headers, now: float) -> _Claim:
    try:
        if scheme == "standard":
            return _standard(headers, now)
        if scheme == "github":
            return _github(headers)
        if scheme == "bearer":
            return _bearer(headers)
        raise Refused(f"this version knows no scheme '{scheme}'")
    except Refused as refused:
        return _Claim(problem=str(refused))


def _standard(headers: Headers, now: float) -> _Claim:
    """Read a delivery of Standard Webhooks, whose signature covers its id, its time and its body."""
    delivery, timestamp = _one(headers, b"webhook-id"), _one(headers, b"webhook-timestamp")
    signatures = _one(headers, b"webhook-signature")
    if not _ID.fullmatch(delivery):
        raise Refused("its webhook-id is none: 1 to 255 visible characters, no full stop among them")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Refused("its webhook-timestamp is no whole number of seconds")
    parts = signatures.split(b" ", MOST_SIGNATURES)
    if len(parts) > MOST_SIGNATURES:
        raise Refused(f"its webhook-signature holds more than {MOST_SIGNATURES} signatures")
    given = tuple(part[3:] for part in parts if part.startswith(b"v1,"))
    off = int(timestamp) - now
    late = None
    if abs(off) > WINDOW:
        late = f"its time is {abs(off):.0f} s {'ahead' if off > 0 else 'ago'}, and {WINDOW:.0f} s may be"
    return _Claim(b"%s.%s." % (delivery, timestamp), given, delivery, late)


def _github(headers: Headers) -> _Claim:
    """Read a delivery of GitHub, whose signature covers the body alone."""
    given = _one(headers, b"x-hub-signature-256")
    return _Claim(b"", (given,), _optional(headers, b"x-github-delivery"))


def _bearer(headers: Headers) -> _Claim:
    """Read a delivery that shows the secret itself, and may name a key for what is to be one run."""
    kind, _, given = _one(headers, b"authorization").partition(b" ")
    if kind.lower() != b"bearer":
        raise Refused("its header Authorization is not of the kind Bearer")
    return _Claim(b"", (given.strip(b" "),), _optional(headers, b"idempotency-key"))


def _one(headers: Headers, name: bytes) -> bytes:
    value = _maybe(headers, name)
    if value is None:
        raise Refused(f"it has no header {name.decode()}")
    return value


def _optional(headers: Headers, name: bytes) -> bytes | None:
    value = _maybe(headers, name)
    if value is not None and not _KEY.fullmatch(value):
        raise Refused(f"its header {name.decode()} does not hold 1 to 255 visible characters")
    return value


def _maybe(headers: Headers, name: bytes) -> bytes | None:
    found = [value for given, value in headers if given == name]
    if len(found) > 1:
        raise Refused(f"it has several headers {name.decode()}")
    if found and not found[0].isascii():
        raise Refused(f"its header {name.decode()} is not ASCII")
    return found[0] if found else None
