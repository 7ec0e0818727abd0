"""The sweep: find workers that are dead and end what they had in hand (G11, G13).

Every command that writes sweeps first, so that a run whose process was killed does not stay `running`. A worker of this
boot and PID namespace is looked up by pid and start time. Any worker is given up, too, when its beat counter has stood
still for its whole lease on this host's boot-time clock: what each process here has seen is kept in the database
(`worker_sightings`), so that short commands judge together what none of them lives long enough to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import UUID, uuid4

from brain_core import __version__
from brain_core.engine.identity import ProcessIdentity, boot_id, boot_seconds, is_dead, this_process
from brain_core.store import workers
from brain_core.store.database import Database
from brain_core.store.workers import WorkerIdentity


async def sweep(database: Database, me: UUID, receivers: Sequence[str]) -> list[UUID]:
    """End the runs of dead workers and return their ids; `receivers` get a delivery for each."""
    others = [worker for worker in await workers.candidates(database) if worker.id != me]
    gone = dict.fromkeys(
        await workers.left_behind(database),
        "its worker was given up earlier, and the take-over did not come to its end",
    )
    unseen = []
    for worker in others:
        if is_dead(_process_of(worker)):
            gone[worker.id] = f"the process that ran it (pid {worker.pid} on {worker.host}) is gone"
        else:
            unseen.append(worker)
    if unseen:
        silent = await workers.observe(database, boot_id(), boot_seconds())
        by_id = {worker.id: worker for worker in unseen}
        for worker_id in silent:
            if worker_id in by_id:
                worker = by_id[worker_id]
                gone[worker_id] = (
                    f"its worker (pid {worker.pid} on {worker.host}) gave no sign of life for {worker.lease:g} s"
                )
    ended: list[UUID] = []
    for worker_id, reason in gone.items():
        ended += await workers.take_over(database, [worker_id], reason, list(receivers))
    return ended


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


def worker_identity(kind: Literal["run", "daemon"], lease: float) -> WorkerIdentity:
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
