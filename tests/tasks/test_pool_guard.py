"""The pool's clocks against a real provider: what is probed when, what it costs the house, and what the guard does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.conftest import SECRET
from tests.factories import NOW, TZ, make_chip, make_plan, make_provider, make_proxy, make_user
from whago.domain.models import Assignment, ProbeDay, Provider, Proxy, UsageLog, UserProxyCost
from whago.domain.models.dialled import SessionDials, take_dials
from whago.domain.queries.probes_due import IDLE_AFTER, probes_due
from whago.kit import db
from whago.kit.crypto import Vault
from whago.simulator import SimulatedProvider
from whago.tasks.clock import Tools
from whago.tasks.failover import DRAINED_PER_ROUND, drain, guard
from whago.tasks.health import sweep

PAGE = "http://ip.simulated.test/json"
GRACE_S = 30.0


@pytest.fixture
def tools(database: str) -> Tools:
    return Tools(Vault([SECRET]), TZ, allow_private_upstreams=True, failover_grace_s=GRACE_S)


@pytest.fixture(scope="module")
def _simulated() -> Iterator[SimulatedProvider]:
    with SimulatedProvider() as running:
        yield running


@pytest.fixture
def simulated(_simulated: SimulatedProvider) -> Iterator[SimulatedProvider]:
    yield _simulated
    _simulated.reset()


@pytest.fixture
def provider(tools: Tools, simulated: SimulatedProvider) -> Provider:
    return make_provider(tools.vault, port=simulated.port, ip_check_url=PAGE)


@pytest.fixture
def proxy(provider: Provider) -> Proxy:
    return make_proxy(provider)


def reread(proxy: Proxy) -> Proxy:
    with db.transaction() as tx:
        return tx.get_one(Proxy, proxy.id)


def execute(sql: str, **values: Any) -> None:
    with db.transaction() as tx:
        tx.execute(text(sql), values)


def active() -> list[Assignment]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Assignment).where(Assignment.released_at.is_(None))))


def dialled(at: datetime, **counts: int) -> None:
    """The same of every chip."""
    with db.transaction() as tx:
        take_dials(tx, [SessionDials(one.id, one.proxy_id, **counts) for one in active()], at)


def due(tools: Tools, now: datetime, **switches: bool) -> list[object]:
    wanted = {"survivors": False, "with_idle": True} | switches
    return [one.subject for one in probes_due(tools.vault, now=now, limit=20, **wanted)]  # type: ignore[arg-type]


def eject(tools: Tools, proxy: Proxy, simulated: SimulatedProvider) -> datetime:
    """By three real probes that fail; returns when its trial begins."""
    simulated.switch(refuse_connect=503)
    for minute in range(3):
        assert sweep(tools, NOW + timedelta(minutes=minute))["failed"] == 1
    simulated.reset()
    until = reread(proxy).ejected_until
    assert until is not None
    return until


def test_a_proxy_that_chips_use_is_not_probed(tools: Tools, proxy: Proxy) -> None:
    make_chip(make_user("enterprise"))
    assert sweep(tools, NOW)["tried"] == 1, "nobody knows it yet"
    for minute in range(0, 240, 10):
        moment = NOW + timedelta(minutes=minute)
        dialled(moment, established=1, took_ms=50)
        assert sweep(tools, moment + timedelta(minutes=9))["tried"] == 0


def test_an_idle_proxy_is_probed_rarely(tools: Tools, proxy: Proxy) -> None:
    tried = sum(sweep(tools, NOW + timedelta(minutes=minute))["tried"] for minute in range(0, 240, 5))
    assert 4 <= tried <= 240 * 60 / IDLE_AFTER.total_seconds() + 1


def test_on_trial_a_proxy_is_probed_first_and_comes_back(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider, provider: Provider
) -> None:
    until = eject(tools, proxy, simulated)
    new = make_proxy(provider)
    assert due(tools, until - timedelta(seconds=1)) == [new.id]
    assert due(tools, until + timedelta(seconds=1)) == [proxy.id, new.id]
    for step in range(6):
        sweep(tools, until + timedelta(seconds=1 + 11 * step))
    assert reread(proxy).ejected_until is None
    assert reread(proxy).health_score > 60


def test_a_trial_that_fails_is_one_probe_and_a_longer_ejection(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider
) -> None:
    until = eject(tools, proxy, simulated)
    simulated.switch(refuse_connect=504)
    trial = until + timedelta(seconds=1)
    assert sweep(tools, trial) == {"tried": 1, "failed": 1}
    assert sweep(tools, trial + timedelta(seconds=20)) == {"tried": 0, "failed": 0}
    assert reread(proxy).ejections == 2


def test_probes_are_on_the_house_and_on_nobody_s_bill(tools: Tools, proxy: Proxy, simulated: SimulatedProvider) -> None:
    make_chip(make_user("enterprise"))
    before = simulated.state()["totals"]["wire_total"]
    for minute in (0, 40, 80):
        sweep(tools, NOW + timedelta(minutes=minute))
    moved = simulated.state()["totals"]["wire_total"] - before
    with db.transaction() as tx:
        (day,) = tx.scalars(select(ProbeDay))
        assert tx.scalars(select(UsageLog)).all() == []
        assert tx.scalars(select(UserProxyCost)).all() == []
    assert (day.purpose, day.probes, day.bytes) == ("health", 3, moved)
    assert day.cost == Decimal(25) * moved / 10**9


def test_beyond_the_day_s_budget_only_what_chips_wait_for_is_probed_and_without_a_page(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider, provider: Provider
) -> None:
    until = eject(tools, proxy, simulated)
    make_proxy(provider)
    poor = Tools(tools.vault, TZ, allow_private_upstreams=True, probe_bytes_per_day=1)
    before = simulated.state()["totals"]["wire_total"]
    assert sweep(poor, until + timedelta(seconds=1)) == {"tried": 1, "failed": 0}
    assert simulated.state()["totals"]["wire_total"] - before < 400
    tomorrow = until + timedelta(days=1)
    assert sweep(poor, tomorrow)["tried"] == 2


def test_chips_that_are_refused_make_the_account_be_asked(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider
) -> None:
    other = make_proxy(make_provider(tools.vault, priority=900))
    make_chip(make_user("enterprise"))
    sweep(tools, NOW)
    simulated.switch(balance_empty=True)
    later = NOW + timedelta(minutes=2)
    dialled(later, refused=3)
    assert due(tools, later, with_idle=False) == [proxy.id]
    sweep(tools, later)
    with db.transaction() as tx:
        assert tx.get_one(Provider, proxy.provider_id).trouble == "balance_empty"
    assert reread(proxy).health_score == 100
    assert guard(tools, later + timedelta(seconds=GRACE_S))["moved"] == 1
    assert [one.proxy_id for one in active()] == [other.id]
    simulated.reset()
    sweep(tools, later + timedelta(seconds=90))
    with db.transaction() as tx:
        assert tx.get_one(Provider, proxy.provider_id).trouble is None


def test_refusals_that_are_not_the_account_s_move_nobody(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider
) -> None:
    make_proxy(make_provider(tools.vault, priority=900))
    make_chip(make_user("enterprise"))
    dialled(NOW, refused=9)
    assert sweep(tools, NOW)["tried"] >= 1
    assert reread(proxy).refusals == 0
    assert guard(tools, NOW + timedelta(hours=1)).get("moved", 0) == 0


def test_in_a_panic_the_survivors_are_probed_before_they_get_chips(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider, provider: Provider
) -> None:
    alive = make_proxy(provider)
    dead = make_provider(tools.vault, port=1, priority=1)
    out = [make_proxy(dead) for _ in range(4)]
    make_chip(make_user("enterprise"))
    for _ in range(3):
        dialled(NOW, failed=1)
    execute(
        "UPDATE proxies SET consecutive_failures = 3, last_checked_at = :now, last_dial_at = :now"
        " WHERE provider_id = :id", id=dead.id, now=NOW,
    )  # fmt: skip
    execute(
        "UPDATE proxies SET last_checked_at = :then, last_dial_at = :then, last_ok_at = :then WHERE provider_id = :id",
        id=provider.id, then=NOW - timedelta(minutes=5),
    )  # fmt: skip
    guard(tools, NOW)
    moment = NOW + timedelta(seconds=GRACE_S / 2)
    held = guard(tools, NOW + timedelta(seconds=GRACE_S))
    assert (held["out"], held["held"], held.get("moved", 0)) == (len(out), 1, 0)
    assert set(due(tools, moment, survivors=True, with_idle=False)) == {proxy.id, alive.id}
    sweep(tools, moment)
    assert guard(tools, NOW + timedelta(seconds=GRACE_S + 3))["moved"] == 1
    assert active()[0].proxy_id in (proxy.id, alive.id)


def test_our_own_outage_moves_nobody(tools: Tools, proxy: Proxy, simulated: SimulatedProvider) -> None:
    """Everything fails at once, and so do the probes: the fault is ours."""
    second = make_provider(tools.vault, port=simulated.port, ip_check_url=PAGE, priority=200)
    make_proxy(second)
    user = make_user(make_plan())
    before = {make_chip(user).chip_id for _ in range(6)}
    simulated.switch(port_down=True)
    identifiers = {one.session_identifier for one in active()}
    for step in range(0, 600, 15):
        moment = NOW + timedelta(seconds=step)
        dialled(moment, failed=1)
        guard(tools, moment)
        sweep(tools, moment)
        assert guard(tools, moment + timedelta(seconds=3)).get("moved", 0) == 0
    assert {one.chip_id for one in active()} == before
    assert {one.session_identifier for one in active()} == identifiers


def test_what_drains_empties_a_few_chips_a_round(tools: Tools, proxy: Proxy) -> None:
    user = make_user(make_plan())
    for _ in range(5):
        make_chip(user)
    make_proxy(make_provider(tools.vault, priority=900))
    execute("UPDATE proxy_providers SET is_draining = true WHERE priority < 900")
    rounds = [drain(tools, NOW).get("moved", 0) for _ in range(4)]
    assert rounds == [DRAINED_PER_ROUND, DRAINED_PER_ROUND, 1, 0]


def test_a_guard_that_shall_stop_leaves_at_the_next_chip(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider
) -> None:
    user = make_user(make_plan())
    for _ in range(5):
        make_chip(user)
    make_proxy(make_provider(tools.vault, port=simulated.port, ip_check_url=PAGE, priority=900))
    dialled(NOW, failed=3)
    guard(tools, NOW)
    sweep(tools, NOW + timedelta(seconds=GRACE_S - 1))
    tools.stopping.set()
    assert guard(tools, NOW + timedelta(seconds=GRACE_S)).get("moved", 0) == 0
    tools.stopping.clear()
    assert guard(tools, NOW + timedelta(seconds=GRACE_S + 3))["moved"] == 5
