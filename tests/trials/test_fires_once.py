"""G1, G2: many schedules, and three daemons that are restarted while instants are due."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from .lab import Lab, lab
from .results import chosen, trial
from .truth import check

DAEMONS = 3


def fires_once(folder: Path, url: str, *, schedules: int, instants: int, long: bool) -> None:
    with trial("fires-once", long=long) as it, lab(folder, url, it.rng) as place:
        for name in ("plain", "resume"):
            place.register(place.flow(name, seconds=0.0), math.ceil(schedules / 2), "1s", "2s")
        for _ in range(DAEMONS):
            place.started()
        restarts = {"killed": 0, "drained": 0}
        while _outcomes(place) < instants or min(restarts.values()) == 0:
            # Those that start do not count, or on a slow machine nobody would ever get to work.
            place.until(lambda: len(place.ready()) >= DAEMONS - 1, "most daemons are at work")
            # On the instant: half of the schedules are due with each second.
            place.let_pass(0.0, 2.0)
            victim = place.rng.choice(place.ready())
            if place.rng.random() < 0.5:
                victim.kill()
                restarts["killed"] += 1
            else:
                victim.stop()
                restarts["drained"] += 1
            place.start()
        place.works_again()
        place.come_to_rest()
        counts = check(place)
        it.count(schedules=schedules, daemons=DAEMONS, **restarts, **counts)
        assert counts["instants"] >= instants
        assert counts["fired"] > instants / 20


def _outcomes(place: Lab) -> int:
    """Return how many instants have an outcome by now: a stretch counts as one here, so there are at least so many."""
    return int(place.sql("SELECT count(*) AS n FROM brain.fires")[0]["n"])


def test_each_instant_has_one_outcome_while_daemons_come_and_go(database_url: str, tmp_path: Path) -> None:
    fires_once(tmp_path, database_url, schedules=6, instants=20, long=False)


@pytest.mark.long
def test_twenty_thousand_instants(database_url: str, tmp_path: Path) -> None:
    fires_once(tmp_path, database_url, schedules=200, instants=chosen(20_000), long=True)
