"""Reading runs: the last success of a workflow, one run, the history, and the check of all of it (G13)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from brain_core.errors import RunNotFound
from brain_core.run import PlannedStep, Run, RunStatus, StepRun
from brain_core.store.codec import decode
from brain_core.store.patterns import like, like_itself, matches_any
from brain_core.store.statements import statement

if TYPE_CHECKING:
    from brain_core.placeholders import Json
    from brain_core.store.database import Database

_PREFIX = re.compile(r"[0-9a-f]{1,32}")
_LAST_ID = UUID(int=2**128 - 1)
_FIRST_TIME = datetime(1, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(9999, 12, 31, tzinfo=UTC)
_LISTED = 5
_OF_RUN = ("run_status", "said", "remaining")
_LARGE = 64 * 1024  # characters of an output after which others in the event loop get their turn
_FIRST_ROWS = 21  # the page that most ask for, and one more
SILENT_SECONDS = 30.0
"""How long beyond its lease an owner may be silent before the history counts as wrong."""


class Violation(NamedTuple):
    """Something that the history must not hold (G13)."""

    rule: str
    run_id: str
    text: str


class Progress(NamedTuple):
    """How far a run is, all of it seen at one moment: `said` is the number of its last live output, 0 without any.

    `more` says that further attempts have ended, which were too much for now.
    """

    status: RunStatus
    steps: tuple[StepRun, ...]
    said: int
    more: bool


class RunFilter(NamedTuple):
    """Which runs of the history are wanted; None: whatever it is.

    `workflows` are patterns, of which the name of the workflow has to match one. `trigger` is the id of the one that
    started the run. `since` is when it was created at the earliest.
    """

    workflow: str | None = None
    workflows: Sequence[str] | None = None
    status: str | None = None
    trigger: UUID | None = None
    since: datetime | None = None


ALL_RUNS = RunFilter()


async def previous(db: Database, workflow: str) -> tuple[str, dict[str, Json]] | None:
    """Return id and step outputs of the last successful run of a workflow; None when there is none."""
    rows = await db.fetch("run_previous", workflow)
    if not rows:
        return None
    outputs = {row["name"]: _json(row["output"]) for row in rows if row["name"] is not None}
    return str(rows[0]["id"]), outputs


async def outputs(db: Database, run_id: UUID) -> dict[str, Json]:
    """Return the outputs of the successful steps of a run, by the step's name."""
    return {row["name"]: _json(row["output"]) for row in await db.fetch("run_outputs", run_id)}


async def get(db: Database, run_id: UUID | str) -> Run:
    """Return a run with its steps; RunNotFound when there is none."""
    key = run_id if isinstance(run_id, UUID) else UUID(run_id)
    row = await db.fetchrow("run_get", key)
    if row is None:
        raise _not_found(key)
    async with db.large:
        steps = await _steps(await db.fetch("run_steps", key))
    return _run(row, steps)


async def head(db: Database, run_id: UUID) -> Run:
    """Return a run without its steps; RunNotFound when there is none."""
    row = await db.fetchrow("run_get", run_id)
    if row is None:
        raise _not_found(run_id)
    return _run(row)


async def progress(db: Database, run_id: UUID, after: tuple[int, int], *, most: int | None = None) -> Progress:
    """Return how far a run is, with its attempts after (position, attempt); no more once they are over `most` bytes.

    For who follows a run and asks again and again; RunNotFound when it is there no more.
    """
    async with db.large:
        rows = await db.fetch("run_progress", run_id, *after, most)
        ended = [row for row in rows if row["position"] is not None]
        steps = await _steps({name: value for name, value in row.items() if name not in _OF_RUN} for row in ended)
    if not rows:
        raise _not_found(run_id)
    more = (rows[0]["remaining"] or 0) > len(steps)
    return Progress(rows[0]["run_status"], steps, rows[0]["said"] or 0, more)


async def find(db: Database, prefix: str, *, steps: bool = True) -> Run:
    """Return the run whose id begins with `prefix`; RunNotFound when there is none or several."""
    digits = prefix.strip().lower().replace("-", "")
    if not _PREFIX.fullmatch(digits):
        raise RunNotFound(f"'{prefix[:80]}' is not the beginning of a run id; `brain history` lists them")
    low, high = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    rows = await db.fetch("run_find", low, high, _LISTED + 1)
    if not rows:
        raise RunNotFound(f"no run begins with '{prefix}'; `brain history` lists them")
    if len(rows) > 1:
        which = ", ".join(f"{row['id']} ({row['workflow']})" for row in rows[:_LISTED])
        more = ", …" if len(rows) > _LISTED else ""
        raise RunNotFound(f"several runs begin with '{prefix}', give more of the id: {which}{more}")
    return await (get if steps else head)(db, rows[0]["id"])


async def history(
    db: Database,
    wanted: RunFilter = ALL_RUNS,
    *,
    limit: int = 20,
    before: tuple[datetime, UUID] | None = None,
) -> list[Run]:
    """Return runs without their steps, the latest first.

    `before` is (created_at, id) of the last run of the page before this one.
    """
    return [_run(row) for row in await _rows(db, wanted, limit, before)]


async def history_within(
    db: Database, max_bytes: int, wanted: RunFilter, *, limit: int, before: tuple[datetime, UUID] | None
) -> tuple[list[Run], bool]:
    """Return runs as `history` does, and whether there are more: `limit` of them, or as many as are within `max_bytes`.

    That is of their inputs and of what has started them, both as JSON; one that is larger comes alone (G24).
    """
    found: list[Run] = []
    used, size = 0, _FIRST_ROWS
    while True:
        size = min(size, limit + 1 - len(found))
        rows = await _rows(db, wanted, size, before)
        for row in rows:
            used += len(row["inputs"]) + len(row["trigger"] or "")
            if found and (len(found) == limit or used > max_bytes):
                return found, True
            found.append(_run(row))
        if len(rows) < size:
            return found, False
        before = (rows[-1]["created_at"], rows[-1]["id"])
        # As many as will fit if they are like those before.
        size = max(1, (max_bytes - used) * len(found) // max(1, used))


async def _rows(db: Database, wanted: RunFilter, limit: int, before: tuple[datetime, UUID] | None) -> list[Any]:
    workflow, workflows, status, trigger, since = wanted
    created, last = before or (_LAST_TIME, _LAST_ID)
    page = (created, last, since or _FIRST_TIME, limit)
    if workflows is not None and (not workflows or (workflow is not None and not matches_any(workflows, workflow))):
        return []
    patterns = None if workflows is None else [like(pattern) for pattern in workflows]
    if trigger is not None:
        of = patterns if workflow is None else [like_itself(workflow)]
        name = "run_history_of_trigger" if status in (None, "success") else "run_history_of_trigger_status"
        return list(await db.fetch(name, *page, of, trigger, status))
    if workflow is None and patterns is not None:
        if status is None:
            return list(await db.fetch("run_history_of_workflows", *page, patterns))
        if status == "success":
            return list(await db.fetch("run_history_of_workflows_successes", *page, patterns))
        return list(await db.fetch("run_history_of_workflows_status", *page, patterns, status))
    if workflow is not None and status is not None:
        return list(await db.fetch("run_history_of_workflow_status", *page, workflow, status))
    if workflow is not None:
        return list(await db.fetch("run_history_of_workflow", *page, workflow))
    if status == "success":
        return list(await db.fetch("run_history_of_successes", *page))
    if status is not None:
        return list(await db.fetch("run_history_of_status", *page, status))
    return list(await db.fetch("run_history", *page))


async def over(db: Database, run_ids: Sequence[UUID]) -> list[tuple[UUID, bool]]:
    """Return those of some runs that have ended, are parked (True), or are not there (False)."""
    return [(row["id"], row["there"]) for row in await db.fetch("run_over", list(run_ids))]


async def counts(db: Database) -> dict[str, int]:
    """Return how many runs are in each status; statuses without runs are left out."""
    return {row["status"]: row["runs"] for row in await db.fetch("run_counts")}


async def check_history(db: Database, *, silent: float = SILENT_SECONDS) -> list[Violation]:
    """Return everything in the history that G13 rules out; an empty list when it tells the truth."""
    async with db.transaction() as session:
        await session.script(statement("check_settings"))
        rows = await session.fetch("check_history", silent)
    return [Violation(row["rule"], str(row["run_id"]), row["text"]) for row in rows]


def _not_found(run_id: UUID) -> RunNotFound:
    return RunNotFound(f"there is no run {run_id}; `brain history` lists them")


def _run(row: Any, steps: tuple[StepRun, ...] = ()) -> Run:
    changed = {
        "id": str(row["id"]),
        "inputs": decode(row["inputs"]),
        "trigger": _json(row["trigger"]),
        "planned": tuple(PlannedStep(step["name"], step["type"]) for step in json.loads(row["planned"])),
        "previous_run_id": _id(row["previous_run_id"]),
        "retry_of": _id(row["retry_of"]),
    }
    return Run(**{**row, **changed}, steps=steps)


async def _steps(rows: Iterable[Any]) -> tuple[StepRun, ...]:
    """Return attempts of steps as their rows hold them; others get their turn after each that is large."""
    steps: list[StepRun] = []
    for row in rows:
        steps.append(_step(row))
        if len(row["output"] or "") > _LARGE:
            await asyncio.sleep(0)
    return tuple(steps)


def _step(row: Any) -> StepRun:
    return StepRun(**{**row, "output": _json(row["output"]), "details": decode(row["details"])})


def _json(text: str | None) -> Any:
    return None if text is None else decode(text)


def _id(value: UUID | None) -> str | None:
    return None if value is None else str(value)
