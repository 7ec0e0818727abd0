"""Whatever a server does, the step ends with one line that says what to set, and the row of the call says so too."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from brain_llm import wire
from brain_llm.settings import LLMSettings

from .conftest import Lab
from .scripted import (
    Act,
    body_without_end,
    broken_events,
    drops,
    fails,
    part,
    says,
    says_and_stalls,
    says_for_ever,
    says_then_drops,
    says_without_head,
    sends,
    unknown_model,
)

PAGE = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>" + "x" * 200 + "</body></html>"


class Case(NamedTuple):
    """What the server does, what the step says, and the line that comes of it. HOST and URL stand for the server's."""

    name: str
    act: Act
    line: str
    step: Mapping[str, Any] = MappingProxyType({})
    finish: str | None = None


CASES = [
    Case(
        "context too long",
        fails(400, "request (9000 tokens) exceeds the available context size (8192 tokens)"),
        "the prompt is too long for model 'scripted-1' (400): request (9000 tokens) exceeds the available context size "
        "(8192 tokens); shorten the prompt, lower max_tokens=, or set model= to one with a larger context",
    ),
    Case(
        "plain text",
        sends("It works!", kind="text/plain"),
        "URL answers with what is not JSON ('It works!'); set provider_url to an OpenAI-compatible API",
    ),
    Case(
        "half of an object",
        sends('{"choices": [', kind="application/json"),
        "URL answers with what is not JSON ('{\"choices\": ['); set provider_url to an OpenAI-compatible API",
    ),
    Case(
        "a web page",
        sends(PAGE),
        "URL answers with a web page (200: <!DOCTYPE html><html><head><title>Welcome</title></head><bod…) where JSON "
        "belongs; set provider_url to the base URL of the API, which usually ends in /v1",
    ),
    Case(
        "a web page of a proxy, 404",
        sends(PAGE, 404),
        "URL answers with a web page (404: <!DOCTYPE html><html><head><title>Welcome</title></head><bod…) where JSON "
        "belongs; set provider_url to the base URL of the API, which usually ends in /v1",
    ),
    Case(
        "a wrong path",
        fails(404, "no such path"),
        "URL knows no chat completions (404): no such path; set provider_url to the base URL of the API, which usually "
        "ends in /v1",
    ),
    Case(
        "events that are no JSON",
        broken_events("{nonsense"),
        "URL answers with what is not JSON ('{nonsense'); set provider_url to an OpenAI-compatible API",
    ),
    Case(
        "events of another protocol",
        broken_events('{"kind": "hello"}', "[DONE]"),
        "model 'scripted-1' answered nothing; change the prompt, or set model= to another",
        finish="stop",
    ),
    Case(
        "an error in the stream",
        broken_events('{"error": {"message": "slot failed", "type": "server_error", "code": null}}'),
        "HOST reports an error: slot failed; see to the server, or set retries= higher",
    ),
    Case(
        "cut off half-way",
        says_then_drops("Once upon", " a time"),
        "HOST ended the connection before the answer was complete (peer closed connection without sending complete "
        "message body (incomplete chunked read)); see to the server, or set retries= higher",
    ),
    Case(
        "cut off at once",
        drops(),
        "HOST ended the connection before the answer was complete (Server disconnected without sending a response); "
        "see to the server, or set retries= higher",
    ),
    Case(
        "no HTTP at all",
        says_without_head(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        "HOST ended the connection before the answer was complete (illegal status line: "
        "bytearray(b'SSH-2.0-OpenSSH_9.2')); see to the server, or set retries= higher",
    ),
    Case(
        "nothing paid",
        fails(402, "add credits"),
        "the account at HOST has nothing left (402): add credits; see to its plan or limits",
    ),
    Case(
        "not allowed",
        fails(403, "not for you"),
        "HOST does not allow this (403): not for you; set api_key= to a key with the right to use model 'scripted-1'",
    ),
    Case(
        "broken inside",
        fails(500, "Out of memory."),
        "HOST cannot answer now (500): Out of memory; see to the server, or set retries= higher",
    ),
    Case(
        "asked too often",
        fails(429, "slow down"),
        "HOST is asked too often (429): slow down; ask less often, or set retries= higher",
    ),
    Case(
        "JSON of something else",
        sends('{"ok": true}', kind="application/json"),
        "URL answers with JSON that is no answer of a model ('{\"ok\": true}'); set provider_url to an "
        "OpenAI-compatible API",
    ),
    Case(
        "an argument refused",
        fails(400, "temperature: no"),
        "HOST refuses the call (400): temperature: no; see to the step's arguments",
    ),
    Case(
        "an empty answer",
        says(""),
        "model 'scripted-1' answered nothing; change the prompt, or set model= to another",
        finish="stop",
    ),
    Case(
        "blanks for an answer",
        says(" \n", "\n "),
        "model 'scripted-1' answered nothing; change the prompt, or set model= to another",
        finish="stop",
    ),
    Case(
        "cut off by length",
        says("Once upon a", finish="length", tokens=(11, 3)),
        "the answer was cut off after 3 tokens; set max_tokens= higher than 3, or ask for a shorter answer",
        {"max_tokens": 3},
        finish="length",
    ),
    Case(
        "cut off by the server's own limit",
        says("Once upon a", finish="length", tokens=None),
        "the answer was cut off after 11 characters; set max_tokens= higher than the server's own limit, or ask for a "
        "shorter answer",
        finish="length",
    ),
    Case(
        "reasoning ate the budget",
        says("", reasoning="Let me think", finish="length"),
        "model 'scripted-1' spent all its tokens on reasoning and answered nothing; set max_tokens= higher than 3, or "
        "turn its reasoning off",
        {"max_tokens": 3},
        finish="length",
    ),
    Case(
        "reasoning and no answer",
        says("", reasoning="Let me think"),
        "model 'scripted-1' reasoned and answered nothing; say in the prompt what the answer is to be, or set "
        "model= to another",
        finish="stop",
    ),
    Case(
        "a refusal",
        says("", refusal="I cannot help with that."),
        "model 'scripted-1' refuses to answer: I cannot help with that; change the prompt, or set model= to another",
        finish="content_filter",
    ),
    Case(
        "a content filter",
        says("Half a", finish="content_filter"),
        "the filter of HOST withheld the answer of model 'scripted-1'; change the prompt, or set model= to another",
        finish="content_filter",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_fault_is_one_line(lab: Lab, case: Case) -> None:
    lab.server.will(case.act)
    asked = await lab.ask(retries=0, **case.step)
    assert (asked.status, lab.named(asked.error)) == ("failed", case.line)
    (row,) = asked.calls
    assert (row["status"], lab.named(row["error"]), row["attempts"]) == ("failed", case.line, 1)
    assert row["finish_reason"] == case.finish
    assert asked.output is None


async def test_no_model(lab: Lab) -> None:
    asked = await lab.ask(model=None)
    assert asked.error == (
        "no model is configured; set model= in the step, or THE_BRAIN_LLM_MODEL (model in [plugins.llm] of brain.toml)"
    )
    assert asked.calls == []


async def test_no_server(lab: Lab) -> None:
    asked = await lab.ask(provider_url=None)
    assert asked.error == (
        "no server is configured for model 'scripted-1'; set provider_url= in the step or THE_BRAIN_LLM_PROVIDER_URL "
        "(such as http://127.0.0.1:11434/v1), or write the model with its provider "
        "(openai:…, anthropic:…, google:…, groq:…, openrouter:…, xai:…)"
    )


async def test_a_misspelt_named_model_is_guessed(lab: Lab) -> None:
    settings = LLMSettings.model_validate({"models": {"careful": {"model": "m", "provider_url": lab.server.url}}})
    asked = await lab.ask(settings, model="carefull", provider_url=None)
    assert asked.error.startswith(
        "no server is configured for model 'carefull' (did you mean the named model 'careful'?); set provider_url="
    )


async def test_no_server_there(lab: Lab) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        asked = await lab.ask(provider_url=url, retries=0)
    assert asked.error == (
        f"no server answers at {url} (Connection refused); start it, or set provider_url to where it is"
    )
    assert [row["status"] for row in asked.calls] == ["failed"]


async def test_a_connection_that_is_not_taken(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brain_llm.wire.CONNECT", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first, socket.socket() as second:
        # Nobody accepts, and one connection is all that may wait.
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        asked = await lab.ask(provider_url=url, retries=0)
    assert asked.error == (
        f"no server answers at {url} (no connection within 0.3 s); start it, or set provider_url to where it is"
    )


async def test_an_unknown_model_names_the_nearest(lab: Lab) -> None:
    lab.server.models = ("scripted-1", "llama-3.3-70b", "qwen3:4b")
    lab.server.will(unknown_model(lab.server.models))
    asked = await lab.ask(model="llama-3.3-70")
    assert lab.named(asked.error) == (
        "HOST has no model 'llama-3.3-70'; did you mean 'llama-3.3-70b'? (it has: scripted-1, llama-3.3-70b, "
        "qwen3:4b); set model="
    )
    assert lab.server.listed == 1


async def test_an_unknown_model_of_a_server_that_lists_none(lab: Lab) -> None:
    lab.server.models_act = fails(404, "no list")
    lab.server.will(unknown_model(["other"]))
    asked = await lab.ask(model="mine")
    assert lab.named(asked.error) == (
        "HOST has no model 'mine' (404): The model `mine` does not exist (there are other); set model="
    )


async def test_a_redirect_is_not_followed(lab: Lab) -> None:
    async def moves(request: Any, talk: Any) -> None:
        await talk.whole(307, "", Location="http://elsewhere.example/v1")

    lab.server.will(moves)
    asked = await lab.ask(retries=0)
    assert lab.named(asked.error) == (
        "URL sends its callers on to http://elsewhere.example/v1 (307); set provider_url to that server's API"
    )


async def test_a_body_without_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_BODY", 2_000_000)
    for act in (body_without_end(), body_without_end(500), body_without_end(kind="text/event-stream")):
        lab.server.will(act)
        asked = await lab.ask(retries=0, timeout=30)
        assert asked.status == "failed"
        assert "\n" not in asked.error
        assert len(asked.error) < 1_000


async def test_an_answer_without_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from brain_llm import call

    monkeypatch.setattr(call, "MAX_ANSWER", 5_000)
    lab.server.will(says_for_ever("and so on " * 10))
    asked = await lab.ask(retries=0)
    assert lab.named(asked.error) == (
        "HOST sends an answer of over 5,000 characters and was cut off; set max_tokens= to bound the answer"
    )


async def test_silence_ends_at_the_stall_limit(lab: Lab) -> None:
    lab.server.will(says_and_stalls())
    asked = await lab.ask(stall=0.2, retries=0, timeout=60)
    assert lab.named(asked.error) == (
        "HOST sent no token for 0.2 s; set stall= higher, or see why model 'scripted-1' is slow"
    )
    lab.server.will(says_and_stalls("Once", " upon"))
    asked = await lab.ask(stall=2, retries=0, timeout=60)
    assert lab.named(asked.error) == (
        "HOST sent no further token for 2 s; set stall= higher, or see why model 'scripted-1' is slow"
    )
    assert asked.calls[0]["first_token_ms"] is not None


async def test_a_stream_that_trickles_ends_at_the_time_limit(lab: Lab) -> None:
    assert (await lab.ask()).status == "success"  # what is imported late is there from here on
    lab.server.will(says_for_ever("tick ", pause=0.05))
    asked = await lab.ask(timeout=4, stall=30)
    assert asked.status == "failed"
    assert "4 s" in asked.error
    (row,) = asked.calls
    assert row["status"] == "failed"
    assert row["first_token_ms"] is not None


@pytest.mark.parametrize("ending", ["[DONE]", "message_stop"])
async def test_words_of_the_model_do_not_end_a_stream(lab: Lab, ending: str) -> None:
    async def act(request: Any, talk: Any) -> None:
        await talk.begin()
        await talk.event(part(request, {"content": f"I say {ending}"}))
        await talk.end()

    lab.server.will(act)
    asked = await lab.ask(retries=0)
    assert asked.status == "failed"
    assert "before the answer was complete" in asked.error
