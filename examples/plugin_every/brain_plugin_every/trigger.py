"""The trigger type `every`: due at each multiple of an interval, counted from 1970-01-01 00:00 UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from brain_core import Trigger, TriggerRefused

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST, LONGEST, DAY = timedelta(seconds=1), timedelta(days=366), timedelta(days=1)
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PARTS = re.compile(r"(?:(\d{1,8})d)?(?:(\d{1,8})h)?(?:(\d{1,8})m)?(?:(\d{1,8})s)?", re.ASCII)


class Every(Trigger):
    """Starts runs at a fixed interval: `Every(every="90s")`, `"15m"`, `"1h30m"`, `"2d"`."""

    type_name: ClassVar[str] = "every"

    every: str

    def check(self) -> None:
        if not SHORTEST <= self._interval <= LONGEST:
            raise TriggerRefused(f"every '{self.every}': an interval is from 1s to 366d long")

    def describe(self) -> str:
        return f"every {self.every}, counted from 1970-01-01 00:00 UTC"

    def notes(self) -> list[str]:
        if DAY % self._interval and self._interval % DAY:
            return [f"{self.every} does not divide a day: the times of day are others from one day to the next"]
        return []

    def next_after(self, instant: datetime) -> datetime | None:
        # Whole timedeltas: a float would lose microseconds, and an instant could come back as its own successor.
        try:
            return EPOCH + ((instant - EPOCH) // self._interval + 1) * self._interval
        except OverflowError:
            return None

    @property
    def _interval(self) -> timedelta:
        found = _PARTS.fullmatch(self.every)
        if found is None or not self.every:
            raise TriggerRefused(f"every '{self.every}' is no interval; write it as 90s, 15m, 1h30m or 2d")
        values = {unit: int(value or 0) for unit, value in zip(_UNITS.values(), found.groups(), strict=True)}
        return timedelta(**values)
