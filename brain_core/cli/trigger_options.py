"""The options that trigger types bring: each field of an installed type is an option of `brain register` and `edit`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand
from typer.main import get_command

from brain_core.errors import BrainError, UsageError, nearest

if TYPE_CHECKING:
    from brain_core.config import LoadedSettings
    from brain_core.plugin.manager import PluginManager
    from brain_core.trigger import Trigger

_GIVEN = "brain.trigger_options"
_TOLD = 200


@dataclass(frozen=True, slots=True)
class FieldOption:
    """One field of a trigger type as an option."""

    type_name: str
    field: str
    option: str
    parameter: str

    @property
    def chooses(self) -> bool:
        """Whether giving it chooses the type."""
        return self.field == self.type_name


@dataclass(slots=True)
class Brought:
    """What the installed plugins bring to a command: the trigger types, and their fields as options."""

    settings: LoadedSettings
    plugins: PluginManager
    types: Mapping[str, type[Trigger]]
    options: dict[str, FieldOption] = field(default_factory=dict)

    def choosing(self) -> list[str]:
        """Return the options that choose a type, such as `--cron`."""
        return sorted(one.option for one in self.options.values() if one.chooses)

    def inactive(self) -> dict[str, str]:
        """Return the plugins that are not active, each with why."""
        return {info.name: f"{info.state}: {info.reason}" for info in self.plugins.plugins if info.state != "active"}


class TriggerCommand(TyperCommand):
    """A command that has the options of the installed trigger types beside its own.

    The plugins are asked when the command line is read; what goes wrong there is said when it matters, so that --help
    comes all the same.
    """

    _brought: Brought | None = None
    _of_types: list[Any] | None = None
    _trouble: BrainError | None = None

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        own = super().get_params(ctx)
        if self._of_types is None:
            self._of_types = []
            try:
                self._brought = _ask({name for one in own for name in one.opts})
                self._of_types = _parameters(self._brought)
            except BrainError as error:
                self._trouble = error
        return [*self._of_types, *own]

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            unknown = getattr(error, "option_name", None)
            if unknown is None or type(error).__name__ != "NoSuchOption":
                raise
            if self._trouble is not None:
                raise self._trouble from None
            error.message, error.possibilities = self._unknown(str(unknown), ctx), None  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        if self._trouble is not None:
            raise self._trouble
        if self._brought is None:
            raise AssertionError("the command line has been read")
        known = {one.parameter: one for one in self._brought.options.values()}
        given = {known[name]: ctx.params.pop(name) for name in list(ctx.params) if name in known}
        ctx.meta[_GIVEN] = self._brought, {one: value for one, value in given.items() if value not in (None, (), [])}
        return super().invoke(ctx)

    def _unknown(self, option: str, ctx: typer.Context) -> str:
        text = f"no such option: {option}"
        inactive = {} if self._brought is None else self._brought.inactive()
        if (why := inactive.get(option.strip("-"))) is not None:
            name = option.strip("-")
            return f"{text}; the plugin '{name}' would bring it, which is {why}; see: brain plugins check {name}"
        if guess := nearest(option, [name for one in self.get_params(ctx) for name in one.opts]):
            return text + guess
        if inactive:
            return f"{text}; it may be one of a plugin that is not active ({', '.join(sorted(inactive))})"
        return text


def brought_and_given(context: typer.Context) -> tuple[Brought, dict[FieldOption, Any]]:
    """Return what plugins bring to the command that is called, and which of these options were given, with values."""
    brought, given = context.meta[_GIVEN]
    return brought, given


def chosen(given: Mapping[FieldOption, Any]) -> str | None:
    """Return the type that the given options choose, None for none; UsageError when they choose several."""
    types = {one.type_name: one for one in given if one.chooses}
    if len(types) > 1:
        raise UsageError(f"{' and '.join(sorted(one.option for one in types.values()))} exclude each other; choose one")
    return next(iter(types), None)


def values_for(given: Mapping[FieldOption, Any], type_name: str) -> dict[str, Any]:
    """Return field → value of the options of one type; UsageError for an option of another type."""
    for one in given:
        if one.type_name != type_name:
            raise UsageError(
                f"{one.option} belongs to a trigger of the type {one.type_name}, and this is a {type_name}"
            )
    return {one.field: value for one, value in given.items()}


def made(kind: type[Trigger], values: Mapping[str, Any], options: Mapping[str, FieldOption]) -> Trigger:
    """Return the trigger with these fields; UsageError names the option whose value does not fit."""
    from pydantic import ValidationError

    from brain_core.validation import wanted

    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else kind.type_name
        option = next(
            (one.option for one in options.values() if (one.type_name, one.field) == (kind.type_name, name)), name
        )
        if first["type"] == "missing":
            raise UsageError(f"{option} is missing; a trigger of the type {kind.type_name} needs it") from None
        shown = "" if _is_secret(kind, name) else f" {str(values.get(name))[:_TOLD]!r}"
        raise UsageError(f"{option}{shown}: {wanted(first)}") from None


def _ask(taken: set[str]) -> Brought:
    from brain_core.cli.session import load

    settings, plugins = load()
    brought = Brought(settings, plugins, plugins.trigger_types)
    for type_name, kind in brought.types.items():
        for name in kind.model_fields:
            option = "--" + name.replace("_", "-")
            if option in taken:
                option = f"--{type_name}-{name}".replace("_", "-")
            brought.options[option] = FieldOption(type_name, name, option, f"of_{type_name}_{name}".replace("-", "_"))
    return brought


def _parameters(brought: Brought) -> list[Any]:
    """Return the options as Typer makes them of a function's signature."""
    parameters = [
        inspect.Parameter(one.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for one in brought.options.values()
        for annotation in [_annotation(one, brought.types[one.type_name].model_fields[one.field])]
    ]

    def options(**values: Any) -> None:
        """Never called."""

    options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    options.__annotations__ = {one.name: one.annotation for one in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(options)
    return list(get_command(app).params)


def _annotation(one: FieldOption, about: Any) -> Any:
    told = about.description or ""
    told = f"{told} " if told else ""
    told += f"Makes a trigger of the type {one.type_name}." if one.chooses else f"Of the type {one.type_name}."
    kind = _core_of(about.annotation)
    if kind is bool and one.chooses:
        return Annotated[bool | None, typer.Option(one.option, help=told)]
    if kind is bool:
        return Annotated[bool | None, typer.Option(f"{one.option}/--no-{one.option[2:]}", help=told)]
    several = get_origin(kind) in (list, tuple, set, frozenset)
    declared: Any = list[str] | None if several else str | None
    # A type that names its values is judged by pydantic, as in a file; the help shows them.
    metavar = "|".join(map(str, get_args(kind))) if get_origin(kind) is Literal else one.field.upper()
    return Annotated[declared, typer.Option(one.option, metavar=metavar, help=told)]


def _core_of(annotation: Any) -> Any:
    """Return what an annotation is besides None."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return (
        parts[0]
        if len(parts) == 1 and len(get_args(annotation)) == 2 and type(None) in get_args(annotation)
        else annotation
    )


def _is_secret(kind: type[Trigger], name: str) -> bool:
    about = kind.model_fields.get(name)
    return about is not None and "Secret" in str(about.annotation)
