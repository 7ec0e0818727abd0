"""Where a failing Python step went wrong: the innermost line of the workflow's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_core.engine.local_runner import LocalRunner
from brain_core.engine.runner import StepRequest

FLOW = """
import json
from brain_core import FunctionStep, StepFailed, Workflow
import beside
from lib import inner

def here():
    raise ValueError("two\\nlines")

def fails():
    raise StepFailed("the disk is full")

calls = [here, lambda: json.loads("x"), beside.there, inner.deep, fails, lambda: 1 / 0]
workflow = Workflow(name="w", steps=[FunctionStep(name=f"s{n}", function=call) for n, call in enumerate(calls)])
"""
ERRORS = [
    "ValueError: two\nlines (flow.py:8)",
    "JSONDecodeError: Expecting value: line 1 column 1 (char 0) (flow.py:13)",
    "KeyError: 'k' (beside.py:2)",
    "KeyError: 'x' (lib/inner.py:2)",
    "the disk is full",
    "ZeroDivisionError: division by zero (flow.py:13)",
]


@pytest.mark.parametrize("position", range(len(ERRORS)))
async def test_the_innermost_line_of_the_workflows_folder_is_named(tmp_path: Path, position: int) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "inner.py").write_text("def deep():\n    {}['x']\n")
    (tmp_path / "beside.py").write_text("def there():\n    raise KeyError('k')\n")
    (tmp_path / "flow.py").write_text(FLOW)
    runner = LocalRunner()
    await runner.load(tmp_path / "flow.py")
    request = StepRequest("00000000-0000-0000-0000-000000000000", position, 1)
    reply = await runner.run_step(request, lambda text: None)
    assert (reply.status, reply.error) == ("failed", ERRORS[position])
    # Of the traceback too its author sees the own part: how brain-core called the step is left out.
    assert "local_runner.py" not in reply.log
    assert ("flow.py" in reply.log) == (position not in (2, 3, 4))
