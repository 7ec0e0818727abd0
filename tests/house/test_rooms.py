"""The rules of the house that no linter knows: sizes, names of rooms, who reads the environment, who speaks SQL."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE, MAX_FUNCTION = 400, 60
FORBIDDEN_ROOMS = {"utils", "util", "helpers", "common", "models", "misc"}

# Who touches the environment besides config.py, and why.
READ_THE_ENVIRONMENT = {
    "brain_core/config.py",
    "brain_core/cli/output.py",  # NO_COLOR and TERM are a terminal's, not settings
    "brain_core/cli/db.py",  # hands psql its password, which others could read in arguments
    "plugins/brain_llm/brain_llm/keys.py",  # reads the variables that steps name as api_key='env:NAME'
    "plugins/brain_shell/brain_shell/environment.py",  # makes the environment of the child
}

SQL = re.compile(
    r"\s*(SELECT\s+\S.*\bFROM\b|INSERT\s+INTO\b|UPDATE\s+\S+\s+SET\b|DELETE\s+FROM\b"
    r"|(CREATE|DROP|ALTER)\s+(TABLE|SCHEMA|VIEW|INDEX|DATABASE)\b)",
    re.DOTALL,
)


def _tracked() -> list[Path]:
    # New files count before they are committed; in a copy without git every file does.
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def _named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _python(*, tests: bool = True) -> list[Path]:
    return [
        file
        for file in _tracked()
        if file.suffix == ".py"
        and (tests or not {"tests", "benchmarks", "examples", "conftest.py"} & set(file.relative_to(ROOT).parts))
    ]


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_has_two_jobs():
    long = {_named(file): lines for file in _python() if (lines := len(file.read_text().splitlines())) > MAX_FILE}
    assert not long


def test_no_function_has_two_jobs():
    long = {
        f"{_named(file)}:{function.lineno} {function.name}": length
        for file in _python()
        for function in _functions(ast.parse(file.read_text()))
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION
    }
    assert not long


def test_rooms_are_named_after_what_they_hold():
    assert not [
        _named(file) for file in _python() if FORBIDDEN_ROOMS & {*file.relative_to(ROOT).parts[:-1], file.stem.lower()}
    ]


def test_only_config_reads_the_environment():
    def reads(tree: ast.AST) -> bool:
        return any(
            (
                isinstance(node, ast.Attribute)
                and node.attr in {"environ", "environb", "getenv", "putenv"}
                and isinstance(node.value, ast.Name)
                and node.value.id == "os"
            )
            or (
                isinstance(node, ast.ImportFrom)
                and node.module == "os"
                and any(alias.name in {"environ", "getenv"} for alias in node.names)
            )
            for node in ast.walk(tree)
        )

    readers = {_named(file) for file in _python(tests=False) if reads(ast.parse(file.read_text()))}
    assert readers <= READ_THE_ENVIRONMENT


# One statement each, for psql: the database has to be made before the store can connect to it, and the keeper, which is
# started by its path without our package, asks who else is connected.
SQL_BELOW_THE_STORE = {"brain_core/embedded/cluster.py", "brain_core/embedded/keeper.py"}


def test_sql_lives_in_sql_files():
    found = [
        f"{_named(file)}:{node.lineno}"
        for file in _python(tests=False)
        if _named(file) not in SQL_BELOW_THE_STORE
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]
    assert not found


def test_sql_files_live_in_store_and_migrations():
    rooms = {_named(file.parent) for file in _tracked() if file.suffix == ".sql"}
    # A plugin has its own SQL in its own folders.
    names = ("brain_http_api", "brain_llm")
    own = {f"plugins/{name}/{name}/{folder}" for name in names for folder in ("sql", "migrations")}
    assert rooms <= {"brain_core/store/sql", "migrations"} | own


def test_migrations_are_numbered_without_a_gap():
    names = sorted(file.name for file in (ROOT / "migrations").iterdir())
    assert [name[:5] for name in names] == [f"{number:04}_" for number in range(1, len(names) + 1)]
    assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name) for name in names)


def test_no_address_of_a_machine_is_tracked():
    # Built from pieces, so that this file does not hold what it looks for.
    private = [
        "/" + "root/",
        "/" + "work/",
        "/" + "opt/pypi",
        "/" + "opt/wheels",
        "extra-index" + "-url",
        "--index" + "-url",
        "artifact" + "ory",
    ]
    pattern = re.compile("|".join(map(re.escape, private)) + r"|(?<![\w./])/home/(?!ann\b|me\b|you\b)\w+/")
    hits = [
        f"{_named(file)}:{number}: {match[0]}"
        for file in _tracked()
        if file.suffix not in {".png", ".gz"}
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert not hits
