"""Who counts as silent for a process that watches the beats of others (G5): what it could not see does not count."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


class Slow(Seen):
    """The same, with looks that take their time: what an answer holds was so at some moment since the question."""

    def ask(self, after: float, took: float) -> set[UUID]:
        asked = self.now + after
        self.now = asked + took
        self.watcher.looked(asked, self.now)
        return self.look(0.0)


SLEEPS = st.floats(0.0, 1.4 * BEAT)
ANSWERS = st.floats(0.0, 1.4 * BEAT)


@given(st.lists(st.tuples(SLEEPS, ANSWERS), min_size=30, max_size=60))
def test_a_slow_but_steady_observer_finds_who_is_silent_and_not_before_a_lease(
    looks: list[tuple[float, float]],
) -> None:
    seen = Slow()
    first, found = 0.0, False
    for at, (sleep, took) in enumerate([*looks, *[(BEAT, BEAT)] * 3]):
        asked = seen.now + sleep
        found = bool(seen.ask(sleep, took))
        if at == 0:
            first = seen.now
        assert found == (asked - first >= LEASE)
    assert found


@given(st.data(), st.lists(st.tuples(SLEEPS, ANSWERS), min_size=1, max_size=40))
def test_who_beats_within_its_lease_is_never_found_however_slow_the_answers(
    data: st.DataObject, looks: list[tuple[float, float]]
) -> None:
    seen = Slow()
    beaten = seen.now
    for sleep, took in looks:
        asked = seen.now + sleep
        read = asked + data.draw(st.floats(0.0, took), label="read after")
        while beaten + LEASE * 0.99 < read:
            beaten += LEASE * 0.99
            seen.beat += 1
        assert seen.ask(sleep, took) == set()


@given(st.lists(st.tuples(SLEEPS, ANSWERS), max_size=10), st.floats(1.6, 1000.0), st.booleans())
def test_a_time_in_which_nobody_could_be_heard_never_counts(
    looks: list[tuple[float, float]], beats: float, in_the_answer: bool
) -> None:
    seen = Slow()
    for sleep, took in looks:
        seen.ask(sleep, took)
    assert seen.ask(0.0 if in_the_answer else beats * BEAT, beats * BEAT if in_the_answer else 0.0) == set()
    assert [seen.ask(BEAT, 0.0) for _ in range(2)] == [set()] * 2
    assert seen.ask(1.1 * BEAT, 0.0) == {seen.id}


def test_an_older_look_that_comes_late_says_nothing() -> None:
    seen = Slow()
    for _ in range(3):
        assert seen.ask(BEAT, 0.0) == set()
    seen.watcher.looked(seen.now - 2.0, seen.now - 1.0)
    assert seen.look(0.0) == set()
    assert seen.ask(BEAT, 0.0) == {seen.id}
