"""What gateways and probes tell of proxies: weights, streaks, ejections, accounts in trouble, alerts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, select, text

from tests.factories import NOW, TZ, make_chip, make_provider, make_proxy, make_user
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.pool import ProxyFields, update_proxy
from whago.domain.actions.pool_health import Attempt, count_exit_changes, record_probe, score_pool, tell_pool_state
from whago.domain.actions.record_usage import record_usage
from whago.domain.models import Alert, Assignment, Notification, Provider, Proxy, User
from whago.domain.models.dialled import SessionDials, take_dials
from whago.domain.rules.health import FORGIVEN_AFTER, HALF_LIFE_S, Blame, Eject, Return
from whago.kit import db
from whago.kit.crypto import Vault
from whago.kit.ids import new_id

GOOD = Attempt(success=True, latency_ms=100)
DEAD = Attempt(success=False, error="No exit.", diagnosis="no_exit", speaks_against=Blame.PROXY)
BROKE = Attempt(success=False, error="Empty.", diagnosis="balance_empty", speaks_against=Blame.ACCOUNT)
PAGE = Attempt(success=False, error="404.", diagnosis="target_refused", speaks_against=Blame.TARGET)


@pytest.fixture
def proxy(database: str, vault: Vault) -> Proxy:
    return make_proxy(make_provider(vault))


@pytest.fixture
def user(database: str) -> User:
    return make_user("enterprise")


def assignment_of(chip_id: UUID) -> Assignment:
    with db.transaction() as tx:
        return tx.scalars(
            select(Assignment).where(Assignment.chip_id == chip_id, Assignment.released_at.is_(None))
        ).one()


def put_chips(user: User, count: int) -> list[Assignment]:
    return [assignment_of(make_chip(user).chip_id) for _ in range(count)]


def tell(*dials: tuple[Assignment, dict[str, int]], at: datetime = NOW) -> None:
    with db.transaction() as tx:
        take_dials(tx, [SessionDials(one.id, one.proxy_id, **counts) for one, counts in dials], at)


def reread(proxy: Proxy) -> Proxy:
    with db.transaction() as tx:
        return tx.get_one(Proxy, proxy.id)


def account(proxy: Proxy) -> Provider:
    with db.transaction() as tx:
        return tx.get_one(Provider, proxy.provider_id)


def execute(sql: str, **values: Any) -> None:
    with db.transaction() as tx:
        tx.execute(text(sql), values)


def open_alerts() -> set[tuple[str, str]]:
    with db.transaction() as tx:
        return {(kind, subject) for kind, subject in tx.execute(
            select(Alert.kind, Alert.subject).where(Alert.cleared_at.is_(None))
        )}  # fmt: skip


def test_a_report_brings_its_dials_in_one_statement_more(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    boot = new_id()
    register_boot(boot, host="h", pid=1, port=1, now=NOW)

    def statements(*dials: SessionDials) -> int:
        seen: list[str] = []

        def hear(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
            seen.append(sql)

        event.listen(db.engine(), "before_cursor_execute", hear)
        record_usage(boot, [], now=NOW, tz=TZ, open_tunnels=1, dials=dials)
        event.remove(db.engine(), "before_cursor_execute", hear)
        return len(seen)

    without = statements()
    assert statements(SessionDials(one.id, proxy.id, established=4, took_ms=480)) == without + 1
    told = reread(proxy)
    assert (told.ok_weight, told.latency_ms, told.last_ok_at, told.last_dial_at) == (4.0, 120, NOW, NOW)
    assert assignment_of(one.chip_id).first_ok_at == NOW


def test_weights_decay_between_reports(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    tell((one, {"established": 8}))
    tell((one, {"failed": 1}), at=NOW + timedelta(seconds=HALF_LIFE_S))
    told = reread(proxy)
    assert told.ok_weight == pytest.approx(4.0)
    assert told.bad_weight == pytest.approx(1.0)


def test_a_session_s_failures_count_since_it_last_worked(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    tell((one, {"failed": 1}))
    tell((one, {"failed": 2}), at=NOW + timedelta(seconds=5))
    failing = assignment_of(one.chip_id)
    assert (failing.failures, failing.failing_since) == (3, NOW)
    tell((one, {"established": 1, "failed": 1}), at=NOW + timedelta(seconds=6))
    well = assignment_of(one.chip_id)
    assert (well.failures, well.failing_since) == (0, None)


def test_a_failure_after_old_refusals_begins_its_own_time(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    tell((one, {"refused": 3}))
    later = NOW + timedelta(hours=1)
    tell((one, {"failed": 1}), at=later)
    assert assignment_of(one.chip_id).failing_since == later


def test_the_latency_is_a_running_average(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    tell((one, {"established": 1, "took_ms": 100}))
    tell((one, {"established": 2, "took_ms": 1200}))
    assert reread(proxy).latency_ms == 200


def test_one_dead_session_among_many_does_not_eject_its_proxy(proxy: Proxy, user: User) -> None:
    dead, *_ = put_chips(user, 5)
    for second in range(20):
        tell((dead, {"failed": 1}), at=NOW + timedelta(seconds=second))
    assert score_pool(now=NOW) == []
    told = reread(proxy)
    assert (told.consecutive_failures, told.ejected_until) == (1, None)
    assert told.health_score >= 60


def test_three_dead_sessions_in_a_row_eject_it(proxy: Proxy, user: User) -> None:
    chips = put_chips(user, 5)
    tell(*((one, {"failed": 7}) for one in chips[:2]))
    assert score_pool(now=NOW) == []
    tell((chips[2], {"failed": 1}))
    (turn,) = score_pool(now=NOW)
    assert isinstance(turn.decision, Eject)
    assert reread(proxy).ejections == 1
    assert score_pool(now=NOW) == []


def test_a_success_of_any_session_ends_the_row(proxy: Proxy, user: User) -> None:
    chips = put_chips(user, 5)
    tell(*((one, {"failed": 1}) for one in chips[:2]))
    tell((chips[3], {"established": 1}))
    tell((chips[4], {"failed": 1}))
    assert reread(proxy).consecutive_failures == 1
    assert score_pool(now=NOW) == []


def test_a_proxy_with_one_chip_is_ejected_after_its_three_failures(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    tell((one, {"failed": 2}))
    assert score_pool(now=NOW) == []
    tell((one, {"failed": 1}))
    assert len(score_pool(now=NOW)) == 1


def test_dials_under_an_assignment_that_is_over_change_no_session(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    execute("UPDATE chip_proxy_assignments SET released_at = assigned_at")
    tell((one, {"failed": 3}))
    with db.transaction() as tx:
        assert tx.scalars(select(Assignment.failures)).one() == 0


def test_rows_that_are_held_are_left_out_and_not_waited_for(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    with db.transaction() as holder:
        holder.scalars(select(Proxy).with_for_update()).all()
        tell((one, {"failed": 1}))
    assert reread(proxy).bad_weight == 0
    assert assignment_of(one.chip_id).failures == 1


def test_an_ejected_proxy_returns_after_a_good_trial(proxy: Proxy) -> None:
    for _ in range(3):
        record_probe(proxy.id, DEAD, now=NOW)
    out = reread(proxy)
    assert out.ejected_until is not None
    record_probe(proxy.id, GOOD, now=NOW)
    assert reread(proxy).ejected_until is not None, "its time is not over"
    trial = out.ejected_until + timedelta(seconds=1)
    for step in range(5):
        record_probe(proxy.id, GOOD, now=trial + timedelta(seconds=10 * step))
    back = reread(proxy)
    assert back.ejected_until is None
    assert back.health_score > 60
    assert back.returned_at is not None


def test_a_long_outage_is_outweighed_by_a_few_good_trials(proxy: Proxy) -> None:
    execute("UPDATE proxies SET bad_weight = 60, weighed_at = :now, consecutive_failures = 60", now=NOW)
    (turn,) = score_pool(now=NOW)
    assert isinstance(turn.decision, Eject)
    trials = 0
    while reread(proxy).ejected_until is not None:
        trials += 1
        record_probe(proxy.id, GOOD, now=turn.decision.until + timedelta(seconds=10 * trials))
    assert 2 <= trials <= 8


def test_a_failed_trial_ejects_again_and_for_longer(proxy: Proxy) -> None:
    for _ in range(3):
        record_probe(proxy.id, DEAD, now=NOW)
    first = reread(proxy).ejected_until
    assert first is not None
    trial = first + timedelta(seconds=1)
    record_probe(proxy.id, DEAD, now=trial)
    second = reread(proxy)
    assert second.ejected_until is not None
    assert second.ejected_until - trial > first - NOW
    assert second.ejections == 2


def test_real_traffic_on_trial_brings_a_proxy_back_without_a_probe(proxy: Proxy, user: User) -> None:
    chips = put_chips(user, 3)
    tell(*((one, {"failed": 1}) for one in chips))
    (turn,) = score_pool(now=NOW)
    assert isinstance(turn.decision, Eject)
    tell(*((one, {"established": 2}) for one in chips), at=NOW + timedelta(seconds=20))
    assert score_pool(now=NOW + timedelta(seconds=20)) == []
    (back,) = score_pool(now=turn.decision.until)
    assert isinstance(back.decision, Return)


def test_an_account_s_trouble_is_the_provider_s_and_costs_the_proxy_nothing(proxy: Proxy) -> None:
    record_probe(proxy.id, BROKE, now=NOW)
    assert (account(proxy).trouble, account(proxy).trouble_since) == ("balance_empty", NOW)
    assert (reread(proxy).health_score, reread(proxy).consecutive_failures) == (100, 0)
    record_probe(proxy.id, GOOD, now=NOW)
    assert account(proxy).trouble is None


def test_a_login_of_its_own_speaks_against_the_proxy_alone(proxy: Proxy, vault: Vault, user: User) -> None:
    own = make_proxy(account(proxy), proxy_type="static", credentials=vault.seal({"username": "u", "password": "p"}))
    for _ in range(3):
        record_probe(own.id, BROKE, now=NOW)
    assert account(proxy).trouble is None
    assert reread(own).ejected_until is not None


def test_refusals_met_by_chips_are_counted_apart(proxy: Proxy, user: User) -> None:
    chips = put_chips(user, 3)
    for second in range(4):
        tell(*((one, {"refused": 1}) for one in chips), at=NOW + timedelta(seconds=second))
    told = reread(proxy)
    assert (told.refusals, told.consecutive_failures, told.bad_weight) == (12, 0, 0)
    assert score_pool(now=NOW) == []


def test_traffic_that_flows_again_ends_the_trouble(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    record_probe(proxy.id, BROKE, now=NOW)
    tell((one, {"established": 1}), at=NOW + timedelta(seconds=1))
    score_pool(now=NOW + timedelta(seconds=2))
    assert account(proxy).trouble is None


def test_a_test_page_that_refuses_proves_that_the_proxy_works(proxy: Proxy) -> None:
    record_probe(proxy.id, PAGE, now=NOW)
    assert (reread(proxy).ok_weight, reread(proxy).last_error) == (1.0, "404.")


def test_another_address_or_login_starts_afresh(proxy: Proxy, vault: Vault) -> None:
    for _ in range(3):
        record_probe(proxy.id, DEAD, now=NOW)
    moved = ProxyFields("rotating", "http://127.0.0.1:9", None, None, True)
    update_proxy(None, proxy.id, moved, vault=vault, now=NOW)
    score_pool(now=NOW)
    fresh = reread(proxy)
    assert (fresh.ejected_until, fresh.consecutive_failures, fresh.health_score) == (None, 0, 100)


def test_silent_ip_changes_of_a_day_lower_the_score(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    for number, hours in enumerate((30, 20, 10, 1)):
        execute(
            "INSERT INTO exit_ip_observations"
            " (id, chip_id, assignment_id, exit_ip, first_seen_at, last_seen_at, observations)"
            " VALUES (gen_random_uuid(), :chip, :assignment, :ip, :at, :at, 1)",
            chip=one.chip_id, assignment=one.id, ip=f"192.0.2.{number}", at=NOW - timedelta(hours=hours),
        )  # fmt: skip
    assert count_exit_changes(now=NOW) == 1
    assert count_exit_changes(now=NOW) == 0
    score_pool(now=NOW)
    assert (reread(proxy).ip_changes, reread(proxy).health_score) == (3, 80)
    assert count_exit_changes(now=NOW + timedelta(days=2)) == 1
    assert reread(proxy).ip_changes == 0


def test_a_first_look_at_an_exit_is_no_change(proxy: Proxy, user: User) -> None:
    (one,) = put_chips(user, 1)
    execute(
        "INSERT INTO exit_ip_observations"
        " (id, chip_id, assignment_id, exit_ip, first_seen_at, last_seen_at, observations)"
        " VALUES (gen_random_uuid(), :chip, :assignment, '192.0.2.1', :at, :at, 9)",
        chip=one.chip_id, assignment=one.id, at=NOW,
    )  # fmt: skip
    assert count_exit_changes(now=NOW) == 0


def test_administrators_hear_of_an_ejection_and_of_the_return(proxy: Proxy) -> None:
    admin = make_user(role="admin")
    make_proxy(account(proxy))
    for _ in range(3):
        record_probe(proxy.id, DEAD, now=NOW)
    for _ in range(2):
        tell_pool_state(now=NOW)
    assert open_alerts() == {("proxy_ejected", str(proxy.id))}
    until = reread(proxy).ejected_until
    assert until is not None
    for step in range(5):
        record_probe(proxy.id, GOOD, now=until + timedelta(seconds=10 * step))
    tell_pool_state(now=until + timedelta(minutes=2))
    assert open_alerts() == set()
    with db.transaction() as tx:
        told = tx.scalars(select(Notification.level).where(Notification.user_id == admin.id)).all()
    assert sorted(told) == ["success", "warning"]


def test_a_provider_without_a_proxy_that_is_in_is_down_and_told_as_one(proxy: Proxy) -> None:
    proxies = [proxy, *(make_proxy(account(proxy)) for _ in range(9))]
    for one in proxies:
        for _ in range(3):
            record_probe(one.id, DEAD, now=NOW)
    tell_pool_state(now=NOW)
    assert open_alerts() == {("provider_down", str(proxy.provider_id))}


def test_many_ejections_at_one_provider_are_told_only_in_part(proxy: Proxy) -> None:
    for one in [make_proxy(account(proxy)) for _ in range(9)]:
        for _ in range(3):
            record_probe(one.id, DEAD, now=NOW)
    tell_pool_state(now=NOW)
    assert len(open_alerts()) == 5


def test_an_account_in_trouble_is_a_provider_that_is_down(proxy: Proxy) -> None:
    record_probe(proxy.id, BROKE, now=NOW)
    tell_pool_state(now=NOW)
    assert open_alerts() == {("provider_down", str(proxy.provider_id))}
    record_probe(proxy.id, GOOD, now=NOW)
    tell_pool_state(now=NOW)
    assert open_alerts() == set()


def test_what_leaves_the_pool_is_no_longer_worth_an_alert(proxy: Proxy) -> None:
    make_proxy(account(proxy))
    for _ in range(3):
        record_probe(proxy.id, DEAD, now=NOW)
    tell_pool_state(now=NOW)
    execute("UPDATE proxies SET is_active = false WHERE id = :id", id=proxy.id)
    tell_pool_state(now=NOW)
    assert open_alerts() == set()


def test_repeated_ejections_grow_until_a_long_good_time(proxy: Proxy) -> None:
    moment, times = NOW, []
    for pause in (timedelta(minutes=1), timedelta(minutes=1), FORGIVEN_AFTER * 2):
        for _ in range(3):
            record_probe(proxy.id, DEAD, now=moment)
        out = reread(proxy)
        assert out.ejected_until is not None
        times.append(out.ejections)
        moment = out.ejected_until
        while reread(proxy).ejected_until is not None:
            moment += timedelta(seconds=10)
            record_probe(proxy.id, GOOD, now=moment)
        moment += pause
    for _ in range(3):
        record_probe(proxy.id, DEAD, now=moment)
    assert [*times, reread(proxy).ejections] == [1, 2, 3, 1]
