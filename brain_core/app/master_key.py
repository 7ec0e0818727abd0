"""The master key: 32 bytes from the settings or from a file in `home`, of which keys for a purpose are derived."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from brain_core.errors import BrainError

if TYPE_CHECKING:
    from brain_core.config import Settings

FILE = "master.key"
_BYTES = 32
_LARGE = 1_024


def master_key(settings: Settings) -> bytes:
    """Return the key; without THE_BRAIN_MASTER_KEY that of the file, which is made when it is not there.

    BrainError names a file that cannot be used or made. Whoever asks at the same time gets the same key.
    """
    if settings.master_key is not None:
        return hashlib.sha256(settings.master_key.get_secret_value().encode("utf-8", "surrogateescape")).digest()
    file = settings.home / FILE
    try:
        found = _read(file)
        if found is None:
            _make(file)
            found = _read(file)
    except OSError as error:
        raise BrainError(f"{file} cannot be used as the master key: {error.strerror or error}") from None
    if found is None:
        if file.is_symlink():
            raise BrainError(f"{file} is a link to what is not there; restore '{file.readlink()}', or remove the link")
        raise BrainError(f"{file} was removed while it was made; try again")
    return found


def derived(master: bytes, purpose: str) -> bytes:
    """Return the key for a purpose: 32 bytes that tell nothing of the master key nor of that for another purpose."""
    return hmac.digest(master, purpose.encode(), "sha256")


def _read(file: Path) -> bytes | None:
    """Return the key in a file, None when there is none."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as opened:  # noqa: PTH123 - a descriptor, so that what is judged is what is read
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BrainError(f"{file} is no ordinary file; move it away, or set THE_BRAIN_MASTER_KEY")
        if found.st_mode & 0o077:
            raise BrainError(
                f"{file} may be read or changed by others (mode {stat.S_IMODE(found.st_mode):o}); if nobody has read "
                f"it: chmod 600 {file}"
            )
        text = opened.read(_LARGE)
    if not re.fullmatch(rb"[0-9a-f]{%d}\n?" % (2 * _BYTES), text):
        raise BrainError(
            f"{file} is damaged: it does not hold {2 * _BYTES} hexadecimal digits; restore it, or remove it, after "
            "which all that was derived from it (secrets of webhooks) changes"
        )
    return bytes.fromhex(text.decode())


def _make(file: Path) -> None:
    """Write a new key, unless somebody else has done so first: it is linked to its name only when it is whole."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, fresh = tempfile.mkstemp(prefix=f".{FILE}.", dir=file.parent)
    try:
        with open(fd, "wb") as opened:  # noqa: PTH123
            opened.write(os.urandom(_BYTES).hex().encode() + b"\n")
            opened.flush()
            owner = file.parent.stat()
            if os.geteuid() == 0 and owner.st_uid != 0:
                # Made by root in the home of another user, who has to read it.
                os.fchown(fd, owner.st_uid, owner.st_gid)
            os.fsync(fd)
        with suppress(FileExistsError):
            os.link(fresh, file)
    finally:
        Path(fresh).unlink()
    _sync(file.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
