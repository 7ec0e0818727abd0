"""Folders: the workflow files that may be run by their path, and no way out of their folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from brain_http_api.problems import Problem


class Folders:
    """The folders whose files may be run."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(folder.resolve() for folder in folders)

    def file(self, path: str) -> Path:
        """Return the file that a path means, links followed; a Problem when it is not in one of the folders."""
        raise Problem(403, "path-refused", f"'{path[:80]}' is in none of the folders whose files may be run")
