"""Debian's PostgreSQL and Redis, two webs, two gateways, worker, beat and bridge: the product's promise over them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from tests.faults.far_end import ANSWER, BULK_HOST, SMALL_HOST, Pull, Push, Reconnects, Talks
from tests.faults.figures import State
from tests.gateway.wire import http_connect, read_head
from tests.topology.conftest import Site
from tests.topology.installation import BRIDGE_SECRET, GB_PRICE, in_threads, ready, soon
from whago.bridge.client import BridgeClient
from whago.domain.rules.lease import MIN_LEASE_BYTES
from whago.gateway.config import TURN_BYTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT = 1_000_000


def test_nothing_embedded_runs(site: Site) -> None:
    """Neither as a child of a part nor in the data folder."""
    ours = {part.process.pid for part in site.installation.parts}
    commands = [command_of(pid) for pid in descendants(ours)]
    assert not [command for command in commands if "pgserver" in command or "valkey" in command]
    kept = {path.name for path in site.installation.folder.rglob("*") if path.is_dir()}
    assert not kept & {"postgres", "valkey"}


def test_bytes_of_both_gateways_are_the_wires_and_cost_what_they_should(site: Site) -> None:
    web_a, web_b = site.webs
    customer = site.office.customer()
    site.provider.forget()
    chips = [
        Reconnects(gateway.port, *customer.new_chip(web_a).credential) for gateway in site.gateways for _ in range(2)
    ]
    for chip in chips:
        chip.start()
    for chip in chips:
        assert chip.moving.wait(60)
        chip.stop()
    wire = sum(one.received + one.sent for one in site.provider.towards(SMALL_HOST))
    soon(lambda: customer.used_bytes(web_b) == wire)
    told = customer.ask(web_b, "GET", "/user/proxy/usage")
    assert Decimal(told["cost"]) == GB_PRICE * wire / 10**9


def test_at_the_limit_both_gateways_stop_and_the_customer_is_told(site: Site, state: State) -> None:
    web_a, web_b = site.webs
    customer = site.office.customer(LIMIT)
    site.provider.forget()
    chips = [customer.new_chip(web_a) for _ in range(4)]
    racers = [
        kind(site.gateways[number % 2].port, *chip.credential)
        for kind in (Pull, Push)
        for number, chip in enumerate(chips)
    ]
    with in_threads(*racers):
        soon(lambda: customer.ask(web_b, "GET", "/user/proxy/usage")["state"] == "blocked")
    wires = site.provider.towards(BULK_HOST)
    wire = sum(one.exchange + one.uploaded for one in wires) + sum(racer.got for racer in racers)
    figure = state("own servers, 2 gateways at the limit", wire=wire, billed=customer.used_bytes(web_b), limit=LIMIT)
    assert (figure.lost, figure.over, figure.past_limit) == (0, 0, 0)
    assert figure.billed > LIMIT - MIN_LEASE_BYTES
    for gateway in site.gateways:
        with http_connect(gateway.port, *chips[0].credential, f"{BULK_HOST}:443") as late:
            assert read_head(late).startswith("HTTP/1.1 402 ")
    told = customer.ask(web_b, "GET", "/notifications")["items"]
    assert sorted(one["kind"] for one in told) == ["quota_exhausted", "quota_warning"]


def test_a_chip_that_is_deleted_at_one_web_loses_its_tunnel_at_a_gateway(site: Site) -> None:
    web_a, web_b = site.webs
    customer = site.office.customer()
    gone, stays = (
        Talks(site.gateways[0].port, *customer.new_chip(web_a).credential),
        Talks(site.gateways[0].port, *customer.new_chip(web_a).credential),
    )
    with in_threads(gone, stays):
        assert gone.moving.wait(60)
        assert stays.moving.wait(60)
        customer.ask(web_b, "DELETE", f"/chips/{gone.credential[1]}")
        soon(lambda: gone.refused > 0)
        before = stays.rounds
        soon(lambda: stays.rounds > before + 5)
        gone.stopping.set()
        stays.stopping.set()
    assert stays.refused == 0
    with http_connect(*gone.credential, f"{SMALL_HOST}:443") as late:
        assert read_head(late).startswith("HTTP/1.1 407 ")


def test_the_clocks_tick_from_the_scheduler_through_the_broker_to_the_worker(site: Site) -> None:
    ready(site.beat, site.worker)
    for web in site.webs:
        soon(lambda web=web: scheduler_state(web.port) == "ok")  # type: ignore[misc]


def scheduler_state(port: int) -> str:
    told = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10, trust_env=False).json()
    return str(told["parts"]["scheduler"]["status"])


def test_a_chip_of_the_bridge_is_given_to_the_bridge(site: Site) -> None:
    customer = site.office.customer()
    soon(lambda: alive(site.bridge.port))
    made = customer.ask(site.webs[0], "POST", "/chips", {"alias": "ours"})
    with BridgeClient(f"http://127.0.0.1:{site.bridge.port}", BRIDGE_SECRET) as bridge:
        soon(lambda: made["id"] in {str(one.chip_id) for one in bridge.list().items})
        customer.ask(site.webs[1], "DELETE", f"/chips/{made['id']}")
        soon(lambda: made["id"] not in {str(one.chip_id) for one in bridge.list().items})


def alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_gateway_that_is_killed_is_settled_by_its_next_boot(site: Site, state: State) -> None:
    web_a, web_b = site.webs
    customer = site.office.customer()
    site.provider.forget()
    killed = site.gateways[1]
    pulls = [Pull(killed.port, *customer.new_chip(web_a).credential) for _ in range(2)]
    with in_threads(*pulls):
        for pull in pulls:
            assert pull.moving.wait(60)
        killed.part.kill()
    site.provider.flush()
    wire = sum(one.exchange + one.uploaded for one in site.provider.towards(BULK_HOST)) + sum(one.got for one in pulls)
    site.gateways[1] = site.installation.gateway(killed.port)
    ready(site.gateways[1])
    soon(lambda: customer.used_bytes(web_b) >= wire)
    figure = state("own servers, kill -9", wire=wire, billed=customer.used_bytes(web_b))
    assert figure.lost == 0
    assert figure.over <= len(pulls) * (TURN_BYTES + len(ANSWER))


def descendants(pids: set[int]) -> set[int]:
    """The processes and all that they started, as the kernel knows them."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended just now
            continue
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
