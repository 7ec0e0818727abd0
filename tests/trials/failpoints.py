"""The real `brain`, in a process that does something to itself at one boundary of one commit. Run as a program:

    python failpoints.py ACTION WHERE POINT NUMBER daemon …

ACTION is `kill` (SIGKILL) or `drop` (the connection is gone); WHERE is `before` or `after` the commit; POINT is the
name of a statement, a method of the Recorder, `take_over` or `let_go`; NUMBER says at which of its commits. The product
knows nothing of this.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

HIT = "failpoint hit"


class Failpoint:
    """Counts the commits of one point and strikes at one of them."""

    def __init__(self, action: str, where: str, point: str, number: int) -> None:
        self.action, self.where, self.point, self.number = action, where, point, number
        self.seen = 0

    def comes(self, name: str) -> bool:
        """Whether this is the commit that was meant."""
        if name != self.point:
            return False
        self.seen += 1
        return self.seen == self.number

    def strike(self, where: str, connection: Any) -> None:
        if where != self.where:
            return
        os.write(2, f'{{"event": "{HIT}"}}\n'.encode())
        if self.action == "kill" or connection is None:
            os.kill(os.getpid(), signal.SIGKILL)
        import asyncpg

        connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("dropped by a failpoint")


def arm(point: Failpoint) -> None:
    """Wrap the two places where commits happen, and the Recorder's two writes."""
    from brain_core.store.database import Database, Session
    from brain_core.store.recorder import Recorder

    plain_fetch, plain_transaction = Session.fetch, Database.transaction

    async def fetch(self: Session, name: str, *args: Any, **options: Any) -> Any:
        if name == "worker_end_runs":
            # One statement settles the runs of the dead, and one's own at the end of a drain.
            died = args[4]
            name_of_point = "take_over" if died else "let_go"
        else:
            name_of_point = name
        meant = point.comes(name_of_point)
        connection = self.connection
        if not meant:
            return await plain_fetch(self, name, *args, **options)
        if connection.is_in_transaction():
            answer = await plain_fetch(self, name, *args, **options)
            self.meant = True  # type: ignore[attr-defined]
            return answer
        point.strike("before", connection)
        answer = await plain_fetch(self, name, *args, **options)
        point.strike("after", connection)
        return answer

    @asynccontextmanager
    async def transaction(self: Database) -> AsyncIterator[Session]:
        # The block of `session` is outside: what is raised after the commit is told as any lost connection.
        async with self.session() as session:
            async with session.connection.transaction():
                yield session
                if getattr(session, "meant", False):
                    point.strike("before", session.connection)
            if getattr(session, "meant", False):
                point.strike("after", session.connection)

    def noted(method: Any) -> Any:
        async def call(self: Recorder, write: Any) -> Any:
            meant = point.comes(method.__name__)
            if meant:
                point.strike("before", None)
            answer = await method(self, write)
            if meant:
                point.strike("after", None)
            return answer

        return call

    Session.fetch = fetch  # type: ignore[method-assign]
    assert plain_transaction is not None
    Database.transaction = transaction  # type: ignore[method-assign]
    for name in ("finish_step", "finish_run"):
        setattr(Recorder, name, noted(getattr(Recorder, name)))


def main() -> int:
    action, where, point, number, *arguments = sys.argv[1:]
    arm(Failpoint(action, where, point, int(number)))
    sys.argv = ["brain", *arguments]
    from brain_core.__main__ import main as brain

    return brain()


if __name__ == "__main__":
    sys.exit(main())
