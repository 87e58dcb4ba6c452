"""From a sticky token to what a provider wants to see: username and password by template, and the preset's facts.

Templates use ``{username} {password} {session} {country} {region} {lifetime}``; an unknown placeholder is refused.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CountryCase = Literal["lower", "upper"]

PLACEHOLDERS = ("username", "password", "session", "country", "region", "lifetime")
USERNAME_MAX_BYTES = 255  # RFC 1929 carries one length byte; HTTP servers cut far later
DEFAULT_LIFETIME_MIN = 1440


class UnknownPlaceholder(ValueError):
    """A template uses a name that does not exist; ``args[0]`` is that name."""


@dataclass(frozen=True, slots=True)
class Login:
    """What the upstream is told. ``password`` is a secret."""

    username: str
    password: str


def check_template(template: str) -> None:
    """Raises UnknownPlaceholder with the placeholder's name, or ValueError for unbalanced braces."""
    for _text, name, spec, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if name not in PLACEHOLDERS or spec or conversion:
            raise UnknownPlaceholder(name or "{}")


def build_login(
    *,
    username_template: str,
    password_template: str,
    credentials: Mapping[str, str],
    token: str,
    country: str | None,
    region: str | None,
    lifetime_min: int = DEFAULT_LIFETIME_MIN,
    country_form: CountryCase = "lower",
) -> Login:
    """Fills both templates. Raises ValueError when the username passes what SOCKS5 can carry.

    ``country_form``: vendors write BR or br, and some do not understand the other.
    """
    values = {
        "username": credentials.get("username", ""),
        "password": credentials.get("password", ""),
        "session": token,
        "country": (country or "").upper() if country_form == "upper" else (country or "").lower(),
        "region": (region or "").lower(),
        "lifetime": str(lifetime_min),
    }
    login = Login(username_template.format_map(values), password_template.format_map(values))
    if len(login.username.encode()) > USERNAME_MAX_BYTES:
        raise ValueError(f"the username has more than {USERNAME_MAX_BYTES} bytes")
    return login
