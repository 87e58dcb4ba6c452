"""The small parts by themselves: wheel, calendar, passes, resolver, line budget."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import structlog

from tests.gateway.control_double import Bank, Control
from whago.gateway.calendar import BillingCalendar
from whago.gateway.control import Change, ChipPass, ControlUnavailable, Refused, Upstream
from whago.gateway.line_budget import LineBudget
from whago.gateway.passes import PassBook
from whago.gateway.registry import why_to_end
from whago.gateway.resolver import Resolver, UnknownHost
from whago.gateway.sockets import is_near
from whago.gateway.wheel import GRAIN_S, Wheel

UPSTREAM = Upstream("http", "proxy.test", 3120, "user", "secret-password")


class Timer:
    def __init__(self) -> None:
        self.bucket = 0
        self.rang: list[float] = []

    def on_deadline(self, now: float) -> None:
        self.rang.append(now)


def test_a_deadline_rings_once_and_not_before() -> None:
    wheel, timer = Wheel(100.0), Timer()
    wheel.set(timer, 103.0)
    for step in range(40):
        wheel.turn(100.0 + step * GRAIN_S)
    assert len(timer.rang) == 1
    assert 103.0 <= timer.rang[0] <= 103.0 + 2 * GRAIN_S


def test_a_moved_deadline_rings_at_its_new_time_only() -> None:
    wheel, timer = Wheel(100.0), Timer()
    wheel.set(timer, 101.0)
    wheel.set(timer, 105.0)
    wheel.turn(104.0)
    assert timer.rang == []
    wheel.turn(106.0)
    assert timer.rang == [106.0]


def test_a_cleared_deadline_does_not_ring_even_when_cleared_by_a_neighbour() -> None:
    wheel, timer = Wheel(100.0), Timer()
    wheel.set(timer, 101.0)
    wheel.clear(timer)
    wheel.turn(110.0)
    assert timer.rang == []


def test_a_late_turn_rings_everything_that_is_due() -> None:
    wheel, timers = Wheel(0.0), [Timer() for _ in range(50)]
    for number, timer in enumerate(timers):
        wheel.set(timer, float(number))
    wheel.turn(1000.0)
    assert all(timer.rang == [1000.0] for timer in timers)


def test_a_calendar_turns_with_the_hour_and_the_month() -> None:
    moment = datetime(2025, 11, 1, 2, 59, 59, tzinfo=UTC).timestamp()
    now = [moment]
    calendar = BillingCalendar(ZoneInfo("America/Sao_Paulo"), lambda: now[0])
    assert calendar.month == date(2025, 10, 1)
    epoch = calendar.epoch
    calendar.tick()
    assert calendar.epoch == epoch
    now[0] += 1
    calendar.tick()
    assert (calendar.month, calendar.hour) == (date(2025, 11, 1), datetime(2025, 11, 1, 3, tzinfo=UTC))
    assert calendar.epoch == epoch + 1
    assert calendar.now_us == (moment + 1) * 1_000_000


def test_a_zone_with_half_hours_has_its_own_hours() -> None:
    moment = datetime(2025, 11, 1, 10, 40, tzinfo=UTC).timestamp()
    calendar = BillingCalendar(ZoneInfo("Asia/Kolkata"), lambda: moment)
    assert calendar.hour == datetime(2025, 11, 1, 10, 30, tzinfo=UTC)


def test_passes_are_asked_for_once_however_many_wait() -> None:
    async def run() -> None:
        bank = Bank()
        control = Control(bank)
        control.slow_s = 0.02
        chip = bank.add_chip(UPSTREAM)
        book = PassBook(control, lambda *_: None)
        answers = await asyncio.gather(*(book.get(chip.chip_id) for _ in range(100)))
        assert set(answers) == {chip}
        assert control.calls["authorise"] == 1
        assert book.peek(chip.chip_id) == chip

    asyncio.run(run())


def test_a_pass_asked_for_before_a_change_is_not_kept() -> None:
    async def run() -> None:
        bank = Bank()
        control = Control(bank)
        chip = bank.add_chip(UPSTREAM)
        book = PassBook(control, lambda *_: None)
        answering = asyncio.Event()
        old_authorise = control.authorise

        async def authorise(chip_id):  # type: ignore[no-untyped-def]
            answer = await old_authorise(chip_id)
            await answering.wait()
            return answer

        control.authorise = authorise  # type: ignore[method-assign]
        asked = asyncio.create_task(book.get(chip.chip_id))
        await asyncio.sleep(0.02)
        bank.passes[chip.chip_id] = Refused("chip_blocked", chip.credential_hash)
        book.drop(Change("chip", chip.chip_id))
        answering.set()
        assert isinstance(await asked, Refused)
        assert control.calls["authorise"] == 2

    asyncio.run(run())


@pytest.mark.parametrize(("change", "stands_in"), [(Change("resync"), True), (Change("user"), False)])
def test_an_old_pass_stands_in_for_an_absent_control_plane_unless_it_is_known_to_be_wrong(
    change: Change, stands_in: bool
) -> None:
    async def run() -> None:
        bank = Bank()
        control = Control(bank)
        chip = bank.add_chip(UPSTREAM)
        book = PassBook(control, lambda *_: None)
        await book.get(chip.chip_id)
        control.down = True
        book.drop(change)
        assert book.peek(chip.chip_id) is None
        if stands_in:
            assert await book.get(chip.chip_id) == chip
        else:
            with pytest.raises(ControlUnavailable):
                await book.get(chip.chip_id)

    asyncio.run(run())


def test_a_change_drops_exactly_the_passes_that_carry_it() -> None:
    async def run() -> None:
        bank = Bank()
        book = PassBook(Control(bank), lambda *_: None)
        one, two = bank.add_chip(UPSTREAM), bank.add_chip(UPSTREAM)
        for kind, field in [
            ("chip", "chip_id"),
            ("user", "user_id"),
            ("proxy", "proxy_id"),
            ("provider", "provider_id"),
        ]:
            await book.get(one.chip_id)
            await book.get(two.chip_id)
            book.drop(Change(kind, getattr(one, field)))  # type: ignore[arg-type]
            assert book.peek(one.chip_id) is None
            assert book.peek(two.chip_id) == two

    asyncio.run(run())


def test_why_a_tunnel_ends() -> None:
    running: ChipPass = Bank().add_chip(UPSTREAM)
    assert why_to_end(running, running) == ""
    assert why_to_end(running, replace(running, price_id=9)) == ""
    assert why_to_end(running, Refused("chip_blocked")) == "chip_refused"
    assert why_to_end(running, replace(running, credential_hash=b"x")) == "credential_rotated"
    assert why_to_end(running, replace(running, assignment_id=uuid4())) == "reassigned"
    assert why_to_end(running, replace(running, upstream=replace(UPSTREAM, password="new"))) == "reassigned"


def test_no_repr_shows_a_secret() -> None:
    chip_pass = Bank().add_chip(UPSTREAM)
    assert "secret-password" not in repr(chip_pass)
    assert repr(chip_pass.credential_hash) not in repr(chip_pass)


def test_the_resolver_checks_and_remembers() -> None:
    async def run() -> None:
        open_door, guarded = Resolver(allow_private=True), Resolver(allow_private=False)
        assert open_door.peek("127.0.0.1", 80) is None
        (address,) = await open_door.get("127.0.0.1", 80)
        assert address.sockaddr == ("127.0.0.1", 80)
        assert open_door.peek("127.0.0.1", 80) == (address,)
        with pytest.raises(UnknownHost, match="private"):
            await guarded.get("127.0.0.1", 80)
        with pytest.raises(UnknownHost, match="private"):
            await guarded.get("localhost", 80)
        with pytest.raises(UnknownHost, match="cannot be resolved"):
            await guarded.get("no-such-host.invalid", 80)
        assert guarded.peek("127.0.0.1", 80) is None
        open_door.stop()
        guarded.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("::ffff:172.17.0.1", True),
        ("8.8.8.8", False),
        ("::ffff:8.8.8.8", False),
        ("2606:4700:4700::1111", False),
    ],
)
def test_near_is_this_host_and_private_networks(address: str, near: bool) -> None:
    assert is_near(address) is near


def test_a_burst_of_lines_is_cut_and_told() -> None:
    budget = LineBudget(lines_per_s=3)
    with structlog.testing.capture_logs() as lines:
        assert [budget.spend(10.5) for _ in range(5)] == [True, True, True, False, False]
        assert budget.spend(11.0)
    assert [line["lines"] for line in lines] == [2]
