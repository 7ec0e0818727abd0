"""Known: what the names of webhooks stand for at this moment, and the keys that their deliveries may be signed with."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from brain_core.facade import Recent
from brain_http_api.webhook.secrets import FIRST, purpose_of, signing_key

if TYPE_CHECKING:
    from brain_core import Brain, Query

MOST_REMEMBERED = 1_024
"""Names: who tries out what there is must not fill the memory."""
_NOBODY = UUID(int=0)


class Hook(NamedTuple):
    """What a name stands for. `why` is None when deliveries are taken, otherwise why nothing is.

    `keys` are two in any case, made up where there is none: what is refused costs as much as what is not.
    """

    scheme: str
    keys: tuple[bytes, bytes]
    ahead: float
    """Seconds that are to be added to the monotonic clock for the database's, as seconds since 1970."""
    why: str | None
    there: bool

    @property
    def now(self) -> float:
        """The time by the database's clock (G5)."""
        return monotonic() + self.ahead


class _Of(NamedTuple):
    """Whose secrets. With the name, so that what has none costs as much as what has: one look for each name."""

    name: str
    trigger_id: UUID
    scheme: str


class _Secrets(NamedTuple):
    keys: tuple[bytes, bytes]
    ahead: float


class Known:
    """Looks up webhooks by their names; of one event loop. What does not exist is looked up like what does."""

    def __init__(self, brain: Brain, query: Query) -> None:
        self._brain = brain
        self._query = query
        self._secrets = Recent(self._read, MOST_REMEMBERED)

    async def hook(self, name: str) -> Hook:
        """Return what a name stands for, as it was a moment ago; DatabaseError when the database cannot be asked."""
        row = await self._brain.registered(name, "webhook")
        of = _Of(name, _NOBODY, "standard") if row is None else _Of(name, row.id, str(row.config.get("scheme")))
        found = await self._secrets.get(of)
        why = "there is no such webhook" if row is None else None if row.state == "active" else f"it is {row.state}"
        return Hook(of.scheme, found.keys, found.ahead, why, row is not None)

    async def _read(self, of: _Of) -> _Secrets:
        (row,) = await self._query("http_api_webhook_secrets", {"triggers": [str(of.trigger_id)]})
        new = row["generation"]
        old = new if row["old_until"] is None else max(new - 1, FIRST)
        new_key, old_key = (
            signing_key(of.scheme, self._brain.derive_key(purpose_of(of.trigger_id, of.scheme, one)))
            for one in (new, old)
        )
        return _Secrets((new_key, old_key), float(row["now"]) - monotonic())
