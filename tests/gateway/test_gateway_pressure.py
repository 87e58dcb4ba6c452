"""Slow readers, stalled writers and many tunnels: bounded memory, and nobody else suffers."""

from __future__ import annotations

import os
import socket
import threading
import time
from uuid import UUID

import pytest

from tests.gateway.conftest import Rig, RunningGateway
from tests.gateway.wire import Wire, eventually, open_http, read_exactly, read_to_end
from whago.gateway import pipes
from whago.gateway.config import READ_BYTES, Limits
from whago.gateway.pipes import PIPE_BYTES
from whago.gateway.tunnel import Tunnel

TOTAL = 48_000_000  # more than all socket buffers on the way take (up to 6 MB each)


def pour_total(sock: socket.socket) -> None:
    sock.sendall(bytes(TOTAL))


def tunnels(gateway: RunningGateway) -> list[Tunnel]:
    found = gateway.call(lambda: list(gateway.gateway._registry.everyone()))
    return [member for member in found if isinstance(member, Tunnel)]


def in_flight(gateway: RunningGateway) -> list[tuple[int, int]]:
    """Bytes that each flow holds in this process and in a kernel pipe."""

    def look() -> list[tuple[int, int]]:
        flows = [flow for tunnel in gateway.gateway._registry.everyone() for flow in (tunnel.up, tunnel.down)]  # type: ignore[attr-defined]
        return [(len(flow.pending), flow.pipe.held if flow.pipe else 0) for flow in flows]

    found: list[tuple[int, int]] = gateway.call(look)
    return found


def stalls(upstream_wires: list[Wire]) -> bool:
    before = [wire.sent for wire in upstream_wires]
    time.sleep(0.3)
    return bool(before) and min(before) > 100_000 and before == [wire.sent for wire in upstream_wires]


def test_clients_that_do_not_read_cost_one_buffer_each_and_lose_nothing(rig: Rig) -> None:
    origin = rig.serve(pour_total)
    upstream, gateway = rig.upstream(), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    clients = [open_http(gateway.port, chip, "token", rig.target(origin)) for _ in range(4)]
    assert eventually(lambda: stalls(upstream.wires))
    held = in_flight(gateway)
    assert any(plain or piped for plain, piped in held)
    assert all(plain <= READ_BYTES and piped <= PIPE_BYTES for plain, piped in held)
    assert all(wire.sent < TOTAL for wire in upstream.wires)
    with open_http(gateway.port, chip, "token", rig.target()) as other:
        other.sendall(b"not disturbed")
        assert read_exactly(other, 13) == b"not disturbed"
    for client in clients:
        assert len(read_to_end(client)) == TOTAL
        client.close()
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def test_a_stalled_origin_stops_the_client_and_loses_nothing(rig: Rig) -> None:
    go_on = threading.Event()
    received = bytearray()

    def slow(sock: socket.socket) -> None:
        go_on.wait(20)
        while chunk := sock.recv(1 << 16):
            received.extend(chunk)

    origin = rig.serve(slow)
    upstream, gateway = rig.upstream(), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    payload = os.urandom(TOTAL)
    with open_http(gateway.port, chip, "token", rig.target(origin)) as client:
        sender = threading.Thread(target=lambda: client.sendall(payload), daemon=True)
        sender.start()
        assert eventually(lambda: any(plain or piped for plain, piped in in_flight(gateway)))
        assert all(plain <= READ_BYTES and piped <= PIPE_BYTES for plain, piped in in_flight(gateway))
        counted = gateway.call(lambda: sum(tunnel.segment.counts[0] for tunnel in gateway.gateway._registry.everyone()))
        assert counted < TOTAL
        go_on.set()
        sender.join(20)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    assert eventually(lambda: len(received) == TOTAL)
    assert bytes(received) == payload
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def test_what_waits_for_room_is_not_counted_up(plain_rig: Rig) -> None:
    """Bytes that the upstream's socket has not taken are not on its wire, so they are neither counted nor charged."""
    hold = threading.Event()
    origin = plain_rig.serve(lambda _: hold.wait(20) and None)
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(ports=(origin.port,))
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 500_000_000)
    with open_http(gateway.port, chip, "token", plain_rig.target(origin)) as client:
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(TOTAL))

        def look() -> tuple[int, int, int]:
            (tunnel,) = gateway.gateway._registry.everyone()
            assert isinstance(tunnel, Tunnel)
            return tunnel.account.spent, sum(tunnel.segment.counts), tunnel.account.ceiling - tunnel.account.left

        spent, counted, taken = gateway.call(look)
        assert spent == counted == taken
        hold.set()


def test_without_pipes_it_goes_on_plainly(plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stalled tunnels hold all pipes there are: the others read and write."""
    monkeypatch.setattr(pipes, "MAX_PIPES", 1)
    origin = plain_rig.serve(pour_total)
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(ports=(origin.port,))
    chip, user = plain_rig.chip(upstream)
    stalled = open_http(gateway.port, chip, "token", plain_rig.target(origin))
    assert eventually(lambda: stalls(upstream.wires))
    with open_http(gateway.port, chip, "token", plain_rig.target(origin)) as client:
        assert len(read_to_end(client)) == TOTAL
    assert gateway.call(lambda: gateway.gateway.plane.pipes.open_pipes) <= 1
    assert len(read_to_end(stalled)) == TOTAL
    stalled.close()
    assert eventually(lambda: plain_rig.bank.used(user) == upstream.total)


def test_where_splice_does_not_work_it_falls_back_by_itself(plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_splice(*_: object, **__: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "splice", no_splice)
    origin = plain_rig.serve(pour_total)
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(ports=(origin.port,))
    chip, user = plain_rig.chip(upstream)
    with open_http(gateway.port, chip, "token", plain_rig.target(origin)) as client:
        assert len(read_to_end(client)) == TOTAL
    assert not gateway.call(lambda: gateway.gateway.plane.pipes.usable)
    assert eventually(lambda: plain_rig.bank.used(user) == upstream.total)


def test_idle_tunnels_hold_no_pipe(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    with open_http(gateway.port, chip, "token", plain_rig.target()) as client:
        payload = os.urandom(4_000_000)
        sender = threading.Thread(target=lambda: client.sendall(payload), daemon=True)
        sender.start()
        assert read_exactly(client, len(payload)) == payload
        sender.join()
        assert in_flight(gateway) == [(0, 0), (0, 0)]
        assert gateway.call(lambda: gateway.gateway.plane.pipes.open_pipes) <= pipes.SPARE_PIPES


def test_a_reset_in_the_middle_ends_the_tunnel_and_keeps_the_account(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, _ = rig.chip(upstream)
    client = open_http(gateway.port, chip, "token", rig.target())
    client.sendall(b"x" * 100_000)
    assert len(read_exactly(client, 50_000)) == 50_000
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    client.close()
    assert eventually(lambda: gateway.open_tunnels == 0)
    assert eventually(lambda: rig.bank.usage_of(UUID(chip))[0] == 100_000)
    assert rig.bank.usage_of(UUID(chip))[1] <= 100_000


def test_several_hundred_tunnels_at_once(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway(Limits(tunnels_per_chip=1000))
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 1_000_000_000)
    clients = [open_http(gateway.port, chip, "token", rig.target()) for _ in range(300)]
    for number, client in enumerate(clients):
        client.sendall(b"%04d" % number * 100)
    for number, client in enumerate(clients):
        assert read_exactly(client, 400) == b"%04d" % number * 100
    for client in clients:
        client.close()
    assert eventually(lambda: gateway.open_tunnels == 0)
    assert eventually(lambda: rig.bank.used(user) == upstream.total)
    assert eventually(lambda: gateway.call(lambda: gateway.gateway._counters.live_slots) == 0)
