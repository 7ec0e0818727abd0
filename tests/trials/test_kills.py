"""G9–G11, G13: a random daemon is killed with SIGKILL at a random moment, again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from .lab import lab
from .results import chosen, trial
from .truth import check


def kills(folder: Path, url: str, *, cycles: int, long: bool) -> None:
    with trial("kills", long=long) as it, lab(folder, url, it.rng) as place:
        for name in ("plain", "resume"):
            place.register(place.flow(name, seconds=0.6), 3, "1s", "2s")
        place.started()
        done = 0
        while done < cycles or place.interrupted() == 0:
            done += 1
            # At times a single daemon is left, and is killed too.
            while sum(one.alive for one in place.daemons) < place.rng.choice([1, 2, 3]):
                place.start()
            place.resume_parked()
            victim = place.victim()
            place.let_pass(0.0, 1.0)
            victim.kill()
        place.started()
        place.works_again()
        parked = place.come_to_rest()
        counts = check(place)
        it.count(kills=done, parked_and_resumed=parked, **counts)
        assert counts["interrupted attempts"] >= done / 10, "too few kills hit a run"


def test_killed_daemons_leave_a_true_history(database_url: str, tmp_path: Path) -> None:
    kills(tmp_path, database_url, cycles=2, long=False)


@pytest.mark.long
def test_three_hundred_kills(database_url: str, tmp_path: Path) -> None:
    kills(tmp_path, database_url, cycles=chosen(300), long=True)
