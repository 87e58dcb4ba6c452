"""Prometheus figures of the clocks, in a registry of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from whago.errors import WhagoError

log = structlog.get_logger()

READY_WITHIN_S: Final = 45.0  # the heartbeat ticks every ten seconds


LastSuccesses = Callable[[], Mapping[str, datetime]]


class SchedulerMetrics:
    """What the scheduler of this process sent, in ``registry``, or in one of its own when it runs alone."""

    why_not: Final = "the broker has taken no tick lately"

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._sent_at: float | None = None
        self.registry = registry or _registry()
        self._ticks = Counter(
            "whago_scheduler_ticks", "Ticks for the queue by outcome.", ["clock", "outcome"], registry=self.registry
        )

    @property
    def is_ready(self) -> bool:
        """Whether the broker took a tick lately."""
        return self._sent_at is not None and time.monotonic() - self._sent_at <= READY_WITHIN_S

    def ticked(self, clock: str, was_sent: bool) -> None:
        self._ticks.labels(clock, "sent" if was_sent else "not_sent").inc()
        if was_sent:
            self._sent_at = time.monotonic()


class ClockMetrics:
    """One per process. ``last_successes`` asks for those of all processes; without it only this one's are shown."""

    why_not: Final = "no clock has reached the database lately"

    def __init__(self, last_successes: LastSuccesses | None = None) -> None:
        self._ticked_at: float | None = None
        self.registry = _registry()
        self.scheduler = SchedulerMetrics(self.registry)
        self._ticks = Counter("whago_clock_ticks", "Ticks by outcome.", ["clock", "outcome"], registry=self.registry)
        self._successes = _Successes(last_successes)
        self.registry.register(self._successes)
        self._seconds = Histogram(
            "whago_clock_run_seconds",
            "How long good runs take.",
            ["clock"],
            registry=self.registry,
            buckets=(0.01, 0.05, 0.25, 1, 5, 30, 120),
        )
        self._counts = Gauge(
            "whago_clock_count", "What the last good run counted.", ["clock", "what"], registry=self.registry
        )

    @property
    def is_ready(self) -> bool:
        """Whether a tick reached the database lately: scheduler, broker, worker and database all work."""
        return self._ticked_at is not None and time.monotonic() - self._ticked_at <= READY_WITHIN_S

    def ticked(self, clock: str, outcome: str, *, reached_database: bool) -> None:
        self._ticks.labels(clock, outcome).inc()
        if reached_database:
            self._ticked_at = time.monotonic()

    def succeeded(self, clock: str, began: datetime, ended: datetime, counts: Mapping[str, int]) -> None:
        self._successes.known[clock] = began
        self._seconds.labels(clock).observe((ended - began).total_seconds())
        for what, count in counts.items():
            self._counts.labels(clock, what).set(count)


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class _Successes:
    """The gauge of last good runs. Without a database it shows what it knew: that is when somebody looks at it."""

    def __init__(self, ask: LastSuccesses | None) -> None:
        self.known: dict[str, datetime] = {}
        self._ask = ask

    def describe(self) -> Iterator[Metric]:
        return iter(())  # registering must not ask the database

    def collect(self) -> Iterator[Metric]:
        if self._ask is not None:
            try:
                self.known.update(self._ask())
            except WhagoError as error:
                log.warning("metrics.no_database", reason=error.code)
        gauge = GaugeMetricFamily(
            "whago_clock_last_success_timestamp_seconds", "Start of the last good run.", labels=["clock"]
        )
        for clock, began in sorted(self.known.items()):
            gauge.add_metric([clock], began.timestamp())
        yield gauge
