"""The row of a call is there before the call goes out, and what becomes of the step where it cannot be written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from brain_llm import LLMStep
from brain_llm.records import MAX_TEXT, MAX_TRIED, Row

from brain_core import StepFailed
from brain_core.testing import StepResult, run_step

from .scripted import MODEL, ScriptedServer, fails, says


class Ledger:
    """What a step has had written, in its order; `refuses` names a statement that fails."""

    def __init__(self, server: ScriptedServer, refuses: str = "") -> None:
        self.server = server
        self.refuses = refuses
        self.written: list[tuple[str, int, dict[str, Any]]] = []

    async def query(self, name: str, values: Any = None) -> list[Any]:
        self.written.append((name, len(self.server.requests), dict(values)))
        if name == self.refuses:
            raise StepFailed(f"statement '{name}' failed: no room")
        return []

    async def ask(self, **more: Any) -> StepResult:
        step = LLMStep(**{"name": "ask", "prompt": "hi", "model": MODEL, "provider_url": self.server.url, **more})
        return await run_step(step, query=self.query)


async def test_the_row_comes_first(server: ScriptedServer) -> None:
    ledger = Ledger(server)
    done = await ledger.ask()
    assert done.output == "hello"
    assert [(name, sent) for name, sent, _ in ledger.written] == [("llm_call_open", 0), ("llm_call_close", 1)]


async def test_without_a_row_no_call_goes_out(server: ScriptedServer) -> None:
    done = await Ledger(server, "llm_call_open").ask()
    assert (done.status, done.error) == ("failed", "statement 'llm_call_open' failed: no room")
    assert server.requests == []


async def test_an_answer_is_not_lost_with_the_end_of_its_row(server: ScriptedServer) -> None:
    done = await Ledger(server, "llm_call_close").ask()
    assert (done.status, done.output) == ("success", "hello")
    assert "the end of a call could not be written: statement 'llm_call_close' failed: no room" in done.log


async def test_the_fault_is_told_though_the_end_of_its_row_cannot_be_written(server: ScriptedServer) -> None:
    server.will(fails(403, "not you"))
    done = await Ledger(server, "llm_call_close").ask()
    assert "not you" in (done.error or "")


async def test_nothing_of_the_texts_is_kept_where_they_are_not_to_be_stored(server: ScriptedServer) -> None:
    server.will(says("SECRET-ANSWER", finish="length"))
    ledger = Ledger(server)
    done = await ledger.ask(prompt="SECRET-PROMPT", system="SECRET-SYSTEM", store=False)
    assert done.status == "failed"
    assert "SECRET" not in f"{ledger.written} {done}"
    assert len(ledger.written) == 2


async def test_half_a_character_goes_out_as_a_replacement(server: ScriptedServer) -> None:
    done = await Ledger(server).ask(prompt="a\ud800b \U0001f600 \0", system="\udfff")
    assert done.status == "success", done
    assert server.requests[0].texts == ["\ufffd", "a\ufffdb \U0001f600 \0"]


@pytest.mark.parametrize(("size", "cut"), [(MAX_TEXT, False), (MAX_TEXT + 1, True)])
async def test_long_texts_are_cut_in_the_row(server: ScriptedServer, size: int, cut: bool) -> None:
    ledger = Ledger(server)
    await ledger.ask(prompt="x" * size)
    kept = ledger.written[0][2]["prompt"]
    assert kept.endswith("… (1 more characters)") is cut
    assert kept.startswith("x" * MAX_TEXT)
    assert len(server.requests[0].texts[0]) == size


async def test_what_was_tried_is_bounded() -> None:
    async def query(name: str, values: Any = None) -> list[Any]:
        return []

    row = Row(query, store=True)
    for number in range(1_000):
        row.failed_attempt(f"fault {number}", 0.1)
    assert len(row.tried) == MAX_TRIED
    assert (row.tried[0]["fault"], row.tried[-1]["fault"]) == ("fault 0", "fault 999")


class Held(Ledger):
    """Holds the first one of a statement until it is cancelled."""

    def __init__(self, server: ScriptedServer, holds: str) -> None:
        super().__init__(server)
        self.holds = holds
        self.held = asyncio.Event()

    async def query(self, name: str, values: Any = None) -> list[Any]:
        await super().query(name, values)
        if name == self.holds and not self.held.is_set():
            self.held.set()
            await asyncio.Event().wait()
        return []


async def test_cancelled_while_the_end_is_written_it_is_written_all_the_same(server: ScriptedServer) -> None:
    ledger = Held(server, "llm_call_close")
    asking = asyncio.ensure_future(ledger.ask())
    await ledger.held.wait()
    asking.cancel()
    await asyncio.wait({asking})
    first, again = (values for name, _, values in ledger.written if name == "llm_call_close")
    assert (again["id"], again["status"], again["answer"], again["input_tokens"]) == (
        first["id"],
        "success",
        "hello",
        11,
    )


async def test_cancelled_while_the_row_is_written_it_is_closed_and_nothing_goes_out(server: ScriptedServer) -> None:
    ledger = Held(server, "llm_call_open")
    asking = asyncio.ensure_future(ledger.ask())
    await ledger.held.wait()
    asking.cancel()
    await asyncio.wait({asking})
    assert [(name, values.get("error"), values.get("attempts")) for name, _, values in ledger.written] == [
        ("llm_call_open", None, None),
        ("llm_call_close", "the step was cancelled", 0),
    ]
    assert server.requests == []
