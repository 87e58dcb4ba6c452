"""One set of Debian's servers for the whole folder, and one installation over them for the tests that share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.faults.conftest import state
from tests.faults.far_end import FarEnd
from tests.topology.debian import DebianPostgres, DebianRedis
from tests.topology.installation import Installation, Office, Served, ready

__all__ = ["state"]

_numbers = count(1)


@pytest.fixture(scope="session")
def debian_postgres() -> Iterator[DebianPostgres]:
    with DebianPostgres() as server:
        yield server


@pytest.fixture(scope="session")
def debian_redis() -> Iterator[DebianRedis]:
    with DebianRedis() as server:
        yield server


@pytest.fixture
def own_database(debian_postgres: DebianPostgres) -> str:
    """An empty database on Debian's server."""
    return debian_postgres.another_database(f"own_{next(_numbers)}")


@dataclass
class Site:
    """Seven processes, and a provider that counts by itself."""

    installation: Installation
    provider: FarEnd
    office: Office
    webs: tuple[Served, Served]
    gateways: list[Served]
    worker: Served
    beat: Served
    bridge: Served


@pytest.fixture(scope="package")
def site(
    debian_postgres: DebianPostgres, debian_redis: DebianRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        installation = stack.enter_context(_installation(debian_postgres, debian_redis, folder))
        provider = stack.enter_context(FarEnd())
        webs = installation.web(), installation.web()
        gateways = [installation.gateway(), installation.gateway()]
        worker, beat, bridge = installation.worker(), installation.beat(), installation.bridge(webs[0])
        ready(*webs, *gateways)
        yield Site(installation, provider, Office(webs[0], provider), webs, gateways, worker, beat, bridge)


def _installation(postgres: DebianPostgres, redis: DebianRedis, folder: Path) -> Installation:
    return Installation(postgres.another_database(f"site_{next(_numbers)}"), redis.url(), folder)
