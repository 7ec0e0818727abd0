"""Tables of programs: which run other programs, which take code, and in which options. Data; nothing is judged."""

from __future__ import annotations

from typing import NamedTuple


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Language(NamedTuple):
    """`code` are the option letters that take code, `valued` those with another value, `flags` those with none."""

    code: str
    valued: str = ""
    flags: str = ""
    long: frozenset[str] = frozenset()
    program: bool = False
    """The first operand is the program's text unless an option brings it (awk)."""


class Wrapper(NamedTuple):
    """`flags` are options without a value, `valued` those with one, `skip` how many operands come first."""

    flags: str = ""
    valued: str = ""
    skip: int = 0
    assigns: bool = False
    long: frozenset[str] = frozenset()
    starts_shell: bool = False
    """Without a command it runs a shell."""


class Options(NamedTuple):
    """Options of a program: the value of `runs` is a command, that of `valued` is none; long ones with their dashes."""

    runs: str = ""
    runs_long: tuple[str, ...] = ()
    valued: str = ""
    valued_long: tuple[str, ...] = ()
    ends: bool = True
    """Whether `--` ends the options; one that hands its arguments on without it does not keep them apart."""


SHELLS = _names("sh bash dash ash hush ksh mksh zsh rbash lksh yash fish csh tcsh")
MODULES_WITH_CODE = _names("timeit pdb IPython trace profile cProfile")
MODULES_READING_CODE = _names("code asyncio pdb IPython")
"""Modules of Python that run what comes on standard input."""

_PYTHON = Language("c", "WX", "bBdEhiIOPqsSuvVx")
_EVAL = _names("--eval --print -eval")
_AWK = Language("e", "F", "bcCghIklnNOrsStV", program=True)
LANGUAGES = {
    "python": _PYTHON,
    "pypy": _PYTHON,
    "perl": Language("eE", "IMmCDFx", "acfhlnpsStTuUvVwWX0iT"),
    "ruby": Language("e", "ICEFrx", "acdhlnpsSvwWUy0i"),
    "node": Language("ep", "rC", "civ", _EVAL),
    "nodejs": Language("ep", "rC", "civ", _EVAL),
    "bun": Language("ep", "r", "", _EVAL),
    "php": Language("rRBEF", "cdfgtzST", "aChHilmnqsvw"),
    "lua": Language("e", "l", "ivEW"),
    "luajit": Language("e", "lj", "ivE"),
    "Rscript": Language("e", "", "", _names("--eval")),
    "R": Language("e", "f", ""),
    "julia": Language("eE", "LJHp", "iqhv", _names("--eval --print")),
    "elixir": Language("e", "rSpz", "", _names("--eval")),
    "awk": _AWK,
    "gawk": _AWK,
    "mawk": _AWK,
    "nawk": _AWK,
    "original-awk": _AWK,
}
INTERACTIVE = {"python": "i", "pypy": "i", "node": "i", "nodejs": "i", "lua": "i", "luajit": "i", "php": "a"}
"""The option with which an interpreter reads standard input as code after its script."""

_FOREGROUND = _names("--foreground --preserve-status --verbose")
WRAPPERS = {
    "env": Wrapper("i0v", "uC", assigns=True, long=_names("--ignore-environment --null")),
    "command": Wrapper("p"),
    "builtin": Wrapper(),
    "exec": Wrapper("cl", "a"),
    "nohup": Wrapper(),
    "nice": Wrapper("0123456789", "n"),
    "time": Wrapper("pv", "fo"),
    "timeout": Wrapper("v", "ks", skip=1, long=_FOREGROUND),
    "gtimeout": Wrapper("v", "ks", skip=1, long=_FOREGROUND),
    "xargs": Wrapper("0rtxp", "nPLsIEda", long=_names("--null --no-run-if-empty")),
    "sudo": Wrapper("EHnSkbPA", "ugUChpr", assigns=True),
    "doas": Wrapper("nL", "uC"),
    "setsid": Wrapper("fwc"),
    "ionice": Wrapper("t", "cnp"),
    "stdbuf": Wrapper("", "ioe"),
    "chroot": Wrapper(skip=1, starts_shell=True),
    "unshare": Wrapper("muinpUCTrcf", "SGwR", starts_shell=True, long=_names("--fork --map-root-user --net --mount")),
    "nsenter": Wrapper("amuinpUCTFeZ", "tSG", starts_shell=True, long=_names("--all --mount --net --pid")),
    "setpriv": Wrapper("hV", long=_names("--no-new-privs --clear-groups --init-groups --keep-groups --reset-env")),
    "chrt": Wrapper("abdfiorRv", "TPD", skip=1),
    "prlimit": Wrapper(),
    "setarch": Wrapper("BFILRSTXZv3", skip=1),
    "fakeroot": Wrapper("u", "sil"),
    "gosu": Wrapper(skip=1),
    "su-exec": Wrapper(skip=1),
    "tini": Wrapper("svwg", "pe"),
    "dumb-init": Wrapper("cv", "r"),
    "strace": Wrapper("cCdDfFhiknqrtTvVwxyYzZ", "aebEIoOpPsSuUX"),
    "ltrace": Wrapper("bcCfhilLnrStTV", "aADeFnopsuwx"),
    "systemd-run": Wrapper("dGPqrSt", "EHMpu", long=_names("--user --scope --pty --pipe --wait --collect --quiet")),
    "xvfb-run": Wrapper("a", "efnpsw", long=_names("--auto-servernum")),
    "dbus-run-session": Wrapper(),
    "ssh-agent": Wrapper("cDds", "aEPt"),
    "firejail": Wrapper(long=_names("--quiet --private --noprofile")),
    "bwrap": Wrapper(),
    "proot": Wrapper("0", "bqrwk"),
    "rlwrap": Wrapper("acr", "bCDfHlpPs"),
    "faketime": Wrapper("m", "f", skip=1),
    "cpulimit": Wrapper("bfiqvz", "elp"),
    "perf": Wrapper(skip=1),
    "valgrind": Wrapper("qv"),
    "catchsegv": Wrapper(),
    "flock": Wrapper("xsnuoF", "wE", skip=1),
    "busybox": Wrapper(),
    "toybox": Wrapper(),
    "taskset": Wrapper("a", skip=1),
    "unbuffer": Wrapper("p"),
    "caffeinate": Wrapper("dimsu"),
    "npx": Wrapper("yq", "p", long=_names("--yes --no --quiet")),
    "uvx": Wrapper("qv"),
}
"""Programs that run another program."""
KEYWORDS = _names("if while until for case { ! [[ time function select")

REMOTE = _names("scp sftp ssh mosh rsh remsh slogin sshpass")
SSH_VALUED = "BbcDEeFIiJLlmOoPpQRSWw"
JOINS = _names(
    "watch parallel sem rush at batch crontab script su runuser entr hyperfine ansible salt pdsh clush dsh pssh"
)
"""Programs that make shell text of their arguments."""
OTHER = _names(
    "sqlite sqlite3 duckdb dc bc m4 ed ex vi vim nvim view emacs expect tclsh wish gdb lldb make gmake tmux "
    "screen deno octave gnuplot jshell ghci irb iex erl pwsh powershell osascript cmd xonsh scala groovy "
    "kotlin ghc swift socat xterm newgrp sg ocaml sbcl guile racket clojure clj ts-node tsx mongo mongosh gs nu "
    "elvish login"
)
"""Programs that take nearly anything for code, arguments and standard input alike."""
NEVER = {
    "eval": "runs its arguments as code",
    "alias": "changes what later words mean",
    "let": "evaluates its arguments as arithmetic",
    "coproc": "is bash's alone",
}
STATEFUL = _names(
    "read unset enable hash bind complete compgen compopt mapfile readarray fc getopts wait jobs . source"
)
"""Builtins that take an argument for a name, an option with code, or a file to run."""
DECLARE = _names("export readonly local declare typeset")
DATABASES = {
    "psql": ("vhpUdL", ("--set=", "--variable=", "--host=", "--port=", "--username=", "--dbname=")),
    "mysql": ("huPD", ("--host=", "--user=", "--port=", "--database=")),
    "mariadb": ("huPD", ("--host=", "--user=", "--port=", "--database=")),
}
READS_COMMANDS = _names("ftp lftp redis-cli debugfs")
"""Programs whose arguments are data and whose standard input is commands."""
CONTAINERS = _names("docker podman nerdctl kubectl oc")
RUNNERS = _names("uv poetry pipx pipenv pdm hatch conda mamba bundle npm pnpm yarn bun mise direnv dotnet rustup nix")
"""Programs whose `run` or `exec` is followed by a program."""

_COMMON = _names(
    "at batch script entr sem rush watch ex ed view cmd make screen scala swift sg dc gs nu perf login salt time "
    "command builtin exec"
)
SUSPECTS = (
    SHELLS | LANGUAGES.keys() | DATABASES.keys() | OTHER | REMOTE | WRAPPERS.keys() | JOINS | _names("eval sed find")
) - _COMMON
"""Names that say, as an argument of a program not known here, that it may run them; words of English are left out."""
PLAIN = _names(
    ": [ apropos apt apt-cache apt-get b2sum base64 basename brew bunzip2 bzip2 cat cd chgrp chmod chown chsh cksum "
    "cmp comm cp curl cut date dd df diff dirname dnf dpkg du echo egrep exit expand expr false fgrep file fmt fold "
    "git grep gunzip gzip head hexdump id install join kill killall ln logger ls md5sum mkdir mktemp mv nl nproc "
    "numfmt od paste pgrep pidof pkill pr printf ps pwd readlink realpath return rg rm rmdir rpm rsync seq "
    "set sha1sum sha256sum sha512sum shift shuf sleep sort stat strings sum sync tac tail tar tee test touch tr true "
    "truncate type uniq unxz unzip usermod useradd wc wget whatis whereis which xxd xz yum zcat zip"
)
"""Programs that never run what is named among their operands."""

OPTIONS = {
    "tar": Options(
        "IF",
        (
            "--use-compress-program", "--to-command", "--checkpoint-action", "--info-script", "--new-volume-script",
            "--rsh-command", "--rmt-command",
        ),
        "bCfgHKLNTVX",
        ("--file", "--directory", "--exclude", "--files-from", "--transform"),
    ),
    "rsync": Options("eM", ("--rsh", "--rsync-path", "--remote-option"), "TfB", ("--exclude", "--include")),
    "sort": Options("", ("--compress-program",), "kotTS", ("--output", "--key", "--field-separator")),
    "split": Options("", ("--filter",), "abClntu", ("--bytes", "--lines", "--suffix-length")),
    "zip": Options("T", ("--unzip-command", "--TT"), "bintxP"),
    "man": Options("PH", ("--pager", "--html", "--browser", "--preprocessor"), "CLMmSse"),
    "cpio": Options("", ("--rsh-command",), "CDEFHIMOR"),
    "install": Options("", ("--strip-program",), "gmoSt"),
    "sdiff": Options("", ("--diff-program",), "IWow"),
    "diff3": Options("", ("--diff-program",), "L"),
    "tcpdump": Options("z", ("--postrotate-command",), "BcCEFGijMrsTVwWyZ"),
    "nc": Options("ec", ("--exec", "--sh-exec", "--lua-exec"), "iIMmOPpqsTVWwXx"),
    "ncat": Options("ec", ("--exec", "--sh-exec", "--lua-exec"), "iIMmOPpqsTVWwXx"),
}  # fmt: skip
"""Programs with options whose value is a command: a value that may be such an option is refused."""
EXPLICIT = {
    "wget": Options("e", ("--execute", "--use-askpass")),
    "curl": Options("K", ("--config",)),
    "apt-get": Options("oc", ("--option", "--config-file")),
    "apt": Options("oc", ("--option", "--config-file")),
    "dpkg": Options("", ("--pre-invoke", "--post-invoke")),
    "cmake": Options("P", ("--build-tool",)),
    "fd": Options("xX", ("--exec", "--exec-batch")),
    "fdfind": Options("xX", ("--exec", "--exec-batch")),
    "rg": Options("", ("--pre", "--hostname-bin")),
    "ag": Options("", ("--pager",)),
    "bat": Options("", ("--pager",)),
    "delta": Options("", ("--pager",)),
    "fzf": Options("", ("--preview", "--bind", "--become")),
    "nmap": Options("", ("--script", "--script-args")),
}
"""The same where only the option itself is refused: such a program is given bare values too often, and harms little."""

_PACK = ("--upload-pack", "--receive-pack", "--exec")
GIT = {
    "grep": Options("O", ("--open-files-in-pager",), "efABCm", ("--max-count", "--threads")),
    "rebase": Options("x", ("--exec",), "sXC", ("--onto", "--strategy", "--strategy-option")),
    "clone": Options("uc", ("--upload-pack", "--config", "--template"), "boj", ("--branch", "--depth", "--origin")),
    "fetch": Options("", _PACK, "joh", ("--depth", "--refmap")),
    "pull": Options("", _PACK, "sXj", ("--depth", "--strategy"), ends=False),
    "push": Options("", _PACK, "o", ("--push-option",)),
    "ls-remote": Options("", _PACK, "o", ("--sort",)),
    "fetch-pack": Options("", _PACK),
    "send-pack": Options("", _PACK),
    "archive": Options("", ("--exec",), "o", ("--format", "--prefix", "--output", "--remote")),
    "difftool": Options("xt", ("--extcmd", "--tool"), ""),
    "mergetool": Options("t", ("--tool",), ""),
    "send-email": Options("", ("--sendmail-cmd", "--smtp-server", "--to-cmd", "--cc-cmd", "--header-cmd"), ""),
    "svn": Options("", ("--exec", "--authors-prog"), ""),
}
"""Subcommands of git with such options; in others a value may be any argument."""
GIT_RUNS = _names("filter-branch daemon shell hook for-each-repo instaweb web--browse difftool--helper remote-ext p4")
"""Subcommands of git that run nearly anything they are given."""
GIT_GLOBAL = Options("c", ("--config-env", "--exec-path", "--upload-pack", "--receive-pack"), "C")

SCRIPT_OPTIONS = {
    "sed": ("f", "--file"),
    "gsed": ("f", "--file"),
    "awk": ("fE", "--file", "--exec"),
    "gawk": ("fEi", "--file", "--exec", "--include"),
    "mawk": ("fE", "--file", "--exec"),
    "nawk": ("f", "--file"),
    "original-awk": ("f",),
    "curl": ("K", "--config"),
    "jq": ("f", "--from-file"),
    "tar": ("T", "--files-from"),
    "docker": ("f", "--file"),
    "podman": ("f", "--file"),
    "ssh": ("F",),
}
"""Options (letters, then long ones) that name a file of code; with `-` or /dev/stdin it comes on standard input."""

UNARY = _names("-n -z -e -f -d -r -w -x -s -L -h -b -c -p -S -g -u -k -O -G")
BINARY = _names("= == != < > -eq -ne -lt -le -gt -ge -nt -ot -ef")
