"""The keeper: a small process beside the embedded server that stops it some time after its last user.

It is started as a script, with nothing but the standard library, and sleeps in the kernel while anybody uses the
server: `keeper.py FOLDER IDLE_SECONDS PSQL LOCK_FD`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

_LOG_LIMIT = 1 << 18
_ASK_AGAIN = 5.0  # even where idle_seconds is 0


def spawn(folder: Path, idle_seconds: float, psql: str, lock_fd: int) -> None:
    """Start a keeper as nobody's child; it has the keeper's lock from its birth on."""
    log = folder / "keeper.log"
    mode = "ab" if not log.exists() or log.stat().st_size < _LOG_LIMIT else "wb"
    with log.open(mode) as output:
        subprocess.run(
            [
                *("/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-I", "-S", str(Path(__file__).resolve())),
                *(str(folder), repr(float(idle_seconds)), psql, str(lock_fd)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            start_new_session=True,
            pass_fds=(lock_fd,),
            check=True,
        )


def watch(folder: Path, idle_seconds: float, psql: str) -> str:
    """Wait until the server has had no user for so long, stop it, and return why this is over."""
    from brain_core.embedded import postmaster
    from brain_core.embedded.locks import FileLock

    data = folder / "data"
    users = FileLock(folder / "users.lock")
    while True:
        if not users.wait_exclusive():
            return "the folder is gone"
        rest, last = idle_seconds, time.time()
        while True:
            # Looked at while nobody can begin to use it: who comes after this finds the keeper gone, or staying.
            if postmaster.running(data) is None and not _held(folder / "server.lock"):
                return "no server"
            users.release()
            time.sleep(rest)
            if not users.try_lock():
                break
            # Commands that came and went meanwhile have marked the file.
            unused = time.time() - max(last, users.path.stat().st_mtime)
            rest = idle_seconds - max(0.0, min(unused, idle_seconds))
            if rest > 0.001:
                continue
            if not _others(data, psql):
                stopped = postmaster.stop(data, folder / "server.lock")
                return "stopped the server" if stopped else "no server"
            rest, last = max(idle_seconds, _ASK_AGAIN), time.time()


def _held(path: Path) -> bool:
    from brain_core.embedded.locks import FileLock

    lock = FileLock(path)
    try:
        return not lock.try_lock()
    finally:
        lock.close()


def _others(data: Path, psql: str) -> bool:
    """Whether somebody is connected who holds no lock of ours, such as a psql or a program with the URL."""
    from brain_core.embedded import postmaster

    server = postmaster.running(data)
    if server is None:
        return False
    ask = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    command = [psql, "-X", "-A", "-t", "-q", "-d", server.url, "-c", ask]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0:
            return done.stdout.strip() != "0"
        _say(f"cannot ask the server: {done.stderr.strip()}")
    # Not known is taken for yes: full, busy or starting again.
    return True


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), f"[{os.getpid()}]", text, flush=True)  # noqa: T201 - its log


def main() -> None:
    """Watch, as the arguments of the process say, and log why it ended."""
    folder, idle, psql, lock_fd = sys.argv[1:]
    # Cut off the site folders by -S, it finds this package alone.
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    os.ftruncate(int(lock_fd), 0)
    os.pwrite(int(lock_fd), str(os.getpid()).encode(), 0)
    _say(f"watching {folder}, {float(idle):g} s")
    try:
        _say(watch(Path(folder), float(idle), psql))
    except Exception as error:  # noqa: BLE001 - the log is the only place to say it
        _say(f"ended by {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
