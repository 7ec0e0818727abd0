"""Known: what the names of webhooks stand for at this moment, and the keys that their deliveries may be signed with."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from brain_http_api.webhook.secrets import FIRST, purpose_of, signing_key

if TYPE_CHECKING:
    from brain_core import Brain, Query

REMEMBERED = 0.5
"""Seconds for which secrets are taken to be as they were."""
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


class _Secrets(NamedTuple):
    trigger_id: UUID
    scheme: str
    keys: tuple[bytes, bytes]
    ahead: float
    until: float


class Known:
    """Looks up webhooks by their names; of one event loop. What does not exist is looked up like what does."""

    def __init__(self, brain: Brain, query: Query) -> None:
        self._brain = brain
        self._query = query
        self._known: dict[str, _Secrets] = {}
        self._asked: dict[tuple[str, UUID, str], asyncio.Task[_Secrets]] = {}

    async def hook(self, name: str) -> Hook:
        """Return what a name stands for, as it was a moment ago; DatabaseError when the database cannot be asked."""
        row = await self._brain.registered(name, "webhook")
        trigger_id = _NOBODY if row is None else row.id
        scheme = "standard" if row is None else str(row.config.get("scheme"))
        found = self._known.get(name)
        if found is None or found[:2] != (trigger_id, scheme) or monotonic() >= found.until:
            found = await self._ask(name, trigger_id, scheme)
        why = "there is no such webhook" if row is None else None if row.state == "active" else f"it is {row.state}"
        return Hook(scheme, found.keys, found.ahead, why, row is not None)

    async def _ask(self, *of: *tuple[str, UUID, str]) -> _Secrets:
        asked = self._asked.get(of)
        if asked is None:
            asked = self._asked[of] = asyncio.create_task(self._read(*of), name="http-api-webhook-secrets")
            asked.add_done_callback(lambda done: self._answered(of, done))
        # Shielded: others wait for the same answer.
        return await asyncio.shield(asked)

    def _answered(self, of: tuple[str, UUID, str], done: asyncio.Task[_Secrets]) -> None:
        self._asked.pop(of, None)
        if not done.cancelled():
            done.exception()  # whoever has asked may be gone: then nobody looks

    async def _read(self, name: str, trigger_id: UUID, scheme: str) -> _Secrets:
        began = monotonic()
        (row,) = await self._query("http_api_webhook_secrets", {"triggers": [str(trigger_id)]})
        generation = row["generation"]
        old = generation - 1 if row["old_until"] is not None else generation
        derived = (self._brain.derive_key(purpose_of(trigger_id, scheme, one)) for one in (generation, max(old, FIRST)))
        new_key, old_key = (signing_key(scheme, key) for key in derived)
        found = _Secrets(trigger_id, scheme, (new_key, old_key), float(row["now"]) - monotonic(), began + REMEMBERED)
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[name] = found
        return found
