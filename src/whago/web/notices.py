"""Notifications in words: the templates of the domain, filled in as the reader writes numbers and months."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from babel.dates import format_skeleton
from babel.numbers import format_decimal

from whago.domain.rules.notices import notice_for
from whago.domain.rules.pricing import GB
from whago.web.i18n import Translator

GB_FORMAT = "#,##0.###"


def notice_text(kind: str, data: Mapping[str, Any], translate: Translator) -> tuple[str, str]:
    """Title and message."""
    notice, values = notice_for(kind, data), _values(data, translate)
    return translate(notice.title, **values), translate(notice.message, **values)


def _values(data: Mapping[str, Any], translate: Translator) -> dict[str, Any]:
    """The data, with ``used_bytes`` as ``used_gb`` beside it, and months by their names."""
    shown = dict(data)
    for name, value in data.items():
        if name.endswith("_bytes") and isinstance(value, int):
            amount = format_decimal(Decimal(value) / GB, GB_FORMAT, locale=translate.locale)
            shown[name.removesuffix("_bytes") + "_gb"] = amount
    if isinstance(data.get("month"), str):
        day = date.fromisoformat(f"{data['month']}-01")
        shown["month"] = format_skeleton("yMMMM", day, locale=translate.locale)
    return shown
