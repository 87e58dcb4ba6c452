"""Usage reports: idempotent, exact, under racing writers."""

from __future__ import annotations

import dataclasses
import random
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from tests.factories import NOW, TZ, make_chip, make_plan, make_ready_pool, make_user
from whago.domain.actions.chips import rest_silent_chips
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.lease_quota import lease_quota
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import (
    Assignment,
    Chip,
    ChipStatus,
    ChipUsageMonth,
    Notification,
    Provider,
    ProviderPrice,
    Proxy,
    QuotaLease,
    UsageHour,
    UsageLog,
    UsagePriceMonth,
    User,
    UserProxyCost,
)
from whago.domain.models.ledger import put_rows
from whago.domain.rules.lease import Give
from whago.domain.rules.months import billing_month, usage_hour
from whago.kit.db import transaction
from whago.kit.ids import new_id

pytestmark = pytest.mark.usefixtures("database")
MONTH = billing_month(NOW, TZ)


def a_usage(user: User, **fields: object) -> MeteredUsage:
    """One tunnel of a new chip of the user; the pool must stand."""
    created = make_chip(user)
    with transaction() as db:
        assignment = db.scalars(select(Assignment).where(Assignment.chip_id == created.chip_id)).one()
        price_id = db.scalars(select(Provider.current_price_id).where(Provider.id == assignment.provider_id)).one()
    usage = MeteredUsage(
        tunnel_id=1,
        user_id=user.id,
        chip_id=created.chip_id,
        proxy_id=assignment.proxy_id,
        assignment_id=assignment.id,
        price_id=price_id or 0,
        hour=usage_hour(NOW, TZ),
        bytes_up=100,
        bytes_down=1000,
        overhead=50,
        started_at=NOW,
        last_at=NOW,
    )
    return dataclasses.replace(usage, **fields)


def a_boot() -> object:
    boot_id = new_id()
    register_boot(boot_id, host="test", pid=1, port=1, now=NOW)
    return boot_id


def month_of(user: User) -> UserProxyCost:
    with transaction() as db:
        return db.scalars(select(UserProxyCost).where(UserProxyCost.user_id == user.id)).one()


def kinds_told(user: User) -> list[str]:
    with transaction() as db:
        return sorted(db.scalars(select(Notification.kind).where(Notification.user_id == user.id)))


def test_a_replay_changes_nothing() -> None:
    make_ready_pool()
    user, boot = make_user("business"), a_boot()
    usage = a_usage(user)
    assert record_usage(boot, [usage], now=NOW, tz=TZ) == 1150
    assert record_usage(boot, [usage], now=NOW, tz=TZ) == 0
    assert month_of(user).total_bytes == 1150


def test_a_report_of_many_tunnels_keeps_each_row_as_it_was_told() -> None:
    make_ready_pool()
    user, boot = make_user("enterprise"), a_boot()
    one = a_usage(user)
    told = [
        dataclasses.replace(
            one,
            tunnel_id=number,
            bytes_up=number,
            bytes_down=2 * number,
            started_at=NOW - timedelta(microseconds=number),
            last_at=NOW + timedelta(microseconds=number),
        )
        for number in range(1, 301)
    ]
    added = record_usage(boot, told, now=NOW, tz=TZ, is_demo=True)
    assert added == sum(3 * number + 50 for number in range(1, 301))
    with transaction() as db:
        rows = db.scalars(select(UsageLog).where(UsageLog.boot_id == boot).order_by(UsageLog.tunnel_id)).all()
    assert [(row.tunnel_id, row.bytes_up, row.bytes_down, row.session_start, row.session_end) for row in rows] == [
        (usage.tunnel_id, usage.bytes_up, usage.bytes_down, usage.started_at, usage.last_at) for usage in told
    ]
    assert {(row.user_id, row.chip_id, row.proxy_id, row.assignment_id, row.hour, row.is_demo) for row in rows} == {
        (user.id, one.chip_id, one.proxy_id, one.assignment_id, one.hour, True)
    }
    assert len({row.id for row in rows}) == 300


def test_a_report_with_new_rows_beside_older_ones_adds_what_is_new_of_both() -> None:
    make_ready_pool()
    user, boot = make_user("enterprise"), a_boot()
    one = a_usage(user)
    record_usage(boot, [one], now=NOW, tz=TZ)
    with transaction() as db:
        first_id = db.scalar(select(UsageLog.id))
    told = [dataclasses.replace(one, tunnel_id=number, bytes_up=150) for number in (1, 2)]
    assert record_usage(boot, told, now=NOW, tz=TZ) == 50 + 1200
    with transaction() as db:
        rows = db.execute(select(UsageLog.tunnel_id, UsageLog.id, UsageLog.bytes_up).order_by(UsageLog.tunnel_id)).all()
    assert [(row.tunnel_id, row.bytes_up) for row in rows] == [(1, 150), (2, 150)]
    assert rows[0].id == first_id, "a row keeps its name"


def test_an_older_report_that_comes_late_takes_nothing_back() -> None:
    make_ready_pool()
    user, boot = make_user("business"), a_boot()
    usage = a_usage(user)
    record_usage(boot, [dataclasses.replace(usage, bytes_down=5000)], now=NOW, tz=TZ)
    assert record_usage(boot, [usage], now=NOW, tz=TZ) == 0
    assert month_of(user).total_bytes == 5150


def test_cost_is_bytes_times_price_exactly() -> None:
    make_ready_pool()
    user, boot = make_user("enterprise"), a_boot()
    usage = a_usage(user)
    for down in range(1, 2000, 7):
        record_usage(boot, [dataclasses.replace(usage, bytes_down=down)], now=NOW, tz=TZ)
    row = month_of(user)
    assert row.total_cost == Decimal(row.total_bytes) * 25 / 10**9


@pytest.mark.parametrize("bytes_per_gb", [10**9, 2**30, 1_000_000_007])
def test_cost_of_each_row_is_the_exact_quotient_rounded_once(bytes_per_gb: int) -> None:
    make_ready_pool()
    user, boot = make_user("enterprise"), a_boot()
    picker, usage = random.Random(bytes_per_gb), a_usage(user)
    told, exact = [], {}
    with transaction() as db:
        for tunnel_id in range(1, 40):
            price = ProviderPrice(
                provider_id=db.scalars(select(Provider.id)).one(),
                cost_per_gb=Decimal(picker.randrange(10**10)) / 10**6,
                bytes_per_gb=bytes_per_gb,
                currency="BRL",
                effective_from=NOW + timedelta(seconds=tunnel_id),
            )
            db.add(price)
            db.flush()
            down = picker.randrange(1, 10 ** picker.randrange(1, 13))
            told.append(dataclasses.replace(usage, tunnel_id=tunnel_id, price_id=price.id, bytes_down=down))
            exact[tunnel_id] = Fraction(down + 150) * Fraction(price.cost_per_gb) / bytes_per_gb
    record_usage(boot, told, now=NOW, tz=TZ)
    with transaction() as db:
        costs = {row.tunnel_id: row.cost for row in db.execute(select(UsageLog.tunnel_id, UsageLog.cost))}
    assert {key: Fraction(cost) for key, cost in costs.items()} == {
        key: Fraction(int(value * 10**15 + Fraction(1, 2)), 10**15) for key, value in exact.items()
    }


def test_usage_of_a_price_that_does_not_exist_is_refused_as_a_whole() -> None:
    make_ready_pool()
    user, boot = make_user("business"), a_boot()
    usage = a_usage(user)
    with pytest.raises(IntegrityError):
        record_usage(boot, [usage, dataclasses.replace(usage, tunnel_id=2, price_id=10**9)], now=NOW, tz=TZ)
    with transaction() as db:
        assert db.scalar(select(func.count()).select_from(UsageLog)) == 0


def test_a_row_told_twice_in_one_report_counts_once_with_its_greatest_counters() -> None:
    make_ready_pool()
    user, boot = make_user("business"), a_boot()
    usage = a_usage(user)
    told = [usage, dataclasses.replace(usage, bytes_down=4000), dataclasses.replace(usage, bytes_down=2000)]
    assert record_usage(boot, told, now=NOW, tz=TZ) == 4150


def test_usage_before_a_price_change_keeps_its_price() -> None:
    provider, _proxy = make_ready_pool()
    user, boot = make_user("enterprise"), a_boot()
    usage = a_usage(user)
    record_usage(boot, [usage], now=NOW, tz=TZ)
    with transaction() as db:
        dearer = ProviderPrice(
            provider_id=provider.id, cost_per_gb=Decimal(40), bytes_per_gb=2**30, currency="BRL", effective_from=NOW
        )
        db.add(dearer)
        db.flush()
        price_id = dearer.id
    record_usage(boot, [usage, dataclasses.replace(usage, price_id=price_id)], now=NOW, tz=TZ)
    old, new = Decimal(1150) * 25 / 10**9, (Decimal(1150) * 40 / 2**30).quantize(Decimal("1E-15"))
    assert month_of(user).total_cost == old + new


def test_every_aggregate_equals_the_ledger_after_racing_reports() -> None:
    make_ready_pool()
    users = [make_user("enterprise") for _ in range(3)]
    usages = [a_usage(user, tunnel_id=number) for number, user in enumerate(users)]
    boots = [a_boot() for _ in range(4)]
    errors: list[BaseException] = []

    def report(boot: object, seed: int) -> None:
        picker = random.Random(seed)
        try:
            for step in range(15):
                batch = [dataclasses.replace(usage, bytes_up=step * 10 + usage.tunnel_id) for usage in usages]
                picker.shuffle(batch)
                record_usage(boot, batch, now=NOW, tz=TZ)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=report, args=(boot, seed)) for seed, boot in enumerate(boots * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with transaction() as db:
        ledger, cost = db.execute(select(func.sum(UsageLog.bytes_transferred), func.sum(UsageLog.cost))).one()
        for model in (UserProxyCost, ChipUsageMonth, UsageHour, UsagePriceMonth):
            assert db.execute(select(func.sum(model.total_bytes), func.sum(model.total_cost))).one() == (ledger, cost)
        assert db.scalar(select(func.sum(Proxy.total_bytes_used))) == ledger


def test_each_threshold_is_told_once_a_month() -> None:
    make_ready_pool()
    user, boot = make_user(make_plan(proxy_gb_limit=Decimal("0.001"))), a_boot()
    usage = a_usage(user, bytes_up=0, overhead=0)
    told = []
    for down in (799_999, 800_000, 900_000, 1_000_000, 1_000_000, 1_200_000):
        record_usage(boot, [dataclasses.replace(usage, bytes_down=down)], now=NOW, tz=TZ)
        told.append(kinds_told(user))
    assert told[0] == []
    assert told[1] == told[2] == ["quota_warning"]
    assert told[3] == told[-1] == ["quota_exhausted", "quota_warning"]


def test_a_report_after_months_end_lands_in_its_own_month() -> None:
    make_ready_pool()
    user, boot = make_user("enterprise"), a_boot()
    late_hour = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)  # 23:00 of November 30 in São Paulo
    usage = a_usage(user, hour=late_hour)
    record_usage(boot, [usage], now=late_hour + timedelta(hours=9), tz=TZ)
    record_usage(boot, [dataclasses.replace(usage, hour=late_hour + timedelta(hours=1))], now=late_hour, tz=TZ)
    with transaction() as db:
        months = db.scalars(select(UserProxyCost.month_year).order_by(UserProxyCost.month_year)).all()
    assert [month.month for month in months] == [11, 12]


def test_reported_bytes_leave_the_lease_and_the_rest_comes_back_on_release() -> None:
    make_ready_pool()
    user, boot = make_user("business"), a_boot()
    usage = a_usage(user)
    leased = lease_quota(boot, user.id, MONTH, want=100_000, now=NOW)
    assert isinstance(leased.decision, Give)
    record_usage(boot, [usage], now=NOW, tz=TZ)
    assert month_of(user).leased_bytes == leased.granted_bytes - 1150
    record_usage(boot, [usage], now=NOW, tz=TZ, release=[(user.id, MONTH)])
    assert (month_of(user).leased_bytes, month_of(user).total_bytes) == (0, 1150)


def test_a_settled_boot_gives_everything_back_and_gets_no_more() -> None:
    make_ready_pool()
    user, boot = make_user("business"), a_boot()
    usage = a_usage(user)
    lease_quota(boot, user.id, MONTH, want=100_000, now=NOW)
    for _ in range(2):
        record_usage(boot, [usage], now=NOW, tz=TZ, is_last=True)
        assert (month_of(user).leased_bytes, month_of(user).total_bytes) == (0, 1150)
    with transaction() as db:
        assert db.scalars(select(QuotaLease.state)).all() == ["released"]


def chip_of(usage: MeteredUsage) -> Chip:
    with transaction() as db:
        return db.get_one(Chip, usage.chip_id)


def test_an_external_chip_is_connected_by_its_bytes_and_rests_after_a_long_silence() -> None:
    make_ready_pool()
    user, boot = make_user("business"), a_boot()
    usage = a_usage(user)
    assert chip_of(usage).status == ChipStatus.CREATED
    record_usage(boot, [usage], now=NOW, tz=TZ)
    assert (chip_of(usage).status, chip_of(usage).last_activity_at) == (ChipStatus.CONNECTED, NOW)
    assert rest_silent_chips(now=NOW + timedelta(minutes=10)) == 0
    assert rest_silent_chips(now=NOW + timedelta(minutes=21)) == 1
    assert chip_of(usage).status == ChipStatus.DISCONNECTED


def test_a_spent_month_blocks_external_chips_until_the_next_one() -> None:
    make_ready_pool()
    user, boot = make_user(make_plan(proxy_gb_limit=Decimal("0.000002"))), a_boot()
    usage, idle = a_usage(user), a_usage(user)
    record_usage(boot, [usage], now=NOW, tz=TZ)
    record_usage(boot, [dataclasses.replace(usage, bytes_up=1000)], now=NOW, tz=TZ)
    assert (chip_of(usage).status, chip_of(idle).status) == (ChipStatus.BLOCKED_QUOTA, ChipStatus.BLOCKED_QUOTA)
    later = NOW + timedelta(days=20)
    next_month = dataclasses.replace(usage, hour=usage_hour(later, TZ), bytes_up=1, last_at=later)
    record_usage(boot, [dataclasses.replace(next_month, bytes_down=2, overhead=3)], now=later, tz=TZ)
    assert chip_of(usage).status == ChipStatus.CONNECTED


def test_a_report_reads_only_the_rows_it_tells_of() -> None:
    """However many tunnels its boot has had this month, and though the statistics do not know the boot yet."""
    make_ready_pool()
    one = a_usage(make_user(make_plan(proxy_gb_limit=None)))
    many = [dataclasses.replace(one, tunnel_id=number) for number in range(1, 2001)]
    record_usage(a_boot(), many, now=NOW, tz=TZ)
    with transaction() as db:
        db.execute(text("ANALYZE proxy_usage_logs"))
    young = a_boot()
    record_usage(young, many, now=NOW, tz=TZ)
    with transaction() as db:
        some = [dataclasses.replace(usage, bytes_up=101) for usage in many[:200]]
        put_rows(db, young, some, {one.hour: MONTH}, now=NOW, is_demo=False)
        read = db.scalar(
            text(
                "SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index JOIN pg_inherits"
                " ON indrelid = inhrelid WHERE inhparent = 'proxy_usage_logs'::regclass"
            )
        )
    assert read is not None
    assert 200 <= read < 1_000  # for each its old row, and once more where it is written
