"""Metrics: what this process counts of its requests. No label is ever anything that a client has sent."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


class Metrics:
    """The counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "brain_http_requests",
            "Requests that were answered, by the template of their route.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "brain_http_request_seconds",
            "Seconds from a request to the end of its answer; event streams are left out.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._deliveries = Counter(
            "brain_webhook_deliveries",
            "Deliveries to webhooks: accepted, repeated, or refused.",
            ("outcome",),
            registry=self._registry,
        )
        for outcome in ("accepted", "repeated", "refused"):
            self._deliveries.labels(outcome)
        ProcessCollector(registry=self._registry)

    def answered(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Count a request; `route` is a template, and `seconds` None for what is no question of speed."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        if seconds is not None:
            self._seconds.labels(route).observe(seconds)

    def delivered(self, outcome: str) -> None:
        """Count a delivery to a webhook: `accepted`, `repeated` or `refused`."""
        self._deliveries.labels(outcome).inc()

    @property
    def text(self) -> bytes:
        """The counts in Prometheus's text format."""
        return generate_latest(self._registry)
