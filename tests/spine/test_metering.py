"""Every byte of every chip, counted by somebody else as well."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from decimal import Decimal

import pytest
from sqlalchemy import update

from tests.factories import make_plan, make_user
from tests.spine.conftest import Stack, ledger_of, month_of, told, wait_equal, wait_until
from tests.spine.wire import Refused, Tunnel, connect, socks5
from whago.domain.actions.assignments import rotate_proxy
from whago.domain.actions.chips import CreatedChip, delete_chip, renew_gateway_token
from whago.domain.models import Plan
from whago.kit import clock
from whago.kit.db import signal, transaction

HOST = "media.whatsapp.net"
Opener = Callable[..., Tunnel]


@pytest.mark.parametrize("opener", [connect, socks5])
def test_billed_bytes_equal_the_wire_to_the_byte_and_cost_is_exact(stack: Stack, opener: Opener) -> None:
    user = make_user("enterprise")
    gateway, chip = stack.gateway(), stack.chip(user)
    with opener(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel:
        for size in (1, 300, 65_536, 3_000_001):
            assert len(tunnel.get(f"/bytes/{size}")) == size
            tunnel.post("/sink", b"x" * size)
    wait_equal(lambda: month_of(user.id).total_bytes, lambda: stack.relay.total)
    row = month_of(user.id)
    assert row.total_bytes > 6_000_000
    assert row.total_cost == Decimal(row.total_bytes) * Decimal("25.37") / 10**9
    (wire,) = stack.provider.sessions()
    assert (wire["wire_up"] + wire["wire_down"]) == row.total_bytes
    (entry,) = ledger_of(user.id)
    assert entry.overhead == wire["handshake_up"] + wire["handshake_down"]


def test_usage_is_there_while_the_tunnel_is_still_open(stack: Stack) -> None:
    user = make_user("enterprise")
    gateway, chip = stack.gateway(), stack.chip(user)
    with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel:
        tunnel.get("/bytes/100000")
        wait_equal(lambda: month_of(user.id).total_bytes, lambda: stack.relay.total)
        tunnel.get("/bytes/1")
        wait_equal(lambda: month_of(user.id).total_bytes, lambda: stack.relay.total)


def test_eight_tunnels_over_two_gateways_stop_at_the_limit(stack: Stack) -> None:
    limit = 20_000_000
    user = make_user(make_plan(proxy_gb_limit=Decimal("0.02")))
    ports = [stack.gateway().port, stack.gateway().port]
    chips = [stack.chip(user) for _ in range(4)]

    def pull(number: int) -> None:
        chip = chips[number % 4]
        try:
            with connect(ports[number // 4], chip.chip_id, chip.gateway_token, HOST) as tunnel:
                while True:
                    tunnel.get("/bytes/200000")
        except (Refused, OSError, EOFError):
            return

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    wait_until(lambda: month_of(user.id).leased_bytes == 0)
    billed = month_of(user.id).total_bytes
    assert 0.99 * limit < billed <= limit
    assert billed == sum(entry.bytes_transferred for entry in ledger_of(user.id))
    # What the gateways read is what they billed; the relay may hold more that they never took from their sockets.
    assert stack.relay.up <= billed
    assert told(user.id) == ["quota_exhausted", "quota_warning"]
    for port in ports:
        with pytest.raises(Refused) as refused:
            connect(port, chips[0].chip_id, chips[0].gateway_token, HOST)
        assert (refused.value.status, refused.value.reason) == (402, "quota_exhausted")


def test_a_raised_limit_frees_a_blocked_customer(stack: Stack) -> None:
    plan = make_plan(proxy_gb_limit=Decimal("0.00001"))
    user = make_user(plan)
    gateway, chip = stack.gateway(), stack.chip(user)
    with pytest.raises((EOFError, OSError)), connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel:
        tunnel.get("/bytes/100000")
    with pytest.raises(Refused) as refused:
        connect(gateway.port, chip.chip_id, chip.gateway_token, HOST)
    assert refused.value.status == 402
    wait_until(lambda: told(user.id) == ["quota_exhausted", "quota_warning"])
    with transaction() as db:
        db.execute(update(Plan).where(Plan.id == plan.id).values(proxy_gb_limit=Decimal(1)))
        signal(db, "quota")
    wait_until(lambda: opens(gateway.port, chip))
    assert told(user.id) == ["quota_exhausted", "quota_warning"]


def test_the_same_identifier_over_twenty_reconnects(stack: Stack) -> None:
    gateway, chip = stack.gateway(), stack.chip(make_user("enterprise"))
    for _ in range(20):
        with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel:
            tunnel.get("/bytes/10")
    (wire,) = stack.provider.sessions()
    assert wire["username"].startswith("demo-session-")


def test_three_chips_leave_through_three_addresses(stack: Stack) -> None:
    gateway, user = stack.gateway(), make_user("enterprise")
    seen = []
    for chip in [stack.chip(user) for _ in range(3)]:
        with connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) as tunnel:
            seen.append(json.loads(tunnel.get("/echo"))["ip"])
    assert len(set(seen)) == 3


def test_a_deleted_a_rotated_and_a_renewed_chip_lose_their_tunnels_and_others_keep_theirs(stack: Stack) -> None:
    gateway, user = stack.gateway(), make_user("enterprise")
    chips = [stack.chip(user) for _ in range(4)]
    tunnels = [connect(gateway.port, chip.chip_id, chip.gateway_token, HOST) for chip in chips]
    delete_chip(user.id, chips[0].chip_id, now=clock.now())
    rotate_proxy(user.id, chips[1].chip_id, now=clock.now())
    renewed = renew_gateway_token(user.id, chips[2].chip_id, now=clock.now())
    for tunnel in tunnels[:3]:
        wait_until(lambda cut=tunnel: is_cut(cut), 5)
    assert len(tunnels[3].get("/bytes/10")) == 10
    for chip in (chips[0], chips[2]):
        with pytest.raises(Refused) as refused:
            connect(gateway.port, chip.chip_id, chip.gateway_token, HOST)
        assert refused.value.status == 407
    connect(gateway.port, chips[1].chip_id, chips[1].gateway_token, HOST).sock.close()
    connect(gateway.port, chips[2].chip_id, renewed, HOST).sock.close()


def test_hosts_that_are_not_whatsapps_are_refused(stack: Stack) -> None:
    gateway, chip = stack.gateway(), stack.chip(make_user("enterprise"))
    for host, port in (("example.com", 443), ("127.0.0.1", 443), (HOST, 25), ("whatsapp.net.evil.example", 443)):
        with pytest.raises(Refused) as refused:
            connect(gateway.port, chip.chip_id, chip.gateway_token, host, port)
        assert refused.value.status == 403
    assert stack.relay.total == 0


def test_a_stop_settles_every_byte_and_gives_every_lease_back(stack: Stack) -> None:
    user = make_user("enterprise")
    gateway, chip = stack.gateway(), stack.chip(user)
    tunnel = connect(gateway.port, chip.chip_id, chip.gateway_token, HOST)
    tunnel.get("/bytes/500000")
    gateway.stop()
    row = month_of(user.id)
    assert (row.total_bytes, row.leased_bytes) == (stack.relay.total, 0)
    assert list((stack.data_dir / "counters").iterdir()) == []
    tunnel.sock.close()


def opens(port: int, chip: CreatedChip) -> bool:
    try:
        connect(port, chip.chip_id, chip.gateway_token, HOST).sock.close()
    except Refused:
        return False
    return True


def is_cut(tunnel: Tunnel) -> bool:
    try:
        tunnel.get("/bytes/10")
    except (EOFError, OSError):
        return True
    return False
