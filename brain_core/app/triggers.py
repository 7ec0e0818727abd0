"""Triggers: what people do with schedules and other triggers; `brain.triggers`.

What comes due when is asked of the trigger types (trigger_types), the rows are the store's; here each act becomes one
call of it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from brain_core.app.control import NOTHING_TOLD, has_daemon
from brain_core.app.trigger_types import (
    Described,
    check_policies,
    checked_name,
    described,
    first_after,
    lines_of,
    missing_type,
    next_of,
    pending,
    ready_to_register,
    stored_trigger,
    told,
)
from brain_core.engine.events import RunStarted, StepEnded
from brain_core.errors import TriggerNotFound, TriggerRefused
from brain_core.run import FINAL, PlannedStep
from brain_core.store import fires, queue, runs, triggers
from brain_core.store.codec import stored_inputs
from brain_core.trigger import Registration, Trigger

if TYPE_CHECKING:
    from brain_core.app import Brain
    from brain_core.app.trigger_reports import Audit, Outlook, Watched
    from brain_core.engine.events import Watch
    from brain_core.engine.runner import Plan
    from brain_core.placeholders import Json
    from brain_core.run import Run
    from brain_core.schedule import CatchUp
    from brain_core.store.fires import LedgerRow
    from brain_core.store.triggers import Overlap, TriggerListing, TriggerRow

T = TypeVar("T")

_TRIES = 5
LOOK_EVERY = 0.25
"""Seconds between two looks at a run that is waited for."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration came to; `lines` are what the trigger type has to show, once."""

    trigger: Described
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edited(Described):
    """A trigger that was changed, its row `before` that, and the lines that its type has to show."""

    before: TriggerRow = field(kw_only=True)
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed(Described):
    """A trigger in a list, with its last run and whether it is overdue."""

    listing: TriggerListing = field(kw_only=True)


class Triggers:
    """What people do with triggers. Each act is one transaction; none fires what is past (G8)."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain
        self._db = brain.db
        self._plugins = brain.plugins

    async def register(
        self,
        plan: Plan,
        trigger: Trigger,
        *,
        name: str | None = None,
        inputs: Mapping[str, Json] | None = None,
        catch_up: CatchUp | None = None,
        catch_up_max: int | None = None,
        overlap: Overlap | None = None,
    ) -> Registered:
        """Register a trigger for a loaded workflow; TriggerRefused, and nothing written, when the name is taken.

        `inputs` are values that the workflow accepts; what they leave out gets the workflow's default in each run.
        Without an `overlap` the type's default counts. BrainError when the type needs keys that cannot be derived.
        """
        complete = ready_to_register(self._plugins, trigger)
        check_policies(type(complete), catch_up, overlap)
        if complete.uses_keys:
            # A key that cannot be read refuses the registration, rather than be missed once it is there.
            self._brain.derive_key("")
        now = await triggers.clock(self._db)
        new = triggers.NewTrigger(
            name=checked_name(name or plan.workflow),
            type=type(complete).type_name,
            config=complete.model_dump(mode="json"),
            workflow_name=plan.workflow,
            file=plan.file,
            host=socket.gethostname(),
            inputs=dict(inputs or {}),
            planned_steps=[{"name": step.name, "type": step.type} for step in plan.steps],
            digest=plan.digest,
            catch_up=catch_up or "latest",
            catch_up_max=catch_up_max,
            overlap=overlap or complete.default_overlap,
            next_due_at=first_after(complete, now),
            sources=plan.sources,
            on_finished=plan.has_on_finished,
            on_interrupt=plan.on_interrupt,
        )
        try:
            row = await triggers.register(self._db, new, now)
        except TriggerRefused:
            raise TriggerRefused(await self._taken(new.name)) from None
        return Registered(told(row, complete), lines_of(complete, "on_register", self._registration(row)))

    async def get(self, name: str, *, unregistered: bool = False) -> Described:
        """Return a trigger; TriggerNotFound names the nearest one.

        With `unregistered` the last one that was unregistered does when there is none; its ledger stays.
        """
        row = await triggers.get(self._db, name, unregistered=unregistered)
        return described(row, self.stored(row))

    async def listing(self) -> list[Listed]:
        """Return every trigger that is not unregistered, by name, with its last run."""
        return [self._listed(one) for one in await triggers.list_all(self._db)]

    async def listed(self, name: str) -> Listed:
        """Return one trigger as `listing` does; TriggerNotFound names the nearest one."""
        return self._listed(await triggers.listed(self._db, name))

    async def pause(self, name: str, *, resume_at: datetime | None = None) -> Described:
        """Pause a trigger until it is resumed, or until `resume_at`; what comes due meanwhile is skipped (G2).

        One that is paused already stays so, and gets the new `resume_at` where one is given.
        """

        async def act(row: TriggerRow, now: datetime) -> Described:
            # A pause is possible without the type, too: then it begins at the instant that is known.
            trigger = self.stored(row)
            first = None if trigger is None else next_of(trigger)(now)
            return described(await triggers.pause(self._db, name, now, first, resume_at, expected=row), trigger)

        return await self._on_fresh(await triggers.get(self._db, name), act)

    async def resume(self, name: str) -> Described:
        """Resume a paused trigger at its first instant from now; one that is not paused stays as it is."""

        async def act(row: TriggerRow, now: datetime) -> Described:
            trigger = self._needed(row)
            last, following = self._last_due(row, trigger, now), next_of(trigger)(now)
            return told(await triggers.resume(self._db, name, now, last, following, expected=row), trigger)

        return await self._on_fresh(await triggers.get(self._db, name), act)

    async def unregister(self, name: str) -> TriggerRow:
        """End a trigger. Its runs and its ledger stay, and its name is free again."""

        async def act(row: TriggerRow, now: datetime) -> TriggerRow:
            last = self._last_due(row, self.stored(row), now)
            return await triggers.unregister(self._db, name, now, last, expected=row)

        return await self._on_fresh(await triggers.get(self._db, name), act)

    async def edit(
        self,
        row: TriggerRow,
        *,
        trigger: Trigger | None = None,
        inputs: Mapping[str, str] | None = None,
        catch_up: CatchUp | None = None,
        catch_up_max: int | None = None,
        overlap: Overlap | None = None,
    ) -> Edited:
        """Change a trigger from now on, by the row that was read of it; what is None stays.

        `inputs` are texts from a command line. Another type brings its own default overlap. BrainError when the type
        needs keys that cannot be derived.
        """
        after = self._needed(row) if trigger is None else ready_to_register(self._plugins, trigger)
        check_policies(type(after), catch_up, overlap)
        if type(after).type_name != row.type and overlap is None:
            overlap = after.default_overlap
        config = row.config if trigger is None else after.model_dump(mode="json")
        shows = after.uses_keys and (type(after).type_name, config) != (row.type, row.config)
        if shows:
            self._brain.derive_key("")
        accepted = await self._accepted(row, inputs) if inputs else {}
        change = triggers.TriggerEdit(
            config=None if trigger is None else config,
            type=type(after).type_name,
            inputs={**row.inputs, **accepted},
            catch_up=catch_up,
            catch_up_max=catch_up_max,
            overlap=overlap,
        )
        before = row

        async def act(row: TriggerRow, now: datetime) -> Described:
            if row.revision != before.revision:
                raise TriggerRefused(f"'{row.name}' was changed by somebody else meanwhile; look at it and try again")
            last = self._last_due(row, self.stored(row), now)
            following = first_after(after, now)
            return told(await triggers.edit(self._db, row.name, now, change, following, last, expected=row), after)

        done = await self._on_fresh(row, act)
        registration = self._registration(done.row, edited=True)
        lines = lines_of(after, "on_register", registration) if shows else ()
        return Edited(done.row, done.words, done.zone, done.notes, done.next, done.timed, before=before, lines=lines)

    async def fire_now(self, name: str, inputs: Mapping[str, str]) -> Run:
        """Queue a run of a trigger, whatever its state and its schedule; `inputs` are texts, for this run alone.

        Like every command that writes it ends what dead workers left.
        """
        from brain_core.engine.sweep import sweep

        await sweep(self._db, uuid4(), self._plugins.receivers)
        row = await triggers.get(self._db, name)
        run_id = await queue.enqueue(self._db, await self.new_run(row, inputs))
        return await runs.get(self._db, run_id)

    async def new_run(
        self,
        row: TriggerRow,
        inputs: Mapping[str, Any],
        *,
        typed: bool = True,
        source: Mapping[str, Json] | None = None,
        run_id: UUID | None = None,
    ) -> queue.NewRun:
        """Return a run of a trigger that can be queued; `typed` says that the inputs are texts, `source` who asks."""
        accepted = await self._accepted(row, inputs, typed=typed)
        return queue.NewRun(
            workflow=row.workflow_name,
            file=row.file,
            host=row.host,
            digest=row.digest,
            planned=[PlannedStep(step["name"], step["type"]) for step in row.planned_steps],
            inputs={**row.inputs, **accepted},
            trigger={"type": "manual", **(source or {}), "name": row.name},
            trigger_id=row.id,
            run_id=run_id or uuid4(),
        )

    async def follow(self, run_id: str, *, watch: Watch, note: Callable[[str], None]) -> Run:
        """Wait until a run has ended or is parked, tell how it goes, and return it.

        `note` hears it, once, when no daemon is there to run it.
        """
        run = await runs.get(self._db, run_id)
        watch(RunStarted(run))
        if run.status == "queued" and not await has_daemon(self._db, fires=False):
            note(f"run {run.short_id} waits: no daemon runs; start one with `brain daemon`")
        told = NOTHING_TOLD
        while True:
            status, steps, *_ = await runs.progress(self._db, UUID(run_id), told)
            for step in steps:
                watch(StepEnded(step))
                told = (step.position, step.attempt)
            if status in FINAL or status == "parked":
                return await runs.get(self._db, run_id)
            await asyncio.sleep(LOOK_EVERY)

    async def fires(
        self, name: str, *, since: datetime | None = None, limit: int = 20, before: datetime | None = None
    ) -> list[LedgerRow]:
        """Return what became of a trigger's instants before `before`, the latest first; also of an unregistered one."""
        row = await triggers.get(self._db, name, unregistered=True)
        return await fires.ledger(self._db, row.id, since, limit, before)

    async def audit(self, name: str | None = None, *, since: datetime | None = None) -> list[Audit]:
        """Audit one trigger, unregistered or not, or all that are registered (G2)."""
        from brain_core.app.trigger_reports import audited

        rows = await self._rows(None) if name is None else [await triggers.get(self._db, name, unregistered=True)]
        return [await audited(self._db, self._plugins, row, since) for row in rows]

    async def forecast(self, name: str | None = None, *, until: datetime, limit: int) -> Outlook:
        """Look ahead for one trigger, or for all of them."""
        from brain_core.app.trigger_reports import outlook

        return await outlook(self._db, self._plugins, await self._rows(name), until, limit)

    async def watched(self, workflows: Sequence[str] = (), *, max_age: timedelta | None = None) -> list[Watched]:
        """Judge triggers from outside; reads only. The age of what has no instants counts where it is named."""
        from brain_core.app.trigger_reports import watched

        return await watched(self._db, self._plugins, workflows, max_age)

    async def _on_fresh(self, row: TriggerRow, act: Callable[[TriggerRow, datetime], Awaitable[T]]) -> T:
        """Do something that is computed from a row, again from the newer one when a daemon has fired it meanwhile."""
        for _ in range(_TRIES):
            try:
                return await act(row, await triggers.clock(self._db))
            except TriggerRefused:
                before, row = row, await triggers.get(self._db, row.name)
                if row == before:
                    raise
        return await act(row, await triggers.clock(self._db))

    def stored(self, row: TriggerRow) -> Trigger | None:
        """Return the trigger that a row holds; None when its type is not to be had."""
        return stored_trigger(self._plugins, row)

    def _registration(self, row: TriggerRow, *, edited: bool = False) -> Registration:
        return Registration(row.name, row.workflow_name, row.file, row.id, self._brain.derive_key, edited)

    async def _taken(self, name: str) -> str:
        try:
            there = await self.get(name)
            what = f" ({there.row.file}, {there.words})"
        except TriggerNotFound:
            what = ""
        return (
            f"'{name}' is registered already{what} and stays as it is; change it: brain edit {name}, "
            f"end it: brain unregister {name}, or give another --name"
        )

    def _listed(self, one: TriggerListing) -> Listed:
        plain = described(one.row, self.stored(one.row))
        return Listed(plain.row, plain.words, plain.zone, timed=plain.timed, listing=one)

    def _needed(self, row: TriggerRow) -> Trigger:
        trigger = self.stored(row)
        if trigger is None:
            missing = missing_type(self._plugins, row.type)
            raise TriggerRefused(f"'{row.name}' is of the type '{row.type}', {missing}")
        return trigger

    def _last_due(self, row: TriggerRow, trigger: Trigger | None, now: datetime) -> datetime | None:
        """Return the last instant up to now that has no outcome yet, or that the pause which goes on has skipped.

        Now itself when the type is not to be had: the stretch then holds whatever was due in it, and leaves no hole.
        """
        first = row.skipping_from if row.state == "paused" else row.next_due_at
        if trigger is None:
            return now if first is not None and first <= now else None
        found = pending(next_of(trigger), first, now)
        return None if found is None else found[1]

    async def _rows(self, name: str | None) -> list[TriggerRow]:
        if name is not None:
            return [await triggers.get(self._db, name)]
        return [one.row for one in await triggers.list_all(self._db)]

    async def _accepted(self, row: TriggerRow, given: Mapping[str, Any], *, typed: bool = True) -> dict[str, Json]:
        """Check inputs against the workflow file; return what is given, as the workflow takes it.

        `typed` says that they are texts from a command line. The inputs that the trigger has are held against it, too.
        """
        if _is_elsewhere(row):
            if given:
                raise TriggerRefused(f"inputs cannot be checked here: {row.file} is on {row.host}; say it there")
            return {}
        runner = self._brain.new_runner()
        try:
            await runner.load(row.file)
            # Each kind by its own rules: what is stored is JSON, and what is given may be text.
            whole = await runner.accept_inputs({**row.inputs, **given}, typed=typed)
            accepted = stored_inputs({name: whole[name] for name in given}, self._brain.settings.max_output)
            await runner.accept_inputs({**row.inputs, **accepted}, typed=False)
            return accepted
        finally:
            await runner.close()


def _is_elsewhere(row: TriggerRow) -> bool:
    return row.host != socket.gethostname() and not Path(row.file).exists()
