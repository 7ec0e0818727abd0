"""Ctrl-C at any moment of a command's life: exit code 130 and at most one line, never a traceback.

For a daemon Ctrl-C and SIGTERM are how it is stopped, from its first import on: exit code 0.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

# Sends a signal to its own process at the import with a given number, counted from the first that takes some time.
AT_IMPORT = """
import atexit, os, sys

at, seen, ours = int(os.environ["AT_IMPORT"]), 0, False

def on(event, arguments):
    global seen, ours
    if event == "import":
        ours = ours or arguments[0] == "typing"
        seen += ours
        if ours and seen == at:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))

sys.addaudithook(on)
if not at:
    atexit.register(lambda: print("imports:", seen))
"""


@pytest.fixture
def at_import(environment, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(AT_IMPORT)

    def run(number: int, command: str = "history", sent: int = signal.SIGINT) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "brain_core", command],
            env={
                **environment,
                "AT_IMPORT": str(number),
                "SIGNAL": str(int(sent)),
                "PYTHONPATH": str(tmp_path),
                "THE_BRAIN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            },
            capture_output=True,
            text=True,
            timeout=180,
        )

    return run


def test_ctrl_c_during_the_imports_is_quiet(at_import):
    whole = at_import(0)
    assert whole.returncode == 3, whole.stderr
    count = int(whole.stdout.rpartition(" ")[2])
    assert count > 300
    for number in range(1, count, count // 12):
        done = at_import(number)
        said = done.stderr.splitlines()
        assert "Traceback" not in done.stderr, f"at import {number} of {count}: {done.stderr}"
        # An interruption that comes when the answer is there changes nothing about it.
        assert done.returncode in (130, 3), f"at import {number} of {count}: {done.returncode} {said}"
        assert len(said) <= 1
        if number < count // 2:
            assert done.returncode == 130, f"at import {number} of {count}: {said}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", [1, 100, 250, 400])
def test_a_daemon_that_is_stopped_during_its_imports_ends_with_0(at_import, number, at):
    done = at_import(at, "daemon", number)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ctrl_c_while_the_embedded_server_starts(environment, tmp_path):
    """The whole group gets it, as from a terminal; what has begun comes to its end, and the next command works."""
    code = """
import os, signal
from brain_core.embedded import cluster

whole = cluster.Cluster.start

def start(self):
    os.killpg(0, signal.SIGINT)
    return whole(self)

cluster.Cluster.start = start
from brain_core.__main__ import main
import sys
sys.argv = ["brain", "status"]
sys.exit(main())
"""
    # Not tmp_path: as root the server's account may not pass through it.
    folder = tempfile.mkdtemp(prefix="brain-int-", dir="/tmp")
    environment = {**environment, "THE_BRAIN_HOME": folder}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            start_new_session=True,
        )
        assert done.returncode == 130, done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 1
        again = subprocess.run(
            [sys.executable, "-m", "brain_core", "status"], env=environment, capture_output=True, text=True, timeout=120
        )
        assert again.returncode == 0, again.stderr
    finally:
        subprocess.run([sys.executable, "-m", "brain_core", "db", "stop"], env=environment, capture_output=True)
        shutil.rmtree(folder)
