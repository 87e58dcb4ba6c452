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


def main() -> int:
    with DebianPostgres() as postgres, DebianRedis() as redis:
        database = normalise(postgres.another_database("again"))
        servers = ["--postgres-url", database, "--broker-url", redis.url()]
        command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", *servers, *sys.argv[1:]]
        environment = {**os.environ, VARIABLE: str(obtain_chromium())}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
