"""Exact decimals. Money is never a float; it is rounded once, when a month is shown or billed."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

CENT = Decimal("0.01")
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)  # bytes × price never reaches 60 digits, so nothing is lost


def cents(amount: Decimal) -> Decimal:
    """The amount rounded to two places, half to even."""
    return amount.quantize(CENT, context=EXACT)


def plain(amount: Decimal) -> str:
    """The amount as a JSON string: no exponent, no trailing zeros beyond two places."""
    text = f"{amount:f}"
    if "." not in text:
        return text
    whole, fraction = text.split(".")
    fraction = fraction.rstrip("0").ljust(2, "0")
    return f"{whole}.{fraction}"
