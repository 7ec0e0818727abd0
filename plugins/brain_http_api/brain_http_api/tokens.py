"""Tokens: who a token is and what it allows, by the one of the environment and by those that are stored, hashed.

A token is `brain_`, 16 characters by which it is found, `_`, and 32 random bytes as URL-safe base64: a form that
scanners for secrets can look for. What is stored is its SHA-256: it is random, so nothing slower is needed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from brain_core import Query

logger = logging.getLogger("brain.http_api")

ENVIRONMENT = "THE_BRAIN_API_TOKEN"
NAME_OF_ENVIRONMENT = "environment"
"""What the token of the environment is called in records; no stored one is called so."""
PATIENCE = 3.0
"""Seconds after which a request is not kept waiting any longer by a database that does not answer."""

Scope = Literal["read", "run", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""From the least to the most; each holds those before it."""

_TOKEN = re.compile(r"brain_([a-z2-7]{16})_[A-Za-z0-9_-]{43}", re.ASCII)
_NO_DIGEST = bytes(32)


class Access(NamedTuple):
    """What one token allows. `patterns` are of names of workflows (`*` any text, `?` one character); none means all.

    A workflow that they leave out does not exist for the bearer.
    """

    name: str
    scope: Scope
    patterns: tuple[str, ...] = ()

    def allows(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def sees(self, workflow: str) -> bool:
        # Late: it comes with most of brain-core.
        from brain_core.facade import matches_any

        return not self.patterns or matches_any(self.patterns, workflow)


def new_token() -> str:
    """Return a token that nobody has."""
    return f"brain_{base64.b32encode(secrets.token_bytes(10)).decode().lower()}_{secrets.token_urlsafe(32)}"


def id_of(token: str) -> str | None:
    """Return the part of a token by which it is found; None for a text that has not the form of one."""
    # Checked before the expression is, which then never looks at a long text.
    match = _TOKEN.fullmatch(token) if len(token) == 66 else None
    return None if match is None else match[1]


def digest_of(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """The tokens that are valid now. `given` is the one of the environment, which may do everything.

    Nothing is remembered of what is stored: a token that is revoked or has expired is refused from that moment on.
    """

    def __init__(self, query: Query, given: str | None) -> None:
        self._query = query
        self._given = None if given is None else hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        self._noting: dict[str, asyncio.Task[None]] = {}

    async def any_stored(self) -> bool:
        """Whether a stored one is valid; waits for a database that is away."""
        (found,) = await self._query("http_api_token_any", {})
        return bool(found)

    async def access(self, token: str) -> Access | None:
        """Return what a token, as its header came, allows at this moment; None for one that is not valid.

        DatabaseUnreachable soon when the database is needed for that and away. The token of the environment needs none.
        """
        # A header's bytes are its text in latin-1, so a token is compared by its bytes, whatever they are.
        digest = hashlib.sha256(token.encode("latin-1", "backslashreplace")).digest()
        if self._given is not None and hmac.compare_digest(digest, self._given):
            return Access(NAME_OF_ENVIRONMENT, "admin")
        if (token_id := id_of(token)) is None:
            return None
        found = await self._soon("http_api_token", {"id": token_id})
        row: Mapping[str, Any] = found[0] if found else {}
        stored = bytes.fromhex(row["digest"]) if row else _NO_DIGEST
        # Compared where there is no row too: how long it takes does not tell which ids there are.
        if not (hmac.compare_digest(digest, stored) and row and row["valid"]):
            return None
        if row["note_use"] and token_id not in self._noting:
            self._noting[token_id] = task = asyncio.create_task(self._note_use(token_id), name="http-api-token-used")
            # Not by the task itself: one that is cancelled before it begins does nothing at all.
            task.add_done_callback(lambda _: self._noting.pop(token_id, None))
        return Access(row["name"], row["scope"], tuple(row["patterns"]))

    async def close(self) -> None:
        """End what is still being noted; before the database is closed."""
        noting = list(self._noting.values())
        for task in noting:
            task.cancel()
        if noting:
            await asyncio.wait(noting)

    async def _note_use(self, token_id: str) -> None:
        from brain_core import BrainError

        try:
            await self._soon("http_api_token_used", {"id": token_id})
        except BrainError as error:
            # The next request tries again.
            logger.debug("the use of a token could not be noted: %s", error)

    async def _soon(self, name: str, values: Mapping[str, Any]) -> list[Any]:
        from brain_core.facade import BrainError, DatabaseError, DatabaseUnreachable

        try:
            async with asyncio.timeout(PATIENCE):
                return await self._query(name, values)
        except TimeoutError:
            raise DatabaseUnreachable(f"statement '{name}' had no answer within {PATIENCE:g} s") from None
        except DatabaseError:
            raise
        except BrainError as error:
            # Of no client's making, and its text, which names the database, is for none.
            logger.warning("the table of tokens cannot be used: %s", error)
            raise DatabaseUnreachable(str(error)) from error
