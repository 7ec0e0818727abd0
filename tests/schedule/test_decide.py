"""Decisions about due instants against a plain list of all instants."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_core.schedule import ON_TIME, decide, last_until

START = datetime(2026, 1, 1, tzinfo=UTC)
gaps = st.lists(
    st.one_of(
        st.integers(1, 90).map(lambda minutes: timedelta(minutes=minutes)),
        st.integers(1, 400).map(lambda days: timedelta(days=days)),
        st.integers(100_000, 5_000_000).map(lambda micro: timedelta(microseconds=micro)),
    ),
    min_size=1,
    max_size=40,
)


def instants_of(between: list[timedelta]) -> list[datetime]:
    found = [START]
    for gap in between:
        found.append(found[-1] + gap)
    return found


class Listed:
    """A schedule that is a list; counts how often it is asked."""

    def __init__(self, instants: list[datetime]) -> None:
        self.instants = instants
        self.asked = 0

    def __call__(self, instant: datetime) -> datetime | None:
        self.asked += 1
        place = bisect_right(self.instants, instant)
        return self.instants[place] if place < len(self.instants) else None


@given(between=gaps, late=st.timedeltas(timedelta(0), timedelta(days=800)), data=st.data())
def test_every_instant_is_fired_or_merged_once(between: list[timedelta], late: timedelta, data: st.DataObject) -> None:
    instants = instants_of(between)
    due = data.draw(st.sampled_from(instants))
    now = due + late
    policy = data.draw(st.sampled_from(["latest", "none", "all"]))
    most = data.draw(st.integers(1, 6))
    decision = decide(Listed(instants), due, now, policy, most)
    missed = [instant for instant in instants if due <= instant <= now]
    merged = [] if decision.merged is None else [i for i in missed if decision.merged[0] <= i <= decision.merged[1]]
    assert merged + list(decision.fire) == missed
    assert decision.merged is None or {*decision.merged} <= {*missed}
    assert decision.next_due == next((instant for instant in instants if instant > now), None)
    wanted = {"latest": 1, "all": min(most, len(missed)), "none": int(now - missed[-1] <= ON_TIME)}[policy]
    assert len(decision.fire) == wanted


@given(between=gaps, late=st.timedeltas(timedelta(0), timedelta(days=800)))
def test_last_until_is_the_last_one(between: list[timedelta], late: timedelta) -> None:
    instants = instants_of(between)
    until = START + late
    assert last_until(Listed(instants), START, until) == max(i for i in instants if i <= until)


@pytest.mark.parametrize("away", [timedelta(hours=1), timedelta(days=365), timedelta(days=3650)])
def test_the_length_of_an_outage_does_not_matter(away: timedelta) -> None:
    asked = 0

    def minutely(instant: datetime) -> datetime:
        nonlocal asked
        asked += 1
        return instant.replace(second=0, microsecond=0) + timedelta(minutes=1)

    decision = decide(minutely, START, START + away, "latest")
    assert decision.fire == (START + away,)
    assert decision.merged == (START, START + away - timedelta(minutes=1))
    assert asked < 80


def test_what_has_not_come_is_not_decided() -> None:
    with pytest.raises(ValueError, match="has not come"):
        decide(Listed([START]), START, START - timedelta(seconds=1), "latest")
