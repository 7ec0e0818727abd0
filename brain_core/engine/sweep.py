"""The sweep: find workers that are dead and end what they had in hand (G11, G13).

Every command that writes sweeps first, so that a run whose process was killed does not stay `running`. A worker of this
boot and PID namespace is looked up by pid and start time. Any worker is given up, too, when its beat counter has stood
still for its whole lease on this host's boot-time clock (G5). What a daemon has seen it keeps itself (`Watcher`); what
the short commands here have seen is kept in the database (`worker_sightings`), so that they judge together what none of
them lives long enough to see. Time in which nobody could have beaten, because the database was away, does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal
from uuid import UUID, uuid4

from brain_core import __version__
from brain_core.engine.identity import ProcessIdentity, boot_id, boot_seconds, is_dead, this_process
from brain_core.errors import DatabaseError, DatabaseUnreachable
from brain_core.run import FINAL
from brain_core.store import workers
from brain_core.store.database import Database
from brain_core.store.workers import Candidate, Settled, WorkerIdentity

_LEFT_BEHIND = "its worker was given up earlier, and the take-over did not come to its end"


class Watcher:
    """What a long-lived process has seen of the beats of others.

    Silence counts only while somebody could be heard: this process ran and the database answered. After more than `gap`
    seconds between the answer to one look and the question of the next, or between a question and its answer, every
    lease starts anew, as after `lost`: it was stopped, its machine slept, or nobody could beat. So slow answers count,
    as long as a worker that has to wait as long for its own can still beat in time.
    """

    def __init__(self, gap: float, clock: Callable[[], float] = boot_seconds) -> None:
        self._gap = gap
        self._clock = clock
        self._seen: dict[UUID, tuple[int, float]] = {}
        self._answered: float | None = None
        self._look: tuple[float, float] | None = None

    def lost(self) -> None:
        """The database was away: nobody could beat."""
        self._answered = self._look = None

    def looked(self, asked: float, answered: float) -> None:
        """Say when, on the boot clock, the look was asked for and answered that is judged next; else it is now."""
        self._look = asked, answered

    def silent(self, candidates: Iterable[Candidate]) -> set[UUID]:
        """Judge a look; return whose beat has stood still for its whole lease.

        What was seen may have been so since the answer before at the latest, and up to the question at least: the time
        between those two is what counts.
        """
        now = self._clock()
        (asked, answered), self._look = self._look or (now, now), None
        last = self._answered
        if last is not None and -self._gap <= answered - last < 0:
            # Two looks were on their way, and this one is the older.
            return set()
        if last is None or answered < last or asked - last > self._gap or answered - asked > self._gap:
            self._seen.clear()
        self._answered = answered
        before, self._seen = self._seen, {}
        found = set()
        for one in candidates:
            worker = one.worker
            beat, since = before.get(worker.id, (one.beat, answered))
            if beat != one.beat:
                since = answered
            self._seen[worker.id] = (one.beat, since)
            if asked - since >= worker.lease:
                found.add(worker.id)
        return found


async def sweep(database: Database, me: UUID, receivers: Sequence[str]) -> list[UUID]:
    """End the runs of dead workers and return their ids; `receivers` get a delivery for each."""
    others = [worker for worker in await workers.candidates(database) if worker.id != me]
    gone: dict[UUID, str] = dict.fromkeys(await workers.left_behind(database), _LEFT_BEHIND)
    unseen = []
    for worker in others:
        if is_dead(_process_of(worker)):
            gone[worker.id] = _is_gone(worker)
        else:
            unseen.append(worker)
    if unseen:
        silent = set(await workers.observe(database, boot_id(), boot_seconds()))
        gone |= {worker.id: _was_silent(worker) for worker in unseen if worker.id in silent}
    return [run.run_id for run in await _settle(database, gone, receivers) if run.status in FINAL]


async def sweep_seen(
    database: Database,
    others: Sequence[Candidate],
    watcher: Watcher,
    receivers: Sequence[str],
    problems: dict[UUID, str],
) -> list[Settled]:
    """Do the same for a daemon, which has seen `others` with its last beat; return what became of each run.

    A worker whose runs the database does not let go of is noted in `problems`, and the rest goes on (G18).
    """
    silent = watcher.silent(one for one in others if not one.stopped)
    gone: dict[UUID, str] = {}
    for one in others:
        if one.stopped:
            gone[one.worker.id] = _LEFT_BEHIND
        elif is_dead(_process_of(one.worker)):
            gone[one.worker.id] = _is_gone(one.worker)
        elif one.worker.id in silent:
            gone[one.worker.id] = _was_silent(one.worker)
    return await _settle(database, gone, receivers, problems)


async def _settle(
    database: Database, gone: Mapping[UUID, str], receivers: Sequence[str], problems: dict[UUID, str] | None = None
) -> list[Settled]:
    settled: list[Settled] = []
    for worker_id, reason in gone.items():
        try:
            settled += await workers.settle(database, [worker_id], reason, list(receivers))
        except DatabaseUnreachable:
            raise
        except DatabaseError as error:
            if problems is None:
                raise
            problems[worker_id] = f"worker {worker_id}: its runs cannot be taken over: {error}"
    return settled


def _is_gone(worker: WorkerIdentity) -> str:
    return f"the process that ran it (pid {worker.pid} on {worker.host}) is gone"


def _was_silent(worker: WorkerIdentity) -> str:
    return f"its worker (pid {worker.pid} on {worker.host}) gave no sign of life for {worker.lease:g} s"


async def census(database: Database) -> dict[str, int]:
    """Return how many workers are alive, silent (no sign of life for a lease) and dead but not given up yet.

    Nothing is written; what is none is left out.
    """
    found = {"alive": 0, "silent": 0, "dead": 0}
    silent = await workers.silent(database)
    for worker in await workers.candidates(database):
        state = "dead" if is_dead(_process_of(worker)) else "silent" if worker.id in silent else "alive"
        found[state] += 1
    return {state: count for state, count in found.items() if count}


def _process_of(worker: WorkerIdentity) -> ProcessIdentity:
    return ProcessIdentity(worker.host, worker.boot_id, worker.pid_namespace, worker.pid, worker.process_started)


def worker_identity(kind: Literal["run", "daemon", "serve"], lease: float) -> WorkerIdentity:
    """Return this process as a worker with a new id; `lease` is in seconds."""
    process = this_process()
    return WorkerIdentity(
        id=uuid4(),
        kind=kind,
        host=process.host,
        boot_id=process.boot_id,
        pid_namespace=process.pid_namespace,
        pid=process.pid,
        process_started=process.started,
        version=__version__,
        lease=lease,
    )
