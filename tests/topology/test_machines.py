"""Database, control plane, gateway, provider and chips each on a machine of its own: no address is loopback."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.faults.far_end import SMALL_HOST, FarEnd
from tests.gateway.wire import http_connect, open_http, read_exactly, read_head, read_to_end
from tests.topology.debian import DebianPostgres, DebianRedis
from tests.topology.installation import Installation, Machines, Office, ready, soon
from tests.topology.namespaces import inside, machines
from whago.domain.rules.lease import MIN_LEASE_BYTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT = 1_000_000


def test_bytes_are_billed_and_a_limit_holds_across_machines(tmp_path: Path) -> None:
    with ExitStack() as stack:
        places = stack.enter_context(machines("database", "control", "gateway", "provider", "chips"))
        with inside(places["provider"]):
            provider = stack.enter_context(FarEnd(places["provider"].address))
        stack.enter_context(inside(places["chips"]))
        postgres = stack.enter_context(DebianPostgres(places["database"]))
        redis = stack.enter_context(DebianRedis(places["database"]))
        where = Machines(places["control"], places["gateway"])
        installation = stack.enter_context(Installation(postgres.url(), redis.url(), tmp_path, where))
        web, gateway, worker = installation.web(), installation.gateway(), installation.worker(beat=True)
        ready(web, gateway, worker)
        office = Office(web, provider, places["provider"].address)
        customer = office.customer()
        chip = customer.new_chip(web)
        at = {"host": gateway.address}
        with open_http(gateway.port, *chip.credential, f"{SMALL_HOST}:443", **at) as tunnel:
            tunnel.sendall(b"get 100000\n")
            assert read_exactly(tunnel, 100_000) == bytes(100_000)
            assert clients_of(postgres) >= {places["control"].address, places["gateway"].address}
            customer.ask(web, "DELETE", f"/chips/{chip.id}")
            assert read_to_end(tunnel) == b"", "the change reached the other machine"
        wire = sum(one.received + one.sent for one in provider.towards(SMALL_HOST))
        soon(lambda: customer.used_bytes(web) == wire)
        poor = office.customer(LIMIT)
        chip = poor.new_chip(web)
        with open_http(gateway.port, *chip.credential, f"{SMALL_HOST}:443", **at) as tunnel:
            tunnel.sendall(b"pull\n")
            got = len(read_to_end(tunnel))
        assert got < LIMIT
        soon(lambda: LIMIT - MIN_LEASE_BYTES < poor.used_bytes(web) <= LIMIT)
        with http_connect(gateway.port, *chip.credential, f"{SMALL_HOST}:443", **at) as late:
            assert read_head(late).startswith("HTTP/1.1 402 ")


def clients_of(postgres: DebianPostgres) -> set[str]:
    """The addresses from which the database is used, as it sees them itself."""
    with psycopg.connect(postgres.url("postgres", "postgres")) as admin:
        rows = admin.execute("SELECT DISTINCT host(client_addr) FROM pg_stat_activity WHERE datname = 'whago'")
        return {str(address) for (address,) in rows}
