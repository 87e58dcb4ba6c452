"""The worker is killed at every step of a delivery; what arrived is counted at the receivers.

Nothing is ever lost. Twice is possible only where the receiver has it and the worker died before it could write that
down; then both carry one id, so that the receiver can tell. In the mail folder even that is one file.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.delivery_process import SENDER
from tests.notify.office import Office, attempts, change, channel_of, deliveries
from tests.receivers import Customer, MailServer, customer, mail_server
from whago.domain.models import User
from whago.domain.rules.delivering import CLAIM_LASTS
from whago.kit import clock
from whago.notify.email import MailFolder

ROOT = Path(__file__).resolve().parents[2]
LATER_S = CLAIM_LASTS.total_seconds() + 5
ARRIVALS = {"routed": 1, "claimed": 1, "answered": 2, "finished": 1}
PATIENCE_S = 60.0


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Customer]:
    with customer() as receiver:
        yield receiver


@pytest.fixture
def office(database: str, mail: MailServer) -> Office:
    office = Office(mail)
    office.now = clock.now()
    return office


def start(database: str, mail: str, step: str, *, later_s: float = 0.0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.delivery_process", database, mail, step, str(later_s)]
    return subprocess.Popen(command, cwd=ROOT)


def killed_then_whole(database: str, office: Office, mail: str, step: str) -> None:
    """A worker dies at the step; then comes who lives, when the claim of the first has run out, and looks twice."""
    assert start(database, mail, step).wait(PATIENCE_S) == -9
    for _ in range(2):
        office.later(seconds=LATER_S)
        office.round()
    assert {one.state for one in deliveries()} == {"sent"}


def only(user: User, kind: str) -> None:
    """Leaves one channel to the user beside the application."""
    change(channel_of(user, {"email": "webhook", "webhook": "email"}[kind]), is_active=False)


@pytest.mark.parametrize("step", ARRIVALS)
def test_a_webhook_survives_its_worker(database: str, office: Office, hook: Customer, step: str) -> None:
    user = office.someone(url=hook.url)
    only(user, "webhook")
    office.alert(user)
    killed_then_whole(database, office, office.mail.url, step)
    assert len(hook.calls) == ARRIVALS[step]
    assert {call.content["id"] for call in hook.calls} == {str(deliveries()[0].id)}
    assert {call.headers["x-whago-delivery"] for call in hook.calls} == {str(deliveries()[0].id)}


@pytest.mark.parametrize("step", ARRIVALS)
def test_an_email_survives_its_worker(database: str, office: Office, hook: Customer, step: str) -> None:
    user = office.someone(url=hook.url)
    only(user, "email")
    office.alert(user)
    killed_then_whole(database, office, office.mail.url, step)
    assert len(office.mail.messages) == ARRIVALS[step]
    assert {message["Message-ID"] for message in office.mail.messages} == {f"<{deliveries()[0].id}@whago.example>"}


@pytest.mark.parametrize("step", ARRIVALS)
def test_the_mail_folder_never_holds_a_message_twice(
    database: str, office: Office, hook: Customer, tmp_path: Path, step: str
) -> None:
    user = office.someone(url=hook.url)
    only(user, "email")
    office.alert(user)
    office.courier = replace(office.courier, mailer=MailFolder(tmp_path, SENDER))
    killed_then_whole(database, office, str(tmp_path), step)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"{deliveries()[0].id}.eml"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_worker_killed_while_the_receiver_thinks_is_told_of_in_the_log(
    database: str, office: Office, hook: Customer
) -> None:
    user = office.someone(url=hook.url)
    only(user, "webhook")
    office.alert(user)
    hook.slow_s = 30
    worker = start(database, office.mail.url, "none")
    assert hook.arrived.wait(PATIENCE_S)
    worker.kill()
    worker.wait(PATIENCE_S)
    hook.slow_s = 0
    assert start(database, office.mail.url, "none").wait(PATIENCE_S) == 0
    assert len(hook.calls) == 1  # the claim still holds: whoever has it may be alive
    assert start(database, office.mail.url, "none", later_s=LATER_S).wait(PATIENCE_S) == 0
    assert len({call.content["id"] for call in hook.calls}) == 1
    assert len(hook.calls) == 2
    assert [(one.outcome, one.reason) for one in attempts()] == [("cut_off", "worker_ended"), ("sent", "ok")]
