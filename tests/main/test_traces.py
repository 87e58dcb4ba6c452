"""OpenTelemetry traces: off unless a collector is named, and then one story from the web to the bridge."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from structlog.contextvars import bound_contextvars

from tests.collector import Collector
from whago.bridge.client import BridgeClient
from whago.domain.queries.system import last_successes
from whago.errors import WhagoError
from whago.gateway.control import Refused
from whago.gateway.postgres import PostgresControl
from whago.kit import tracing
from whago.kit.crypto import Vault
from whago.tasks.clock import Clock, Tools, run_clock
from whago.tasks.metrics import ClockMetrics

PARENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{PARENT_TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    here = Collector()
    tracing.configure(here.url + "/", "test")
    yield here
    tracing.stop()
    here.close()


def test_nothing_is_imported_or_told_while_no_collector_is_named() -> None:
    code = (
        "import sys; from whago.kit import tracing\n"
        "with tracing.span('work', parent='00-x') as span: span.name('other'); span.note({'rows': 1})\n"
        "assert tracing.headers() == {} and tracing.trace_id() is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_a_span_goes_to_the_collector_below_the_one_that_asked(collector: Collector) -> None:
    with tracing.span("GET /chips", "server", PARENT) as span:
        assert tracing.trace_id() == PARENT_TRACE
        span.name("GET /api/v1/chips")
        span.note({"http.response.status_code": 200})
    sent = collector.named("GET /api/v1/chips")
    assert (sent.trace_id.hex(), sent.parent_span_id.hex()) == (PARENT_TRACE, "b7ad6b7169203331")
    assert sent.kind == Span.SPAN_KIND_SERVER
    assert [(one.key, one.value.int_value) for one in sent.attributes] == [("http.response.status_code", 200)]
    assert collector.services == {"whago-test"}


def test_a_failure_is_told_by_its_class_and_not_by_its_text(collector: Collector) -> None:
    with pytest.raises(ValueError, match="hunter2"), tracing.span("work"):
        raise ValueError("password hunter2")
    sent = collector.named("work")
    assert sent.status.message == "ValueError"
    assert b"hunter2" not in sent.SerializeToString()


def test_a_parent_that_is_none_begins_a_trace_of_its_own(collector: Collector) -> None:
    with tracing.span("work", "server", "forged\tand long " * 100):
        assert tracing.trace_id() not in (None, PARENT_TRACE)
    assert not collector.named("work").parent_span_id


def test_the_bridge_is_told_under_which_request_and_span_it_is_asked(collector: Collector) -> None:
    with (
        BridgeClient(collector.url, "secret") as client,
        tracing.span("request", "server", PARENT),
        bound_contextvars(request_id="request-of-a-test"),
    ):
        client.get(uuid4())
    asked = collector.asked[0]
    child = collector.named("bridge GET")
    assert asked["traceparent"] == f"00-{PARENT_TRACE}-{child.span_id.hex()}-01"
    assert asked["x-request-id"] == "request-of-a-test"


def test_a_run_of_a_clock_is_a_span_with_what_it_counted(collector: Collector, database: str, vault: Vault) -> None:
    tools = Tools(vault, tz=None)  # type: ignore[arg-type]
    run_clock(Clock("counting", every_s=1, work=lambda *_: {"chips": 7}), tools, ClockMetrics())
    sent = collector.named("clock counting")
    assert [(one.key, one.value.int_value) for one in sent.attributes] == [("chips", 7)]
    assert "counting" in last_successes()


def test_what_a_gateway_asks_of_the_database_is_a_span(
    collector: Collector, database: str, vault: Vault, tz: ZoneInfo
) -> None:
    control = PostgresControl(uuid4(), database_url=database, vault=vault, tz=tz)
    try:
        assert asyncio.run(control.authorise(uuid4())) == Refused("bad_credential")
    finally:
        control.close()
    assert collector.named("gateway authorise").kind == Span.SPAN_KIND_CLIENT


def test_a_collector_that_is_away_disturbs_nobody() -> None:
    tracing.configure("http://127.0.0.1:9", "test")
    try:
        with pytest.raises(WhagoError), tracing.span("work"):
            raise WhagoError("not_found")
    finally:
        tracing.stop()
