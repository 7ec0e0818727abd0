"""Deliveries that become runs: once for each key, many in one commit, and committed when they are answered (G14)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from brain_core.app import Brain, recent
from brain_core.errors import DatabaseError, DatabaseUnreachable, InputError, TriggerNotFound
from brain_core.store import runs, triggers
from brain_core.store.database import Database
from brain_core.store.enqueuer import Accepted, Enqueuer
from brain_core.store.triggers import NewTrigger, TriggerRow

PAYLOAD = {"body": {"n": 1}, "headers": {"x-event": "push"}, "event": "push", "id": "d1"}


async def hook(db: Database, name: str = "hook", **more: Any) -> TriggerRow:
    now = await triggers.clock(db)
    values: dict[str, Any] = {
        "name": name,
        "type": "webhook",
        "config": {},
        "workflow_name": "flow",
        "file": "/flow.py",
        "host": "",
        "inputs": {"n": 7},
        "planned_steps": [{"name": "one", "type": "noop"}],
        "overlap": "allow",
    }
    return await triggers.register(db, NewTrigger(**(values | more)), now)


async def sql(db: Database, text: str, *args: Any) -> list[Any]:
    async with db.session() as session:
        rows: list[Any] = await session.connection.fetch(text, *args)
        return rows


async def test_a_delivery_is_a_queued_run_of_its_trigger(brain: Brain) -> None:
    row = await hook(brain.db)
    accepted = await brain.accept("hook", "webhook", PAYLOAD, "d1")
    run = await runs.get(brain.db, accepted.run_id)
    assert not accepted.repeated
    assert (run.status, run.workflow, run.file, run.inputs) == ("queued", "flow", "/flow.py", {"n": 7})
    assert run.trigger == {**PAYLOAD, "type": "webhook", "name": "hook"}
    (found,) = await sql(brain.db, "SELECT trigger_id, due_at FROM brain.runs")
    assert (found["trigger_id"], found["due_at"]) == (row.id, None)


async def test_the_same_delivery_is_the_same_run_for_its_trigger_alone(brain: Brain) -> None:
    await hook(brain.db), await hook(brain.db, "other")
    first = await brain.accept("hook", "webhook", PAYLOAD, "d1")
    assert await brain.accept("hook", "webhook", {"body": "another"}, "d1") == Accepted(first.run_id, True)
    other = await brain.accept("other", "webhook", PAYLOAD, "d1")
    nameless = [await brain.accept("hook", "webhook", PAYLOAD) for _ in range(2)]
    assert not any(one.repeated for one in (other, *nameless))
    assert len({first.run_id, other.run_id, *(one.run_id for one in nameless)}) == 4
    assert (await runs.get(brain.db, first.run_id)).trigger == {**PAYLOAD, "type": "webhook", "name": "hook"}


async def test_a_thousand_at_once_are_a_thousand_runs_in_a_few_commits(brain: Brain) -> None:
    await hook(brain.db)
    accepted = await asyncio.gather(
        *(brain.accept("hook", "webhook", PAYLOAD, f"d{number}") for number in range(1_000))
    )
    assert not any(one.repeated for one in accepted)
    rows = await sql(brain.db, "SELECT id, xmin::text AS commit FROM brain.runs")
    assert {row["id"] for row in rows} == {one.run_id for one in accepted}
    assert len(rows) == 1_000
    assert len({row["commit"] for row in rows}) < 50


async def test_the_same_delivery_a_hundred_times_at_once_is_one_run(brain: Brain, database_url: str) -> None:
    row = await hook(brain.db)
    # In two processes' writers at once, too.
    async with await Database.open(database_url) as second:
        other = Enqueuer(second)
        ids = [UUID(int=number) for number in range(1, 6)]
        mine = Enqueuer(brain.db)
        answers = await asyncio.gather(
            *(writer.enqueue(run_id, row.id, "{}") for run_id in ids for writer in (mine, other) for _ in range(50))
        )
    assert all(answer is not None for answer in answers)
    assert sum(not answer.repeated for answer in answers if answer is not None) == 5
    assert len(await sql(brain.db, "SELECT FROM brain.runs")) == 5


async def test_paused_unregistered_of_another_type_and_unknown_look_the_same(brain: Brain) -> None:
    await hook(brain.db)
    await hook(brain.db, "gone")
    await hook(brain.db, "other", type="cron")
    # All of them known from a moment ago.
    for name in ("hook", "gone"):
        await brain.accept(name, "webhook", PAYLOAD, "before")
    now = await triggers.clock(brain.db)
    await triggers.pause(brain.db, "hook", now, None, None)
    await triggers.unregister(brain.db, "gone", now)
    texts = set()
    for name in ("hook", "gone", "other", "never", "nul\0", "\ud800"):
        # Not even what was accepted before the pause.
        for key in ("before", "after"):
            with pytest.raises(TriggerNotFound) as refused:
                await brain.accept(name, "webhook", PAYLOAD, key)
            texts.add(str(refused.value).replace(name, "NAME"))
    assert texts == {"nothing takes deliveries as 'NAME'"}
    assert len(await sql(brain.db, "SELECT FROM brain.runs")) == 2


async def test_a_name_that_another_one_has_by_now_is_found(brain: Brain) -> None:
    await hook(brain.db)
    first = await brain.accept("hook", "webhook", PAYLOAD, "d1")
    await triggers.unregister(brain.db, "hook", await triggers.clock(brain.db))
    again = await hook(brain.db)
    second = await brain.accept("hook", "webhook", PAYLOAD, "d1")
    assert second != first
    (row,) = await sql(brain.db, "SELECT trigger_id FROM brain.runs WHERE id = $1", second.run_id)
    assert row["trigger_id"] == again.id


async def test_what_is_new_or_changed_is_seen_after_a_moment(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(recent, "monotonic", lambda: clock)
    assert await brain.registered("hook", "webhook") is None
    row = await hook(brain.db)
    assert await brain.registered("hook", "webhook") is None
    clock = recent.REMEMBERED
    found = await brain.registered("hook", "webhook")
    assert found is not None
    assert found.id == row.id


async def test_hostile_values_are_kept_as_data_or_refused(brain: Brain) -> None:
    await hook(brain.db)
    hostile = {"body": {"a\0b": "\ud800", "c": "'; DROP TABLE brain.runs --", "d": 10**5_000}, "type": "x", "name": "y"}
    accepted = await brain.accept("hook", "webhook", hostile, "k\0\ud800")
    trigger = (await runs.get(brain.db, accepted.run_id)).trigger
    assert trigger is not None
    assert (trigger["type"], trigger["name"]) == ("webhook", "hook")
    assert trigger["body"]["c"] == "'; DROP TABLE brain.runs --"
    assert json.dumps(trigger).isascii()
    with pytest.raises(InputError, match="cannot be recorded"):
        await brain.accept("hook", "webhook", {"body": ["x" * 1_000_000] * 50}, "large")


async def test_one_that_the_database_refuses_is_one(db: Database) -> None:
    row = await hook(db)
    writer = Enqueuer(db)
    texts = ["{}"] * 7 + ["no json"] + ["{}"] * 7
    answers = await asyncio.gather(*(writer.enqueue(uuid4(), row.id, text) for text in texts), return_exceptions=True)
    assert isinstance(answers[7], DatabaseError)
    assert all(isinstance(answer, Accepted) and not answer.repeated for at, answer in enumerate(answers) if at != 7)
    assert len(await sql(db, "SELECT FROM brain.runs")) == 14


async def test_connections_that_are_cut_lose_nothing_and_make_nothing_twice(db: Database, database_url: str) -> None:
    row = await hook(db)
    ids = [uuid4() for _ in range(600)]
    async with await Database.open(database_url, pool_size=1) as cut:
        writer = Enqueuer(cut)
        waiting = []
        for at in range(0, 600, 20):
            waiting += [asyncio.create_task(writer.enqueue(run_id, row.id, "{}")) for run_id in ids[at : at + 20]]
            await asyncio.sleep(0)
            await sql(
                db,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    there = {found["id"] for found in await sql(db, "SELECT id FROM brain.runs")}
    accepted = {run_id for run_id, answer in zip(ids, answers, strict=True) if isinstance(answer, Accepted)}
    assert all(isinstance(answer, Accepted | DatabaseUnreachable) for answer in answers)
    assert accepted <= there <= set(ids)
    assert accepted
    # Whoever heard nothing comes again.
    last = Enqueuer(db)
    await asyncio.gather(*(last.enqueue(run_id, row.id, "{}") for run_id in ids))
    assert {found["id"] for found in await sql(db, "SELECT id FROM brain.runs")} == set(ids)


async def test_a_reply_that_does_not_come_is_asked_for_again(db: Database, database_url: str) -> None:
    row = await hook(db)
    async with await Database.open(database_url) as held:
        writer = Enqueuer(held, reply_timeout=0.2, patience=30)
        async with db.transaction() as session:
            # Somebody else is about to insert the same run: the statement waits for the end of that.
            run_id = uuid4()
            await session.connection.execute(
                "INSERT INTO brain.runs (id, created_at, status, workflow_name, file, planned_steps) "
                "VALUES ($1, now(), 'queued', 'flow', '/f', '[1]')",
                run_id,
            )
            waiting = asyncio.create_task(writer.enqueue(run_id, row.id, "{}"))
            done, _ = await asyncio.wait({waiting}, timeout=0.6)
            assert not done
        assert await waiting == Accepted(run_id, True)


async def test_a_database_that_is_away_is_said_soon(tmp_path: Path) -> None:
    writer = Enqueuer(Database(f"postgresql://a@/b?host={tmp_path}"), patience=0.2)
    with pytest.raises(DatabaseUnreachable):
        await writer.enqueue(uuid4(), uuid4(), "{}")


async def test_who_goes_away_leaves_the_delivery_on_its_way(db: Database) -> None:
    row = await hook(db)
    writer = Enqueuer(db)
    waiting = asyncio.create_task(writer.enqueue(UUID(int=1), row.id, "{}"))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await writer.enqueue(UUID(int=1), row.id, "{}") == Accepted(UUID(int=1), True)
    await writer.drain()
    assert len(await sql(db, "SELECT FROM brain.runs")) == 1
