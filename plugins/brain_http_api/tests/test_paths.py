"""Files by their path: what is in the folders is found, and nothing outside is, by whatever way it is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from brain_http_api.paths import MAX_PATH, Folders, folders_of, is_path
from brain_http_api.problems import Problem
from hypothesis import given, settings
from hypothesis import strategies as st


def make_tree(base: Path) -> Path:
    """Make the folders `in` and `other`, which are allowed, and `out`, which is not, with all kinds of ways between."""
    for name in ("in/sub", "other", "out/sub"):
        (base / name).mkdir(parents=True)
    for name in ("in/a.py", "in/sub/b.py", "in/data.txt", "other/c.py", "out/secret.py", "out/sub/b.py", "in.py"):
        (base / name).write_text("")
    (base / "in" / "folder.py").mkdir()
    os.mkfifo(base / "in" / "pipe.py")
    for link, target in {
        "in/link.py": base / "in" / "a.py",
        "in/to_other.py": "../other/c.py",
        "in/text.py": "data.txt",
        "in/secret.py": "../out/secret.py",
        "in/out": base / "out",
        "in/parent": "..",
        "in/nowhere.py": base / "out" / "nothing.py",
        "in/circle.py": "circle.py",
        "in/device.py": "/dev/zero",
        "in/root": "/",
        "named": "in",
        "out/back": base / "in",
    }.items():
        (base / link).symlink_to(target)
    return base


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def folders(tree: Path) -> Folders:
    return Folders([tree / "named", tree / "other"])


def answer(folders: Folders, path: str) -> Path | tuple[int, str, str]:
    try:
        return folders.file(path)
    except Problem as problem:
        json.loads(problem.body)
        return problem.status, problem.kind, problem.detail


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.py", "in/a.py"),
        ("./a.py", "in/a.py"),
        ("sub//b.py", "in/sub/b.py"),
        ("c.py", "other/c.py"),
        ("link.py", "in/a.py"),
        ("to_other.py", "other/c.py"),
        ("{base}/in/a.py", "in/a.py"),
        ("{base}/named/a.py", "in/a.py"),
        ("{base}/other/c.py", "other/c.py"),
        # A link that a person with a key to the folder has put there, and that ends in it.
        ("out/back/a.py", "in/a.py"),
    ],
)
def test_what_is_in_the_folders_is_found(tree: Path, folders: Folders, path: str, found: str) -> None:
    assert folders.file(path.format(base=tree)) == tree / found


@pytest.mark.parametrize(
    "path",
    [
        "{base}/out/secret.py",
        "{base}/in.py",
        "{base}/out/back/a.py",
        "/proc/self/root{base}/in/a.py",
        "/{base}/in/a.py",
        "../out/secret.py",
        "{base}/in/../in/a.py",
        "sub/../a.py",
        "..",
        "/",
        "secret.py",
        "out/secret.py",
        "out/nothing.py",
        "nowhere.py",
        "parent/in.py",
        "root/etc/passwd",
        "root{base}/out/secret.py",
        "device.py",
        "a.py\0",
        "\0",
        "a\udcff.py",
        "\ud800.py",
        "x" * (MAX_PATH + 1),
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/self/fd/0",
    ],
)
def test_what_is_outside_is_refused(tree: Path, folders: Folders, path: str) -> None:
    status, kind, detail = answer(folders, path.format(base=tree))  # type: ignore[misc]
    assert (status, kind) == (403, "path-refused")
    assert detail.endswith("is in none of the folders whose files may be run")
    assert len(detail) < 600


@pytest.mark.parametrize(
    "path",
    [
        "nothing.py",
        "{base}/in/nothing.py",
        "nothing/a.py",
        "a.py/b.py",
        "folder.py",
        "pipe.py",
        "circle.py",
        "data.txt",
        "text.py",
        "sub",
        "",
        ".",
        "~/a.py",
        "~",
        ".py",
        "x" * 300 + ".py",
        "x" * MAX_PATH,
        "é" * 200 + ".py",
        "a.py\n",
        "A.PY",
    ],
)
def test_what_is_in_the_folders_and_no_workflow_file_is_not_found(tree: Path, folders: Folders, path: str) -> None:
    status, kind, detail = answer(folders, path.format(base=tree))  # type: ignore[misc]
    assert (status, kind) == (404, "not-found"), detail
    assert len(detail) < 600


def test_a_name_that_is_no_utf8_on_the_disk_is_not_found(tmp_path: Path) -> None:
    target = tmp_path / os.fsdecode(b"\xff.py")
    target.write_text("")
    (tmp_path / "fine.py").symlink_to(target)
    assert answer(Folders([tmp_path]), "fine.py") == (
        404,
        "not-found",
        "no workflow file 'fine.py' is in the folders whose files may be run",
    )


def test_without_folders_nothing_may_be_run(tree: Path) -> None:
    status, kind, detail = answer(Folders(()), str(tree / "in" / "a.py"))  # type: ignore[misc]
    assert (status, kind) == (403, "path-refused")
    assert "workflows_dirs" in detail


SEGMENTS = [
    *("a.py", "b.py", "c.py", "secret.py", "link.py", "nowhere.py", "circle.py", "pipe.py", "device.py", "in.py"),
    *("in", "out", "other", "sub", "parent", "root", "back", "named", "folder.py", "..", ".", "", "~", "x" * 300),
    *("\0", "\udcff", "é"),
]
STARTS = ["", "/", "{base}/", "{base}/in/", "{base}/named/", "{base}/out/", "/proc/self/root{base}/in/", "//"]


@pytest.fixture(scope="module")
def two_trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tree, and another one that has nothing outside of the folders."""
    whole, bare = (make_tree(tmp_path_factory.mktemp(f"tree-{one}", numbered=False)) for one in (1, 2))
    for name in ("out/secret.py", "out/sub/b.py", "in.py"):
        (bare / name).unlink()
    (bare / "out" / "sub").rmdir()
    return whole, bare


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(STARTS), st.lists(st.sampled_from(SEGMENTS) | st.text(max_size=5), max_size=7).map("/".join))
def test_no_path_leads_out_or_tells_what_is_there(two_trees: tuple[Path, Path], start: str, rest: str) -> None:
    told = []
    for base in two_trees:
        allowed = [base / "in", base / "other"]
        found = answer(Folders([base / "named", base / "other"]), start.replace("{base}", str(base)) + rest)
        if isinstance(found, Path):
            assert found == Path(os.path.realpath(found))
            assert any(found.is_relative_to(folder) for folder in allowed)
            assert found.is_file()
            assert found.suffix == ".py"
        told.append(repr(found).replace(str(base), "BASE").replace(base.name, "BASE"))
    # The same words, whether something is out there or not.
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("configuration", "given", "expected"),
    [
        ("conf/brain.toml", None, ["conf"]),
        ("conf/brain.toml", ["flows", "{base}/more"], ["conf/flows", "more"]),
        ("conf/brain.toml", [], []),
        (None, None, []),
        (None, ["flows"], ["flows"]),
    ],
)
def test_the_folders_are_those_of_the_setting_or_that_of_the_configuration(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configuration: str | None,
    given: list[str] | None,
    expected: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file = None if configuration is None else tmp_path / configuration
    dirs = None if given is None else [Path(one.format(base=tmp_path)) for one in given]
    assert folders_of(dirs, file).folders == tuple(tmp_path / one for one in expected)


@pytest.mark.parametrize(
    ("text", "path"),
    [("flow", False), ("flow.v2", False), ("flow.py", True), ("./flow", True), ("/flow", True), ("", False)],
)
def test_a_path_is_told_from_a_name(text: str, path: bool) -> None:
    assert is_path(text) is path
