"""What is said of a value that pydantic has refused: what it has to be, in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    **dict.fromkeys(("tuple", "list", "set", "frozen_set"), "a list"),
    **dict.fromkeys(("dict", "model", "dataclass"), "an object"),
}
"""By the type of pydantic's error, without what it says of how the value was read."""
_IN_TOML = {
    "text": "text in quotes",
    "a path": "a path, as text in quotes",
    "a list": 'a list, such as ["a", "b"]',
    "an object": "a table",
}
# What pydantic's sentences begin with: Input should be …, String should have …
_SHOULD = re.compile(r"^(?:\w+ ){1,2}should ")
_HOW_IT_WAS_READ = ("_parsing_size", "_parsing", "_from_float", "_type")


def wanted_setting(error: Mapping[str, Any]) -> str:
    """Return what one of pydantic's errors asks for of a setting, in the words of TOML."""
    kind = _kind(error)
    if kind in _KINDS:
        return f"it has to be {_IN_TOML.get(_KINDS[kind], _KINDS[kind])}"
    if kind == "missing":
        return "it is missing"
    return "there is no such setting" if kind == "extra_forbidden" else wanted(error)


def wanted(error: Mapping[str, Any]) -> str:
    """Return what one of pydantic's errors asks for; the text of our own validators as they have written it."""
    kind = _kind(error)
    if kind in _KINDS:
        return f"it has to be {_KINDS[kind]}"
    text = str(error["msg"])
    if kind in ("value_error", "assertion_error"):
        return text.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return _SHOULD.sub("it has to ", text)


def _kind(error: Mapping[str, Any]) -> str:
    kind = str(error["type"])
    for ending in _HOW_IT_WAS_READ:
        kind = kind.removesuffix(ending)
    return kind
