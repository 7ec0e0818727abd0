"""The log of a daemon: one line an event on standard error, as text or as JSON.

Written by hand: a busy daemon logs thousands of lines a second, and a general library took twice as long for each, and
eight megabytes of an idle daemon.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from brain_core.cli import output

_FACTS = ("worker", "trigger", "due", "run", "workflow", "step", "file", "error")
_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error", "CRITICAL": "critical"}


def write_log(form: Literal["text", "json"]) -> None:
    """Send the log of this process to standard error; run and step ids are fields of their own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    log = logging.getLogger("brain")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


class JsonLines(logging.Formatter):
    """A JSON object a line: event, level, logger, at (UTC), and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _at(record),
            "level": _LEVELS.get(record.levelname, record.levelname),
            "logger": record.name,
            "event": record.getMessage(),
            **dict(_facts(record)),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _to_json(line)


class TextLines(logging.Formatter):
    """`2026-03-29T07:00:00.123456Z [info     ] run started [brain.run] run=… workflow=…`.

    Line breaks and control characters are written out: one line an event, and nothing that moves a cursor.
    """

    def format(self, record: logging.LogRecord) -> str:
        event, level = output.one_line(record.getMessage()), _LEVELS.get(record.levelname, record.levelname)
        facts = "".join([f" {name}={_quoted(value)}" for name, value in _facts(record)])
        if record.exc_info:
            facts += f" traceback={_quoted(self.formatException(record.exc_info))}"
        return f"{_at(record)} [{level:9s}] {event} [{record.name}]{facts}"


_to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _at(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC).isoformat(timespec='microseconds')[:-6]}Z"


def _facts(record: logging.LogRecord) -> Iterator[tuple[str, str | int | float]]:
    """Yield what is said beside the event; instants and ids become text."""
    given = record.__dict__
    for name in _FACTS:
        value = given.get(name)
        if value is not None:
            yield name, value if isinstance(value, str | int | float) else str(value)


def _quoted(value: str | int | float) -> str:
    """Return a value as one word, in quotes where it is none."""
    text = str(value)
    if text and text.isprintable() and not any(mark in text for mark in " \"'=\\"):
        return text
    return output.one_line(_to_json(text))
