"""Billed is what was on the upstream's wire, to the byte."""

from __future__ import annotations

import os
import socket
import threading
import time
from uuid import UUID

import pytest

from tests.gateway.conftest import Rig
from tests.gateway.wire import (
    Wire,
    eventually,
    http_connect,
    open_http,
    open_socks5,
    read_exactly,
    read_head,
    read_to_end,
)
from whago.gateway import reporter

OPENERS = {"http": open_http, "socks5": open_socks5}


@pytest.mark.parametrize("client_protocol", ["http", "socks5"])
@pytest.mark.parametrize("upstream_protocol", ["http", "socks5"])
def test_it_bills_every_byte_of_the_wire(rig: Rig, client_protocol: str, upstream_protocol: str) -> None:
    upstream, gateway = rig.upstream(upstream_protocol), rig.gateway()
    chip, user = rig.chip(upstream)
    payload = os.urandom(3_000_001)
    with OPENERS[client_protocol](gateway.port, chip, "token", rig.target()) as client:
        client.sendall(b"hello")
        assert read_exactly(client, 5) == b"hello"
        sender = _send_in_thread(client, payload)
        assert read_exactly(client, len(payload)) == payload
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    assert eventually(lambda: rig.bank.used(user) == upstream.total)
    up, down, overhead = rig.bank.usage_of(UUID(chip))
    assert (up, down) == (5 + len(payload), 5 + len(payload))
    assert overhead == upstream.wires[0].exchange
    assert upstream.targets == [("localhost", rig.origin.port)]


def test_the_client_closes_first_and_still_gets_the_answer(rig: Rig) -> None:
    """Half-close: the origin answers after it has seen the end of the request."""

    def count(sock: socket.socket) -> None:
        total = 0
        while chunk := sock.recv(1 << 16):
            total += len(chunk)
        sock.sendall(b"%d" % total * 100_000)

    origin = rig.serve(count)
    upstream, gateway = rig.upstream(), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target(origin)) as client:
        client.sendall(b"x" * 1_000_000)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"1000000" * 100_000
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def test_the_origin_closes_first_and_still_gets_the_rest(rig: Rig) -> None:
    received = bytearray()

    def greet(sock: socket.socket) -> None:
        sock.sendall(b"bye" * 100_000)
        sock.shutdown(socket.SHUT_WR)
        while chunk := sock.recv(1 << 16):
            received.extend(chunk)

    origin = rig.serve(greet)
    upstream, gateway = rig.upstream(), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target(origin)) as client:
        assert read_to_end(client) == b"bye" * 100_000
        client.sendall(b"and this" * 50_000)
        client.shutdown(socket.SHUT_WR)
        assert eventually(lambda: len(received) == 400_000)
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def test_bytes_behind_the_connect_belong_to_the_tunnel(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, user = rig.chip(upstream)
    early = os.urandom(30_000)
    with http_connect(gateway.port, chip, "token", rig.target(), behind=early) as client:
        assert read_head(client).startswith("HTTP/1.1 200 ")
        assert read_exactly(client, len(early)) == early
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    assert eventually(lambda: rig.bank.used(user) == upstream.total)
    assert rig.bank.usage_of(UUID(chip))[:2] == (len(early), len(early))


def test_bytes_behind_the_upstreams_answer_belong_to_the_tunnel(rig: Rig) -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n"
    upstream = rig.upstream(answer=lambda wire: wire.send(answer + b"first words") is None)
    gateway = rig.gateway()
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert read_exactly(client, 11) == b"first words"
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    assert eventually(lambda: rig.bank.used(user) == upstream.total)
    assert rig.bank.usage_of(UUID(chip))[:2] == (0, 11)


def test_an_answer_in_single_bytes_is_counted_the_same(rig: Rig) -> None:
    def dribble(wire: Wire) -> bool:
        for byte in b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n":
            wire.send(bytes([byte]))
        return True

    upstream, gateway = rig.upstream(answer=dribble), rig.gateway()
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        client.sendall(b"ping")
        assert read_exactly(client, 4) == b"ping"
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def test_a_refusing_upstream_is_billed_as_overhead(rig: Rig) -> None:
    upstream = rig.upstream(answer=lambda wire: wire.send(b"HTTP/1.1 502 Bad Gateway\r\n\r\n") is not None)
    gateway = rig.gateway()
    chip, user = rig.chip(upstream)
    with http_connect(gateway.port, chip, "token", rig.target()) as client:
        head = read_head(client)
    assert head.startswith("HTTP/1.1 502 ")
    assert "X-Gateway-Reason: upstream_refused\r\n" in head
    assert "X-Upstream-Status: 502\r\n" in head
    assert eventually(lambda: rig.bank.used(user) == upstream.total > 0)
    assert rig.bank.usage_of(UUID(chip))[:2] == (0, 0)


def _send_in_thread(sock: socket.socket, payload: bytes) -> threading.Thread:
    thread = threading.Thread(target=sock.sendall, args=(payload,), daemon=True)
    thread.start()
    return thread


def test_tunnels_that_end_while_a_long_report_is_under_way_are_billed_once(
    plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of many parts takes a while. What ends meanwhile gives its slot back once, after its last figures."""
    monkeypatch.setattr(reporter, "MAX_ROWS", 1)
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    gateway.control.slow_s = 0.01
    chip, user = plain_rig.chip(upstream)

    def talk(sock: socket.socket, times: int) -> None:
        for _ in range(times):
            sock.sendall(b"hello")
            assert read_exactly(sock, 5) == b"hello"
            time.sleep(0.005)  # so that reports see it between its words
        sock.close()

    for _ in range(4):
        opened = [open_http(gateway.port, chip, "token", plain_rig.target()) for _ in range(12)]
        talkers = [threading.Thread(target=talk, args=(sock, 3 + number)) for number, sock in enumerate(opened)]
        for talker in talkers:
            talker.start()
        for talker in talkers:
            talker.join()
    assert eventually(lambda: plain_rig.bank.used(user) == upstream.total, 30), "the ledger is the wire"
    file = gateway.gateway.plane.segments.file
    assert eventually(lambda: file.live_slots == 0, 30)
    assert {usage.tunnel_id for report in gateway.control.reports for usage in report.usages} == set(range(1, 49))
