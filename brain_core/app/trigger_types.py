"""What trigger types say about triggers: words, notes, instants; guarded, since they are strangers' code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, TypeVar

from brain_core.errors import BrainError, PluginError, TriggerRefused, UsageError, nearest
from brain_core.schedule import CatchUp, NextAfter, last_until
from brain_core.trigger import Trigger
from brain_core.workflow import name_problem

if TYPE_CHECKING:
    from brain_core.engine.runner import Plan
    from brain_core.plugin.manager import PluginManager
    from brain_core.store.triggers import Overlap, TriggerRow

T = TypeVar("T")

_SHOWN = 3
"""How many of the next instants are told of a trigger that was registered or changed."""

_ALL_IN_TURN = (
    "after an outage the runs of the last {} instants are queued at once, and with --overlap skip they go one after "
    "the other; what comes due meanwhile is skipped"
)


@dataclass(frozen=True, slots=True)
class Described:
    """A trigger and what its type says about it. `words` is its bare configuration where its type is not to be had.

    `zone` is that of the field `timezone`, if the type has one: its instants are shown in it. `timed` is False
    where the type is known to have none.
    """

    row: TriggerRow
    words: str
    zone: tzinfo | None = None
    notes: tuple[str, ...] = ()
    next: tuple[datetime, ...] = ()
    timed: bool = True


def ready_to_register(plugins: PluginManager, trigger: Trigger) -> Trigger:
    """Return a trigger with its defaults, checked; TriggerRefused says what is wrong. Needs no database."""
    if (refusal := plugins.refusal_of(type(trigger))) is not None:
        raise TriggerRefused(refusal)
    settings = plugins.settings_of_trigger(type(trigger))
    complete = asked(trigger, "with_defaults", lambda: trigger.with_defaults(settings))
    asked(complete, "check", complete.check)
    return complete


def check_policies(kind: type[Trigger], catch_up: CatchUp | None, overlap: Overlap | None) -> None:
    """Refuse policies that mean nothing to a type of trigger; None is what was not given."""
    if kind.is_timed():
        return
    if catch_up is not None:
        raise TriggerRefused(
            f"--catch-up is about missed instants, and a trigger of the type {kind.type_name} has none; leave it out"
        )
    if overlap == "skip" and kind.default_overlap == "allow":
        raise TriggerRefused(
            f"--overlap skip is not for a trigger of the type {kind.type_name}: each delivery that it takes gets its "
            "run; leave it out"
        )


def scheduled_by(plugins: PluginManager, plan: Plan) -> Trigger | None:
    """Return the schedule that a workflow file carries itself; TriggerRefused when its type is not to be had."""
    if plan.schedule is None:
        return None
    type_name, config = plan.schedule
    kind = plugins.trigger_types.get(type_name)
    if kind is None:
        missing = missing_type(plugins, type_name)
        raise TriggerRefused(f"{plan.file}: its schedule is of the type '{type_name}', {missing}")
    return kind.model_validate(config)


def stored_trigger(plugins: PluginManager, row: TriggerRow) -> Trigger | None:
    """Return the trigger that a row holds; None when its type is not to be had, or no longer takes what is stored."""
    kind = plugins.trigger_types.get(row.type)
    try:
        return None if kind is None else kind.model_validate(row.config)
    except Exception:  # noqa: BLE001 - a stranger's validators
        return None


def missing_type(plugins: PluginManager, name: str) -> str:
    """Return why a trigger type is not to be had, to go on a sentence with."""
    for info in plugins.plugins:
        if info.name == name and info.state != "active":
            return f"and the plugin '{name}' is {info.state}: {info.reason}"
    if name in plugins.trigger_types:
        return "which no longer takes what was stored"
    return f"which no active plugin brings{nearest(name, plugins.trigger_types)}; see: brain plugins list"


def described(row: TriggerRow, trigger: Trigger | None) -> Described:
    """Return a row in words; a trigger type that fails at it costs its words and nothing else."""
    words = f"{row.type} {row.config}"
    if trigger is not None:
        try:
            words = asked(trigger, "describe", trigger.describe)
        except BrainError as error:
            words = f"{words} ({error})"
    return Described(row, words, _zone_of(row), timed=trigger is None or trigger.is_timed())


def told(row: TriggerRow, trigger: Trigger) -> Described:
    """Return a row that was just registered or changed: in words, with what surprises and its next instants."""
    plain = described(row, trigger)
    upcoming: list[datetime] = []
    at = row.next_due_at
    while at is not None and len(upcoming) < _SHOWN:
        upcoming.append(at)
        at = next_of(trigger)(at)
    notes = lines_of(trigger, "notes")
    if (row.catch_up_max or 1) > 1 and row.overlap == "skip":
        notes += (_ALL_IN_TURN.format(row.catch_up_max),)
    return Described(row, plain.words, plain.zone, notes, tuple(upcoming), plain.timed)


def no_instants(type_name: str) -> str:
    """Return what is said of a trigger whose type has no instants."""
    return f"a trigger of the type {type_name} has no instants"


def lines_of(trigger: Trigger, method: str, *values: object) -> tuple[str, ...]:
    """Return the lines that a trigger type has to say; one that fails says that, since the act itself is done."""
    try:
        return tuple(str(line) for line in asked(trigger, method, lambda: getattr(trigger, method)(*values)))
    except BrainError as error:
        return (str(error),)


def next_of(trigger: Trigger) -> NextAfter:
    """Return the trigger's `next_after`, guarded."""
    return lambda instant: asked(trigger, "next_after", lambda: trigger.next_after(instant))


def first_after(trigger: Trigger, now: datetime) -> datetime | None:
    """Return the next instant; TriggerRefused when a type that has instants has none to come."""
    found = next_of(trigger)(now)
    if found is None and trigger.is_timed():
        raise TriggerRefused(f"'{trigger.describe()}' will never come due; change its {trigger.type_name}")
    return found


def pending(next_after: NextAfter, first: datetime | None, now: datetime) -> tuple[datetime, datetime] | None:
    """Return first and last of the instants from `first` up to `now`; None when there is none."""
    return None if first is None or first > now else (first, last_until(next_after, first, now))


def asked(trigger: Trigger, method: str, call: Callable[[], T]) -> T:
    """Call a method of a trigger type; what it raises beside our own errors becomes a PluginError that names it."""
    try:
        return call()
    except BrainError:
        raise
    except Exception as error:
        label = type(trigger).type_name
        raise PluginError(f"trigger type '{label}': {method}() raised {type(error).__name__}: {error}") from error


def checked_name(name: str) -> str:
    """Return the name of a trigger; UsageError when it cannot be one."""
    if problem := name_problem(name):
        raise UsageError(problem.replace("workflow name", "the name", 1))
    return name


def _zone_of(row: TriggerRow) -> tzinfo | None:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(row.config["timezone"])
    except (KeyError, TypeError, ValueError, OSError):
        return None
