"""BoundedText, StepContext, Run and the starter file."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_core.bounded import BoundedText
from brain_core.context import MAX_LOG_CHARS, StepContext
from brain_core.errors import UsageError
from brain_core.loader import load_workflow
from brain_core.run import FINAL, LEGAL, PlannedStep, Run, StepRun
from brain_core.starter import starter_file, write_starter


@given(parts=st.lists(st.text("abc", max_size=9), max_size=30), limit=st.integers(2, 40))
def test_bounded_text_keeps_both_ends(parts: list[str], limit: int) -> None:
    kept, whole = BoundedText(limit), "".join(parts)
    for part in parts:
        kept.add(part)
    if len(whole) <= limit:
        assert kept.text() == whole
        assert kept.cut == 0
        return
    head, tail = limit // 2, limit - limit // 2
    assert kept.cut == len(whole) - limit
    assert kept.text() == f"{whole[:head]}\n[… {kept.cut:,} characters left out …]\n{whole[-tail:]}"


def test_bounded_text_from_many_threads() -> None:
    kept, start = BoundedText(100), threading.Barrier(4)

    def add() -> None:
        start.wait()
        for _ in range(2_000):
            kept.add("abcde")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.cut == 4 * 2_000 * 5 - 100


def test_context_logs_and_shows(tmp_path: Path) -> None:
    seen: list[str] = []
    ctx = StepContext(run_id="r", workflow="w", step="s", folder=tmp_path, on_live=seen.append)
    ctx.live("a")
    ctx.live("")
    ctx.log("b" * (MAX_LOG_CHARS + 1))
    assert seen == ["a", "b" * (MAX_LOG_CHARS + 1)]
    assert "1 characters left out" in ctx.logged
    assert ctx.settings(dict) == {}


def test_final_statuses_are_final() -> None:
    assert {status for status, following in LEGAL.items() if not following} == FINAL


def test_run_facts() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    end = start + timedelta(seconds=2)
    step = StepRun(0, "a", "t", 1, "failed", start, end)
    run = Run("0123456789", "w", "w.py", "failed", start, start, end, steps=(step,), planned=(
        PlannedStep("a", "t"), PlannedStep("b", "t"),
    ))  # fmt: skip
    assert (run.short_id, run.final, run.seconds) == ("01234567", True, 2.0)
    assert run.never_ran == (PlannedStep("b", "t"),)


def test_starter_file_loads_and_is_never_overwritten(tmp_path: Path) -> None:
    path = write_starter("my-flow.v2", tmp_path)
    assert path == tmp_path / "my-flow.v2.py"
    loaded = load_workflow(path)
    assert loaded.workflow.name == "my-flow.v2"
    assert "brain run my-flow.v2.py" in path.read_text()
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_starter("my-flow.v2", tmp_path)
    assert path.read_text() == "mine"
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        write_starter("x", tmp_path / "no")


@pytest.mark.parametrize("name", ["", "a b", "../x", ".x", "a/b", "a\n", "x" * 201])
def test_starter_refuses_bad_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a name") as caught:
        write_starter(name, tmp_path)
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_starter_text_is_a_program() -> None:
    compile(starter_file("x"), "x.py", "exec")
