"""A file that uses a step of a distribution of ours which is not installed: the line says what to install."""

from __future__ import annotations

from pathlib import Path

import pytest

from brain_core import loader_report
from brain_core.errors import WorkflowFileError
from brain_core.loader import load_workflow


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "from brain_gone import GoneStep",
            "w.py:1: the module brain_gone is not installed; it comes with brain-gone: pip install brain-gone",
        ),
        (
            "from brain_core import GoneStep",
            "w.py:1: brain_core has no GoneStep; it comes with brain-gone: pip install brain-gone, "
            "then write: from brain_gone import GoneStep",
        ),
        (
            "GoneStep",
            "w.py:1: the name 'GoneStep' is not defined; it comes with brain-gone: pip install brain-gone, "
            "then write: from brain_gone import GoneStep",
        ),
    ],
)
def test_a_step_of_a_distribution_that_is_not_installed(
    text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of ours are installed where the tests run.
    monkeypatch.setitem(loader_report.DISTRIBUTIONS, "brain_gone", "brain-gone")
    monkeypatch.setitem(loader_report.STEP_TYPES, "GoneStep", "brain_gone")
    monkeypatch.chdir(tmp_path)
    Path("w.py").write_text(text)
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow("w.py")
    assert str(caught.value) == expected
