"""The audit against ledgers that are right, and against each way of making them wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from brain_core.audit import Auditing, Finding, Outcome, Stretch, audit

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
END = START + 60 * MINUTE


def every(minutes: int) -> Stretch:
    def next_after(instant: datetime) -> datetime:
        passed = int((instant - START) / MINUTE) // minutes
        return START + (passed + 1) * minutes * MINUTE

    return Stretch(next_after, START, END)


def at(minute: int) -> datetime:
    return START + minute * MINUTE


@st.composite
def ledgers(draw: st.DrawFn) -> list[Outcome]:
    """A whole ledger of an every-minute schedule: single rows and ranges that follow each other."""
    rows, minute = [], 1
    while minute <= 60:
        length = draw(st.integers(1, 20))
        last = min(60, minute + length - 1)
        if last == minute and draw(st.booleans()):
            rows.append(Outcome(at(minute), None, "fired"))
        else:
            rows.append(Outcome(at(minute), at(last), "merged"))
        minute = last + 1
    return rows


@given(ledgers())
def test_a_whole_ledger_has_no_findings(rows: list[Outcome]) -> None:
    assert audit([every(1)], rows, START, END) == []


@given(ledgers(), st.data())
def test_a_row_that_is_missing_is_a_hole(rows: list[Outcome], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(rows))
    found = audit([every(1)], [row for row in rows if row is not gone], START, END)
    assert found[0].problem == "hole"
    assert {finding.at for finding in found} == {
        at(minute) for minute in range(61) if gone.due_at <= at(minute) <= gone.last
    }


@given(ledgers(), st.integers(1, 60))
def test_a_second_outcome_is_a_double(rows: list[Outcome], minute: int) -> None:
    found = audit([every(1)], [*rows, Outcome(at(minute), None, "fired")], START, END)
    assert "double" in {finding.problem for finding in found}


def test_an_outcome_between_two_instants_is_a_stranger() -> None:
    rows = [Outcome(at(minute), None, "fired") for minute in range(10, 61, 10)]
    found = audit([every(10)], [*rows, Outcome(at(15), None, "fired")], START, END)
    assert [(finding.problem, finding.at) for finding in found] == [("stranger", at(15))]


def test_each_revision_has_its_own_instants() -> None:
    early, late = every(10), every(15)
    stretches = [Stretch(early.next_after, START, at(30)), Stretch(late.next_after, at(30), END)]
    rows = [Outcome(at(minute), None, "fired") for minute in (10, 20, 30, 45, 60)]
    assert audit(stretches, rows, START, END) == []
    assert [finding.at for finding in audit(stretches, rows[:3], START, END)] == [at(45), at(60)]


def test_what_lies_outside_the_time_asked_for_is_left_alone() -> None:
    assert [finding.at for finding in audit([every(10)], [], at(20), at(40))] == [at(30), at(40)]


def in_pages(
    rows: list[Outcome], size: int, stretches: list[Stretch], since: datetime, until: datetime
) -> list[Finding]:
    auditing = Auditing(stretches, since, until)
    latest_first = sorted(rows, key=lambda row: row.due_at, reverse=True)
    for start in range(0, len(rows), size):
        auditing.page(latest_first[start : start + size])
    return auditing.finish()


@given(ledgers(), st.data())
def test_pages_find_what_the_whole_ledger_does(rows: list[Outcome], data: st.DataObject) -> None:
    """With rows that are missing, and instants that are no longer due from some moment on."""
    kept = data.draw(st.lists(st.sampled_from(rows), unique_by=id))
    changed = at(data.draw(st.integers(0, 60)))
    stretches = [Stretch(every(1).next_after, START, changed), Stretch(every(2).next_after, changed, END)]
    since, until = sorted(data.draw(st.lists(st.integers(0, 60).map(at), min_size=2, max_size=2)))
    for size in (1, 2, 7):
        assert in_pages(kept, size, stretches, since, until) == audit(stretches, kept, since, until)


@given(ledgers(), st.data())
def test_pages_find_every_double(rows: list[Outcome], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    rows[place] = Outcome(rows[place].due_at, rows[place].last + data.draw(st.integers(0, 9)) * MINUTE, "merged")
    wanted = [one for one in audit([every(1)], rows, START, END) if one.problem == "double"]
    for size in (1, 2, 7):
        assert [one for one in in_pages(rows, size, [every(1)], START, END) if one.problem == "double"] == wanted


def test_it_says_when_it_has_enough_and_keeps_the_latest() -> None:
    auditing = Auditing([every(1)], START, END, most=3)
    auditing.page([Outcome(at(minute), None, "fired") for minute in (10, 60)])
    assert auditing.full
    assert [finding.at for finding in auditing.finish()] == [at(11), at(12), at(13)]
