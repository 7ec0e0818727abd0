"""What is said of a value that pydantic has refused: what it has to be, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIST = 'it has to be a list, such as ["a", "b"]'
_TABLE = "it has to be a table"
_PLAIN = {
    "int": "it has to be a whole number",
    "float": "it has to be a number",
    "bool": "it has to be true or false",
    "string": "it has to be text in quotes",
    "path": "it has to be a path, as text in quotes",
    "tuple": _LIST,
    "list": _LIST,
    "set": _LIST,
    "frozen_set": _LIST,
    "dict": _TABLE,
    "model": _TABLE,
    "dataclass": _TABLE,
    "missing": "it is missing",
    "extra_forbidden": "there is no such setting",
}
"""By the type of pydantic's error, without what it says of how the value was read."""
_HOW_IT_WAS_READ = ("_parsing_size", "_parsing", "_from_float", "_type")


def wanted(error: Mapping[str, Any]) -> str:
    """Return what one of pydantic's errors asks for; the text of our own validators as they have written it."""
    kind = str(error["type"])
    for ending in _HOW_IT_WAS_READ:
        kind = kind.removesuffix(ending)
    if kind in _PLAIN:
        return _PLAIN[kind]
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return text.replace("Input should be", "it has to be", 1)
