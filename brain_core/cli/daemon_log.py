"""The log of a daemon: one line an event on standard error, as text or as JSON."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

from brain_core.cli import output

_FACTS = ("worker", "trigger", "due", "run", "workflow", "step", "file", "error")


def write_log(form: Literal["text", "json"]) -> None:
    """Send the log of this process to standard error; run and step ids are fields of their own."""
    before: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(_FACTS),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        # As text already here: what would print it for people shows the values of local variables, secrets among them.
        structlog.processors.format_exc_info,
        _as_text,
    ]
    if form == "json":
        last: Any = structlog.processors.JSONRenderer(default=str)
        before.append(structlog.processors.EventRenamer("event"))
    else:
        before.append(_on_one_line)
        last = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, timestamp_key="at", sort_keys=False
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    log = logging.getLogger("brain")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def _as_text(_: Any, __: str, event: Any) -> Any:
    """Leave out what says nothing; instants and ids become text."""
    return {
        name: value if isinstance(value, str | int | float | bool | tuple | dict) else str(value)
        for name, value in event.items()
        if value is not None
    }


def _on_one_line(_: Any, __: str, event: Any) -> Any:
    """Write line breaks and control characters out: one line an event, and nothing that moves a cursor."""
    if "exception" in event:
        event["traceback"] = event.pop("exception")
    return {name: _visible(name, value) if isinstance(value, str) else value for name, value in event.items()}


def _visible(name: str, value: str) -> str:
    # The renderer quotes, and so writes out, a fact with one of these in it; done twice nobody could read it.
    return value if name != "event" and set(value) & set(" \t=\r\n\"'") else output.one_line(value)
