"""Administrators made from the command line and at the first start."""

from __future__ import annotations

from whago.domain.actions.accounts import has_admin, make_admin
from whago.errors import SettingsError
from whago.kit import clock, db
from whago.kit.emails import normal_email
from whago.kit.passwords import hash_password
from whago.settings import Settings, load

PASSWORD_MIN_CHARS = 8
PASSWORD_MAX_CHARS = 256


def create_admin(email: str, password: str, name: str) -> None:
    """``whago create-admin``: this e-mail is an active administrator with this password, whatever it was before.

    Raises SettingsError for a bad e-mail or password, or without a database.
    """
    settings = load()
    if settings.database_url is None:
        raise SettingsError("WHAGO_DATABASE_URL is not set: it names the database in which to make the administrator.")
    address = _checked(email, password)
    db.connect(settings.database_url)
    make_admin(email=address, password_hash=hash_password(password), name=name.strip(), replace=True, now=clock.now())
    print(f"{address} is an administrator.")


def ensure_admin(settings: Settings, *, email: str, password: str, name: str = "Administrator") -> bool:
    """Makes the first administrator; returns whether it was made.

    An account with this e-mail is left as it is. Without an administrator of the settings' own, nothing is made either
    when the product already has one.
    """
    address = _checked(email, password)
    assert settings.database_url is not None
    db.connect(settings.database_url)
    try:
        if settings.admin_email is None and has_admin():
            return False
        return make_admin(
            email=address, password_hash=hash_password(password), name=name, replace=False, now=clock.now()
        )
    finally:
        db.engine().dispose()


def _checked(email: str, password: str) -> str:
    if not PASSWORD_MIN_CHARS <= len(password) <= PASSWORD_MAX_CHARS:
        raise SettingsError(f"The password needs {PASSWORD_MIN_CHARS} to {PASSWORD_MAX_CHARS} characters.")
    try:
        return normal_email(email)
    except ValueError:
        raise SettingsError(f"{email!r} is not an e-mail address.") from None
