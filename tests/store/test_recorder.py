"""The one writer: shared commits, the fence, lost replies, and one bad write staying one."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from brain_core.errors import ClaimLost, DatabaseError, DatabaseUnreachable
from brain_core.store import deliveries, runs, workers
from brain_core.store.database import Database
from brain_core.store.recorder import RunEnd


async def test_a_run_is_recorded_with_its_steps_version_and_deliveries(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    run_id = await make.run_once(recorder, receivers=("mail", "workflow"))
    run = await runs.get(db, run_id)
    assert (run.status, run.position, run.version, run.error) == ("success", 1, "digest", None)
    assert [(s.position, s.name, s.status, s.output) for s in run.steps] == [
        (0, "one", "success", "out of one"),
        (1, "two", "success", "out of two"),
    ]
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.started_at <= run.steps[0].ended_at <= run.steps[1].ended_at <= run.ended_at
    assert {d.receiver for d in await deliveries.list_deliveries(db)} == {"mail", "workflow"}


async def test_a_run_without_a_last_step_ends_too(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    await recorder.finish_run(RunEnd(begun.run_id, 1, "cancelled", "Ctrl-C", None, ()))
    run = await runs.get(db, begun.run_id)
    assert (run.status, run.error, run.steps, len(run.never_ran)) == ("cancelled", "Ctrl-C", (), 2)


async def test_a_step_result_moves_the_run_to_the_next_step(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    assert (await runs.get(db, begun.run_id)).position == 1


async def test_concurrent_runs_share_commits(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    ids = await asyncio.gather(*(make.run_once(recorder) for _ in range(200)))
    assert await runs.counts(db) == {"success": 200}
    commits = await make.sql(db, "SELECT count(DISTINCT xmin::text) AS n FROM brain.step_runs")
    assert commits[0]["n"] < 100, "400 step rows were to share commits"
    assert len(set(ids)) == 200


async def test_two_writes_of_one_run_never_share_a_statement(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    await asyncio.gather(
        recorder.start_run(begun),
        recorder.finish_step(make.step(begun.run_id, 0, "one")),
        recorder.finish_run(make.success(begun.run_id)),
    )
    assert (await runs.get(db, begun.run_id)).status == "success"


async def test_a_worker_that_lost_its_run_writes_nothing_about_it(db: Database, make: Any) -> None:
    recorder, begun, other = make.recorder(db), make.start(), make.start()
    await recorder.start_run(begun)
    await workers.settle(db, [recorder.worker.id], "it was silent", ["mail"])
    before = await runs.get(db, begun.run_id)
    with pytest.raises(ClaimLost, match="taken over"):
        await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    with pytest.raises(ClaimLost, match="taken over"):
        await recorder.finish_run(make.success(begun.run_id))
    with pytest.raises(ClaimLost, match="taken over"):
        # The sweep has ended it in the same way, and this end is not that one.
        await recorder.finish_run(RunEnd(begun.run_id, 1, "failed", "no", None, ()))
    with pytest.raises(ClaimLost, match="given up"):
        await recorder.start_run(begun)
    with pytest.raises(ClaimLost, match="given up"):
        await recorder.start_run(other)
    assert await runs.get(db, begun.run_id) == before
    assert await runs.counts(db) == {"failed": 1}


async def test_a_wrong_claim_or_another_worker_is_refused(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    with pytest.raises(ClaimLost):
        await recorder.finish_step(make.step(begun.run_id, 0, "one", claim=2))
    with pytest.raises(ClaimLost):
        await make.recorder(db).finish_step(make.step(begun.run_id, 0, "one"))
    assert (await runs.get(db, begun.run_id)).steps == ()
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    with pytest.raises(ClaimLost):
        # It is there, but another worker has written it.
        await make.recorder(db).finish_step(make.step(begun.run_id, 0, "one"))
    with pytest.raises(ClaimLost):
        await make.recorder(db).start_run(begun)


async def test_every_write_can_be_repeated(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    first = await recorder.start_run(begun)
    assert await recorder.start_run(begun) == first
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    await recorder.finish_run(make.success(begun.run_id, ("mail",)))
    before = await runs.get(db, begun.run_id)
    await recorder.finish_run(make.success(begun.run_id, ("mail",)))
    await recorder.finish_step(make.step(begun.run_id, 0, "one"))
    assert await runs.get(db, begun.run_id) == before
    with pytest.raises(ClaimLost):
        await recorder.finish_run(RunEnd(begun.run_id, 1, "failed", "no", None, ()))


class _LosesReplies(Database):
    """The real Database, whose server is made to cut the connection right after each statement of the recorder."""

    cut = 0

    async def fetch(self, name: str, *args: Any, timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109
        rows = await super().fetch(name, *args, timeout=timeout)
        if name.startswith("record") and name != "recorded" and self.cut % 2 == 0:
            self.cut += 1
            async with self.session() as session:
                # The commit is done, and what carried its reply is gone.
                await session.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        elif name.startswith("record"):
            self.cut += 1
        return rows


async def test_a_lost_commit_reply_is_written_once(database_url: str, make: Any) -> None:
    async with await _LosesReplies.open(database_url) as database:
        recorder = make.recorder(database)
        ids = await asyncio.gather(*(make.run_once(recorder, receivers=("mail",)) for _ in range(5)))
        assert database.cut > 3
    async with await Database.open(database_url) as database:
        assert await runs.counts(database) == {"success": 5}
        assert len(await make.sql(database, "SELECT FROM brain.step_runs")) == 10
        assert len(await make.sql(database, "SELECT FROM brain.deliveries")) == 5
        assert (await runs.get(database, ids[0])).status == "success"


async def test_connections_killed_at_random_lose_nothing(database_url: str, make: Any) -> None:
    async with await Database.open(database_url) as database, await Database.open(database_url) as killer:
        recorder, kills = make.recorder(database), 0
        going = asyncio.gather(*(make.run_once(recorder) for _ in range(300)))
        while not going.done() and kills < 20:
            rows = await make.sql(
                killer,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'brain'",
            )
            kills += len(rows)
        await going
        assert kills > 0
        assert await runs.counts(database) == {"success": 300}
        assert len(await make.sql(database, "SELECT FROM brain.step_runs")) == 600


async def test_one_bad_write_stays_one(db: Database, make: Any) -> None:
    recorder = make.recorder(db)
    begun = [make.start() for _ in range(20)]
    await asyncio.gather(*(recorder.start_run(one) for one in begun))
    writes = [recorder.finish_step(make.step(one.run_id, 0, "one")) for one in begun[1:]]
    bad = recorder.finish_step(make.step(begun[0].run_id, 0, "one", output='"\0'))
    results = await asyncio.gather(bad, *writes, return_exceptions=True)
    assert isinstance(results[0], DatabaseError)
    assert results[1:] == [None] * 19
    rows = await make.sql(db, "SELECT run_id FROM brain.step_runs")
    assert {row["run_id"] for row in rows} == {one.run_id for one in begun[1:]}


async def test_a_success_without_all_its_steps_is_refused(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    with pytest.raises(DatabaseError, match="G13"):
        await recorder.finish_run(make.success(begun.run_id))
    run = await runs.get(db, begun.run_id)
    assert (run.status, run.steps) == ("running", ())


async def test_an_unknown_version_is_refused(db: Database, make: Any) -> None:
    with pytest.raises(DatabaseError, match="G19"):
        await make.recorder(db).start_run(make.start(digest="never added"))


async def test_patience_ends(db: Database, make: Any, server_url: str) -> None:
    nowhere = Database(server_url.replace("/postgres", "/not-there"))
    with pytest.raises(DatabaseUnreachable, match="not-there"):
        await make.recorder(nowhere, patience=0.0).start_run(make.start())


async def test_a_cancelled_caller_leaves_its_write_on_its_way(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    caller = asyncio.ensure_future(recorder.start_run(begun))
    await asyncio.sleep(0)
    caller.cancel()
    await recorder.drain()
    assert caller.cancelled()
    assert (await runs.get(db, begun.run_id)).status == "running"


async def test_ages_are_taken_from_the_servers_clock(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start(steps=("one",))
    await recorder.start_run(begun)
    await make.sql(db, "UPDATE brain.runs SET started_at = started_at - interval '1 hour'")
    last = make.step(begun.run_id, 0, "one", age_started=120.0, age_ended=60.0)
    await recorder.finish_run(RunEnd(begun.run_id, 1, "success", None, last, ()))
    run = await runs.get(db, begun.run_id)
    took = (run.steps[0].ended_at - run.steps[0].started_at).total_seconds()
    assert took == pytest.approx(60.0, abs=0.01)
    assert run.ended_at == run.steps[0].ended_at


async def test_an_age_before_the_start_is_the_start(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start(steps=("one",))
    await recorder.start_run(begun)
    last = make.step(begun.run_id, 0, "one", age_started=1e6, age_ended=1e6)
    await recorder.finish_run(RunEnd(begun.run_id, 1, "success", None, last, ()))
    run = await runs.get(db, begun.run_id)
    assert run.started_at == run.steps[0].started_at == run.steps[0].ended_at == run.ended_at


async def test_a_clock_that_was_set_back_does_not_end_a_run_before_its_steps(db: Database, make: Any) -> None:
    recorder, begun = make.recorder(db), make.start()
    await recorder.start_run(begun)
    await recorder.finish_step(make.step(begun.run_id, 0, "one", age_ended=-3600.0))
    await recorder.finish_run(make.success(begun.run_id))
    run = await runs.get(db, begun.run_id)
    assert run.ended_at == run.steps[0].ended_at


async def test_works_behind_a_pooler_in_transaction_mode(database_url: str, make: Any) -> None:
    async with await Database.open(database_url, pooler=True) as database:
        recorder = make.recorder(database, worker=make.worker(id=uuid4()))
        await asyncio.gather(*(make.run_once(recorder) for _ in range(20)))
        assert await runs.counts(database) == {"success": 20}


async def test_results_that_are_held_are_written_after_it(db: Database, make: Any) -> None:
    to = make.recorder(db)
    begun = make.start()
    with to.held():
        starting = asyncio.ensure_future(to.start_run(begun))
        await make.sql(db, "SELECT")
        assert not starting.done()
        assert await runs.counts(db) == {}
    await starting
    assert await runs.counts(db) == {"running": 1}


async def test_results_are_not_held_for_long(db: Database, make: Any) -> None:
    to = make.recorder(db)
    with to.held():
        await asyncio.wait_for(to.start_run(make.start()), 30)
    assert await runs.counts(db) == {"running": 1}
