"""Advisory locks on files: held by processes, released by the kernel however a process ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from brain_core.errors import EmbeddedServerError


class FileLock:
    """A flock on a file that is made when it is missing.

    A file that was deleted meanwhile is noticed: the lock is then taken on the new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def try_lock(self, *, shared: bool = False) -> bool:
        """Take the lock, or say at once that it cannot be had. Taking one that is held changes its kind."""
        while True:
            if self._fd < 0:
                self._fd = _open(self.path)
            try:
                fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                if not self._stale():
                    return False
            else:
                if not self._stale():
                    return True
            self.close()

    def lock(self, *, shared: bool = False, patience: float, complaint: str) -> None:
        """Take the lock, waiting up to `patience` seconds; EmbeddedServerError with the complaint after that."""
        # Asked again and again, since a blocking flock knows no time limit.
        deadline = time.monotonic() + patience
        pause = 0.002
        while not self.try_lock(shared=shared):
            if time.monotonic() > deadline:
                raise EmbeddedServerError(complaint)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def wait_exclusive(self) -> bool:
        """Sleep until nobody else holds it, then hold it; False when the file is gone."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return not self._stale()

    def touch(self) -> None:
        """Mark the file as used now."""
        if self._fd >= 0:
            os.utime(self._fd)

    def release(self) -> None:
        """Give the lock back and keep the file open."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the lock goes with it unless another process has the descriptor too."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def fd(self) -> int:
        """The descriptor, to hand the held lock on to a child process."""
        return self._fd

    def _stale(self) -> bool:
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return True
        mine = os.fstat(self._fd)
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    if os.geteuid() != 0:
        return os.open(path, flags, 0o600)
    # root may look after another user's folder: that user has to be able to open the lock as well.
    fd = os.open(path, flags, 0o600)
    owner, mine = path.parent.stat(), os.fstat(fd)
    if mine.st_uid != owner.st_uid:
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd


def holders(path: Path) -> int | None:
    """Return how many other processes hold a shared lock on the file; None where the platform does not tell."""
    try:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    mine = str(os.getpid())
    found = set()
    for line in lines:
        fields = line.split()
        # 1: FLOCK  ADVISORY  READ 4711 fe:00:1234 0 EOF; one that waits has "->" behind its number.
        if fields[1:2] == ["FLOCK"] and fields[3] == "READ" and fields[5].rpartition(":")[2] == inode:
            found.add(fields[4])
    return len(found - {mine})
