"""G1, G9, G10, G17: at each boundary of each commit of a daemon it kills itself, or its connection is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from .failpoints import HIT
from .lab import Lab, lab
from .results import chosen, trial
from .truth import check

# Point, where the commit is, and the arguments of the daemon that gets there.
KILLS = [
    ("daemon_beat", ()),
    ("fires_fire", ()),
    ("queue_claim", ()),
    ("run_begin", ()),
    ("record_changes", ()),
    ("finish_step", ()),
    ("finish_run", ()),
    ("take_over", ()),
    ("worker_stop", ()),
    ("let_go", ("--grace", "0")),
]
DROPS = [point for point in KILLS if not point[0].startswith("finish_")]
CASES = [
    (action, where, *point)
    for action, points in (("kill", KILLS), ("drop", DROPS))
    for where in ("before", "after")
    for point in points
]
DRAINING = {"worker_stop", "let_go"}
ONCE = {"take_over", *DRAINING}


def failpoints(folder: Path, url: str, *, cases: Sequence[tuple[str, str, str, tuple[str, ...]]], long: bool) -> None:
    with trial("failpoints", long=long) as it, lab(folder, url, it.rng) as place:
        for name in ("plain", "resume"):
            place.register(place.flow(name, seconds=0.3), 3, "1s")
        for number, case in enumerate(cases):
            _strike(place, number, *case)
        place.started()
        place.works_again()
        parked = place.come_to_rest()
        counts = check(place)
        it.count(boundaries=len(set(cases)), strikes=len(cases), parked_and_resumed=parked, **counts)


def _strike(place: Lab, number: int, action: str, where: str, point: str, arguments: tuple[str, ...]) -> None:
    """Let one daemon get to a boundary; it has to be hit there, and to die of it or to go on."""
    place.resume_parked()
    if point == "take_over":
        _leave_runs_behind(place)
    for file in place.folder.glob("plain.py"):
        # A new version makes `run_begin` necessary; of the other file it would park what is resumed (G19).
        file.write_text(file.read_text() + f"# {number}\n")
    once = point in ONCE
    daemon = place.start(*arguments, driver=(action, where, point, "1" if once else str(place.rng.randint(1, 3))))
    if point in DRAINING:
        place.until(lambda: daemon.ready and (point != "let_go" or place.in_hand(daemon)), "it can be told to drain")
        daemon.process.terminate()
    place.until(lambda: HIT in daemon.log(), f"{action} {where} {point} {arguments} was hit")
    if action == "drop":
        if point in DRAINING:
            place.until(lambda: not daemon.alive, "the daemon ends")
            assert daemon.process.returncode == 0, daemon.log()[-3_000:]
        else:
            place.works_again(1)
            assert daemon.alive, daemon.log()[-3_000:]
            daemon.stop()
    else:
        assert daemon.process.wait(timeout=60) == -9, daemon.log()[-3_000:]


def _leave_runs_behind(place: Lab) -> None:
    dead = place.start()
    place.until(lambda: place.in_hand(dead), "a run is in hand")
    dead.kill()


def test_one_boundary_of_each_kind(database_url: str, tmp_path: Path) -> None:
    cases = [
        ("kill", "before", "fires_fire", ()),
        ("kill", "after", "queue_claim", ()),
        ("drop", "after", "fires_fire", ()),
    ]
    failpoints(tmp_path, database_url, cases=cases, long=False)


@pytest.mark.long
def test_every_boundary(database_url: str, tmp_path: Path) -> None:
    failpoints(tmp_path, database_url, cases=CASES * chosen(2), long=True)
