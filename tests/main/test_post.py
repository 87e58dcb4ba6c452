"""Where e-mails go: to the mail server of the settings, else into the data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SECRET
from whago.errors import SettingsError
from whago.main.post import courier_of, mailer_of
from whago.notify.email import MailFolder, SmtpMailer
from whago.settings import load


def test_without_a_mail_server_they_are_files_in_the_data_folder(tmp_path: Path) -> None:
    mailer = mailer_of(load({"WHAGO_DATA_DIR": str(tmp_path)}))
    assert isinstance(mailer, MailFolder)
    assert mailer.folder == tmp_path / "mail"


def test_with_one_they_go_there(tmp_path: Path) -> None:
    assert isinstance(mailer_of(load({"WHAGO_SMTP_URL": "smtp://mail.example.com"})), SmtpMailer)


def test_a_half_written_address_is_named_without_its_password() -> None:
    with pytest.raises(SettingsError, match="WHAGO_SMTP_URL") as refused:
        mailer_of(load({"WHAGO_SMTP_URL": "smtp://:very-secret@mail.example.com"}))
    assert "very-secret" not in str(refused.value)


def test_private_receivers_and_links_are_as_the_settings_say(tmp_path: Path) -> None:
    given = {"WHAGO_DATA_DIR": str(tmp_path), "WHAGO_SECRET_KEY": SECRET}
    closed = courier_of(load(given))
    assert (closed.allow_private, closed.public_url) == (False, None)
    opened = {"WHAGO_ALLOW_PRIVATE_UPSTREAMS": "1", "WHAGO_PUBLIC_URL": "https://whago.example"}
    open_one = courier_of(load(given | opened))
    assert (open_one.allow_private, open_one.public_url) == (True, "https://whago.example")
