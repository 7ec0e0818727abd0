"""G12: a daemon is stopped (SIGSTOP) past its lease and woken; it writes nothing about runs that it lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .lab import Daemon, Lab, lab
from .results import chosen, trial
from .truth import check

AGAIN = "this daemon was given up"


def stops(folder: Path, url: str, *, least: int, long: bool) -> None:
    with trial("stops", long=long) as it, lab(folder, url, it.rng, beat=1.0, lease=6.0) as place:
        for name in ("plain", "resume"):
            place.register(place.flow(name, seconds=1.5), 3, "1s", "2s")
        for _ in range(4):
            place.started()
        stopped = 0
        while stopped < least or place.interrupted() == 0:
            place.resume_parked()
            place.let_pass(0.0, 1.0)
            # Two at a time, or it would take all day; the others are there to notice.
            victims = {place.victim(), place.rng.choice(place.daemons)}
            stopped += len(victims)
            _stop_past_lease(place, victims)
        place.works_again()
        parked = place.come_to_rest()
        assert len(place.daemons) == 4
        counts = check(place, attempts_apart=True)
        reborn = place.events(AGAIN)
        it.count(stops=stopped, given_up_and_reborn=reborn, parked_and_resumed=parked, **counts)
        assert reborn >= stopped, "a stop was not noticed"
        assert counts["interrupted attempts"] >= stopped / 10, "too few stops hit a run"


def _stop_past_lease(place: Lab, victims: set[Daemon]) -> None:
    """Stop daemons until others have given their workers up, and wake them; wait until they are new workers."""
    pids = [victim.pid for victim in victims]
    rows = place.sql("SELECT id FROM brain.workers WHERE stopped_at IS NULL AND pid = ANY ($1::int[])", pids)
    reborn = {victim: victim.log().count(AGAIN) for victim in victims}
    alive = "SELECT FROM brain.workers WHERE stopped_at IS NULL AND id = ANY ($1::uuid[])"
    for victim in victims:
        victim.process.send_signal(signal.SIGSTOP)
    try:
        place.until(lambda: not place.sql(alive, [row["id"] for row in rows]), "stopped daemons are given up")
        # Woken at any time after: while their runs are elsewhere in hand, or over.
        place.let_pass(0.0, 1.0)
    finally:
        for victim in victims:
            victim.process.send_signal(signal.SIGCONT)
    for victim in victims:
        place.until(
            lambda victim=victim: victim.log().count(AGAIN) > reborn[victim],  # type: ignore[misc]
            "a woken daemon notices that it was given up",
        )


def test_a_stopped_daemon_writes_nothing_about_what_it_lost(database_url: str, tmp_path: Path) -> None:
    stops(tmp_path, database_url, least=1, long=False)


@pytest.mark.long
def test_a_hundred_stops(database_url: str, tmp_path: Path) -> None:
    stops(tmp_path, database_url, least=chosen(100), long=True)
