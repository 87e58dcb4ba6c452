"""The admin endpoint over real HTTP, and static proxies."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.simulator.counting_client import CountingClient, EchoOrigin, admin, seen_ip
from whago.simulator import SimulatedProvider
from whago.simulator.switches import SwitchError


def test_sessions_are_listed_with_exit_and_counts_last_used_first(
    provider: SimulatedProvider, origin: EchoOrigin
) -> None:
    seen_ip(provider, "demo-session-1")
    with CountingClient(provider.port) as client:
        assert client.connect("acme-br-session-2", origin.target) == 200
        listed = admin(provider, "GET", "/sessions").json()
        assert listed["total"] == 2
        assert [(one["name"], one["open_tunnels"]) for one in listed["items"]] == [("acme-br:2", 1), ("demo:1", 0)]
        assert listed["items"][0]["wire_up"] == client.sent
    assert admin(provider, "GET", "/sessions?account=demo").json()["total"] == 1
    assert len(admin(provider, "GET", "/sessions?limit=1").json()["items"]) == 1
    one = admin(provider, "GET", "/sessions/demo:1").json()
    assert one["username"] == "demo-session-1"
    assert one == provider.session("1")


def test_switches_are_set_shown_and_reset_over_http(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    body = {"scope": "session:demo:1", "refuse_connect": 402}
    assert admin(provider, "PUT", "/switches", json=body).json() == {"session:demo:1": {"refuse_connect": 402}}
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 402
    assert admin(provider, "PUT", "/switches", json={"latency_ms": 1}).json() == {
        "session:demo:1": {"refuse_connect": 402},
        "all": {"latency_ms": 1},
    }
    assert admin(provider, "POST", "/switches/reset", json={"scope": "session:demo:1"}).json() == {
        "all": {"latency_ms": 1}
    }
    assert admin(provider, "POST", "/switches/reset").json() == {}
    assert admin(provider, "GET", "/state").json()["switches"] == {}


def test_drift_duplicate_and_cut_over_http(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    before = [seen_ip(provider, f"demo-session-{number}") for number in (1, 2)]
    drifted = admin(provider, "POST", "/sessions/1/drift").json()["exit_ip"]
    assert drifted not in before
    assert admin(provider, "POST", "/sessions/1/drift", json={"country": "CL"}).json()["country"] == "CL"
    shared = admin(provider, "POST", "/duplicate", json={"sessions": ["2", "1"]}).json()["exit_ip"]
    assert shared == before[1] == seen_ip(provider, "demo-session-1")
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 200
        client.send(b"x")
        client.read(1)
        assert admin(provider, "POST", "/cut", json={"scope": "session:demo:1"}).json() == {"cut": 1}
        with pytest.raises(ConnectionResetError):
            client.read(1)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("DELETE", "/switches", None, 405),
        ("GET", "/sessions/none", None, 404),
        ("POST", "/sessions/none/drift", None, 404),
        ("POST", "/sessions/1/drift", {"country": "ZZ"}, 409),
        ("POST", "/sessions/1/drift", {"ip": "127.0.0.1"}, 400),
        ("POST", "/duplicate", {"sessions": ["1"]}, 400),
        ("POST", "/duplicate", {"sessions": ["1", "none"]}, 404),
        ("PUT", "/switches", {"nonsense": 1}, 400),
        ("PUT", "/switches", {"scope": 5, "stall": True}, 400),
        ("PUT", "/switches", [1], 400),
        ("POST", "/switches/reset", {"what": 1}, 400),
        ("GET", "/sessions?limit=many", None, 400),
    ],
)
def test_bad_requests_are_answered_with_a_code(
    provider: SimulatedProvider, method: str, path: str, body: Any, status: int
) -> None:
    exit_ip = seen_ip(provider, "demo-session-1")
    answer = admin(provider, method, path, **({} if body is None else {"json": body}))
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message", "details"}
    assert provider.session("1")["exit_ip"] == exit_ip
    assert provider.state()["switches"] == {}


def test_a_body_that_is_no_json_is_refused(provider: SimulatedProvider) -> None:
    assert admin(provider, "PUT", "/switches", content=b"{").status_code == 400
    assert admin(provider, "PUT", "/switches", content=b"x" * 2_000_000).status_code == 413


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_a_web_page_cannot_use_the_admin_port(provider: SimulatedProvider, headers: dict[str, str]) -> None:
    assert admin(provider, "POST", "/switches/reset", headers=headers).status_code == 403


def test_health_readiness_and_metrics(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 200
        assert admin(provider, "GET", "/healthz").status_code == 200
        assert admin(provider, "GET", "/readyz").status_code == 200
        metrics = admin(provider, "GET", "/metrics").text
        assert f'whago_simulator_wire_bytes_total{{account="demo",direction="up"}} {client.sent}.0' in metrics
        assert "whago_simulator_open_tunnels 1.0" in metrics
        assert 'whago_simulator_requests_total{outcome="granted"} 1.0' in metrics
        provider.switch(port_down=True)
        assert admin(provider, "GET", "/readyz").status_code == 503
        assert admin(provider, "GET", "/healthz").status_code == 200


def test_the_state_carries_no_password(provider: SimulatedProvider) -> None:
    seen_ip(provider, "demo-session-1")
    for path in ("/state", "/sessions", "/metrics", "/switches", "/origin"):
        assert "demo-password" not in admin(provider, "GET", path).text


def test_a_port_that_somebody_took_meanwhile_is_told(provider: SimulatedProvider) -> None:
    provider.switch(port_down=True)
    with socket.create_server(("127.0.0.1", provider.port)):
        assert admin(provider, "PUT", "/switches", json={"port_down": False}).status_code == 409
        with pytest.raises(OSError, match="in use"):
            provider.reset()
    provider.reset()
    assert seen_ip(provider, "demo-session-1").startswith("127.")


def test_a_busy_port_is_said_at_the_start(provider: SimulatedProvider) -> None:
    with pytest.raises(OSError, match="in use"):
        SimulatedProvider(port=provider.port).start()
    with pytest.raises(OSError, match="in use"):
        SimulatedProvider(admin_port=provider.admin_port).start()


def test_static_proxies_leave_from_where_they_listen_each_with_its_credential(origin: EchoOrigin) -> None:
    with SimulatedProvider(statics=5) as provider:
        lines = provider.static_list()
        assert admin(provider, "GET", "/static-list").text.splitlines() == lines
        assert len(lines) == len(set(lines)) == 5
        for line in lines:
            host, port, username, password = line.split(":")
            with CountingClient(int(port), host) as client:
                assert client.connect(username, origin.target, password) == 200
                client.send(b"x")
                client.read(1)
                assert origin.peers[-1] == host
                assert provider.session(f"{username}:static")["wire_up"] == client.sent
            with CountingClient(int(port), host) as client:
                assert client.socks_connect(username, "127.0.0.1", origin.port, password) == 0
        host, port, username, password = lines[0].split(":")
        strangers = (("static2", "static-password-2"), (username, "x"), ("demo", "demo-password"))
        for wrong_user, wrong_password in strangers:
            with CountingClient(int(port), host) as client:
                assert client.connect(wrong_user, origin.target, wrong_password) == 407
        with CountingClient(provider.port) as client:
            assert client.connect(username, origin.target, password) == 407


def test_a_wildcard_listener_tells_static_proxies_by_the_address_that_was_dialled(origin: EchoOrigin) -> None:
    with SimulatedProvider(host="0.0.0.0", statics=1) as provider:
        host, port, username, password = provider.static_list()[0].split(":")
        with CountingClient(int(port), host) as client:
            assert client.connect(username, origin.target, password) == 200
            client.send(b"x")
            client.read(1)
        assert origin.peers == [host]
        with CountingClient(provider.port) as client:
            assert client.connect(username, origin.target, password) == 407
            assert seen_ip(provider, "demo-session-1") != host


def test_a_separate_socks_port_is_the_same_provider(origin: EchoOrigin) -> None:
    with SimulatedProvider(socks_port=0) as provider:
        socks_port = provider.state()["socks_port"]
        assert socks_port != provider.port
        with CountingClient(socks_port) as client:
            assert client.socks_connect("demo-session-1", "127.0.0.1", origin.port) == 0
            assert provider.session("1")["wire_up"] == client.sent


def test_a_stopped_provider_says_so_and_frees_its_port() -> None:
    with SimulatedProvider() as provider:
        port = provider.port
    with pytest.raises(RuntimeError, match="not running"):
        provider.sessions()
    with SimulatedProvider(port=port) as again:
        assert again.port == port
        with pytest.raises(SwitchError):
            again.switch(nonsense=1)


def test_stopping_ends_running_tunnels(origin: EchoOrigin) -> None:
    with SimulatedProvider() as provider:
        client = CountingClient(provider.port)
        assert client.connect("demo-session-1", origin.target) == 200
    with client:
        assert client.read_to_end() == b""
