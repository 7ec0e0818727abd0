"""Connections that swallow what goes over them, at each kind of commit of a run: every write is there, once.

Between the recorder and the real server stands a TCP proxy. A swallowed COMMIT reply may mean done (G17).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest

from brain_core.errors import DatabaseUnreachable
from brain_core.run import PlannedStep
from brain_core.store import fires, queue, runs, triggers
from brain_core.store.database import Database
from brain_core.store.fires import Fire
from brain_core.store.queue import NewRun

FLOW = """
from brain_core import FunctionStep, Workflow

def one():
    return 1

workflow = Workflow(name="flow", steps=[FunctionStep(name="one", function=one)])
"""
Fault = Literal["everything", "reply"]
# BindComplete: the beginning of the answer to a statement that has run (and, without a transaction, is committed).
BIND_COMPLETE = b"2\x00\x00\x00\x04"


class Proxy:
    """Passes connections on to the server; a fault that is set hits those that exist at that moment."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._links: list[Link] = []
        self._server: asyncio.Server | None = None
        self.sent = bytearray()
        """What clients have sent."""
        self.whole = False
        """Whether new connections are swallowed too."""

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        account = self._parts.netloc.rpartition("@")[0] or "brain"
        return f"postgresql://{account}@127.0.0.1:{port}{self._parts.path}?sslmode=disable"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.end()
        await asyncio.gather(*(link.over for link in self._links), return_exceptions=True)

    def swallow(self, fault: Fault) -> None:
        for link in self._links:
            link.fault = fault

    @property
    def swallowed(self) -> int:
        return sum(link.swallowed for link in self._links)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = parse_qs(self._parts.query).get("host", [""])[0] or self._parts.hostname or "localhost"
        port = self._parts.port or 5432
        if host.startswith("/"):
            upstream = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            upstream = await asyncio.open_connection(host, port)
        link = Link((reader, writer), upstream, self.sent)
        link.fault = "everything" if self.whole else None
        self._links.append(link)
        await link.over


class Link:
    """One connection through the proxy."""

    def __init__(self, client: Any, server: Any, sent: bytearray) -> None:
        self.fault: Fault | None = None
        self._sent = sent
        self.swallowed = 0
        self._writers = (client[1], server[1])
        self.over = asyncio.gather(
            self._pass(client[0], server[1], up=True), self._pass(server[0], client[1], up=False)
        )

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        try:
            while data := await reader.read(65536):
                if up:
                    self._sent += data
                if self.fault == "reply" and not up and BIND_COMPLETE in data:
                    self.fault = "everything"  # it is committed, and nobody will hear of it
                if self.fault == "everything":
                    self.swallowed += 1
                else:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            if self.fault != "everything":
                self.end()

    def end(self) -> None:
        for writer in self._writers:
            writer.close()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    made = Proxy(database_url)
    yield made
    await made.stop()


@pytest.mark.parametrize("fault", ["everything", "reply"])
@pytest.mark.parametrize("commit", ["start", "step", "end"])
async def test_each_commit_of_a_run_is_there_once(
    commit: str, fault: Fault, proxy: Proxy, db: Database, make: Any
) -> None:
    async with await Database.open(await proxy.start()) as through:
        recorder = make.recorder(through, reply_timeout=0.5)
        begun = make.start()
        for name, write in (
            ("start", lambda: recorder.start_run(begun)),
            ("step", lambda: recorder.finish_step(make.step(begun.run_id, 0, "one"))),
            ("end", lambda: recorder.finish_run(make.success(begun.run_id, ("mail",)))),
        ):
            if name == commit:
                proxy.swallow(fault)
            await write()
            if name == commit:
                assert proxy.swallowed, "the fault has hit nothing"
    run = await runs.get(db, begun.run_id)
    assert (run.status, run.position) == ("success", 1)
    assert [(step.name, step.attempt, step.status) for step in run.steps] == [
        ("one", 1, "success"),
        ("two", 1, "success"),
    ]
    assert len(await make.sql(db, "SELECT FROM brain.deliveries")) == 1
    assert await runs.counts(db) == {"success": 1}


async def test_runs_that_share_a_swallowed_commit_are_all_there_once(proxy: Proxy, db: Database, make: Any) -> None:
    async with await Database.open(await proxy.start()) as through:
        recorder = make.recorder(through, reply_timeout=0.5)
        begun = [make.start() for _ in range(20)]
        for fault in ("everything", "reply"):
            proxy.swallow(fault)
            await asyncio.gather(*(recorder.start_run(one) for one in begun))
        proxy.swallow("reply")
        await asyncio.gather(*(recorder.finish_step(make.step(one.run_id, 0, "one")) for one in begun))
        proxy.swallow("reply")
        await asyncio.gather(*(recorder.finish_run(make.success(one.run_id)) for one in begun))
    assert await runs.counts(db) == {"success": 20}
    assert len(await make.sql(db, "SELECT FROM brain.step_runs")) == 40


async def test_a_network_that_stays_a_black_hole_is_given_up(proxy: Proxy, db: Database, make: Any) -> None:
    async with await Database.open(await proxy.start()) as through:
        recorder = make.recorder(through, reply_timeout=0.2, patience=0.0)
        proxy.whole = True
        proxy.swallow("everything")
        with pytest.raises(DatabaseUnreachable):
            await recorder.start_run(make.start())
    assert await runs.counts(db) == {}


async def test_a_connection_that_was_cut_while_idle_is_not_noticed(database_url: str, make: Any) -> None:
    gone: list[bool] = []

    async def cut() -> None:
        async with await Database.open(database_url) as other:
            rows = await make.sql(
                other,
                "SELECT pg_terminate_backend(pid, 10000) AS gone FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            )
            gone.extend(row["gone"] for row in rows)

    async with await Database.open(database_url) as database:
        assert await runs.counts(database) == {}
        # This loop stands still meanwhile: the next statement is the first to meet the end of the connection.
        thread = threading.Thread(target=lambda: asyncio.run(cut()))
        thread.start()
        thread.join()
        assert gone == [True]
        assert await runs.counts(database) == {}


@pytest.mark.parametrize("pooler", [False, True])
async def test_behind_a_pooler_nothing_is_asked_for_that_it_refuses(
    pooler: bool, proxy: Proxy, database_url: str, tmp_path: Path
) -> None:
    flow = tmp_path / "flow.py"
    flow.write_text(FLOW)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "brain_core", "run", str(flow)],
        env={
            **os.environ,
            "THE_BRAIN_DATABASE_URL": await proxy.start(),
            "THE_BRAIN_DATABASE_POOLER": str(pooler),
            "THE_BRAIN_BEAT": "0.05",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # Statements with names of their own, and settings at the start of a connection.
    assert [word in proxy.sent for word in (b"__asyncpg_stmt", b"plan_cache_mode")] == [not pooler] * 2
    assert b"application_name" in proxy.sent


async def test_a_result_that_arrives_late_does_not_take_the_run_back(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start(steps=("one", "two", "three"))
    await recorder.start_run(begun)
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    await recorder.finish_step(make.step(begun.run_id, 1, "two"))
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    assert (await runs.get(db, begun.run_id)).position == 2


STEP = (PlannedStep("one", "noop"),)


@pytest.mark.parametrize("fault", ["everything", "reply"])
@pytest.mark.parametrize("commit", ["register", "fire", "enqueue", "claim", "cancel", "release"])
async def test_each_commit_of_the_queue_is_there_once(
    commit: str, fault: Fault, proxy: Proxy, db: Database, make: Any
) -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    steps = [{"name": "one", "type": "noop"}]
    given = triggers.NewTrigger("a", "test", {}, "flow", "/f.py", "", {}, steps, next_due_at=noon)
    first, second, me = NewRun("flow", "/f.py", STEP), NewRun("flow", "/f.py", STEP), make.worker()
    async with await Database.open(await proxy.start(), command_timeout=2) as through:

        async def at(name: str, work: Callable[[], Awaitable[Any]]) -> Any:
            if name == commit:
                proxy.swallow(fault)
                with pytest.raises(DatabaseUnreachable):
                    await work()
                assert proxy.swallowed, "the fault has hit nothing"
            return await work()

        await at("register", lambda: triggers.register(through, given, noon))
        fire = Fire(given.id, 1, noon, [noon], None, None)
        await at("fire", lambda: fires.fire(through, [fire], noon))
        for run in (first, second):
            await at("enqueue" if run is first else "", lambda run=run: queue.enqueue(through, run))  # type: ignore[misc]
        claimed = await at("claim", lambda: queue.claim(through, me, 2, known=[]))
        assert [one.run_id for one in claimed] == [fire.run_ids[0], first.run_id]
        assert await at("cancel", lambda: queue.cancel_request(through, second.run_id, "x", ["mail"])) == "cancelled"
        await at("release", lambda: queue.release(through, me.id, [(first.run_id, 1)]))
    assert await runs.counts(db) == {"queued": 1, "running": 1, "cancelled": 1}
    assert [(one.outcome, one.run_id) for one in await fires.ledger(db, given.id)] == [("fired", fire.run_ids[0])]
    assert len(await fires.revisions(db, given.id)) == 1
    assert len(await make.sql(db, "SELECT FROM brain.deliveries")) == 1
