"""Times, durations and policies as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from brain_core.cli.values import read_age, read_catch_up, read_overlap, read_until
from brain_core.errors import UsageError

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", NOW + timedelta(minutes=90)),
        (" 2H ", NOW + timedelta(hours=2)),
        ("2026-05-01T14:00+01:00", NOW + timedelta(hours=1)),
        ("2026-05-02T00:00Z", NOW + timedelta(hours=12)),
    ],
)
def test_until(text, moment):
    assert read_until(text)(NOW) == moment


def test_until_without_a_zone_is_local():
    assert read_until("2027-01-01")(NOW) == datetime(2027, 1, 1).astimezone()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("2020-01-01", "is over; give a time to come"),
        ("0s", "is over"),
        ("soon", "is neither a time from now (30s, 5m, 2h, 3d, 1w) nor a time"),
        ("", "is neither"),
        ("-2h", "is neither"),
        ("999999w", "lies after all time"),
    ],
)
def test_until_refused(text, part):
    with pytest.raises(UsageError, match="--until") as caught:
        read_until(text)(NOW)
    assert part in str(caught.value)


def test_age():
    assert read_age("26h") == timedelta(hours=26)
    for text in ("26", "", "0h", "1.5h", "2026-05-01", "h"):
        with pytest.raises(UsageError, match="90m, 26h or 7d"):
            read_age(text)


def test_catch_up():
    assert read_catch_up("latest") == ("latest", None)
    assert read_catch_up("none") == ("none", None)
    assert read_catch_up("all:3") == ("all", 3)
    assert read_catch_up("all:1000") == ("all", 1000)


@pytest.mark.parametrize("text", ["all", "all:", "all:0", "all:-1", "all:x", "all:1001", "all:99999999999", "all:٣"])
def test_catch_up_all_says_how_many(text):
    with pytest.raises(UsageError, match="write all:N with N from 1 to 1,000"):
        read_catch_up(text)


@pytest.mark.parametrize("text", ["", "latst", "none:3", "latest:", "ALL:3"])
def test_catch_up_refused(text):
    with pytest.raises(UsageError, match="is none of latest, none and all:N"):
        read_catch_up(text)


def test_overlap():
    assert [read_overlap(text) for text in ("skip", "allow")] == ["skip", "allow"]
    with pytest.raises(UsageError, match="did you mean 'allow'"):
        read_overlap("alow")
