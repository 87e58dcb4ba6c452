"""Addresses of lists: the filter and the place in the list are in the address, so it can be kept and shared."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode
from uuid import UUID


def address(path: str, filters: Mapping[str, str | None]) -> str:
    """The path with those filters that say something."""
    told = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode(told)}" if told else path


def next_page(path: str, filters: Mapping[str, str | None], cursor: str | None) -> str | None:
    """Where the list goes on; None at its end."""
    return address(path, {**filters, "cursor": cursor}) if cursor else None


def id_or_none(text: str) -> UUID | None:
    """The identifier in an address; None for what is none."""
    try:
        return UUID(text)
    except ValueError:
        return None
