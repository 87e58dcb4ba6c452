"""A bounded part of the suite once more, over Debian's PostgreSQL 15 and Redis 7 instead of the embedded servers."""

from __future__ import annotations

import subprocess

import pytest

from tests.topology.again import ROOT, pytest_over
from tests.topology.debian import DebianRedis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SELECTION = (
    "tests/actions/test_lease_quota.py",
    "tests/actions/test_record_usage.py",
    "tests/web/test_attempts.py",
    "tests/tasks/test_silent_broker.py",
    "tests/faults/test_last_megabyte.py::test_gateways_racing_for_the_last_megabyte[2]",
    "tests/faults/test_kill_9.py::test_thirty_kills_under_load",
)
KILLS = 3  # the thirty moments are tried over the embedded server


def test_quota_ledger_clocks_and_faults_hold_over_debians_servers(own_database: str, debian_redis: DebianRedis) -> None:
    command = pytest_over(own_database, debian_redis.url(), "-q", "--kills", str(KILLS), *SELECTION)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "skipped" not in done.stdout
