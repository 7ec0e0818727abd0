"""What a step returns, as JSON text that PostgreSQL stores and Python reads back (G24). Pure.

PostgreSQL refuses NUL and lone surrogates; it stores 5,000-digit integers and 6,000-deep JSON, which Python cannot read
back. So one codec stands in front of the store. The value that later steps get is `decode(encode(value).text)`: what is
recorded is what is used. A step's work is never lost because its output could not be stored exactly.
"""

from __future__ import annotations

import dataclasses
import json
import re
import reprlib
from collections import deque
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from brain_core.errors import InputError, StepFailed

MAX_DEPTH = 200
MAX_DIGITS = 4_000
_MOST_BITS_IN_TENS = 200_000  # to write more than 60,000 digits in tens takes long enough to miss a beat
_SURE_BITS = 13_287  # 2**13_287 has 4,000 digits
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ASK = "return text, a number, True/False, None, or lists and dicts of these"


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """`text` is JSON; `notes` are facts about what could not be kept as it was, for the details of the step.

    output_cut_bytes: how many bytes of a text were left out at its end. output_escaped: characters that no text column
    can hold and that stand there as a visible escape. output_numbers_as_text, output_deep_as_text: numbers and nested
    values that stand there as text.
    """

    text: str
    notes: dict[str, int] = dataclasses.field(default_factory=dict)


def encode(value: Any, max_bytes: int) -> Encoded:
    """Return a value as JSON text of at most `max_bytes`.

    A text that is longer is cut, with a note. StepFailed when anything else is larger, holds an object that JSON cannot
    hold, or contains itself.
    """
    if type(value) is str:
        return _encode_text(value, max_bytes)
    walk = _Walk(max_bytes)
    plain = walk.convert(value, 0)
    if type(plain) is str:
        encoded = _encode_text(plain, max_bytes)
        return Encoded(encoded.text, {**walk.notes, **encoded.notes})
    text = _dump(plain)
    size = len(text) if text.isascii() else len(text.encode())
    if size > max_bytes:
        raise StepFailed(f"the output is {size:,} bytes of JSON and the limit is {max_bytes:,}; write it to a file")
    return Encoded(text, walk.notes)


def stored_inputs(inputs: Mapping[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return the inputs of a run as they will be stored; InputError when that cannot be done, or not within the limit.

    Unlike an output, an input is never cut: the steps would get another value than was asked for.
    """
    sizes: dict[str, int] = {}
    for name, value in inputs.items():
        try:
            sizes[name] = len(encode([value], max_bytes).text)
        except StepFailed as error:
            raise InputError(f"input '{name}' cannot be recorded: {str(error).replace('the output', 'it')}") from None
    try:
        kept: dict[str, Any] = decode(encode(dict(inputs), max_bytes).text)
    except StepFailed:
        largest = max(sizes, key=lambda each: sizes[each])
        raise InputError(
            f"the inputs together are larger than {max_bytes:,} bytes of JSON (setting max_output), the largest is "
            f"'{largest}'; give the name of a file instead"
        ) from None
    return kept


def decode(text: str) -> Any:
    """Return the value of a JSON text that `encode` has made."""
    return json.loads(text)


def visible(text: str) -> str:
    """Return text that a text column can hold: NUL and lone surrogates become visible escapes."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code else "\\x00"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _encode_text(text: str, max_bytes: int) -> Encoded:
    notes: dict[str, int] = {}
    if not text.isascii() or "\0" in text:
        text, escaped = _UNSTORABLE.subn(_escape, text)
        if escaped:
            notes["output_escaped"] = escaped
    if len(text) * 4 > max_bytes:
        raw = text.encode()
        if len(raw) > max_bytes:
            text = raw[:max_bytes].decode(errors="ignore")
            notes["output_cut_bytes"] = len(raw) - len(text.encode())
    return Encoded(_dump(text), notes)


class _Walk:
    """Turns one value into plain JSON values, counting what had to change."""

    def __init__(self, max_bytes: int) -> None:
        self.notes: dict[str, int] = {}
        self._max = max_bytes
        self._values = 0
        self._open: set[int] = set()

    def convert(self, value: Any, depth: int) -> Any:
        kind = type(value)
        # Each value takes a byte at least, and a text its length: a small object that contains another many times
        # cannot grow for ever. A text that stands alone is cut elsewhere.
        self._values += len(value) if kind is str and depth else 1
        if self._values > self._max:
            raise StepFailed(f"the output is more than {self._max:,} bytes of JSON; write it to a file")
        if kind is str:
            return self._text(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return self._integer(value)
        if kind is float:
            return self._float(value)
        # Most of what is left is one of these two; they need not be compared with everything else.
        if kind is not dict and kind is not list:
            scalar = self._scalar(value)
            if scalar is not None:
                return scalar[0]
        if depth >= MAX_DEPTH:
            return self._too_deep(value)
        if id(value) in self._open:
            raise StepFailed(f"the output contains itself (a {kind.__name__}); {_ASK}")
        self._open.add(id(value))
        try:
            return self._container(value, depth)
        finally:
            self._open.discard(id(value))

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple | deque):
            return [self.convert(item, depth + 1) for item in value]
        if isinstance(value, set | frozenset):
            try:
                items = sorted(value)
            except TypeError:
                items = sorted(value, key=repr)
            return [self.convert(item, depth + 1) for item in items]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._mapping({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, depth)
        # A pydantic model is known by its method, so that nothing here has to import pydantic.
        if hasattr(type(value), "model_fields") and hasattr(value, "model_dump"):
            return self._mapping(value.model_dump(), depth)
        raise StepFailed(f"the output holds a {_type_name(value)}, which JSON cannot hold; {_ASK}")

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in value.items():
            name = self._key(key)
            if name in plain:
                raise StepFailed(f"the output has two keys that JSON writes as '{name[:80]}'; name them apart")
            plain[name] = self.convert(item, depth + 1)
        return plain

    def _key(self, key: Any) -> str:
        plain = self.convert(key, MAX_DEPTH) if type(key) is str or _is_scalar(key) else None
        if plain is None and key is not None:
            raise StepFailed(f"the output has a {_type_name(key)} as a key of a dict; use text")
        return plain if isinstance(plain, str) else _dump(plain)

    def _text(self, text: str) -> str:
        if text.isascii() and "\0" not in text:
            return text
        text, escaped = _UNSTORABLE.subn(_escape, text)
        if escaped:
            self._note("output_escaped", escaped)
        return text

    def _integer(self, number: int) -> int | str:
        if number.bit_length() <= _SURE_BITS:
            return number
        if number.bit_length() > self._max * 4:
            raise StepFailed(f"the output is a number of more than {self._max:,} digits; write it to a file")
        if number.bit_length() > _MOST_BITS_IN_TENS:
            self._note("output_numbers_as_text", 1)
            return hex(number)
        # str() refuses more digits than sys.get_int_max_str_digits(); Decimal is exact and does not.
        text = str(Decimal(number))
        if len(text.lstrip("-")) <= MAX_DIGITS:
            return number
        self._note("output_numbers_as_text", 1)
        return text

    def _float(self, number: float) -> float | str:
        if number - number == 0:
            return number
        self._note("output_numbers_as_text", 1)
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"

    def _scalar(self, value: Any) -> tuple[Any] | None:
        """Return (JSON value,) for a single value of another type; None for what contains others or is unknown."""
        if isinstance(value, Enum):
            return (self.convert(value.value, 0),)
        if isinstance(value, str):
            return (self._text(str.__str__(value)),)
        if isinstance(value, int):
            return (self._integer(int(value)),)
        if isinstance(value, float):
            return (self._float(float(value)),)
        if isinstance(value, datetime | date | time):
            return (value.isoformat(),)
        if isinstance(value, timedelta):
            return (value.total_seconds(),)
        if isinstance(value, Decimal | UUID | PurePath):
            return (self._text(str(value)),)
        if isinstance(value, bytes | bytearray | memoryview):
            return (self._text(bytes(value).decode(errors="backslashreplace")),)
        return None

    def _too_deep(self, value: Any) -> str:
        self._note("output_deep_as_text", 1)
        try:
            return self._text(reprlib.repr(value))
        except RecursionError:
            return f"(a {_type_name(value)}, nested too deeply)"

    def _note(self, name: str, number: int) -> None:
        self.notes[name] = self.notes.get(name, 0) + number


def _is_scalar(key: Any) -> bool:
    return key is None or isinstance(
        key, str | int | float | Enum | date | time | timedelta | Decimal | UUID | PurePath | bytes
    )


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
