"""The pool's guard as a process of its own, for a test that kills it. Argument: the database's URL.

It prints a line before its first round and then goes on, round after round, without a pause.
"""

from __future__ import annotations

import sys
from zoneinfo import ZoneInfo

from tests.conftest import SECRET
from whago.kit import clock, db
from whago.kit import log as logging
from whago.kit.crypto import Vault
from whago.tasks.clock import Tools
from whago.tasks.failover import guard


def main() -> None:
    logging.configure("json", "guard")
    db.connect(sys.argv[1])
    tools = Tools(Vault([SECRET]), ZoneInfo("America/Sao_Paulo"), failover_grace_s=1)
    print("ready", flush=True)
    while True:
        guard(tools, clock.now())


if __name__ == "__main__":
    main()
