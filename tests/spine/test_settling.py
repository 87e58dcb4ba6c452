"""Dead boots on the real ledger: their last counters are committed before a byte of their leases is given to others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import structlog
from sqlalchemy import select, text

from tests.factories import make_chip, make_plan, make_provider, make_proxy, make_user
from tests.spine.conftest import month_of
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.lease_quota import expire_leases, lease_quota
from whago.domain.models import Assignment, QuotaLease, User
from whago.domain.rules.lease import SERVER_VALID_S, Recall, Spent
from whago.domain.rules.months import billing_month, usage_hour
from whago.errors import WhagoError
from whago.gateway.counters import DOWN, OVERHEAD, UP, CounterFile, pack_identity
from whago.gateway.postgres import PostgresControl
from whago.gateway.settle import settle_dead
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.ids import new_id

LIMIT = 1_000_000
USED = 150_000


@pytest.fixture
def user(database: str, vault: Vault) -> User:
    make_proxy(make_provider(vault))
    return make_user(make_plan(proxy_gb_limit=Decimal(LIMIT) / 10**9))


@contextmanager
def control(database: str, vault: Vault, tz: ZoneInfo) -> Iterator[PostgresControl]:
    made = PostgresControl(boot(), database_url=database, vault=vault, tz=tz)
    try:
        yield made
    finally:
        made.close()


def boot() -> UUID:
    boot_id = new_id()
    register_boot(boot_id, host="here", pid=1, port=1, now=clock.now())
    return boot_id


def dead_file(
    folder: Path, boot_id: UUID, user: User, tz: ZoneInfo, price_id: int | None = None, down: int = 0
) -> Path:
    """What a killed boot leaves that has moved USED bytes of a chip and reported none of them."""
    chip = make_chip(user)
    with transaction() as db:
        assignment = db.scalars(select(Assignment).where(Assignment.chip_id == chip.chip_id)).one()
        price = price_id or db.scalar(text("SELECT max(id) FROM proxy_provider_prices"))
    whose = b"".join(one.bytes for one in (user.id, chip.chip_id, assignment.proxy_id, assignment.id))
    now_us = int(clock.now().timestamp() * 1_000_000)
    file = CounterFile(folder, boot_id)
    hour_s = int(usage_hour(clock.now(), tz).timestamp())
    cells, base = file.open_slot(pack_identity(1, whose, price, hour_s, now_us), now_us)
    cells[base + UP], cells[base + DOWN], cells[base + OVERHEAD] = USED - 300, down, 300
    file.close()
    return file.path


def this_month(tz: ZoneInfo) -> date:
    return billing_month(clock.now(), tz)


def all_there_is(boot_id: UUID, user: User, month: date) -> int:
    """Asks until the answer is no; returns what the boot was granted in all."""
    granted = 0
    while True:
        answer = lease_quota(boot_id, user.id, month, want=LIMIT, now=clock.now())
        if isinstance(answer.decision, Recall | Spent):
            return granted
        granted = answer.granted_bytes


def test_an_expired_lease_is_given_to_nobody_before_its_boot_is_settled(
    database: str, vault: Vault, tz: ZoneInfo, user: User, tmp_path: Path
) -> None:
    month, dead, living = this_month(tz), boot(), boot()
    held = lease_quota(dead, user.id, month, want=LIMIT, now=clock.now()).granted_bytes
    dead_file(tmp_path, dead, user, tz)
    long_after = clock.now() + timedelta(seconds=SERVER_VALID_S + 1)
    assert expire_leases(now=long_after) == 1
    free = LIMIT - held
    assert all_there_is(living, user, month) == free, "only what the dead boot did not hold"
    assert month_of(user.id).leased_bytes == LIMIT
    with control(database, vault, tz) as settler:
        assert asyncio.run(settle_dead(tmp_path, settler)) == 1
    row = month_of(user.id)
    assert (row.total_bytes, row.leased_bytes) == (USED, free)
    assert all_there_is(living, user, month) == LIMIT - USED, "all that the dead boot had not used, and not a byte more"


def test_counters_and_leases_of_a_dead_boot_move_in_one_step(
    database: str, vault: Vault, tz: ZoneInfo, user: User, tmp_path: Path
) -> None:
    """Whoever looks meanwhile sees both or neither."""
    month, dead = this_month(tz), boot()
    lease_quota(dead, user.id, month, want=LIMIT, now=clock.now())
    dead_file(tmp_path, dead, user, tz)
    seen: list[tuple[int, int]] = []
    with control(database, vault, tz) as settler:
        true_settle = settler.settle

        async def settle_slowly(boot_id: UUID, usages: object) -> None:
            looking = asyncio.create_task(look())
            await true_settle(boot_id, usages)  # type: ignore[arg-type]
            looking.cancel()

        async def look() -> None:
            while True:
                row = await asyncio.to_thread(month_of, user.id)
                seen.append((row.total_bytes, row.leased_bytes))

        settler.settle = settle_slowly  # type: ignore[method-assign]
        asyncio.run(settle_dead(tmp_path, settler))
    row = month_of(user.id)
    assert (row.total_bytes, row.leased_bytes) == (USED, 0)
    assert set(seen) <= {(0, LIMIT // 4), (USED, 0)}


@pytest.mark.parametrize("had_a_lease", [True, False])
def test_a_settled_boot_gets_nothing_any_more(
    database: str, vault: Vault, tz: ZoneInfo, user: User, tmp_path: Path, had_a_lease: bool
) -> None:
    """The fence: a gateway that was taken for dead and lives on finds that its time is over."""
    month, dead = this_month(tz), boot()
    if had_a_lease:
        lease_quota(dead, user.id, month, want=1000, now=clock.now())
    dead_file(tmp_path, dead, user, tz)
    with control(database, vault, tz) as settler:
        asyncio.run(settle_dead(tmp_path, settler))
    with pytest.raises(WhagoError) as refused:
        lease_quota(dead, user.id, month, want=1000, now=clock.now())
    assert refused.value.code == "conflict"
    assert month_of(user.id).leased_bytes == 0


@pytest.mark.parametrize(
    "strange", [{"price_id": 999_999}, {"down": (1 << 64) - 1}], ids=["another installation's price", "nonsense"]
)
def test_counters_that_no_ledger_takes_are_set_aside_and_ours_are_settled(
    database: str, vault: Vault, tz: ZoneInfo, user: User, tmp_path: Path, strange: dict[str, int]
) -> None:
    boots = sorted(boot() for _ in range(3))
    foreign = dead_file(tmp_path, boots[0], user, tz, **strange)
    for boot_id in boots[1:]:
        dead_file(tmp_path, boot_id, user, tz)
    with control(database, vault, tz) as settler, structlog.testing.capture_logs() as lines:
        assert asyncio.run(settle_dead(tmp_path, settler)) == 2
    assert month_of(user.id).total_bytes == 2 * USED
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{foreign.name}.rejected"]
    (line,) = [line for line in lines if line["event"] == "counters.rejected"]
    assert "the ledger has no such customer or price" in line["reason"]


def test_leases_of_a_dead_boot_outlive_the_file_that_is_refused(
    database: str, vault: Vault, tz: ZoneInfo, user: User, tmp_path: Path
) -> None:
    """What it has moved is not known, so what it held counts as spent."""
    dead = boot()
    held = lease_quota(dead, user.id, this_month(tz), want=LIMIT, now=clock.now()).granted_bytes
    path = dead_file(tmp_path, dead, user, tz)
    path.write_bytes(path.read_bytes()[:100])
    with control(database, vault, tz) as settler:
        assert asyncio.run(settle_dead(tmp_path, settler)) == 0
    assert month_of(user.id).leased_bytes == held
    with transaction() as db:
        assert db.scalar(select(QuotaLease.state).where(QuotaLease.boot_id == dead)) == "open"
