"""Making the data folder and starting the server on it. Everything here happens under the start lock."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from brain_core.embedded import postmaster
from brain_core.embedded.account import Account, choose, dropped, reachable
from brain_core.embedded.binaries import Binaries
from brain_core.embedded.locks import FileLock
from brain_core.errors import EmbeddedServerError

START_PATIENCE = 120.0  # a server that was killed reads its log again first
_AGAIN_PATIENCE = 10.0
_LONGEST_SOCKET = 103  # the shortest limit of the platforms (macOS), the end mark not counted
_LOG_LIMIT = 1 << 20
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

_SETTINGS = {
    "listen_addresses": "",
    "port": str(postmaster.PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "jit": "off",
}
_ACCESS = (
    "# The socket lies in a folder that only its owner can enter; there is no other way in.\nlocal all all trust\n"
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The places of one server: its folder, with the data, the log and the locks."""

    folder: Path
    binaries: Binaries

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def server_lock(self) -> Path:
        return self.folder / "server.lock"

    def make_folder(self) -> None:
        """Make the folder for the locks; nobody but its owner can look into it."""
        if "\n" in str(self.folder):
            raise EmbeddedServerError(
                f"the folder {str(self.folder)!r} has a line break in its name; set THE_BRAIN_HOME"
            )
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(exist_ok=True, mode=0o700)

    def start(self) -> postmaster.PidFile:
        """Start the server (made first where there is none) and return when it takes connections.

        When one runs already, or is just starting, that one is returned.
        """
        lock = FileLock(self.server_lock)
        try:
            found = self._wait_for_lock(lock)
            if found is not None:
                return found
            account = choose(self.data)
            if account is not None:
                account.open_way(self.folder)
            binaries = reachable(self.binaries, account, self.folder.parent)
            self._make_data(binaries, account)
            sockets = socket_folder(self.folder, account)
            return self._launch(binaries, account, sockets, lock)
        finally:
            lock.close()

    def _wait_for_lock(self, lock: FileLock) -> postmaster.PidFile | None:
        """Hold the server's lock, or return the server that holds it.

        Its processes hold it, all of them: after a `kill -9` of the first one the others need a moment to notice, and
        before they are gone no new server may touch the data.
        """
        deadline = time.monotonic() + START_PATIENCE
        while not lock.try_lock():
            found = postmaster.running(self.data)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"a server holds {self.data} but takes no connections for {START_PATIENCE:.0f} s; "
                    f"see {self.log}, and end it with 'brain db stop'"
                )
            time.sleep(0.01)
        # A server that was started by hand holds no lock of ours.
        return postmaster.running(self.data)

    def _make_data(self, binaries: Binaries, account: Account | None) -> None:
        for left in self.folder.glob("data.new*"):
            shutil.rmtree(left, ignore_errors=True)
        if (self.data / "PG_VERSION").exists():
            return
        if self.data.exists():
            raise EmbeddedServerError(f"{self.data} exists and holds no PostgreSQL data; move it away")
        # Beside and renamed at the end: what was interrupted is never taken for a database.
        fresh = self.folder / "data.new"
        fresh.mkdir(mode=0o700)
        if account is not None:
            os.chown(fresh, account.uid, account.gid)
        try:
            self._fill(fresh, binaries, account)
            fresh.rename(self.data)
            _sync(self.folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise

    def _fill(self, fresh: Path, binaries: Binaries, account: Account | None) -> None:
        settings = [word for name, value in _SETTINGS.items() for word in ("--set", f"{name}={value}")]
        _run(
            [
                *(binaries.program("initdb"), "-D", str(fresh), "-U", postmaster.USER, "-A", "trust"),
                *("-E", "UTF8", "--locale=C", "--no-instructions", *settings),
            ],
            account,
        )
        access = fresh / "pg_hba.conf"
        access.write_text(_ACCESS)
        _run(
            [binaries.program("postgres"), "--single", "-D", str(fresh), "template1"],
            account,
            f"CREATE DATABASE {postmaster.DATABASE};\n",
        )

    def _launch(self, binaries: Binaries, account: Account | None, sockets: Path, lock: FileLock) -> postmaster.PidFile:
        deadline = time.monotonic() + _AGAIN_PATIENCE
        while True:
            began = self._spawn(binaries, account, sockets, lock)
            found = self._wait_until_ready(lock)
            if found is not None:
                return found
            why = telling_line(_tail(self.log, began)) or "it says nothing"
            # What is left of a killed server keeps its shared memory for a moment.
            passing = "lock file" in why or "shared memory" in why
            if not passing or time.monotonic() > deadline:
                raise EmbeddedServerError(f"the embedded PostgreSQL did not start: {why} (log: {self.log})")
            time.sleep(0.2)

    def _spawn(self, binaries: Binaries, account: Account | None, sockets: Path, lock: FileLock) -> int:
        """Start the server as nobody's child, holding the lock, and return where its part of the log begins."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.rename(self.log.with_name("server.log.old"))
        environment = dict(_ENVIRONMENT)
        claim = postmaster.read(self.data)
        if claim is not None and postmaster.is_alive(claim.pid):
            # The id is in use again, by a process that is no server of this folder (we hold the lock, and it was
            # looked at). To the server this name means: that process is known, go on to the check of the shared
            # memory. So the pid file need not be deleted, which would take that check away.
            if postmaster.is_postmaster(claim.pid, self.data):
                raise EmbeddedServerError(f"a server with pid {claim.pid} runs on {self.data} and does not answer")
            environment["PG_GRANDPARENT_PID"] = str(claim.pid)
        settings = {**_SETTINGS, "unix_socket_directories": str(sockets)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            began = log.tell()
            # By way of a shell that ends at once: a child of ours would stay a zombie as long as we live, and its
            # id in the pid file would look alive.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", binaries.program("postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment,
                start_new_session=True,
                pass_fds=(lock.fd,),
                check=True,
                **dropped(account),
            )
        # Only our descriptor: the server keeps its own, and with it the lock.
        lock.close()
        return began

    def _wait_until_ready(self, lock: FileLock) -> postmaster.PidFile | None:
        """Return the server when it takes connections, None when it has ended (the lock is ours again)."""
        deadline = time.monotonic() + START_PATIENCE
        while time.monotonic() < deadline:
            found = postmaster.running(self.data)
            if found is not None:
                return found
            if lock.try_lock():
                return None
            time.sleep(0.005)
        raise EmbeddedServerError(
            f"the embedded PostgreSQL takes no connections {START_PATIENCE:.0f} s after its start; see {self.log}"
        )


def socket_folder(folder: Path, account: Account | None) -> Path:
    """Return the folder for the socket, made where it is missing: its owner's alone.

    A path that the kernel or a client would not take is replaced by a short one below /tmp.
    """
    uid = os.geteuid() if account is None else account.uid
    sockets = folder / "socket"
    too_long = len(os.fsencode(f"{sockets}/.s.PGSQL.{postmaster.PORT}")) > _LONGEST_SOCKET
    # A comma separates hosts, for libpq and asyncpg alike, and some clients do not decode a URL.
    if too_long or quote(str(sockets), safe="/", errors="surrogateescape") != str(sockets):
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        sockets = Path(f"/tmp/brain-{uid}-{name}")  # noqa: S108 - its owner and mode are checked below
    with contextlib.suppress(FileExistsError):
        sockets.mkdir(mode=0o700)
        if account is not None:
            os.chown(sockets, account.uid, account.gid, follow_symlinks=False)
    found = sockets.lstat()
    if found.st_uid != uid or found.st_mode & 0o170777 != 0o040700:
        raise EmbeddedServerError(
            f"the folder {sockets} for the server's socket has to be a folder of mode 0700 that belongs to uid {uid}; "
            "remove it"
        )
    return sockets


def telling_line(text: str) -> str:
    """Return the line of a program's output that says what went wrong, without time and process."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for mark in ("FATAL:", "PANIC:", "error:", "ERROR:", "could not"):
        for line in reversed(lines):
            if mark in line:
                return line[line.index(mark) :].removeprefix(mark).strip() if mark.endswith(":") else line
    return lines[-1] if lines else ""


def _run(command: list[str], account: Account | None, given: str = "") -> None:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_ENVIRONMENT,
            timeout=START_PATIENCE,
            check=False,
            start_new_session=True,
            **dropped(account),
        )
    except PermissionError as error:
        if account is None:
            raise
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and root may not run {command[0]} as user '{account.name}' here "
            f"({error.strerror}); run brain as an ordinary user, or set THE_BRAIN_DATABASE_URL"
        ) from error
    said = done.stdout.decode(errors="replace")
    # The single-user server ends with 0 even when its statement failed.
    if done.returncode != 0 or "ERROR:" in said:
        raise EmbeddedServerError(
            f"cannot make the embedded PostgreSQL: {name}: {telling_line(said) or f'exit code {done.returncode}'}"
        )


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read(1 << 16).decode(errors="replace")


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
