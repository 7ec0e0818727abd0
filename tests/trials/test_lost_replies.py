"""G17: the server commits, and its reply never comes; what is sent again happens once."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from brain_core.store.statements import statement

from .lab import lab
from .results import chosen, trial
from .truth import check
from .wire import Fault, wire

CASES: list[tuple[str, Fault]] = [
    ("fires_fire", "cut"),
    ("queue_claim", "cut"),
    ("record_changes", "cut"),
    ("record_changes", "hole"),
]


def lost_replies(folder: Path, url: str, *, rounds: int, long: bool) -> None:
    with (
        trial("lost-replies", long=long) as it,
        wire(url) as proxy,
        lab(folder, url, it.rng, THE_BRAIN_DATABASE_POOLER="true") as place,
    ):
        for name in ("plain", "resume"):
            place.register(place.flow(name, seconds=0.1), 3, "1s")
        for _ in range(2):
            place.started(THE_BRAIN_DATABASE_URL=proxy.url)
        for number in range(rounds):
            name, fault = CASES[number % len(CASES)]
            place.let_pass(0.0, 0.5)
            proxy.arm(statement(name), fault)
            place.until(lambda number=number: proxy.struck > number, f"{name} was hit")  # type: ignore[misc]
        place.works_again()
        assert all(daemon.alive for daemon in place.daemons)
        parked = place.come_to_rest()
        counts = check(place)
        it.count(replies_swallowed=proxy.struck, parked_and_resumed=parked, **counts)


def test_what_is_sent_again_happens_once(database_url: str, tmp_path: Path) -> None:
    lost_replies(tmp_path, database_url, rounds=len(CASES), long=False)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("fires_fire", marks=pytest.mark.long),
        "queue_claim",
        pytest.param("fires_due", marks=pytest.mark.long),
        pytest.param("daemon_beat", marks=pytest.mark.long),
    ],
)
def test_a_connection_that_nobody_answers_holds_nothing_up_for_long(
    name: str, database_url: str, tmp_path: Path
) -> None:
    with (
        wire(database_url) as proxy,
        lab(tmp_path, database_url, Random(0), beat=1.0, THE_BRAIN_DATABASE_POOLER="true") as place,
    ):
        place.register(place.flow("plain", seconds=0.0), 1, "1s")
        place.started(THE_BRAIN_DATABASE_URL=proxy.url)
        place.works_again(1)
        proxy.arm(statement(name), "hole")
        if name == "queue_claim":
            # What a daemon fires itself it need not claim.
            place.brain("trigger", "plain-0")
        place.until(lambda: proxy.struck, f"{name} was hit")
        # The time limit of any other statement is a minute.
        place.works_again(1, patience=40)


@pytest.mark.long
def test_two_hundred_lost_replies(database_url: str, tmp_path: Path) -> None:
    lost_replies(tmp_path, database_url, rounds=chosen(200), long=True)
