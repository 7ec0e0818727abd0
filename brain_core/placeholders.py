"""The {…} grammar: parse, look up, resolve. Pure: no clock, no database, no workflow.

    placeholder  {name}  {name.part.0}  {previous.name|default}  {trigger.part|default}
    escape       {{name}}  stands for the text {name}, {{{name}}} for {{name}}, and so on: one pair of braces goes

Only a dotted identifier between braces is a placeholder, and only one that is doubled on both sides is its escape;
every other brace stays as it is: `{print $1}`, `{}`, `{a,b}`, `{{.Names}}`, JSON of any depth (in `{"a":{name}}` the
inner pair is a placeholder). One pass: what a placeholder brings in is never scanned again. There is no attribute
access, no formatting language and no code. A template that is one placeholder and nothing else keeps the value's JSON
type; inside text, a value that is not text appears as compact JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from brain_core.errors import PlaceholderError

Json: TypeAlias = Any
"""Text, numbers, booleans, None, lists and dicts with text keys, of these again."""

RESERVED = frozenset({"previous", "inputs", "trigger", "run", "secret", "env", "item"})
"""First names that no step may have."""

ROOTS_IN_USE = frozenset({"previous", "inputs", "trigger", "run"})
"""Reserved first names that mean something today; the others are kept for later."""

ROOTS_WITH_DEFAULT = frozenset({"previous", "trigger"})
"""Only what the run alone can know may carry a default."""

RUN_FIELDS = ("id", "workflow", "started_at")

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PATH = rf"{_NAME}(?:\.(?:{_NAME}|[0-9]+))*"
_OPEN = rf"(?:previous|trigger)(?:\.(?:{_NAME}|[0-9]+))+"
_DEFAULT = r"\|[^{}]*"
_TOKEN = re.compile(
    rf"\{{\{{(?P<escaped>{_PATH}|{_OPEN}{_DEFAULT})\}}\}}"
    rf"|\{{(?P<path>{_PATH})\}}"
    rf"|\{{(?P<open>{_OPEN})(?P<default>{_DEFAULT})\}}"
)


def _may_hold_near_misses(template: str) -> bool:
    inner = [part.partition("}") for part in template.split("{")[1:]]
    return any(
        closed and text.strip()[:1].isidentifier() and (text != text.strip() or any(sign in text for sign in "|!:"))
        for text, closed, _ in inner
    )


@lru_cache(maxsize=1)
def _near() -> re.Pattern[str]:
    """Return what people write for a placeholder who know f-strings, Jinja or the shell."""
    # Made when it is first needed: it takes 3 ms, and most workflow files never need it.
    return re.compile(
        rf"\{{(?P<lead>[ \t]*)(?P<path>{_PATH})(?P<trail>[ \t]*)"
        r"(?P<rest>![rsa](?::[^{}\n]*)?|:(?=[^{}\n]*[<>=^,.%])[^{}\n \t]?[<>=^]?[-+#0-9,_.]*[a-zA-Z%]?|\|[^{}\n]*)?\}"
    )


class Placeholder(NamedTuple):
    """One `{…}`: its dotted path, its default where it has one, and its place in the template (`text[start:end]`)."""

    path: tuple[str, ...]
    default: str | None = None
    start: int = 0
    end: int = 0

    @property
    def root(self) -> str:
        return self.path[0]

    def __str__(self) -> str:
        default = "" if self.default is None else f"|{self.default}"
        return "{" + ".".join(self.path) + default + "}"


class Escape(NamedTuple):
    """One `{{name}}`: the text that it stands for, `{name}`, and its place in the template."""

    text: str
    start: int
    end: int


class NearMiss(NamedTuple):
    """Text that is no placeholder and may be meant as one: `{step|text}`, `{step!r}`, `{step:>10}`, `{ step }`.

    `rest` is what stands behind the name (`|text`, `!r`, `:>10`); `padded` says that blanks follow the brace.
    """

    text: str
    path: tuple[str, ...]
    rest: str
    padded: bool
    start: int

    def meant(self, names: Collection[str], inputs: Collection[str]) -> bool:
        """Whether it names something that is there: the workflow has these steps and inputs."""
        root, second = self.path[0], self.path[1] if len(self.path) > 1 else ""
        if self.rest.startswith("|") and root in ("inputs", "run", "trigger"):
            return True
        if root in RESERVED:
            known = {"previous": names, "inputs": inputs, "run": RUN_FIELDS, "trigger": (second,) if second else ()}
            return second in known.get(root, ())
        return root in names

    def problem(self) -> str:
        """Return what is wrong with it and what to write."""
        plain, root = ".".join(self.path), self.path[0]
        if not self.rest.startswith("|"):
            return f"is no placeholder, and nothing formats a value; write {{{plain}}}" + _LITERALLY
        default = self.rest[1:].strip()
        if root in ROOTS_WITH_DEFAULT and len(self.path) > 1:
            return f"is no placeholder; write {{{plain}|{default}}} without blanks" + _LITERALLY
        how = f"write {{{plain}}}, or {{previous.{plain}|{default}}} for the value of the last run"
        if root == "inputs":
            how = f"write {{{plain}}} and give the default in Workflow(inputs={{…}})"
        elif root in RESERVED:
            how = f"write {{{root}.name}}"
        return f"is no placeholder: only {{previous.…}} and {{trigger.…}} take a default; {how}" + _LITERALLY


_LITERALLY = " (for the text itself, bring it in by an input)"


def near_misses(template: str) -> Iterator[NearMiss]:
    """Yield what looks like a mistaken placeholder; what is doubled, `{{step!r}}`, is meant as text."""
    if not _may_hold_near_misses(template):
        return
    for match in _near().finditer(template):
        start, end = match.span()
        doubled = template[start - 1 : start] == "{" and template[end : end + 1] == "}"
        if doubled or _TOKEN.fullmatch(match.group()):
            continue
        text = match.group() if end - start <= 60 else match.group()[:60] + "…"
        path = tuple(match["path"].split("."))
        yield NearMiss(text, path, match["rest"] or "", bool(match["lead"]), start)


def scan(template: str) -> Iterator[Placeholder | Escape]:
    """Yield the placeholders and escapes of a template, from left to right."""
    for match in _TOKEN.finditer(template):
        start, end = match.span()
        if (escaped := match["escaped"]) is not None:
            yield Escape("{" + escaped + "}", start, end)
        elif (path := match["path"]) is not None:
            yield Placeholder(tuple(path.split(".")), None, start, end)
        else:
            yield Placeholder(tuple(match["open"].split(".")), match["default"][1:], start, end)


@lru_cache(maxsize=4096)
def parse(template: str) -> tuple[str | Placeholder, ...]:
    """Split a template into literal text (its escapes undone) and placeholders."""
    if "{" not in template:
        return (template,) if template else ()
    pieces: list[str | Placeholder] = []
    literal = ""
    at = 0
    for token in scan(template):
        literal += template[at : token.start]
        if isinstance(token, Escape):
            literal += token.text
        else:
            if literal:
                pieces.append(literal)
            literal = ""
            pieces.append(token)
        at = token.end
    literal += template[at:]
    if literal:
        pieces.append(literal)
    return tuple(pieces)


def find(template: str) -> tuple[Placeholder, ...]:
    """Return the placeholders of a template, from left to right."""
    return tuple(piece for piece in parse(template) if isinstance(piece, Placeholder))


class Previous(NamedTuple):
    """The last successful run of the same workflow, as it was pinned when this run started."""

    run_id: str
    outputs: Mapping[str, Json]


NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Scope(NamedTuple):
    """Everything that the placeholders of one step may read.

    `steps` holds the outputs of the steps that have finished; `previous` is None when no earlier run succeeded;
    `trigger` is None when no trigger started the run.
    """

    steps: Mapping[str, Json] = NOTHING
    inputs: Mapping[str, Json] = NOTHING
    run: Mapping[str, Json] = NOTHING
    previous: Previous | None = None
    trigger: Mapping[str, Json] | None = None

    def lookup(self, placeholder: Placeholder) -> Json:
        """Return the value of a placeholder; PlaceholderError says what is missing and what is there."""
        root, rest = placeholder.root, placeholder.path[1:]
        if root == "previous":
            return self._previous(placeholder)
        if root == "trigger":
            return self._triggered(placeholder)
        if root in ("inputs", "run"):
            return _reach(self.inputs if root == "inputs" else self.run, rest, placeholder, root)
        if root not in self.steps:
            raise PlaceholderError(f"{placeholder}: step '{root}' has no output in this run")
        return _reach(self.steps[root], rest, placeholder, f"the output of step '{root}'")

    def _triggered(self, placeholder: Placeholder) -> Json:
        rest = placeholder.path[1:]
        how = f"; give a default: {{{'.'.join(placeholder.path)}|text}}" if rest else ""
        if self.trigger is None:
            return _default(placeholder, f"this run was not started by a trigger{how}")
        kind = self.trigger.get("type")
        if rest and rest[0] not in self.trigger and isinstance(kind, str):
            # What it has depends on what started the run: the same workflow may be started by hand.
            there = ", ".join(list(self.trigger)[:10])
            what = f"this run was started by '{kind}', whose trigger has no '{rest[0]}' (it has: {there})"
            return _default(placeholder, what + how)
        return _reach(self.trigger, rest, placeholder, "the trigger")

    def _previous(self, placeholder: Placeholder) -> Json:
        if len(placeholder.path) < 2:
            raise PlaceholderError(f"{placeholder}: needs the name of a step, such as {{previous.step}}")
        if self.previous is None:
            return _default(
                placeholder,
                "this workflow has no earlier successful run; a default for the first time is written "
                "{" + ".".join(placeholder.path) + "|text}",
            )
        name, rest = placeholder.path[1], placeholder.path[2:]
        if name not in self.previous.outputs:
            return _default(
                placeholder,
                f"the last successful run ({self.previous.run_id[:8]}) has no step '{name}'"
                + _listed(self.previous.outputs),
            )
        what = f"the output of step '{name}' in run {self.previous.run_id[:8]}"
        return _reach(self.previous.outputs[name], rest, placeholder, what)


def _default(placeholder: Placeholder, problem: str) -> Json:
    if placeholder.default is not None:
        return placeholder.default
    raise PlaceholderError(f"{placeholder}: {problem}")


def _listed(names: Mapping[str, Json]) -> str:
    shown = ", ".join(list(names)[:10])
    return f"; it has: {shown}" if shown else ""


def _reach(value: Json, rest: Sequence[str], placeholder: Placeholder, what: str) -> Json:
    for part in rest:
        if isinstance(value, Mapping):
            if part not in value:
                return _default(placeholder, f"{what} has no '{part}'{_listed(value)}")
            value = value[part]
        elif isinstance(value, list):
            # Twelve digits: no list is longer, and int() refuses texts of thousands of digits.
            if not part.isdecimal() or len(part) > 12 or int(part) >= len(value):
                return _default(placeholder, f"{what} is a list of {len(value)} and has no '{part}'")
            value = value[int(part)]
        else:
            return _default(placeholder, f"{what} is {_kind(value)}, so it has no '{part}'")
        what = f"'{part}' of {what}"
    return value


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    return {str: "text", bool: "a boolean", int: "a number", float: "a number"}.get(type(value), "a value")


def as_text(value: Json) -> str:
    """Return text as it is and any other JSON value as compact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def resolve(template: str, scope: Scope) -> Json:
    """Fill in a template; one that is a single placeholder keeps the value's JSON type."""
    pieces = parse(template)
    if len(pieces) == 1 and isinstance(pieces[0], Placeholder):
        return scope.lookup(pieces[0])
    return resolve_text(template, scope)


def resolve_text(template: str, scope: Scope) -> str:
    """Fill in a template; the result is always text."""
    return "".join(piece if isinstance(piece, str) else as_text(scope.lookup(piece)) for piece in parse(template))
