"""What a loaded file brings with it: siblings, sources, a module of its own; and what it leaves alone."""

from __future__ import annotations

import hashlib
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from brain_core import loader, loader_folder
from brain_core.errors import WorkflowFileError
from brain_core.loader import digest_of, load_workflow

STEP = """\
from brain_core import Step, Template, Workflow
class Say(Step):
    text: Template = ""
    def run(self, ctx):
        return self.text
"""
FLOW = "workflow = Workflow(name='w', description={}, steps=[Say(name='a')])\n"


@pytest.fixture(autouse=True)
def _no_folder_in_force() -> Iterator[None]:
    yield
    if loader._active is not None:
        loader._active.leave()
        loader._active = None


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "w.py"


def test_sources_hold_the_file_and_what_it_imported_beside_it(tmp_path: Path) -> None:
    text = "import json, helper, pkg.inner, space.deep\n" + STEP + FLOW.format("helper.who")
    file = write(tmp_path, w=text, helper="import second\nwho = second.who\n", second="who = 'me'\n", unused="1/0\n")
    write(tmp_path / "pkg", __init__="", inner="x = 1\n")
    write(tmp_path / "space", deep="y = 2\n")
    loaded = load_workflow(file)
    assert loaded.workflow.description == "me"
    assert loaded.path == file.resolve()
    assert loaded.sources == {
        "w.py": text,
        "helper.py": "import second\nwho = second.who\n",
        "second.py": "who = 'me'\n",
        "pkg/__init__.py": "",
        "pkg/inner.py": "x = 1\n",
        "space/deep.py": "y = 2\n",
    }
    assert loaded.digest == digest_of(dict(reversed(loaded.sources.items())))
    assert not list(tmp_path.rglob("*.pyc"))


def test_digest_tells_versions_apart_and_is_pinned() -> None:
    assert digest_of({}) == hashlib.sha256().hexdigest()
    one, other = digest_of({"ab": "c"}), digest_of({"a": "bc"})
    assert one != other
    pinned = b"\0\0\0\0\0\0\0\x04w.py" + b"\0\0\0\0\0\0\0\x01x"
    assert digest_of({"w.py": "x"}) == hashlib.sha256(pinned).hexdigest()


def test_digest_changes_with_a_sibling(tmp_path: Path) -> None:
    file = write(tmp_path, w="import helper\n" + STEP + FLOW.format("helper.who"), helper="who = 'one'\n")
    first = load_workflow(file)
    assert load_workflow(file).digest == first.digest
    write(tmp_path, helper="who = 'two'\n")
    second = load_workflow(file)
    assert second.workflow.description == "two"
    assert second.digest != first.digest


def test_same_base_names_do_not_collide(tmp_path: Path) -> None:
    text = "import helper\n" + STEP + FLOW.format("helper.who")
    one = load_workflow(write(tmp_path / "one", w=text, helper="who = 'one'"))
    two = load_workflow(write(tmp_path / "two", w=text, helper="who = 'two'"))
    assert (one.workflow.description, two.workflow.description) == ("one", "two")
    kinds = [type(loaded.workflow.steps[0]) for loaded in (one, two)]
    assert kinds[0].__module__ != kinds[1].__module__
    assert [sys.modules[kind.__module__].Say for kind in kinds] == kinds  # type: ignore[attr-defined]
    assert str(tmp_path / "one") not in sys.path
    assert sys.path[0] == str(tmp_path / "two")
    assert sys.modules["helper"].who == "two"  # type: ignore[attr-defined]


def test_pickle_dataclasses_and_type_hints_work(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nimport dataclasses, pickle, typing\n" + STEP + "@dataclasses.dataclass\n"
        "class Point:\n    x: int\n    kind: typing.ClassVar[str] = 'p'\n"
        "assert typing.get_type_hints(Point)['x'] is int\n"
        "point = pickle.loads(pickle.dumps(Point(3)))\n"
        "def later() -> Point: ...\n" + FLOW.format("str(point.x)")
    )
    loaded = load_workflow(write(tmp_path, w=text))
    assert loaded.workflow.description == "3"
    step = loaded.workflow.steps[0]
    assert pickle.loads(pickle.dumps(step)) == step


def test_a_step_may_import_a_sibling_when_it_runs(tmp_path: Path) -> None:
    text = STEP.replace("return self.text", "import late; return late.x") + FLOW.format("''")
    loaded = load_workflow(write(tmp_path, w=text, late="x = 7\n"))
    assert loaded.workflow.steps[0].run(None) == 7  # type: ignore[arg-type]
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_failed_load_leaves_the_earlier_file_in_force(tmp_path: Path) -> None:
    text = "import helper\n" + STEP + FLOW.format("''")
    load_workflow(write(tmp_path / "one", w=text, helper="who = 'one'"))
    helper, path = sys.modules["helper"], list(sys.path)
    with pytest.raises(WorkflowFileError):
        load_workflow(write(tmp_path / "two", w=text + "1/0", helper="who = 'two'"))
    assert sys.modules["helper"] is helper
    assert sys.path == path


def test_a_sibling_never_takes_the_place_of_python_or_of_brain_core(tmp_path: Path) -> None:
    text = "import colorsys, brain_shell\n" + STEP + FLOW.format("colorsys.__file__")
    sys.modules.pop("colorsys", None)
    file = write(tmp_path, w=text, colorsys="", brain_shell="", this="raise OSError")
    loaded = load_workflow(file)
    assert not loaded.workflow.description.startswith(str(tmp_path))
    assert list(loaded.sources) == ["w.py"]
    # Nor afterwards, when the core imports something late.
    sys.modules.pop("colorsys")
    import colorsys

    assert not str(colorsys.__file__).startswith(str(tmp_path))


def test_installed_packages_below_the_folder_are_no_siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / ".venv" / "lib" / "site-packages"
    write(site / "somelib_x", __init__="", part="x = 1\n")
    monkeypatch.syspath_prepend(str(site))
    loaded = load_workflow(write(tmp_path, w="import somelib_x.part\n" + STEP + FLOW.format("''")))
    assert list(loaded.sources) == ["w.py"]
    for name in ("somelib_x", "somelib_x.part"):
        del sys.modules[name]


def test_byte_order_mark_and_symlink(tmp_path: Path) -> None:
    file = write(tmp_path / "real", w="import helper\n" + STEP + FLOW.format("helper.who"), helper="who = 'x'")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    (tmp_path / "link.py").symlink_to(file)
    loaded = load_workflow(tmp_path / "link.py")
    assert loaded.workflow.description == "x"
    assert sorted(loaded.sources) == ["helper.py", "w.py"]


def test_number_of_siblings_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_folder, "MAX_SIBLINGS", 2)
    file = write(tmp_path, w="import s1, s2\n" + STEP + FLOW.format("''"), s1="", s2="", s3="")
    assert len(load_workflow(file).sources) == 3
    write(tmp_path, w="import s1, s2, s3\n" + STEP + FLOW.format("''"))
    with pytest.raises(WorkflowFileError, match=r"w.py:1: more than 2 modules are imported from the file's folder"):
        load_workflow(file)


def test_size_of_siblings_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_folder, "MAX_SIBLING_BYTES", 10)
    file = write(tmp_path, w="import s1\n" + STEP + FLOW.format("''"), s1="x = 12345\n")
    assert len(load_workflow(file).sources) == 2
    write(tmp_path, s1="x = 123456\n")
    with pytest.raises(WorkflowFileError, match="are over 10 bytes"):
        load_workflow(file)


def test_a_file_that_hangs_is_named_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(loader, "MAX_WAIT", 0.01)
    monkeypatch.setattr(sys, "brain_test_gate", (started, go_on), raising=False)
    text = "import sys\nsys.brain_test_gate[0].set()\nsys.brain_test_gate[1].wait()\n" + STEP + FLOW.format("''")
    write(tmp_path, w=text, other=STEP + FLOW.format("''"))
    thread = threading.Thread(target=load_workflow, args=(tmp_path / "w.py",))
    thread.start()
    started.wait()
    with pytest.raises(WorkflowFileError, match=r"other.py: this process is still importing another file, .*w.py$"):
        load_workflow(tmp_path / "other.py")
    go_on.set()
    thread.join()
    assert load_workflow(tmp_path / "other.py").workflow.name == "w"


def test_what_only_looks_wrong_is_taken(tmp_path: Path) -> None:
    text = (
        STEP + "class Odd(Step):\n    text: str = '{zzz} {inputs.no} {x'\n"
        "    def __init__(self, name):\n        super().__init__(name=name)\n"
        "    @staticmethod\n    def run(*everything): return 1\n"
        "workflow = Workflow(name='w', steps=[Say(name='a'), Odd('b')], on_finished=dict)\n"
    )
    assert len(load_workflow(write(tmp_path, w=text)).workflow.steps) == 2


def test_what_a_file_prints_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_workflow(write(tmp_path, w="print('hi')\n" + STEP + FLOW.format("''")))
    assert capsys.readouterr().out == "hi\n"
