"""The audit of a ledger: recompute the due instants and hold each against its outcome (G2). Pure.

A schedule's past is a list of stretches, one for each revision: in each of them another expression may have been in
force. A stretch holds the instants in `(after, until]`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, TypeAlias

from brain_core.schedule import NextAfter

Problem: TypeAlias = Literal["hole", "double", "stranger"]
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time in which one revision of a schedule was in force."""

    next_after: NextAfter
    after: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the ledger: an instant, or a range whose last instant is `until`."""

    due_at: datetime
    until: datetime | None
    outcome: str

    @property
    def last(self) -> datetime:
        return self.due_at if self.until is None else self.until


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at an instant: no outcome (hole), two (double), or one where nothing was due (stranger)."""

    problem: Problem
    at: datetime
    text: str


def audit(
    stretches: Sequence[Stretch], outcomes: Sequence[Outcome], since: datetime, until: datetime, *, most: int = 100
) -> list[Finding]:
    """Return what is wrong with the instants in `(since, until]`, at most `most` findings; empty when all is well.

    What a range row covers is not looked at one by one, so that a year of merged minutes costs nothing.
    """
    ledger = sorted(outcomes, key=lambda outcome: (outcome.due_at, outcome.last))
    found = _doubles(ledger)
    firsts = [outcome.due_at for outcome in ledger]
    met: set[datetime] = set()
    for stretch in stretches:
        at = max(stretch.after, since)
        end = min(stretch.until, until)
        while len(found) < most:
            due = stretch.next_after(at)
            if due is None or due > end:
                break
            met.add(due)
            place = bisect_right(firsts, due) - 1
            cover = ledger[place] if place >= 0 and ledger[place].last >= due else None
            if cover is None:
                found.append(Finding("hole", due, "was due and has no outcome"))
                at = due
            else:
                at = max(due, min(cover.last, end))
    if len(found) < most:
        # Asked only of what the walk has not met: each question costs as much as a step of the walk.
        found += _strangers(stretches, [outcome for outcome in ledger if outcome.due_at not in met], since, until)
    return sorted(found[:most], key=_place)


class Auditing:
    """An audit of `(since, until]` that is told the ledger in pages, the latest first, and keeps none of them.

    It finds what `audit` finds in the whole ledger; of more than `most` findings the latest.
    """

    def __init__(self, stretches: Sequence[Stretch], since: datetime, until: datetime, *, most: int = 100) -> None:
        self._stretches = stretches
        self._since = since
        self._until = until
        self._most = most
        self._later: Outcome | None = None
        self._found: list[Finding] = []

    @property
    def full(self) -> bool:
        """Whether there are as many findings as are wanted; further pages change nothing."""
        return len(self._found) >= self._most

    def page(self, outcomes: Iterable[Outcome]) -> None:
        """Audit the time from the first of some outcomes up to where the page before this one began."""
        ledger = sorted(outcomes, key=lambda outcome: (outcome.due_at, outcome.last))
        if ledger:
            since = max(self._since, ledger[0].due_at - _TICK)
            # The first of the later page can be another outcome for an instant of this one, and is nothing else here.
            self._audit(ledger if self._later is None else [*ledger, self._later], since)
            self._later = ledger[0]

    def finish(self) -> list[Finding]:
        """Audit what lies before the first outcome of all; return the findings in the order of their instants."""
        self._audit((), self._since)
        return sorted(self._found, key=_place)

    def _audit(self, outcomes: Sequence[Outcome], since: datetime) -> None:
        until = self._until
        if not self.full:
            stretches = [one for one in self._stretches if one.after < until and since < one.until]
            self._found += audit(stretches, outcomes, since, until, most=self._most - len(self._found))
        self._until = min(until, since)


def _place(finding: Finding) -> tuple[datetime, str]:
    return finding.at, finding.problem


def _doubles(ledger: Sequence[Outcome]) -> list[Finding]:
    found = []
    for earlier, later in pairwise(ledger):
        if later.due_at <= earlier.last:
            text = f"has two outcomes, {earlier.outcome} and {later.outcome}"
            found.append(Finding("double", later.due_at, text))
    return found


def _strangers(
    stretches: Sequence[Stretch], ledger: Sequence[Outcome], since: datetime, until: datetime
) -> list[Finding]:
    found = []
    for outcome in ledger:
        # Not the end of a range: it stands for what was due up to there, and need not be due itself.
        at = outcome.due_at
        if since < at <= until and not _was_due(stretches, at):
            found.append(Finding("stranger", at, f"has the outcome {outcome.outcome} and was not due"))
    return found


def _was_due(stretches: Sequence[Stretch], at: datetime) -> bool:
    return any(stretch.after < at <= stretch.until and stretch.next_after(at - _TICK) == at for stretch in stretches)
