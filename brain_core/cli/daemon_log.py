"""The log of a daemon: one line an event on standard error, as text or as JSON.

Written by hand: a busy daemon logs thousands of lines a second, and a general library took twice as long for each, and
eight megabytes of an idle daemon.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from brain_core.cli import output

_FACTS = ("worker", "trigger", "due", "run", "workflow", "step", "file", "error")
_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error", "CRITICAL": "critical"}


def write_log(form: Literal["text", "json"]) -> None:
    """Send the log of this process to standard error; run and step ids are fields of their own."""
    # Of a record's facts these are not in our lines, and looking them up takes as long as all the rest of it.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the documented way to leave out who called
    handler = SoonHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    log = logging.getLogger("brain")
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


class SoonHandler(logging.StreamHandler[Any]):
    """Writes lines SOON seconds later, many with one write; a warning, and all before it, at once.

    When a thousand runs begin at one instant they do not wait for their log. What `kill -9` takes of it the rows of the
    runs still say.
    """

    SOON = 0.1
    AT_ONCE = 200
    """Lines that are written before others get their turn."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._waiting: deque[logging.LogRecord] = deque()
        self._comes: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """How many lines are not written yet."""
        return len(self._waiting)

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)
        if record.levelno >= logging.WARNING:
            self.flush()
        else:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                self.flush()
                return
            # Another loop than the last: that one may be over, and its call with it.
            if self._comes is not loop:
                self._comes = loop
                loop.call_later(self.SOON, self._write_some, loop)

    def flush(self) -> None:
        """Write all that waits; called at the end of the process, too."""
        with self.lock:  # type: ignore[union-attr]
            while self._waiting:
                self._write(self.AT_ONCE)

    def _write_some(self, loop: asyncio.AbstractEventLoop) -> None:
        with self.lock:  # type: ignore[union-attr]
            self._write(self.AT_ONCE)
            more = bool(self._waiting)
            if not more and self._comes is loop:
                self._comes = None
        if more:
            loop.call_soon(self._write_some, loop)

    def _write(self, number: int) -> None:
        records = [self._waiting.popleft() for _ in range(min(number, len(self._waiting)))]
        lines = []
        for record in records:
            try:
                lines.append(f"{self.format(record)}\n")
            except Exception:  # noqa: BLE001 - as any handler: one bad line stays one
                self.handleError(record)
        try:
            self.stream.write("".join(lines))
            self.stream.flush()
        except Exception:  # noqa: BLE001 - nobody to tell
            self.handleError(records[0])


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
