"""Bills of a simulated vendor: real traffic through it, its own usage API, and our ledger beside it."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from tests.conftest import SECRET
from tests.factories import NOW, TZ, make_chip, make_plan, make_provider, make_proxy, make_user
from tests.providers.test_billing import recorded
from whago.domain.actions.bills import BillingFields, record_vendor_days, set_billing
from whago.domain.actions.calibrations import BATCHES, apply_calibration, begin_calibration
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.house import record_house_traffic
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import Assignment, Calibration, Provider, ProviderPrice, ProviderUsageDay
from whago.domain.models.alerting import Alert
from whago.domain.queries.bills import billing_view, calibrations, usage_days
from whago.domain.rules.months import usage_hour
from whago.errors import WhagoError
from whago.kit import db
from whago.kit.crypto import Vault
from whago.kit.ids import new_id
from whago.simulator import SimulatedProvider
from whago.tasks.bills import reconcile
from whago.tasks.calibrations import carry_on_calibrations
from whago.tasks.clock import Tools

DAY = date(2026, 11, 15)
MORNING_AFTER = datetime(2026, 11, 16, 6, 0, tzinfo=UTC)
TRANSFERS = "http://media.whatsapp.net/bytes/{bytes}"


class Wall:
    """The vendor's clock."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def vendor(wall: Wall) -> Iterator[SimulatedProvider]:
    with SimulatedProvider(now=wall) as running:
        yield running


@pytest.fixture
def tools(database: str) -> Tools:
    return Tools(Vault([SECRET]), TZ, allow_private_upstreams=True)


def configured(provider_id: UUID, vendor: SimulatedProvider, **changed: Any) -> None:
    values: dict[str, Any] = {
        "usage_tz": "UTC",
        "lag_min": 60,
        "threshold_percent": Decimal(2),
        "account": "demo",
        "api_url": vendor.admin_url,
        "transfer_url": TRANSFERS,
        "low_balance_bytes": None,
        "request_overhead_bytes": 0,
        "reconcile_from": DAY,
    } | changed
    set_billing(None, provider_id, BillingFields(**values), now=NOW, tz=TZ)


@pytest.fixture
def provider(tools: Tools, vendor: SimulatedProvider) -> Provider:
    login = {"username": "demo", "password": "demo-password", "api_key": "demo-app-key"}
    made = make_provider(tools.vault, preset="smartproxy", port=vendor.port, credentials=login, name="Vendedor")
    make_proxy(made)
    configured(made.id, vendor)
    return made


def rows(model: type[Any]) -> list[Any]:
    with db.transaction() as tx:
        return list(tx.scalars(select(model)))


def open_alerts(kind: str) -> list[Alert]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Alert).where(Alert.kind == kind, Alert.cleared_at.is_(None))))


class Traffic:
    """A chip's traffic through the vendor, as a gateway meters it: raw bytes of its socket, in the ledger."""

    def __init__(self, vendor: SimulatedProvider, provider: Provider) -> None:
        self._vendor = vendor
        self.chip = make_chip(make_user(make_plan(proxy_gb_limit=None)))
        self._boot = new_id()
        register_boot(self._boot, host="h", pid=1, port=1, now=NOW)
        self._tunnels = 0
        self._price = provider.current_price_id or 0
        with db.transaction() as tx:
            self._assignment = tx.scalars(select(Assignment)).one()

    def move(self, count: int, at: datetime) -> int:
        up, down = self._download(count)
        self._tunnels += 1
        with db.transaction() as tx:
            user_id = tx.scalar(text("SELECT user_id FROM chips"))
        usage = MeteredUsage(
            tunnel_id=self._tunnels, user_id=user_id, chip_id=self.chip.chip_id, proxy_id=self._assignment.proxy_id,
            assignment_id=self._assignment.id, price_id=self._price, hour=usage_hour(at, TZ), bytes_up=up,
            bytes_down=down - 1, overhead=1, started_at=at, last_at=at,
        )  # fmt: skip
        return record_usage(self._boot, [usage], now=at, tz=TZ, open_tunnels=1)

    def _download(self, count: int) -> tuple[int, int]:
        token = self._assignment.session_token
        login = base64.b64encode(f"demo-session-{token}:demo-password".encode()).decode()
        up = down = 0
        with socket.create_connection((self._vendor.host, self._vendor.port), timeout=20) as sock:
            for payload, ends in (
                (
                    f"CONNECT media.whatsapp.net:80 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {login}\r\n\r\n",
                    False,
                ),
                (f"GET /bytes/{count} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", True),
            ):
                sock.sendall(payload.encode())
                up += len(payload)
                while chunk := sock.recv(65_536):
                    down += len(chunk)
                    if not ends:
                        break
        return up, down


def test_a_vendor_that_bills_what_flowed_agrees(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    traffic = Traffic(vendor, provider)
    moved = sum(traffic.move(1_000_000, NOW + timedelta(hours=hour)) for hour in range(3))
    assert reconcile(tools, NOW + timedelta(hours=4)) == {"asked": 0, "failed": 0, "differing": 0}  # not complete yet
    wall.at = MORNING_AFTER
    assert reconcile(tools, MORNING_AFTER) == {"asked": 1, "failed": 0, "differing": 0}
    (day,) = usage_days(provider.id)
    assert (day.day, day.verdict, day.source) == (DAY, "agrees", "api")
    assert day.chip_bytes == moved == vendor.state()["totals"]["wire_total"]
    assert abs(day.difference_bytes) < 1024  # the vendor cuts to whole kilobytes
    assert open_alerts("bill_mismatch") == []


def test_three_percent_too_much_are_caught_and_over_when_the_vendor_corrects_it(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    admin = make_user(role="admin")
    traffic = Traffic(vendor, provider)
    for hour in range(3):
        traffic.move(2_000_000, NOW + timedelta(hours=hour))
    vendor.set_usage(overbill_percent="3")
    wall.at = MORNING_AFTER
    assert reconcile(tools, MORNING_AFTER)["differing"] == 1
    (day,) = usage_days(provider.id)
    assert day.verdict == "differs"
    assert Decimal("2.9") < (day.difference_percent or 0) < Decimal("3.1")
    assert day.difference_cost == day.difference_bytes * Decimal(25) / 10**9 > 0
    (alert,) = open_alerts("bill_mismatch")
    assert (alert.subject, alert.data["provider"], alert.data["day"]) == (str(provider.id), "Vendedor", "2026-11-15")
    with db.transaction() as tx:
        told = tx.execute(text("SELECT user_id, kind FROM notifications")).all()
    assert [tuple(one) for one in told] == [(admin.id, "bill_mismatch")]
    configured(provider.id, vendor, threshold_percent=Decimal(5))
    assert open_alerts("bill_mismatch") == []  # what is tolerated is no difference
    configured(provider.id, vendor)
    assert len(open_alerts("bill_mismatch")) == 1
    vendor.set_usage(overbill_percent="0")
    assert reconcile(tools, MORNING_AFTER + timedelta(hours=7))["differing"] == 0
    assert [one.verdict for one in usage_days(provider.id)] == ["agrees"]
    assert open_alerts("bill_mismatch") == []


@pytest.mark.parametrize(("percent", "caught"), [("1.5", False), ("2.5", True), ("-3", True)])
def test_the_threshold_decides(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall, percent: str, caught: bool
) -> None:
    Traffic(vendor, provider).move(3_000_000, NOW)
    vendor.set_usage(overbill_percent=percent)
    wall.at = MORNING_AFTER
    assert reconcile(tools, MORNING_AFTER)["differing"] == int(caught)


def test_the_vendors_delay_is_waited_for_and_its_day_is_its_own(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    traffic = Traffic(vendor, provider)
    late_evening = datetime(2026, 11, 15, 23, 30, tzinfo=UTC)  # 20:30 in São Paulo
    wall.at = late_evening
    traffic.move(2_000_000, late_evening)
    after_midnight = datetime(2026, 11, 16, 1, 30, tzinfo=UTC)  # still the 15th in São Paulo
    wall.at = after_midnight
    traffic.move(3_000_000, after_midnight)
    assert reconcile(tools, datetime(2026, 11, 16, 0, 59, tzinfo=UTC))["asked"] == 0
    assert reconcile(tools, datetime(2026, 11, 16, 1, 31, tzinfo=UTC))["asked"] == 1
    (day,) = usage_days(provider.id)
    assert (day.day, day.verdict) == (DAY, "agrees")
    assert 2_000_000 < day.chip_bytes < 2_100_000


def test_what_a_crashed_gateway_reports_late_settles_the_difference(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    traffic = Traffic(vendor, provider)
    traffic.move(2_000_000, NOW)
    wall.at = MORNING_AFTER
    with db.transaction() as tx:
        tx.execute(text("UPDATE usage_hours SET total_bytes = total_bytes / 2"))
    assert reconcile(tools, MORNING_AFTER)["differing"] == 1
    with db.transaction() as tx:
        tx.execute(text("UPDATE usage_hours SET total_bytes = total_bytes * 2"))
    assert reconcile(tools, MORNING_AFTER + timedelta(hours=6))["differing"] == 0
    assert open_alerts("bill_mismatch") == []


def test_the_houses_own_probes_are_expected_on_the_bill(
    tools: Tools, vendor: SimulatedProvider, provider: Provider
) -> None:
    configured(provider.id, vendor, usage_tz="America/Sao_Paulo")
    record_house_traffic(provider.id, "health", 5_000_000, now=NOW, tz=TZ)
    record_vendor_days(provider.id, {DAY: 5_000_000}, source="csv", now=MORNING_AFTER, tz=TZ)
    (day,) = usage_days(provider.id)
    assert (day.house_bytes, day.chip_bytes, day.verdict) == (5_000_000, 0, "agrees")


def test_an_api_that_fails_is_shown_and_asked_again_later(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    Traffic(vendor, provider).move(2_000_000, NOW)
    wall.at = MORNING_AFTER
    vendor.set_usage(status=503)
    assert reconcile(tools, MORNING_AFTER)["failed"] == 1
    assert billing_view(provider.id).last_error == "The vendor's usage API answered with an error."
    vendor.set_usage(status=None)
    assert reconcile(tools, MORNING_AFTER + timedelta(minutes=5))["asked"] == 0
    assert reconcile(tools, MORNING_AFTER + timedelta(minutes=31)) == {"asked": 1, "failed": 0, "differing": 0}
    assert billing_view(provider.id).last_error is None


def test_what_was_imported_by_hand_is_not_overwritten_by_the_api(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    moved = Traffic(vendor, provider).move(2_000_000, NOW)
    record_vendor_days(provider.id, {DAY: moved * 2}, source="csv", now=MORNING_AFTER, tz=TZ)
    assert len(open_alerts("bill_mismatch")) == 1
    wall.at = MORNING_AFTER
    reconcile(tools, MORNING_AFTER)
    (day,) = usage_days(provider.id)
    assert (day.source, day.vendor_bytes) == ("csv", moved * 2)


def test_a_provider_without_a_key_is_not_asked(tools: Tools, vendor: SimulatedProvider) -> None:
    make_provider(tools.vault, preset="smartproxy", port=vendor.port)
    make_provider(Vault(["another-secret-key-of-32-characters!"]), preset="iproyal", credentials={"api_key": "k"})
    assert reconcile(tools, MORNING_AFTER) == {"asked": 0, "failed": 0, "differing": 0}


def test_a_counter_is_read_by_the_hour_and_makes_a_day_of_its_edges(tools: Tools) -> None:
    """IPRoyal tells only what is left; ours is read at the same moments."""
    login = {"username": "u", "password": "p", "api_key": "k"}
    provider = make_provider(tools.vault, preset="iproyal", credentials=login, created_at=NOW - timedelta(days=9))
    proxy = make_proxy(provider)
    midnight = datetime(2026, 11, 15, tzinfo=UTC)
    left = 50_000_000_000
    with recorded({}) as tape:
        fields = BillingFields(
            usage_tz="UTC", lag_min=15, threshold_percent=Decimal(2), account=None, api_url=tape.url,
            transfer_url=None, low_balance_bytes=41_000_000_000, request_overhead_bytes=0, reconcile_from=DAY,
        )  # fmt: skip
        set_billing(None, provider.id, fields, now=midnight, tz=TZ)
        for quarter in range(25 * 4):
            now = midnight + timedelta(minutes=15 * quarter + 2)
            tape.answers["/v1/me"] = {"available_traffic": left / 1e9}
            counts = reconcile(tools, now)
            assert counts["asked"] == (quarter % 4 == 0)
            if quarter < 24 * 4:
                left -= 100_000_000
                with db.transaction() as tx:
                    tx.execute(
                        text("UPDATE proxies SET total_bytes_used = total_bytes_used + :n WHERE id = :id"),
                        {"n": 95_000_000, "id": proxy.id},
                    )
    (day,) = usage_days(provider.id)
    assert (day.day, day.source, day.vendor_bytes) == (DAY, "reading", 9_600_000_000)
    assert (day.expected_bytes, day.verdict) == (95_000_000 * 96, "differs")
    assert billing_view(provider.id).balance_bytes == left == 40_400_000_000
    (alert,) = open_alerts("provider_balance_low")
    assert alert.data["balance_gb"] == "40.400"


def test_traffic_bought_in_the_middle_of_a_day_makes_it_unknown_not_wrong(tools: Tools) -> None:
    login = {"username": "u", "password": "p", "api_key": "k"}
    provider = make_provider(tools.vault, preset="iproyal", credentials=login)
    midnight = datetime(2026, 11, 15, tzinfo=UTC)
    with recorded({}) as tape:
        fields = BillingFields(
            usage_tz="UTC", lag_min=15, threshold_percent=Decimal(2), account=None, api_url=tape.url,
            transfer_url=None, low_balance_bytes=None, request_overhead_bytes=0, reconcile_from=DAY,
        )  # fmt: skip
        set_billing(None, provider.id, fields, now=midnight, tz=TZ)
        for hour in range(26):
            tape.answers["/v1/me"] = {"available_traffic": 10 - hour * 0.1 + (50 if hour > 12 else 0)}
            reconcile(tools, midnight + timedelta(hours=hour, minutes=1))
    assert usage_days(provider.id) == []


def calibrated(tools: Tools, provider: Provider, wall: Wall) -> Calibration:
    begin_calibration(None, provider.id, now=wall.at)
    with pytest.raises(WhagoError, match="under way"):
        begin_calibration(None, provider.id, now=wall.at)
    for _ in range(len(BATCHES) + 1):
        carry_on_calibrations(tools, wall.at)
        wall.at += timedelta(minutes=2)
    (made,) = rows(Calibration)
    assert made.state != "running"
    return made


def test_a_calibration_finds_that_a_vendor_counts_as_we_do(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    configured(provider.id, vendor, lag_min=0)
    made = calibrated(tools, provider, wall)
    assert (made.state, made.problem) == ("done", None)
    assert made.fit is not None
    assert made.fit["bytes_per_gb"] == 10**9
    assert made.fit["overhead_bytes"] < 60  # whole kilobytes are cut off, once for each step
    assert Decimal(made.fit["residual_percent"]) < 1
    apply_calibration(None, made.id, now=wall.at)
    assert len(rows(ProviderPrice)) == 1  # nothing to change
    with db.transaction() as tx:
        spent = tx.execute(text("SELECT purpose, probes FROM proxy_probe_days")).all()
    assert [tuple(one) for one in spent] == [("calibration", sum(batch.tunnels for batch in BATCHES))]


def test_a_calibration_finds_a_vendor_whose_kilobyte_makes_another_gb(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    """It says KB of 1,000 bytes where its documentation means 1,024, so what it calls a byte is 1.024 of ours."""
    configured(provider.id, vendor, lag_min=0)
    vendor.set_usage(bytes_per_kb=1000)
    made = calibrated(tools, provider, wall)
    assert (made.state, made.problem) == ("refused", "unexplained_scale")
    assert made.fit is not None
    assert abs(Decimal(made.fit["scale"]) - Decimal("1.024")) < Decimal("0.002")
    with pytest.raises(WhagoError, match="nothing"):
        apply_calibration(None, made.id, now=wall.at)


def test_a_calibration_that_meets_traffic_or_failure_takes_nothing_over(
    tools: Tools, vendor: SimulatedProvider, provider: Provider, wall: Wall
) -> None:
    configured(provider.id, vendor, lag_min=0)
    begin_calibration(None, provider.id, now=NOW)
    carry_on_calibrations(tools, NOW)
    with db.transaction() as tx:
        tx.execute(text("UPDATE proxies SET total_bytes_used = total_bytes_used + 200000"))
    carry_on_calibrations(tools, NOW + timedelta(minutes=2))
    assert [(one.state, one.problem) for one in calibrations(provider.id)] == [("refused", "busy")]
    begin_calibration(None, provider.id, now=NOW + timedelta(minutes=3))
    vendor.switch(refuse_connect=503)
    carry_on_calibrations(tools, NOW + timedelta(minutes=3))
    assert [one.problem for one in calibrations(provider.id)] == ["transfer_no_exit", "busy"]
    vendor.reset()
    vendor.set_usage(status=500)
    begin_calibration(None, provider.id, now=NOW + timedelta(minutes=4))
    carry_on_calibrations(tools, NOW + timedelta(minutes=4))
    assert calibrations(provider.id)[0].problem == "usage_api_unreachable"
    assert rows(ProviderUsageDay) == []
