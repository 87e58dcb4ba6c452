"""A request has one id: taken over when it is harmless, told in the answer, and in every line about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.collector import Collector
from whago.kit import tracing
from whago.web.middleware import Envelope, Figures

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged, with the fields that the context adds."""
    kept: list[dict[str, Any]] = []

    def keep(_logger: object, _method: str, event: Any) -> Any:
        kept.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep], cache_logger_on_first_use=False)
    yield kept
    structlog.configure(**before)


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    app.add_middleware(Envelope, figures=Figures(), cookie_secure=False)

    @app.get("/things/{thing}")
    def thing(thing: str) -> dict[str, str]:
        structlog.get_logger().info("thing.shown", thing=thing)
        return {"thing": thing}

    return TestClient(app)


def test_an_id_that_came_is_answered_and_logged(client: TestClient, lines: list[dict[str, Any]]) -> None:
    answer = client.get("/things/7", headers={"X-Request-ID": "proxy-4711.abc"})
    assert answer.headers["X-Request-ID"] == "proxy-4711.abc"
    assert [(line["event"], line["request_id"]) for line in lines] == [("thing.shown", "proxy-4711.abc")]


@pytest.mark.parametrize(
    "given", [None, "short", "x" * 65, "with space inside", 'quote"and}brace', "-leads-with-a-dash"]
)
def test_any_other_is_replaced_by_one_of_ours(
    client: TestClient, lines: list[dict[str, Any]], given: str | None
) -> None:
    answer = client.get("/things/7", headers={"X-Request-ID": given} if given else {})
    assert UUID.fullmatch(answer.headers["X-Request-ID"])
    assert [line["request_id"] for line in lines] == [answer.headers["X-Request-ID"]]


def test_the_next_request_does_not_inherit_it(client: TestClient, lines: list[dict[str, Any]]) -> None:
    client.get("/things/7", headers={"X-Request-ID": "request-number-one"})
    client.get("/things/8")
    assert [line["request_id"] == "request-number-one" for line in lines] == [True, False]


def test_a_traced_request_is_a_span_by_its_route_and_its_lines_name_the_trace(
    client: TestClient, lines: list[dict[str, Any]]
) -> None:
    collector = Collector()
    tracing.configure(collector.url, "test")
    try:
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID": "request-number-two"}
        client.get("/things/7?token=hidden", headers=headers)
        sent = collector.named("GET /things/{thing}")
    finally:
        tracing.stop()
        collector.close()
    assert sent.trace_id.hex() == TRACE
    noted = {one.key: one.value.int_value or one.value.string_value for one in sent.attributes}
    assert noted == {"http.response.status_code": 200, "whago.request_id": "request-number-two"}
    assert b"hidden" not in sent.SerializeToString()
    assert [line["trace_id"] for line in lines] == [TRACE]
