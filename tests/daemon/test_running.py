"""A daemon in good days: it fires, runs, cancels, tells, and shares the work."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

from brain_core.engine.sweep import worker_identity
from brain_core.store import daemon as store
from brain_core.store import fires, queue, triggers, workers
from brain_core.store.database import Database

from .conftest import House, gone


async def test_what_is_due_is_fired_and_run(house: House) -> None:
    daemon = await house.daemon()
    trigger = await house.schedule(house.flow("Note(name='one'), Note(name='two')"))

    async def fired() -> UUID | None:
        rows = await fires.ledger(house.db, trigger)
        return rows[-1].run_id if rows else None

    run = await house.ended(await house.until(fired, "it has fired", daemon), daemon)
    assert run.status == "success"
    assert [step.output for step in run.steps] == ["one", "two"]
    assert run.trigger is not None
    assert run.trigger["name"] == "flow"


async def test_what_all_makes_up_for_runs_one_after_the_other(house: House) -> None:
    flow, other = house.flow("Held(name='held')"), house.flow("Note(name='other')", name="other")
    now = await triggers.clock(house.db)
    missed = now.replace(second=0, microsecond=0) - timedelta(minutes=4)
    minutely = {"cron": "* * * * *", "timezone": "UTC"}
    trigger = await house.schedule(
        flow, config=minutely, next_due_at=missed, catch_up="all", catch_up_max=3, overlap="skip"
    )
    daemon = await house.daemon()
    await house.began("held", 1, daemon)
    # It was queued after them, and nothing but their turn keeps them from a worker.
    assert (await house.ended(await house.queue(other), daemon)).status == "success"
    begun = [line for line in house.journal if line.startswith("held 1 begins")]
    assert len(begun) == 1
    house.go("held")
    fired = [row.run_id for row in await fires.ledger(house.db, trigger) if row.outcome == "fired"][::-1]
    ran = [await house.ended(run_id, daemon) for run_id in fired if run_id is not None]
    assert len(ran) >= 3
    told = [line.split()[2] for line in house.journal if line.startswith("held")]
    assert told[:6] == ["begins", "ends"] * 3
    started = [run.started_at for run in ran]
    assert started == sorted(started, key=str)


async def test_the_log_is_a_line_an_event_with_ids(house: House) -> None:
    daemon = await house.daemon()
    good = await house.queue(house.flow("Note(name='one')"))
    bad = await house.queue(house.flow("Note(name='{nobody}')", name="bad"))
    await house.ended(good, daemon)
    await house.ended(bad, daemon)
    daemon.kill()
    assert await daemon.ended() == 0
    lines = daemon.lines
    assert all({"event", "at", "level", "logger"} <= line.keys() for line in lines)
    told = [(line["event"], line.get("step")) for line in lines if line.get("run") == str(good)]
    assert told == [("run started", None), ("step success", "one"), ("run success", None)]
    (failed,) = [line for line in lines if line.get("run") == str(bad)]
    assert failed["event"] == "run failed"
    assert str(house.folder / "bad.py") in failed["error"]
    assert [lines[0]["event"], lines[-1]["event"]] == ["started", "stopped"]


async def test_a_file_that_is_missing_is_a_failed_run_and_the_schedule_goes_on(house: House) -> None:
    daemon = await house.daemon()
    trigger = await house.schedule(house.folder / "nowhere.py")
    (row,) = await house.until(lambda: fires.ledger(house.db, trigger), "it has fired", daemon)
    assert row.outcome == "fired"
    assert row.run_id is not None
    run = await house.ended(row.run_id, daemon)
    assert run.status == "failed"
    assert "nowhere.py" in (run.error or "")
    (there,) = await house.sql("SELECT state, next_due_at > clock_timestamp() AS ahead FROM brain.triggers")
    assert (there["state"], there["ahead"]) == ("active", True)


async def test_a_broken_file_and_inputs_that_do_not_fit_fail_their_own_runs(house: House) -> None:
    daemon = await house.daemon()
    broken = house.folder / "broken.py"
    broken.write_text("x = = 1\n")
    fits_not = house.flow("Note(name='one')", name="fits_not", inputs="{'who': str}")
    good = house.flow("Note(name='one')")
    ids = [await house.queue(broken), await house.queue(fits_not, inputs={"whom": "x"}), await house.queue(good)]
    first, second, third = [await house.ended(run_id, daemon) for run_id in ids]
    assert (first.status, second.status, third.status) == ("failed", "failed", "success")
    assert "broken.py:1" in (first.error or "")
    assert "whom" in (second.error or "")
    assert third.steps[0].output == "one"


async def test_an_import_that_hangs_holds_nobody_up_and_ends(house: House) -> None:
    daemon = await house.daemon(import_timeout=8)
    hangs = house.flow("Note(name='one')", name="hangs", body="note('hangs 1 begins 1')\ntime.sleep(600)")
    hanging = await house.queue(hangs)
    await house.began("hangs", 1, daemon)
    good = await house.ended(await house.queue(house.flow("Note(name='one')")), daemon)
    assert good.status == "success"
    run = await house.ended(hanging, daemon)
    assert run.status == "failed"
    assert "still loading after 8 s" in (run.error or "")


async def test_a_queued_run_is_cancelled_at_once(house: House) -> None:
    run_id = await house.queue(house.flow("Note(name='one')"))
    code, out = await house.brain("cancel", str(run_id), "--json")
    assert (code, json.loads(out)["answer"]) == (0, "cancelled")
    assert (await house.run(run_id)).status == "cancelled"
    assert (await house.brain("cancel", str(run_id)))[0] == 0, "it is as was asked"
    daemon = await house.daemon()
    other = await house.queue(house.flow("Note(name='other')", name="other"))
    await house.ended(other, daemon)
    assert (await house.brain("cancel", str(other)))[0] == 1, "it is over"
    assert house.journal == ["other 1"]


async def test_a_run_is_cancelled_while_its_file_loads(house: House) -> None:
    daemon = await house.daemon()
    hangs = house.flow("Note(name='one')", name="hangs", body="note('hangs 1 begins 1')\ntime.sleep(600)")
    run_id = await house.queue(hangs)
    await house.began("hangs", 1, daemon)
    assert await queue.cancel_request(house.db, run_id, "cancelled by a test") == "requested"
    run = await house.ended(run_id, daemon)
    assert (run.status, run.error) == ("cancelled", "cancelled by a test")


async def test_running_steps_are_cancelled_from_another_process(house: House) -> None:
    daemon = await house.daemon()
    for kind in ("Held", "Shell", "Blocks"):
        run_id = await house.queue(house.flow(f"{kind}(name='{kind}'), Note(name='never')", name=kind.lower()))
        pid = await house.began(kind, 1, daemon)
        code, out = await house.brain("cancel", str(run_id), "--json")
        assert (code, json.loads(out)["answer"]) == (0, "requested")
        run = await house.ended(run_id, daemon)
        assert (run.status, run.error) == ("cancelled", "cancelled by `brain cancel`")
        assert [step.status for step in run.steps] == ["cancelled"]
        if kind != "Held":
            await gone(pid)
    assert "never 1" not in house.journal


async def test_a_brain_run_hears_that_it_is_cancelled(house: House) -> None:
    file = house.flow("Held(name='one'), Note(name='never')")
    process = house.spawn("run", str(file))
    await house.began("one", 1, process)
    (row,) = await house.sql("SELECT id FROM brain.runs")
    code, out = await house.brain("cancel", str(row["id"]), "--json")
    assert (code, json.loads(out)["answer"]) == (0, "requested")
    assert await process.ended() == 130
    run = await house.run(row["id"])
    assert (run.status, run.error) == ("cancelled", "cancelled by `brain cancel`")


async def test_logs_are_followed_from_another_process(house: House) -> None:
    daemon = await house.daemon()
    body = """
    class Says(Step):
        async def run(self, ctx):
            ctx.log("first words\\n")
            note("says 1 begins 1")
            while not (FOLDER / "go-says").exists():
                await asyncio.sleep(0.01)
            ctx.log("last words\\n")
    """
    run_id = await house.queue(house.flow("Says(name='says'), Note(name='after')", body=body))
    await house.began("says", 1, daemon)
    follower = house.spawn("logs", str(run_id), "-f", "--json")
    out = house.folder / f"out-{house.processes.index(follower)}"

    async def heard() -> bool:
        return "first words" in out.read_text()

    await house.until(heard, "the follower hears the first words", daemon, follower)
    house.go("says")
    assert await follower.ended() == 0
    said = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["kind"], one["step"], one["status"]) for one in said] == [
        ("live", "says", None),
        ("live", "says", None),
        ("step", "says", "success"),
        ("step", "after", "success"),
        ("run", "", "success"),
    ]
    assert [one["text"] for one in said[:2]] == ["first words\n", "last words\n"]


async def test_what_a_short_run_says_is_there_at_its_end(house: House) -> None:
    daemon = await house.daemon()
    body = "class Says(Step):\n    async def run(self, ctx):\n        ctx.log('at once')\n"
    run_id = await house.queue(house.flow("Says(name='says')", body=body))
    await house.ended(run_id, daemon)
    code, out = await house.brain("logs", str(run_id), "--json")
    assert code == 0
    assert json.loads(out.splitlines()[0])["text"] == "at once"


async def test_daemon_status_tells_who_works(house: House) -> None:
    assert (await house.brain("daemon-status"))[0] == 1
    daemon = await house.daemon("--concurrency", "7")
    code, out = await house.brain("daemon-status", "--json")
    (one,) = json.loads(out)
    assert (code, one["pid"], one["concurrency"], one["in_hand"], one["fresh"]) == (0, daemon.pid, 7, 0, True)
    daemon.kill()
    assert await daemon.ended() == 0
    assert (await house.brain("daemon-status"))[0] == 1


async def test_a_daemon_that_was_killed_here_is_not_alive_for_another_half_minute(house: House) -> None:
    daemon = await house.daemon()
    daemon.popen.kill()
    await daemon.ended()
    code, out = await house.brain("daemon-status", "--json")
    (one,) = json.loads(out)
    assert (code, one["pid"], one["fresh"], one["gone"]) == (1, daemon.pid, False, True)
    code, out = await house.brain("daemon-status")
    assert code == 1
    assert out.splitlines()[1].endswith(" gone")
    # Of another host or boot nothing is known but its tick.
    await house.sql("UPDATE brain.workers SET boot_id = 'another'")
    code, out = await house.brain("daemon-status")
    assert (code, out.split()[-1]) == (0, "alive")


async def test_two_daemons_share_the_work(house: House) -> None:
    daemons = [await house.daemon("--concurrency", "2") for _ in range(2)]
    file = house.flow("Held(name='one')")
    ids = [await house.queue(file) for _ in range(4)]

    async def all_run() -> bool:
        return len(house.journal) == 4

    await house.until(all_run, "all four run", *daemons)
    rows = await house.sql("SELECT worker_id, count(*) AS n FROM brain.runs GROUP BY 1")
    assert [row["n"] for row in rows] == [2, 2]
    house.go("one")
    assert [(await house.ended(run_id)).status for run_id in ids] == ["success"] * 4


async def test_a_run_is_left_to_the_host_that_has_its_file(house: House) -> None:
    daemon = await house.daemon()
    lives_there = worker_identity("daemon", 60.0)._replace(host="another-host")
    await store.beat(house.db, lives_there, 1, 0, 0.0, [])
    elsewhere = await house.queue(house.folder / "far.py", host="another-host")
    good = await house.ended(await house.queue(house.flow("Note(name='one')")), daemon)
    assert good.status == "success"
    worker = await house.worker_of(daemon)
    beat = "SELECT beat FROM brain.workers WHERE id = $1"
    before = (await house.sql(beat, worker))[0]["beat"]
    claims = (await house.sql("SELECT claim FROM brain.runs WHERE id = $1", elsewhere))[0]["claim"]

    async def has_beaten() -> bool:
        return bool((await house.sql(beat, worker))[0]["beat"] >= before + 4)

    await house.until(has_beaten, "some beats have passed", daemon)
    (row,) = await house.sql("SELECT status, claim FROM brain.runs WHERE id = $1", elsewhere)
    assert (row["status"], row["claim"]) == ("queued", claims), "it is not claimed again and again"
    # The file comes here after all.
    house.flow("Note(name='far')", name="far")
    assert (await house.ended(elsewhere, daemon)).status == "success"
    await workers.stop(house.db, lives_there.id)


async def test_an_idle_daemon_asks_little(house: House, database_url: str) -> None:
    for number in range(20):
        await house.schedule(house.flow("Note(name='one')", name=f"flow{number}"), next_due_at=None)
    # Overdue for ever, for want of the plugin: nothing that could be done about it here.
    await house.schedule(house.folder / "flow0.py", name="elsewhere", type="elsewhere")
    daemon = await house.daemon()
    worker = await house.worker_of(daemon)
    async with await Database.open(database_url) as outside:

        async def counts() -> tuple[int, int]:
            # The statistics of a session that is idle are there a moment later, so another one's are asked for.
            async with outside.session() as session:
                row = await session.connection.fetchrow(
                    "SELECT w.beat, (SELECT sum(n) FROM (SELECT pg_stat_get_db_xact_commit(d.oid) AS n"
                    " FROM pg_database AS d WHERE d.datname = current_database()) AS s)::bigint AS commits"
                    " FROM brain.workers AS w WHERE w.id = $1",
                    worker,
                )
                return row["beat"], row["commits"]

        looks = 0
        first, commits = await counts()

        async def ten_beats() -> bool:
            nonlocal looks
            looks += 1
            return (await counts())[0] >= first + 10

        await house.until(ten_beats, "ten beats have passed", daemon)
        beat, after = await counts()
        # A beat of 5 s makes 12 a minute, and 15 queries are allowed for them.
        assert after - commits - looks - 2 <= (beat - first) * 15 / 12 + 2


LOOK = """
class Look(Step):
    def run(self, ctx):
        return sorted(name for name in os.environ if name.startswith("THE_BRAIN_"))
"""


async def test_steps_do_not_find_the_secrets_of_the_core_in_their_environment(house: House) -> None:
    daemon = await house.daemon(api_token="a" * 16, master_key="k" * 32)
    run = await house.ended(await house.queue(house.flow("Look(name='one')", body=LOOK)), daemon)
    (step,) = run.steps
    assert isinstance(step.output, list)
    assert "THE_BRAIN_HOME" in step.output
    assert not {"THE_BRAIN_API_TOKEN", "THE_BRAIN_MASTER_KEY"} & set(step.output)
