"""Prometheus metrics, read from plain counts when somebody asks, so that they cost nothing while bytes move."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from whago.gateway.plane import Plane


class GatewayCollector(Collector):
    """``report_age_s``: seconds since the last committed report."""

    def __init__(self, plane: Plane, report_age_s: Callable[[], float]) -> None:
        self._plane = plane
        self._report_age_s = report_age_s

    def collect(self) -> Iterator[Metric]:
        plane, tally = self._plane, self._plane.tally
        yield _gauge("whago_gateway_tunnels", "Open tunnels.", tally.open_tunnels)
        yield _gauge("whago_gateway_handshakes", "Connections on their way to a tunnel or a refusal.", tally.handshakes)
        yield _counter("whago_gateway_tunnels_opened", "Tunnels opened since the start.", tally.tunnels_started)
        moved = {"up": tally.bytes_up, "down": tally.bytes_down, "overhead": tally.overhead}
        yield _labelled("whago_gateway_bytes", "Bytes on the upstream sockets, as reported.", "direction", moved)
        yield _labelled("whago_gateway_refusals", "Refused connections.", "reason", dict(tally.refusals))
        yield _labelled("whago_gateway_tunnel_ends", "Ended tunnels.", "reason", dict(tally.ends))
        yield _counter("whago_gateway_lease_waits", "Times somebody waited for a lease.", plane.book.waits)
        yield _gauge("whago_gateway_counter_slots", "Slots in use in the counter file.", plane.segments.file.live_slots)
        yield _gauge("whago_gateway_pipes", "Kernel pipes open for splice.", plane.pipes.open_pipes)
        yield _gauge("whago_gateway_loop_lag_seconds", "How late ticks were lately.", plane.engine.lag_s)
        yield _gauge("whago_gateway_report_age_seconds", "Since the last committed report.", self._report_age_s())


def registry_of(plane: Plane, report_age_s: Callable[[], float]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(GatewayCollector(plane, report_age_s))
    return registry


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
