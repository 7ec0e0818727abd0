"""What services ask of a brain: start once for each key, wait, pages of the history, events from any point, health."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.app import Brain
from brain_core.config import load_settings
from brain_core.errors import (
    IdempotencyConflict,
    InputError,
    RunNotFound,
    TriggerNotFound,
    UsageError,
    WorkflowFileError,
)
from brain_core.plugin.manager import PluginManager
from brain_core.run import PlannedStep
from brain_core.store import live, queue, runs
from brain_core.store.queue import NewRun
from brain_core.store.recorder import Recorder, RunEnd, StepEnd
from brain_core.store.workers import WorkerIdentity

from .conftest import Since

SOURCE = {"type": "http", "token": "ann"}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def sql(brain: Brain, text: str, *args: Any) -> list[Any]:
    async with brain.db.session() as session:
        rows: list[Any] = await session.connection.fetch(text, *args)
        return rows


async def test_a_file_is_queued_with_its_inputs_and_who_asked(brain: Brain, flow: Path) -> None:
    run_id, created = await brain.start_run(flow, {"n": 3}, source=SOURCE)
    assert created
    run = await runs.get(brain.db, run_id)
    assert (run.status, run.inputs, run.trigger) == ("queued", {"who": "ann", "n": 3}, SOURCE)
    assert run.planned == (PlannedStep("say", "function"),)
    (row,) = await sql(brain, "SELECT host FROM brain.runs WHERE id = $1", run_id)
    assert row["host"] == socket.gethostname()


async def test_what_is_registered_is_queued_by_its_name(brain: Brain, registered_at: Since) -> None:
    row = await registered_at("mine", LONG_AGO, inputs={"n": 1, "who": "bob"})
    run_id, _ = await brain.start_run("mine", {"n": 5}, source=SOURCE)
    run = await runs.get(brain.db, run_id)
    assert (run.workflow, run.inputs) == ("flow", {"n": 5, "who": "bob"})
    assert run.trigger == {**SOURCE, "name": "mine"}
    (found,) = await sql(brain, "SELECT trigger_id FROM brain.runs WHERE id = $1", run_id)
    assert found["trigger_id"] == row.id


@pytest.mark.parametrize("inputs", [{}, {"n": "3"}, {"n": 3, "whom": "x"}], ids=str)
async def test_inputs_are_checked_as_json_before_anything_is_written(
    brain: Brain, flow: Path, registered_at: Since, inputs: dict[str, Any]
) -> None:
    await registered_at("mine", LONG_AGO)
    with pytest.raises(InputError):
        await brain.start_run(flow, inputs, source=SOURCE, idempotency_key="k")
    if inputs:
        with pytest.raises(InputError):
            await brain.start_run("mine", inputs, source=SOURCE)
    assert not await sql(brain, "SELECT FROM brain.runs")


async def test_what_is_not_there_is_said(brain: Brain, tmp_path: Path) -> None:
    with pytest.raises(TriggerNotFound):
        await brain.start_run("nothing", {}, source=SOURCE)
    with pytest.raises(WorkflowFileError):
        await brain.start_run(tmp_path / "nothing.py", {}, source=SOURCE)


async def test_the_same_key_gives_the_same_run(brain: Brain, flow: Path, registered_at: Since) -> None:
    await registered_at("mine", LONG_AGO)
    for what in (flow, "mine"):
        key = f"key of {what}"
        first = await brain.start_run(what, {"n": 3, "who": "x"}, source=SOURCE, idempotency_key=key)
        again = await brain.start_run(what, {"who": "x", "n": 3}, source=SOURCE, idempotency_key=key)
        assert (again.run_id, first.created, again.created) == (first.run_id, True, False)
        for other, inputs in ((what, {"n": 4, "who": "x"}), (f"{what}", {"n": 3}), ("other", {"n": 3, "who": "x"})):
            with pytest.raises(IdempotencyConflict, match="use a new key for a new run"):
                await brain.start_run(other, inputs, source=SOURCE, idempotency_key=key)
    # What was asked for by the key is done, whatever has become of the file.
    flow.unlink()  # noqa: ASYNC240
    again = await brain.start_run(flow, {"n": 3, "who": "x"}, source=SOURCE, idempotency_key=f"key of {flow}")
    assert not again.created
    (row,) = await sql(brain, "SELECT count(*) FROM brain.runs")
    assert row["count"] == 2


async def test_a_file_is_looked_for_when_the_run_is_new_alone(brain: Brain, flow: Path) -> None:
    async def find() -> Path:
        found.append("asked")
        return flow

    found: list[str] = []
    for what, key in (("flow.py", "k"), ("flow.py", "k"), ("./flow.py", "other")):
        await brain.start_run(what, {"n": 3}, source=SOURCE, idempotency_key=key, find=find)
    assert found == ["asked"] * 2
    # What is registered under a name is not the file that is called so.
    with pytest.raises(IdempotencyConflict):
        await brain.start_run("flow.py", {"n": 3}, source=SOURCE, idempotency_key="k")


async def test_the_same_key_a_hundred_times_at_once_is_one_run(brain: Brain, flow: Path) -> None:
    asked = (brain.start_run(flow, {"n": n % 2}, source=SOURCE, idempotency_key="k") for n in range(100))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    started = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, IdempotencyConflict)]
    assert (len(started), len(refused)) == (50, 50)
    assert sum(answer.created for answer in started) == 1
    assert len(await sql(brain, "SELECT FROM brain.runs")) == 1


async def queued(brain: Brain, **more: Any) -> UUID:
    new: dict[str, Any] = {
        "workflow": "flow",
        "file": "/f.py",
        "planned": [PlannedStep("a", "x"), PlannedStep("b", "x")],
    }
    return await queue.enqueue(brain.db, NewRun(**{**new, **more}))


async def test_waiters_are_woken_by_the_ends_of_their_runs(brain: Brain) -> None:
    ids = [await queued(brain) for _ in range(20)]
    waiting = [asyncio.create_task(brain.wait(run_id, 30)) for run_id in ids for _ in range(3)]
    done, _ = await asyncio.wait(waiting, timeout=0.3)
    assert not done
    await queue.cancel_request(brain.db, ids[0], "enough")
    run = await waiting[0]
    assert (run.id, run.status) == (str(ids[0]), "cancelled")
    await asyncio.gather(*waiting[:3])
    assert not any(task.done() for task in waiting[3:])
    for run_id in ids[1:]:
        await queue.cancel_request(brain.db, run_id, "enough")
    assert {run.status for run in await asyncio.gather(*waiting)} == {"cancelled"}
    # One that is over already, one for which the time is too short, one that is not there.
    assert (await brain.wait(ids[0], 30)).status == "cancelled"
    late = await queued(brain)
    assert (await brain.wait(late, 0.1)).status == "queued"
    with pytest.raises(RunNotFound):
        await brain.wait(uuid4(), 30)


async def test_who_goes_away_while_it_waits_leaves_the_others_and_nothing_behind(brain: Brain) -> None:
    run_id = await queued(brain)
    gone, stays = (asyncio.create_task(brain.wait(run_id, 30)) for _ in range(2))
    await asyncio.wait({gone, stays}, timeout=0.1)
    gone.cancel()
    await queue.cancel_request(brain.db, run_id, "enough")
    assert (await stays).status == "cancelled"
    waiters = brain._waiters
    assert waiters is not None
    assert not waiters._waiting
    while waiters._looking is not None:
        await asyncio.wait({waiters._looking})


async def pages(brain: Brain, limit: int, **filters: Any) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page, cursor = await brain.history_page(cursor=cursor, limit=limit, **filters)
        assert len(page) == limit or cursor is None
        found += [run.id for run in page]
        if cursor is None:
            return found


async def test_pages_of_the_history_hold_each_run_once(brain: Brain, registered_at: Since) -> None:
    mine, other = await registered_at("mine", LONG_AGO), await registered_at("other", LONG_AGO)
    # Many of the same moment: the cursor has to tell them apart.
    ids = [
        await queued(brain, workflow=f"w{n % 2}", trigger_id=(mine.id, other.id, None)[n % 3], run_id=UUID(int=n))
        for n in range(24)
    ]
    await sql(brain, "UPDATE brain.runs SET created_at = $1", LONG_AGO)
    later = LONG_AGO + timedelta(hours=1)
    await sql(brain, "UPDATE brain.runs SET created_at = $1 WHERE id > $2", later, UUID(int=11))
    for run_id in ids[::4]:
        await queue.cancel_request(brain.db, run_id, "enough")
    latest_first = [str(run_id) for run_id in reversed(ids)]

    def of(keep: Any) -> list[str]:
        return [run_id for run_id in latest_first if keep(UUID(run_id).int)]

    for limit in (1, 5, 24, 100):
        assert await pages(brain, limit) == latest_first
        assert await pages(brain, limit, workflow="w1") == of(lambda n: n % 2 == 1)
        assert await pages(brain, limit, trigger="mine") == of(lambda n: n % 3 == 0)
        assert await pages(brain, limit, trigger="mine", workflow="w0") == of(lambda n: n % 6 == 0)
        assert await pages(brain, limit, status="cancelled") == of(lambda n: n % 4 == 0)
        assert await pages(brain, limit, trigger="mine", status="cancelled") == of(lambda n: n % 12 == 0)
        assert await pages(brain, limit, trigger="mine", status="success") == []
        assert await pages(brain, limit, trigger="other", status="queued", workflow="w1") == of(
            lambda n: n % 3 == 1 and n % 4 and n % 2 == 1
        )
        assert await pages(brain, limit, since=later) == of(lambda n: n > 11)
        assert await pages(brain, limit, until=later) == of(lambda n: n <= 11)
        assert await pages(brain, limit, trigger="mine", until=later) == of(lambda n: n <= 11 and n % 3 == 0)
    # What comes meanwhile does not shift the pages.
    first, cursor = await brain.history_page(limit=5)
    await queued(brain)
    second, _ = await brain.history_page(limit=5, cursor=cursor)
    assert [run.id for run in (*first, *second)] == latest_first[:10]


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", "MjAyMC0wMS0wMVQwMDowMDowMCAx", "=", "a" * 5_000])
async def test_a_cursor_that_is_none_is_said(brain: Brain, cursor: str) -> None:
    with pytest.raises(UsageError, match="is no cursor"):
        await brain.history_page(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1_001])
async def test_a_page_has_a_bound(brain: Brain, limit: int) -> None:
    with pytest.raises(UsageError, match="limit is"):
        await brain.history_page(limit=limit)


WORKER = WorkerIdentity(uuid4(), "daemon", "host", "boot", "pids", 1, "1", "0", 3_600.0)


def ended(run_id: UUID, position: int) -> StepEnd:
    return StepEnd(run_id, 1, position, "ab"[position], "x", 1, "success", "1", None, "", "{}", 0.1, 0.0)


async def test_events_of_a_run_in_their_order_and_from_any_point(brain: Brain) -> None:
    run_id = await queued(brain)
    events = brain.events(run_id)
    first = await anext(events)
    assert (first.kind, first.run and first.run.status) == ("state", "queued")
    await queue.claim(brain.db, WORKER, 1)
    second = await anext(events)
    assert (second.kind, second.run and second.run.status) == ("state", "running")
    recorder = Recorder(brain.db, WORKER)
    texts = [live.Line(run_id, 1, number, position, f"line {number}") for number, position in ((1, 0), (2, 0), (3, 1))]
    await live.append(brain.db, WORKER.id, texts[:2])
    seen = [first, second, await anext(events), await anext(events)]
    await recorder.finish_step(ended(run_id, 0))
    await live.append(brain.db, WORKER.id, texts[2:])
    seen.append(await anext(events))
    await recorder.finish_run(RunEnd(run_id, 1, "success", None, ended(run_id, 1)))
    seen += [event async for event in events]
    assert [(event.kind, event.step_name, event.text) for event in seen] == [
        ("state", "", ""),
        ("state", "", ""),
        ("live", "a", "line 1"),
        ("live", "a", "line 2"),
        ("step", "a", ""),
        ("live", "b", "line 3"),
        ("step", "b", ""),
        ("state", "", ""),
    ]
    assert seen[-1].run is not None
    assert seen[-1].run.status == "success"
    # Whoever goes on after any of them hears the rest, and states that are gone are not made up.
    for at, event in enumerate(seen):
        rest = [(one.id, one.kind, one.text) async for one in brain.events(run_id, event.id)]
        expected = [(one.id, one.kind, one.text) for one in seen[at + 1 :] if one is not second]
        assert [one[1:] for one in rest] == [one[1:] for one in expected]
        if at:
            assert rest == expected
    with pytest.raises(RunNotFound):
        await anext(brain.events(uuid4()))


@pytest.mark.parametrize(
    "after", ["", "1", "1.2.3", "a.b.c.d", "-1.0.0.x", "1.-2.0.x", "9" * 30 + ".0.0.x", "1.0.0.x\n"]
)
async def test_an_id_of_an_event_that_is_none_is_said(brain: Brain, after: str) -> None:
    # Before anything is asked for: who has begun to answer cannot say it any more.
    with pytest.raises(UsageError, match="is no id of an event"):
        brain.events(uuid4(), after)


async def test_health_says_how_it_is_and_never_raises(brain: Brain, tmp_path: Path) -> None:
    assert await brain.health() == (True, False)
    await brain.db.fetch("daemon_beat", *WORKER._replace(boot_id="elsewhere").row, 1, 0, 0.0, [])
    assert (await brain.health()).well
    await sql(brain, "UPDATE brain.workers SET tick_at = tick_at - interval '1 minute'")
    assert await brain.health() == (True, False)
    settings = load_settings({"database_url": f"postgresql://{tmp_path}/nothing?host={tmp_path}"}, start=tmp_path)
    from brain_core.store.database import Database

    away = Brain(settings, PluginManager.load(settings.settings), Database("postgresql://a@127.0.0.1:1/x"), None)
    assert await away.health() == (False, False)
