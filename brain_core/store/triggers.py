"""Triggers: registering them and changing them. Each change is one transaction that locks the trigger, writes its next
revision, and leaves no due instant without an outcome (G2, G8).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID, uuid4

from brain_core.errors import TriggerNotFound, TriggerRefused, nearest
from brain_core.store.codec import decode

if TYPE_CHECKING:
    from brain_core.placeholders import Json
    from brain_core.store.database import Database, Session

CatchUp = Literal["latest", "none", "all"]
Overlap = Literal["skip", "allow"]
TriggerState = Literal["active", "paused", "deleted"]


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """A trigger to register. With `sources` the source of `digest` is stored too; without them it has to be stored
    already, or the runs get their digest when they begin.
    """

    name: str
    type: str
    config: Mapping[str, Json]
    workflow_name: str
    file: str
    host: str
    inputs: Mapping[str, Json]
    planned_steps: Sequence[Mapping[str, str]]
    digest: str | None = None
    catch_up: CatchUp = "latest"
    catch_up_max: int | None = None
    overlap: Overlap = "skip"
    next_due_at: datetime | None = None
    sources: Mapping[str, str] | None = None
    on_finished: bool = False
    on_interrupt: Literal["fail", "resume"] = "fail"
    id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """A trigger. `config_text` is the JSON text of `config`. `skipping_from` is the first instant that the pause which
    goes on now has skipped or will skip.
    """

    id: UUID
    name: str
    type: str
    config: dict[str, Any]
    config_text: str
    workflow_name: str
    file: str
    host: str
    inputs: dict[str, Any]
    planned_steps: list[dict[str, str]]
    digest: str | None
    catch_up: CatchUp
    catch_up_max: int | None
    overlap: Overlap
    state: TriggerState
    revision: int
    created_at: datetime
    next_due_at: datetime | None
    paused_at: datetime | None
    resume_at: datetime | None
    deleted_at: datetime | None
    skipping_from: datetime | None


class LastRun(NamedTuple):
    """The latest run of a trigger; `started_at` is None while it waits."""

    id: UUID
    status: str
    created_at: datetime
    started_at: datetime | None


class TriggerListing(NamedTuple):
    """A trigger with its last run. `overdue`: its next instant passed a minute ago and has no outcome."""

    row: TriggerRow
    last_run: LastRun | None
    last_success_at: datetime | None
    overdue: bool


@dataclass(frozen=True, slots=True)
class TriggerEdit:
    """What an edit changes; None leaves it as it is. `catch_up_max` goes with `catch_up`."""

    config: Mapping[str, Json] | None = None
    type: str | None = None
    inputs: Mapping[str, Json] | None = None
    catch_up: CatchUp | None = None
    catch_up_max: int | None = None
    overlap: Overlap | None = None


async def clock(db: Database) -> datetime:
    """Return the database's clock (G5)."""
    now: datetime = await db.fetchval("clock")
    return now


async def register(db: Database, new: NewTrigger, now: datetime) -> TriggerRow:
    """Insert a trigger; TriggerRefused when its name is taken. Repeating it with the same id is harmless."""
    await db.fetch(
        "trigger_register",
        new.id,
        new.name,
        new.type,
        json.dumps(dict(new.config)),
        new.workflow_name,
        new.file,
        new.host,
        json.dumps(dict(new.inputs)),
        json.dumps([dict(step) for step in new.planned_steps]),
        new.digest,
        new.catch_up,
        new.catch_up_max,
        new.overlap,
        new.next_due_at,
        None if new.sources is None else json.dumps(dict(new.sources)),
        new.on_finished,
        new.on_interrupt,
        now,
    )
    # Not by what was inserted: after a lost reply the repeated statement has inserted nothing.
    row = await db.fetchrow("trigger_get_by_id", new.id)
    if row is None:
        raise TriggerRefused(
            f"there is a trigger '{new.name}' already; give another --name, or first: brain unregister {new.name}"
        )
    return trigger_row(row)


async def get(db: Database, name: str, *, unregistered: bool = False) -> TriggerRow:
    """Return a trigger by its name; TriggerNotFound names the nearest.

    With `unregistered` the last one that was unregistered does when there is none.
    """
    return trigger_row(await _one(db, "trigger_latest" if unregistered else "trigger_get", name))


async def find(db: Database, name: str) -> TriggerRow | None:
    """Return a trigger by its name, None when there is none."""
    row = await db.fetchrow("trigger_get", name)
    return None if row is None else trigger_row(row)


async def list_all(db: Database) -> list[TriggerListing]:
    """Return every trigger that is not deleted, by name."""
    return [_listing(row) for row in await db.fetch("trigger_list")]


async def listed(db: Database, name: str) -> TriggerListing:
    """Return one trigger as `list_all` does; TriggerNotFound names the nearest."""
    return _listing(await _one(db, "trigger_listed", name))


async def pause(
    db: Database,
    name: str,
    now: datetime,
    first_skipped: datetime | None,
    resume_at: datetime | None = None,
    *,
    expected: TriggerRow | None = None,
) -> TriggerRow:
    """Pause a trigger; `first_skipped` is its first instant after now.

    What was due and not yet fired counts as skipped, too. One that is paused stays so, and gets a `resume_at` that is
    given. Here as below, `expected` is the row from which the instants were computed: when the trigger has been changed
    or fired since, TriggerRefused says so.
    """
    async with db.transaction() as session:
        row = await _locked(session, name)
        if row.state == "paused":
            if resume_at is not None and resume_at != row.resume_at:
                await session.fetch("trigger_resume_at", row.id, resume_at)
            return await _read(session, row.id)
        _unchanged(row, expected)
        paused = dataclasses.replace(row, state="paused", next_due_at=None, paused_at=now, resume_at=resume_at)
        revision = await _change(session, paused, now, "paused")
        first = first_skipped if row.next_due_at is None else row.next_due_at
        if first is not None:
            await session.fetch("pause_open", row.id, first, revision)
        return await _read(session, row.id)


async def resume(
    db: Database,
    name: str,
    now: datetime,
    skipped_until: datetime | None,
    next_due_at: datetime | None,
    *,
    expected: TriggerRow | None = None,
) -> TriggerRow:
    """Resume a paused trigger; one that is not paused stays as it is.

    `skipped_until` is the last instant from the row's `skipping_from` to now, None when there is none; `next_due_at`
    is the first one after now (G8).
    """
    async with db.transaction() as session:
        row = await _locked(session, name)
        if row.state != "paused":
            return row
        _unchanged(row, expected)
        active = dataclasses.replace(row, state="active", next_due_at=next_due_at, paused_at=None, resume_at=None)
        await _change(session, active, now, "resumed")
        await _close_pause(session, row.id, now, skipped_until)
        return await _read(session, row.id)


async def edit(
    db: Database,
    name: str,
    now: datetime,
    change: TriggerEdit,
    next_due_at: datetime | None,
    last_due: datetime | None = None,
    *,
    expected: TriggerRow | None = None,
) -> TriggerRow:
    """Change a trigger. An edit that changes nothing leaves the row as it is, so repeating one is harmless.

    `next_due_at` is the first instant after now by what is new (G8), of a paused one too; `last_due` the last one up to
    now by what was in force, from the row's `next_due_at` or `skipping_from`, None when there is none.
    """
    async with db.transaction() as session:
        row = await _locked(session, name)
        changed = _edited(row, change)
        if changed == row:
            return row
        _unchanged(row, expected)
        is_active = row.state == "active"
        changed = dataclasses.replace(changed, next_due_at=next_due_at if is_active else None)
        revision = await _change(session, changed, now, "edited")
        await _settle(session, row, now, last_due, "edited before it was fired")
        if not is_active and next_due_at is not None:
            await session.fetch("pause_open", row.id, next_due_at, revision)
        return await _read(session, row.id)


async def unregister(
    db: Database,
    name: str,
    now: datetime,
    last_due: datetime | None = None,
    *,
    trigger_id: UUID | None = None,
    expected: TriggerRow | None = None,
) -> TriggerRow:
    """Delete a trigger; its ledger and its runs stay, and its name is free again. `last_due` as in `edit`.

    With `trigger_id` a trigger that is deleted already is returned, so that repeating it is harmless.
    """
    async with db.transaction() as session:
        if trigger_id is not None and (there := await _read(session, trigger_id)).state == "deleted":
            return there
        row = await _locked(session, name)
        _unchanged(row, expected)
        deleted = dataclasses.replace(
            row, state="deleted", next_due_at=None, paused_at=None, resume_at=None, deleted_at=now
        )
        await _change(session, deleted, now, "unregistered")
        await _settle(session, row, now, last_due, "unregistered before it was fired")
        return await _read(session, row.id)


async def _locked(session: Session, name: str) -> TriggerRow:
    locked = await session.fetch("trigger_lock", name)
    if not locked:
        raise _not_found(name, await session.fetch("trigger_names"))
    # Read again: what the lock waited for is not in the first one's snapshot.
    return await _read(session, locked[0]["id"])


def _unchanged(row: TriggerRow, expected: TriggerRow | None) -> None:
    if expected is not None and (row.id, row.revision, row.next_due_at, row.resume_at) != (
        expected.id,
        expected.revision,
        expected.next_due_at,
        expected.resume_at,
    ):
        raise TriggerRefused(f"trigger '{row.name}' was changed or fired at this very moment; try again")


async def _read(session: Session, trigger_id: UUID) -> TriggerRow:
    rows = await session.fetch("trigger_get_by_id", trigger_id)
    if not rows:
        raise TriggerNotFound(f"there is no trigger {trigger_id}; `brain list` lists them")
    return trigger_row(rows[0])


async def _change(session: Session, row: TriggerRow, now: datetime, reason: str) -> int:
    rows = await session.fetch(
        "trigger_change",
        row.id,
        row.type,
        json.dumps(row.config),
        json.dumps(row.inputs),
        row.catch_up,
        row.catch_up_max,
        row.overlap,
        row.state,
        row.next_due_at,
        row.paused_at,
        row.resume_at,
        row.deleted_at,
        now,
        reason,
    )
    revision: int = rows[0]["revision"]
    return revision


async def _settle(session: Session, before: TriggerRow, now: datetime, last_due: datetime | None, reason: str) -> None:
    """Give the instants up to now that have no outcome one."""
    if before.state == "paused":
        await _close_pause(session, before.id, now, last_due)
    elif before.next_due_at is not None and before.next_due_at <= now:
        until = last_due if last_due is not None and last_due > before.next_due_at else None
        await session.fetch("range_merged", before.id, before.next_due_at, until, before.revision, reason)


async def _close_pause(session: Session, trigger_id: UUID, now: datetime, last: datetime | None) -> None:
    await session.fetch("pause_close", trigger_id, last, now)
    await session.fetch("pause_forget", trigger_id)


def _edited(row: TriggerRow, change: TriggerEdit) -> TriggerRow:
    new = {name: value for name, value in dataclasses.asdict(change).items() if value is not None}
    if change.catch_up is not None:
        new["catch_up_max"] = change.catch_up_max
    return dataclasses.replace(row, **new)


def trigger_row(row: Any) -> TriggerRow:
    """Return the trigger of a row that a statement of this room has read."""
    return TriggerRow(
        id=row["id"],
        name=row["name"],
        type=row["type"],
        config=decode(row["config"]),
        config_text=row["config"],
        workflow_name=row["workflow_name"],
        file=row["file"],
        host=row["host"],
        inputs=decode(row["inputs"]),
        planned_steps=decode(row["planned_steps"]),
        digest=row["digest"],
        catch_up=row["catch_up"],
        catch_up_max=row["catch_up_max"],
        overlap=row["overlap"],
        state=row["state"],
        revision=row["revision"],
        created_at=row["created_at"],
        next_due_at=row["next_due_at"],
        paused_at=row["paused_at"],
        resume_at=row["resume_at"],
        deleted_at=row["deleted_at"],
        skipping_from=row["skipping_from"],
    )


async def _one(db: Database, statement: str, name: str) -> Any:
    row = await db.fetchrow(statement, name)
    if row is None:
        raise _not_found(name, await db.fetch("trigger_names"))
    return row


def _listing(row: Any) -> TriggerListing:
    last = None if row["last_run_id"] is None else LastRun(*(row[f"last_run_{name}"] for name in LastRun._fields))
    return TriggerListing(trigger_row(row), last, row["last_success_at"], row["overdue"])


def _not_found(name: str, known: Sequence[Any]) -> TriggerNotFound:
    near = nearest(name, (row["name"] for row in known))
    return TriggerNotFound(f"nothing is registered as '{name}'{near or '; `brain list` lists what is'}")
