"""Leases: committed + outstanding never passes the limit, also when many ask at once."""

from __future__ import annotations

import random
import threading
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import select, update

from tests.actions.test_record_usage import a_boot, a_usage
from tests.factories import NOW, TZ, make_plan, make_ready_pool, make_user
from whago.domain.actions.lease_quota import expire_leases, lease_quota
from whago.domain.actions.record_usage import record_usage
from whago.domain.models import Plan, QuotaLease, UserProxyCost
from whago.domain.rules.lease import SERVER_VALID_S, Give, Recall, Spent, Unmetered
from whago.domain.rules.months import billing_month
from whago.errors import WhagoError
from whago.kit.db import transaction

pytestmark = pytest.mark.usefixtures("database")
MONTH = billing_month(NOW, TZ)


def committed_and_leased(user_id: UUID) -> tuple[int, int]:
    with transaction() as db:
        row = db.scalars(select(UserProxyCost).where(UserProxyCost.user_id == user_id)).one()
        return row.total_bytes, row.leased_bytes


def test_racing_gateways_never_hold_more_than_the_limit() -> None:
    limit = 3_000_000
    user = make_user(make_plan(proxy_gb_limit=Decimal(limit) / 10**9))
    seen: list[int] = []
    granted: dict[object, int] = {}

    def race(boot: object, seed: int) -> None:
        picker = random.Random(seed)
        while True:
            answer = lease_quota(boot, user.id, MONTH, want=picker.randint(1, 400_000), now=NOW)
            granted[boot] = answer.granted_bytes
            seen.append(sum(committed_and_leased(user.id)))
            if not isinstance(answer.decision, Give):
                return

    threads = [threading.Thread(target=race, args=(a_boot(), seed)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seen) <= limit
    assert sum(granted.values()) == limit


def test_what_another_gateway_holds_is_called_back_before_anybody_is_refused() -> None:
    make_ready_pool()
    user = make_user(make_plan(proxy_gb_limit=Decimal("0.00001")))
    holder, asker = a_boot(), a_boot()
    assert isinstance(lease_quota(holder, user.id, MONTH, want=10_000, now=NOW).decision, Give)
    assert lease_quota(asker, user.id, MONTH, want=1, now=NOW).decision == Recall()
    record_usage(holder, [], now=NOW, tz=TZ, release=[(user.id, MONTH)])
    assert isinstance(lease_quota(asker, user.id, MONTH, want=1, now=NOW).decision, Give)


def test_a_spent_month_is_refused_until_the_limit_rises() -> None:
    make_ready_pool()
    plan = make_plan(proxy_gb_limit=Decimal("0.000001"))
    user, boot = make_user(plan), a_boot()
    record_usage(boot, [a_usage(user)], now=NOW, tz=TZ)
    assert lease_quota(boot, user.id, MONTH, want=1000, now=NOW).decision == Spent()
    with transaction() as db:
        db.execute(update(Plan).where(Plan.id == plan.id).values(proxy_gb_limit=Decimal("0.01")))
    assert isinstance(lease_quota(boot, user.id, MONTH, want=1000, now=NOW).decision, Give)


@pytest.mark.parametrize(
    ("on_limit", "limit", "admits"), [("bill", "0", True), ("block_new", "0", False), ("block", None, True)]
)
def test_plans_that_stop_nothing_running(on_limit: str, limit: str | None, admits: bool) -> None:
    plan = make_plan(on_limit=on_limit, proxy_gb_limit=None if limit is None else Decimal(limit))
    assert lease_quota(a_boot(), make_user(plan).id, MONTH, want=1, now=NOW).decision == Unmetered(admits)


def test_an_expired_lease_counts_as_spent_until_its_boot_is_settled() -> None:
    from datetime import timedelta

    user, boot = make_user("business"), a_boot()
    lease_quota(boot, user.id, MONTH, want=50_000, now=NOW)
    later = NOW + timedelta(seconds=SERVER_VALID_S + 1)
    assert (expire_leases(now=NOW), expire_leases(now=later), expire_leases(now=later)) == (0, 1, 0)
    assert committed_and_leased(user.id) == (0, 50_000)
    record_usage(boot, [], now=later, tz=TZ, is_last=True)
    assert committed_and_leased(user.id) == (0, 0)


def test_a_settled_boot_gets_no_lease() -> None:
    user, boot = make_user("business"), a_boot()
    record_usage(boot, [], now=NOW, tz=TZ, is_last=True)
    with pytest.raises(WhagoError, match="at the same time"):
        lease_quota(boot, user.id, MONTH, want=1, now=NOW)
    with transaction() as db:
        assert db.scalars(select(QuotaLease)).all() == []
