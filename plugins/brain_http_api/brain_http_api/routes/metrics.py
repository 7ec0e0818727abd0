"""`GET /metrics`: figures of the brain and of this process in Prometheus's text format."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from brain_core import facade
from brain_http_api.access import Reader
from brain_http_api.api import Api, api_of
from brain_http_api.metrics import CONTENT_TYPE
from brain_http_api.problems import Problem
from brain_http_api.routes.described import other_answer, problems

if TYPE_CHECKING:
    from brain_core import Brain

router = APIRouter(tags=["server"])

PATIENCE = 5.0
"""Seconds for the figures of the database: who scrapes gives up after ten."""
_ENDS = ("success", "failed", "cancelled")


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses=other_answer("text/plain", {"type": "string"}, "Prometheus's text format.") | problems(),
)
async def metrics(access: Reader, api: Annotated[Api, Depends(api_of)]) -> Response:
    """Return figures for Prometheus. A token that is bound to workflows may not: they are of all."""
    if access.patterns:
        raise Problem(403, "forbidden", "the figures are of all workflows; a token that is bound to some may not")
    return Response(await _figures(api) + api.metrics.text, media_type=CONTENT_TYPE)


async def _figures(api: Api) -> bytes:
    try:
        async with asyncio.timeout(PATIENCE):
            found = await _of_brain(api.brain)
    except (facade.DatabaseError, TimeoutError):
        # What the process knows is the more interesting then.
        found = [_figure("database_up", "Whether the database answers.", 0)]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Read([*_of_process(api), *found]))
    return generate_latest(registry)


def _of_process(api: Api) -> list[Metric]:
    ended = CounterMetricFamily(
        "brain_runs_ended", "Runs that the worker of this process has carried to their end.", labels=["status"]
    )
    for status in _ENDS:
        ended.add_metric([status], api.brain.runs_ended[status])
    return [_figure("streams", "Event streams that are open here.", len(api.streams)), ended]


async def _of_brain(brain: Brain) -> list[Metric]:
    found = await brain.figures()
    return [
        _figure("database_up", "Whether the database answers.", 1),
        _figures_by("status", "runs", "Runs by status, but for those that have succeeded.", found.runs),
        _figure("queue_depth", "Runs that wait for a worker.", found.runs["queued"]),
        _figure("queue_oldest_seconds", "How long ago the oldest of them was created.", found.oldest_queued),
        _figures_by("state", "workers", "Workers by state.", found.workers),
        _figure("daemons_fresh", "Daemons that have ticked within 30 seconds.", found.fresh_daemons),
        _figures_by("state", "triggers", "Triggers by state.", found.triggers),
        _figure("triggers_overdue", "Triggers whose instant passed a minute ago.", found.overdue),
    ]


def _figure(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"brain_{name}", text, value=value)


def _figures_by(label: str, name: str, text: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"brain_{name}", text, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family


class _Read(Collector):
    """Figures that were read at one moment."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
