"""Looking ahead: order, counts, overlaps, changes of the clocks, full minutes, and limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from brain_core import Cron
from brain_core.forecast import Upcoming, forecast

START = datetime(2026, 5, 1, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _every(minutes: int, name: str = "a", **more) -> Upcoming:
    return Upcoming(name, Cron(f"*/{minutes} * * * *", timezone="UTC").next_after, START, **more)


def test_instants_come_in_order_and_until_is_included():
    found = forecast([_every(20, "slow"), _every(10, "quick")], START + 30 * MINUTE, keep=100)
    minutes = [(one.name, round((one.at - START) / MINUTE)) for one in found.instants]
    assert minutes == [("quick", 10), ("quick", 20), ("slow", 20), ("quick", 30)]
    assert found.counts == {"slow": 1, "quick": 3}
    assert found.busiest == [(START + 20 * MINUTE, 2)]
    assert not found.cut


def test_what_is_not_kept_is_counted():
    found = forecast([_every(1)], START + timedelta(hours=10), keep=3)
    assert (len(found.instants), found.counts) == (3, {"a": 600})


def test_too_many_instants_are_cut_and_said_so():
    found = forecast([_every(1)], START + timedelta(days=1), keep=3, most=100)
    assert (found.cut, found.counts) == (True, {"a": 100})
    assert found.until == START + 101 * MINUTE


def test_runs_that_take_longer_than_the_gap_overlap():
    # A run of 25 minutes every ten: of three instants the first starts one, and two come while it goes on.
    found = forecast([_every(10, seconds=25 * 60.0)], START + timedelta(hours=1), keep=100)
    assert [one.skipped for one in found.instants] == [False, True, True] * 2
    assert found.overlaps == {"a": 4}


def test_a_run_that_ends_at_the_instant_does_not_overlap():
    assert not forecast([_every(10, seconds=600.0)], START + timedelta(hours=1), keep=100).overlaps


def test_what_may_overlap_is_not_skipped():
    found = forecast([_every(10, seconds=700.0, skips=False)], START + timedelta(hours=1), keep=100)
    assert [one.overlaps for one in found.instants] == [False] + [True] * 5
    assert not any(one.skipped for one in found.instants)


def test_a_change_of_the_clocks_is_marked_once():
    berlin = ZoneInfo("Europe/Berlin")
    daily = Cron("0 9 * * *", timezone="Europe/Berlin")
    one = Upcoming("a", daily.next_after, datetime(2026, 10, 23, 12, 0, tzinfo=UTC), zone=berlin)
    found = forecast([one], datetime(2026, 10, 27, 12, 0, tzinfo=UTC), keep=100)
    assert [each.shift for each in found.instants] == [timedelta(0), timedelta(hours=-1), timedelta(0), timedelta(0)]
    assert [each.at.day for each in found.shifts] == [25]


def test_a_schedule_at_its_end_has_no_instants():
    found = forecast([Upcoming("a", lambda _: None, START)], START + timedelta(days=1), keep=10)
    assert (found.instants, found.counts) == ([], {"a": 0})


def test_a_type_that_stands_still_does_not_hang():
    assert forecast([Upcoming("a", lambda at: at, START)], START + timedelta(days=1), keep=10).counts == {"a": 0}
