"""Prometheus figures of the simulated provider, read from its state at each scrape."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from whago.simulator.state import ProviderState


class ProviderMetrics(Collector):
    """Bytes per account and direction, tunnels, sessions, outcomes; never a label per session."""

    def __init__(self, state: ProviderState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        stickies = self._state.stickies
        yield GaugeMetricFamily("whago_simulator_sticky_sessions", "Sticky sessions remembered.", value=len(stickies))
        open_tunnels = sum(sticky.open_tunnels for sticky in stickies.all())
        yield GaugeMetricFamily("whago_simulator_open_tunnels", "Tunnels running now.", value=open_tunnels)
        yield self._wire()
        outcomes = CounterMetricFamily(
            "whago_simulator_requests", "Requests by how they ended.", labels=["outcome"]
        )  # fmt: skip
        for outcome, count in self._state.outcomes.items():
            outcomes.add_metric([outcome], count)
        yield outcomes

    def _wire(self) -> Metric:
        wire = CounterMetricFamily(
            "whago_simulator_wire_bytes", "Client-side bytes, handshakes included.", labels=["account", "direction"]
        )
        for account in [*self._state.accounts.values(), *self._state.statics.values()]:
            wire.add_metric([account.name, "up"], account.counters.wire_up)
            wire.add_metric([account.name, "down"], account.counters.wire_down)
        return wire
