"""`output=` of a step: the JSON schema that the model is told, and the check of what it answers. Pure."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

WRAPPED = "result"
"""What a value that is no object is called in the object that a model has to answer with."""
MAX_SCHEMA = 65_536
_SHOWN_PROBLEMS = 5
_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_EXAMPLE = "a pydantic model, list[…], an Enum, Literal[…] or a JSON schema as a dict"


class BadAnswer(Exception):
    """A model's answer is not what `output=` asks for; the text says why, for the model and for people."""


class Shape(NamedTuple):
    """What an answer has to be: a JSON schema whose root is an object, and what checks an answer against it."""

    name: str
    schema: dict[str, Any]
    wrapped: bool
    check: Callable[[Any], Any]

    def read(self, text: str, *, loose: bool = False) -> Any:
        """Return the JSON value of an answer; BadAnswer says what is wrong with it.

        `loose` also finds the object in an answer with words around it, as models write that only were told to.
        """
        value = _json_in(text, loose=loose)
        if self.wrapped:
            if isinstance(value, dict) and set(value) == {WRAPPED}:
                value = value[WRAPPED]
            elif not loose or (isinstance(value, dict) and WRAPPED in value):
                raise BadAnswer(f'the answer has to be an object with the one key "{WRAPPED}"')
        try:
            return self.check(value)
        except RecursionError:
            raise BadAnswer("the answer is nested too deeply") from None


def shape_of(output: Any) -> Shape:
    """Return the shape that `output=` describes; ValueError says what to write."""
    name, schema, check = _of_schema(output) if isinstance(output, dict) else _of_type(output)
    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError, RecursionError):
        raise ValueError("output is a dict that JSON cannot hold; give a JSON schema") from None
    if size > MAX_SCHEMA:
        raise ValueError(f"output has a schema of {size:,} characters and {MAX_SCHEMA:,} are the limit; ask for less")
    if schema.get("type") == "object":
        return Shape(name, schema, False, check)
    inner = copy.deepcopy(schema)
    outer: dict[str, Any] = {
        "type": "object",
        "properties": {WRAPPED: inner},
        "required": [WRAPPED],
        "additionalProperties": False,
    }
    for key in ("$defs", "definitions"):
        # References count from the root.
        if key in inner:
            outer[key] = inner.pop(key)
    return Shape(name, outer, True, check)


def _of_type(output: Any) -> tuple[str, dict[str, Any], Callable[[Any], Any]]:
    if output is str:
        raise ValueError("output=str is what a step gives anyway; leave output= out")
    if output in (list, set, tuple, dict, object, Any):
        written = getattr(output, "__name__", str(output))
        raise ValueError(f"output={written} does not say what is in it; give {_EXAMPLE}")
    if isinstance(output, BaseModel):
        raise ValueError(f"output is an object of the class {type(output).__name__}; give the class itself")
    if not isinstance(output, type) and get_origin(output) is None:
        raise ValueError(f"output is {type(output).__name__} {str(output)[:60]!r}, and no type; give {_EXAMPLE}")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(output)
        schema = adapter.json_schema()
    except (PydanticUserError, TypeError, ValueError, NameError) as error:
        why = str(error).partition("\n")[0][:200]
        raise ValueError(f"output={getattr(output, '__name__', output)} cannot be asked for: {why}") from None

    def check(value: Any) -> Any:
        try:
            # By way of text: in JSON mode a date, an enum and a set are read from what JSON can hold.
            found = adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            problems = ((_place(one["loc"]), str(one["msg"])) for one in error.errors(include_url=False))
            raise BadAnswer(_told(problems)) from None
        return adapter.dump_python(found, mode="json")

    return re.sub(r"\W+", "_", getattr(output, "__name__", "answer"))[:60].strip("_") or "answer", schema, check


class _Validators:
    """jsonschema, imported when the first schema is met: few steps need it."""

    kind: ClassVar[Any] = None

    @classmethod
    def of(cls, schema: dict[str, Any]) -> Any:
        if cls.kind is None:
            from jsonschema import Draft202012Validator

            cls.kind = Draft202012Validator
        return cls.kind(schema)


def _of_schema(schema: dict[str, Any]) -> tuple[str, dict[str, Any], Callable[[Any], Any]]:
    if not schema:
        raise ValueError("output is an empty dict, which any answer fits; give a JSON schema")
    _refuse_far_references(schema)
    validator = _Validators.of(schema)
    from jsonschema.exceptions import SchemaError

    try:
        validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"output is no JSON schema: {error.json_path}: {error.message[:200]}") from None
    if not {"type", "properties", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "items"} & set(schema):
        shown = ", ".join(map(str, schema))[:100]
        raise ValueError(f'output is a dict and no JSON schema ({shown}); write {{"type": "object", "properties": …}}')

    def check(value: Any) -> Any:
        problems = [(error.json_path.lstrip("$."), error.message) for error in _first(validator, value)]
        if problems:
            raise BadAnswer(_told(iter(problems)))
        return value

    title = schema.get("title")
    name = re.sub(r"\W+", "_", title)[:60].strip("_") if isinstance(title, str) else ""
    return name or "answer", copy.deepcopy(schema), check


def _first(validator: Any, value: Any) -> Iterator[Any]:
    for number, error in enumerate(validator.iter_errors(value)):
        if number > _SHOWN_PROBLEMS:
            return
        yield error


def _refuse_far_references(schema: Any, depth: int = 0) -> None:
    if depth > 100:
        raise ValueError("output is nested over 100 levels deep; ask for less")
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise ValueError(f"output refers to '{reference[:100]}'; a schema may refer to itself only (#/$defs/…)")
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for one in inner:
        _refuse_far_references(one, depth + 1)


def _json_in(text: str, *, loose: bool) -> Any:
    stripped = text.strip()
    candidates = [stripped]
    if fence := _FENCE.fullmatch(stripped):
        candidates.append(fence[1])
    elif loose:
        candidates += [found[1] for found in _FENCE.finditer(stripped)][:1]
        begin, end = stripped.find("{"), stripped.rfind("}")
        if 0 <= begin < end:
            candidates.append(stripped[begin : end + 1])
    problem = ""
    for candidate in candidates:
        try:
            return json.loads(candidate, parse_constant=_no_number)
        except RecursionError:
            raise BadAnswer("the answer is nested too deeply") from None
        except ValueError as error:
            problem = problem or str(error)
    raise BadAnswer(f"the answer is not JSON: {problem}")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc))


def _told(problems: Iterator[tuple[str, str]]) -> str:
    lines: list[str] = []
    for place, message in problems:
        if len(lines) == _SHOWN_PROBLEMS:
            lines.append("…")
            break
        short = message if len(message) <= 200 else message[:200] + "…"
        lines.append(f"{place[:100]}: {short}" if place else short)
    return "; ".join(lines)
