"""`GET /metrics`: figures of the brain and of this process in Prometheus's text format."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from brain_core import facade
from brain_http_api.access import Reader
from brain_http_api.api import Api, api_of
from brain_http_api.metrics import CONTENT_TYPE
from brain_http_api.problems import Problem
from brain_http_api.routes.described import other_answer, problems

router = APIRouter(tags=["server"])

PATIENCE = 5.0
"""Seconds for the figures of the database: who scrapes gives up after ten."""
_STATUSES = ("queued", "running", "parked", "success", "failed", "cancelled")


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
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges([_gauge("streams", "Event streams that are open here.", {(): len(api.streams)})]))
    try:
        async with asyncio.timeout(PATIENCE):
            found = await _of_brain(api)
        registry.register(_Gauges(found))
    except (facade.DatabaseError, TimeoutError):
        # What the process knows is the more interesting then.
        registry.register(_Gauges([_gauge("database_up", "Whether the database answers.", {(): 0})]))
    return generate_latest(registry)


async def _of_brain(api: Api) -> list[GaugeMetricFamily]:
    status: Any = await api.brain.status()
    runs = {(name,): status["runs"].get(name, 0) for name in _STATUSES}
    listing = await api.brain.triggers.listing()
    states = Counter[tuple[str]]({("active",): 0, ("paused",): 0})
    states.update((one.row.state,) for one in listing)
    daemons = sum(bool(one["fresh"]) for one in await api.brain.control.daemons())
    return [
        _gauge("database_up", "Whether the database answers.", {(): 1}),
        _gauge("runs", "Runs in the history, by status.", runs, "status"),
        _gauge("queue_depth", "Runs that wait for a worker.", {(): runs[("queued",)]}),
        _gauge(
            "workers",
            "Workers by state.",
            {(name,): status["workers"].get(name, 0) for name in ("alive", "silent", "dead")},
            "state",
        ),
        _gauge("daemons_fresh", "Daemons that have ticked within 30 seconds.", {(): daemons}),
        _gauge("triggers", "Triggers by state.", states, "state"),
        _gauge(
            "triggers_overdue",
            "Triggers whose instant passed a minute ago.",
            {(): sum(one.listing.overdue for one in listing)},
        ),
    ]


def _gauge(name: str, text: str, values: Mapping[Any, float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"brain_{name}", text, labels=labels)
    for label, value in values.items():
        family.add_metric(label, value)
    return family


class _Gauges(Collector):
    """Figures that were read at one moment."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families
