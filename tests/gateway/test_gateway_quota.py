"""Not a byte past the limit, with one gateway and with several."""

from __future__ import annotations

import socket
import threading
import time
from datetime import date
from uuid import UUID

import pytest

from tests.gateway.conftest import Rig
from tests.gateway.control_double import Bank
from tests.gateway.wire import eventually, http_connect, open_http, read_exactly, read_head, read_to_end, socks5_reply
from whago.gateway.config import Limits
from whago.gateway.control import Change


def pour(sock: socket.socket) -> None:
    """An origin that sends until nobody takes it."""
    block = b"z" * 65536
    while True:
        sock.sendall(block)


def pour_when_asked(sock: socket.socket) -> None:
    sock.recv(1)
    pour(sock)


def drink(sock: socket.socket) -> None:
    while sock.recv(1 << 16):
        pass


def push(client: socket.socket) -> None:
    try:
        while True:
            client.sendall(b"u" * 65536)
    except OSError:
        return


def test_a_limit_is_reached_exactly_and_not_passed(rig: Rig) -> None:
    origin = rig.serve(pour)
    upstream, gateway = rig.upstream(), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 5_000_000)
    with open_http(gateway.port, chip, "token", rig.target(origin)) as client:
        got = len(read_to_end(client))
    assert eventually(lambda: rig.bank.used(user) == 5_000_000)
    up, down, overhead = rig.bank.usage_of(UUID(chip))
    assert (up, down) == (0, got)
    assert got + overhead == 5_000_000


@pytest.mark.parametrize("gateways", [1, 2, 3])
def test_racing_tunnels_stop_at_the_limit_together(rig: Rig, gateways: int) -> None:
    """Up and down, four chips of one user, several gateways: forwarded and billed are both at most the limit."""
    source, sink = rig.serve(pour_when_asked), rig.serve(drink)
    upstream = rig.upstream()
    running = [rig.gateway(ports=(source.port, sink.port)) for _ in range(gateways)]
    chips = [rig.chip(upstream)]
    user = chips[0][1]
    chips += [rig.chip(upstream, user) for _ in range(3)]
    limit = 20_000_000
    rig.bank.set_limit(user, limit)
    racers = [
        Racer(open_http(running[number % gateways].port, chip, "token", rig.target(sink if pushes else source)), pushes)
        for number, (chip, _) in enumerate(chips * 2)
        for pushes in [number % 4 == 3]
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(20)
    assert not any(racer.is_alive() for racer in racers)
    assert eventually(lambda: rig.bank.used(user) >= limit * 0.99)
    assert rig.bank.used(user) <= limit
    delivered_down = sum(racer.received for racer in racers)
    arrived_up = sum(wire.received for wire in upstream.wires)
    assert limit * 0.99 <= delivered_down + arrived_up <= limit
    with http_connect(running[0].port, chips[0][0], "token", rig.target(source)) as late:
        head = read_head(late)
    assert head.startswith("HTTP/1.1 402 ")
    assert "X-Gateway-Reason: quota_exhausted\r\n" in head
    with socket.create_connection(("127.0.0.1", running[0].port), timeout=5) as late:
        assert socks5_reply(late, chips[0][0], "token", rig.target(source)) == 2


class Racer(threading.Thread):
    """Pushes or pulls until the gateway cuts it off."""

    def __init__(self, sock: socket.socket, pushes: bool) -> None:
        super().__init__(daemon=True)
        self._sock = sock
        self._pushes = pushes
        self.received = 0

    def run(self) -> None:
        with self._sock:
            if self._pushes:
                push(self._sock)
            else:
                self._sock.sendall(b"g")
                self.received = len(read_to_end(self._sock))


def test_a_user_without_quota_is_refused_before_anything_is_dialled(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 0)
    with http_connect(gateway.port, chip, "token", plain_rig.target()) as client:
        assert read_head(client).startswith("HTTP/1.1 402 ")
        assert read_to_end(client) == b"The traffic quota of this month is used up.\n"
    assert upstream.wires == []


def test_a_raised_limit_frees_the_user_at_once(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 0)
    with http_connect(gateway.port, chip, "token", plain_rig.target()) as client:
        assert read_head(client).startswith("HTTP/1.1 402 ")
    plain_rig.bank.set_limit(user, 1_000_000)

    def opens() -> bool:
        with http_connect(gateway.port, chip, "token", plain_rig.target()) as client:
            return read_head(client).startswith("HTTP/1.1 200 ")

    assert eventually(opens, within_s=2)


def test_a_lease_called_back_comes_back_and_the_tunnel_goes_on(rig: Rig) -> None:
    upstream, one, two = rig.upstream(), rig.gateway(), rig.gateway()
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 400_000)
    with open_http(one.port, chip, "token", rig.target()) as idle:
        idle.sendall(b"x")
        assert read_exactly(idle, 1) == b"x"
        with open_http(two.port, chip, "token", rig.target()) as busy:
            for _ in range(15):
                busy.sendall(b"y" * 10_000)
                assert read_exactly(busy, 10_000) == b"y" * 10_000
        idle.sendall(b"z")
        assert read_exactly(idle, 1) == b"z"
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def test_the_rest_of_the_quota_is_found_wherever_it_is_held(rig: Rig) -> None:
    """Another gateway holds leases for a silent tunnel: they are called back until all of the limit is used."""
    origin = rig.serve(pour)
    upstream = rig.upstream()
    one, two = rig.gateway(ports=(origin.port,)), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 2_000_000)
    with (
        open_http(one.port, chip, "token", rig.target()),
        open_http(two.port, chip, "token", rig.target(origin)) as busy,
    ):
        assert rig.bank.outstanding(user) > 0
        read_to_end(busy)
        assert eventually(lambda: rig.bank.used(user) > 1_980_000)
    assert rig.bank.used(user) <= 2_000_000


def test_block_new_lets_running_tunnels_go_on(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.blocks_new.add(user)
    plain_rig.bank.set_limit(user, 50_000)
    with open_http(gateway.port, chip, "token", plain_rig.target()) as client:
        for _ in range(20):
            client.sendall(b"x" * 10_000)
            assert read_exactly(client, 10_000) == b"x" * 10_000
        assert eventually(lambda: plain_rig.bank.used(user) > 50_000)
        plain_rig.bank.tell(Change("quota", user))

        def refused() -> bool:
            with http_connect(gateway.port, chip, "token", plain_rig.target()) as late:
                return read_head(late).startswith("HTTP/1.1 402 ")

        assert eventually(refused, within_s=3)
        client.sendall(b"still here")
        assert read_exactly(client, 10) == b"still here"


def test_a_gateway_without_control_plane_goes_on_until_its_leases_end(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 10_000_000)
    rig.bank.valid_s = 1.0
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        client.sendall(b"a")
        assert read_exactly(client, 1) == b"a"
        gateway.control.down = True
        client.sendall(b"b" * 1000)
        assert read_exactly(client, 1000) == b"b" * 1000
        time.sleep(1.3)
        before = upstream.total
        client.sendall(b"c" * 1000)
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert upstream.total == before, "a lapsed lease must move nothing"
        gateway.control.down = False
        client.settimeout(10)
        assert read_exactly(client, 1000) == b"c" * 1000
        client.shutdown(socket.SHUT_WR)
        read_to_end(client)
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def test_reports_keep_leases_alive(plain_rig: Rig) -> None:
    """A lease valid for one second serves a quiet tunnel for longer, because every committed report renews it."""
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 10_000_000)
    plain_rig.bank.valid_s = 1.0
    with open_http(gateway.port, chip, "token", plain_rig.target()) as client:
        asked = gateway.control.calls["lease"]
        for _ in range(6):
            time.sleep(0.4)
            client.sendall(b"ping")
            assert read_exactly(client, 4) == b"ping"
        assert gateway.control.calls["lease"] == asked


def test_unused_leases_go_back_after_the_last_tunnel(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 10_000_000)
    open_http(gateway.port, chip, "token", plain_rig.target()).close()
    assert eventually(lambda: gateway.open_tunnels == 0)
    assert plain_rig.bank.outstanding(user) > 0
    assert eventually(lambda: plain_rig.bank.outstanding(user) == 0)


def test_a_burst_of_tunnels_asks_the_control_plane_once(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(Limits(tunnels_per_chip=100))
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 100_000_000)
    gateway.control.slow_s = 0.05
    clients = [http_connect(gateway.port, chip, "token", plain_rig.target()) for _ in range(50)]
    assert all(read_head(client).startswith("HTTP/1.1 200 ") for client in clients)
    assert gateway.control.calls["authorise"] == 1
    assert gateway.control.calls["lease"] <= 3
    for client in clients:
        client.close()


def test_a_fast_tunnel_does_not_wait_for_its_next_lease(rig: Rig) -> None:
    """Leases grow with the rate and are asked for ahead of need: once they have grown, a slow answer stops nobody."""
    origin = rig.serve(pour)
    upstream, gateway = rig.upstream(), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 1 << 40)
    rig.bank.max_lease = 1 << 30
    gateway.control.slow_s = 0.05
    with open_http(gateway.port, chip, "token", rig.target(origin)) as client:
        read_exactly(client, 200_000_000)
        grown = gateway.call(lambda: gateway.gateway.plane.book.waits)
        asked = gateway.control.calls["lease"]
        for _ in range(4):
            read_exactly(client, 200_000_000)
        assert gateway.call(lambda: gateway.gateway.plane.book.waits) == grown
        assert gateway.control.calls["lease"] > asked, "it has asked, and nobody waited for the answer"
    assert grown <= 8


def test_the_bank_itself_keeps_its_word() -> None:
    """The double's arithmetic is what the tests above lean on."""
    bank = Bank()
    user, boot, month = UUID(int=1), UUID(int=2), date(2025, 1, 1)
    bank.limits[user] = 100_000
    for _ in range(30):
        bank.lease(boot, user, month, 50_000)
    assert bank.outstanding(user) == 100_000
    assert bank.broken_invariants == []
