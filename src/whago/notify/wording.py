"""Notifications in words: the templates of the domain, with numbers, months and times as the reader writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, format_skeleton
from babel.numbers import format_currency, format_decimal

from whago.domain.rules.notices import notice_for
from whago.domain.rules.pricing import GB
from whago.kit.languages import Translator
from whago.kit.money import cents

GB_FORMAT: Final = "#,##0.###"
PERCENT_FORMAT: Final = "#,##0.#"
CURRENCY: Final = "BRL"  # the one billing currency


def notice_text(kind: str, level: str, data: Mapping[str, Any], translate: Translator, tz: ZoneInfo) -> tuple[str, str]:
    """Title and message. Times are shown in ``tz``, with its name."""
    notice, values = notice_for(kind, data, level), shown_values(data, translate, tz)
    return translate(notice.title, **values), translate(notice.message, **values)


def shown_values(data: Mapping[str, Any], translate: Translator, tz: ZoneInfo) -> dict[str, Any]:
    """The data, with ``used_bytes`` as ``used_gb`` beside it; ``…cost``, ``…_at``, ``month`` and ``day`` in words.

    A value that does not have the form which its name promises stays as it is: a notice is shown in any case.
    """
    shown = dict(data)
    for name, value in data.items():
        if name.endswith("_bytes") and isinstance(value, int):
            amount = format_decimal(Decimal(value) / GB, GB_FORMAT, locale=translate.locale)
            shown[name.removesuffix("_bytes") + "_gb"] = amount
        for ending, say in _SAID.items():
            if isinstance(value, str) and (name == ending.lstrip("_") or name.endswith(ending)):
                shown[name] = _tried(say, value, translate, tz)
    return shown


def _tried(say: Callable[[str, Translator, ZoneInfo], str], value: str, translate: Translator, tz: ZoneInfo) -> str:
    try:
        return say(value, translate, tz)
    except (ValueError, InvalidOperation):
        return value


def _money(value: str, translate: Translator, _tz: ZoneInfo) -> str:
    return str(format_currency(cents(Decimal(value)), CURRENCY, locale=translate.locale))


def _month(value: str, translate: Translator, _tz: ZoneInfo) -> str:
    return str(format_skeleton("yMMMM", date.fromisoformat(f"{value}-01"), locale=translate.locale))


def _day(value: str, translate: Translator, _tz: ZoneInfo) -> str:
    return str(format_date(date.fromisoformat(value), "short", locale=translate.locale))


def _moment(value: str, translate: Translator, tz: ZoneInfo) -> str:
    moment = datetime.fromisoformat(value).astimezone(tz)
    return f"{format_datetime(moment, 'short', tzinfo=tz, locale=translate.locale)} ({tz.key})"


def _gigabytes(value: str, translate: Translator, _tz: ZoneInfo) -> str:
    return str(format_decimal(Decimal(value), GB_FORMAT, locale=translate.locale))


_SAID: Final[Mapping[str, Callable[[str, Translator, ZoneInfo], str]]] = {
    "_gb": _gigabytes,
    "_cost": _money,
    "_month": _month,
    "_day": _day,
    "_at": _moment,
}
