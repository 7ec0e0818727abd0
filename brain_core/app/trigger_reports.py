"""What can be told about schedules without changing them: audit, forecast, and the watch from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from brain_core.app.trigger_types import described, missing_type, next_of, no_instants, stored_trigger
from brain_core.audit import Auditing, Finding, Outcome, Stretch
from brain_core.errors import PluginError, TriggerNotFound, nearest
from brain_core.forecast import Forecast, Upcoming, forecast
from brain_core.store import fires, runs, triggers

if TYPE_CHECKING:
    from brain_core.plugin.manager import PluginManager
    from brain_core.store.database import Database
    from brain_core.store.triggers import TriggerListing, TriggerRow

_PAGE = 5_000
_RUNS_FOR_MEAN = 20
_TICK = timedelta(microseconds=1)
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit of one schedule. `impossible` says why it could not be done; `unregistered` when it was, if it was.

    `left_out` says why there was nothing to audit.
    """

    name: str
    since: datetime
    until: datetime
    zone: tzinfo | None
    findings: tuple[Finding, ...] = ()
    impossible: str | None = None
    unregistered: datetime | None = None
    left_out: str | None = None

    @property
    def holds(self) -> bool:
        return self.impossible is None and not self.findings


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast, how long a run of each schedule takes by its last runs, and which schedules it leaves out and why."""

    forecast: Forecast
    seconds: dict[str, float | None] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watched:
    """One schedule as a monitor sees it; `problem` is None when it is as it should be."""

    name: str
    workflow: str
    overdue: bool
    next_due_at: datetime | None
    last_success_at: datetime | None
    problem: str | None


async def audited(db: Database, plugins: PluginManager, row: TriggerRow, since: datetime | None) -> Audit:
    """Recompute the instants of a schedule and hold its ledger against them.

    It ends before the first instant that is still to be decided: what is overdue is no hole yet.
    """
    now = await triggers.clock(db)
    gone = row.deleted_at
    end = gone or (now if row.next_due_at is None else min(now, row.next_due_at - _TICK))
    start = max(since or row.created_at, row.created_at)
    zone = described(row, None).zone
    try:
        stretches, timed = await _stretches(db, plugins, row, now)
        auditing = Auditing(stretches, start, end)
        # Page by page: years of a schedule that is due every minute are millions of rows.
        before = None
        while not auditing.full and (page := await fires.ledger(db, row.id, start, _PAGE, before)):
            auditing.page(Outcome(one.due_at, _LAST if one.open else one.until, one.outcome) for one in page)
            before = page[-1].due_at
        findings = tuple(auditing.finish())
        left_out = None if timed or findings else no_instants(row.type)
        return Audit(row.name, start, end, zone, findings, None, gone, left_out)
    except PluginError as error:
        return Audit(row.name, start, end, zone, impossible=str(error), unregistered=gone)


async def outlook(
    db: Database, plugins: PluginManager, rows: Sequence[TriggerRow], until: datetime, limit: int
) -> Outlook:
    """Look ahead for some schedules; those that have no instants to come are left out, with the reason."""
    now = await triggers.clock(db)
    ahead: list[Upcoming] = []
    found = Outlook(Forecast(until))
    for row in rows:
        trigger = stored_trigger(plugins, row)
        after = row.resume_at if row.state == "paused" else now
        if trigger is None:
            found.left_out[row.name] = f"its type is '{row.type}', {missing_type(plugins, row.type)}"
        elif not trigger.is_timed():
            found.left_out[row.name] = no_instants(row.type)
        elif after is None:
            found.left_out[row.name] = "paused, with no time to resume at"
        else:
            mean = await _mean_seconds(db, row.workflow_name)
            found.seconds[row.name] = mean
            zone = described(row, None).zone
            ahead.append(Upcoming(row.name, next_of(trigger), after, row.overlap == "skip", mean, zone))
    return Outlook(forecast(ahead, until, keep=limit), found.seconds, found.left_out)


async def watched(
    db: Database, plugins: PluginManager, workflows: Sequence[str], max_age: timedelta | None
) -> list[Watched]:
    """Judge the schedules of some workflows (all unless named) from outside; reads only.

    What has no instants may be quiet for long: `max_age` counts for it only where its workflow is named.
    TriggerNotFound for a workflow that has none: what nobody registered cannot be as it should be.
    """
    now = await triggers.clock(db)
    listed = await triggers.list_all(db)
    known = {one.row.workflow_name for one in listed}
    for name in workflows:
        if name not in known:
            raise TriggerNotFound(f"nothing is registered for the workflow '{name}'{nearest(name, known)}")
    if workflows:
        return [_judged(one, now, max_age) for one in listed if one.row.workflow_name in workflows]
    quiet = {name for name, kind in plugins.trigger_types.items() if not kind.is_timed()}
    return [_judged(one, now, None if one.row.type in quiet else max_age) for one in listed]


def _judged(one: TriggerListing, now: datetime, max_age: timedelta | None) -> Watched:
    row, last = one.row, one.last_success_at
    problems = []
    if one.overdue and row.next_due_at is not None:
        problems.append(f"overdue since {_moment(row.next_due_at)}; is a daemon running? see: brain daemon-status")
    if one.last_run is not None and one.last_run.status == "parked":
        # Its schedule may skip every instant until somebody decides, and nobody is told otherwise.
        short = str(one.last_run.id)[:8]
        decide = f"let it go on: brain resume-run {short}, or end it: brain cancel {short}"
        problems.append(f"run {short} is parked; {decide}")
    if max_age is not None:
        if last is not None and now - last > max_age:
            problems.append(f"last success {_moment(last)}; see: brain history --workflow {row.workflow_name}")
        elif last is None and now - row.created_at > max_age:
            # One that is younger than that has had no chance yet.
            problems.append(f"no success since it was registered, {_moment(row.created_at)}")
    return Watched(row.name, row.workflow_name, one.overdue, row.next_due_at, last, "; ".join(problems) or None)


def _moment(when: datetime) -> str:
    return when.astimezone().isoformat(" ", "seconds")


async def _stretches(
    db: Database, plugins: PluginManager, row: TriggerRow, now: datetime
) -> tuple[list[Stretch], bool]:
    """Return what was in force when, and whether any of it has instants."""
    found, timed = [], False
    for revision in await fires.revisions(db, row.id):
        if revision.state == "deleted":
            continue
        kind = plugins.trigger_types.get(revision.type)
        if kind is None:
            missing = missing_type(plugins, revision.type)
            raise PluginError(f"revision {revision.revision} is of the type '{revision.type}', {missing}")
        try:
            trigger = kind.model_validate(revision.config)
        except ValueError as error:
            raise PluginError(f"revision {revision.revision} is refused by its type: {error}") from None
        timed = timed or trigger.is_timed()
        found.append(Stretch(next_of(trigger), revision.valid_from, revision.valid_until or now))
    return found, timed


async def _mean_seconds(db: Database, workflow: str) -> float | None:
    past = await runs.history(db, runs.RunFilter(workflow, status="success"), limit=_RUNS_FOR_MEAN)
    lengths = [run.seconds for run in past if run.seconds is not None]
    return sum(lengths) / len(lengths) if lengths else None
