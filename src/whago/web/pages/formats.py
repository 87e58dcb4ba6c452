"""Numbers, money, bytes and times the way the reader writes them. Rounding happens here, for the eye only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale
from babel.dates import format_date, format_datetime, format_time, format_timedelta
from babel.numbers import format_currency, format_decimal
from markupsafe import Markup

from whago.domain.rules.pricing import GB
from whago.kit.money import EXACT, cents

Unit = Literal["day", "hour", "minute", "second"]

KB: Final = 10**3
MB: Final = 10**6
TB: Final = 10**12
UNITS: Final = ((TB, "TB"), (GB, "GB"), (MB, "MB"), (KB, "KB"))
PRICE_PLACES: Final = 6  # as many as a provider's price has
GB_PLACES: Final = 9  # one byte is 10⁻⁹ GB
FRESH: Final = timedelta(days=1)  # younger than this a time is told as "3 hours ago"
SPANS: Final[tuple[tuple[int, Unit], ...]] = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
NEVER_LARGER: Final = 1e9  # Babel would go on to weeks and months

_zones = frozenset(available_timezones())


Day = date  # inside the class the name is a method's


@dataclass(frozen=True, slots=True)
class Formats:
    """One reader's locale and time zone."""

    locale: Locale
    tz: ZoneInfo

    def number(self, value: Decimal | float | int, places: int = 0) -> str:
        """With at most ``places`` decimals."""
        return format_decimal(rounded(Decimal(str(value)), places), "#,##0." + "#" * places, locale=self.locale)

    def bytes(self, count: int, places: int = 1) -> str:
        """In the unit that leaves the fewest digits: ``753,2 MB``. GB and TB have one decimal more."""
        size, unit = next(((size, unit) for size, unit in UNITS if count >= size), (1, "B"))
        shown = 0 if size == 1 else places + (size >= GB)
        return f"{self.number(EXACT.divide(Decimal(count), Decimal(size)), shown)}\N{NO-BREAK SPACE}{unit}"

    def signed_bytes(self, count: int) -> str:
        """With its sign: ``+3,1 MB``."""
        return f"{_sign(count)}{self.bytes(abs(count), 2)}"

    def signed_percent(self, value: Decimal) -> str:
        """With its sign: ``−0,42%``."""
        return f"{_sign(value)}{self.number(abs(value), 2)}%"

    def megabytes(self, count: int) -> str:
        """Always in MB, for columns that are compared."""
        places = 1 if count >= MB or count == 0 else 3
        return f"{self.number(EXACT.divide(Decimal(count), Decimal(MB)), places)}\N{NO-BREAK SPACE}MB"

    def gigabytes(self, amount: Decimal) -> str:
        """A plan's limit."""
        return f"{self.number(amount, GB_PLACES)}\N{NO-BREAK SPACE}GB"

    def percent(self, value: float) -> str:
        """Cut, not rounded, so that 99,96 % never reads as 100 % while something is left."""
        tenths = int(Decimal(str(value)) * 10)
        return f"{self.number(Decimal(tenths) / 10, 1)}%"

    def money(self, amount: Decimal, currency: str = "BRL") -> str:
        return format_currency(cents(amount), currency, locale=self.locale)

    def price(self, amount: Decimal, currency: str = "BRL") -> str:
        """A price per unit, with every decimal that it has beyond two."""
        places = max(2, min(PRICE_PLACES, -int(amount.normalize().as_tuple().exponent)))
        pattern = (
            "¤\N{NO-BREAK SPACE}#,##0." + "0" * places if self.locale.language == "pt" else "¤#,##0." + "0" * places
        )
        return format_currency(amount, currency, pattern, locale=self.locale, currency_digits=False)

    def plain_decimal(self, amount: Decimal) -> str:
        """For an input field: no grouping, the reader's decimal sign."""
        text = f"{amount:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text.replace(".", ",") if self.locale.language == "pt" else text

    def day(self, day: date) -> str:
        """``24 de nov.`` or ``Nov 24``."""
        return format_date(day, "d MMM" if self.locale.language == "pt" else "MMM d", locale=self.locale).rstrip(".")

    def full_day(self, day: date) -> str:
        return format_date(day, "full", locale=self.locale)

    def month(self, month: date) -> str:
        return format_date(month, "MMMM 'de' y" if self.locale.language == "pt" else "MMMM y", locale=self.locale)

    def date(self, moment: datetime) -> Markup:
        """The day of a moment in the reader's zone, with the moment in UTC on hover."""
        return self._time_tag(moment, format_date(moment.astimezone(self.tz).date(), "short", locale=self.locale))

    def time(self, moment: datetime) -> Markup:
        """A ``<time>`` in the reader's zone, with UTC on hover."""
        text = format_datetime(moment, "short", tzinfo=self.tz, locale=self.locale)
        return self._time_tag(moment, text)

    def ago(self, moment: datetime, now: datetime) -> Markup:
        """``há 3 horas`` for the last day, the date before that."""
        age = now - moment
        if not timedelta(0) <= age < FRESH:
            return self.time(moment)
        return self._time_tag(moment, format_timedelta(-age, add_direction=True, locale=self.locale))

    def plain_time(self, moment: datetime) -> str:
        """The same moment as text alone, for what scripts show."""
        return format_datetime(moment, "short", tzinfo=self.tz, locale=self.locale)

    def lasts(self, length: timedelta) -> str:
        """``12 dias``, ``3 horas``: in the largest unit of which there are two, cut and not rounded."""
        seconds = int(length.total_seconds())
        size, unit = next(((size, unit) for size, unit in SPANS if seconds >= 2 * size), SPANS[-1])
        whole = timedelta(seconds=seconds // size * size)
        return format_timedelta(whole, granularity=unit, threshold=NEVER_LARGER, locale=self.locale)

    def for_since(self, since: datetime, now: datetime) -> Markup:
        """How long something lasts by now; when it began is on hover."""
        return self._time_tag(since, self.lasts(max(now - since, timedelta(0))))

    def tick(self, moment: datetime, span: timedelta) -> str:
        """A place on an axis that is ``span`` long: hours on a short one, days on a long one."""
        if span < 2 * FRESH:
            return format_time(moment, "short", tzinfo=self.tz, locale=self.locale)
        return self.day(moment.astimezone(self.tz).date())

    def short_month(self, month: Day) -> str:
        """``nov. 26``, for an axis."""
        return format_date(month, "MMM yy", locale=self.locale)

    def rate(self, per_second: int) -> str:
        return f"{self.bytes(per_second)}/s"

    def _time_tag(self, moment: datetime, text: str) -> Markup:
        utc = moment.astimezone(UTC)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            utc.isoformat(), f"{utc:%Y-%m-%d %H:%M:%S} UTC", text
        )


def _sign(value: Decimal | int) -> str:
    return "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""


def rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN, context=EXACT)


def zone_of(name: str | None, otherwise: ZoneInfo) -> ZoneInfo:
    """The zone that a browser named, if there is such a zone."""
    return ZoneInfo(name) if name is not None and name in _zones else otherwise
