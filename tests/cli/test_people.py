"""How runs are told to people: progress while they go on, `show` afterwards. Runs made by hand, no database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from brain_core.app.shapes import step_shape
from brain_core.cli import output, show
from brain_core.cli.progress import Progress, preview
from brain_core.engine.events import HookProblem, Live, RunStarted, StepEnded, StepStarted
from brain_core.run import PlannedStep, Run, StepRun

AT = datetime(2026, 5, 1, 8, tzinfo=UTC)


def _step(position: int, name: str, **given) -> StepRun:
    known = {"type": "T", "attempt": 1, "status": "success", "started_at": AT, "ended_at": AT + timedelta(seconds=2)}
    return StepRun(position=position, name=name, **{**known, **given})


def _run(*steps: StepRun, **given) -> Run:
    known = {
        "id": "0123456789abcdef",
        "workflow": "w",
        "file": "/f.py",
        "status": "success",
        "created_at": AT,
        "started_at": AT,
        "ended_at": AT + timedelta(seconds=65),
        "planned": tuple(PlannedStep(name, "T") for name in ("a", "b", "c")),
    }
    return Run(steps=steps, **{**known, **given})


def test_progress(capsys):
    watch = Progress(verbose=True)
    watch(RunStarted(_run()))
    watch(StepStarted(0, "a", "T"))
    watch(Live("a", "half\x1b[2J"))
    watch(StepEnded(_step(0, "a", output="one\ntwo\x07\nthree")))
    watch(StepStarted(1, "b", "T"))
    watch(StepEnded(_step(1, "b", status="failed", error="ValueError: x\nmore\x1b")))
    watch(HookProblem("plugin p: slow"))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "w: run 01234567, 3 steps",
        "[1/3] a (T) ...",
        r"half\x1b[2J",
        "[1/3] a: success in 2.0 s  one (+2 lines)",
        "[2/3] b (T) ...",
        "[2/3] b: failed in 2.0 s",
        "      ValueError: x",
        r"      more\x1b",
        "brain: note: plugin p: slow",
    ]


def test_live_output_is_for_verbose_only(capsys):
    Progress(verbose=False)(Live("a", "text"))
    assert capsys.readouterr().err == ""


def test_preview():
    assert preview("") == ""
    assert preview({"a": [1]}) == '  {"a":[1]}'
    assert len(preview("x" * 1_000)) < 120


def test_show_shortens_for_people_and_says_how_to_see_all(capsys):
    run = _run(
        _step(0, "a", output="line\n" * 50),
        _step(
            1, "b", status="failed", error="bad", log="noise\n" * 500 + "the end", details={"exit_code": 3}, attempt=2
        ),
        status="failed",
        error="step 'b': bad",
        inputs={"who": "a\nb"},
        previous_run_id="fedcba9876543210",
    )
    show._print(run, {})
    text = capsys.readouterr().out
    assert "took 1 m 05 s" in text
    assert r"input     who = a\nb" in text
    assert "previous  fedcba98" in text
    assert text.count("    line\n") == 12
    assert "… 250 characters in all: brain show 01234567 --output a" in text
    assert "[2/3] b (T, attempt 2): failed" in text
    assert "    the end\n" in text
    assert text.count("noise") == 11
    assert "  exit_code: 3\n" in text
    assert text.endswith("never ran: c\n")


def test_show_leaves_no_blank_lines_behind_and_aligns_the_error(capsys):
    steps = (_step(0, "a", output="", log="warn\nwarn2\n"), _step(1, "b", status="failed", error="bad", log="x\n"))
    show._print(_run(*steps, status="failed", error="step 'b': bad"), {})
    text = capsys.readouterr().out
    assert "\nerror     step 'b': bad\n\n[1/3] a (T): success, " in text
    assert "  output: (empty)\n  log:\n    warn\n    warn2\n\n[2/3] b (T): failed, " in text
    assert text.endswith("  error: bad\n  log: x\n\nnever ran: c\n")
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_show_says_what_started_the_run(capsys):
    for trigger, line in [
        (None, None),
        ({"type": "manual", "name": "nightly"}, "nightly, by hand"),
        ({"type": "http", "token": "laptop"}, "http, token laptop"),
        ({"type": "http", "token": "laptop", "name": "nightly"}, "nightly (http, token laptop)"),
        ({"type": "hook", "name": "pushed"}, "pushed (hook)"),
        (
            {"type": "cron", "name": "nightly", "due_at": "2026-11-23T14:05:00+00:00"},
            f"nightly (cron), due {output.moment(datetime(2026, 11, 23, 14, 5, tzinfo=UTC))}",
        ),
    ]:
        show._print(_run(trigger=trigger), {})
        found = [
            text.partition("   ")[2] for text in capsys.readouterr().out.splitlines() if text.startswith("trigger")
        ]
        assert found == ([] if line is None else [line])


def test_show_of_a_step_that_runs(capsys):
    show._print(_run(status="running", ended_at=None, position=1), {})
    assert "\n[2/3] b (T): running\n\nnot yet: a, c\n" in capsys.readouterr().out
    row = _step(1, "b", status="running", ended_at=None, log="so far\n")
    show._print(_run(_step(0, "a"), row, status="running", ended_at=None, position=1), {})
    text = capsys.readouterr().out
    assert text.count("[2/3] b") == 1
    assert "[2/3] b (T): running, " in text
    assert ", not ended\n  log: so far\n\nnot yet: c\n" in text
    assert step_shape(row)["seconds"] is None


def test_show_of_a_run_that_goes_on(capsys):
    show._print(_run(status="running", ended_at=None), {})
    assert "not ended" in capsys.readouterr().out


def test_json_stays_json_where_a_character_cannot_be_written(brain, tmp_path):
    (tmp_path / "work" / "bad.py").write_text("raise ValueError('Übung ✓')\n", encoding="utf-8")
    for encoding in ("ascii", "latin-1"):
        done = brain("validate", "--json", "bad.py", env={"PYTHONIOENCODING": encoding})
        assert "Übung ✓" in json.loads(done.stdout)[0]["error"]


def test_a_port_that_cannot_be_is_one_line(brain):
    url = "postgresql://me:geheim@127.0.0.1:99999/x"
    done = brain("status", env={"THE_BRAIN_DATABASE_URL": url})
    assert (done.returncode, done.stderr) == (
        3,
        "brain: error: database 'x' at 127.0.0.1:99999 cannot be: a port is at most 65535; correct the URL "
        "(the URL is from THE_BRAIN_DATABASE_URL)\n",
    )
