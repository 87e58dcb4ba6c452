"""Five thousand reconnects: what the database is asked grows with the chips and the seconds, not with the tunnels."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.factories import make_plan, make_provider, make_proxy, make_user
from tests.faults.stage import Stage
from tests.gateway.crowd import Crowd
from tests.spine.conftest import month_of, wait_equal, wait_until
from whago.kit.crypto import Vault
from whago.kit.db import transaction

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHIPS = 50
USERS = 5
TUNNELS = 5000
TARGET = "web.whatsapp.com:443"
A_SECOND = 4  # two reports, and leases that follow the rate
A_CHIP = 2  # its pass, and its share in its customer's leases
SPARE = 200  # beats, the listening connection, the settler, what this test itself asks, and a busy machine


def transactions() -> int:
    """Committed in this database so far, as PostgreSQL itself counts them."""
    with transaction() as db:
        db.execute(text("SELECT pg_stat_clear_snapshot()"))
        return int(db.scalar(text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")) or 0)


def settled_transactions() -> int:
    """Sessions tell their counts once a second, so the figure is taken when it has caught up."""
    time.sleep(2.0)
    return transactions()


def test_a_burst_of_reconnects_does_not_melt_the_database(database: str, vault: Vault, tmp_path: Path) -> None:
    with Crowd() as crowd, Stage(database, vault, tmp_path) as stage:
        make_proxy(make_provider(vault, port=crowd.port, priority=1))
        plan = make_plan(proxy_gb_limit=Decimal(1))
        users = [make_user(plan) for _ in range(USERS)]
        chips = [(str(chip), token) for user in users for chip, token in stage.chips(user, CHIPS // USERS)]
        gateway = stage.gateway()
        for cold in (True, False):
            tunnels_before, before, began = crowd.tunnels, settled_transactions(), time.monotonic()
            crowd.reconnect(gateway.port, chips, TARGET, TUNNELS)
            took_s = time.monotonic() - began + 4.0  # both waits for the count belong to it
            asked = settled_transactions() - before
            assert crowd.tunnels - tunnels_before == TUNNELS, "each of them reached the provider"
            bound = took_s * A_SECOND + SPARE + (CHIPS * A_CHIP if cold else 0)
            assert asked <= bound, f"{asked} transactions in {took_s:.1f} s for {TUNNELS} tunnels"
            assert asked < TUNNELS / 10
        wait_equal(lambda: sum(month_of(user.id).total_bytes for user in users), lambda: crowd.wire, 30)
        wait_until(lambda: all(month_of(user.id).leased_bytes == 0 for user in users), 30)
