"""The log of a daemon: one line an event, whatever it says, and no value that nobody meant to log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from brain_core.cli.daemon_log import write_log


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    log = logging.getLogger("brain")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


def _says(form: str) -> None:
    write_log(form)  # type: ignore[arg-type]
    password = "hun" + "ter2"
    logging.getLogger("brain.output").info("%s", "one\ntwo \x1b[2J", extra={"file": "/a flow.py"})
    logging.getLogger("brain.daemon").info("started", extra={"worker": "w1"})
    try:
        raise ValueError(len(password))
    except ValueError:
        logging.getLogger("brain.worker").exception("a bug", extra={"run": "r1", "error": "first\nsecond"})


@pytest.mark.parametrize("form", ["text", "json"])
def test_one_line_an_event_with_its_facts_and_no_value_of_a_variable(form: str, capsys: pytest.CaptureFixture[str]):
    _says(form)
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "\x1b" not in said
    printed, started, bug = said.splitlines()
    assert "two" in printed
    assert "/a flow.py" in printed
    assert "w1" in started
    assert "ValueError: 7" in bug
    assert "second" in bug


def test_json_keeps_what_was_said_as_it_was(capsys: pytest.CaptureFixture[str]):
    _says("json")
    printed, _, bug = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (printed["event"], printed["file"]) == ("one\ntwo \x1b[2J", "/a flow.py")
    assert (bug["run"], bug["logger"], bug["level"]) == ("r1", "brain.worker", "error")
    assert bug["exception"].startswith("Traceback")
