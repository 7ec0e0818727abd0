"""What passes is tried again, as the server asks and no longer than the step may take; what was tried is in the row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from brain_llm import asking
from brain_llm.settings import LLMSettings

from .conftest import Lab
from .scripted import answers, drops, fails, says, says_and_stalls, says_then_drops

BROKEN = [
    fails(500, "one"),
    fails(502, "one"),
    fails(503, "one"),
    fails(504, "one"),
    fails(429, "one"),
    fails(529, "one"),
    drops(),
    says_then_drops("half"),
]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are nobody's wish are short here."""
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.01)


@pytest.mark.parametrize("act", BROKEN)
async def test_a_passing_fault_is_tried_again(lab: Lab, act) -> None:
    lab.server.will(act, says("fine"))
    asked = await lab.ask()
    assert (asked.status, asked.output) == ("success", "fine")
    (row,) = asked.calls
    assert (row["status"], row["answer"], row["attempts"]) == ("success", "fine", 2)
    assert len(row["tried"]) == 1
    assert set(row["tried"][0]) == {"at", "fault", "waited"}
    assert row["error"] is None


async def test_it_is_tried_so_often_and_no_more(lab: Lab) -> None:
    lab.server.will(fails(500, "always"))
    asked = await lab.ask(retries=2)
    assert asked.status == "failed"
    assert len(lab.server.requests) == 3
    assert asked.calls[0]["attempts"] == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_would_not_pass_is_not_tried_again(lab: Lab, status: int) -> None:
    lab.server.will(fails(status, "no"))
    asked = await lab.ask(retries=5)
    assert asked.status == "failed"
    assert len(lab.server.requests) == 1


async def test_a_stall_is_tried_again(lab: Lab) -> None:
    lab.server.will(says_and_stalls("half"), says("whole"))
    asked = await lab.ask(stall=1)
    assert asked.output == "whole"


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_waited_for_and_does_not_count(lab: Lab, status: int) -> None:
    lab.server.will(fails(status, "wait", Retry_After="0.2"), fails(status, "wait", Retry_After="0.2"), says("fine"))
    asked = await lab.ask(retries=0)
    assert asked.output == "fine"
    (row,) = asked.calls
    assert row["attempts"] == 3
    assert [entry["waited"] for entry in row["tried"]] == [0.2, 0.2]


async def test_retry_after_may_be_a_date(lab: Lab) -> None:
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=5), usegmt=True)
    lab.server.will(fails(503, "wait", Retry_After=past), says("fine"))
    asked = await lab.ask(retries=0)
    assert asked.output == "fine"


async def test_a_wait_beyond_the_time_limit_ends_the_step_at_once(lab: Lab) -> None:
    lab.server.will(fails(429, "come back tomorrow", Retry_After="86400"))
    asked = await lab.ask(timeout=30)
    assert asked.status == "failed"
    assert len(lab.server.requests) == 1
    assert "86400 s" in asked.error or "86,400 s" in asked.error
    assert "timeout=" in asked.error


async def test_a_server_without_schemas_is_told_in_words(lab: Lab) -> None:
    lab.server.will(fails(400, "response_format json_schema is not supported"), answers({"result": 3}))
    asked = await lab.ask(output=int)
    assert asked.output == 3
    first, second = lab.server.requests
    assert "response_format" in first.json
    assert "response_format" not in second.json
    assert '"result"' in "".join(second.texts)
    assert [row["status"] for row in asked.calls][-1] == "success"


async def test_the_row_is_there_before_the_call_goes_out(lab: Lab) -> None:
    seen = []

    async def looks(request, talk) -> None:
        seen.extend(await lab.rows())
        await says("fine")(request, talk)

    lab.server.will(looks)
    await lab.ask()
    assert [(row["status"], row["prompt"], row["answer"], row["ended_at"]) for row in seen] == [
        ("open", "Say hello.", None, None)
    ]


@pytest.mark.parametrize("after", ["0", "-5", "Mon, 01 Jan 2001 00:00:00 GMT"])
async def test_a_server_that_asks_for_no_wait_is_not_asked_in_a_spin(lab: Lab, after: str) -> None:
    again = fails(429, "at once", Retry_After=after)
    lab.server.will(again, again, again, says("fine"))
    asked = await lab.ask(retries=0)
    assert asked.output == "fine"
    assert [entry["waited"] for entry in asked.calls[0]["tried"]] == [0.05, 0.1, 0.2]


async def test_what_is_nobodys_wish_waits_longer_each_time(lab: Lab) -> None:
    lab.server.will(fails(500), fails(500), fails(500), says("fine"))
    asked = await lab.ask(retries=3)
    assert [entry["waited"] for entry in asked.calls[0]["tried"]] == [0.01, 0.02, 0.04]


async def test_the_time_limit_of_the_settings_ends_a_step_that_has_none(lab: Lab) -> None:
    assert (await lab.ask()).status == "success"  # what is imported late is there from here on
    lab.server.will(says_and_stalls("half"))
    asked = await lab.ask(LLMSettings(timeout=3))
    limit = "the time limit of 3 s was reached"
    assert asked.error == f"{limit}; set timeout= in the step, or timeout in [plugins.llm]"
    assert [(row["status"], row["error"], row["answer"]) for row in asked.calls] == [("failed", limit, "half")]
