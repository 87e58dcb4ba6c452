"""A rolling restart: a gateway that shall stop lets its tunnels end, new ones go elsewhere, nothing is unbilled."""

from __future__ import annotations

import socket
import time

import pytest

from tests.faults.far_end import SMALL_HOST, Reconnects
from tests.gateway.conftest import Rig, plain_rig
from tests.gateway.wire import basic, http_connect, open_http, read_exactly, read_head, read_to_end
from tests.topology.conftest import Site
from tests.topology.installation import ready, soon

__all__ = ["plain_rig"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LONG_S = 120.0  # nobody waits for it: the gateway ends when its last tunnel has
SHORT_S = 1.5


class Roams(Reconnects):
    """A chip whose engine knows two gateways, and dials the other when one does not take it."""

    def __init__(self, ports: tuple[int, int], chip_id: str, token: str) -> None:
        super().__init__(ports[0], chip_id, token)
        self._ports = ports
        self.by_port = dict.fromkeys(ports, 0)

    def open(self, host: str) -> socket.socket:
        for port in self._ports:
            try:
                sock = open_http(port, *self.credential[1:], f"{host}:443")
            except (OSError, EOFError, AssertionError):
                continue
            self.by_port[port] += 1
            return sock
        raise OSError("neither gateway")


def test_a_drained_gateway_cuts_nobody_and_leaves_nothing_unbilled(site: Site) -> None:
    web_a, web_b = site.webs
    customer = site.office.customer()
    first, second = site.installation.gateway(drain_s=LONG_S), site.gateways[0]
    ready(first)
    site.provider.forget()
    roaming = [Roams((first.port, second.port), *customer.new_chip(web_a).credential) for _ in range(2)]
    running = open_http(first.port, *customer.new_chip(web_a).credential, f"{SMALL_HOST}:443")
    for chip in roaming:
        chip.start()
        assert chip.moving.wait(60)
    first.part.ask_to_stop()
    soon(lambda: all(chip.by_port[second.port] > 2 for chip in roaming))
    for _ in range(3):
        running.sendall(b"get 5000\n")
        assert read_exactly(running, 5000) == bytes(5000), "what runs goes on"
    assert first.part.lives
    running.close()
    assert first.part.wait() == 0, "it ended when nobody was left, long before its time was over"
    for chip in roaming:
        chip.stop()
        assert chip.refused == 0, "no tunnel was cut"
        assert chip.by_port[first.port] > 0
    wire = sum(one.received + one.sent for one in site.provider.towards(SMALL_HOST))
    soon(lambda: customer.used_bytes(web_b) == wire)


def test_a_tunnel_that_does_not_end_has_its_whole_time(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(drain_s=SHORT_S)
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 1 << 30)
    with open_http(gateway.port, chip, "token", plain_rig.target()) as endless:
        asked_at = time.monotonic()
        gateway.ask_to_stop()
        endless.sendall(b"still here")
        assert read_exactly(endless, 10) == b"still here"
        assert read_to_end(endless) == b""
        assert time.monotonic() - asked_at >= SHORT_S
    soon(lambda: plain_rig.bank.used(user) == upstream.total)


def test_whoever_comes_to_a_draining_gateway_is_sent_away_at_once(plain_rig: Rig) -> None:
    """Refused by the kernel, or, if it had arrived already, with a reason: both make an engine try another."""
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(drain_s=30.0)
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 1 << 30)
    port = gateway.port
    with open_http(port, chip, "token", plain_rig.target()) as running:
        early = socket.create_connection(("127.0.0.1", port), timeout=20)
        gateway.ask_to_stop()
        soon(lambda: gateway.gateway._desk.draining)
        with early:
            early.sendall(connect_of(chip, plain_rig.target()))
            told = read_head(early)
        assert told.startswith("HTTP/1.1 503 ")
        assert "X-Gateway-Reason: draining\r\n" in told
        soon(lambda: is_refused(port))
        running.sendall(b"goes on")
        assert read_exactly(running, 7) == b"goes on"


def connect_of(chip: str, target: str) -> bytes:
    return f"CONNECT {target} HTTP/1.1\r\nProxy-Authorization: Basic {basic(chip, 'token')}\r\n\r\n".encode()


def is_refused(port: int) -> bool:
    try:
        http_connect(port, "chip", "token", "host:443").close()
    except ConnectionError:
        return True
    return False
