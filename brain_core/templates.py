"""What a step's field says when its text may hold placeholders. Pure.

A field is marked by its annotation: `text: Template`. The mark knows how to find the placeholders of the field's value
and how to fill them in; a step type with a language of its own (a shell command, say) brings a mark of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Protocol, TypeAlias, runtime_checkable

from brain_core import placeholders
from brain_core.placeholders import Json, Placeholder, Scope


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


class TextMark:
    """A text field; `keep_type` lets a lone placeholder bring its JSON type with it."""

    def __init__(self, *, keep_type: bool) -> None:
        self.keep_type = keep_type

    def find(self, value: Any) -> Iterator[Placeholder]:
        if isinstance(value, str):
            yield from placeholders.find(value)

    def changes(self, value: Any) -> bool:
        return isinstance(value, str) and any(True for _ in placeholders.scan(value))

    def resolve(self, value: Any, scope: Scope) -> Json:
        if not isinstance(value, str):
            return value
        return placeholders.resolve(value, scope) if self.keep_type else placeholders.resolve_text(value, scope)


class JsonMark:
    """A JSON value of any shape whose texts are templates; keys are left as they are."""

    def find(self, value: Any) -> Iterator[Placeholder]:
        for text in _texts(value):
            yield from placeholders.find(text)

    def changes(self, value: Any) -> bool:
        return any(True for text in _texts(value) for _ in placeholders.scan(text))

    def resolve(self, value: Any, scope: Scope) -> Json:
        if isinstance(value, str):
            return placeholders.resolve(value, scope)
        if isinstance(value, dict):
            return {key: self.resolve(item, scope) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolve(item, scope) for item in value]
        return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


Template: TypeAlias = Annotated[Any, TextMark(keep_type=True)]
"""Text with placeholders. `{step}` alone keeps the JSON type of the value; inside other text it becomes text."""

TextTemplate: TypeAlias = Annotated[str, TextMark(keep_type=False)]
"""Text with placeholders that is text after resolving too, whatever the values are."""

JsonTemplate: TypeAlias = Annotated[Any, JsonMark()]
"""A JSON value in which every text is a template."""
