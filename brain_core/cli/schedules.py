"""How schedules look to people: their instants, and what is said when one has changed."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from brain_core.cli import output

if TYPE_CHECKING:
    from brain_core.app.trigger_types import Described


def instant(when: datetime | None, zone: tzinfo | None = None) -> str:
    """Return an instant for people, in a zone (the local one unless given), to the second and with its offset."""
    return "-" if when is None else when.astimezone(zone).isoformat(" ", "seconds")


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
