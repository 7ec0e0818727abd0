"""The documentation against the code: hooks, settings, placeholders, views, links, commands."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

import brain_core
from brain_core.config import LoadedSettings, Settings
from brain_core.errors import PlaceholderError
from brain_core.placeholders import RESERVED, Previous, Scope, resolve
from brain_core.plugin import spec

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/**/*.md")])
PAGES = [page for page in PAGES if not {".venv", ".uv", "node_modules"} & set(page.parts)]
REFERENCE = ROOT / "docs" / "reference"


def _headings(text: str) -> set[str]:
    return set(re.findall(r"^#+ `?([^`\n]+?)`?$", text, flags=re.MULTILINE))


def _table(text: str, first: str) -> list[list[str]]:
    """Return the rows of the table whose first head cell is `first`, without the marks of code."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        rows.append([cell.strip().replace("\\|", "|") for cell in cells])
    return rows


def _code(cell: str) -> str:
    match = re.fullmatch(r"(`+) ?(.*?) ?\1", cell)
    return match[2] if match else cell


def test_every_hook_and_no_other_is_documented():
    text = (REFERENCE / "hooks.md").read_text()
    documented = {name for name in _headings(text) if name.startswith("brain_")}
    assert documented == {f"{hook}({', '.join(spec.arguments_of(hook))})" for hook in spec.hook_names()}


def test_every_setting_is_documented_with_its_default():
    rows = {_code(row[0]): _code(row[1]) for row in _table((REFERENCE / "settings.md").read_text(), "setting")}
    defaults = {name: value for name, value, _ in LoadedSettings(Settings()).entries() if name != "home"}
    assert set(rows) == {*defaults, "home"}
    for name, value in defaults.items():
        shown = rows[name] if isinstance(value, str) else json.loads(rows[name])
        assert shown == value, name


def test_every_reserved_name_is_documented():
    text = (REFERENCE / "placeholders.md").read_text()
    assert all(f"`{name}`" in text for name in RESERVED)


SCOPE = Scope(
    steps={"count": 3, "page": {"title": "News", "links": ["a", "b"]}},
    inputs={"who": "ann"},
    run={"id": "6f1c", "workflow": "demo", "started_at": "2026-05-01T08:00:00+00:00"},
    previous=Previous("0a1b2c3d", {"count": 2}),
    trigger={"body": {"field": "x"}},
)
EXAMPLES = _table((REFERENCE / "placeholders.md").read_text(), "template")


@pytest.mark.parametrize("row", EXAMPLES, ids=[row[0] for row in EXAMPLES])
def test_examples_of_placeholders_are_true(row):
    template, expected = _code(row[0]), row[1]
    if expected.startswith("error"):
        with pytest.raises(PlaceholderError):
            resolve(template, SCOPE)
    else:
        assert resolve(template, SCOPE) == json.loads(_code(expected))


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in _anchors(there), f"{target} names no heading"


def _commands_shown(page: Path) -> list[list[str]]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fences if language in {"sh", "console", "bash"}]
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    found = [re.search(r"(?:^|uv run |bin/)brain ([a-z].*)", line) for line in lines]
    return [match[1].split() for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_shown_exist(page):
    from brain_http_api.plugin import BRAIN_COMMANDS as OF_HTTP_API
    from brain_llm.plugin import BRAIN_COMMANDS as OF_LLM
    from typer.main import get_command

    from brain_core.cli.main import BUILT_IN, COMMANDS, app

    root: Any = get_command(app)
    for words in _commands_shown(page):
        if words[0] == "hello":  # of examples/plugin_hello
            continue
        assert words[0] in {*COMMANDS, *BUILT_IN, *OF_HTTP_API, *OF_LLM}, f"brain {words[0]}"
        command = root.get_command(None, words[0])
        if inner := getattr(command, "commands", None):
            assert words[1] in inner or words[1].startswith("-"), f"brain {words[0]} {words[1]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_commands_name_are_there(page):
    for words in _commands_shown(page):
        for word in words:
            if word.startswith("examples/"):
                assert (ROOT / word).exists(), word


@pytest.mark.parametrize("name", [name for name in brain_core.__all__ if not name.startswith("_")])
def test_the_door_is_documented(name):
    thing = getattr(brain_core, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing), f"brain_core.{name} has no docstring"


def test_views_are_documented_column_by_column():
    text = (REFERENCE / "database.md").read_text()
    sql = "\n".join(file.read_text() for file in sorted((ROOT / "migrations").glob("*.sql")))
    views = re.findall(r"CREATE (?:OR REPLACE )?VIEW (brain_v1\.\w+) AS\s+SELECT (.*?)\s+FROM", sql, flags=re.DOTALL)
    assert views
    # The last definition of a view counts.
    for view, columns in dict(views).items():
        names = [column.split()[-1] for column in columns.split(",")]
        section = text.partition(f"## {view}")[2].partition("\n## ")[0]
        assert [_code(row[0]) for row in _table(section, "column")] == names, view


def test_tables_are_documented():
    text = (REFERENCE / "database.md").read_text()
    sql = "\n".join(file.read_text() for file in sorted((ROOT / "migrations").glob("*.sql")))
    assert all(f"`{name}`" in text for name in re.findall(r"CREATE TABLE brain\.(\w+)", sql))


PYTHON_BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT).as_posix()}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
]


@pytest.mark.parametrize("block", PYTHON_BLOCKS)
def test_python_that_is_shown_compiles_and_workflows_load(block, tmp_path):
    from brain_core.loader import load_workflow

    compile(block, "docs", "exec")
    if "workflow = Workflow(" in block and "brain_plugin_hello" not in block:
        file = tmp_path / "shown.py"
        file.write_text(block)
        load_workflow(file)


def test_the_step_of_plugins_readme_works_as_its_test_says():
    from asyncio import run

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "plugins" / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "shown"}
    for block in blocks:
        if "class Hello" in block or "async def test_" in block:
            exec(compile(block, "plugins/README.md", "exec", dont_inherit=True), names)
    run(names["test_greets"]())


def test_the_trigger_type_of_plugins_readme_works_as_its_test_says():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "plugins" / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "shown"}
    for block in blocks:
        if "class Every" in block or "\ndef test_" in f"\n{block}":
            exec(compile(block, "plugins/README.md", "exec", dont_inherit=True), names)
    names["test_the_next_instant_is_a_multiple_and_later"]()
    assert names["brain_trigger_types"]() == [names["Every"]]
    with pytest.raises(brain_core.TriggerRefused, match="whole seconds"):
        names["Every"](every=0).check()


def test_the_readme_has_its_two_commands_on_one_line_each():
    text = (ROOT / "README.md").read_text()
    setup = "python3 -m venv .uv && .uv/bin/pip -q install uv && .uv/bin/"
    assert f"\n{setup}uv run brain run examples/hello.py\n" in text
    assert f"\n{setup}uv run pytest\n" in text
