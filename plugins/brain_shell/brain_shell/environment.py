"""The environment of a shell step: an allow-list, so that no secret of the process slips through."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

ALLOWED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TERM")
PRIVATE = "THE_BRAIN_"
"""Settings of brain itself, the database's address among them: never handed on."""


def inherited(pass_env: Iterable[str]) -> dict[bytes, bytes]:
    """Return what a command gets of this process's environment."""
    wanted = {*ALLOWED, *pass_env}
    return {
        os.fsencode(name): os.fsencode(value)
        for name, value in os.environ.items()
        if (name in wanted or name.startswith("LC_")) and not name.startswith(PRIVATE)
    }


def described(run_id: str, workflow: str, step: str, attempt: int, key: str) -> Mapping[str, str]:
    """Return the variables that tell a command where it runs."""
    return {
        "BRAIN_RUN_ID": run_id,
        "BRAIN_WORKFLOW": workflow,
        "BRAIN_STEP": step,
        "BRAIN_ATTEMPT": str(attempt),
        "BRAIN_IDEMPOTENCY_KEY": key,
    }
