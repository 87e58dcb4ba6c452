"""Which hosts an upstream may have."""

from __future__ import annotations

import pytest

from whago.domain.rules.upstream_urls import proxy_url
from whago.kit.addresses import AddressRefused, is_private_address, is_private_host, resolve

PRIVATE = (
    "127.0.0.1", "127.64.0.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "2002:7f00:1::", "ff02::1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "::127.0.0.1",
    "::ffff:0:127.0.0.1", "64:ff9b:1::7f00:1",
    "2001::7f00:1", "2001:db8::1", "::ffff:169.254.169.254", "fec0::1", "4000::1", "240.0.0.1",
    "192.0.0.8", "198.18.0.1",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_it_knows_a_private_address(address: str) -> None:
    assert is_private_address(address)
    assert is_private_host(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "157.240.12.53", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_it_knows_a_public_address(address: str) -> None:
    assert not is_private_address(address)
    assert not is_private_host(address)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "x.localhost", "printer.local", "db.internal", "db", "2130706433"]
)
def test_names_of_this_network_are_private(host: str) -> None:
    assert is_private_host(host)


def test_a_public_name_is_not_private_until_it_is_resolved() -> None:
    assert not is_private_host("proxy.smartproxy.net")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "2130706433", "0x7f.1", "127.1"])
def test_a_private_address_is_refused_in_every_disguise(host: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        resolve(host, 80, allow_private=False, timeout_s=10)
    assert caught.value.is_private


def test_a_private_address_is_dialled_when_it_is_allowed() -> None:
    assert resolve("127.64.0.9", 80, allow_private=True, timeout_s=10) == ["127.64.0.9"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "..", ""])
def test_a_name_that_does_not_exist_is_told(host: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        resolve(host, 80, allow_private=False, timeout_s=20)
    assert not caught.value.is_private


def test_it_builds_a_proxy_url_from_fields() -> None:
    assert proxy_url("http", "isp.example.com", 80) == "http://isp.example.com:80"
    assert proxy_url("socks5", "2001:db8::1", 1080) == "socks5://[2001:db8::1]:1080"
