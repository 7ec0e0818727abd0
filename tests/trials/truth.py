"""The checker: joins the journal, which the steps wrote themselves, with the rows, and recomputes what was due."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from datetime import MAXYEAR, UTC, datetime
from typing import Any, NamedTuple

from .lab import Lab


class Line(NamedTuple):
    """A line of the journal: a step really began, or really ended."""

    run: str
    step: str
    attempt: int
    what: str
    text: str


def check(lab: Lab, *, attempts_apart: bool = False) -> dict[str, int]:
    """Hold rows against journal and arithmetic; return what was counted. All runs have to be over.

    With `attempts_apart` no attempt of a step may still have been at work when the next one began (G12).
    """
    counts = {**_ledger(lab), **_runs(lab)}
    lines = [Line(*_split(line)) for line in lab.journal.read_text().splitlines()]
    _journal(lab, lines)
    late = _overlaps(lines)
    assert not (attempts_apart and late), f"attempts of one step were at work at once: {late[:3]}"
    lab.checked_by_brain()
    return {**counts, "attempts begun": sum(line.what == "START" for line in lines)}


def _split(line: str) -> tuple[str, str, int, str, str]:
    run, step, attempt, what, text = line.split(" ")
    return run, step, int(attempt), what, text


def _ledger(lab: Lab) -> dict[str, int]:
    """Every instant has one outcome (G2), and what fired has one run (G1); computed without the product's code."""
    now = lab.sql("SELECT clock_timestamp() AS now")[0]["now"].timestamp()
    outcomes: Counter[str] = Counter()
    fires: dict[Any, list[Any]] = defaultdict(list)
    for row in lab.sql("SELECT trigger_id, due_at, until, outcome, run_id FROM brain.fires"):
        fires[row["trigger_id"]].append(row)
    for trigger in lab.sql("SELECT id, name, config->>'every' AS every, created_at, paused_at FROM brain.triggers"):
        interval = int(trigger["every"].removesuffix("s"))
        created, end = trigger["created_at"].timestamp(), (trigger["paused_at"] or _at(now)).timestamp()
        own = {row["due_at"].timestamp(): row["outcome"] for row in fires[trigger["id"]] if row["until"] is None}
        ranges = [
            (row["due_at"].timestamp(), _end(row["until"]), row["outcome"])
            for row in fires[trigger["id"]]
            if row["until"] is not None
        ]
        assert all(instant % interval == 0 for instant in own), f"{trigger['name']} fired at what is no instant"
        first = (int(created) // interval + 1) * interval
        outcomes += _outcomes(trigger["name"], own, ranges, first, end, interval)
    fired = {
        (row["trigger_id"], row["due_at"], row["run_id"]) for rows in fires.values() for row in rows if row["run_id"]
    }
    runs = lab.sql("SELECT trigger_id, due_at, id FROM brain.runs WHERE due_at IS NOT NULL")
    assert fired == {tuple(row) for row in runs}, "what fired and what ran are not the same"
    assert len({(row["trigger_id"], row["due_at"]) for row in runs}) == len(runs), "an instant has two runs"
    return {"instants": outcomes.total(), **{outcome.replace("_", " "): n for outcome, n in sorted(outcomes.items())}}


def _outcomes(
    name: str, own: dict[float, str], ranges: list[tuple[float, float, str]], first: int, end: float, interval: int
) -> Counter[str]:
    """Count the outcomes of the instants from `first` to `end`; a stretch that one range covers is counted at once."""
    found: Counter[str] = Counter()
    borders = sorted([*own, *(start for start, _, _ in ranges)])
    instant = first
    while instant <= end:
        if instant in own:
            found[own[instant]] += 1
            instant += interval
            continue
        cover = [(last, outcome) for start, last, outcome in ranges if start <= instant <= last]
        assert len(cover) == 1, f"{name} at {_at(instant)}: {cover or 'a hole'}"
        last, outcome = cover[0]
        # Up to where something else may begin.
        place = bisect_right(borders, instant)
        stop = min(last, end, borders[place] - interval if place < len(borders) else end)
        number = max(0, int(stop - instant) // interval) + 1
        found[outcome] += number
        instant += number * interval
    return found


def _end(until: datetime) -> float:
    return float("inf") if until.year == MAXYEAR else until.timestamp()


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _runs(lab: Lab) -> dict[str, int]:
    states = {row["status"]: row["n"] for row in lab.sql("SELECT status, count(*) AS n FROM brain.runs GROUP BY 1")}
    assert states.keys() <= {"success", "failed", "cancelled"}, f"not every run is over: {states}"
    odd = lab.sql(
        "SELECT id, error FROM brain.runs WHERE status <> 'success' AND error NOT LIKE 'interrupted in %' LIMIT 3"
    )
    assert not odd, f"a run failed for another reason than an interruption: {odd}"
    taken = lab.sql("SELECT count(*) AS n FROM brain.step_runs WHERE status = 'interrupted'")[0]["n"]
    return {"runs": sum(states.values()), "interrupted attempts": taken}


def _journal(lab: Lab, lines: list[Line]) -> None:
    """Hold each line against the row of its attempt (G9, G10, G13)."""
    rows = {
        (str(row["run_id"]), row["name"], row["attempt"]): row
        for row in lab.sql("SELECT run_id, name, attempt, status, output #>> '{}' AS output FROM brain.step_runs")
    }
    noted = {what: Counter(line[:3] for line in lines if line.what == what) for what in ("START", "END")}
    for what, counter in noted.items():
        twice = [key for key, n in counter.items() if n > 1]
        assert not twice, f"one attempt wrote {what} twice: {twice[:3]}"
        lost = [key for key in counter if key not in rows]
        assert not lost, f"an attempt that wrote {what} has no row: {lost[:3]}"
    succeeded = {key: row["output"] for key, row in rows.items() if row["status"] == "success"}
    invented = [key for key in succeeded if key not in noted["START"] or key not in noted["END"]]
    assert not invented, f"a success that did not happen: {invented[:3]}"
    done = {key[:2]: key[2] for key in succeeded}
    again = [line for line in lines if line.attempt > done.get((line.run, line.step), line.attempt)]
    assert not again, f"a finished step ran again: {again[:3]}"
    outputs = {key[:2]: output for key, output in succeeded.items()}
    for line in lines:
        if (line.what, line.step) == ("START", "two"):
            assert line.text == outputs[line.run, "one"], f"step two heard another output than the recorded one: {line}"


def _overlaps(lines: list[Line]) -> list[Line]:
    begun: dict[tuple[str, str], int] = {}
    late = []
    for line in lines:
        if line.what == "START":
            begun[line.run, line.step] = max(line.attempt, begun.get((line.run, line.step), 0))
        elif line.attempt < begun[line.run, line.step]:
            late.append(line)
    return late
