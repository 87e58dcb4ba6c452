"""A clock that is moved, and a month that ends in the middle of a tunnel: what it costs in bytes."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import cycle
from uuid import UUID

import pytest
from sqlalchemy import func, select

from tests.factories import TZ, make_plan, make_user
from tests.faults.far_end import BULK_HOST, Talks
from tests.faults.figures import State
from tests.faults.stage import CommandGateway, Stage
from tests.gateway.conftest import Rig
from tests.gateway.wire import eventually, open_http, read_exactly, read_to_end
from tests.spine.conftest import wait_until
from whago.domain.actions.lease_quota import expire_leases
from whago.domain.models import QuotaLease, UsageLog, UserProxyCost
from whago.domain.rules.months import billing_month, month_start, next_month
from whago.kit import clock
from whago.kit.db import transaction

pytestmark = pytest.mark.slow

TEN_MINUTES_S = 600.0
HALF_PAST = datetime(2025, 10, 10, 12, 55, tzinfo=UTC)  # ten minutes on is another clock hour
MOVES = 40
PROGRAM = ("-m", "tests.faults.shifted_whago")


class Clock:
    """A wall clock that goes on by itself and can be set."""

    def __init__(self, start: datetime) -> None:
        self._offset_s = start.timestamp() - time.time()
        self.moved_s = 0.0

    def __call__(self) -> float:
        return time.time() + self._offset_s + self.moved_s


def test_a_clock_that_moves_ten_minutes_to_and_fro_under_load(rig: Rig, state: State) -> None:
    moving_clock = Clock(HALF_PAST)
    upstream, gateway = rig.upstream(), rig.gateway(wall=moving_clock)
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 1 << 40)
    payload = os.urandom(20_000_000)
    received: list[bytes] = []
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        sender = threading.Thread(target=client.sendall, args=(payload,), daemon=True)
        reader = threading.Thread(target=lambda: received.append(read_exactly(client, len(payload))), daemon=True)
        sender.start()
        reader.start()
        for way in cycle((TEN_MINUTES_S, -TEN_MINUTES_S, 0.0)):
            moving_clock.moved_s = way
            reader.join(0.02)
            if not reader.is_alive():
                break
        for way in (TEN_MINUTES_S, -TEN_MINUTES_S):
            moving_clock.moved_s = way
            client.sendall(b"and on")
            assert read_exactly(client, 6) == b"and on"
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    assert received == [payload]
    eventually(lambda: rig.bank.used(user) == upstream.total)
    way_of_moving = "splice" if rig.splice else "plain"
    figure = state(f"clock moved by 10 min ({way_of_moving})", wire=upstream.total, billed=rig.bank.used(user))
    assert (figure.lost, figure.over) == (0, 0)
    assert len({row.hour for row in rig.bank.rows.values()}) >= 2


class Shift:
    """The clock of one gateway process."""

    def __init__(self, stage: Stage, offset_s: float) -> None:
        self._file = stage.folder / "clock"
        self._file.write_text(str(offset_s))
        stage.settings["CLOCK_FILE"] = str(self._file)
        self.gateway: CommandGateway = stage.command(program=PROGRAM)
        self.gateway.wait_for_port()

    def set(self, offset_s: float) -> None:
        """Returns when the process lives in the new time."""
        read = self._file.with_suffix(".read")
        read.unlink()
        self._file.write_text(str(offset_s))
        os.kill(self.gateway.pid, signal.SIGUSR1)
        wait_until(read.exists)


def billed_of(user_id: UUID) -> int:
    """Over all months."""
    with transaction() as db:
        total = select(func.coalesce(func.sum(UserProxyCost.total_bytes), 0)).where(UserProxyCost.user_id == user_id)
        return int(db.scalar(total) or 0)


def leased_of(user_id: UUID) -> int:
    with transaction() as db:
        leased = select(func.coalesce(func.sum(UserProxyCost.leased_bytes), 0)).where(UserProxyCost.user_id == user_id)
        return int(db.scalar(leased) or 0)


def test_a_gateway_whose_clock_is_ten_minutes_off(stage: Stage, state: State) -> None:
    """Also while the server takes its leases for expired: they stay reserved, and its tunnels go on."""
    shift = Shift(stage, TEN_MINUTES_S)
    user = make_user(make_plan(proxy_gb_limit=Decimal("0.5")))
    chips = [Talks(shift.gateway.port, *chip) for chip in stage.chips(user, 3)]
    for chip in chips:
        chip.start()
    for offset_s in (-TEN_MINUTES_S, 0.0, TEN_MINUTES_S, -TEN_MINUTES_S):
        shift.set(offset_s)
        before = sum(chip.rounds for chip in chips)
        wait_until(lambda at=before: sum(chip.rounds for chip in chips) > at + 30, 30)
    wait_until(lambda: expire_leases(now=clock.now()) > 0)  # it says of itself that it was last seen ten minutes ago
    assert leased_of(user.id) > 0
    before = sum(chip.rounds for chip in chips)
    wait_until(lambda: sum(chip.rounds for chip in chips) > before + 30, 30)
    for chip in chips:
        chip.stop()
    wait_until(lambda: billed_of(user.id) == stage.far_end.total)
    figure = state("a gateway's clock 10 min off", wire=stage.far_end.total, billed=billed_of(user.id))
    assert (figure.lost, figure.over) == (0, 0)
    assert [chip.refused for chip in chips] == [0, 0, 0]
    shift.gateway.stop()
    assert leased_of(user.id) == 0


def test_the_months_end_in_the_middle_of_a_tunnel(stage: Stage, state: State) -> None:
    """Each month has its own limit, lease and bill; the tunnel notices nothing."""
    limit, size = 1_500_000, 1_000_000
    old_month = billing_month(clock.now(), TZ)
    new_month = next_month(old_month)
    midnight = month_start(new_month, TZ)
    shift = Shift(stage, (midnight - timedelta(minutes=2) - clock.now()).total_seconds())
    user = make_user(make_plan(proxy_gb_limit=Decimal(limit) / 10**9))
    ((chip_id, token),) = stage.chips(user, 1)
    order = b"get %d\n" % size
    with open_http(shift.gateway.port, str(chip_id), token, f"{BULK_HOST}:443") as tunnel:
        tunnel.sendall(order)
        assert len(read_exactly(tunnel, size)) == size
        shift.set((midnight + timedelta(minutes=2) - clock.now()).total_seconds())
        tunnel.sendall(order)
        assert len(read_exactly(tunnel, size)) == size
    (wire,) = stage.far_end.wires
    wait_until(lambda: billed_of(user.id) == stage.far_end.total)
    old, new = bill_of(user.id, old_month), bill_of(user.id, new_month)
    first = state("month's end: the old month", wire=wire.exchange + len(order) + size, billed=old, limit=limit)
    second = state("month's end: the new month", wire=len(order) + size, billed=new, limit=limit)
    for figure in (first, second):
        assert (figure.lost, figure.over, figure.past_limit) == (0, 0, 0)
    shift.gateway.stop()
    with transaction() as db:
        rows = db.scalars(select(UsageLog).where(UsageLog.user_id == user.id).order_by(UsageLog.hour)).all()
        leases = db.scalars(select(QuotaLease).where(QuotaLease.user_id == user.id)).all()
    assert [row.hour for row in rows] == [midnight - timedelta(hours=1), midnight]
    assert len({row.tunnel_id for row in rows}) == 1
    assert {lease.month_year: lease.outstanding_bytes for lease in leases} == {old_month: 0, new_month: 0}


def bill_of(user_id: UUID, month: date) -> int:
    with transaction() as db:
        row = select(UserProxyCost.total_bytes).where(
            UserProxyCost.user_id == user_id, UserProxyCost.month_year == month
        )
        return int(db.scalar(row) or 0)
