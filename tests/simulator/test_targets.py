"""Where a CONNECT may lead: loopback, the few names that are to be reached for real, and nowhere else."""

from __future__ import annotations

import pytest

from tests.simulator.counting_client import CountingClient, EchoOrigin, connect_head
from whago.simulator import SimulatedProvider, outside
from whago.simulator.targets import Inside, Outside, Pattern, TargetMap, TargetRefused, TargetRule


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


def told_of(provider: SimulatedProvider, target: str) -> tuple[int, bytes]:
    """Status and Proxy-Status of a refused CONNECT."""
    with CountingClient(provider.port) as client:
        client.send(connect_head("demo-session-1", target))
        head = client.read_head()
    lines = [line.partition(b": ")[2] for line in head.split(b"\r\n") if line.startswith(b"Proxy-Status: ")]
    return int(head.split(b" ")[1]), b" | ".join(lines)


def test_a_target_out_of_reach_is_told_apart_from_an_exit_that_is_gone(
    provider: SimulatedProvider, origin: EchoOrigin
) -> None:
    """RFC 9209, as some vendors do."""
    assert told_of(provider, "nowhere.test:443") == (
        502, b'simulated-provider; error=dns_error; next-hop="nowhere.test"'
    )  # fmt: skip
    origin.close()
    assert told_of(provider, origin.target) == (
        502, b'simulated-provider; error=connection_refused; next-hop="127.0.0.1"'
    )  # fmt: skip
    assert told_of(provider, "8.8.8.8:443") == (403, b"")
    provider.switch(refuse_connect=502)
    assert told_of(provider, "nowhere.test:443") == (502, b"")


def test_a_name_to_reach_is_dialled_for_real(origin: EchoOrigin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver stands in for a name server, because the tests have none that they could rely on."""
    asked: list[str] = []

    def answers(host: str, port: int, **_limits: object) -> list[str]:
        asked.append(f"{host}:{port}")
        return ["127.0.0.1"]

    monkeypatch.setattr(outside, "resolve", answers)
    with SimulatedProvider(reach=["*.example.test"]) as provider:
        with CountingClient(provider.port) as client:
            assert client.connect("demo-session-1", f"Chat.Example.test:{origin.port}") == 200
            client.send(b"hello")
            assert client.read(5) == b"hello"
        with CountingClient(provider.port) as client:
            assert client.socks_connect("demo-session-2", "chat.example.test", origin.port) == 0
        origin.close()
        refused = told_of(provider, f"chat.example.test:{origin.port}")
    assert refused == (502, b'simulated-provider; error=connection_refused; next-hop="chat.example.test"')
    assert asked == [f"chat.example.test:{origin.port}"] * 3
    assert set(origin.peers) == {"127.0.0.1"}


def test_what_cannot_be_reached_says_why() -> None:
    with SimulatedProvider(reach=["no-such-name.invalid", "localhost"]) as provider:  # RFC 6761: never exists
        status, told = told_of(provider, "no-such-name.invalid:443")
        error = told.split(b"; ")[1]
        assert (status, error) in ((502, b"error=dns_error"), (504, b"error=dns_timeout"))
        assert told_of(provider, "localhost:443") == (403, b"")  # a private address is no part of the internet


def test_names_to_reach_come_between_the_rules_and_the_built_in_names() -> None:
    rules, built_in = [TargetRule.parse("a.x.test=127.0.0.9:80")], [TargetRule.parse("*.test=127.0.0.8:81")]
    targets = TargetMap(rules, [Pattern.parse("*.x.test:443")], built_in)
    assert targets.resolve("a.x.test", 443) == Inside("127.0.0.9", 80)
    assert targets.resolve("B.x.test.", 443) == Outside("b.x.test", 443)
    assert targets.resolve("b.x.test", 80) == Inside("127.0.0.8", 81)


@pytest.mark.parametrize("text", ["", ":443", "a.test:x", "a.test:-1"])
def test_a_malformed_name_to_reach_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST\[:PORT\]"):
        Pattern.parse(text)


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
    assert targets.resolve("a.example.test", 1) == Inside("127.0.0.9", 80)
    assert targets.resolve("a.b.example.test", 2) == Inside("127.0.0.9", 80)
    assert targets.resolve("one.test", 5) == Inside("127.0.0.8", 81)
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
