"""Who counts as silent for a process that watches the beats of others (G5): what it could not see does not count."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from brain_core.engine.sweep import Watcher
from brain_core.store.workers import Candidate, WorkerIdentity

LEASE = 15.0
BEAT = 5.0


class Seen:
    """A watcher on a clock that the test sets, and one worker whose beat the test counts up."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.beat = 1
        self.id = uuid4()
        self.watcher = Watcher(gap=1.5 * BEAT, clock=lambda: self.now)

    def look(self, after: float) -> set[UUID]:
        self.now += after
        identity = WorkerIdentity(self.id, "daemon", "there", "boot", "ns", 1, "1", "0", LEASE)
        return self.watcher.silent([Candidate(identity, self.beat, False)])


def test_a_lease_of_silence_that_was_seen_is_death() -> None:
    seen = Seen()
    assert [seen.look(BEAT) for _ in range(3)] == [set()] * 3
    assert seen.look(BEAT) == {seen.id}


def test_a_beat_starts_the_lease_anew() -> None:
    seen = Seen()
    for _ in range(3):
        assert seen.look(BEAT) == set()
    seen.beat += 1
    assert [seen.look(BEAT) for _ in range(3)] == [set()] * 3
    assert seen.look(BEAT) == {seen.id}


def test_a_gap_in_which_nothing_was_seen_does_not_count() -> None:
    seen = Seen()
    for _ in range(3):
        assert seen.look(BEAT) == set()
    assert seen.look(1.6 * BEAT) == set()
    assert [seen.look(BEAT) for _ in range(2)] == [set()] * 2
    assert seen.look(BEAT) == {seen.id}


def test_a_database_that_was_away_starts_every_lease_anew() -> None:
    seen = Seen()
    for _ in range(3):
        assert seen.look(BEAT) == set()
    seen.watcher.lost()
    assert [seen.look(BEAT) for _ in range(3)] == [set()] * 3
    assert seen.look(BEAT) == {seen.id}


@pytest.mark.parametrize("back", [-1.0, -900.0])
def test_a_clock_that_goes_back_starts_every_lease_anew(back: float) -> None:
    seen = Seen()
    for _ in range(3):
        assert seen.look(BEAT) == set()
    assert seen.look(back) == set()
    assert seen.look(BEAT) == set()


def test_who_was_not_there_for_a_while_is_new() -> None:
    seen = Seen()
    for _ in range(3):
        assert seen.look(BEAT) == set()
    seen.watcher.silent([])
    assert seen.look(BEAT) == set()
