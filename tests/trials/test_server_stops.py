"""G17: PostgreSQL is stopped immediately under load, again and again; nothing that was answered is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_core.store.database import Database
from brain_core.store.migrate import ensure_schema

from .lab import lab
from .results import chosen, trial
from .truth import check


def server_stops(folder: Path, server: Any, *, cycles: int, long: bool) -> None:
    asyncio.run(migrate(server.url))
    with trial("server-stops", long=long) as it, lab(folder, server.url, it.rng) as place:
        for name in ("plain", "resume"):
            place.register(place.flow(name, seconds=0.3), 5, "1s")
        for _ in range(2):
            place.started()
        hit = 0
        for _ in range(cycles):
            place.works_again(1)
            place.let_pass(0.0, 1.0)
            if place.rng.random() < 0.8:
                place.victim()
            hit += place.sql("SELECT count(*) AS n FROM brain.runs WHERE status = 'running'")[0]["n"]
            server.stop()
            place.let_pass(0.0, 1.0)
            server.start()
        place.works_again()
        assert all(daemon.alive for daemon in place.daemons), "a daemon has ended with the database"
        parked = place.come_to_rest()
        counts = check(place)
        it.count(stops=cycles, runs_in_hand_at_a_stop=hit, parked_and_resumed=parked, **counts)
        assert hit >= cycles / 2, "too few stops came under load"


async def migrate(url: str) -> None:
    async with await Database.open(url) as database:
        await ensure_schema(database)


@pytest.mark.long
def test_a_server_that_is_stopped_under_load_loses_nothing(new_server: Callable[..., Any], tmp_path: Path) -> None:
    server_stops(tmp_path, new_server(), cycles=1, long=False)


@pytest.mark.long
def test_fifty_stops(new_server: Callable[..., Any], tmp_path: Path) -> None:
    server_stops(tmp_path, new_server(), cycles=chosen(50), long=True)
