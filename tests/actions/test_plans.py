"""Plans at the level of actions: races, what a change tells the gateways, and whom it frees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import select, update

from tests.actions.test_accounts import outcomes
from tests.factories import make_chip, make_plan, make_ready_pool, make_user
from whago.domain.actions.plans import PlanFields, create_plan, delete_plan, update_plan
from whago.domain.actions.users import UserFields, update_user
from whago.domain.models import Chip, ChipStatus, Plan, User, UserProxyCost
from whago.domain.rules.months import billing_month
from whago.errors import WhagoError
from whago.kit.db import CHANNEL, driver_url, transaction

PRO = PlanFields("Pro", "pro", Decimal(150), max_chips=5, proxy_gb_limit=Decimal("2.5"), on_limit="block")


class Listener:
    """What a gateway would hear."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection

    def heard(self) -> list[tuple[str, str | None]]:
        told = [json.loads(notice.payload) for notice in self._connection.notifies(timeout=0.5)]
        return [(one["kind"], one["id"]) for one in told]


@pytest.fixture
def listener(database: str) -> Iterator[Listener]:
    with psycopg.connect(driver_url(database), autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        yield Listener(connection)


def put_on(plan: Plan, user: User) -> UserFields:
    return UserFields(user.name, user.email, user.role, plan.id, is_active=True, language=None)


def test_eight_plans_of_one_slug_are_one(database: str, noon: datetime) -> None:
    assert outcomes([lambda: create_plan(None, PRO, now=noon)] * 8) == ["done"] + ["slug_taken"] * 7


def test_two_new_defaults_at_once_leave_one(database: str, noon: datetime) -> None:
    calls = [
        lambda slug=slug: create_plan(None, replace(PRO, slug=slug, is_default=True), now=noon)  # type: ignore[misc]
        for slug in ("one", "two", "three")
    ]
    assert outcomes(calls) == ["done"] * 3
    with transaction() as db:
        assert len(db.scalars(select(Plan).where(Plan.is_default)).all()) == 1


def test_a_plan_cannot_vanish_under_a_user_who_is_just_put_on_it(database: str, noon: datetime, tz: ZoneInfo) -> None:
    admin = make_user(role="admin")
    for _ in range(5):
        plan, user = make_plan(), make_user()
        found = outcomes(
            [
                lambda plan=plan: delete_plan(admin.id, plan.id, now=noon),  # type: ignore[misc]
                lambda plan=plan, user=user: update_user(admin.id, user.id, put_on(plan, user), now=noon, tz=tz),  # type: ignore[misc]
            ]
        )
        assert found in (["done", "invalid_input"], ["done", "plan_in_use"])


def test_a_changed_limit_is_told_to_every_gateway(
    database: str, listener: Listener, noon: datetime, tz: ZoneInfo
) -> None:
    plan_id = create_plan(None, PRO, now=noon)
    assert listener.heard() == []
    update_plan(None, plan_id, replace(PRO, proxy_gb_limit=None), now=noon, tz=tz)
    assert listener.heard() == [("quota", None)]


def test_another_plan_of_a_user_is_told_for_that_user(
    database: str, listener: Listener, noon: datetime, tz: ZoneInfo
) -> None:
    admin, user = make_user(role="admin"), make_user()
    update_user(admin.id, user.id, put_on(make_plan(), user), now=noon, tz=tz)
    assert set(listener.heard()) == {("quota", str(user.id)), ("user", str(user.id))}


@pytest.mark.parametrize(
    ("limit_gb", "status"), [("0.9", "blocked_quota"), ("1.1", "disconnected"), (None, "disconnected")]
)
def test_a_higher_limit_frees_blocked_chips_and_only_then(
    database: str, noon: datetime, tz: ZoneInfo, limit_gb: str | None, status: str
) -> None:
    make_ready_pool()
    plan = make_plan(proxy_gb_limit=Decimal("0.5"), slug="pro")
    user = make_user(plan)
    chip = make_chip(user)
    with transaction() as db:
        db.execute(update(Chip).values(status=ChipStatus.BLOCKED_QUOTA, status_reason="quota_exhausted"))
        db.add(UserProxyCost(user_id=user.id, month_year=billing_month(noon, tz), total_bytes=10**9, last_updated=noon))
    wanted = replace(PRO, proxy_gb_limit=Decimal(limit_gb) if limit_gb else None)
    update_plan(None, plan.id, wanted, now=noon, tz=tz)
    with transaction() as db:
        found = db.get(Chip, chip.chip_id)
        assert found is not None
        assert found.status == status


def test_a_deleted_users_plan_can_go(database: str, noon: datetime) -> None:
    plan = make_plan()
    make_user(plan, deleted_at=noon)
    delete_plan(None, plan.id, now=noon)
    with pytest.raises(WhagoError):
        delete_plan(None, plan.id, now=noon)
