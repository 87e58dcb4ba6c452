"""What carries alerts and letters out of this installation, out of the settings."""

from __future__ import annotations

from typing import Final

from whago.errors import SettingsError
from whago.kit.crypto import Vault
from whago.kit.languages import LOCALES, Translators
from whago.main.data_folder import default_data_dir
from whago.main.secret import secret_keys
from whago.notify.courier import Courier
from whago.notify.email import Mailer, MailFolder, SmtpMailer, smtp_server
from whago.settings import Settings

MAIL_FOLDER: Final = "mail"  # in the data folder: a Maildir, for installations without a mail server


def courier_of(settings: Settings) -> Courier:
    """Raises SettingsError for a mail server's address that is none."""
    return Courier(
        mailer_of(settings),
        Vault(secret_keys(settings)),
        Translators(LOCALES),
        settings.tz,
        settings.public_url,
        settings.allow_private_upstreams,
    )


def mailer_of(settings: Settings) -> Mailer:
    """The mail server of ``WHAGO_SMTP_URL``, else a folder of .eml files."""
    if settings.smtp_url is None:
        return MailFolder((settings.data_dir or default_data_dir()) / MAIL_FOLDER, settings.mail_from)
    try:
        return SmtpMailer(smtp_server(settings.smtp_url.get_secret_value()), settings.mail_from)
    except ValueError as error:
        raise SettingsError(f"WHAGO_SMTP_URL {error}.") from None
