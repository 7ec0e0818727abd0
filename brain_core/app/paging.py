"""Pages of the history and of the ledger by a cursor: where the last row of a page stands, for callers to hand back.

A part of `Brain`.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from brain_core.errors import UsageError
from brain_core.store.codec import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_core.run import Run
    from brain_core.store.database import Database
    from brain_core.store.fires import LedgerEntry

_FIRST_ID = UUID(int=0)
MAX_LIMIT = 1_000
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Of the inputs of runs and of what has started them, which may be a megabyte each: where a page ends."""


class Paging:
    """A part of `Brain`: the history and the ledger, page by page."""

    db: Database

    async def history_page(
        self,
        *,
        workflow: str | None = None,
        workflows: Sequence[str] | None = None,
        status: str | None = None,
        trigger: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 20,
    ) -> tuple[list[Run], str | None]:
        """Return runs without their steps, the latest first, and the cursor of the next page; None at the end.

        Created from `since` on and before `until`; `trigger` is the name of one, unregistered or not; `workflows` are
        patterns (`*` any text, `?` one character) of which the workflow's name has to match one. A page goes on where
        the one before ended, whatever has started meanwhile; it is shorter than `limit` where its runs are large.
        UsageError for a cursor that is none.
        """
        from brain_core.store import runs

        before = _start(limit, cursor, until)
        wanted = runs.RunFilter(
            workflow=None if workflow is None else visible(workflow),
            workflows=None if workflows is None else [visible(pattern) for pattern in workflows],
            status=None if status is None else visible(status),
            trigger=None if trigger is None else await self._trigger_id(trigger),
            since=since,
        )
        found, more = await runs.history_within(self.db, MAX_PAGE_BYTES, wanted, limit=limit, before=before)
        return found, _written(found[-1].created_at, found[-1].id) if more else None

    async def fires_page(
        self,
        *,
        trigger: str | None = None,
        workflows: Sequence[str] | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 20,
    ) -> tuple[list[LedgerEntry], str | None]:
        """Return what became of due instants, the latest first, and the cursor of the next page; None at the end.

        Of all triggers, unregistered ones included, or of one by its name; due from `since` on (a stretch that reaches
        over it, too) and before `until`. `workflows` as in `history_page`. UsageError for a cursor that is none.
        """
        from brain_core.store import fires

        before = _start(limit, cursor, until)
        found = await fires.page(
            self.db,
            trigger=None if trigger is None else await self._trigger_id(trigger),
            workflows=None if workflows is None else [visible(pattern) for pattern in workflows],
            outcome=None if outcome is None else visible(outcome),
            since=since,
            # One more than is asked for tells whether there is a next page.
            limit=limit + 1,
            before=before,
        )
        last = found[limit - 1].row if len(found) > limit else None
        return found[:limit], None if last is None else _written(last.due_at, last.trigger_id)

    async def _trigger_id(self, name: str) -> UUID:
        from brain_core.store import triggers

        # What the database would refuse to look for is nowhere, either.
        return (await triggers.get(self.db, visible(name), unregistered=True)).id


def _start(limit: int, cursor: str | None, until: datetime | None) -> tuple[datetime, UUID] | None:
    """Return where a page begins, None for the latest of all."""
    if not 0 < limit <= MAX_LIMIT:
        raise UsageError(f"limit is {limit}; it has to be 1 to {MAX_LIMIT:,}")
    starts = [] if cursor is None else [_read(cursor)]
    if until is not None:
        starts.append((until, _FIRST_ID))
    return min(starts) if starts else None


def _written(at: datetime, last: UUID | str) -> str:
    text = f"{at.astimezone(UTC).isoformat()} {last}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str) -> tuple[datetime, UUID]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, _, run_id = text.partition(" ")
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None:
            raise ValueError(moment)
        return at, UUID(run_id)
    except (ValueError, binascii.Error):
        raise UsageError(f"'{cursor[:80]}' is no cursor; give the one that the page before came with") from None
