"""The second protocol: a model of Anthropic, over a real socket, where its library is installed."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from brain_llm import LLMStep

from brain_core.testing import StepResult, run_step

from .scripted import Act, ScriptedServer

pytest.importorskip("anthropic")

KEY = "sk-ant-0123456789"


def says(*pieces: str, stop: str | None = "end_turn", whole: bool = True) -> Act:
    async def act(request: Any, talk: Any) -> None:
        async def event(kind: str, **data: Any) -> None:
            await talk.chunk(f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n")

        await talk.begin()
        message = {"id": "m1", "type": "message", "role": "assistant", "content": [], "model": "claude-x"}
        usage = {"input_tokens": 5, "output_tokens": 1}
        await event("message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": usage})
        await event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for piece in pieces:
            await event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        await event("content_block_stop", index=0)
        if whole:
            await event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 3})
            await event("message_stop")
        await talk.end()

    return act


class Server(ScriptedServer):
    """Answers at /v1/messages in place of /chat/completions."""

    async def _answer(self, request: Any, talk: Any) -> None:
        assert request.path.startswith("/here/v1/messages")
        self.requests.append(request)
        await (self._acts.pop(0) if len(self._acts) > 1 else self._acts[0])(request, talk)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return []


async def ask(
    act: Act, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, **more: Any
) -> tuple[StepResult, Any]:
    async def query(name: str, values: Any = None) -> list[Any]:
        rows.append(values)
        return []

    monkeypatch.setenv("MY_KEY", KEY)
    with Server() as server:
        server.will(act)
        step = LLMStep(
            name="ask",
            prompt="hi",
            system="be brief",
            model="anthropic:claude-x",
            provider_url=server.url.removesuffix("v1") + "here/",
            api_key="env:MY_KEY",
            retries=0,
            **more,
        )
        return await run_step(step, query=query), server.requests[-1]


async def test_text(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    done, request = await ask(says("hel", "lo"), rows, monkeypatch, max_tokens=9)
    assert (done.status, done.output) == ("success", "hello"), done
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.json["max_tokens"] == 9
    assert "be brief" in json.dumps(request.json["system"])
    assert (rows[-1]["status"], rows[-1]["input_tokens"], rows[-1]["output_tokens"]) == ("success", 5, 3)
    assert rows[-1]["cost"] is None
    assert KEY not in json.dumps(rows)


async def test_a_typed_answer(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = await ask(says('{"result": "a"}'), rows, monkeypatch, output=Literal["a", "b"])
    assert (done.status, done.output) == ("success", "a"), done


async def test_cut_off_by_length(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = await ask(says("half", stop="max_tokens"), rows, monkeypatch)
    assert done.error is not None
    assert done.error.startswith("the answer was cut off after 3 tokens; set max_tokens= higher")


async def test_a_stream_that_ends_early_is_no_answer(
    rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    done, _ = await ask(says("half", whole=False), rows, monkeypatch)
    assert done.error is not None
    assert "before the answer was complete" in done.error
