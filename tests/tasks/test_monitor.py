"""The monitor finds what somebody planted in any aggregate, puts it right, and leaves running reports alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, text

from tests.factories import NOW, TZ, make_chip, make_ready_pool, make_user
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.lease_quota import lease_quota
from whago.domain.actions.monitor import Checked, check_usage
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import (
    Assignment,
    Notification,
    Proxy,
    ProxyUsageTotal,
    UsageHour,
    UsagePriceMonth,
    User,
    UserProxyCost,
)
from whago.domain.rules.months import billing_month, month_start, next_month, previous_month, usage_hour
from whago.kit import db
from whago.kit.ids import new_id

MONTH = billing_month(NOW, TZ)


class Traffic:
    """A customer with chips on one proxy, and a gateway boot that reports for them."""

    def __init__(self, chips: int = 2, **user: object) -> None:
        self.provider, self.proxy = make_ready_pool()
        self.user: User = make_user("enterprise", **user)
        self.chips = [make_chip(self.user).chip_id for _ in range(chips)]
        self.boot = new_id()
        register_boot(self.boot, host="h", pid=1, port=1, now=NOW)
        with db.transaction() as tx:
            self.assignments = {
                one.chip_id: one.id for one in tx.scalars(select(Assignment).where(Assignment.released_at.is_(None)))
            }

    def usage(self, chip_id: UUID, count: int, *, at: datetime = NOW, tunnel: int = 1) -> MeteredUsage:
        return MeteredUsage(
            tunnel_id=tunnel,
            user_id=self.user.id,
            chip_id=chip_id,
            proxy_id=self.proxy.id,
            assignment_id=self.assignments[chip_id],
            price_id=self.provider.current_price_id or 0,
            hour=usage_hour(at, TZ),
            bytes_up=count,
            bytes_down=0,
            overhead=0,
            started_at=at,
            last_at=at,
        )

    def report(self, *usages: MeteredUsage, now: datetime = NOW) -> int:
        return record_usage(self.boot, usages, now=now, tz=TZ, open_tunnels=1)

    def move(self, now: datetime = NOW) -> None:
        """Some usage in three hours of two months."""
        self.report(
            *(
                self.usage(chip, 1000 * number + hours, at=NOW - timedelta(hours=hours), tunnel=number)
                for number, chip in enumerate(self.chips, start=1)
                for hours in (0, 1, 24 * 20)
            ),
            now=now,
        )


@pytest.fixture
def traffic(database: str) -> Traffic:
    made = Traffic()
    made.move()
    return made


def checked(*, since: datetime | None = None, now: datetime = NOW) -> Checked:
    return check_usage(since=since, now=now, tz=TZ)


def execute(sql: str, **values: object) -> None:
    with db.transaction() as tx:
        tx.execute(text(sql), values)


def everything() -> list[tuple[object, ...]]:
    """All aggregates, to compare before and after."""
    queries = (
        "SELECT user_id, month_year, total_bytes, total_cost, leased_bytes FROM user_proxy_costs ORDER BY 1, 2",
        "SELECT chip_id, month_year, total_bytes, total_cost FROM chip_usage_months ORDER BY 1, 2",
        "SELECT chip_id, provider_id, hour, total_bytes, total_cost FROM usage_hours ORDER BY 1, 2, 3",
        "SELECT month_year, chip_id, proxy_id, price_id, total_bytes, total_cost FROM usage_price_months"
        " ORDER BY 1, 2, 3, 4",
        "SELECT id, total_bytes_used FROM proxies ORDER BY 1",
    )
    with db.transaction() as tx:
        return [tuple(row) for query in queries for row in tx.execute(text(query))]


def test_it_finds_nothing_where_nothing_is_wrong(traffic: Traffic) -> None:
    before = everything()
    assert checked().repaired == []
    assert everything() == before
    with db.transaction() as tx:
        assert tx.scalars(select(Notification)).all() == []


PLANTED = {
    "user_proxy_costs": "UPDATE user_proxy_costs SET total_bytes = total_bytes + 7 WHERE month_year = :month",
    "user_proxy_costs cost": "UPDATE user_proxy_costs SET total_cost = total_cost - 1E-9 WHERE month_year = :month",
    "chip_usage_months": "UPDATE chip_usage_months SET total_bytes = 0 WHERE month_year = :month",
    "chip_usage_months lost": "DELETE FROM chip_usage_months WHERE month_year = :month",
    "chip_usage_months cost": "UPDATE chip_usage_months SET total_cost = total_cost * 2",
    "usage_price_months": "UPDATE usage_price_months SET total_bytes = total_bytes + 1 WHERE month_year = :month",
    "usage_price_months lost": "DELETE FROM usage_price_months WHERE month_year < :month",
    "usage_price_months cost": "UPDATE usage_price_months SET total_cost = total_cost + 1E-12",
    "usage_hours": "UPDATE usage_hours SET total_bytes = total_bytes - 1 WHERE hour = :hour",
    "usage_hours lost": "DELETE FROM usage_hours WHERE hour < :hour",
    "usage_hours moved": "UPDATE usage_hours SET hour = hour + interval '1 hour' WHERE hour = :hour",
    "proxies": "UPDATE proxies SET total_bytes_used = total_bytes_used - 5",
    "leased": "UPDATE user_proxy_costs SET leased_bytes = leased_bytes + 3 WHERE month_year = :month",
}


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("since", [None, NOW - timedelta(minutes=5)], ids=["whole", "what moved"])
def test_it_finds_and_repairs_what_was_planted(traffic: Traffic, planted: str, since: datetime | None) -> None:
    lease_quota(traffic.boot, traffic.user.id, MONTH, want=1000, now=NOW)
    assert checked().repaired == []
    right = everything()
    execute(PLANTED[planted].replace(":hour", "CAST(:hour AS timestamptz)"), **_used(PLANTED[planted]))
    assert everything() != right
    found = checked(since=since).repaired
    assert {one.aggregate for one in found} == {
        "leased": {"user_proxy_costs.leased_bytes"},
    }.get(planted, {planted.partition(" ")[0]})
    after = everything()
    assert [row for row in after if row not in right and row[-1] != 0 and row[-2] != 0] == []
    assert [row for row in right if row not in after] == []
    assert checked(since=since).repaired == []


def _used(sql: str) -> dict[str, object]:
    values: dict[str, object] = {"month": MONTH, "hour": usage_hour(NOW, TZ)}
    return {name: value for name, value in values.items() if f":{name}" in sql}


def test_several_customers_are_repaired_in_one_run(database: str) -> None:
    provider, proxy = make_ready_pool()
    many = []
    for _ in range(3):
        one = Traffic.__new__(Traffic)
        one.provider, one.proxy, one.user = provider, proxy, make_user("enterprise")
        one.chips = [make_chip(one.user).chip_id]
        one.boot = new_id()
        register_boot(one.boot, host="h", pid=1, port=1, now=NOW)
        with db.transaction() as tx:
            one.assignments = {a.chip_id: a.id for a in tx.scalars(select(Assignment))}
        one.move()
        many.append(one)
    right = everything()
    execute("UPDATE user_proxy_costs SET total_bytes = total_bytes + 1")
    assert {one.keys["user_id"] for one in checked().repaired} == {one.user.id for one in many}
    assert everything() == right


def test_it_tells_every_administrator_once_a_day(traffic: Traffic) -> None:
    admins = [make_user(role="admin"), make_user(role="admin")]
    for _ in range(3):
        execute("UPDATE user_proxy_costs SET total_bytes = total_bytes + 1")
        assert checked().repaired
    with db.transaction() as tx:
        told = tx.scalars(select(Notification)).all()
    assert {one.user_id for one in told} == {admin.id for admin in admins}
    assert len(told) == 2
    assert {one.kind for one in told} == {"ledger_mismatch"}
    assert told[0].data["differences"][0]["aggregate"] == "user_proxy_costs"
    execute("UPDATE user_proxy_costs SET total_bytes = total_bytes + 1")
    assert checked(now=NOW + timedelta(days=1)).repaired
    with db.transaction() as tx:
        assert len(tx.scalars(select(Notification)).all()) == 4


def test_a_closed_month_is_left_alone(traffic: Traffic) -> None:
    long_after = datetime(2027, 3, 10, tzinfo=UTC)
    execute("UPDATE user_proxy_costs SET total_bytes = total_bytes + 1")
    wrong = everything()
    assert [one for one in checked(now=long_after).repaired if one.aggregate != "proxies"] == []
    assert everything() == wrong


def test_what_did_not_move_is_not_added_up(traffic: Traffic) -> None:
    execute("UPDATE user_proxy_costs SET total_bytes = total_bytes + 7")
    later = checked(since=NOW + timedelta(hours=1), now=NOW + timedelta(hours=1))
    assert (later.months, later.repaired) == (0, [])
    assert checked(since=None).repaired != []


def test_a_late_report_lands_in_its_month_and_agrees(traffic: Traffic) -> None:
    checked()
    later = NOW + timedelta(days=20)
    traffic.report(traffic.usage(traffic.chips[0], 5000, at=NOW + timedelta(hours=1), tunnel=9), now=later)
    result = checked(since=later - timedelta(minutes=5), now=later)
    assert (result.months, result.repaired) == (1, [])


def test_a_proxy_keeps_its_total_over_runs_that_only_see_what_moved(traffic: Traffic) -> None:
    checked()
    now = NOW
    for step in range(3):
        now += timedelta(hours=1)
        traffic.report(traffic.usage(traffic.chips[0], 100 + step, at=now, tunnel=50 + step), now=now)
        assert checked(since=now - timedelta(minutes=5), now=now).repaired == []
    with db.transaction() as tx:
        kept = tx.scalars(select(ProxyUsageTotal)).one()
        by_price = sum(one.total_bytes for one in tx.scalars(select(UsagePriceMonth)))
        assert (kept.before, kept.total_bytes) == (previous_month(MONTH), 0)
        assert by_price == tx.scalars(select(Proxy)).one().total_bytes_used


def test_a_late_report_of_a_long_closed_month_stays_in_its_proxy_s_total(traffic: Traffic) -> None:
    checked()
    later = NOW + timedelta(days=120)
    traffic.report(traffic.usage(traffic.chips[0], 5000, at=NOW + timedelta(hours=1), tunnel=9), now=later)
    used = everything()
    for _ in range(2):
        assert checked(since=later - timedelta(minutes=5), now=later).repaired == []
    assert everything() == used
    execute("UPDATE proxies SET total_bytes_used = total_bytes_used - 1")
    found = checked(since=later - timedelta(minutes=5), now=later).repaired
    assert [(one.aggregate, one.expected_bytes - (one.found_bytes or 0)) for one in found] == [("proxies", 1)]
    assert everything() == used


def test_what_was_reported_after_the_month_s_end_is_in_the_month_it_flowed_in(traffic: Traffic) -> None:
    """The last hour of November, reported on 1 December: billed and proved in November, at November's price."""
    end = month_start(next_month(MONTH), TZ)
    checked()
    before = {row.month_year: (row.total_bytes, row.total_cost) for row in _months()}
    traffic.report(
        traffic.usage(traffic.chips[0], 4000, at=end - timedelta(minutes=1), tunnel=70),
        traffic.usage(traffic.chips[0], 9, at=end, tunnel=70),
        now=end + timedelta(minutes=3),
    )
    after = {row.month_year: (row.total_bytes, row.total_cost) for row in _months()}
    assert after[MONTH] == (before[MONTH][0] + 4000, before[MONTH][1] + Decimal("0.0001"))
    assert after[next_month(MONTH)] == (9, Decimal("0.000000225"))
    result = checked(since=end, now=end + timedelta(minutes=5))
    assert (result.months, result.repaired) == (2, [])
    execute("UPDATE chip_usage_months SET total_bytes = total_bytes + 1 WHERE month_year = :month", month=MONTH)
    found = checked(since=end, now=end + timedelta(minutes=10)).repaired
    assert {(one.aggregate, one.keys["month_year"]) for one in found} == {("chip_usage_months", MONTH)}


def test_customers_past_a_lowered_limit_are_counted_not_repaired(traffic: Traffic) -> None:
    lease_quota(traffic.boot, traffic.user.id, MONTH, want=10_000, now=NOW)
    assert checked().over_limit == []
    execute("UPDATE plans SET proxy_gb_limit = 0.000001 WHERE slug = 'enterprise'")
    result = checked()
    assert (result.over_limit, result.repaired) == ([traffic.user.id], [])
    execute("UPDATE plans SET on_limit = 'bill' WHERE slug = 'enterprise'")
    assert checked().over_limit == []


def test_two_monitors_at_once_repair_once(traffic: Traffic) -> None:
    checked()
    right = everything()
    execute("UPDATE proxies SET total_bytes_used = total_bytes_used - 1000")
    execute("UPDATE user_proxy_costs SET total_bytes = total_bytes + 1")
    gate = threading.Barrier(3)
    found: list[Checked] = []

    def monitor() -> None:
        gate.wait()
        found.append(checked())

    run_all([monitor] * 3)
    assert len([one for result in found for one in result.repaired if one.aggregate == "proxies"]) == 1
    assert everything() == right


def test_a_monitor_beside_running_reports_never_disturbs_them(traffic: Traffic) -> None:
    """Reports of four threads race with monitors, and with somebody who spoils aggregates; in the end all agree."""
    stop = threading.Event()
    sent: dict[int, int] = {}

    def reporter(number: int) -> None:
        total = 0
        while not stop.is_set():
            total += 100
            chip = traffic.chips[number % 2]
            traffic.report(traffic.usage(chip, total, tunnel=100 + number))
            sent[number] = total

    def vandal() -> None:
        for _ in range(5):
            execute("UPDATE user_proxy_costs SET total_bytes = total_bytes + 1 WHERE month_year = :month", month=MONTH)
            execute("UPDATE proxies SET total_bytes_used = total_bytes_used - 3")
            stop.wait(0.05)

    def monitor() -> None:
        for _ in range(8):
            checked(since=NOW - timedelta(minutes=1))
        stop.set()

    before = sum(row.total_bytes for row in _months())
    run_all([*(partial(reporter, number) for number in range(4)), vandal, monitor])
    checked()
    assert checked().repaired == []
    moved = sum(sent.values())
    assert moved > 0
    assert sum(row.total_bytes for row in _months()) == before + moved
    with db.transaction() as tx:
        assert tx.scalars(select(Proxy)).one().total_bytes_used == before + moved
        assert sum(hour.total_bytes for hour in tx.scalars(select(UsageHour))) == before + moved


def _months() -> list[UserProxyCost]:
    with db.transaction() as tx:
        return list(tx.scalars(select(UserProxyCost)))


def run_all(jobs: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(jobs)) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result(120)


def test_it_works_in_a_zone_with_half_hours(database: str) -> None:
    made = Traffic()
    made.report(made.usage(made.chips[0], 10), now=NOW)
    kolkata = ZoneInfo("Asia/Kolkata")
    hour = usage_hour(NOW, kolkata)
    execute("UPDATE usage_hours SET hour = :hour", hour=hour)
    execute("UPDATE proxy_usage_logs SET hour = :hour", hour=hour)
    assert check_usage(since=None, now=NOW, tz=kolkata).repaired == []
