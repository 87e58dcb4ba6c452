"""PostgreSQL away, slow, silent and back, and a gateway that is cut off from it: what it costs in bytes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import func, select

from tests.conftest import SECRET
from tests.factories import make_plan, make_user
from tests.faults.between import Between
from tests.faults.far_end import FarEnd, Pull, Talks
from tests.faults.figures import State
from tests.faults.stage import Stage
from tests.gateway.conftest import Rig
from tests.gateway.wire import eventually, open_http, read_exactly
from tests.spine.conftest import month_of, wait_until
from whago.domain.models import QuotaLease, User
from whago.kit import db
from whago.kit.crypto import Vault
from whago.main.embedded import EmbeddedPostgres, free_port, private_data_dir
from whago.main.migrate import upgrade

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OUTAGE_S = 20.0
SILENCE_S = 12.0  # longer than every patience that the gateway has with the database
SLOW_S = 0.25  # added to each packet, both ways: a question of four packets takes two seconds
SLOW_FOR_S = 4.0
AT_MOST_IN_OUTAGE_BYTES = 40_000_000  # four chips at 20 kB each 50 ms, for twenty seconds, and some
SETTLED_S = 40.0


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A database that the test may stop; this process talks to it meanwhile."""
    folder = private_data_dir()
    server = EmbeddedPostgres(folder, free_port(), durable=False)
    url = server.start()
    upgrade(url)
    before = db.engine().url.render_as_string(hide_password=False) if db._engine is not None else None
    db.connect(url)
    try:
        yield server
    finally:
        db.engine().dispose()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
        if before is not None:
            db.connect(before)


@pytest.fixture
def line(stage: Stage) -> Iterator[Between]:
    """Between the stage's gateways and the database. This process has a line of its own."""
    url = urlsplit(stage.gateway_url)
    assert url.port is not None
    with Between(url.port) as between:
        place = (url.netloc.rpartition(":")[0], str(between.port))
        stage.gateway_url = urlunsplit(url._replace(netloc=":".join(place)))
        yield between


def talking(stage: Stage, user: User, count: int = 4) -> list[Talks]:
    port = stage.gateway().port
    chips = [Talks(port, *chip) for chip in stage.chips(user, count)]
    for chip in chips:
        chip.start()
    wait_until(lambda: month_of(user.id).leased_bytes > AT_MOST_IN_OUTAGE_BYTES, 60)  # once their rate is known
    return chips


def rounds(chips: list[Talks]) -> int:
    return sum(chip.rounds for chip in chips)


def has_settled(user: User, far_end: FarEnd) -> bool:
    try:
        return month_of(user.id).total_bytes == far_end.total
    except db.WhagoError:
        return False


def test_a_database_that_is_away_for_twenty_seconds(own_server: EmbeddedPostgres, tmp_path: Path, state: State) -> None:
    with Stage(own_server.url, Vault([SECRET]), tmp_path) as stage:
        user = make_user("enterprise")
        chips = talking(stage, user)
        own_server.stop()
        at_the_stop = rounds(chips)
        time.sleep(OUTAGE_S)
        assert rounds(chips) > at_the_stop + 100, "running tunnels go on within their leases"
        own_server.start()
        for chip in chips:
            chip.stop()
        db.engine().dispose()
        wait_until(lambda: has_settled(user, stage.far_end), SETTLED_S)
        figure = state("PostgreSQL away for 20 s", wire=stage.far_end.total, billed=month_of(user.id).total_bytes)
        assert (figure.lost, figure.over) == (0, 0)
        assert [chip.refused for chip in chips] == [0] * len(chips), "nobody was cut"


def test_a_slow_database(stage: Stage, line: Between, state: State) -> None:
    """Tunnels notice nothing, and a chip that comes meanwhile waits and is let in."""
    user = make_user("enterprise")
    chips = talking(stage, user)
    line.delay_s = SLOW_S
    before = rounds(chips)
    (newcomer,) = stage.chips(user, 1)
    late = Talks(chips[0].credential[0], *newcomer)
    late.start()
    assert late.moving.wait(30)
    time.sleep(SLOW_FOR_S)
    assert rounds(chips) > before + 50
    line.heal()
    for chip in [*chips, late]:
        chip.stop()
        assert chip.refused == 0
    wait_until(lambda: has_settled(user, stage.far_end), SETTLED_S)
    figure = state("PostgreSQL slow, 0.25 s a packet", wire=stage.far_end.total, billed=month_of(user.id).total_bytes)
    assert (figure.lost, figure.over) == (0, 0)


def test_a_database_that_falls_silent_and_comes_back(stage: Stage, line: Between, state: State) -> None:
    """A broken network: no connection ends, no answer comes."""
    user = make_user("enterprise")
    chips = talking(stage, user)
    line.fall_silent()
    before = rounds(chips)
    time.sleep(SILENCE_S)
    assert rounds(chips) > before + 50
    line.heal()
    for chip in chips:
        chip.stop()
        assert chip.refused == 0
    wait_until(lambda: has_settled(user, stage.far_end), SETTLED_S)
    figure = state("PostgreSQL silent for 12 s", wire=stage.far_end.total, billed=month_of(user.id).total_bytes)
    assert (figure.lost, figure.over) == (0, 0)


def test_a_gateway_that_is_cut_off_stops_when_its_leases_time_is_over(rig: Rig, state: State) -> None:
    """There is plenty left to use, and it must not be used: the server may count it as expired soon."""
    rig.bank.valid_s = 1.5
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 1 << 30)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        (account,) = gateway.call(lambda: gateway.gateway.plane.book.of_user(user))
        talking = threading.Thread(target=talk, args=(client,), daemon=True)
        talking.start()
        gateway.control.down = True
        assert eventually(lambda: account.held is not None)
        at_the_end = gateway.call(lambda: account.spent)
        assert gateway.call(lambda: account.unused) > 0
        time.sleep(1.0)  # the chip goes on sending
        engine = "splice" if rig.splice else "plain"
        figure = state(f"cut off: a lease of time ({engine})", wire=account.spent, billed=at_the_end, limit=at_the_end)
        assert (figure.lost, figure.over, figure.past_limit) == (0, 0, 0)
        gateway.control.down = False
        assert eventually(lambda: account.spent > at_the_end), "back, it goes on"
        client.shutdown(socket.SHUT_RDWR)
        talking.join(10)
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def talk(client: socket.socket) -> None:
    with contextlib.suppress(OSError, EOFError):
        while True:
            client.sendall(b"x" * 1000)
            read_exactly(client, 1000)
            time.sleep(0.01)  # the lease must last longer than its time


def granted_bytes(user: User) -> int:
    with db.transaction() as tx:
        return int(tx.scalar(select(func.sum(QuotaLease.granted_bytes)).where(QuotaLease.user_id == user.id)) or 0)


def test_a_gateway_that_is_cut_off_stops_exactly_at_its_leases_end(stage: Stage, line: Between, state: State) -> None:
    user = make_user(make_plan(proxy_gb_limit=Decimal(1)))
    (chip,) = stage.chips(user, 1)
    pull = Pull(stage.gateway().port, *chip)
    wait_until(lambda: month_of(user.id).total_bytes > 0)  # the handshake is reported: nothing is under way
    line.cut()
    pull.start()
    granted = granted_bytes(user)
    assert granted > 0
    (wire,) = stage.far_end.wires

    def moved() -> int:
        return wire.exchange + wire.uploaded + pull.got

    wait_until(lambda: moved() >= granted, 30)
    time.sleep(2.0)  # whatever could go further would do so now
    figure = state("cut off: a lease of bytes", wire=moved(), billed=granted, limit=granted)
    assert (figure.lost, figure.over, figure.past_limit) == (0, 0, 0)
    assert granted_bytes(user) == granted
    line.heal()
    wait_until(lambda: pull.got > granted, 30)
    pull.sock.close()
    pull.join(20)
