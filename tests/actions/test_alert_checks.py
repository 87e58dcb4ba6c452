"""Alerts about the month's quota: raised by the traffic, ended by looking, one word for what is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, update

from tests.factories import NOW, TZ, make_chip, make_plan, make_ready_pool, make_user
from whago.domain.actions.alert_checks import check_projections, check_quotas, check_spikes
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import Alert, Assignment, Notification, Plan, Provider, User
from whago.domain.rules.months import usage_hour
from whago.kit.db import transaction
from whago.kit.ids import new_id

pytestmark = pytest.mark.usefixtures("database")
MB = 10**6
DECEMBER = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def customer(database: str) -> User:
    """With one chip and a plan of 1 GB."""
    make_ready_pool()
    user = make_user(make_plan())
    make_chip(user, "vendas", now=NOW - timedelta(days=20))
    return user


def move(user: User, megabytes: int, at: datetime = NOW) -> None:
    with transaction() as db:
        here = db.scalars(select(Assignment).where(Assignment.released_at.is_(None))).one()
        price = db.get_one(Provider, here.provider_id).current_price_id
    boot = new_id()
    register_boot(boot, host="h", pid=1, port=1, now=at)
    usage = MeteredUsage(
        tunnel_id=1, user_id=user.id, chip_id=here.chip_id, proxy_id=here.proxy_id, assignment_id=here.id,
        price_id=price or 0, hour=usage_hour(at, TZ), bytes_up=0, bytes_down=megabytes * MB, overhead=0,
        started_at=at, last_at=at,
    )  # fmt: skip
    record_usage(boot, [usage], now=at, tz=TZ, is_last=True)


def grow(user: User, gb: str) -> None:
    with transaction() as db:
        db.execute(update(Plan).where(Plan.id == user.plan_id).values(proxy_gb_limit=Decimal(gb)))


def told(user: User) -> list[tuple[str, str]]:
    with transaction() as db:
        rows = db.scalars(select(Notification).where(Notification.user_id == user.id).order_by(Notification.created_at))
        return [(one.kind, one.level) for one in rows]


def open_kinds() -> list[str]:
    with transaction() as db:
        return list(db.scalars(select(Alert.kind).where(Alert.cleared_at.is_(None)).order_by(Alert.kind)))


def test_a_higher_threshold_ends_the_lower_one_without_a_word(customer: User) -> None:
    move(customer, 850)
    assert open_kinds() == ["quota_warning"]
    move(customer, 200)
    assert open_kinds() == ["quota_exhausted"]
    assert told(customer) == [("quota_warning", "warning"), ("quota_exhausted", "error")]


def test_a_new_month_ends_it_with_one_word(customer: User) -> None:
    move(customer, 850)
    move(customer, 200)
    assert check_quotas(now=NOW + timedelta(days=1), tz=TZ).cleared == 0
    assert check_quotas(now=DECEMBER, tz=TZ).cleared == 1
    assert told(customer)[2:] == [("quota_exhausted", "success")]
    with transaction() as db:
        last = db.scalars(select(Notification).order_by(Notification.created_at.desc())).first()
    assert last is not None
    assert (last.data["month"], last.data["used_bytes"]) == ("2026-12", 0)


def test_the_next_month_is_told_anew_even_if_nobody_looked_in_between(customer: User) -> None:
    move(customer, 850)
    move(customer, 850, at=DECEMBER)
    assert told(customer) == [("quota_warning", "warning")] * 2
    check_quotas(now=DECEMBER, tz=TZ)
    assert open_kinds() == ["quota_warning"]  # December's


def test_a_larger_plan_ends_it_and_a_threshold_is_told_once_a_month(customer: User) -> None:
    move(customer, 850)
    grow(customer, "2")
    assert check_quotas(now=NOW + timedelta(minutes=1), tz=TZ).cleared == 1
    move(customer, 900)
    assert told(customer) == [("quota_warning", "warning"), ("quota_warning", "success")]


def test_who_is_gone_is_told_nothing(customer: User) -> None:
    move(customer, 850)
    with transaction() as db:
        db.get_one(User, customer.id).deleted_at = NOW
    check_quotas(now=DECEMBER, tz=TZ)
    check_projections(now=DECEMBER, tz=TZ)
    assert told(customer) == [("quota_warning", "warning")]


def test_a_projection_is_told_once_and_ends_silently_when_the_limit_is_passed_after_all(customer: User) -> None:
    move(customer, 600)
    for _ in range(3):
        check_projections(now=NOW, tz=TZ)
    assert told(customer) == [("quota_projected", "warning")]
    move(customer, 500)
    check_projections(now=NOW, tz=TZ)
    assert "quota_projected" not in open_kinds()
    assert ("quota_projected", "success") not in told(customer)


def test_a_projection_does_not_flicker_at_the_limit(customer: User) -> None:
    move(customer, 500)  # at 48 % of the month: 1.03 GB
    assert check_projections(now=NOW, tz=TZ).raised == 1
    later = NOW + timedelta(days=1)  # without traffic: 0.97 GB, within the margin
    assert check_projections(now=later, tz=TZ).cleared == 0
    assert check_projections(now=NOW + timedelta(days=3), tz=TZ).cleared == 1


def test_a_spike_is_judged_by_the_chips_own_days_and_never_without_them(customer: User) -> None:
    grow(customer, "100")
    move(customer, 900)
    assert check_spikes(now=NOW).raised == 0  # nobody knows what is usual for it
    for days in (2, 3, 4):
        move(customer, 40, at=NOW - timedelta(days=days))
    assert check_spikes(now=NOW).raised == 1
    assert check_spikes(now=NOW).raised == 0
    assert check_spikes(now=NOW + timedelta(hours=12)).cleared == 0
    assert check_spikes(now=NOW + timedelta(days=2)).cleared == 1
