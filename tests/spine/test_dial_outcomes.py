"""What gateways tell of proxies: whose failure counts against whom, over the whole way and into the database."""

from __future__ import annotations

import base64
import contextlib
import socket
from decimal import Decimal

import pytest
from sqlalchemy import select

from tests.factories import make_plan, make_user
from tests.spine.conftest import GONE_HOST, Stack, wait_until
from tests.spine.test_metering import HOST
from tests.spine.wire import Refused, connect
from whago.domain.actions.chips import CreatedChip
from whago.domain.models import Assignment, Provider, Proxy
from whago.kit.db import transaction


def told() -> tuple[Proxy, Assignment]:
    with transaction() as db:
        return db.scalars(select(Proxy)).one(), db.scalars(
            select(Assignment).where(Assignment.released_at.is_(None))
        ).one()


def refuse(port: int, chip: CreatedChip, host: str = HOST) -> str:
    with pytest.raises(Refused) as refused:
        connect(port, chip.chip_id, chip.gateway_token, host)
    return refused.value.reason


@pytest.mark.parametrize("protocol", ["http", "socks5"])
def test_an_exit_that_is_gone_speaks_against_the_proxy_and_its_session(stack: Stack, protocol: str) -> None:
    if protocol == "socks5":
        with transaction() as db:
            proxy = db.scalars(select(Proxy)).one()
            proxy.proxy_url = proxy.proxy_url.replace("http://", "socks5://")
            db.scalars(select(Provider)).one().protocol = "socks5"
    gateway, chip = stack.gateway(), stack.chip(make_user("enterprise"))
    stack.provider.switch(refuse_connect=503)
    for _ in range(3):
        assert refuse(gateway.port, chip) == "upstream_refused"
    wait_until(lambda: told()[1].failures == 3)
    proxy, session = told()
    assert proxy.consecutive_failures == 3
    assert proxy.bad_weight > 2.9
    assert session.failing_since is not None
    stack.provider.reset()
    with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST):
        wait_until(lambda: told()[1].failures == 0)
    proxy, session = told()
    assert (proxy.consecutive_failures, session.failing_since) == (0, None)
    assert proxy.latency_ms is not None
    assert proxy.last_ok_at is not None


@pytest.mark.parametrize(
    ("switch", "reason"),
    [({"balance_empty": True}, "upstream_auth_failed"), ({"allow_list_denied": True}, "upstream_refused")],
)
def test_an_account_s_failure_is_a_refusal_and_not_the_proxy_s(
    stack: Stack, switch: dict[str, bool], reason: str
) -> None:
    gateway, chip = stack.gateway(), stack.chip(make_user("enterprise"))
    stack.provider.switch(**switch)
    for _ in range(3):
        assert refuse(gateway.port, chip) == reason
    wait_until(lambda: told()[0].refusals == 3)
    proxy, session = told()
    assert (proxy.consecutive_failures, proxy.bad_weight, session.failures, session.refusals) == (0, 0, 0, 3)


def test_a_proxy_that_cannot_be_reached_is_told_though_it_moved_no_byte(stack: Stack) -> None:
    gateway, chip = stack.gateway(), stack.chip(make_user("enterprise"))
    with transaction() as db:
        db.scalars(select(Proxy)).one().proxy_url = "http://127.0.0.1:9"
    assert refuse(gateway.port, chip) == "upstream_unreachable"
    wait_until(lambda: told()[0].consecutive_failures == 1)


def test_what_the_client_our_rules_and_the_quota_do_never_counts(stack: Stack) -> None:
    plan = make_plan(proxy_gb_limit=Decimal("0.0001"))
    gateway, chip = stack.gateway(), stack.chip(make_user(plan))
    stack.provider.switch(stall=True)
    for _ in range(3):  # hangs up while the provider takes its time
        hang_up(gateway.port, chip)
    stack.provider.reset()
    assert refuse(gateway.port, chip, "example.org") == "host_not_allowed"
    pull_until_cut(gateway.port, chip)
    assert refuse(gateway.port, chip) == "quota_exhausted"
    wait_until(lambda: told()[0].last_ok_at is not None)
    proxy, session = told()
    assert (proxy.consecutive_failures, proxy.refusals, proxy.bad_weight) == (0, 0, 0)
    assert (session.failures, session.refusals) == (0, 0)


def test_a_target_that_the_proxy_says_it_cannot_reach_harms_nobody(stack: Stack) -> None:
    gateway, chip = stack.gateway(), stack.chip(make_user("enterprise"))
    for _ in range(3):
        assert refuse(gateway.port, chip, GONE_HOST) == "target_unreachable"
    with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST):  # the same proxy, for what is there
        wait_until(lambda: told()[0].ok_weight > 0.9)
    proxy, session = told()
    assert (proxy.consecutive_failures, proxy.bad_weight) == (0, 0)
    assert (session.failures, session.refusals, session.failing_since) == (0, 0, None)


def test_a_target_that_closes_or_resets_never_counts(stack: Stack) -> None:
    gateway, chip = stack.gateway(), stack.chip(make_user("enterprise"))
    stack.provider.switch(reset_after_bytes=5_000)
    for _ in range(3):
        pull_until_cut(gateway.port, chip)
    wait_until(lambda: told()[0].ok_weight > 2.9)
    proxy, _ = told()
    assert (proxy.consecutive_failures, proxy.bad_weight) == (0, 0)


def pull_until_cut(port: int, chip: CreatedChip) -> None:
    """One tunnel, until the quota or the target ends it."""
    with connect(port, chip.chip_id, chip.gateway_token, HOST) as tunnel, contextlib.suppress(OSError, EOFError):
        for _ in range(1_000):
            tunnel.get("/bytes/20000")
        pytest.fail("nobody cut it")


def hang_up(port: int, chip: CreatedChip) -> None:
    login = base64.b64encode(f"{chip.chip_id}:{chip.gateway_token}".encode()).decode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\nProxy-Authorization: Basic {login}\r\n\r\n".encode())
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
