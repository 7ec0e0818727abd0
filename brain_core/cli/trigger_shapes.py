"""How schedules look: their documented shapes for `--json` (docs/reference/cli.md), and their instants for people."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app.trigger_types import Described
    from brain_core.app.triggers import Listed
    from brain_core.store.fires import LedgerRow


def instant(when: datetime | None, zone: tzinfo | None = None) -> str:
    """Return an instant for people, in a zone (the local one unless given), to the second and with its offset."""
    return "-" if when is None else when.astimezone(zone).isoformat(" ", "seconds")


def policy(catch_up: str, most: int | None) -> str:
    """Return what is done about missed instants as `--catch-up` takes it."""
    return f"all:{most}" if catch_up == "all" else catch_up


def trigger_shape(one: Described) -> dict[str, Any]:
    """Return a schedule as JSON holds it."""
    row = one.row
    return {
        "name": row.name,
        "type": row.type,
        "config": row.config,
        "schedule": one.words,
        "workflow": row.workflow_name,
        "file": row.file,
        "host": row.host,
        "inputs": row.inputs,
        "catch_up": policy(row.catch_up, row.catch_up_max) if one.timed else None,
        "overlap": row.overlap,
        "state": row.state,
        "paused_at": row.paused_at,
        "resume_at": row.resume_at,
        "next_due_at": row.next_due_at,
        "created_at": row.created_at,
        "revision": row.revision,
    }


def changed_shape(one: Described) -> dict[str, Any]:
    """Return a schedule that was registered or changed, with what surprises about it and its next instants."""
    return {**trigger_shape(one), "notes": list(one.notes), "next": [at.astimezone(one.zone) for at in one.next]}


def listed_shape(one: Listed) -> dict[str, Any]:
    """Return a schedule with its last run as `brain list --json` holds it."""
    last = one.listing.last_run
    return {
        **trigger_shape(one),
        "overdue": one.listing.overdue,
        "last_success_at": one.listing.last_success_at,
        "last_run": None
        if last is None
        else {
            "id": str(last.id),
            "status": last.status,
            "created_at": last.created_at,
            "started_at": last.started_at,
        },
    }


def fire_shape(row: LedgerRow) -> dict[str, Any]:
    """Return one line of the ledger as JSON holds it; `until` is null for one instant and for an open pause."""
    return {
        "due_at": row.due_at,
        "until": None if row.open else row.until,
        "open": row.open,
        "outcome": row.outcome,
        "reason": row.reason,
        "run_id": None if row.run_id is None else str(row.run_id),
        "revision": row.revision,
        "recorded_at": row.recorded_at,
    }


def say_changed(what: str, one: Described) -> None:
    """Say what a schedule does now: in words, what surprises, and when it is due next."""
    row = one.row
    output.emit(
        f"{output.style(what, 'green')}  {row.name}: {output.one_line(row.workflow_name)} {output.one_line(one.words)}"
    )
    for text in one.notes:
        output.emit(f"note        {output.one_line(text)}")
    if row.state == "paused":
        output.emit("next        none while it is paused")
    elif one.next:
        output.emit(f"next        {instant(one.next[0], one.zone)}")
    if len(one.next) > 1:
        output.emit(f"then        {', '.join(instant(at, one.zone) for at in one.next[1:])}")
