"""``python -m tests.topology.again tests/e2e tests/faults``: these tests over Debian's PostgreSQL and Redis.

The suite itself runs a bounded part of them that way (test_suite_again.py). Arguments and exit status are pytest's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.topology.debian import DebianPostgres, DebianRedis
from whago.kit.db import normalise
from whago.main.chromium import VARIABLE, obtain_chromium

ROOT = Path(__file__).resolve().parents[2]


def pytest_over(database_url: str, broker_url: str, *arguments: str) -> list[str]:
    """The command that runs tests on these servers instead of the embedded ones."""
    servers = ["--postgres-url", normalise(database_url), "--broker-url", broker_url]
    return [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", *servers, *arguments]


def main() -> int:
    with DebianPostgres() as postgres, DebianRedis() as redis:
        command = pytest_over(postgres.another_database("again"), redis.url(), *sys.argv[1:])
        environment = {**os.environ, VARIABLE: str(obtain_chromium())}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
