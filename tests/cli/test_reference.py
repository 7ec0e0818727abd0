"""docs/reference/cli.md against the command table: every command, every option, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from brain_core.cli.main import BUILT_IN, COMMANDS, app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def _sections() -> dict[str, str]:
    parts = re.split(r"^##+ (brain .*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", inner)


def _tree() -> dict[str, Any]:
    root: Any = get_command(app)
    found: dict[str, Any] = {}
    for name in [*COMMANDS, *BUILT_IN]:
        found.update(_commands(f"brain {name}", root.get_command(None, name)))
    return found


def _options(command: Any) -> set[str]:
    # Not command.params: the fields of trigger types are options too.
    params = command.get_params(typer.Context(command))
    names = {name for one in params for name in [*one.opts, *one.secondary_opts] if name.startswith("-")}
    return names - {"--help", "-h"}


def test_every_command_and_no_other_has_its_section():
    assert sorted(_sections()) == sorted(_tree())


@pytest.mark.parametrize("name", _sections())
def test_options_of_a_section_are_those_of_the_command(name):
    rows = [line.split("|")[1] for line in _sections()[name].splitlines() if line.startswith("| `-")]
    assert {option for row in rows for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)} == _options(
        _tree()[name]
    )


@pytest.mark.parametrize("name", _sections())
def test_everything_that_prints_data_has_json(name):
    groups = {"brain new", "brain plugins", "brain db", "brain cron"}
    if name in {*groups, "brain db url", "brain db psql", "brain daemon"}:
        return
    assert "--json" in _options(_tree()[name])


def test_options_of_the_root_are_named():
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"brain {option}`" in text for option in _options(get_command(app)) if option.startswith("--"))
