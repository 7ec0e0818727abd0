"""`output=` of a step: the JSON schema that the model is told, and the check of what it answers. Pure."""

from __future__ import annotations

import copy
import json
import math
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, ClassVar, NamedTuple, get_origin
from urllib.parse import unquote

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

WRAPPED = "result"
"""What a value that is no object is called in the object that a model has to answer with."""
MAX_SCHEMA = 65_536
_SHOWN_PROBLEMS = 5
_FROM_ROOT = re.compile(r"#/(?!\$defs/|definitions/)")
_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_EXAMPLE = "a pydantic model, list[…], an Enum, Literal[…] or a JSON schema as a dict"


class BadAnswer(Exception):
    """A model's answer is not what `output=` asks for; the text says why, for the model and for people."""


class NotJudged(Exception):
    """What checks an answer has itself failed: the author's validator, say; the text names it."""


class Shape(NamedTuple):
    """What an answer has to be: a JSON schema whose root is an object, and what checks an answer against it."""

    name: str
    schema: dict[str, Any]
    wrapped: bool
    check: Callable[[Any], Any]

    def read(self, text: str, *, loose: bool = False, clean: Callable[[Any], Any] = lambda value: value) -> Any:
        """Return the JSON value of an answer; BadAnswer says what is wrong with it, NotJudged what with the check.

        `loose` also finds the object in an answer with words around it, as models write that only were told to.
        `clean` is given the value before anything else sees it.
        """
        try:
            value = clean(_json_in(text, loose=loose))
        except RecursionError:
            raise BadAnswer("the answer is nested too deeply") from None
        if self.wrapped:
            if isinstance(value, dict) and set(value) == {WRAPPED}:
                value = value[WRAPPED]
            elif not loose or (isinstance(value, dict) and WRAPPED in value):
                raise BadAnswer(f'the answer has to be an object with the one key "{WRAPPED}"')
        try:
            return self.check(value)
        except BadAnswer:
            raise
        except RecursionError:
            raise BadAnswer("the answer is nested too deeply") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - validators are the author's own code
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise NotJudged(
                f"{type(error).__name__}: {error} ({PurePath(frame.filename).name}:{frame.lineno})"
            ) from None


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
    inner = _moved(schema)
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
    _refuse_references_to_nothing(schema, schema)
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


_REFERENCES = ("$ref", "$dynamicRef")


def _refuse_references_to_nothing(schema: Any, root: dict[str, Any], depth: int = 0) -> None:
    if depth > 100:
        raise ValueError("output is nested over 100 levels deep; ask for less")
    if isinstance(schema, dict):
        for reference in map(schema.get, _REFERENCES):
            if not isinstance(reference, str):
                continue
            if not reference.startswith("#"):
                raise ValueError(f"output refers to '{reference[:100]}'; a schema may refer to itself only (#/$defs/…)")
            if not _leads_somewhere(reference, root):
                raise ValueError(f"output refers to '{reference[:100]}', which is not in it; add it to $defs")
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for one in inner:
        _refuse_references_to_nothing(one, root, depth + 1)


def _leads_somewhere(reference: str, root: Any) -> bool:
    at = root
    # The names of anchors are for the validator to find; a pointer is followed.
    for written in reference[2:].split("/") if reference.startswith("#/") else ():
        part = unquote(written).replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and part in at:
            at = at[part]
        elif isinstance(at, list) and part.isdecimal() and int(part) < len(at):
            at = at[int(part)]
        else:
            return False
    return True


def _moved(schema: Any) -> Any:
    """Return a copy of a schema for where it stands inside the wrapper: what points to its root points there."""
    if isinstance(schema, list):
        return [_moved(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: _moved(one) for name, one in schema.items()}
    for name in _REFERENCES:
        reference = moved.get(name)
        if reference == "#" or (isinstance(reference, str) and _FROM_ROOT.match(reference)):
            moved[name] = f"#/properties/{WRAPPED}{reference[1:]}"
    return moved


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
            return json.loads(candidate, parse_constant=_no_number, parse_float=_finite)
        except RecursionError:
            raise BadAnswer("the answer is nested too deeply") from None
        except ValueError as error:
            problem = problem or str(error)
    raise BadAnswer(f"the answer is not JSON: {problem}")


def _finite(text: str) -> float:
    if math.isfinite(number := float(text)):
        return number
    raise ValueError(f"{text[:40]} is larger than a number can be")


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
