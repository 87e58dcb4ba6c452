"""Where a CONNECT may lead: loopback and nowhere else."""

from __future__ import annotations

import pytest

from tests.simulator.counting_client import CountingClient, EchoOrigin
from whago.simulator import SimulatedProvider
from whago.simulator.targets import TargetMap, TargetRefused, TargetRule


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("8.8.8.8:443", 403),
        ("10.0.0.1:443", 403),
        ("169.254.169.254:80", 403),
        ("0.0.0.0:443", 403),
        ("128.0.0.1:443", 403),
        ("[::1]:443", 403),
        ("[2001:4860:4860::8888]:443", 403),
        ("[::ffff:127.0.0.1]:443", 403),
        ("example.com:443", 502),
        ("whatsapp.net.example.com:443", 502),
        ("xwhatsapp.net:443", 502),
        ("2130706433:443", 502),
        ("0x7f000001:443", 502),
        ("127.1:443", 502),
    ],
)
def test_the_world_is_out_of_reach(provider: SimulatedProvider, target: str, status: int) -> None:
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", target) == status


def test_a_target_that_refuses_is_a_502(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    origin.close()
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 502
    assert provider.session("1")["open_tunnels"] == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "chat.localhost"])
def test_loopback_reaches_itself(provider: SimulatedProvider, origin: EchoOrigin, host: str) -> None:
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", f"{host}:{origin.port}") == 200


def test_rules_come_before_the_built_in_names(origin: EchoOrigin) -> None:
    with SimulatedProvider(targets=[f"*.whatsapp.net:443={origin.target}"]) as provider:
        with CountingClient(provider.port) as client:
            assert client.connect("demo-session-1", "G.WhatsApp.NET.:443") == 200
            client.send(b"hello")
            assert client.read(5) == b"hello"
        with CountingClient(provider.port) as client:
            assert client.connect("demo-session-1", "g.whatsapp.net:80") == 200
            client.send(b"GET /echo?a=b HTTP/1.1\r\nHost: x\r\n\r\n")
            status, body = client.read_response()
        assert status == 200
        assert provider.session("1")["exit_ip"].encode() in body
    assert len(origin.peers) == 1


def test_a_wildcard_stands_for_what_is_below_it_at_any_depth() -> None:
    targets = TargetMap([TargetRule.parse("*.example.test=127.0.0.9:80"), TargetRule.parse("one.test:5=127.0.0.8:81")])
    assert targets.resolve("a.example.test", 1) == ("127.0.0.9", 80)
    assert targets.resolve("a.b.example.test", 2) == ("127.0.0.9", 80)
    assert targets.resolve("one.test", 5) == ("127.0.0.8", 81)
    for host, port in (("example.test", 1), ("badexample.test", 1), ("one.test", 6)):
        with pytest.raises(TargetRefused):
            targets.resolve(host, port)


@pytest.mark.parametrize(
    "text", ["", "x", "x=", "x=127.0.0.1", "x=8.8.8.8:80", "x:y=127.0.0.1:80", "=127.0.0.1:80", "x=localhost:80"]
)
def test_a_malformed_rule_or_one_that_leads_away_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST|loopback"):
        TargetRule.parse(text)


def test_the_raw_echo_stands_behind_whatsapps_second_port(provider: SimulatedProvider) -> None:
    for target in ("g.whatsapp.net:5222", "echo.simulated.test:7"):
        with CountingClient(provider.port) as client:
            assert client.connect("demo-session-1", target) == 200
            client.send(b"\x00\xffraw")
            assert client.read(5) == b"\x00\xffraw"
    exit_ip = provider.session("1")["exit_ip"]
    assert provider.origin_peers() == {exit_ip: {"connections": 2, "bytes_in": 10, "bytes_out": 10}}
