"""From whatever a workflow file raised while it was imported to one clear line."""

from __future__ import annotations

import builtins
import importlib
import re
import traceback
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticErrorMixin

import brain_core
from brain_core.errors import nearest
from brain_core.loader_folder import Folder, TooMuch
from brain_core.loader_source import one_line
from brain_core.workflow import PartProblem, Step, own_init

DISTRIBUTIONS = {"brain_shell": "brain-shell", "brain_llm": "brain-llm", "brain_http_api": "brain-http-api"}
"""Our modules that come with a distribution of their own."""

STEP_TYPES = {"ShellStep": "brain_shell", "LLMStep": "brain_llm"}
"""Step types that people look for in the wrong place."""

_CANNOT_IMPORT = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_NO_ATTRIBUTE = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_NOT_DEFINED = re.compile(r"name '(\w+)' is not defined")


class Report:
    """Tells what went wrong in one workflow file: `of(error)` gives the message and the line of the file."""

    def __init__(self, path: Path, folder: Folder, variables: Mapping[str, Any]) -> None:
        self._path = str(path)
        self._folder = folder
        self._variables = variables

    def of(self, error: BaseException) -> tuple[str, int | None]:
        """Return the message, one line, and the line of the workflow file that it is about, where there is one."""
        if isinstance(error, SyntaxError) and error.filename == self._path:
            return one_line(f"syntax error: {error.msg}"), error.lineno
        frames = list(_frames(error.__traceback__))
        line = next((number for file, number, _ in reversed(frames) if file == self._path), None)
        message = self._message(error, frames)
        part = _blamed_part(error)
        if part is not None and part.defined_at is not None:
            file, number = part.defined_at
            if file == self._path:
                return one_line(message), number
            message += self.place(part)
        elif (inner := self._deeper(frames)) is not None:
            message += f" (in {inner})"
        return one_line(message), line

    def place(self, part: Any) -> str:
        """Return ` (made in helper.py:7)` for a step or schedule made in a module beside the workflow file."""
        if part.defined_at is None or part.defined_at[0] == self._path:
            return ""
        name = self._folder.shown(part.defined_at[0])
        return f" (made in {name}:{part.defined_at[1]})" if name else ""

    def line_of(self, step: Any) -> int | None:
        """Return the line of the workflow file on which a step was made; None when that was elsewhere."""
        return step.defined_at[1] if step.defined_at and step.defined_at[0] == self._path else None

    def _deeper(self, frames: list[tuple[str, int, Any]]) -> str | None:
        """Return `helper.py:7` when the error came up in a module beside the file, as far in as that is known."""
        for file, number, _ in reversed(frames):
            if file == self._path:
                return None
            if name := self._folder.shown(file):
                return f"{name}:{number}"
        return None

    def _message(self, error: BaseException, frames: list[tuple[str, int, Any]]) -> str:
        if (kind := _made_by_itself(error, frames)) is not None:
            return own_init(kind)
        if isinstance(error, PydanticErrorMixin):
            return f"{type(error).__name__}: {error.message}"
        if isinstance(error, ValidationError):
            return describe_validation(error, _model_of(frames), _given(frames))
        if isinstance(error, PartProblem | TooMuch):
            return _text(error)
        if isinstance(error, SyntaxError) and error.filename and (name := self._folder.shown(error.filename)):
            return f"syntax error in {name}:{error.lineno}: {error.msg}"
        if isinstance(error, SystemExit):
            code = "" if error.code is None else one_line(repr(error.code), 60)
            return f"sys.exit({code}) was called while the file was imported; it may only define the workflow"
        if isinstance(error, RecursionError):
            return "RecursionError: the file calls or nests itself too deeply"
        hint = self._hint(error, _text(error))
        if hint:
            return hint
        text = _text(error)
        return f"{type(error).__name__}: {text}" if text else type(error).__name__

    def _hint(self, error: BaseException, text: str) -> str | None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return self._no_module(error.name)
        if isinstance(error, ImportError):
            if "attempted relative import" in text:
                return "a relative import has no package here; a module beside the file is imported by its plain name"
            if found := _CANNOT_IMPORT.search(text):
                return self._no_name(found[1], found[2])
        if isinstance(error, AttributeError) and (found := _NO_ATTRIBUTE.search(text)) and found[1] in _HOMES:
            return self._no_name(found[2], found[1])
        if isinstance(error, NameError) and (found := _NOT_DEFINED.search(text)):
            return self._not_defined(found[1])
        return None

    def _no_module(self, name: str) -> str:
        top = name.partition(".")[0]
        if top in DISTRIBUTIONS and name == top:
            brings = DISTRIBUTIONS[top]
            return f"the module {top} is not installed; it comes with {brings}: pip install {brings}"
        if top in DISTRIBUTIONS or top == "brain_core":
            return f"there is no module '{name}'"
        beside = [file.stem for file in sorted(self._folder.path.glob("*.py"))[:1_000] if str(file) != self._path]
        guess = nearest(name, beside)
        advice = "" if guess else f"; install what brings it, or put {top}.py beside the workflow file"
        return f"there is no module '{name}'{guess}{advice}"

    def _no_name(self, name: str, module: str) -> str:
        if name in STEP_TYPES and module in _HOMES and module != STEP_TYPES[name]:
            return f"{module} has no {name}; {_where(name)}"
        if self._folder.hides(module):
            return f"the module '{module}' that is imported is not {module}.py beside the file; rename that file"
        known: list[str] = []
        try:
            known = [public for public in dir(importlib.import_module(module)) if not public.startswith("_")]
        except Exception:  # noqa: BLE001 - only a hint is lost
            known = []
        return f"the module {module} has no '{name}'{nearest(name, known)}"

    def _not_defined(self, name: str) -> str:
        problem = f"the name '{name}' is not defined"
        if name in STEP_TYPES:
            return f"{problem}; {_where(name)}"
        if name in brain_core.__all__:
            return f"{problem}; write: from brain_core import {name}"
        known = [known for known in (*map(str, self._variables), *dir(builtins)) if not known.startswith("_")]
        return problem + nearest(name, [*known, *brain_core.__all__, *STEP_TYPES])


_HOMES = frozenset({"brain_core", *DISTRIBUTIONS})


def _where(name: str) -> str:
    module = STEP_TYPES[name]
    line = f"write: from {module} import {name}"
    if find_spec(module) is not None:
        return line
    return f"it comes with {DISTRIBUTIONS[module]}: pip install {DISTRIBUTIONS[module]}, then {line}"


def describe_validation(error: ValidationError, model: type[BaseModel] | None, given: Mapping[str, Any]) -> str:
    """Return one line for the first problem of a pydantic error, and how many more there are."""
    problems = error.errors(include_url=False)
    # A field that is missing is often one whose name is misspelt: the wrong name tells more.
    first = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    name = given.get("name")
    who = error.title + (f" '{one_line(name, 100)}'" if isinstance(name, str) and first["loc"] != ("name",) else "")
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = list(model.model_fields) if model is not None and len(first["loc"]) == 1 else []
        guess = nearest(field, known)
        there = f" (it has: {', '.join(known)})" if known and not guess else ""
        return f"{who} has no field '{field}'{guess}{there}{more}"
    if first["type"] == "missing":
        return f"{who} needs the field '{field}'{more}"
    if first["type"] == "frozen_instance":
        return f"{who} cannot be changed once it is made; '{field}' is set where it is made{more}"
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, Exception):
        # The checks of Step and Workflow name what they are about; those of others need the field's name.
        own = type(raised).__module__.startswith("brain_core") or error.title == "Workflow" or field == "name"
        return (_text(raised) if own else f"{who}{f', {field}' if field else ''}: {_text(raised)}") + more
    return f"{who}, {field}: {first['msg']}, not {one_line(_repr(first['input']), 60)}{more}"


def _blamed_part(error: BaseException) -> Any:
    if isinstance(error, PartProblem):
        return error.part
    if isinstance(error, ValidationError):
        raised = error.errors(include_url=False)[0].get("ctx", {}).get("error")
        return raised.part if isinstance(raised, PartProblem) else None
    return None


def _frames(at: TracebackType | None) -> Iterator[tuple[str, int, Any]]:
    for frame, number in traceback.walk_tb(at):
        yield frame.f_code.co_filename, number, frame


def _made_by_itself(error: BaseException, frames: list[tuple[str, int, Any]]) -> type[BaseModel] | None:
    """Return the step type whose own `__init__` went wrong over what a step is, so that it is best left out."""
    if not isinstance(error, ValidationError | TypeError | AttributeError):
        return None
    if isinstance(error, ValidationError) and error.errors(include_url=False)[0]["type"] != "frozen_instance":
        return None
    for _, _, frame in frames:
        made = frame.f_locals.get("self")
        if frame.f_code.co_name == "__init__" and isinstance(made, Step) and "__init__" in vars(type(made)):
            return type(made)
    return None


def _model_of(frames: list[tuple[str, int, Any]]) -> type[BaseModel] | None:
    """Return the model whose construction failed: the `self` of the innermost frame that has one."""
    for _, _, frame in reversed(frames):
        if isinstance(found := frame.f_locals.get("self"), BaseModel):
            return type(found)
    return None


def _given(frames: list[tuple[str, int, Any]]) -> Mapping[str, Any]:
    for _, _, frame in reversed(frames):
        if isinstance(frame.f_locals.get("self"), BaseModel):
            data = frame.f_locals.get("data")
            return data if isinstance(data, dict) else {}
    return {}


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error whose text cannot be had is still told by its type
        return ""


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - as above
        return f"a {type(value).__name__}"
