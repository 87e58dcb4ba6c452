"""How each kind of alert comes about, and how it ends, on the way that it does in production.

A provoker is a generator: it makes the trouble, yields, puts it right, and ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select

from tests.alerts.world import NOW, World, active, execute
from tests.factories import TZ, make_chip, make_proxy
from tests.providers.test_billing import recorded
from tests.spine.conftest import wait_until
from tests.spine.wire import connect
from whago.domain.actions.bills import BillingFields, set_billing
from whago.domain.actions.bridges import beat_bridge, bury_bridges
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.pool import delete_proxy
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import GatewayBoot, Provider, Proxy, UserProxyCost
from whago.domain.models.dialled import SessionDials, take_dials
from whago.domain.rules.months import usage_hour
from whago.kit import clock
from whago.kit.db import transaction
from whago.kit.ids import new_id
from whago.tasks import alerts, bridge, failover, health, pool, upkeep, usage
from whago.tasks.bills import reconcile
from whago.tasks.clock import Clock, run_clock
from whago.tasks.exit_ips import ExitWatch
from whago.tasks.metrics import ClockMetrics
from whago.web.watchdog import Watchdog

HOST = "media.whatsapp.net"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LIMIT_BYTES = 2_000_000  # of the world's plan

Provoker = Callable[[World], Iterator[None]]


def quota_warning(world: World) -> Iterator[None]:
    _download_through_a_gateway(world, count=LIMIT_BYTES * 85 // 100)
    assert _month(world).warned_at is not None
    yield
    world.grow_plan("1")
    alerts.look_at_quotas(world.tools, clock.now())


def quota_exhausted(world: World) -> Iterator[None]:
    _download_through_a_gateway(world, count=LIMIT_BYTES * 2)
    assert _month(world).exhausted_at is not None
    yield
    world.grow_plan("1")
    alerts.look_at_quotas(world.tools, clock.now())


def quota_projected(world: World) -> Iterator[None]:
    world.pool()
    make_chip(world.owner)
    _meter(world, bytes_down=LIMIT_BYTES * 6 // 10)
    alerts.look_at_quotas(world.tools, world.now)
    yield
    world.grow_plan("1")
    alerts.look_at_quotas(world.tools, world.now)


def chip_cost_spike(world: World) -> Iterator[None]:
    world.grow_plan("100")
    world.pool()
    make_chip(world.owner, alias="vendas", now=NOW - 10 * DAY)
    for days in range(2, 8):
        _meter(world, bytes_down=40_000_000 + days, days_ago=days)
    _meter(world, bytes_down=60_000_000)
    assert alerts.look_for_spikes(world.tools, world.now) == {"raised": 0, "cleared": 0}
    _meter(world, bytes_down=900_000_000)
    alerts.look_for_spikes(world.tools, world.now)
    yield
    alerts.look_for_spikes(world.tools, world.at(NOW + 2 * DAY))


def chip_waiting_proxy(world: World) -> Iterator[None]:
    _provider, proxy = world.pool()
    make_chip(world.owner, alias="vendas")
    delete_proxy(None, proxy.id, force=True, now=NOW)
    alerts.look_for_waiting_chips(world.tools, world.now)
    yield
    world.pool(name="Outro")
    assert pool.serve_waiting_chips(world.tools, world.now)["served"] == 1
    alerts.look_for_waiting_chips(world.tools, world.now)


def proxy_failed_over(world: World) -> Iterator[None]:
    world.pool()
    make_chip(world.owner, alias="vendas")
    world.pool(name="Outro", priority=900)
    _dial(world, failed=3)
    failover.guard(world.tools, NOW)
    health.sweep(world.tools, NOW + timedelta(seconds=29))
    assert failover.guard(world.tools, world.at(NOW + timedelta(seconds=33)))["moved"] == 1
    yield
    world.at(NOW + 2 * MINUTE)
    _dial(world, established=1)
    failover.guard(world.tools, world.now)


def provider_down(world: World) -> Iterator[None]:
    world.pool()
    world.simulated.switch(refuse_connect=503)
    for minute in range(3):
        health.sweep(world.tools, world.at(NOW + minute * MINUTE))
    failover.guard(world.tools, world.now)
    yield
    world.simulated.reset()
    _try_until_it_is_in(world)


def proxy_ejected(world: World) -> Iterator[None]:
    provider, broken = world.pool()
    execute("UPDATE proxies SET proxy_url = 'http://127.0.0.1:9' WHERE id = :id", id=broken.id)
    fine = make_proxy(provider)
    for minute in range(4):
        health.sweep(world.tools, world.at(NOW + minute * MINUTE))
    failover.guard(world.tools, world.now)
    yield
    execute("UPDATE proxies SET proxy_url = :url WHERE id = :id", url=fine.proxy_url, id=broken.id)
    _try_until_it_is_in(world)


def exit_ip_changed(world: World) -> Iterator[None]:
    world.pool()
    make_chip(world.owner, alias="vendas")
    watch = ExitWatch()
    watch.observe(world.tools, NOW)
    world.simulated.drift(active()[0].session_token)
    watch.observe(world.tools, world.at(NOW + 2 * HOUR))
    yield
    watch.observe(world.tools, world.at(NOW + 3 * HOUR + MINUTE))


def duplicate_exit_ip(world: World) -> Iterator[None]:
    world.pool()
    make_chip(world.owner, now=NOW - HOUR)
    make_chip(world.owner, alias="nova")
    watch = ExitWatch()
    watch.observe(world.tools, NOW)
    older, younger = active()
    world.simulated.duplicate(older.session_token, younger.session_token)
    watch.observe(world.tools, world.at(NOW + 2 * HOUR))
    yield
    watch.observe(world.tools, world.at(NOW + 2 * HOUR + timedelta(seconds=15)))


def bill_mismatch(world: World) -> Iterator[None]:
    _billed(world)
    gateway = world.gateway()
    chip = make_chip(world.owner, now=clock.now())
    world.grow_plan("1")
    world.at(clock.now())
    with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel:
        tunnel.get("/bytes/3000000")
    wait_until(lambda: _month(world).total_bytes > 3_000_000 and _month(world).leased_bytes == 0)
    world.simulated.set_usage(overbill_percent="5")
    morning_after = world.at(clock.now() + 2 * DAY)
    assert reconcile(world.tools, morning_after)["differing"] == 1
    yield
    world.simulated.set_usage(overbill_percent="0")
    assert reconcile(world.tools, world.at(morning_after + 7 * HOUR))["differing"] == 0


def provider_balance_low(world: World) -> Iterator[None]:
    """A vendor that tells what is left: at its HTTP edge, from a recording of its API."""
    provider, _proxy = world.pool(preset="iproyal", credentials={"username": "u", "password": "p", "api_key": "k"})
    with recorded({"/v1/me": {"available_traffic": 40.4}}) as tape:
        _set_billing(provider, api_url=tape.url, low_balance_bytes=41_000_000_000, lag_min=15, account=None)
        reconcile(world.tools, world.now)
        yield
        tape.answers["/v1/me"] = {"available_traffic": 140.4}
        reconcile(world.tools, world.at(NOW + 2 * HOUR))


def gateway_silent(world: World) -> Iterator[None]:
    world.pool()
    dead = world.gateway()
    dead.kill()
    upkeep.look_for_silent_gateways(world.tools, world.at(clock.now() + MINUTE))
    yield
    world.gateway()
    wait_until(lambda: len(_unsettled()) == 1, 30)
    upkeep.look_for_silent_gateways(world.tools, world.at(clock.now()))


def bridge_silent(world: World) -> Iterator[None]:
    here, there = new_id(), new_id()
    _beat_of(here, NOW)
    _beat_of(there, NOW)
    for seconds in (15, 30, 45):
        _beat_of(there, world.at(NOW + timedelta(seconds=seconds)))
    bury_bridges(now=world.now)
    assert bridge.look_for_silent_bridges(world.tools, world.now) == {"raised": 1, "cleared": 0}
    yield
    _beat_of(here, world.at(NOW + MINUTE))
    bridge.look_for_silent_bridges(world.tools, world.now)


def scheduler_silent(world: World) -> Iterator[None]:
    world.at(clock.now())
    watchdog = Watchdog(world.office.courier, TZ, now=lambda: world.now)
    assert not watchdog.look(world.now)
    assert watchdog.look(world.at(clock.now() + 100 * MINUTE))
    yield
    run_clock(Clock("heartbeat", every_s=10, work=upkeep.beat), world.tools, ClockMetrics())
    assert not watchdog.look(world.at(clock.now()))


def ledger_mismatch(world: World) -> Iterator[None]:
    world.pool()
    make_chip(world.owner)
    _meter(world, bytes_down=1000)
    execute("UPDATE user_proxy_costs SET total_bytes = total_bytes + 7")
    assert usage.audit(world.tools, NOW)["repaired"] == 1
    yield
    assert usage.audit(world.tools, world.at(NOW + 2 * HOUR))["repaired"] == 0


PROVOKERS: dict[str, tuple[Provoker, set[str]]] = {
    "quota_warning": (quota_warning, {"owner"}),
    "quota_exhausted": (quota_exhausted, {"owner"}),
    "quota_projected": (quota_projected, {"owner"}),
    "chip_cost_spike": (chip_cost_spike, {"owner", "admin"}),
    "chip_waiting_proxy": (chip_waiting_proxy, {"owner"}),
    "proxy_failed_over": (proxy_failed_over, {"owner"}),
    "provider_down": (provider_down, {"admin"}),
    "proxy_ejected": (proxy_ejected, {"admin"}),
    "exit_ip_changed": (exit_ip_changed, {"owner"}),
    "duplicate_exit_ip": (duplicate_exit_ip, {"owner", "admin"}),
    "bill_mismatch": (bill_mismatch, {"admin"}),
    "provider_balance_low": (provider_balance_low, {"admin"}),
    "gateway_silent": (gateway_silent, {"admin"}),
    "bridge_silent": (bridge_silent, {"admin"}),
    "scheduler_silent": (scheduler_silent, {"admin"}),
    "ledger_mismatch": (ledger_mismatch, {"admin"}),
}


def _download_through_a_gateway(world: World, *, count: int) -> None:
    """Real bytes over a real gateway process, as far as it lets them through; returns when all of it is settled."""
    world.pool()
    gateway = world.gateway()
    chip = make_chip(world.owner, now=clock.now())
    with (
        contextlib.suppress(OSError, EOFError),
        connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel,
    ):
        tunnel.get(f"/bytes/{count}")
    least = min(count, LIMIT_BYTES * 99 // 100)
    wait_until(lambda: _month(world).total_bytes >= least and _month(world).leased_bytes == 0)
    world.at(clock.now())


def _month(world: World) -> UserProxyCost:
    with transaction() as db:
        row = db.scalar(select(UserProxyCost).where(UserProxyCost.user_id == world.owner.id))
    return row or UserProxyCost(user_id=world.owner.id, total_bytes=0, leased_bytes=0)


def _meter(world: World, *, bytes_down: int, days_ago: int = 0) -> None:
    """A report of a gateway about the owner's first chip."""
    (here, *_others) = active()
    at = NOW - days_ago * DAY
    with transaction() as db:
        price = db.get_one(Provider, here.provider_id).current_price_id
    boot = new_id()
    register_boot(boot, host="h", pid=1, port=1, now=at)
    metered = MeteredUsage(
        tunnel_id=1,
        user_id=world.owner.id,
        chip_id=here.chip_id,
        proxy_id=here.proxy_id,
        assignment_id=here.id,
        price_id=price or 0,
        hour=usage_hour(at, TZ),
        bytes_up=0,
        bytes_down=bytes_down,
        overhead=0,
        started_at=at,
        last_at=at,
    )
    record_usage(boot, [metered], now=at, tz=TZ, is_last=True)


def _dial(world: World, **counts: int) -> None:
    with transaction() as db:
        take_dials(db, [SessionDials(one.id, one.proxy_id, **counts) for one in active()], world.now)


def _beat_of(bridge_id: UUID, now: datetime) -> None:
    beat_bridge(bridge_id, url=f"http://{bridge_id}", started_at=NOW, max_chips=10, is_draining=False, now=now)


def _try_until_it_is_in(world: World) -> None:
    for _ in range(40):
        moment = world.at(world.now + timedelta(seconds=31))
        health.sweep(world.tools, moment)
        failover.guard(world.tools, moment)
        if not _out():
            return
    raise AssertionError("it never came back")


def _out() -> list[Proxy]:
    with transaction() as db:
        return list(db.scalars(select(Proxy).where(Proxy.ejected_until.is_not(None), Proxy.deleted_at.is_(None))))


def _unsettled() -> list[UUID]:
    with transaction() as db:
        return list(db.scalars(select(GatewayBoot.id).where(GatewayBoot.settled_at.is_(None))))


def _billed(world: World) -> Provider:
    login = {"username": "demo", "password": "demo-password", "api_key": "demo-app-key"}
    provider, _proxy = world.pool(preset="smartproxy", credentials=login)
    _set_billing(provider, api_url=world.simulated.admin_url)
    return provider


def _set_billing(provider: Provider, **changed: Any) -> None:
    values: dict[str, Any] = {
        "usage_tz": "UTC",
        "lag_min": 60,
        "threshold_percent": Decimal(2),
        "account": "demo",
        "transfer_url": None,
        "low_balance_bytes": None,
        "request_overhead_bytes": 0,
        "reconcile_from": clock.now().date(),
    }
    set_billing(None, provider.id, BillingFields(**(values | changed)), now=clock.now(), tz=TZ)
