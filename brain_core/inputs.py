"""What a run may be given: declared inputs, and the check of given values against them. Pure."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import PydanticUserError, TypeAdapter, ValidationError
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
        annotation = self.annotation
        if hasattr(annotation, "__metadata__"):
            annotation = get_args(annotation)[0]
        if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
            return annotation.__name__
        return str(annotation).replace("typing.", "")

    @property
    def adapter(self) -> TypeAdapter[Any]:
        if self._adapter is None:
            self._adapter = TypeAdapter(self.annotation)
        return self._adapter

    def accept(self, value: Any) -> Json:
        """Return a JSON value as JSON of the declared type; InputError names the input and what was expected.

        Strict, as JSON has types of its own: the text "3" is no int, and 1 is no bool. What JSON writes as text (a
        date, a path) and what it writes as a list (a tuple, a set) is accepted as such.
        """
        if self._verbatim(value):
            return value
        try:
            found = self.adapter.validate_json(json.dumps(value), strict=True)
            return self.adapter.dump_python(found, mode="json")
        except (ValidationError, PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
            raise self._refusal(value, error) from None

    def accept_text(self, text: str) -> Json:
        """Like `accept`, for a text typed on a command line: `3` is an int and `true` a bool where one is declared.

        A text is taken as it is where one is declared; lists and dicts are written as JSON.
        """
        if self._verbatim(text):
            return text
        try:
            return self.adapter.dump_python(self.adapter.validate_python(text), mode="json")
        except (ValidationError, PydanticSerializationError) as error:
            refusal = self._refusal(text, error)
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            raise refusal from None
        if isinstance(parsed, list | dict) or parsed is None:
            return self.accept(parsed)
        raise refusal

    def _verbatim(self, value: Any) -> bool:
        # Past pydantic, which refuses the lone surrogates that a text from a command line may hold.
        return isinstance(value, str) and (self.annotation is str or self.annotation is Any)

    def _refusal(self, value: Any, error: Exception) -> InputError:
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            why = f"at {place}: {first['msg']}" if place else first["msg"]
        else:
            why = "JSON cannot hold it"
        return InputError(
            f"input '{self.name}' has to be {self.type_text}, and {_short(value)} is not: {' '.join(why.split())}"
        )


def declare(name: str, value: Any) -> InputSpec:
    """Read one entry of `Workflow(inputs={…})`: a type makes a required input, anything else is its default."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"input name '{_short(name)[1:-1]}' is not a name: a letter or _, then letters, digits and _")
    if isinstance(value, type) or hasattr(value, "__origin__") or type(value).__module__ in ("types", "typing"):
        spec = InputSpec(name, value)
    else:
        spec = InputSpec(name, Any if value is None else type(value), value)
    try:
        adapter = spec.adapter
        if not adapter.pydantic_complete:
            raise ValueError("a name in the type means nothing here")
        if not spec.required and not spec._verbatim(value):
            spec.default = adapter.dump_python(value, mode="json")
            json.dumps(spec.default)
    except (PydanticUserError, PydanticSerializationError, TypeError, ValueError, RecursionError):
        what = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise ValueError(f"input '{name}' is {what}, which JSON cannot hold; give a JSON value or a type") from None
    return spec


def accept_inputs(specs: Mapping[str, InputSpec], given: Mapping[str, Any], *, typed: bool = False) -> dict[str, Json]:
    """Return the inputs of a run: what was given, checked, and the defaults of the rest.

    `typed` says that texts come from a command line (`accept_text`); other values are taken as JSON.
    InputError names the first input that is unknown, missing or of the wrong type.
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
            # A copy: what one run does to a list must not be seen by the next.
            values[name] = copy.deepcopy(spec.default)
    return values


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
