"""Days that are over are added up once; readers see the same numbers with and without them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete, select, update

from tests.e2e.seeding import Meter, make_account, new_chip, ready_pool
from whago.domain.actions import usage_days
from whago.domain.actions.usage_days import DAYS_BACK, LATE, roll_days
from whago.domain.models import UsageChipDay, UsageDay, UsageDayMark, UsageHour, UsageProviderDay, User
from whago.domain.queries.course import Course, SplitBy, course
from whago.domain.queries.days import days_of_all, providers_of_month, today_in
from whago.domain.rules.months import day_start
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import reading, transaction

DAY = timedelta(days=1)


@pytest.fixture
def traffic(database: str, vault: Vault, tz: ZoneInfo) -> Meter:
    """Two customers, two months of days, both providers' worth of hours."""
    ready_pool(vault)
    meter = Meter.start()
    for number in (1, 2):
        chip = new_chip(make_account("enterprise", name=f"C{number}"), "Suporte").chip_id
        for back in range(0, 40, 3):
            meter.move(chip, number * 1_000_000 + back, at=clock.now() - back * DAY)
    return meter


def sums(now: datetime, tz: ZoneInfo) -> dict[date, tuple[int, Decimal]]:
    first = now.astimezone(tz).date() - 45 * DAY
    return {day: total for day, total in days_of_all(first, now=now, tz=tz).items() if total[0]}


def split(by: SplitBy, now: datetime, tz: ZoneInfo, owner: UUID | None = None) -> tuple[object, object]:
    found: Course = course(owner, by=by, first=now.astimezone(tz).date() - 45 * DAY, now=now, tz=tz)
    return found.parts, sorted((point.day, str(point.id), point.bytes, point.cost) for point in found.points)


def test_readers_see_the_same_before_and_after(traffic: Meter, tz: ZoneInfo) -> None:
    now = clock.now()
    before, parts_before = sums(now, tz), split("customer", now, tz)
    assert len(before) == 14
    assert roll_days(now=now, tz=tz) == DAYS_BACK
    assert sums(now, tz) == before
    assert split("customer", now, tz) == parts_before
    with reading() as db:
        assert db.scalars(select(UsageDay)).first() is not None


@pytest.fixture
def customer(traffic: Meter) -> UUID:
    """One of the two, whose second chip moved bytes today and ten days ago."""
    with reading() as db:
        owner = db.scalars(select(User).where(User.name == "C1")).one()
    chip = new_chip(owner, "Vendas").chip_id
    for back in (0, 10):
        traffic.move(chip, 9_000_000, at=clock.now() - back * DAY)
    return owner.id


def test_a_customer_s_chips_are_the_same_before_and_after(customer: UUID, tz: ZoneInfo) -> None:
    now = clock.now()
    before = split("chip", now, tz, customer)
    roll_days(now=now, tz=tz)
    assert split("chip", now, tz, customer) == before
    with transaction() as db:
        db.execute(delete(UsageChipDay))
    assert split("chip", now, tz, customer) != before  # so it was them that were read


def test_chips_of_a_day_that_the_version_before_added_up_are_read_from_its_hours(customer: UUID, tz: ZoneInfo) -> None:
    """Beside this version it writes the customers' days and moves ``as_of`` alone."""
    now = clock.now()
    before = split("chip", now, tz, customer)
    roll_days(now=now, tz=tz)
    day = now.astimezone(tz).date() - 10 * DAY
    with transaction() as db:
        db.execute(delete(UsageChipDay).where(UsageChipDay.day == day))
        db.execute(update(UsageDayMark).where(UsageDayMark.day == day).values(as_of=now + timedelta(seconds=1)))
    assert split("chip", now, tz, customer) == before
    later = now + timedelta(seconds=2)
    assert roll_days(now=later, tz=tz) >= 1
    with reading() as db:
        mark = db.get_one(UsageDayMark, day)
        assert mark.as_of == mark.chips_as_of == later
    assert split("chip", now, tz, customer) == before


def test_days_of_chips_are_kept_for_two_months_only(customer: UUID, tz: ZoneInfo) -> None:
    now = clock.now()
    roll_days(now=now, tz=tz)
    later = now + 60 * DAY
    with reading() as db:
        assert db.scalars(select(UsageChipDay)).first() is not None
    roll_days(now=later, tz=tz)
    first = later.astimezone(tz).date() - DAYS_BACK * DAY
    with reading() as db:
        assert db.scalars(select(UsageChipDay).where(UsageChipDay.day < first)).all() == []
        kept = db.scalars(select(UsageDayMark).where(UsageDayMark.day < first)).all()
        assert kept
        assert all(one.chips_as_of is None for one in kept)


def month_of_providers(now: datetime, tz: ZoneInfo) -> dict[UUID, tuple[int, Decimal]]:
    with reading() as db:
        return providers_of_month(db, now=now, tz=tz)


def test_providers_are_the_same_before_and_after(traffic: Meter, tz: ZoneInfo) -> None:
    now = clock.now()
    before, month = split("provider", now, tz), month_of_providers(now, tz)
    roll_days(now=now, tz=tz)
    assert split("provider", now, tz) == before
    assert month_of_providers(now, tz) == month
    with transaction() as db:
        db.execute(delete(UsageProviderDay))
    assert split("provider", now, tz) != before  # so it was them that were read


def test_a_provider_s_month_counts_a_late_report_at_once(traffic: Meter, tz: ZoneInfo) -> None:
    """One of a day that was added up, which no clock has added up again yet."""
    now = clock.now().astimezone(tz).replace(day=20, hour=12)
    chip = new_chip(make_account("enterprise", name="C3"), "Suporte").chip_id
    traffic.move(chip, 1_000, at=now - 2 * DAY)
    roll_days(now=now, tz=tz)
    (before,) = month_of_providers(now, tz).values()
    traffic.move(chip, 5_000_000, at=now - DAY)
    (after,) = month_of_providers(now, tz).values()
    assert after[0] > before[0]
    assert after[1] > before[1]


def test_today_moves_with_every_report(traffic: Meter, tz: ZoneInfo) -> None:
    now = clock.now()
    roll_days(now=now, tz=tz)
    with reading() as db:
        before = today_in(db, now=now, tz=tz)
    chip = new_chip(make_account("enterprise"), "Novo").chip_id
    traffic.move(chip, 500_000)
    with reading() as db:
        after = today_in(db, now=clock.now(), tz=tz)
    assert after[0] - before[0] == 500_000
    assert after[1] - before[1] == Decimal("0.0125")


def test_nothing_is_added_up_twice(traffic: Meter, tz: ZoneInfo) -> None:
    now = clock.now()
    roll_days(now=now, tz=tz)
    quiet = now + LATE + timedelta(minutes=1)
    roll_days(now=quiet, tz=tz)  # what moved a moment before the first round is looked at once more
    assert roll_days(now=quiet + timedelta(minutes=5), tz=tz) == 0


def test_a_late_report_is_taken_in(traffic: Meter, tz: ZoneInfo) -> None:
    now = clock.now()
    roll_days(now=now, tz=tz)
    chip = new_chip(make_account("enterprise"), "Atrasado").chip_id
    at = now - 5 * DAY
    traffic.move(chip, 7_000_000, at=at)
    roll_days(now=clock.now(), tz=tz)
    day = at.astimezone(tz).date()
    with reading() as db:
        mark = db.get_one(UsageDayMark, day)
        hours = db.scalars(
            select(UsageHour.total_bytes).where(
                UsageHour.hour >= day_start(day, tz), UsageHour.hour < day_start(day + DAY, tz)
            )
        )
        assert mark.total_bytes == sum(hours) >= 7_000_000


def test_a_day_that_is_missing_is_read_from_its_hours(traffic: Meter, tz: ZoneInfo) -> None:
    now = clock.now()
    expected = sums(now, tz)
    roll_days(now=now, tz=tz)
    with transaction() as db:
        db.execute(delete(UsageDayMark).where(UsageDayMark.day == now.astimezone(tz).date() - 6 * DAY))
        db.execute(delete(UsageDay).where(UsageDay.day == now.astimezone(tz).date() - 6 * DAY))
    assert sums(now, tz) == expected
    assert roll_days(now=now, tz=tz) >= 1
    assert sums(now, tz) == expected


def test_a_round_that_was_cut_off_goes_on_where_it_stopped(
    traffic: Meter, tz: ZoneInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, real, done = clock.now(), usage_days._roll, []

    def cut_off(*args: object) -> None:
        if len(done) == 20:
            raise KeyboardInterrupt
        done.append(args)
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(usage_days, "_roll", cut_off)
    with pytest.raises(KeyboardInterrupt):
        roll_days(now=now, tz=tz)
    monkeypatch.undo()
    expected = sums(now, tz)
    assert roll_days(now=now, tz=tz) >= DAYS_BACK - 20
    assert sums(now, tz) == expected


def test_days_are_those_of_the_billing_zone(database: str, vault: Vault, tz: ZoneInfo) -> None:
    ready_pool(vault)
    chip = new_chip(make_account("enterprise"), "Suporte").chip_id
    midnight = day_start(clock.now().astimezone(tz).date() - 3 * DAY, tz)
    meter = Meter.start()
    meter.move(chip, 1_000, at=midnight - timedelta(minutes=1))
    meter.move(chip, 2_000, at=midnight)
    roll_days(now=clock.now(), tz=tz)
    found = sums(clock.now(), tz)
    day = midnight.astimezone(tz).date()
    assert (found[day - DAY][0], found[day][0]) == (1_000, 2_000)


def test_a_repaired_hour_is_followed(traffic: Meter, tz: ZoneInfo) -> None:
    now = clock.now()
    roll_days(now=now, tz=tz)
    day = now.astimezone(tz).date() - 3 * DAY
    later = now + timedelta(hours=1)
    with transaction() as db:
        db.execute(
            update(UsageHour)
            .where(UsageHour.hour >= day_start(day, tz), UsageHour.hour < day_start(day + DAY, tz))
            .values(total_bytes=42, changed_at=later)
        )
    roll_days(now=later, tz=tz)
    with reading() as db:
        assert db.get_one(UsageDayMark, day).total_bytes == 42 * 2
