"""What a command says and how: data on stdout, talk on stderr, nothing that a value could do to a terminal.

Whoever reads may go away at any time (`brain history | head -1`): what is written after that goes nowhere, quietly,
and the command keeps its own exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TextIO

from brain_core.errors import BrainError

Look = Literal["bold", "dim", "red", "green", "yellow"]

_CODES: dict[str, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_STATUS_LOOKS: dict[str, Look] = {
    "success": "green",
    "active": "green",
    "failed": "red",
    "interrupted": "red",
    "quarantined": "red",
    "cancelled": "yellow",
    "running": "yellow",
    "parked": "yellow",
    "open": "yellow",
}


class OutputError(BrainError):
    """The output cannot be written: the disk is full, or the descriptor is not open for writing."""


_streams: list[tuple[Any, Any]] = []


def stdout() -> Any:
    """Return the process's own standard output, whatever workflow code has put in the place of `sys.stdout`."""
    return _streams[-1][0] if _streams else sys.stdout


def stderr() -> Any:
    """Return the process's own standard error, whatever workflow code has put in the place of `sys.stderr`."""
    return _streams[-1][1] if _streams else sys.stderr


def emit(text: str = "") -> None:
    """Write a line of data to stdout."""
    _write(stdout(), text + "\n")


def note(text: str) -> None:
    """Write a line of talk to stderr; nothing happens when that cannot be done."""
    talk(text + "\n")


def last_word(text: str) -> None:
    """Write a line of talk unless that would wait for a reader: for a command that is being interrupted."""
    import select

    try:
        ready = bool(select.select([], [stderr()], [], 0)[1])
    except (OSError, TypeError, ValueError):  # no descriptor
        ready = True
    if ready:
        note(text)


def talk(text: str) -> None:
    """Write text to stderr as it is, without a line end; nothing happens when that cannot be done."""
    try:
        _write(stderr(), text)
    except OutputError:
        return


def print_json(value: Any) -> None:
    """Write a value to stdout as JSON: indented on a terminal and off it alike, so that a diff of two outputs works.

    Times become ISO 8601 text; other things that JSON does not know become their text.
    """
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False, default=_as_json)
    try:
        text.encode(getattr(stdout(), "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        # What a stream writes in place of a character that it does not have, \xfc say, is no JSON.
        text = json.dumps(value, indent=2, default=_as_json)
    emit(text)


def table(rows: Iterable[Sequence[str]], headers: Sequence[str]) -> None:
    """Write rows to stdout as plain aligned columns under their headers.

    A cell is one line: control characters in it are made visible. A cell that is one of our status words is coloured.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headers, *cells, strict=True)]
    emit(_row(headers, widths, lambda text: style(text, "bold")))
    for row in cells:
        emit(_row(row, widths, lambda text: style(text, _STATUS_LOOKS.get(text.strip()))))


def style(text: str, look: Look | None, stream: TextIO | None = None) -> str:
    """Return the text in a look when `stream` (stdout unless given) is a terminal that may have colour."""
    return f"\x1b[{_CODES[look]}m{text}\x1b[0m" if look and colour_on(stream or stdout()) else text


def status(word: str, stream: TextIO | None = None) -> str:
    """Return a status word in its colour."""
    return style(word, _STATUS_LOOKS.get(word), stream)


def colour_on(stream: TextIO | None) -> bool:
    """Whether a stream may have colour: a terminal, no NO_COLOR (https://no-color.org), and not a dumb one."""
    # Asked of the environment here and not of the settings: it is every program's switch, not brain's, and loading
    # the settings costs more than all of `brain --help`.
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and is_terminal(stream)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at this stream."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def visible(text: str) -> str:
    """Return the text with every control character except newline and tab written out, such as `\\x1b`.

    What a step printed is from outside; shown raw it could move the cursor, set the title or fake a prompt. The
    characters that turn the direction of text are written out as well, since they can make a line read otherwise than
    it is.
    """
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(char if _harmless(char) else _escaped(char) for char in text)


def one_line(text: str) -> str:
    """Return the text as one visible line: newlines and tabs are written out too."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def as_text(value: Any) -> str:
    """Return a recorded value as text: text as it is, anything else as compact JSON."""
    if isinstance(value, str):
        return value
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_as_json)


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters of the text, ending in `…` when some are gone."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def moment(when: datetime | None) -> str:
    """Return a time for people: local, to the second; `-` for none."""
    return "-" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Return a duration for people, such as `3 ms`, `2.4 s`, `3 m 05 s`, `2 h 00 m`; `-` for none."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} m"


def number(value: float | None) -> str:
    """Return a number for people, such as `12,345` or `0.25`; `-` for none."""
    if value is None:
        return "-"
    if isinstance(value, int) or value.is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"


def size(count: int) -> str:
    """Return a number of bytes for people, such as `900 B` or `1.5 MiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def prepare() -> None:
    """Keep stdout and stderr until `release`, and make them take any text: what their encoding lacks is written out."""
    import io

    _streams.append((sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def release() -> None:
    """Put stdout and stderr back: the interpreter pushes them out at its end, and would fail on anything else."""
    sys.stdout, sys.stderr = _streams.pop()


def finish() -> None:
    """Push out what is buffered, so that a reader who went away is noticed here and not in the interpreter's end."""
    for stream in (stdout(), stderr()):
        if stream is not None:
            _guard(stream, "")


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        _guard(stream, text)


def _guard(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _to_nowhere(stream)
    except OSError as error:
        # Nothing more may be tried on it: the interpreter flushes once more at its end.
        _to_nowhere(stream)
        raise OutputError(f"cannot write the output: {error.strerror or error}") from error
    except ValueError:  # closed
        return


def _to_nowhere(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def _row(cells: Sequence[str], widths: Sequence[int], look: Any) -> str:
    padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
    padded[-1] = cells[-1]
    return "  ".join(look(cell) for cell in padded)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _harmless(char: str) -> bool:
    # isprintable() is false for controls, format characters (which turn the direction), surrogates and odd spaces.
    return char.isprintable() or char in "\n\t\u00a0\u3000\u200d\u200c"


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
