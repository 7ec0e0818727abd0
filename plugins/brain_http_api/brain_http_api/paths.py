"""Folders: the workflow files that may be run by their path, and no way out of their folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePath

from brain_http_api.problems import Problem

MAX_PATH = 4096
_SHOWN = 80


def is_path(workflow: str) -> bool:
    """Whether what a client calls a workflow is the path of a file, and not the name of what is registered."""
    return "/" in workflow or workflow.endswith(".py")


class Folders:
    """The folders whose files may be run."""

    def __init__(self, folders: Iterable[Path]) -> None:
        # By the name that they were given and by the one that they have: a client may use either.
        self._named = tuple(dict.fromkeys(Path(os.path.abspath(folder)) for folder in folders))  # noqa: PTH100
        self.folders = tuple(dict.fromkeys(Path(os.path.realpath(folder)) for folder in self._named))

    def file(self, path: str) -> Path:
        """Return the file that a path means, links followed; a Problem when it is none that may be run.

        A relative path is looked for in each folder in turn. The answer to what lies outside is the same whether it is
        there or not, and outside nothing is looked at but where links lead.
        """
        if not self.folders:
            raise Problem(
                403, "path-refused", "no file may be run by its path; the setting workflows_dirs says from where"
            )
        way = _way(path)
        candidates = [way] if way.is_absolute() else [folder / way for folder in self._named]
        led_out = False
        for candidate in candidates:
            if not _within(candidate, (*self._named, *self.folders)):
                raise _refused(path)
            # Not Path.resolve(), which raises where links lead in a circle.
            found = Path(os.path.realpath(candidate))
            inside = _within(found, self.folders)
            if inside and _is_workflow_file(found):
                return found
            led_out = led_out or not inside
        if led_out:
            raise _refused(path)
        raise Problem(404, "not-found", f"no workflow file {_shown(path)} is in the folders whose files may be run")


def folders_of(given: Iterable[Path] | None, configuration: Path | None) -> Folders:
    """Return the folders that the setting `workflows_dirs` names, which begin where the configuration file lies.

    Without the setting it is that file's folder, and without that file none.
    """
    base = None if configuration is None else configuration.absolute().parent
    if given is None:
        return Folders(() if base is None else (base,))
    # Not Path.expanduser(), which raises for a user who is not there.
    return Folders((base or Path.cwd()) / os.path.expanduser(folder) for folder in given)  # noqa: PTH111


def _way(path: str) -> PurePath:
    """Return the path that a text means; a Problem for one that no file can have, or that climbs."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        # Bytes that are no UTF-8: such a name could not be written down.
        raise _refused(path) from None
    way = PurePath(path)
    if size > MAX_PATH or "\0" in path or ".." in way.parts:
        raise _refused(path)
    return way


def _refused(path: str) -> Problem:
    return Problem(403, "path-refused", f"{_shown(path)} is in none of the folders whose files may be run")


def _shown(path: str) -> str:
    return ascii(path if len(path) <= _SHOWN else path[:_SHOWN] + "...")


def _within(path: PurePath, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _is_workflow_file(path: Path) -> bool:
    try:
        str(path).encode()
        return path.suffix == ".py" and stat.S_ISREG(path.stat(follow_symlinks=False).st_mode)
    except (OSError, UnicodeEncodeError):
        return False
