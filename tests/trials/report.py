"""Write docs/explanation/trials.md from the results that the long trials have left: `python -m tests.trials.report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "trials.md"
FOLDER = "tests/trials"

HEAD = """# What we promise and how we try to break it

<!-- Made by `python -m tests.trials.report` from tests/trials/results; change tests/trials/report.py instead. -->

Each trial starts real daemons on a real PostgreSQL, does something bad to them, again and again, at moments that one
seed decides, lifts the last fault, and asks:

- Does the system work again? Each workflow needs new successful runs after the last fault.
- Did the faults hit? A trial whose faults hit nothing has failed.
- Is the history true? The steps note their beginning and their end in a file, each with one write that the database
  knows nothing of. That file is joined with the rows: no attempt without its row, no success that did not happen, no
  finished step that ran again, and what a later step read is what was recorded. What was due is computed anew from
  the interval, and each instant has one outcome; then `brain audit` and `brain status --check` have to agree.

Zero failures in *n* trials show a rate below 3/*n*, and nothing more. `uv run pytest` runs each trial in a small
form; the numbers below are those of the long ones:

```sh
uv run pytest -n 0 -s -m long tests/trials
uv run python -m tests.trials.report
```

`THE_BRAIN_TEST_SEED` repeats a trial and `THE_BRAIN_TEST_TRIALS` sets how often it strikes. The moments are the same
again; what the machine does in them is not.
"""

FOOT = """
## What these trials do not show

- They run on one machine. Another host is tried by what distinguishes it, identity and leases, in `tests/store`.
- A machine that loses its power: the servers here run without `fsync`, and what survives that is PostgreSQL's
  promise.
- A whole machine that is frozen and thawed, runner processes included: what a step had begun outside goes on, and
  only its idempotency key covers that (see [what is promised](promises.md)).
- Cron expressions are tried elsewhere: `tests/cron` holds 23,000 of them against a walk through UTC, minute by
  minute.
"""


class About(NamedTuple):
    """What the page says of a trial; `tries` names the count that is its number of trials."""

    file: str
    promises: str
    what: str
    tries: str


TRIALS = {
    "fires-once": About(
        "test_fires_once.py",
        "An instant starts one run at most (G1), and ends in one outcome (G2).",
        "Three daemons share the schedules, which are due every second or two; one of them at a time is killed or "
        "drained and started again.",
        "instants",
    ),
    "kills": About(
        "test_kills.py",
        "A finished step never runs again (G9), an interrupted one is settled (G10, G11), the history is true (G13).",
        "A daemon, mostly one with runs in hand, is ended by SIGKILL; at times it is the only one.",
        "kills",
    ),
    "stops": About(
        "test_stops.py",
        "A stopped and woken daemon writes nothing about what it lost, and no two attempts are at work at once (G12).",
        "Daemons are stopped (SIGSTOP) until others have given them up, and woken while their runs go on elsewhere.",
        "stops",
    ),
    "failpoints": About(
        "test_failpoints.py",
        "What was not committed did not happen, what was committed stays (G1, G9, G10, G15, G17).",
        "A daemon kills itself, or loses its connection, right before and right after a commit: beat, fire, claim, "
        "begin, step, finish, take-over, drain.",
        "strikes",
    ),
    "server-stops": About(
        "test_server_stops.py",
        "The database may vanish: no daemon ends, and a step that finished meanwhile keeps its result (G17).",
        "PostgreSQL is stopped under load (`pg_ctl stop -m immediate`) and started again.",
        "stops",
    ),
    "lost-replies": About(
        "test_lost_replies.py",
        "What is sent again happens once (G17).",
        "The server commits, and a proxy swallows its reply: the connection is cut, or nobody answers on it any more.",
        "replies swallowed",
    ),
    "clock-of-a-daemon": About(
        "test_clocks.py",
        "What is due is asked of the database's clock (G5).",
        "The wall clock of the only daemon jumps by hours up to a year, forwards and backwards (libfaketime).",
        "jumps",
    ),
    "clock-of-the-database": About(
        "test_clocks.py",
        "No instant fires twice, none is lost (G1, G2), and a gap costs one row (G3).",
        "The clock of the server jumps: up to a month forwards, up to an hour back, and forwards again (libfaketime).",
        "jumps",
    ),
}


def results() -> dict[str, dict[str, Any]]:
    """Return what the trials have left, by name."""
    found = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    return {one["trial"]: one for one in found}


def render(found: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    lines = [
        HEAD,
        "| promise | trial | command (`uv run pytest -n 0 -s -m long …`) | trials run | seed | last result |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for name, about in TRIALS.items():
        result = found.get(name)
        told = ("none", "–", "not run yet") if result is None else _told(about, result)
        command = f"`{FOLDER}/{about.file}`"
        lines.append(f"| {about.promises} | [{name}](#{name}) | {command} | {' | '.join(told)} |")
    for name, about in TRIALS.items():
        lines += ["", f"## {name}", "", about.what]
        if (result := found.get(name)) is not None:
            counts = ", ".join(f"{number:,} {what}" for what, number in result["counts"].items())
            lines += ["", f"Counted in {result['minutes']} minutes: {counts or 'nothing, it ended before'}."]
    return "\n".join(lines) + "\n" + FOOT


def _told(about: About, result: dict[str, Any]) -> tuple[str, str, str]:
    tries = result["counts"].get(about.tries)
    return (
        "?" if tries is None else f"{tries:,} {about.tries}",
        str(result["seed"]),
        f"{result['outcome']}, {result['on']}",
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(results()))


if __name__ == "__main__":
    main()
