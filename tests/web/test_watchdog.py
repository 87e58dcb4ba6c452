"""The web notices that the worker is dead, and delivers in its place until it is back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.factories import TZ
from tests.notify.office import Office
from tests.receivers import MailServer, mail_server
from whago.domain.actions.clock_runs import begin_run, end_run, only_one
from whago.kit import clock
from whago.notify.post_office import CLOCK
from whago.web import watchdog
from whago.web.watchdog import Watchdog


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def office(database: str, mail: MailServer) -> Office:
    office = Office(mail)
    office.now = clock.now()
    office.someone(role="admin", email="ana@example.com")
    return office


def beat(office: Office) -> None:
    run = begin_run("heartbeat", now=office.now, not_within=timedelta(seconds=1))
    assert run is not None
    end_run(run, counts={}, error=None, now=office.now)


def a_dog(office: Office) -> Watchdog:
    return Watchdog(office.courier, TZ, now=lambda: office.now)


def test_it_says_nothing_while_the_clocks_run_and_leaves_deliveries_to_them(office: Office) -> None:
    dog, user = a_dog(office), office.someone()
    office.alert(user)
    for _ in range(20):
        beat(office)
        office.later(seconds=15)
        assert not dog.look(office.now)
    assert office.mail.messages == []


def test_it_waits_for_a_worker_that_has_just_been_started_with_it(office: Office) -> None:
    dog = a_dog(office)
    assert not dog.look(office.later(seconds=89))
    assert dog.look(office.later(seconds=2))


def test_a_dead_worker_is_told_once_and_everything_else_is_delivered_too(office: Office) -> None:
    dogs = [a_dog(office), a_dog(office)]
    beat(office)
    office.alert(office.someone(email="otto@example.com"))
    office.later(minutes=2)
    for _ in range(3):
        for dog in dogs:
            assert dog.look(office.now)
        office.later(seconds=15)
    assert office.mail.subjects("ana@example.com") == ["The clocks stand still"]
    assert office.mail.subjects("otto@example.com") == ["A chip waits for a proxy"]

    beat(office)
    for dog in dogs:
        assert not dog.look(office.now)
    office.round()  # the worker delivers again
    assert office.mail.subjects("ana@example.com") == ["The clocks stand still", "The clocks run again"]


def test_it_does_not_deliver_beside_somebody_who_does(office: Office) -> None:
    office.later(minutes=2)
    dog = a_dog(office)
    office.later(minutes=2)
    with only_one(CLOCK) as is_mine:
        assert is_mine
        assert dog.look(office.now)
    assert office.mail.messages == []
    dog.look(office.now)
    assert len(office.mail.messages) == 1


def test_it_outlives_a_look_that_fails(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = threading.Semaphore(0)

    def broken(_now: object) -> bool:
        looks.release()
        raise KeyError("a bug")

    monkeypatch.setattr(watchdog, "EVERY_S", 0.01)
    dog = a_dog(office)
    monkeypatch.setattr(dog, "look", broken)
    dog.start()
    for _ in range(3):
        assert looks.acquire(timeout=20)
    dog.stop()
    dog.join(20)
    assert not dog.is_alive()
