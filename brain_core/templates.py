"""What a step's field says when its text may hold placeholders. Pure.

A field is marked by its annotation: `text: Template`. The mark knows how to find the placeholders of the field's value
and how to fill them in; a step type with a language of its own (a shell command, say) brings a mark of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Protocol, TypeAlias, get_args, runtime_checkable

from brain_core import placeholders
from brain_core.placeholders import Escape, Json, NearMiss, Placeholder, Scope


@runtime_checkable
class TemplateMark(Protocol):
    """What stands in `Annotated[…]` to make a field a template.

    `find` is called once, when the workflow is loaded; `resolve` is called before each run of the step.
    """

    def find(self, value: Any) -> Iterator[Placeholder]:
        """Yield every placeholder in the field's value."""
        ...

    def changes(self, value: Any) -> bool:
        """Whether `resolve` would return anything else than the value (an escape counts)."""
        ...

    def resolve(self, value: Any, scope: Scope) -> Any:
        """Return the value that `run()` sees; PlaceholderError where the scope lacks something."""
        ...


@runtime_checkable
class NearMissFinder(Protocol):
    """A mark that also finds what only looks like a placeholder, so that the loader can say so."""

    def near_misses(self, value: Any) -> Iterator[NearMiss]:
        """Yield what may be a mistaken placeholder."""
        ...


class TextMark:
    """A text field; `keep_type` lets a lone placeholder bring its JSON type with it.

    A number, a boolean or None may stand there too and stays what it is. A list or a dict is refused: its texts would
    look like templates and not be any.
    """

    def __init__(self, *, keep_type: bool) -> None:
        self.keep_type = keep_type

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(_one_value, handler(source))

    def find(self, value: Any) -> Iterator[Placeholder]:
        if isinstance(value, str):
            yield from placeholders.find(value)

    def changes(self, value: Any) -> bool:
        return isinstance(value, str) and any(True for _ in placeholders.scan(value))

    def near_misses(self, value: Any) -> Iterator[NearMiss]:
        if isinstance(value, str):
            yield from placeholders.near_misses(value)

    def tokens(self, value: str) -> Iterator[Placeholder | Escape]:
        """Yield the placeholders and escapes of a text: what a mark with a language of its own starts from."""
        return placeholders.scan(value)

    def resolve(self, value: Any, scope: Scope) -> Json:
        if not isinstance(value, str):
            return value
        return placeholders.resolve(value, scope) if self.keep_type else placeholders.resolve_text(value, scope)


class JsonMark:
    """A JSON value of any shape whose texts are templates; keys are left as they are.

    Each run gets lists and dicts of its own, so that what one run does to them is not seen by the next.
    """

    def find(self, value: Any) -> Iterator[Placeholder]:
        for text in _texts(value):
            yield from placeholders.find(text)

    def near_misses(self, value: Any) -> Iterator[NearMiss]:
        for text in _texts(value):
            yield from placeholders.near_misses(text)

    def changes(self, value: Any) -> bool:
        if isinstance(value, str):
            return any(True for _ in placeholders.scan(value))
        return isinstance(value, dict | list | tuple) and bool(value)

    def resolve(self, value: Any, scope: Scope) -> Json:
        return _mapped(value, lambda leaf: placeholders.resolve(leaf, scope) if isinstance(leaf, str) else leaf)


class NestedMark:
    """Applies a mark to each value inside a field, as in `list[Template]`, `dict[str, Template]`, `Template | None`."""

    def __init__(self, inner: TemplateMark) -> None:
        self.inner = inner

    def find(self, value: Any) -> Iterator[Placeholder]:
        for leaf in _leaves(value):
            if leaf is not None:
                yield from self.inner.find(leaf)

    def near_misses(self, value: Any) -> Iterator[NearMiss]:
        if isinstance(self.inner, NearMissFinder):
            for leaf in _leaves(value):
                yield from self.inner.near_misses(leaf)

    def changes(self, value: Any) -> bool:
        return any(leaf is not None and self.inner.changes(leaf) for leaf in _leaves(value))

    def resolve(self, value: Any, scope: Scope) -> Any:
        return _mapped(value, lambda leaf: None if leaf is None else self.inner.resolve(leaf, scope))


def mark_of(annotation: Any) -> TemplateMark | None:
    """Return the mark of a field whose annotation holds one somewhere inside, such as `Template | None`."""
    for argument in get_args(annotation):
        for mark in getattr(argument, "__metadata__", ()):
            if isinstance(mark, TemplateMark):
                return mark if isinstance(mark, JsonMark) else NestedMark(mark)
        if (found := mark_of(argument)) is not None:
            return found
    return None


def _one_value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(
        f"this is a {type(value).__name__}, and a Template is text; for lists and dicts there is JsonTemplate"
    )


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _texts(value: Any) -> Iterator[str]:
    for leaf in _leaves(value):
        if isinstance(leaf, str):
            yield leaf


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return the value with its leaves changed, in lists, dicts and tuples of its own."""
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    if isinstance(value, tuple):
        items = [_mapped(item, change) for item in value]
        return value._make(items) if hasattr(value, "_make") else tuple(items)
    return change(value)


Template: TypeAlias = Annotated[Any, TextMark(keep_type=True)]
"""Text with placeholders. `{step}` alone keeps the JSON type of the value; inside other text it becomes text."""

TextTemplate: TypeAlias = Annotated[str, TextMark(keep_type=False)]
"""Text with placeholders that is text after resolving too, whatever the values are."""

JsonTemplate: TypeAlias = Annotated[Any, JsonMark()]
"""A JSON value in which every text is a template."""
