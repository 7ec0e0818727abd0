"""What commands print: nothing that steers a terminal, colour only where it may be."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_core.cli import output
from brain_core.cli.values import read_inputs, read_since
from brain_core.errors import UsageError


@given(st.text())
def test_visible_leaves_nothing_that_steers(text):
    shown = output.visible(text)
    assert all(char.isprintable() or char in "\n\t\u00a0\u3000\u200d\u200c" for char in shown)
    assert output.visible(shown) == shown
    assert "\n" not in output.one_line(text)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text\n\tindented", "plain text\n\tindented"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\rb\x07\x00\x9b", r"a\x0db\x07\x00\x9b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("Grüße 日本 👩‍💻", "Grüße 日本 👩‍💻"),
        ("\ud800", r"\ud800"),
    ],
)
def test_visible(raw, shown):
    assert output.visible(raw) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0031, "3 ms"),
        (0.9996, "1.0 s"),
        (2.44, "2.4 s"),
        (59.96, "1 m 00 s"),
        (185, "3 m 05 s"),
        (7260, "2 h 01 m"),
        (-1, "0 ms"),
    ],
)
def test_duration(seconds, text):
    assert output.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (900, "900 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")])
def test_size(count, text):
    assert output.size(count) == text


def test_table_is_aligned_and_one_line_a_row(capsys):
    output.table([("a", "x\ny"), ("日本", "z")], ("N", "V"))
    assert capsys.readouterr().out == "N     V\na     x\\ny\n日本  z\n"


def test_json_holds_what_the_history_holds(capsys):
    output.print_json({"at": datetime(2026, 1, 2, tzinfo=UTC), "text": "\x1bü"})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-01-02T00:00:00+00:00", "text": "\x1bü"}


COLOUR = "from brain_core.cli import output; output.table([['success']], ['S'])"


def _on_a_terminal(env: dict[str, str]) -> bytes:
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", COLOUR], stdout=theirs, env={**os.environ, **env}) as child:
        os.close(theirs)
        child.wait()
        read = os.read(ours, 1000)
    os.close(ours)
    return read


def test_colour_on_a_terminal_only_and_not_with_no_color():
    assert b"\x1b[32msuccess" in _on_a_terminal({"TERM": "xterm", "NO_COLOR": ""})
    assert b"\x1b" not in _on_a_terminal({"TERM": "xterm", "NO_COLOR": "1"})
    assert b"\x1b" not in _on_a_terminal({"TERM": "dumb", "NO_COLOR": ""})
    piped = subprocess.run([sys.executable, "-c", COLOUR], capture_output=True, check=True)
    assert b"\x1b" not in piped.stdout


def test_what_the_encoding_lacks_is_written_out():
    code = "from brain_core.cli import output; output.prepare(); output.emit('ü\\ud800')"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    assert done.stdout == b"\\xfc\\ud800\n"


def test_a_closed_stream_does_no_harm(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    output.emit("into the void")
    output.finish()


NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_since():
    assert read_since("2h")(NOW) == NOW - timedelta(hours=2)
    assert read_since("3d")(NOW) == NOW - timedelta(days=3)
    assert read_since("2026-05-01T08:00+02:00")(NOW) == datetime(2026, 5, 1, 6, tzinfo=UTC)
    assert read_since("2026-05-01")(NOW).tzinfo is not None


@given(st.text())
def test_since_never_breaks(text):
    with contextlib.suppress(UsageError):
        assert read_since(text)(NOW).tzinfo is not None


def test_inputs():
    assert read_inputs(["who=ann", "x=", "q=a=b"]) == {"who": "ann", "x": "", "q": "a=b"}
    for bad in (["who"], ["=x"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--input"):
            read_inputs(bad)
