"""Tables of plugins under a daemon: its runner processes have no database, and ask it."""

from __future__ import annotations

import pytest

from .conftest import House
from .plugin import MIGRATION, install

BODY = "from keep_plugin import Keep"


async def test_steps_of_runner_processes_reach_the_tables(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    install(house, monkeypatch)
    daemon = await house.daemon()
    file = house.flow("Keep(name='one', text='a'), Keep(name='two', text='b')", body=BODY)
    queued = [await house.queue(file) for _ in range(5)]
    for run_id in queued:
        run = await house.ended(run_id, daemon)
        assert (run.status, run.error) == ("success", None)
        assert [step.output for step in run.steps] == [["a"], ["a", "b"]]
    (rows,) = await house.sql("SELECT count(*) FROM brain_keep.kept")
    assert rows["count"] == 10


async def test_what_the_daemon_puts_in_quarantine_its_runners_refuse(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(house, monkeypatch, MIGRATION + "SELECT 1 / 0;")
    daemon = await house.daemon()
    bad = await house.queue(house.flow("Keep(name='one')", body=BODY, name="bad"))
    good = await house.queue(house.flow("Note(name='one')", name="good"))
    run = await house.ended(bad, daemon)
    assert run.status == "failed"
    assert "belongs to plugin 'keep' (brain-keep 1.0), which is quarantined" in (run.error or "")
    assert "migration 0001_keep of brain-keep fails: division by zero" in (run.error or "")
    assert (await house.ended(good, daemon)).status == "success"
