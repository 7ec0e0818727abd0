"""Under which account the server runs. PostgreSQL refuses to run as root; everybody else runs it as themselves."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from brain_core.embedded.binaries import Binaries
from brain_core.errors import EmbeddedServerError

NAME = "brain-postgres"


class As(TypedDict, total=False):
    """The arguments of subprocess that drop privileges."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """An account that root gives its rights up for."""

    name: str
    uid: int
    gid: int

    def can_read(self, path: Path) -> bool:
        """Whether it may read the file and search every folder above it, as far as mode bits tell."""
        path = path.resolve()
        return self._may(path, 4) and all(self._may(parent, 1) for parent in path.parents)

    def open_way(self, folder: Path) -> None:
        """Let it pass through the folder and all above it: the right to search, never to read."""
        for each in (folder, *folder.parents):
            if self._may(each, 1):
                continue
            found = each.stat()
            mode = stat.S_IMODE(found.st_mode)
            try:
                if not mode & 0o070 and found.st_uid == 0:
                    os.chown(each, -1, self.gid)
                    each.chmod(mode | 0o010)
                else:
                    each.chmod(mode | 0o001)
            except OSError as error:
                raise EmbeddedServerError(
                    f"the server runs as user '{self.name}', which cannot pass through {each}, and that cannot be "
                    f"changed ({error.strerror}); set THE_BRAIN_HOME to another folder"
                ) from error

    def _may(self, path: Path, bit: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return bool(found.st_mode >> shift & bit)


def choose(data: Path) -> Account | None:
    """Return the account for the server of that folder; None when it is the account of this process.

    The owner of an existing folder stays the one. Otherwise root takes `brain-postgres`, which is created when it is
    missing, and where that is impossible `nobody`.
    """
    if os.geteuid() != 0:
        return None
    try:
        owner = data.stat()
    except FileNotFoundError:
        return _named(NAME) or _create() or _named("nobody") or _refuse()
    if owner.st_uid == 0:
        raise EmbeddedServerError(f"{data} belongs to root, and PostgreSQL does not run as root; give it another owner")
    return Account(_name_of(owner.st_uid), owner.st_uid, owner.st_gid)


def dropped(account: Account | None) -> As:
    """Return the arguments of subprocess with which a child runs under the account."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def reachable(binaries: Binaries, account: Account | None, home: Path) -> Binaries:
    """Return the installation, or a copy of it below home when the account cannot get at it."""
    if account is None or account.can_read(Path(binaries.program("postgres"))):
        return binaries
    copy = home / f"server-{binaries.version}"
    # The programs look for their libraries three folders up, beside the package: the copy keeps that layout.
    package = binaries.root.parent
    inside = Path(package.name, binaries.root.name)
    if not (copy / inside / "bin" / "postgres").exists():
        for left in home.glob("server-*.new"):
            shutil.rmtree(left, ignore_errors=True)
        fresh = copy.with_name(f"{copy.name}.new")
        shutil.copytree(binaries.root, fresh / inside, symlinks=True, ignore=shutil.ignore_patterns("include"))
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        for folder, _, files in os.walk(fresh):
            Path(folder).chmod(0o755)
            for name in files:
                file = Path(folder, name)
                if not file.is_symlink():
                    file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        # What stands in its place is a copy that cannot run: made by an older version, or broken off.
        shutil.rmtree(copy, ignore_errors=True)
        fresh.rename(copy)
    return Binaries(copy / inside, binaries.version)


def _named(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _create() -> Account | None:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    try:
        subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", NAME],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _named(NAME)


def _refuse() -> Account:
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root, and there is no user '{NAME}' or 'nobody' to run it; "
        "run brain as an ordinary user, or set THE_BRAIN_DATABASE_URL"
    )
