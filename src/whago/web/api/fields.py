"""The kinds of values that bodies, queries and answers are made of."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Generic, TypeVar
from zoneinfo import available_timezones

from fastapi import Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from whago.domain.queries.paging import CURSOR_MAX_CHARS, DEFAULT_LIMIT, MAX_LIMIT
from whago.kit.emails import normal_email
from whago.kit.money import plain
from whago.kit.passwords import is_common

NAME_MAX_CHARS: Final = 120
SEARCH_MAX_CHARS: Final = 120
PASSWORD_MIN_CHARS: Final = 8  # NIST SP 800-63B section 3.1.1
PASSWORD_MAX_CHARS: Final = 256  # a passphrase fits; hashing a megabyte does not
REGION_MAX_CHARS: Final = 40
EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)  # before the product, and far from where calendars end
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)

TIME_ZONES: Final = frozenset(available_timezones())

Item = TypeVar("Item")


class Body(BaseModel):
    """What clients send. An unknown field is refused: it would be a misunderstanding that nobody notices."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Answer(BaseModel):
    """What clients get, read from the attributes of a query's row."""

    model_config = ConfigDict(from_attributes=True)


class ListAnswer(Answer, Generic[Item]):
    """A page of a list; ``next_cursor`` asks for what follows, null at the end."""

    items: list[Item]
    next_cursor: str | None


def printable(value: str) -> str:
    """Refuses control characters, lone surrogates and other signs that nobody types on purpose."""
    if not value.isprintable():
        raise ValueError("This text holds characters that cannot be shown.")
    return value


def encodable(value: str) -> str:
    """Refuses what has no UTF-8 form."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("This text holds characters that are not valid Unicode.") from None
    return value


def blank_is_none(value: Any) -> Any:
    """Forms send empty text for what was left out."""
    return None if isinstance(value, str) and not value.strip() else value


def uncommon(value: str) -> str:
    """Refuses a password that is guessed first."""
    if is_common(value):
        raise ValueError("This password is one of the first that are guessed. Choose another one.")
    return value


def known_zone(value: str | None) -> str | None:
    """A zone of the IANA database, or none."""
    if value is not None and value not in TIME_ZONES:
        raise ValueError("A time zone such as America/Sao_Paulo is expected here.")
    return value


def _email(value: str) -> str:
    try:
        return normal_email(printable(value))
    except ValueError:
        raise ValueError("This is not an e-mail address.") from None


def _in_range(value: datetime) -> datetime:
    if not EARLIEST <= value <= LATEST:
        raise ValueError("The time must be between the years 2020 and 2100.")
    return value.astimezone(UTC)


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_MAX_CHARS), AfterValidator(printable)
]
Region = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=REGION_MAX_CHARS), AfterValidator(printable)
]
OptionalRegion = Annotated[Region | None, BeforeValidator(blank_is_none)]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    AfterValidator(_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254}),
]
NewPassword = Annotated[
    str,
    StringConstraints(min_length=PASSWORD_MIN_CHARS, max_length=PASSWORD_MAX_CHARS),
    AfterValidator(encodable),
    AfterValidator(uncommon),
    WithJsonSchema(
        {"type": "string", "format": "password", "minLength": PASSWORD_MIN_CHARS, "maxLength": PASSWORD_MAX_CHARS}
    ),
]
GivenPassword = Annotated[
    str,
    StringConstraints(max_length=PASSWORD_MAX_CHARS),
    AfterValidator(encodable),
    WithJsonSchema({"type": "string", "format": "password", "maxLength": PASSWORD_MAX_CHARS}),
]
Moment = Annotated[
    datetime, PlainSerializer(_moment), WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization")
]
GivenMoment = Annotated[AwareDatetime, AfterValidator(_in_range)]
Money = Annotated[
    Decimal,
    PlainSerializer(plain),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}, mode="serialization"),
]
MonthDay = date

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows of one page.")]
Cursor = Annotated[str | None, Query(max_length=CURSOR_MAX_CHARS, description="`next_cursor` of the page before.")]
Search = Annotated[
    str | None, Query(max_length=SEARCH_MAX_CHARS), AfterValidator(lambda value: value and printable(value))
]
PAGE: Final = DEFAULT_LIMIT
