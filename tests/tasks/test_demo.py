"""The demo: seeded once and exactly, taken up where it was killed, and talking through a real gateway."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import func, select, text

from tests.conftest import SECRET
from tests.factories import TZ, make_user
from tests.spine.conftest import GatewayProcess
from whago.domain.actions.chips import renew_gateway_token
from whago.domain.actions.monitor import check_usage
from whago.domain.models import (
    Assignment,
    Chip,
    ChipUsageMonth,
    GatewayBoot,
    Notification,
    Provider,
    Proxy,
    UsageHour,
    UsageLog,
    User,
    UserProxyCost,
)
from whago.domain.queries.bills import usage_days
from whago.domain.queries.bridge_chips import chips_that_should_run
from whago.domain.queries.demo import DemoChip, demo_provider
from whago.domain.rules.months import billing_month, month_start, next_month, previous_month, usage_hour
from whago.kit import clock, db
from whago.kit.ids import token_hash
from whago.kit.passwords import check_password
from whago.main import demo
from whago.main.demo_file import DemoFile
from whago.main.demo_past import past_usage
from whago.settings import Settings
from whago.simulator import SimulatedProvider

PATIENCE_S = 60.0
EMAILS = ("central@demo.whago.local", "clinica@demo.whago.local", "padaria@demo.whago.local")
USED = {EMAILS[0]: 10**9, EMAILS[1]: 850_000_000, EMAILS[2]: 10**8}


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProvider]:
    with SimulatedProvider(statics=3) as running:
        yield running


@pytest.fixture
def settings(database: str, simulated: SimulatedProvider, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database,
        secret_key=SecretStr(SECRET),
        data_dir=tmp_path,
        allow_private_upstreams=True,
        simulator_admin_url=simulated.admin_url,
    )


@pytest.fixture
def seed(settings: Settings, simulated: SimulatedProvider) -> Iterator[Callable[[], list[str]]]:
    def run() -> list[str]:
        lines = demo.seed(settings, simulator_host="127.0.0.1", simulator_port=simulated.port)
        db.connect(settings.database_url or "")  # it let go of the database, as for a process that goes on without
        return list(lines)

    yield run
    db.connect(settings.database_url or "")


def rows(query: Any) -> list[Any]:
    with db.transaction() as tx:
        return list(tx.execute(query).all())


def everything() -> list[list[Any]]:
    names = (
        "users", "proxy_providers", "proxies", "chips", "chip_proxy_assignments", "chip_events", "proxy_usage_logs",
        "user_proxy_costs", "chip_usage_months", "usage_hours", "notifications", "gateway_boots", "audit_log",
    )  # fmt: skip
    return [rows(text(f"SELECT * FROM {name} ORDER BY 1, 2, 3")) for name in names]


def used(month: Any) -> dict[str, int]:
    query = select(User.email, UserProxyCost.total_bytes).join(UserProxyCost, UserProxyCost.user_id == User.id)
    return dict(rows(query.where(UserProxyCost.month_year == month)))


def test_three_customers_with_plans_chips_and_an_exact_past(seed: Callable[[], list[str]], settings: Settings) -> None:
    lines = seed()
    now = clock.now()
    month = billing_month(now, TZ)
    assert used(month) == USED
    assert all(0 < used(previous_month(month))[email] < USED[email] for email in EMAILS)
    assert [line.split()[0] for line in lines] == list(EMAILS)
    chips = dict(rows(select(User.email, func.count()).join(Chip, Chip.user_id == User.id).group_by(User.email)))
    assert chips == dict(zip(EMAILS, (7, 3, 1), strict=True))
    engines = [row[0] for row in rows(select(Chip.engine))]
    assert (engines.count("external"), engines.count("bridge")) == (10, 1)
    assert len(rows(select(Assignment.id).where(Assignment.released_at.is_(None)))) == 11
    exclusive = rows(select(Assignment.proxy_id).where(Assignment.is_exclusive))
    assert len(exclusive) == len(set(exclusive)) == demo.STATIC_PROXIES


def test_one_chip_is_our_bridge_s_to_run_and_has_no_past(seed: Callable[[], list[str]], settings: Settings) -> None:
    seed()
    (chip_id, status) = rows(select(Chip.id, Chip.status).where(Chip.engine == "bridge"))[0]
    assert status == "connecting"  # the clock hands it to a bridge
    assert [one.chip_id for one in chips_that_should_run(now=clock.now(), tz=TZ)] == [chip_id]
    assert rows(select(UsageLog.id).where(UsageLog.chip_id == chip_id)) == []
    kept = [chip.id for one in DemoFile(settings.data_dir or Path()).customers.values() for chip in one.chips]
    assert str(chip_id) not in kept  # no traffic takes its credential from the bridge


def test_the_past_is_marked_and_nothing_of_it_lies_ahead(seed: Callable[[], list[str]]) -> None:
    seed()
    now = clock.now()
    with db.transaction() as tx:
        ledger = tx.scalars(select(UsageLog)).all()
        assert all(user.is_demo for user in tx.scalars(select(User)))
        assert tx.scalars(select(Provider)).one().is_demo
        assert {boot.is_demo for boot in tx.scalars(select(GatewayBoot))} == {True}
        assert all(boot.settled_at is not None for boot in tx.scalars(select(GatewayBoot)))
    assert all(one.is_demo for one in ledger)
    assert all(one.hour <= one.session_start <= one.session_end <= now for one in ledger)
    assert all(one.session_end < one.hour + timedelta(hours=1) for one in ledger)
    cost = sum((one.cost for one in ledger), Decimal(0))
    assert cost == Decimal(sum(one.bytes_transferred for one in ledger)) * 25 / 10**9
    by_hour = dict.fromkeys(range(24), 0)
    for one in ledger:
        by_hour[one.hour.astimezone(TZ).hour] += one.bytes_transferred
    assert sum(by_hour[hour] for hour in range(8, 20)) > 3 * sum(by_hour[hour] for hour in (22, 23, *range(7)))


def test_the_aggregates_agree_with_the_ledger(seed: Callable[[], list[str]]) -> None:
    seed()
    checked = check_usage(since=None, now=clock.now(), tz=TZ)
    assert (checked.months, checked.repaired, checked.over_limit) == (6, [], [])
    totals = [rows(select(func.sum(model.total_bytes)))[0][0] for model in (ChipUsageMonth, UsageHour, UserProxyCost)]
    assert len(set(totals)) == 1


def test_the_thresholds_were_told_by_themselves(seed: Callable[[], list[str]]) -> None:
    seed()
    told = rows(select(User.email, Notification.kind).join(User, User.id == Notification.user_id))
    assert sorted(told) == [
        (EMAILS[1], "quota_warning"),
        (EMAILS[2], "quota_exhausted"),
        (EMAILS[2], "quota_warning"),
    ]


def test_the_vendors_bills_of_the_past_stand_beside_ours_with_one_odd_day(seed: Callable[[], list[str]]) -> None:
    seed()
    provider_id = demo_provider()
    assert provider_id is not None
    verdicts = [day.verdict for day in usage_days(provider_id)]
    assert verdicts.count("differs") == 1
    assert verdicts.count("agrees") >= 7
    assert verdicts[0] != "differs"  # the newest day is no alarm


def test_a_second_start_changes_nothing(
    seed: Callable[[], list[str]], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, before = seed(), everything()
    file = (settings.data_dir or Path()) / "demo-accounts.json"
    kept = file.read_bytes()
    assert seed() == lines
    next_time = clock.now() + timedelta(days=35)
    monkeypatch.setattr(clock, "now", lambda: next_time)
    assert seed() == lines
    assert everything() == before
    assert file.read_bytes() == kept
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_lines_and_the_file_hold_what_opens(seed: Callable[[], list[str]], settings: Settings) -> None:
    lines = seed()
    for email, line in zip(EMAILS, lines, strict=True):
        (stored,) = rows(select(User.password_hash).where(User.email == email))[0]
        assert check_password(stored, line.split()[2])
    assert_tokens_fit(settings)


def assert_tokens_fit(settings: Settings) -> None:
    hashes = dict(rows(select(Chip.id, Chip.gateway_token_hash).where(Chip.engine == "external")))
    kept = [chip for one in DemoFile(settings.data_dir or Path()).customers.values() for chip in one.chips]
    assert {UUID(chip.id): token_hash(chip.token) for chip in kept} == hashes


class Killed(BaseException):
    """As if the process had ended here."""


STEPS = ("create_provider", "create_proxies", "create_user", "mark_demo", "create_chip", "record_usage")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_start_that_was_killed_is_taken_up(
    seed: Callable[[], list[str]], settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """Killed around the second time that a step is done, or the only time."""
    real = getattr(demo, step)
    times = 1 if step in STEPS[:2] else 2
    calls = 0

    def deadly(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == times and not after:
            raise Killed
        result = real(*arguments, **named)
        if calls == times:
            raise Killed
        return result

    monkeypatch.setattr(demo, step, deadly)
    with pytest.raises(Killed):
        seed()
    monkeypatch.setattr(demo, step, real)
    db.connect(settings.database_url or "")
    lines = seed()
    assert len(lines) == 3
    assert used(billing_month(clock.now(), TZ)) == USED
    assert len(rows(select(Chip.id))) == 11
    assert len(rows(select(Proxy.id))) == 1 + demo.STATIC_PROXIES
    assert_tokens_fit(settings)
    assert all(user.is_demo for (user,) in rows(select(User)))
    before = everything()
    assert seed() == lines
    assert everything() == before


def test_a_lost_file_is_made_again_with_new_secrets(seed: Callable[[], list[str]], settings: Settings) -> None:
    old = seed()
    usage = used(billing_month(clock.now(), TZ))
    ((settings.data_dir or Path()) / "demo-accounts.json").unlink()
    lines = seed()
    assert lines != old
    for email, line in zip(EMAILS, lines, strict=True):
        (stored,) = rows(select(User.password_hash).where(User.email == email))[0]
        assert check_password(stored, line.split()[2])
    assert_tokens_fit(settings)
    assert used(billing_month(clock.now(), TZ)) == usage


def test_what_people_deleted_stays_deleted(seed: Callable[[], list[str]]) -> None:
    seed()
    (user_id,) = rows(select(User.id).where(User.email == EMAILS[2]))[0]
    with db.transaction() as tx:
        tx.execute(text("UPDATE users SET deleted_at = now(), is_active = false WHERE id = :id"), {"id": user_id})
        tx.execute(text("UPDATE chips SET deleted_at = now() WHERE alias = 'Financeiro'"))
    before = everything()
    assert [line.split()[0] for line in seed()] == list(EMAILS[:2])
    assert everything() == before


def test_it_follows_the_simulator_to_another_port(seed: Callable[[], list[str]], settings: Settings) -> None:
    seed()
    demo.seed(settings, simulator_host="127.0.0.1", simulator_port=4321)
    db.connect(settings.database_url or "")
    with db.transaction() as tx:
        urls = {proxy.proxy_url for proxy in tx.scalars(select(Proxy))}
        assert tx.scalars(select(Provider)).one().port == 4321
    assert urls == {"http://127.0.0.1:4321", "http://127.32.0.1:4321", "http://127.32.0.2:4321"}


def test_an_unlimited_plan_has_a_past_too(seed: Callable[[], list[str]]) -> None:
    with db.transaction() as tx:
        tx.execute(text("UPDATE plans SET proxy_gb_limit = NULL WHERE slug = 'enterprise'"))
    seed()
    assert used(billing_month(clock.now(), TZ))[EMAILS[0]] == 200_000_000


@pytest.mark.parametrize("second", [0, 30, 3599])
def test_the_percentages_hold_in_a_month_s_first_minutes(
    seed: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, second: int
) -> None:
    month = next_month(billing_month(clock.now(), TZ))
    moment = month_start(month, TZ) + timedelta(seconds=second)
    monkeypatch.setattr(clock, "now", lambda: moment)
    seed()
    assert used(month) == USED
    assert {log.session_end <= moment for (log,) in rows(select(UsageLog))} == {True}


CHIP = DemoChip(uuid4(), "x", "external", uuid4(), uuid4(), 1)


@given(
    total=st.integers(0, 10**12),
    hours=st.integers(0, 31 * 24 - 1),
    chips=st.integers(1, 10),
    minute=st.integers(0, 59),
)
def test_any_past_adds_up_to_the_byte(total: int, hours: int, chips: int, minute: int) -> None:
    begins = month_start(datetime(2026, 3, 1, tzinfo=UTC).date(), TZ)
    ends = begins + timedelta(hours=hours, minutes=minute)
    made = past_usage(uuid4(), [CHIP] * chips, begins=begins, ends=ends, total_bytes=total, tz=TZ, first_tunnel=5)
    assert sum(one.bytes_up + one.bytes_down + one.overhead for one in made) == total
    assert len({one.tunnel_id for one in made}) == len(made)
    for one in made:
        assert begins <= one.hour <= one.started_at <= one.last_at <= ends
        assert one.hour == usage_hour(one.last_at, TZ)
        assert min(one.bytes_up, one.bytes_down, one.overhead) >= 0


class TrafficProcess:
    """``whago demo-traffic`` as ``up`` starts it."""

    def __init__(self, data_dir: Path, gateway: GatewayProcess) -> None:
        self._log = data_dir / "traffic.log"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "whago", "demo-traffic"],
            env={
                **os.environ,
                "WHAGO_DATA_DIR": str(data_dir),
                "WHAGO_GATEWAY_PUBLIC_HOST": f"127.0.0.1:{gateway.port}",
                "WHAGO_LOG_FORMAT": "json",
            },
            stderr=self._log.open("wb"),
        )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def __enter__(self) -> TrafficProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def gateway(seed: Callable[[], list[str]], settings: Settings) -> Iterator[GatewayProcess]:
    seed()
    running = GatewayProcess(settings.database_url or "", settings.data_dir or Path())
    running.start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.kill()


def eventually(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def moved() -> dict[str, int]:
    now_used = used(billing_month(clock.now(), TZ))
    return {email: now_used[email] - USED[email] for email in EMAILS}


def talking_chips() -> int:
    return int(rows(select(func.count(func.distinct(UsageLog.chip_id))).where(UsageLog.is_demo.is_(False)))[0][0])


def test_chips_talk_through_the_gateway_and_the_blocked_one_is_refused(
    gateway: GatewayProcess, settings: Settings, simulated: SimulatedProvider
) -> None:
    with TrafficProcess(settings.data_dir or Path(), gateway) as traffic:
        eventually(lambda: talking_chips() == 9, "nine chips have been metered")
        before = moved()
        eventually(lambda: all(moved()[email] > before[email] for email in EMAILS[:2]), "the pages' numbers move")
        eventually(lambda: '"status": 402' in traffic.log, "the blocked chip's refusal is told")
        assert '"reason": "quota_exhausted"' in traffic.log
        assert moved()[EMAILS[2]] == 0
        assert traffic.stop() == 0
    seen = [one for one in simulated.sessions() if one["wire_total"]]
    assert len({one["exit_ip"] for one in seen}) == len(seen) == 9
    assert all(token not in traffic.log for token in tokens(settings))


def tokens(settings: Settings) -> list[str]:
    return [chip.token for one in DemoFile(settings.data_dir or Path()).customers.values() for chip in one.chips]


def test_they_come_back_after_the_gateway_and_go_on_without_one_of_them(
    gateway: GatewayProcess, settings: Settings
) -> None:
    (user_id, chip_id) = rows(select(Chip.user_id, Chip.id).where(Chip.alias == "Suporte"))[0]
    renew_gateway_token(user_id, chip_id, now=clock.now())
    with TrafficProcess(settings.data_dir or Path(), gateway) as traffic:
        eventually(lambda: talking_chips() == 8, "all but the one with a new credential are metered")
        eventually(lambda: '"status": 407' in traffic.log, "its refusal is told")
        gateway.kill()
        eventually(lambda: "demo.interrupted" in traffic.log, "the cut is told")
        gateway.start()
        before = moved()
        eventually(lambda: moved()[EMAILS[0]] > before[EMAILS[0]], "they talk again")
        assert traffic.runs
        assert traffic.stop() == 0


def test_without_a_demo_it_waits_and_stops(database: str, tmp_path: Path) -> None:
    make_user()
    with TrafficProcess(tmp_path, GatewayProcess(database, tmp_path)) as traffic:
        eventually(lambda: "demo.talking" in traffic.log, "it has started")
        assert traffic.runs
        assert traffic.stop() == 0
