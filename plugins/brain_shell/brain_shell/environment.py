"""The environment of a shell step: an allow-list, so that no secret of the process slips through."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

_DANGEROUS = (
    # the shells, and what bash evaluates
    r"PATH|IFS|ENV|BASH_\w+|BASHOPTS|SHELLOPTS|SHELL|PS[0-4]|PROMPT_COMMAND|CDPATH|MAILPATH|FPATH|ZDOTDIR|INPUTRC"
    r"|RANDOM|SRANDOM|SECONDS|OPTIND|LINENO|HISTCMD|EPOCH\w+|GROUPS|DIRSTACK|UID|EUID|PPID"
    # where programs look for files that run something
    r"|HOME|CURL_HOME|XDG_\w+_(?:HOME|DIRS)|LD_\w+|DYLD_\w+|GCONV_PATH|OPENSSL_\w+|GTK_MODULES|GTK_PATH|QT_PLUGIN_PATH"
    # languages
    r"|PYTHON\w+|PERL5\w*|PERLLIB|RUBYOPT|RUBYLIB|GEM_\w+|BUNDLE_\w+|NODE_OPTIONS|NODE_PATH|YARN_\w+|PIP_\w+"
    r"|NPM_CONFIG_\w+|npm_config_\w+|LUA_\w+|PHPRC|PHP_INI_SCAN_DIR|R_PROFILE\w*|R_ENVIRON\w*|JULIA_\w+|DOTNET_\w+"
    r"|\w*JAVA_\w*OPTIONS|JAVA_HOME|CLASSPATH|(?:MAVEN|GRADLE|ANT|SBT|CATALINA|JVM)_OPTS|AWKPATH|AWKLIBPATH|ERL_\w*FLAGS"
    # building
    r"|MAKEFILES|MAKEFLAGS|GNUMAKEFLAGS|MFLAGS|CC|CXX|CPP|LD|AR|GCC_EXEC_PREFIX|CMAKE_\w+|GOFLAGS|GOROOT|RUSTC\w*"
    r"|RUSTFLAGS|CARGO_\w+"
    # programs that run others
    r"|GIT_(?!(?:AUTHOR|COMMITTER)_(?:NAME|EMAIL|DATE)$)\w+|\w*EDITOR|VISUAL|\w*PAGER|BROWSER|LESS|LESSOPEN|LESSCLOSE"
    r"|LESSKEY\w*|MANOPT|SSH_ASKPASS|SUDO_ASKPASS|RSYNC_\w+|CVS_RSH|SVN_SSH|TAR_OPTIONS|ZIPOPT|ZIP|UNZIP|WGETRC"
    r"|SYSTEM_WGETRC|PSQLRC|PSQL_\w+|PGSYSCONFDIR|PGSERVICEFILE|MYSQL_HOME|VIMINIT|EXINIT|EMACSLOADPATH|SCREENRC"
    r"|KUBECONFIG|DOCKER_CONFIG|DOCKER_HOST|AWS_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE|ANSIBLE_\w+|TERMINFO"
    r"|BRAIN_\w+|THE_BRAIN_\w+"
)


@lru_cache(maxsize=1024)
def decides_what_runs(name: str) -> bool:
    """Whether a variable makes a program run something, or bash evaluates what is assigned to it."""
    # Made when it is first needed: the pattern takes milliseconds, and few steps put a value into a variable.
    return _pattern().fullmatch(name) is not None


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    return re.compile(_DANGEROUS)


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
