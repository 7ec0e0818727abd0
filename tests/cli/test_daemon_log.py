"""The log of a daemon: one line an event, whatever it says, and no value that nobody meant to log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from brain_core.cli.daemon_log import SoonHandler, write_log


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    log = logging.getLogger("brain")
    before = log.handlers[:], log.level, log.propagate
    wide = logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile = wide
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


class Writes(io.StringIO):
    """A stream that keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


def _log_to(stream: Writes) -> tuple[logging.Logger, SoonHandler]:
    log = logging.getLogger("brain")
    handler = SoonHandler(stream)
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.INFO)
    return log, handler


async def test_a_thousand_lines_are_written_soon_in_order_and_with_few_writes():
    stream = Writes()
    log, handler = _log_to(stream)
    for number in range(1_000):
        log.info("line %d", number)
    assert stream.writes == []
    async with asyncio.timeout(30):
        while handler.waiting:  # noqa: ASYNC110 - a log tells nobody that it was written
            await asyncio.sleep(0.01)
    assert "".join(stream.writes) == "".join(f"line {number}\n" for number in range(1_000))
    assert len(stream.writes) == 5


async def test_a_warning_is_written_at_once_with_all_before_it():
    stream = Writes()
    log, _ = _log_to(stream)
    log.info("first")
    log.warning("second")
    assert stream.writes == ["first\nsecond\n"]


def test_outside_of_an_event_loop_each_line_is_written_at_once():
    stream = Writes()
    log, _ = _log_to(stream)
    log.info("first")
    assert stream.writes == ["first\n"]


def test_a_loop_that_ended_with_lines_of_its_own_holds_up_no_other():
    stream = Writes()
    log, handler = _log_to(stream)

    async def say(text: str, *, wait: bool) -> None:
        log.info(text)
        async with asyncio.timeout(30):
            while wait and handler.waiting:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)

    asyncio.run(say("first", wait=False))
    asyncio.run(say("second", wait=True))
    assert "".join(stream.writes) == "first\nsecond\n"


async def test_at_the_end_of_the_process_what_waits_is_written():
    stream = Writes()
    log, handler = _log_to(stream)
    log.info("last words")
    handler.flush()
    assert stream.writes == ["last words\n"]


async def test_a_line_that_cannot_be_formatted_costs_no_other(capsys: pytest.CaptureFixture[str]):
    stream = Writes()
    log, handler = _log_to(stream)
    log.info("good")
    log.info("%d", "bad")
    log.info("good too")
    handler.flush()
    assert stream.writes == ["good\ngood too\n"]
    assert "bad" in capsys.readouterr().err
