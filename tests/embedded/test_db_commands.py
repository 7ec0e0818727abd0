from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import wait_gone

SECRET = "pass-word"


@pytest.fixture
def brain(shared_home: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "brain_core", "db", *arguments],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "THE_BRAIN_HOME": str(shared_home), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    return run


def test_start_status_url_psql_stop(brain) -> None:  # type: ignore[no-untyped-def]
    started = json.loads(brain("start", "--json").stdout)
    assert started["running"] is True
    status = json.loads(brain("status", "--json").stdout)
    assert set(status) == {"embedded", "running", "pid", "url", "data_directory", "version", "users"}
    assert status["pid"] == started["pid"]
    assert brain("url").stdout.strip() == status["url"]
    asked = brain("psql", "-A", "-t", "-c", "SELECT 6 * 7")
    assert (asked.stdout, asked.returncode) == ("42\n", 0)
    assert brain("stop").stdout == "stopped\n"
    wait_gone(status["pid"])
    assert brain("stop").stdout == "it was not running\n"
    assert json.loads(brain("status", "--json").stdout)["running"] is False
    assert "running         no" in brain("status").stdout


def test_psql_keeps_the_server_in_use(brain) -> None:  # type: ignore[no-untyped-def]
    lock = brain("psql", "-A", "-t", "-c", r"\! ls -l /proc/$PPID/fd")
    assert "users.lock" in lock.stdout, lock.stderr


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_configured_database_is_not_ours(brain, verb: str) -> None:  # type: ignore[no-untyped-def]
    done = brain(verb, THE_BRAIN_DATABASE_URL=f"postgresql://ann:{SECRET}@db.example/brain")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"(postgresql://ann@db.example/brain) is not ours to {verb}" in done.stderr
    assert "unset database_url (from THE_BRAIN_DATABASE_URL)" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    ("configured", "shown"),
    [
        (f"postgresql://ann:{SECRET}@h:5433/d?sslmode=require", "postgresql://ann@h:5433/d?sslmode=require"),
        (f"postgresql://ann@h/d?password={SECRET}&host=/tmp", "postgresql://ann@h/d?host=/tmp"),
        ("postgresql:///d?host=/tmp", "postgresql:///d?host=/tmp"),
    ],
)
def test_password_of_a_configured_database_is_not_shown(brain, configured: str, shown: str) -> None:  # type: ignore[no-untyped-def]
    assert brain("url", THE_BRAIN_DATABASE_URL=configured).stdout.strip() == shown
    status = brain("status", "--json", THE_BRAIN_DATABASE_URL=configured)
    assert json.loads(status.stdout) == {"embedded": False, "running": None, "url": shown}
