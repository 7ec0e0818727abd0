"""`brain cron explain` as people call it: a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "schedules.md"


@pytest.fixture
def explain(tmp_path: Path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("THE_BRAIN_")}
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "100"}

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "brain_core", "cron", "explain", *arguments],
            env={**kept, **home, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return call


def test_json_holds_words_notes_and_ten_instants(explain):
    done = explain("30 9 * * 1-5", "--timezone", "Asia/Kathmandu", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert {key: told[key] for key in ("cron", "timezone", "description", "notes")} == {
        "cron": "30 9 * * 1-5",
        "timezone": "Asia/Kathmandu",
        "description": "at 09:30 on Monday to Friday (Asia/Kathmandu)",
        "notes": [],
    }
    local = [datetime.fromisoformat(one["local"]) for one in told["next"]]
    utc = [datetime.fromisoformat(one["utc"]) for one in told["next"]]
    assert len(local) == 10
    assert local == utc == sorted(set(utc))
    assert {(at.hour, at.minute, at.utcoffset()) for at in local} == {(9, 30, timedelta(hours=5, minutes=45))}
    assert {at.isoweekday() for at in local} == {1, 2, 3, 4, 5}
    assert {at.utcoffset() for at in utc} == {timedelta()}


def test_people_read_the_words_then_notes_then_local_time_beside_utc(explain):
    done = explain("0 0 13 * 5")
    assert (done.returncode, done.stderr) == (0, "")
    words, note, empty, *instants = done.stdout.splitlines()
    assert words == "at 00:00 on day 13 of the month or on Friday (UTC)"
    assert note.startswith("note: day-of-month '13' and day-of-week '5' are both restricted")
    assert empty == ""
    assert len(instants) == 10
    pattern = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\d{4}-\d\d-\d\d 00:00)"
    assert all(re.fullmatch(rf"{pattern} \+00:00  \1 \2 UTC", line) for line in instants)


def test_the_time_zone_of_the_configuration_counts_where_none_is_named(explain):
    done = explain("@daily", "--json", THE_BRAIN_PLUGINS__CRON__TIMEZONE="Asia/Tehran")
    assert json.loads(done.stdout)["timezone"] == "Asia/Tehran"
    done = explain("@daily", "--json", "--timezone", "UTC", THE_BRAIN_PLUGINS__CRON__TIMEZONE="Asia/Tehran")
    assert json.loads(done.stdout)["timezone"] == "UTC"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["61 * * * *"], 1, "cron expression '61 * * * *': minute 61 is out of range; it goes from 0 to 59"),
        (["@daily", "--timezone", "Berlin"], 1, "there is no time zone 'Berlin'; did you mean 'Europe/Berlin'?"),
        (["\x1b[31m * * * *"], 1, "cron expression '\\x1b[31m * * * *': minute '\\x1b[31m' holds a character that "
                                  "no field has"),
        (["0", "9", "*", "*", "*"], 2, "got unexpected extra argument(s) (9 * * *); put quotes around a value "
                                           "that holds spaces or '*'; see 'brain cron explain --help'"),
        ([], 2, "missing argument 'EXPRESSION'; see 'brain cron explain --help'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(explain, arguments, code, line):
    done = explain(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == f"brain: error: {line}\n"


def _shown() -> list[tuple[list[str], str]]:
    """Return each call of the page with the part of its output that does not depend on the day."""
    blocks = re.findall(r"```console\n\$ brain cron explain (.*?)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return [(re.findall(r"\"[^\"]*\"|\S+", arguments), output) for arguments, output in blocks]


@pytest.mark.parametrize(("arguments", "output"), _shown(), ids=[" ".join(one) for one, _ in _shown()])
def test_the_page_shows_what_it_prints(explain, arguments, output):
    done = explain(*(word.strip('"') for word in arguments))
    # Dates change from day to day, and with them the order of the notes; all else is held word by word.
    assert _lasting(done.stdout + done.stderr) == _lasting(output)


def _lasting(text: str) -> list[str]:
    lines = [re.sub(r"\d{4}-\d\d-\d\d", "DATE", line) for line in text.splitlines()]
    return sorted(line for line in lines if line not in {"", "…"} and not re.match(r"\w{3} DATE", line))
