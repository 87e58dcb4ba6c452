"""The clock that writes letters with a link to a new password."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.factories import make_user
from whago.domain.actions.password_resets import ask_for_reset
from whago.domain.models import PasswordReset
from whago.domain.rules.outcomes import Failed, Outcome
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import reading
from whago.kit.languages import LOCALES, Translators
from whago.notify.courier import Courier
from whago.notify.email import Letter, Mailer, MailFolder
from whago.tasks.accounts import send_reset_letters
from whago.tasks.clock import Tools

EMAIL = "maria@example.com"


class Away:
    """A mail server that is away."""

    def send(self, _letter: Letter) -> Outcome:
        return Failed("smtp_unreachable", is_ours=True)


def tools(vault: Vault, tz: ZoneInfo, mailer: Mailer | None) -> Tools:
    courier = Courier(mailer, vault, Translators(LOCALES), tz, "https://whago.example") if mailer else None
    return Tools(vault, tz, courier=courier)


@pytest.fixture
def asked(database: str) -> None:
    make_user(email=EMAIL)
    ask_for_reset(EMAIL, language=None, now=clock.now())


def test_a_letter_is_written_once(asked: None, vault: Vault, tz: ZoneInfo, tmp_path: Path) -> None:
    with_folder = tools(vault, tz, MailFolder(tmp_path, "WHAGO <whago@example.com>"))
    assert send_reset_letters(with_folder, clock.now()) == {"sent": 1, "failed": 0}
    assert send_reset_letters(with_folder, clock.now()) == {"sent": 0, "failed": 0}
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_mail_server_that_is_away_loses_nothing(asked: None, vault: Vault, tz: ZoneInfo) -> None:
    assert send_reset_letters(tools(vault, tz, Away()), clock.now()) == {"sent": 0, "failed": 1}
    with reading() as db:
        (wish,) = db.query(PasswordReset).all()
    assert (wish.sent_at, wish.attempts) == (None, 1)
    assert wish.due_at > clock.now()


def test_without_anything_to_send_with_the_wish_waits(asked: None, vault: Vault, tz: ZoneInfo) -> None:
    assert send_reset_letters(tools(vault, tz, None), clock.now()) == {}
