"""The page about the trials is what its command makes of the results that are there."""

from __future__ import annotations

from pathlib import Path

from .report import PAGE, TRIALS, render, results


def test_the_page_shows_the_results_that_are_there() -> None:
    assert PAGE.read_text() == render(results()), "run: python -m tests.trials.report"


def test_every_trial_is_on_the_page() -> None:
    files = {file.name for file in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert {about.file for about in TRIALS.values()} == files
    assert results().keys() <= TRIALS.keys()


def test_a_trial_that_broke_a_promise_is_shown_as_such() -> None:
    broken = {"trial": "kills", "outcome": "broken", "seed": 7, "on": "2026-05-01", "minutes": 1.0, "counts": {}}
    page = render({"kills": broken})
    assert "| ? | 7 | broken, 2026-05-01 |" in page
    assert "not run yet" in page
