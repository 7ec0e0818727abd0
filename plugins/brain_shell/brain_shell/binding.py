"""From a command with placeholders to the text that the shell is given and the variables beside it.

A value never enters the text. It travels in the environment, or, when the kernel would not take it there, in a private
file that the first line of the script reads into a variable of the shell.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from brain_core import Placeholder, Scope, StepFailed, TemplateMark, TextTemplate
from brain_shell.contexts import HOLE, Refusal

VARIABLE = "BRAIN_VALUE_"
MAX_IN_ENVIRONMENT = 100_000
"""Bytes of one value that travel in the environment; the kernel's own limit is 131,072."""
MAX_TOGETHER = 400_000
"""Bytes of all values of a command that travel in the environment together."""
MAX_COMMAND = 100_000
"""Bytes of a command's text."""

# The door gives the annotation alone; the mark inside knows the grammar.
_TEXT: Any = next(mark for mark in TextTemplate.__metadata__ if isinstance(mark, TemplateMark))  # type: ignore[attr-defined]


def text_of(template: str, scope: Scope) -> str:
    """Fill in a text template."""
    return str(_TEXT.resolve(template, scope))


@lru_cache(maxsize=1024)
def split(command: str) -> tuple[str | Placeholder, ...]:
    """Split a command into text (escapes undone) and placeholders; what follows a `$` is the shell's own."""
    pieces: list[str | Placeholder] = []
    at = 0
    for token in _TEXT.tokens(command):
        if command[token.start - 1 : token.start] == "$":
            continue
        pieces += (command[at : token.start], token if isinstance(token, Placeholder) else token.text)
        at = token.end
    pieces.append(command[at:])
    return tuple(pieces)


@dataclass(frozen=True, slots=True)
class Analysis:
    """A command that was found safe: the text for the shell, and the variable of each value in it."""

    script: str
    variables: dict[str, str]


@lru_cache(maxsize=1024)
def analyse(command: str, tainted: frozenset[str] = frozenset(), stdin: bool = False) -> Analysis:
    """Read a command; Refusal says why a value in it could become code.

    `tainted` names environment variables that hold values; `stdin` says that standard input does.
    """
    pieces = split(command)
    shown = [str(piece) for piece in pieces if isinstance(piece, Placeholder)]
    text = "".join(HOLE if isinstance(piece, Placeholder) else piece for piece in pieces)
    if not shown and not tainted and not stdin:
        return Analysis(text, {})
    try:
        return _read(text, shown, tainted, stdin)
    except Refusal as refusal:
        if shown:
            raise
        raise refusal.without_placeholders() from None


def _read(text: str, shown: list[str], tainted: frozenset[str], stdin: bool) -> Analysis:
    # Late: only a command with placeholders is read, and the reader is a third of what this plugin imports.
    from brain_shell.grammar import read
    from brain_shell.refusals import check

    if text.count(HOLE) != len(shown):
        raise Refusal(1, "a NUL character stands in it", "remove it")
    if VARIABLE in text:
        raise Refusal(1, f"it names a variable {VARIABLE}…", "choose another name")
    names = {name: f"{VARIABLE}{number}" for number, name in enumerate(dict.fromkeys(shown))}
    parser, script = read(text, [names[name] for name in shown], shown)
    live = {name for number, name in enumerate(shown) if number not in parser.inert}
    if live or tainted or stdin:
        check(script, shown, tainted, stdin=stdin)
    if not shown:
        return Analysis(text, {})
    rendered = parser.render()
    if HOLE in rendered:
        raise Refusal(1, "a placeholder stands where its quoting cannot be told", "write the command more plainly")
    return Analysis(rendered, {name: names[name] for name in names if name in live})


def placeholders_of(command: str) -> list[Placeholder]:
    """Return the placeholders whose values the command needs (those in comments are left as they are)."""
    found = [piece for piece in split(command) if isinstance(piece, Placeholder)]
    try:
        live = analyse(command).variables
    except Refusal:
        return found
    return [placeholder for placeholder in found if str(placeholder) in live]


@dataclass(frozen=True, slots=True)
class BoundCommand:
    """A command and the values of its placeholders, by the text that stands for each."""

    template: str
    values: dict[str, str] = field(repr=False)

    def inserted(self) -> str:
        """Return the command with the values as plain text: what `unsafe=True` asks for."""
        pieces = split(self.template)
        return "".join(p if isinstance(p, str) else self.values.get(str(p), str(p)) for p in pieces)


class CommandMark:
    """Marks the field that holds a shell command."""

    def find(self, value: Any) -> Iterator[Placeholder]:
        if isinstance(value, str):
            yield from placeholders_of(value)

    def near_misses(self, value: Any) -> Iterator[Any]:
        for miss in _TEXT.near_misses(value):
            # `${step}` is the shell's, and so is a group with blanks: `{ step | b; }`.
            if value[miss.start - 1 : miss.start] != "$" and not (miss.padded and miss.rest.startswith("|")):
                yield miss

    def changes(self, value: Any) -> bool:
        return isinstance(value, str) and len(split(value)) > 1

    def resolve(self, value: Any, scope: Scope) -> Any:
        if not isinstance(value, str):
            return value
        return BoundCommand(value, {str(one): text_of(str(one), scope) for one in placeholders_of(value)})


class EnvironmentMark:
    """Marks a dict of texts; after resolving every value is text."""

    def find(self, value: Any) -> Iterator[Placeholder]:
        for text in value.values():
            yield from _TEXT.find(text)

    def near_misses(self, value: Any) -> Iterator[Any]:
        for text in value.values():
            yield from _TEXT.near_misses(text)

    def changes(self, value: Any) -> bool:
        return any(_TEXT.changes(text) for text in value.values())

    def resolve(self, value: Any, scope: Scope) -> Any:
        return {name: text_of(text, scope) for name, text in value.items()}


def to_bytes(text: str, what: str, *, nul: bool = False) -> bytes:
    """Encode text for the system; StepFailed names what cannot be encoded."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise StepFailed(
            f"{what} holds a lone surrogate, which no program can be given; clean the text first"
        ) from None
    if b"\0" in data and not nul:
        raise StepFailed(f"{what} holds a NUL character, which no argument or variable can; use stdin= for it")
    return data


@contextmanager
def bound(command: str | BoundCommand, *, unsafe: bool) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    """Yield the script and the environment variables that carry its values; files of large ones live until the end."""
    if isinstance(command, str):
        yield command, {}
        return
    if unsafe:
        yield command.inserted(), {}
        return
    analysis = analyse(command.template)
    environment: dict[bytes, bytes] = {}
    files: list[Path] = []
    prelude, together = "", 0
    try:
        for shown, variable in analysis.variables.items():
            data = to_bytes(command.values[shown], f"the value of {shown}")
            together += len(data)
            if len(data) <= MAX_IN_ENVIRONMENT and together <= MAX_TOGETHER:
                environment[variable.encode()] = data
                continue
            together -= len(data)
            files.append(_spill(data))
            prelude += _reading(variable, files[-1])
        yield prelude + analysis.script, environment
    finally:
        for path in files:
            path.unlink(missing_ok=True)


def _spill(data: bytes) -> Path:
    """Write a value to a new file that only this user can read."""
    with tempfile.NamedTemporaryFile(prefix="brain-value-", delete=False) as file:
        file.write(data)
    return Path(file.name)


def _reading(variable: str, path: Path) -> str:
    quoted = "'" + str(path).replace("'", "'\\''") + "'"
    cat = shutil.which("cat", path="/bin:/usr/bin") or "cat"
    # $(…) takes trailing line ends away; the x behind them keeps them.
    return f"{variable}=$({cat} {quoted}; printf x); {variable}=${{{variable}%x}}; "
