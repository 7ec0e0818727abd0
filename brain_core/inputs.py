"""What a run may be given: declared inputs, and the check of given values against them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from brain_core.errors import InputError, nearest
from brain_core.placeholders import Json

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_MISSING: Any = object()


class InputSpec:
    """One declared input: its name, its type, and its default unless it is required."""

    def __init__(self, name: str, annotation: Any, default: Any = _MISSING) -> None:
        self.name = name
        self.annotation = annotation
        self.default = default
        self._adapter: TypeAdapter[Any] | None = None

    @property
    def required(self) -> bool:
        return self.default is _MISSING

    @property
    def type_text(self) -> str:
        """The type as a reader writes it, such as `int` or `list[str]`."""
        if isinstance(self.annotation, type) and not hasattr(self.annotation, "__args__"):
            return self.annotation.__name__
        return str(self.annotation).replace("typing.", "")

    @property
    def adapter(self) -> TypeAdapter[Any]:
        if self._adapter is None:
            self._adapter = TypeAdapter(self.annotation)
        return self._adapter

    def accept(self, value: Any) -> Json:
        """Return the value as JSON of the declared type; InputError names the input and what was expected."""
        try:
            return self.adapter.dump_python(self.adapter.validate_python(value), mode="json")
        except (ValidationError, PydanticSerializationError) as error:
            raise self._refusal(value, error) from None

    def accept_text(self, text: str) -> Json:
        """Like `accept`, for a value typed on a command line: lists and dicts are written as JSON."""
        try:
            return self.accept(text)
        except InputError:
            try:
                return self.accept(json.loads(text))
            except (ValueError, RecursionError, InputError):
                pass
            raise

    def _refusal(self, value: Any, error: Exception) -> InputError:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "JSON cannot hold it"
        return InputError(f"input '{self.name}' has to be {self.type_text}, and {_short(value)} is not: {why}")


def declare(name: str, value: Any) -> InputSpec:
    """Read one entry of `Workflow(inputs={…})`: a type makes a required input, anything else is its default."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"input name '{name}' is not a name: a letter or _, then letters, digits and _")
    if isinstance(value, type) or hasattr(value, "__origin__") or type(value).__module__ in ("types", "typing"):
        spec = InputSpec(name, value)
    else:
        spec = InputSpec(name, Any if value is None else type(value), value)
    try:
        adapter = spec.adapter
        if not spec.required:
            spec.default = adapter.dump_python(value, mode="json")
    except (PydanticSchemaGenerationError, PydanticSerializationError):
        raise ValueError(
            f"input '{name}' is a {type(value).__name__}; give a JSON value as its default, or a type"
        ) from None
    return spec


def accept_inputs(specs: Mapping[str, InputSpec], given: Mapping[str, Any], *, typed: bool = False) -> dict[str, Json]:
    """Return the inputs of a run: what was given, checked, and the defaults of the rest.

    `typed` says that the values are texts from a command line. InputError names the first input that is unknown,
    missing or of the wrong type.
    """
    for name in given:
        if name not in specs:
            known = ", ".join(specs) if specs else "none"
            raise InputError(f"the workflow has no input '{name}'{nearest(name, specs)} (declared: {known})")
    values: dict[str, Json] = {}
    for name, spec in specs.items():
        if name in given:
            value = given[name]
            values[name] = spec.accept_text(value) if typed and isinstance(value, str) else spec.accept(value)
        elif spec.required:
            raise InputError(f"input '{name}' ({spec.type_text}) is required; give it with --input {name}=…")
        else:
            values[name] = spec.default
    return values


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
