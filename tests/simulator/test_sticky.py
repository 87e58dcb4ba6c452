"""One identifier, one exit IP: sticky sessions as an origin sees them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.simulator.counting_client import CountingClient, EchoOrigin, eventually, seen_ip, seen_place
from whago.simulator import SimulatedProvider
from whago.simulator.exits import COUNTRIES, ExitBook, NoExit
from whago.simulator.stickies import UnknownSticky


def test_it_keeps_the_exit_ip_over_twenty_reconnects(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    for _ in range(20):
        with CountingClient(provider.port) as client:
            assert client.connect("demo-session-11111111", origin.target) == 200
            client.send(b"x")
            assert client.read(1) == b"x"
    assert len(origin.peers) == 20
    assert set(origin.peers) == {provider.session("11111111")["exit_ip"]}


def test_three_sessions_have_three_exit_ips_at_the_origin(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    for name in ("1", "2", "3"):
        with CountingClient(provider.port) as client:
            assert client.socks_connect(f"demo-session-{name}", "127.0.0.1", origin.port) == 0
            client.send(b"x")
            assert client.read(1) == b"x"
    assert len(set(origin.peers)) == 3
    assert all(ip.startswith("127.") and ip != "127.0.0.1" for ip in origin.peers)


def test_the_same_session_has_one_ip_over_http_and_socks(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    with CountingClient(provider.port) as first, CountingClient(provider.port) as second:
        assert first.connect("demo-session-7", origin.target) == 200
        assert second.socks_connect("demo-session-7", "127.0.0.1", origin.port) == 0
        for client in (first, second):
            client.send(b"x")
            assert client.read(1) == b"x"
    assert len(origin.peers) == 2
    assert len(set(origin.peers)) == 1


def test_sessions_created_at_once_never_share_an_exit_ip(provider: SimulatedProvider) -> None:
    seen: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: seen.append(seen_ip(provider, f"demo-session-{number}")))
        for number in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 100
    assert len(set(seen)) == 100


def test_an_address_that_is_held_is_never_given_again_even_for_the_same_seed() -> None:
    book = ExitBook("127.64.0.0/16")
    given = [book.allocate("BR", "the same seed") for _ in range(500)]
    assert len(set(given)) == 500
    assert not any(ip.endswith((".0", ".255")) for ip in given)


def test_a_country_without_a_free_address_is_said_to_have_none() -> None:
    book = ExitBook("127.64.0.0/16")
    for number in range(32 * 254):
        book.allocate("AR", f"seed {number}")
    with pytest.raises(NoExit):
        book.allocate("AR", "seed")
    assert book.place_of(book.allocate("BR", "seed")).country == "BR"  # type: ignore[union-attr]


def test_an_address_is_free_after_its_last_holder() -> None:
    book = ExitBook()
    address = book.allocate("BR", "seed")
    book.hold(address)
    book.release(address)
    assert book.allocate("BR", "seed") != address
    book.release(address)
    assert book.allocate("BR", "seed") == address


def test_the_ip_check_page_tells_the_place_of_the_exit(provider: SimulatedProvider) -> None:
    place = seen_place(provider, "demo-session-42-country-ar")
    assert place["ip"] == provider.session("42")["exit_ip"]
    assert place["country"] == "AR"
    assert place["city"]
    assert place["asn"] > 0


@pytest.mark.parametrize("country", COUNTRIES)
def test_every_offered_country_has_exits_that_say_so(provider: SimulatedProvider, country: str) -> None:
    assert seen_place(provider, f"demo_area-{country}_life-30_session-{country}1")["country"] == country


def test_a_country_that_is_not_offered_is_refused(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1-country-zz", origin.target) == 525
    with CountingClient(provider.port) as client:
        assert client.socks_connect("demo-session-1-country-zz", "127.0.0.1", origin.port) == 3
    assert origin.peers == []


def test_another_country_under_the_same_id_brings_another_exit(provider: SimulatedProvider) -> None:
    first = seen_place(provider, "demo-session-1-country-br")
    second = seen_place(provider, "demo-session-1-country-us")
    assert (first["country"], second["country"]) == ("BR", "US")
    assert provider.session("1")["past_exits"][0]["reason"] == "country"
    assert seen_ip(provider, "demo-session-1") == second["ip"]


def test_accounts_with_the_same_id_have_sessions_of_their_own(provider: SimulatedProvider) -> None:
    assert seen_ip(provider, "demo-session-5") != seen_ip(provider, "acme-br-session-5")
    with pytest.raises(UnknownSticky):
        provider.session("5")
    assert provider.session("acme-br:5")["account"] == "acme-br"


def test_a_username_without_a_session_gets_another_exit_each_time(provider: SimulatedProvider) -> None:
    assert len({seen_ip(provider, "demo") for _ in range(5)}) == 5
    eventually(lambda: provider.sessions() == [])


def test_drift_is_silent_and_leaves_running_tunnels_where_they_are(
    provider: SimulatedProvider, origin: EchoOrigin
) -> None:
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 200
        client.send(b"x")
        assert client.read(1) == b"x"
        drifted = provider.drift("1")
        client.send(b"y")
        assert client.read(1) == b"y"
        assert seen_ip(provider, "demo-session-1") == drifted
    assert origin.peers[0] != drifted
    (past,) = provider.session("1")["past_exits"]
    assert (past["exit_ip"], past["reason"]) == (origin.peers[0], "drift")


def test_a_drift_can_change_the_country(provider: SimulatedProvider) -> None:
    seen_ip(provider, "demo-session-1")
    provider.drift("1", country="PT")
    assert seen_place(provider, "demo-session-1")["country"] == "PT"


def test_a_duplicate_gives_two_sessions_one_ip_until_one_drifts(provider: SimulatedProvider) -> None:
    first = seen_ip(provider, "demo-session-1")
    assert seen_ip(provider, "demo-session-2") != first
    assert provider.duplicate("1", "2") == first
    assert seen_ip(provider, "demo-session-2") == seen_ip(provider, "demo-session-1") == first
    assert provider.drift("2") != first
    assert seen_ip(provider, "demo-session-1") == first


def test_a_life_that_ran_out_brings_a_new_exit() -> None:
    moment = [datetime(2026, 3, 1, 12, tzinfo=UTC)]
    with SimulatedProvider(now=lambda: moment[0]) as provider:
        username = "demo_area-BR_life-30_session-77"
        first = seen_ip(provider, username)
        moment[0] += timedelta(minutes=29, seconds=59)
        assert seen_ip(provider, username) == first
        moment[0] += timedelta(seconds=1)
        second = seen_ip(provider, username)
        assert second != first
        assert provider.session("77")["past_exits"][0]["reason"] == "expired"
        moment[0] += timedelta(minutes=29)
        assert seen_ip(provider, username) == second


def test_a_restarted_provider_gives_a_session_the_same_exit() -> None:
    seen = []
    for _ in range(2):
        with SimulatedProvider() as provider:
            seen.append(seen_ip(provider, "demo-session-4711"))
    assert seen[0] == seen[1]


def test_two_providers_on_different_networks_share_no_exit() -> None:
    with SimulatedProvider() as one, SimulatedProvider(exit_network="127.128.0.0/10") as other:
        assert IPv4Address(seen_ip(one, "demo-session-1")) in IPv4Network("127.64.0.0/10")
        assert IPv4Address(seen_ip(other, "demo-session-1")) in IPv4Network("127.128.0.0/10")
