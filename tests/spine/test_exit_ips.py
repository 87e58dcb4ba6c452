"""A silent new exit IP, seen through the real gateway: the chip stops at once, says why, and goes on when it may."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select, update

from tests.conftest import SECRET
from tests.factories import TZ, make_user
from tests.spine.conftest import Stack, month_of, wait_equal, wait_until
from tests.spine.wire import Refused, connect
from whago.domain.actions.bills import BillingFields, set_billing
from whago.domain.actions.exit_ips import accept_exit_ip
from whago.domain.models import Assignment, ProbeDay, Provider
from whago.domain.queries.bills import usage_days
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.tasks.bills import reconcile
from whago.tasks.clock import Tools
from whago.tasks.exit_ips import ExitWatch

HOST = "media.whatsapp.net"
PAGE = "http://ip.simulated.test/json"


def house() -> int:
    with transaction() as db:
        return int(db.scalar(select(func.sum(ProbeDay.bytes))) or 0)


@pytest.fixture
def tools(stack: Stack) -> Tools:
    with transaction() as db:
        db.execute(update(Provider).values(ip_check_url=PAGE, exit_ip_policy="pause", preset="smartproxy"))
    return Tools(Vault([SECRET]), TZ, allow_private_upstreams=True)


def test_a_paused_chip_moves_no_byte_until_its_owner_accepts_the_new_exit(stack: Stack, tools: Tools) -> None:
    user = make_user("enterprise")
    gateway, chip = stack.gateway(), stack.chip(user)
    watch = ExitWatch()
    with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel:
        tunnel.get("/bytes/1000")
        assert watch.observe(tools, clock.now())["seen"] == 1
        with transaction() as db:
            token = db.scalars(select(Assignment.session_token)).one()
        stack.provider.drift(token)
        assert watch.observe(tools, clock.now() + timedelta(hours=2))["paused"] == 1
        assert tunnel.sock.recv(1) == b""
    before = stack.relay.total
    with pytest.raises(Refused) as refused:
        connect(gateway.port, chip.chip_id, chip.gateway_token, HOST)
    assert (refused.value.status, refused.value.reason) == (503, "exit_ip_changed")
    assert stack.relay.total == before
    accept_exit_ip(user.id, chip.chip_id, now=clock.now())

    def goes_on() -> bool:
        try:
            with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as again:
                return len(again.get("/bytes/1000")) == 1000
        except Refused:
            return False

    wait_until(goes_on)


def test_what_chips_and_the_house_moved_is_what_the_vendor_bills(stack: Stack, tools: Tools) -> None:
    """The relay in front of the vendor counts both; so does the vendor's own bill."""
    user = make_user("enterprise")
    gateway, chip = stack.gateway(), stack.chip(user)
    with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel:
        tunnel.get("/bytes/3000000")
    ExitWatch().observe(tools, clock.now())
    wait_equal(lambda: month_of(user.id).total_bytes + house(), lambda: stack.relay.total)
    with transaction() as db:
        provider = db.scalars(select(Provider)).one()
        login = {"username": "demo", "password": "demo-password", "api_key": "demo-app-key"}
        provider.credentials = tools.vault.seal(login)
    today = clock.now().date()
    fields = BillingFields(
        usage_tz="UTC", lag_min=0, threshold_percent=Decimal(1), account="demo", api_url=stack.provider.admin_url,
        transfer_url=None, low_balance_bytes=None, request_overhead_bytes=0, reconcile_from=today - timedelta(days=1),
    )  # fmt: skip
    set_billing(None, provider.id, fields, now=clock.now(), tz=TZ)
    reconcile(tools, clock.now() + timedelta(days=1))
    assert {day.verdict for day in usage_days(provider.id)} <= {"agrees", "unjudged"}
    assert any(day.verdict == "agrees" for day in usage_days(provider.id))
