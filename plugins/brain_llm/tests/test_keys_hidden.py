"""A key is nowhere but in the header that it is sent in (G23): not in a table, not in an output, not in a log."""

from __future__ import annotations

import base64
import json
import shlex
from urllib.parse import quote, quote_plus

import asyncpg
import pytest

from .conftest import MODEL
from .scripted import fails, says, sends

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


@pytest.mark.parametrize("act", [echo, echo_page, echo_answer, echo_stream_error], ids=lambda act: act.__name__)
@pytest.mark.parametrize("place", ["environment", "setting", "settings file"])
async def test_a_key_is_nowhere(server, brain, tmp_path, database_url, act, place):
    server.will(act)
    environment = {"THE_BRAIN_LLM_PROVIDER_URL": server.url, "THE_BRAIN_LLM_MODEL": MODEL}
    folder = tmp_path / "work"
    more = ""
    if place == "environment":
        environment["MY_KEY"], more = KEY, ", api_key='env:MY_KEY'"
    elif place == "setting":
        environment["THE_BRAIN_LLM_API_KEY"] = KEY
    else:
        (folder / "brain.toml").write_text(f"[plugins.llm]\napi_key = {json.dumps(KEY)}\n")
    (folder / "asks.py").write_text(FLOW.format(more=more))
    said = []
    for arguments in (
        ["run", "-v", "asks.py"],
        ["run", "--json", "asks.py"],
        ["history", "--json"],
        ["config"],
        ["config", "--json"],
        ["llm", "check"],
        ["llm", "usage", "--json"],
        ["plugins", "list", "--json"],
    ):
        done = brain(*arguments, env=environment)
        assert "Traceback" not in done.stderr
        said.append(done.stdout + done.stderr)
    run = json.loads(said[2])[0]["id"]
    said += [brain("show", run, "--json", env=environment).stdout, brain("show", run, env=environment).stdout]
    # The test can fail: the key did go out.
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    whole = "\n".join([*said, await everything_in(database_url)])
    assert not [form for form in forms(KEY) if form in whole]


def test_a_literal_key_in_a_file_is_refused_and_not_shown(brain, tmp_path):
    (tmp_path / "work" / "asks.py").write_text(FLOW.format(more=f", api_key={KEY!r}"))
    done = brain("run", "asks.py")
    assert done.returncode == 1
    assert "api_key='env:NAME'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not [form for form in forms(KEY) if form in done.stderr + done.stdout]
