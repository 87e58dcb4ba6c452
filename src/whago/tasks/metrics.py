"""Prometheus figures of the clocks, in a registry of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

READY_WITHIN_S: Final = 45.0  # the heartbeat ticks every ten seconds


class ClockMetrics:
    """One per process."""

    def __init__(self) -> None:
        self._ticked_at: float | None = None
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._ticks = Counter("whago_clock_ticks", "Ticks by outcome.", ["clock", "outcome"], registry=self.registry)
        self._success = Gauge(
            "whago_clock_last_success_timestamp_seconds",
            "Start of the last good run.",
            ["clock"],
            registry=self.registry,
        )
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
        self._success.labels(clock).set(began.timestamp())
        self._seconds.labels(clock).observe((ended - began).total_seconds())
        for what, count in counts.items():
            self._counts.labels(clock, what).set(count)
