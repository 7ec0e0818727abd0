"""The environment of a shell step: an allow-list, so that no secret of the process slips through."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

DANGEROUS = re.compile(
    r"PATH|IFS|ENV|BASH_\w+|BASHOPTS|SHELLOPTS|SHELL|PS[0-4]|PROMPT_COMMAND|CDPATH|MAILPATH|LD_\w+|DYLD_\w+|GCONV_PATH"
    r"|PYTHON\w+|PERL5\w*|PERLLIB|RUBYOPT|RUBYLIB|NODE_OPTIONS|NODE_PATH|GIT_\w+|EDITOR|VISUAL|\w*PAGER|BROWSER"
    r"|LESSOPEN|LESSCLOSE|SSH_ASKPASS|SUDO_ASKPASS|MAKEFLAGS|\w*JAVA_\w*OPTIONS|CLASSPATH|RSYNC_RSH|TAR_OPTIONS"
    r"|RANDOM|SRANDOM|SECONDS|OPTIND|LINENO|HISTCMD|EPOCH\w+|GROUPS|DIRSTACK|UID|EUID|PPID|AWKPATH|AWKLIBPATH|BRAIN_\w+"
    r"|THE_BRAIN_\w+"
)
"""Variables that make a program run something, or that bash evaluates when they are assigned."""

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
