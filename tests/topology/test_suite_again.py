"""A bounded part of the suite once more, over Debian's PostgreSQL 15 and Redis 7 instead of the embedded servers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.topology.debian import DebianRedis
from whago.kit.db import normalise

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
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
    servers = ["--postgres-url", normalise(own_database), "--broker-url", debian_redis.url()]
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--kills", str(KILLS)]
    done = subprocess.run([*command, *servers, *SELECTION], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:]
    assert "skipped" not in done.stdout
