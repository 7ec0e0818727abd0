"""What the log says of a cycle of the daemon."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from uuid import UUID

from brain_core.engine.tick import TickReport

logger = logging.getLogger("brain.daemon")


def tell(report: TickReport, before: Mapping[UUID, str]) -> Mapping[UUID, str]:
    """Write a line for each thing that was done, and for each problem that was not there `before`; return those."""
    for result in report.fired:
        logger.info("%s", result.outcome, extra={"trigger": result.name, "due": result.due_at, "run": result.run_id})
    for name in report.resumed:
        logger.info("resumed", extra={"trigger": name})
    for run in report.taken_over:
        facts = {"run": run.run_id, "workflow": run.workflow, "error": run.parked_reason}
        logger.warning("taken over from a dead worker, now %s", run.status, extra=facts)
    for trigger_id, problem in report.problems.items():
        if before.get(trigger_id) != problem:
            logger.error("%s", problem)
    return report.problems
