"""Alerts: one open per kind and subject, whoever races; told to whom it concerns, and its end to who was told."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.factories import NOW, make_user
from whago.domain.actions.alerts import acknowledge_alert
from whago.domain.models import Alert, Notification, Severity, User, clear_alert, raise_alert
from whago.domain.models.alerting import SUBJECT_MAX_CHARS, clear_calm, clear_others
from whago.domain.queries.alerts import count_open_alerts, list_alerts
from whago.errors import WhagoError
from whago.kit.db import transaction
from whago.kit.ids import new_id

pytestmark = pytest.mark.usefixtures("database")


def raised(kind: str = "provider_down", subject: str = "p", **fields: Any) -> bool:
    with transaction() as db:
        return raise_alert(db, kind, subject, **({"now": NOW, "severity": Severity.ERROR} | fields))


def cleared(kind: str = "provider_down", subject: str = "p", **fields: Any) -> bool:
    with transaction() as db:
        return clear_alert(db, kind, subject, **({"now": NOW} | fields))


def all_of(model: type[Any]) -> list[Any]:
    with transaction() as db:
        return list(db.scalars(select(model)))


def told() -> set[tuple[object, str]]:
    return {(one.user_id, one.level) for one in all_of(Notification)}


def test_seeing_it_again_is_no_new_alert_but_keeps_it_fresh() -> None:
    make_user(role="admin")
    assert raised(data={"provider": "A"})
    assert not raised(now=NOW + timedelta(minutes=5), data={"provider": "B"})
    (alert,) = all_of(Alert)
    assert (alert.raised_at, alert.last_seen_at) == (NOW, NOW + timedelta(minutes=5))
    assert alert.data == {"provider": "B"}
    assert len(all_of(Notification)) == 1


def test_of_many_who_find_it_at_once_one_tells() -> None:
    make_user(role="admin")
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: raised(), range(24)))
    assert results.count(True) == 1
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda _: cleared(), range(24)))
    assert ends.count(True) == 1
    assert [one.level for one in all_of(Notification)] == ["error", "success"]


def test_it_can_come_again_after_its_end() -> None:
    make_user(role="admin")
    assert [raised(), cleared(), raised(), cleared(), cleared()] == [True, True, True, True, False]
    assert len(all_of(Notification)) == 4


def test_it_is_told_to_whom_it_concerns() -> None:
    admins = [make_user(role="admin") for _ in range(2)]
    make_user(role="admin", is_active=False)
    make_user(role="admin", deleted_at=NOW)
    owner = make_user()
    raised("exit_ip_changed", user_id=owner.id)
    assert told() == {(owner.id, "error")}
    raised("chip_cost_spike", user_id=owner.id, to_admins=True)
    assert {user_id for user_id, _level in told()} == {owner.id, *(one.id for one in admins)}


def test_its_end_is_told_to_who_was_told_of_it() -> None:
    first = make_user(role="admin")
    raised(data={"provider": "A"})
    make_user(role="admin")  # came later
    cleared(data={"note": "x"})
    assert told() == {(first.id, "error"), (first.id, "success")}
    assert all_of(Notification)[-1].data == {"provider": "A", "note": "x"}


def test_a_silent_end_tells_nobody() -> None:
    make_user(role="admin")
    raised()
    assert cleared(tell=False)
    assert len(all_of(Notification)) == 1


def test_without_any_administrator_it_is_still_on_record() -> None:
    assert raised()
    assert len(all_of(Alert)) == 1


def test_what_is_not_among_the_troubled_any_more_is_over() -> None:
    for subject in ("a", "b", "c"):
        raised(subject=subject)
    raised("proxy_ejected", "z")
    with transaction() as db:
        assert clear_others(db, "provider_down", ["b"], now=NOW) == 2
    assert {(one.kind, one.subject) for one in list_alerts().items} == {("provider_down", "b"), ("proxy_ejected", "z")}


def test_what_was_not_seen_for_a_while_is_over() -> None:
    raised(subject="old")
    raised(subject="fresh", now=NOW + timedelta(minutes=50))
    with transaction() as db:
        assert clear_calm(db, "provider_down", now=NOW + timedelta(hours=1), calm=timedelta(hours=1)) == 1
    assert [one.subject for one in list_alerts().items] == ["fresh"]


def test_a_long_subject_is_cut_everywhere_alike() -> None:
    long = "x" * (SUBJECT_MAX_CHARS + 50)
    assert raised(subject=long)
    assert not raised(subject=long)
    with transaction() as db:
        assert clear_others(db, "provider_down", [long], now=NOW) == 0
    assert cleared(subject=long)


def test_it_does_not_end_before_it_began() -> None:
    raised()
    assert cleared(now=NOW - timedelta(hours=1))
    (alert,) = all_of(Alert)
    assert alert.cleared_at == alert.raised_at


def test_what_is_taken_back_was_never_raised() -> None:
    make_user(role="admin")
    with contextlib.suppress(RuntimeError), transaction() as db:
        assert raise_alert(db, "provider_down", "p", now=NOW, severity=Severity.ERROR)
        raise RuntimeError
    assert all_of(Alert) == all_of(Notification) == []


def test_the_first_who_looks_after_it_stays_on_record() -> None:
    admins: list[User] = [make_user(role="admin") for _ in range(2)]
    raised()
    (alert,) = all_of(Alert)
    assert count_open_alerts() == 1
    for admin in admins:
        acknowledge_alert(admin.id, alert.id, now=NOW)
    (shown,) = list_alerts().items
    assert (shown.acknowledged_by, shown.cleared_at) == (admins[0].name, None)
    assert count_open_alerts() == 0
    with pytest.raises(WhagoError, match="Not found"):
        acknowledge_alert(admins[0].id, new_id(), now=NOW)


def test_the_list_goes_on_where_it_ended() -> None:
    for number in range(5):
        raised(subject=str(number), now=NOW + timedelta(minutes=number))
    first = list_alerts(limit=3)
    rest = list_alerts(limit=3, cursor=first.next_cursor)
    assert [one.subject for one in [*first.items, *rest.items]] == ["4", "3", "2", "1", "0"]
    assert rest.next_cursor is None
