"""G1, G2, G5: the clock of a daemon jumps, then that of the database; no instant fires twice, none is lost.

libfaketime (Debian: `apt install libfaketime`) makes the clocks jump; without it these trials are skipped.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from .lab import Daemon, Lab, lab
from .results import chosen, trial
from .test_server_stops import migrate
from .truth import check

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
HOUR = 3_600


class Clock:
    """The wall clock of those processes that have this environment; monotonic ones go on as they are."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self.set(0)

    def set(self, seconds: int) -> None:
        # Replaced, not written: a reader in between would see an empty file.
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.chmod(0o644)
        new.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock where the account of the server can read it, too."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Clock(Path(folder))


def daemon_clocks(folder: Path, url: str, clock: Clock, *, jumps: int, long: bool) -> None:
    with trial("clock-of-a-daemon", long=long) as it, lab(folder, url, it.rng) as place:
        for name in ("plain", "resume"):
            place.register(place.flow(name, seconds=0.1), 3, "1s")
        # Alone, so that nobody else does its work.
        wrong = place.started(**clock.environment)
        for _ in range(jumps):
            clock.set(place.rng.choice([-1, 1]) * place.rng.randint(HOUR, 400 * 24 * HOUR))
            place.works_again(1)
            assert _off(place, wrong) > HOUR / 2, "its clock has not jumped"
        place.started()
        place.works_again()
        place.come_to_rest()
        counts = check(place)
        it.count(jumps=jumps, **counts)
        assert "interrupted attempts" in counts
        assert counts["interrupted attempts"] == 0, "a living daemon was given up"


def _off(place: Lab, daemon: Daemon) -> float:
    """Return how far the daemon's clock is from the database's, by the last line of its log."""
    last = json.loads(daemon.log().splitlines()[-1])["at"]
    now = place.sql("SELECT clock_timestamp() AS now")[0]["now"]
    return abs(float((datetime.fromisoformat(last) - now).total_seconds()))


def database_clocks(folder: Path, new_server: Callable[..., Any], clock: Clock, *, rounds: int, long: bool) -> None:
    server = new_server(**clock.environment)
    asyncio.run(migrate(server.url))
    with trial("clock-of-the-database", long=long) as it, lab(folder, server.url, it.rng) as place:
        for name in ("plain", "resume"):
            place.register(place.flow(name, seconds=0.1), 3, "1s")
        for _ in range(2):
            place.started()
        place.works_again(1)
        offset = 0
        for _ in range(rounds):
            offset += place.rng.randint(60, 30 * 24 * HOUR)
            clock.set(offset)
            place.works_again(1)
            clock.set(offset - place.rng.randint(60, HOUR))
            # What is on its way is fired by what was read before the jump.
            place.let_pass(0.5, 1.0)
            before = _fires(place)
            place.let_pass(1.5, 3.0)
            assert _fires(place) == before, "it has fired instants that had come before"
            clock.set(offset)
            place.works_again(1)
        parked = place.come_to_rest()
        counts = check(place)
        it.count(jumps=3 * rounds, parked_and_resumed=parked, **counts)
        assert counts.get("merged", 0) > 0, "no jump forward was noticed"


def _fires(place: Lab) -> int:
    return int(place.sql("SELECT count(*) AS n FROM brain.fires")[0]["n"])


@pytest.mark.long
@needs_faketime
def test_a_daemon_whose_clock_jumps_fires_by_the_databases(database_url: str, clock: Clock, tmp_path: Path) -> None:
    daemon_clocks(tmp_path, database_url, clock, jumps=2, long=False)


@pytest.mark.long
@needs_faketime
def test_a_database_whose_clock_jumps(new_server: Callable[..., Any], clock: Clock, tmp_path: Path) -> None:
    database_clocks(tmp_path, new_server, clock, rounds=1, long=False)


@needs_faketime
@pytest.mark.long
def test_fifty_jumps_of_a_daemons_clock(database_url: str, clock: Clock, tmp_path: Path) -> None:
    daemon_clocks(tmp_path, database_url, clock, jumps=chosen(50), long=True)


@needs_faketime
@pytest.mark.long
def test_sixty_jumps_of_the_databases_clock(new_server: Callable[..., Any], clock: Clock, tmp_path: Path) -> None:
    database_clocks(tmp_path, new_server, clock, rounds=chosen(20), long=True)
