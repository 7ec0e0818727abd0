"""What a service does with its brain in a real daemon: files in runner processes, accepted means durable (G14)."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from .conftest import House, Process
from .plugin import install_module

# Takes one request a line, as JSON, and answers it with what the brain has said: when it is answered, it is committed.
MODULE = """
import asyncio, json, os
from pathlib import Path
from brain_core import BrainError, hookimpl

class Desk:
    name = "desk"

    def __init__(self, brain):
        self.brain = brain

    async def start(self):
        path = Path(self.brain.settings.home) / "desk"
        path.unlink(missing_ok=True)
        self.server = await asyncio.start_unix_server(self.serve, path)
        return "is open"

    async def serve(self, reader, writer):
        while line := await reader.readline():
            what, given = json.loads(line)
            try:
                answer = await getattr(self, what)(**given)
            except BrainError as error:
                answer = {"error": type(error).__name__, "text": str(error)}
            writer.write(json.dumps(answer, default=str).encode() + b"\\n")
            await writer.drain()
        writer.close()

    async def pid(self):
        return os.getpid()

    async def begin(self, file=None, name=None, inputs={}, key=None):
        what = Path(file) if file else name
        return await self.brain.start_run(what, inputs, source={"type": "desk"}, idempotency_key=key)

    async def wait(self, run_id):
        from uuid import UUID
        run = await self.brain.wait(UUID(run_id), 60)
        return [run.status, [step.output for step in run.steps]]

    async def events(self, run_id):
        from uuid import UUID
        return [[one.kind, one.step_name, one.run and one.run.status] async for one in self.brain.events(UUID(run_id))]

    async def fire(self, name, inputs={}):
        return (await self.brain.triggers.fire_now(name, inputs)).id

    async def accept(self, name, key, payload={}):
        return await self.brain.accept(name, "desk", payload, key)

    async def health(self):
        return await self.brain.health()

    async def stop(self, grace):
        self.server.close()

@hookimpl
def brain_services(brain):
    return [Desk(brain)]
"""


async def said(house: House, what: str, **given: Any) -> Any:
    reader, writer = await asyncio.open_unix_connection(house.folder / "desk")
    writer.write(json.dumps([what, given]).encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    return json.loads(answer)


TELL = """
from brain_core import TextTemplate

class Tell(Step):
    text: TextTemplate
    def run(self, ctx):
        return str(self.text)
"""

# Who imports the file notes it: the daemon itself must never be among them.
IMPORTED = "note(f'imported by {os.getpid()}')"


@pytest.fixture
def desk(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    install_module(house, monkeypatch, "desk", MODULE)
    return house


async def test_workflow_files_are_loaded_in_processes_of_their_own(desk: House) -> None:
    daemon = await desk.daemon()
    file = desk.flow("Note(name='one'), Held(name='two')", body=IMPORTED, inputs="{'n': 1}")
    desk.go("two")
    run_id, created = await said(desk, "begin", file=str(file), inputs={"n": 2})
    assert created
    assert await said(desk, "wait", run_id=run_id) == ["success", ["one", "two"]]
    events = await said(desk, "events", run_id=run_id)
    assert [event for event in events if event[0] == "step"] == [["step", "one", None], ["step", "two", None]]
    assert events[-1] == ["state", "", "success"]
    refused = await said(desk, "begin", file=str(file), inputs={"n": "two"})
    assert refused["error"] == "InputError"
    bad = desk.flow("1 / 0", name="bad", body=IMPORTED)
    assert (await said(desk, "begin", file=str(bad)))["error"] == "WorkflowFileError"
    await desk.schedule(file, name="mine", next_due_at=None)
    fired = await said(desk, "fire", name="mine", inputs={"n": "3"})
    assert (await said(desk, "wait", run_id=fired))[0] == "success"
    assert await said(desk, "health") == [True, True]
    imported = {line.split()[-1] for line in desk.journal if line.startswith("imported by")}
    assert imported
    assert str(await said(desk, "pid")) == str(daemon.pid)
    assert str(daemon.pid) not in imported


async def test_what_was_accepted_outlives_a_kill_and_the_same_key_is_the_same_run(desk: House) -> None:
    daemon = await desk.daemon(concurrency=1)
    file = desk.flow("Held(name='one')", on_interrupt="'resume'")
    first, _ = await said(desk, "begin", file=str(file), key="0")
    await desk.began("one", 1, daemon)
    # Accepted while the one worker is busy, and killed the moment the answer is here.
    accepted = [(await said(desk, "begin", file=str(file), key=str(number)))[0] for number in range(1, 8)]
    daemon.kill(signal.SIGKILL)
    await daemon.ended()
    assert {str(row["id"]) for row in await desk.sql("SELECT id FROM brain.runs")} == {first, *accepted}
    desk.go("one")
    again = await desk.daemon(concurrency=4)
    for number, run_id in enumerate([first, *accepted]):
        # Who did not hear the answer asks again.
        assert await said(desk, "begin", file=str(file), key=str(number)) == [run_id, False]
        assert (await desk.ended(UUID(run_id), again)).status == "success"
    assert len(await desk.sql("SELECT FROM brain.runs")) == 8


async def killed_while(
    desk: House, daemon: Process, what: str, times: int, **given: Any
) -> tuple[dict[int, str], set[str]]:
    """Ask so often at once, under the keys 0, 1, …, and kill the daemon at the first answer.

    Returns the run of each key that was answered, and all runs that are there.
    """
    asked = [asyncio.ensure_future(said(desk, what, key=str(number), **given)) for number in range(times)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    daemon.kill(signal.SIGKILL)
    await daemon.ended()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    heard = {number: answer[0] for number, answer in enumerate(answers) if isinstance(answer, list)}
    there = {str(row["id"]) for row in await desk.sql("SELECT id FROM brain.runs")}
    assert heard
    assert set(heard.values()) <= there
    return heard, there


async def test_who_is_cut_off_in_mid_request_asks_again_and_gets_one_run(desk: House) -> None:
    daemon = await desk.daemon(concurrency=1)
    file = Path(desk.flow("Note(name='one')"))
    # Killed anywhere between the request and its answer.
    heard, _ = await killed_while(desk, daemon, "begin", 50, file=str(file))
    again = await desk.daemon()
    for number in range(50):
        run_id, _ = await said(desk, "begin", file=str(file), key=str(number))
        assert heard.get(number, run_id) == run_id
    assert len(await desk.sql("SELECT FROM brain.runs")) == 50
    again.kill()
    await again.ended()


async def test_deliveries_that_were_accepted_outlive_a_kill_and_come_again_as_the_same_runs(desk: House) -> None:
    daemon = await desk.daemon()
    file = desk.flow("Note(name='one')")
    await desk.schedule(file, name="desk", type="desk", config={}, next_due_at=None)
    heard, there = await killed_while(desk, daemon, "accept", 100, name="desk")
    again = await desk.daemon()
    for number in range(100):
        run_id, repeated = await said(desk, "accept", name="desk", key=str(number))
        assert heard.get(number, run_id) == run_id
        assert repeated == (run_id in there)
    assert len(await desk.sql("SELECT FROM brain.runs")) == 100
    await desk.ended(UUID(run_id), again)
    again.kill()
    await again.ended()


async def test_steps_read_what_was_delivered_and_say_what_is_not_there(desk: House) -> None:
    daemon = await desk.daemon()
    template = "{trigger.event} {trigger.id} {trigger.body.user.name} {trigger.headers.x_event}"
    file = desk.flow(f"Tell(name='one', text={template!r})", body=TELL)
    await desk.schedule(file, name="desk", type="desk", config={}, next_due_at=None)
    payload = {"event": "push", "id": "d1", "body": {"user": {"name": "ann"}}, "headers": {"x_event": "p"}}
    run_id, _ = await said(desk, "accept", name="desk", key="1", payload=payload)
    assert await said(desk, "wait", run_id=run_id) == ["success", ["push d1 ann p"]]
    for key, less in (("2", {**payload, "body": {}}), ("3", {**payload, "body": None}), ("4", {})):
        run_id, _ = await said(desk, "accept", name="desk", key=key, payload=less)
        run = await desk.ended(UUID(run_id), daemon)
        assert run.status == "failed"
        assert "trigger" in (run.error or "")
    run = await desk.ended(await desk.queue(file), daemon)
    assert run.status == "failed"
    assert "this run was not started by a trigger" in (run.error or "")
