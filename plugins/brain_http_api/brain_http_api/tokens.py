"""Tokens: who a token is, by the one of the environment and by those that are stored, hashed."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from brain_http_api.access import Access

if TYPE_CHECKING:
    from brain_core import Query

ENVIRONMENT = "THE_BRAIN_API_TOKEN"


class Tokens:
    """The tokens that are valid now. `given` is the one of the environment, which may do everything."""

    def __init__(self, query: Query, given: str | None) -> None:
        self._query = query
        self._given = None if given is None else _digest(given)

    async def any(self) -> bool:
        """Whether anybody could be let in."""
        return self._given is not None

    async def access(self, token: str) -> Access | None:
        """Return what a token allows at this moment; None for one that is not valid."""
        digest = _digest(token)
        if self._given is not None and hmac.compare_digest(digest, self._given):
            return Access("environment", "admin")
        return None


def _digest(token: str) -> bytes:
    # Headers are latin-1, environments UTF-8: a token is compared by its bytes, whatever it holds.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
