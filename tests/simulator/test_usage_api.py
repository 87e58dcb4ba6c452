"""The vendor's usage API: exact flow in KB, late and over-billed when it is told to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.simulator.counting_client import CountingClient, EchoOrigin, admin
from whago.simulator import SimulatedProvider
from whago.simulator.ledger import FINE_SECONDS, FlowLog

PATH = "/pub/user-usage-flow/total"
START = datetime(2026, 3, 10, 23, 59, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def billing(clock: Clock) -> Any:
    with SimulatedProvider(accounts=("demo:demo-password", "acme:demo-password"), now=clock) as running:
        yield running


def _usage(provider: SimulatedProvider, **query: Any) -> dict[str, Any]:
    answer = admin(provider, "GET", PATH, params={"app_key": "demo-app-key", **query})
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def _spend(provider: SimulatedProvider, origin: EchoOrigin, account: str, count: int) -> int:
    """Echo ``count`` bytes; returns all bytes of the connection."""
    with CountingClient(provider.port) as client:
        assert client.connect(f"{account}-session-1", origin.target) == 200
        client.send(b"x" * count)
        client.read(count)
        provider.state()  # what was read here is counted there before the clock may move on
        return client.sent + client.received


def test_flow_is_whole_kb_of_both_directions_per_utc_day(
    billing: SimulatedProvider, origin: EchoOrigin, clock: Clock
) -> None:
    first = _spend(billing, origin, "demo", 100_000)
    clock.now += timedelta(minutes=2)
    second = _spend(billing, origin, "demo", 33_333)
    assert _usage(billing) == {
        "code": 200,
        "msg": "success",
        "data": {
            "list": [{"day": "2026-03-10", "flow": first // 1024}, {"day": "2026-03-11", "flow": second // 1024}],
        },
    }


def test_flow_is_told_by_account_and_by_time(billing: SimulatedProvider, origin: EchoOrigin, clock: Clock) -> None:
    demo = _spend(billing, origin, "demo", 50_000)
    acme = _spend(billing, origin, "acme", 70_000)
    clock.now += timedelta(seconds=10)
    later = _spend(billing, origin, "acme", 90_000)
    assert _usage(billing, username="demo")["data"]["list"] == [{"day": "2026-03-10", "flow": demo // 1024}]
    assert _usage(billing)["data"]["list"] == [{"day": "2026-03-10", "flow": (demo + acme + later) // 1024}]
    only_early = _usage(billing, username="acme", end_time="2026-03-10 23:59:10")
    assert only_early["data"]["list"] == [{"day": "2026-03-10", "flow": acme // 1024}]
    only_late = _usage(billing, username="acme", start_time="2026-03-10 23:59:10")
    assert only_late["data"]["list"] == [{"day": "2026-03-10", "flow": later // 1024}]
    assert _usage(billing, username="nobody")["data"]["list"] == []


def test_a_lag_hides_what_is_too_young(billing: SimulatedProvider, origin: EchoOrigin, clock: Clock) -> None:
    spent = _spend(billing, origin, "demo", 50_000)
    billing.set_usage(lag_s=300)
    clock.now += timedelta(seconds=300)
    assert _usage(billing)["data"]["list"] == []
    clock.now += timedelta(seconds=1)
    assert _usage(billing)["data"]["list"] == [{"day": "2026-03-10", "flow": spent // 1024}]


def test_over_billing_and_the_size_of_a_kb_can_be_set(billing: SimulatedProvider, origin: EchoOrigin) -> None:
    spent = _spend(billing, origin, "demo", 1_000_000)
    answer = admin(billing, "PUT", "/usage-settings", json={"overbill_percent": "3", "bytes_per_kb": 1000})
    assert answer.json() == {"lag_s": 0, "overbill_percent": "3", "bytes_per_kb": 1000, "status": None}
    assert _usage(billing)["data"]["list"][0]["flow"] == spent * 103 // 100_000


def test_a_wrong_key_and_a_wrong_time_are_told_in_the_body(billing: SimulatedProvider) -> None:
    assert _usage(billing, app_key="wrong") == {"code": 3, "msg": "invalid app_key", "data": {"list": []}}
    assert admin(billing, "GET", PATH).json()["code"] == 3
    assert _usage(billing, start_time="yesterday")["code"] == 400


def test_the_usage_api_can_be_down(billing: SimulatedProvider) -> None:
    billing.set_usage(status=503)
    assert admin(billing, "GET", PATH, params={"app_key": "demo-app-key"}).status_code == 503
    billing.set_usage(status=None)
    assert _usage(billing)["code"] == 200


@pytest.mark.parametrize(
    "changes",
    [{"lag_s": -1}, {"lag_s": 3601}, {"lag_s": "5"}, {"lag_s": True}, {"overbill_percent": "much"}, {"status": 200},
     {"overbill_percent": "NaN"}, {"bytes_per_kb": 7}, {"colour": 1}],
)  # fmt: skip
def test_a_bad_usage_setting_is_refused_and_changes_nothing(
    billing: SimulatedProvider, changes: dict[str, object]
) -> None:
    before = billing.state()["usage_settings"]
    assert admin(billing, "PUT", "/usage-settings", json=changes).status_code == 400
    assert billing.state()["usage_settings"] == before


def test_old_flow_is_kept_by_the_minute_and_nothing_is_lost() -> None:
    flow = FlowLog()
    for second in range(0, 3 * FINE_SECONDS, 7):
        flow.add(START + timedelta(seconds=second), second + 1)
    total = sum(second + 1 for second in range(0, 3 * FINE_SECONDS, 7))
    days = flow.by_day(START - timedelta(minutes=1), START + timedelta(days=1))
    assert sum(days.values()) == total
    assert days["2026-03-10"] == sum(second + 1 for second in range(0, 60, 7))
    assert len(flow._seconds) <= FINE_SECONDS // 7 + 2
    assert len(flow._minutes) <= 2 * FINE_SECONDS // 60 + 1


def test_a_clock_that_steps_back_loses_no_bytes() -> None:
    flow = FlowLog()
    flow.add(START, 5)
    flow.add(START - timedelta(seconds=30), 7)
    assert flow.by_day(START, START + timedelta(days=1)) == {"2026-03-10": 12}


def test_negative_over_billing_is_under_billing(billing: SimulatedProvider, origin: EchoOrigin) -> None:
    spent = _spend(billing, origin, "demo", 200_000)
    billing.set_usage(overbill_percent=Decimal("-50"))
    assert _usage(billing)["data"]["list"][0]["flow"] == spent * 50 // 102_400
