"""Whatever a file holds, loading it ends in a Workflow or in one printable line."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from brain_core.errors import WorkflowFileError
from brain_core.loader import digest_of, load_workflow
from brain_core.loader_source import one_line

FRAGMENTS = [
    "from brain_core import *\n",
    "class S(Step):\n    t: Template = ''\n    def run(self, ctx): return 1\n",
    "workflow = Workflow(name='w', steps=[S(name='a')])\n",
    "workflow = Workflow(name=1, steps=[S(name='a', t='{b}'), S(name='a')])\n",
    "workflow = S\n",
    "workflow: int\n",
    "del workflow\n",
    "globals()[3] = 4\n",
    "raise BaseException('\\udc80\\n')\n",
    "import sys; sys.exit(sys)\n",
    "class E(Exception):\n    __str__ = None\nraise E\n",
    "def __getattr__(name): raise OSError\n",
    "S(name=S, t=S, x=1)\n",
    "S(**{'a\\nb': 1})\n",
    "workflow.steps[0].nope\n",
    "exec('1 +')\n",
    "raise ExceptionGroup('g', [ValueError()])\n",
    "from nowhere.at.all import x\n",
    "(yield)\n",
    "  x\n",
    "\x0c\\\n",
]


def load_bytes(folder: Path, data: bytes) -> None:
    file = folder / "w.py"
    file.write_bytes(data)
    problem: WorkflowFileError | None = None
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            load_workflow(file)
        except WorkflowFileError as error:
            problem = error
    if problem is not None:
        lines = 1 + sum(data.count(end) for end in (b"\n", b"\r", b"\x0c"))
        assert str(problem).isprintable()
        assert len(problem.message) <= 600
        assert problem.line is None or 1 <= problem.line <= lines


# The folder is only ever overwritten.
free = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=300
)


@free
@given(data=st.binary(max_size=200))
@example(data=b"\xef\xbb\xbf\xef\xbb\xbf")
@example(data=b"# -*- coding: rot13 -*-\n")
@example(data=b"(" * 5_000)
@example(data=b"x" + b".a" * 5_000)
@example(data=b"[" * 90 + b"]" * 90)
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    load_bytes(tmp_path, data)


@free
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=200))
def test_any_text(tmp_path: Path, text: str) -> None:
    load_bytes(tmp_path, text.encode())


@free
@given(parts=st.lists(st.sampled_from(FRAGMENTS), max_size=6))
def test_any_program(tmp_path: Path, parts: list[str]) -> None:
    load_bytes(tmp_path, "".join(parts).encode())


@given(text=st.text(), limit=st.integers(1, 50))
def test_one_line_is_one_printable_bounded_line(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit


@given(sources=st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), st.just("x")), more=st.just("y"))
def test_digest_differs_when_any_text_differs(sources: dict[str, str], more: str) -> None:
    for name in sources:
        assert digest_of({**sources, name: more}) != digest_of(sources)
