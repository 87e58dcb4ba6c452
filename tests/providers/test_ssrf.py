"""Every way out of the product's own machines, against a name server that lies.

The name is asked once; what was asked and checked is what is dialled; one private answer refuses the name.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from whago.gateway.resolver import Resolver, UnknownHost
from whago.notify.webhook import BadAddress, post, target_of
from whago.providers.billing import Account, UsageApiFailed, fetch_usage
from whago.providers.probe import probe
from whago.providers.transfer import transfer
from whago.providers.wire import ProbeUpstream

SRC = Path(__file__).resolve().parents[2] / "src" / "whago"
DAY = date(2026, 11, 15)
HOST = "rebinding.example.com"
PUBLIC, OTHER_PUBLIC = "8.8.8.8", "2606:4700:4700::1111"  # nothing is sent there: dialling is watched and refused
LIES = (
    "127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
    "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1",
)  # fmt: skip
DISGUISES = ("2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "localhost", "[::1]", "[::ffff:127.0.0.1]")


def by_probe(host: str) -> None:
    probe(ProbeUpstream("http", host.strip("[]"), 8080), ip_check_url=None, allow_private=False, timeout_s=5)


def by_transfer(host: str) -> None:
    upstream = ProbeUpstream("socks5", host.strip("[]"), 8080)
    transfer(upstream, "https://speed.example/{bytes}", 1, allow_private=False, timeout_s=5)


def by_usage_api(host: str) -> None:
    account = Account("iproyal", api_key="k", api_url=f"https://{host}:8443")
    with pytest.raises(UsageApiFailed):
        fetch_usage(account, DAY, DAY, allow_private=False, timeout_s=5)


def by_webhook(host: str) -> None:
    post(f"http://{host}:8080/hook", b"{}", {}, allow_private=False, deadline_s=5)


def by_gateway(host: str) -> None:
    """What the resolver hands out is what ``gateway.dialing`` connects to: socket addresses, no names."""

    async def run() -> None:
        resolver = Resolver(allow_private=False)
        try:
            for address in await resolver.get(host.strip("[]"), 8080):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address.sockaddr[0], address.sockaddr[1]))
        except UnknownHost:
            pass
        finally:
            resolver.stop()

    asyncio.run(run())


WAYS: dict[str, Callable[[str], None]] = {
    "test and health probe": by_probe,
    "calibration": by_transfer,
    "usage API": by_usage_api,
    "webhook": by_webhook,
    "gateway": by_gateway,
}


@dataclass
class Network:
    """The machine's resolver and its dialling, watched. ``answers``: one list of addresses per question."""

    answers: list[list[str]]
    asked: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)

    def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(str(host))
        given = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in given
        ]

    def create_connection(self, address: tuple[str, int], *_: Any, **__: Any) -> Any:
        self.dialled.append(address[0])
        raise ConnectionRefusedError


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[list[str]]], Network]:
    def lie(answers: list[list[str]]) -> Network:
        made = Network(answers)
        monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
        monkeypatch.setattr(socket, "create_connection", made.create_connection)
        return made

    return lie


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_turns_private_after_the_check_is_not_asked_again(
    network: Callable[[list[list[str]]], Network], way: str
) -> None:
    seen = network([[PUBLIC, OTHER_PUBLIC], ["127.0.0.1"]])
    WAYS[way](HOST)
    assert seen.asked == [HOST]
    assert seen.dialled == [PUBLIC, OTHER_PUBLIC]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("way", WAYS)
def test_a_name_of_a_private_address_is_never_dialled(
    network: Callable[[list[list[str]]], Network], way: str, lie: str
) -> None:
    seen = network([[lie]])
    WAYS[way](HOST)
    assert (seen.asked, seen.dialled) == ([HOST], [])


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("way", WAYS)
def test_a_private_address_among_public_ones_is_never_dialled(
    network: Callable[[list[list[str]]], Network], way: str, lie: str
) -> None:
    seen = network([[PUBLIC, lie]])
    WAYS[way](HOST)
    assert lie not in seen.dialled


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("way", WAYS)
def test_an_address_in_disguise_is_not_dialled(monkeypatch: pytest.MonkeyPatch, way: str, disguise: str) -> None:
    """By the machine's own resolver, which reads decimal, octal, hexadecimal and short forms as the C library does."""
    seen = Network([])
    monkeypatch.setattr(socket, "create_connection", seen.create_connection)
    WAYS[way](disguise)
    assert seen.dialled == []


@pytest.mark.parametrize("port", [1, 22, 25, 110, 143, 445, 587, 993])
def test_a_webhook_never_speaks_to_a_port_of_something_else(port: int) -> None:
    with pytest.raises(BadAddress):
        target_of(f"http://crm.example:{port}/")


KNOWN_WAYS_OUT = {  # module → why what it dials cannot be led astray
    "kit/addresses.py": "the check itself",
    "gateway/resolver.py": "hands out checked addresses: the way called gateway above",
    "gateway/dialing.py": "connects to those",
    "providers/probe.py": "reads answers with http.client; the way called probe above",
    "providers/wire.py": "dials what its callers checked: the ways called probe and calibration above",
    "providers/billing.py": "the way called usage API above",
    "notify/webhook.py": "the way called webhook above",
    "notify/email.py": "the operator's own mail server, by WHAGO_SMTP_URL",
    "bridge/client.py": "the operator's own bridges, by WHAGO_BRIDGE_URL and the shared secret",
    "kit/answers.py": "the operator's own database",
    "kit/db.py": "the operator's own database",
    "kit/broker.py": "the operator's own broker",
    "gateway/postgres.py": "the operator's own database",
}
WAY_OUT = re.compile(
    r"getaddrinfo|create_connection|open_connection|sock_connect|\.connect(?:_ex)?\(\(|\.connect\(address|"
    r"import httpx|urllib\.request|import http\.client|smtplib|import redis|from redis|psycopg\.(?:Async)?[Cc]onnect"
)


def test_every_module_that_connects_somewhere_is_known() -> None:
    """``main`` and ``simulator`` are left out: they wire this machine's own parts, and play the vendor."""
    rooms = ("kit", "domain", "providers", "bridge", "notify", "gateway", "web", "tasks")
    found = {
        str(path.relative_to(SRC))
        for room in rooms
        for path in (SRC / room).rglob("*.py")
        if WAY_OUT.search(path.read_text())
    }
    assert found - set(KNOWN_WAYS_OUT) == set()
