"""The username dialect: which account, which sticky session, which country, for how long.

Two spellings are understood, as customers of the vendor use both::

    {user}-session-{id}[-country-br]
    {user}_area-BR_life-{minutes}_session-{id}[_state-…][_city-…]

A username without a session asks for a rotating exit: another IP for every connection. An account's name may itself
contain hyphens and underscores, so it is recognised by looking it up, longest first, never by cutting the string.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

USERNAME_CHARS_MAX: Final = 255  # RFC 1929 carries the length in one byte; HTTP is held to the same
LIFE_MINUTES_MAX: Final = 1440  # the longest sticky time that vendors of this kind sell
ID_CHARS_MIN: Final = 1
ID_CHARS_MAX: Final = 32
ACCOUNT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_PAIR: Final = re.compile(r"[-_](session|country|area|life|state|city)-([A-Za-z0-9]+)")
_PAIRS: Final = re.compile(rf"(?:{_PAIR.pattern})*")


class BadUsername(Exception):
    """The username names no account of ours, or its parameters are malformed; the message says which."""


@dataclass(frozen=True, slots=True)
class IdRule:
    """How many characters a session id may have; some vendors insist on 9 to 12."""

    min_chars: int = ID_CHARS_MIN
    max_chars: int = ID_CHARS_MAX


@dataclass(frozen=True, slots=True)
class StickyName:
    """A parsed username. ``session`` is None for a rotating exit; ``country`` is ISO 3166-1 alpha-2, upper case."""

    account: str
    session: str | None = None
    country: str | None = None
    life_minutes: int | None = None


def parse_username(username: str, accounts: Collection[str], rule: IdRule) -> StickyName:
    """Read a username against the known ``accounts``. Raises :class:`BadUsername`."""
    if len(username) > USERNAME_CHARS_MAX:
        raise BadUsername("username too long")
    fits = [name for name in accounts if username.startswith(name) and _PAIRS.fullmatch(username, len(name))]
    if not fits:
        raise BadUsername("unknown account or malformed parameters")
    account = max(fits, key=len)
    return _read_pairs(account, username[len(account) :], rule)


def _read_pairs(account: str, tail: str, rule: IdRule) -> StickyName:
    pairs = _PAIR.findall(tail)
    values = dict(pairs)
    if len(values) != len(pairs) or {"country", "area"} <= values.keys():
        raise BadUsername("a parameter is given twice")
    country = values.get("country") or values.get("area")
    return StickyName(
        account=account,
        session=_checked_session(values.get("session"), rule),
        country=country.upper() if country else None,
        life_minutes=_checked_life(values.get("life")),
    )


def _checked_session(session: str | None, rule: IdRule) -> str | None:
    if session is not None and not rule.min_chars <= len(session) <= rule.max_chars:
        raise BadUsername(f"a session id has {rule.min_chars} to {rule.max_chars} characters")
    return session


def _checked_life(life: str | None) -> int | None:
    if life is None:
        return None
    if not (life.isdigit() and len(life) <= 4 and 1 <= int(life) <= LIFE_MINUTES_MAX):
        raise BadUsername(f"life is 1 to {LIFE_MINUTES_MAX} minutes")
    return int(life)
