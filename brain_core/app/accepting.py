"""Accepting: what is delivered from outside becomes a queued run of its trigger, once for each delivery (G14)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID, uuid4, uuid5

from brain_core.app.recent import Recent
from brain_core.errors import InputError, StepFailed, TriggerNotFound
from brain_core.store import triggers
from brain_core.store.codec import encode, visible
from brain_core.store.enqueuer import Accepted, Enqueuer

if TYPE_CHECKING:
    from brain_core.placeholders import Json
    from brain_core.store.database import Database
    from brain_core.store.triggers import TriggerRow

LARGE = 64 * 1024
"""Bytes: what is made of so many may be many thousands of values, over which the loop would stand still."""
MOST_REMEMBERED = 4_096
"""Names: who tries out what there is must not fill the memory."""


class Accepting:
    """Takes deliveries for triggers by their names; of one event loop."""

    def __init__(self, db: Database, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._enqueuer = Enqueuer(db)
        self._rows: Recent[str, TriggerRow | None] = Recent(lambda name: triggers.find(db, name), MOST_REMEMBERED)

    async def find(self, name: str, type_name: str) -> TriggerRow | None:
        """Return the trigger of a name and a type, whatever its state, as it was a moment ago."""
        if not name.isprintable():
            return None  # what no name has, and the database might refuse to look for
        row = await self._rows.get(name)
        return row if row is not None and row.type == type_name else None

    async def accept(
        self, name: str, type_name: str, payload: Mapping[str, Json], delivery_key: str | None, size: int
    ) -> Accepted:
        """Queue a run, as `Brain.accept` says."""
        told = {**payload, "type": type_name, "name": name}
        try:
            if size < LARGE:
                text = encode(told, self._max_bytes).text
            else:
                text = (await asyncio.to_thread(encode, told, self._max_bytes)).text
        except StepFailed as error:
            raise InputError(f"the delivery cannot be recorded: {str(error).replace('the output', 'it')}") from None
        before: UUID | None = None
        while (row := await self.find(name, type_name)) is not None and row.id != before:
            run_id = uuid4() if delivery_key is None else uuid5(row.id, visible(delivery_key))
            if (accepted := await self._enqueuer.enqueue(run_id, row.id, text)) is not None:
                return accepted
            # Paused or unregistered a moment ago; perhaps another one has its name by now.
            self._rows.forget(name, row)
            before = row.id
        raise TriggerNotFound(f"nothing takes deliveries as '{name[:80]}'")

    async def drain(self) -> None:
        """Return when everything that was handed over has its answer."""
        await self._enqueuer.drain()
