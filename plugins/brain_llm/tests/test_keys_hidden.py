"""A key is nowhere but in the header that it is sent in (G23): not in a table, not in an output, not in a log."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
from urllib.parse import quote, quote_plus

import asyncpg
import pytest

from .scripted import fails, part, says, says_then_drops, sends

KEY = "sk-Geheim/+ä\"'$&%\\42xyz".replace("ä", "ae")
FLOW = """
from brain_llm import LLMStep
from brain_core import Workflow

workflow = Workflow(name="asks", steps=[LLMStep(name="ask", prompt="Say hello.", retries=1{more})])
"""


def forms(key: str) -> set[str]:
    """The ways in which a key could stand somewhere."""
    data = key.encode()
    return {
        key,
        json.dumps(key)[1:-1],
        json.dumps(json.dumps(key)[1:-1])[1:-1],
        quote(key, safe=""),
        quote(key),
        quote_plus(key),
        shlex.quote(key)[1:-1],
        base64.b64encode(data).decode().rstrip("="),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        repr(key)[1:-1],
        # What would be left of it were it cut: half of a key is too much.
        key[: len(key) // 2],
        key[len(key) // 2 :],
    }


async def everything_in(url: str) -> str:
    """Return all that is in a database, table by table."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        assert len(tables) > 5
        found = [str(await connection.fetch(f"SELECT t::text FROM {table['name']} t")) for table in tables]
        return "\n".join(found)
    finally:
        await connection.close()


def echo(request, talk):
    """Refuse a key as OpenAI does, with the key in it."""
    return fails(401, f"Incorrect API key provided: {request.headers['authorization'][7:]}")(request, talk)


async def echo_page(request, talk):
    key = request.headers["authorization"][7:]
    await sends(f"proxy: {key} {quote(key, safe='')} {base64.b64encode(key.encode()).decode()}", 500, "text/plain")(
        request, talk
    )


async def echo_answer(request, talk):
    key = request.headers["authorization"][7:]
    # In pieces, so that no piece holds it.
    await says("your key is ", key[:7], key[7:], " and ", json.dumps(key))(request, talk)


async def echo_stream_error(request, talk):
    key = request.headers["authorization"][7:]
    await talk.begin()
    await talk.event(json.dumps({"error": {"message": f"bad key {key}", "type": "x"}}))
    await talk.end()


async def echo_escaped(request, talk):
    """Answer with a key that is none before the answer has been read as JSON."""
    key = request.headers["authorization"][7:]
    escaped = "".join(f"\\u{ord(char):04x}" for char in key)
    await says(f'{{"result": "{escaped}"}}')(request, talk)


async def echo_usage(request, talk):
    """Count a key where a number of tokens belongs."""
    key = request.headers["authorization"][7:]
    usage = {"prompt_tokens": key, "completion_tokens": key, "total_tokens": key}
    await talk.begin()
    await talk.event({**part(request, {"content": "fine"}, "stop"), "usage": usage})
    await talk.event("[DONE]")
    await talk.end()


async def echo_half(request, talk):
    """Break off in the middle of a key."""
    key = request.headers["authorization"][7:]
    await says_then_drops(key[:9], key[9:-1])(request, talk)


PLACES = ["environment", "setting", "settings file"]
ECHOES = [echo, echo_page, echo_answer, echo_stream_error, echo_half]
# Each place, and each way to give a key back; not all of them, since each takes seconds.
BOTH = [*((PLACES[0], act) for act in ECHOES), *((place, ECHOES[0]) for place in PLACES[1:])]


@pytest.mark.parametrize(("place", "act"), BOTH, ids=[f"{place}-{act.__name__}" for place, act in BOTH])
async def test_a_key_is_nowhere(server, configured, here, files, monkeypatch, database_url, place, act):
    server.will(act)
    more = ""
    if place == "environment":
        monkeypatch.setenv("MY_KEY", KEY)
        more = ", api_key='env:MY_KEY'"
    elif place == "setting":
        monkeypatch.setenv("THE_BRAIN_LLM_API_KEY", KEY)
    else:
        (files / "brain.toml").write_text(f"[plugins.llm]\napi_key = {json.dumps(KEY)}\n")
    (files / "asks.py").write_text(FLOW.format(more=more))

    async def brain(*arguments: str) -> str:
        # Its own event loop, in a thread of its own.
        _, out, err = await asyncio.to_thread(here, *arguments)
        assert "Traceback" not in err
        return out + err

    said = [await brain("run", "-v", "asks.py"), await brain("config"), await brain("config", "--json")]
    run = json.loads(await brain("history", "--json"))[0]["id"]
    said += [await brain(*one) for one in (("show", run), ("show", run, "--json"), ("llm", "usage"), ("llm", "check"))]
    # The test can fail: the key did go out.
    assert f"Bearer {KEY}" in {request.headers["authorization"] for request in server.requests}
    whole = "\n".join([*said, await everything_in(database_url)])
    assert "Say hello." in whole
    assert not [form for form in forms(KEY) if form in whole]


async def test_a_key_in_a_typed_answer_is_nowhere(lab, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    lab.server.will(echo_escaped)
    asked = await lab.ask(api_key="env:MY_KEY", output={"type": "object"})
    assert asked.output == {"result": "***"}
    whole = f"{asked.output}{asked.details}{await everything_in(lab.url)}"
    assert not [form for form in forms(KEY) if form in whole]


@pytest.mark.parametrize("warned", ["default", "error"])
def test_a_key_among_the_numbers_is_no_warning(server, served, brain, files, warned):
    server.will(echo_usage)
    (files / "asks.py").write_text(FLOW.format(more=", api_key='env:MY_KEY'"))
    env = {**served.environment, "MY_KEY": KEY, "PYTHONWARNINGS": warned, "OPENAI_LOG": "debug"}
    done = brain("run", "-v", str(files / "asks.py"), env=env)
    assert done.returncode == 0, done
    said = done.stdout + done.stderr
    assert "fine" in said
    assert not [form for form in forms(KEY) if form in said]


def test_a_literal_key_in_a_file_is_refused_and_not_shown(here, files):
    (files / "asks.py").write_text(FLOW.format(more=f", api_key={KEY!r}"))
    code, out, err = here("run", "asks.py")
    assert code == 1
    assert "api_key='env:NAME'" in err
    assert not [form for form in forms(KEY) if form in out + err]
