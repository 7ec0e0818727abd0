"""Text is seen as it comes, and a step goes the same way through `brain run` and through a daemon's runner process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading

from .scripted import part, says, says_and_stalls, together

ASKS = """
from brain_core import Workflow
from brain_llm import LLMStep
workflow = Workflow(name="asks", steps=[LLMStep(name="ask", prompt="Say hello."{more})])
"""


def test_text_is_shown_while_the_model_still_writes(server, served, environment, tmp_path):
    gate = threading.Event()

    async def act(request, talk):
        await talk.begin()
        await talk.event(part(request, {"content": "once upon "}))
        await asyncio.to_thread(gate.wait, 60)
        await talk.event(part(request, {"content": "a time"}))
        await talk.event(part(request, {}, "stop"))
        await talk.event("[DONE]")
        await talk.end()

    server.will(act)
    (tmp_path / "asks.py").write_text(ASKS.format(more=""))
    with subprocess.Popen(
        [sys.executable, "-m", "brain_core", "run", "-v", "asks.py"],
        env={**environment, **served.environment},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        seen = b""
        # The answer is not complete before the gate is open, so this can only be read while it still comes.
        while b"once upon" not in seen:
            piece = os.read(process.stdout.fileno(), 4096)
            assert piece, seen
            seen += piece
        assert process.poll() is None
        gate.set()
        rest = process.stdout.read()
        assert process.wait(60) == 0
    assert b"a time" in rest


async def test_a_daemon_runs_it_in_a_process_of_its_own(server, served, house):
    server.will(says("hello from ", "afar"))
    (house.folder / "asks.py").write_text(ASKS.format(more=""))
    model = {"llm_provider_url": server.url, "llm_model": served.model}
    assert (await house.brain("register", "asks.py", "--cron", "0 0 1 1 *"))[0] == 0
    daemon = await house.daemon(**model)
    code, out = await house.brain("trigger", "asks", "--wait", "--json")
    assert code == 0, out
    rows = await house.sql("SELECT run_id::text, step, status, answer, attempts FROM brain_llm.calls")
    assert [tuple(row)[1:] for row in rows] == [("ask", "success", "hello from afar", 1)]
    run = rows[0]["run_id"]
    found = json.loads((await house.brain("show", run, "--json"))[1])
    assert found["steps"][0]["output"] == "hello from afar"
    assert found["plugins"]["llm"]["calls"] == 1
    daemon.kill()
    assert await daemon.ended() == 0


async def test_many_at_once_in_one_runner_process(server, served, house):
    server.will(together(8, says("all of us")))
    (house.folder / "asks.py").write_text(ASKS.format(more=", retries=0"))
    daemon = await house.daemon(llm_provider_url=server.url, llm_model=served.model)
    ids = [await house.queue(house.folder / "asks.py") for _ in range(8)]
    runs = [await house.ended(each, daemon) for each in ids]
    assert {run.status for run in runs} == {"success"}
    rows = await house.sql("SELECT count(*) AS calls, count(DISTINCT run_id) AS runs FROM brain_llm.calls")
    assert tuple(rows[0]) == (8, 8)


async def test_a_call_of_a_killed_daemon_stays_open(server, served, house):
    """Nobody knows what became of it, and the row says so (G13)."""
    server.will(says_and_stalls("half"))
    (house.folder / "asks.py").write_text(ASKS.format(more=""))
    daemon = await house.daemon(llm_provider_url=server.url, llm_model=served.model)
    run_id = await house.queue(house.folder / "asks.py")

    async def asked():
        return server.requests

    await house.until(asked, "the model is asked", daemon)
    daemon.popen.kill()
    daemon.popen.wait()
    other = await house.daemon(llm_provider_url=server.url, llm_model=served.model)
    run = await house.ended(run_id, other)
    assert run.status == "failed"
    rows = await house.sql("SELECT status, answer, ended_at FROM brain_llm.calls")
    assert [tuple(row) for row in rows] == [("open", None, None)]
