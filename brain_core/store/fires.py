"""Fires: which triggers are due, firing them (G1, G3, G4), and the ledger of what became of each instant (G2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID, uuid4

from brain_core.errors import DatabaseError, DatabaseUnreachable
from brain_core.store.codec import decode
from brain_core.store.patterns import like
from brain_core.store.queue import Claimed, claimed
from brain_core.store.triggers import CatchUp, TriggerRow, trigger_row
from brain_core.store.trouble import is_nobodys_fault

if TYPE_CHECKING:
    from brain_core.store.database import Database

_FIRST_TIME = datetime(1, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime.max.replace(tzinfo=UTC)
_LAST_ID = UUID(int=2**128 - 1)
_RETRIES = 5

Outcome = Literal["fired", "merged", "skipped_overlap", "skipped_paused"]


class DueTrigger(NamedTuple):
    """What has to be known of a trigger to decide about it; `config_text` is JSON. A tuple: there may be thousands."""

    id: UUID
    name: str
    type: str
    config_text: str
    catch_up: CatchUp
    catch_up_max: int | None
    revision: int
    next_due_at: datetime


@dataclass(frozen=True, slots=True)
class Fire:
    """What is decided about a due trigger: the instants that fire and the stretch (first, last) that is merged.

    `expected_due` is the `next_due_at` that was read: when the trigger has another by now nothing happens. Each instant
    has the id of its run from the beginning, so that what is sent twice happens once (G17).
    """

    trigger_id: UUID
    revision: int
    expected_due: datetime
    fire_due: Sequence[datetime]
    merged: tuple[datetime, datetime] | None
    next_due_at: datetime | None
    reason: str = ""
    run_ids: tuple[UUID, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.run_ids:
            object.__setattr__(self, "run_ids", tuple(uuid4() for _ in self.fire_due))


class Taker(NamedTuple):
    """A worker that takes the runs of its host which it fires, `limit` at most, in the commit that fires them."""

    worker: UUID
    host: str
    limit: int


NOBODY = Taker(UUID(int=0), "", 0)


class FireResult(NamedTuple):
    """An outcome that was written; `refused`, with `error`: the database did not take it, the trigger stays due.

    `taken` is the run when the taker has it now; other runs are queued.
    """

    trigger_id: UUID
    name: str
    due_at: datetime
    outcome: Literal["fired", "merged", "skipped_overlap", "refused"]
    run_id: UUID | None = None
    until: datetime | None = None
    error: str | None = None
    taken: Claimed | None = None


class LedgerRow(NamedTuple):
    """One outcome: of one instant, or of all from `due_at` to `until` that have no row of their own.

    `until` is the last moment that a datetime can hold while a pause goes on (`open`).
    """

    trigger_id: UUID
    due_at: datetime
    until: datetime | None
    outcome: Outcome
    reason: str
    run_id: UUID | None
    revision: int
    recorded_at: datetime

    @property
    def open(self) -> bool:
        """Whether this is the row of a pause that goes on."""
        return self.until is not None and self.until.year == _LAST_TIME.year


class LedgerEntry(NamedTuple):
    """One outcome with the name and the workflow of its trigger."""

    trigger: str
    workflow: str
    row: LedgerRow


class Revision(NamedTuple):
    """What was in force for the instants in `(valid_from, valid_until]`; None: until now."""

    trigger_id: UUID
    revision: int
    type: str
    config: dict[str, Any]
    state: Literal["active", "paused", "deleted"]
    catch_up: str
    catch_up_max: int | None
    overlap: str
    valid_from: datetime
    valid_until: datetime | None
    reason: Literal["registered", "edited", "paused", "resumed", "unregistered"]


async def due(
    db: Database, now: datetime, limit: int, types: Sequence[str], leave_out: Sequence[UUID] = ()
) -> list[DueTrigger]:
    """Return the triggers of these types that are due at `now`, the longest due first."""
    args = (now, limit, list(types), list(leave_out))
    # A thousand are read within milliseconds; a connection that nobody answers holds up the next instant, too.
    return [DueTrigger(*row) for row in await db.fetch("fires_due", *args, timeout=db.answer_within(limit // 20))]


async def resumable(
    db: Database, now: datetime, limit: int, types: Sequence[str], leave_out: Sequence[UUID] = ()
) -> list[TriggerRow]:
    """Return the paused triggers of these types that were to be resumed by `now`, the earliest first."""
    args = (now, limit, list(types), list(leave_out))
    return [trigger_row(row) for row in await db.fetch("fires_resumable", *args, timeout=db.answer_within(limit))]


async def next_due(
    db: Database, types: Sequence[str], leave_out: Sequence[UUID] = ()
) -> tuple[datetime, datetime | None]:
    """Return the database's clock, and when a trigger of these types is due or to be resumed next (it may be past)."""
    row = await db.fetchrow("fires_next_due", list(types), list(leave_out), timeout=db.answer_within())
    if row is None:
        raise AssertionError("the statement returns one row")
    return row["now"], row["next_due"]


async def fire(db: Database, fires: Sequence[Fire], now: datetime | None, taker: Taker = NOBODY) -> list[FireResult]:
    """Fire due triggers as one commit; return the outcomes that this call has written.

    What is not due at `now` (None: by the database's clock, G5) stays as it is. A trigger that another process has
    fired, changed, or holds locked at this moment is left alone and has no outcome here. What the database refuses is
    found by halving, and costs the others nothing (G18). When a reply gets lost the taker may have taken runs that no
    result tells of: its next claim finds them.
    """
    if not fires:
        return []
    tries = 0
    while True:
        try:
            return await _fire(db, fires, now, taker)
        except DatabaseUnreachable:
            raise
        except DatabaseError as error:
            if is_nobodys_fault(error) and tries < _RETRIES:
                tries += 1
                continue
            if len(fires) > 1:
                half = len(fires) // 2
                first = await fire(db, fires[:half], now, taker)
                left = taker.limit - sum(result.taken is not None for result in first)
                return [*first, *await fire(db, fires[half:], now, taker._replace(limit=left))]
            one = fires[0]
            return [FireResult(one.trigger_id, "", one.expected_due, "refused", error=str(error))]


async def ledger(
    db: Database,
    trigger_id: UUID,
    since: datetime | None = None,
    limit: int = 100,
    before: datetime | None = None,
) -> list[LedgerRow]:
    """Return outcomes, the latest first: those due before `before`, and from `since` on (a range that reaches over
    `since` too).
    """
    rows = await db.fetch("fires_ledger", trigger_id, since or _FIRST_TIME, limit, before or _LAST_TIME)
    return [LedgerRow(*row) for row in rows]


async def page(
    db: Database,
    *,
    trigger: UUID | None = None,
    workflows: Sequence[str] | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    limit: int = 20,
    before: tuple[datetime, UUID] | None = None,
) -> list[LedgerEntry]:
    """Return outcomes of all triggers, unregistered ones included, or of one; the latest first.

    `workflows` are patterns, of which the name of the trigger's workflow has to match one. `before` is (due_at,
    trigger_id) of the last outcome of the page before this one.
    """
    patterns = None if workflows is None else [like(pattern) for pattern in workflows]
    due_at, last = before or (_LAST_TIME, _LAST_ID)
    if outcome in (None, "fired") or trigger is not None or since is not None:
        rows = await db.fetch("fires_page", due_at, last, since, limit, trigger, patterns, outcome)
    else:
        rows = await db.fetch("fires_page_of_outcome", due_at, last, limit, patterns, outcome)
    return [LedgerEntry(row[0], row[1], LedgerRow(*row[2:])) for row in map(tuple, rows)]


async def revisions(db: Database, trigger_id: UUID) -> list[Revision]:
    """Return what was in force when, in its order."""
    return [
        Revision(**{**row, "config": decode(row["config"])}) for row in await db.fetch("fires_revisions", trigger_id)
    ]


async def _fire(db: Database, fires: Sequence[Fire], now: datetime | None, taker: Taker) -> list[FireResult]:
    triggers = [
        (
            one.trigger_id,
            one.revision,
            one.expected_due,
            one.next_due_at,
            *(one.merged or (None, None)),
            one.reason or "missed",
        )
        for one in fires
    ]
    instants = [
        (one.trigger_id, due_at, due_at.astimezone(UTC).isoformat(), run_id, "due")
        for one in fires
        for due_at, run_id in zip(one.fire_due, one.run_ids, strict=True)
    ]
    columns: list[Any] = [*zip(*triggers, strict=True)]
    columns += zip(*instants, strict=True) if instants else [()] * 5
    args = (*columns, now, taker.worker, taker.host, taker.limit)
    return [
        FireResult(
            row["trigger_id"],
            row["name"],
            row["due_at"],
            row["outcome"],
            row["run_id"],
            row["until"],
            taken=None if row["id"] is None else claimed(row),
        )
        for row in await db.fetch("fires_fire", *args, timeout=db.answer_within(len(instants)))
    ]
