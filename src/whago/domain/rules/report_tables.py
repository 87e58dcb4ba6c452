"""The columns of reports as files: a name that programs rely on, and a title for people (a gettext id)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

MONTH_TITLE: Final = "Month"


@dataclass(frozen=True, slots=True)
class Column:
    """``value`` reads the cell from a line."""

    name: str
    title: str
    value: Callable[[Any], Any]


def _column(name: str, title: str) -> Column:
    return Column(name, title, attrgetter(name))


CUSTOMERS: Final = (
    _column("user_id", "Customer ID"),
    _column("name", "Customer"),
    _column("email", "E-mail"),
    _column("plan", "Plan"),
    _column("plan_price", "Plan price (BRL)"),
    _column("bytes_used", "Bytes"),
    _column("billed_cost", "Cost (BRL)"),
    _column("cost", "Exact cost (BRL)"),
    _column("margin", "Margin (BRL)"),
    _column("margin_percent", "Margin (%)"),
    _column("projected_cost", "Projected cost (BRL)"),
    _column("projected_margin", "Projected margin (BRL)"),
)
CHIPS: Final = (
    _column("chip_id", "Chip ID"),
    _column("alias", "Chip"),
    _column("user_id", "Customer ID"),
    _column("customer", "Customer"),
    _column("email", "E-mail"),
    _column("bytes_used", "Bytes"),
    _column("cost", "Exact cost (BRL)"),
)
PROVIDERS: Final = (
    _column("provider_id", "Provider ID"),
    _column("provider", "Provider"),
    _column("price_id", "Price ID"),
    _column("cost_per_gb", "Price per GB"),
    _column("bytes_per_gb", "Bytes per GB"),
    _column("currency", "Currency"),
    _column("effective_from", "In force since"),
    _column("customers", "Customers"),
    _column("chips", "Chips"),
    _column("bytes_used", "Bytes"),
    _column("cost", "Exact cost (BRL)"),
)
PRICES: Final = (
    _column("chip_id", "Chip ID"),
    _column("alias", "Chip"),
    _column("user_id", "Customer ID"),
    _column("customer", "Customer"),
    _column("email", "E-mail"),
    _column("provider", "Provider"),
    _column("proxy_id", "Proxy ID"),
    _column("proxy_url", "Proxy"),
    _column("price_id", "Price ID"),
    _column("cost_per_gb", "Price per GB"),
    _column("bytes_per_gb", "Bytes per GB"),
    _column("bytes_used", "Bytes"),
    _column("cost", "Exact cost (BRL)"),
)
OWN_DAYS: Final = (
    _column("day", "Day"),
    _column("chip_id", "Chip ID"),
    _column("alias", "Chip"),
    _column("bytes_used", "Bytes"),
    _column("cost", "Exact cost (BRL)"),
)
TABLES: Final[Mapping[str, Sequence[Column]]] = {
    "customers": CUSTOMERS,
    "chips": CHIPS,
    "providers": PROVIDERS,
    "prices": PRICES,
}
"""The reports that administrators take as files."""


def heads(columns: Sequence[Column], say: Callable[[str], str] | None) -> list[str]:
    """The first line: names for programs, or titles in the reader's language."""
    return [column.name if say is None else say(column.title) for column in columns]


def cells(columns: Sequence[Column], line: Any) -> list[Any]:
    return [column.value(line) for column in columns]
