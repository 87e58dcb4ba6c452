"""What traffic costs: bytes × the price in force when they flowed, exact."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

GB = 10**9  # for plans and users; a provider states its own
COST_SCALE = Decimal("1E-15")  # NUMERIC(…, 15): exact for 10⁹ with 6 price places; for 2³⁰ the error is < 10⁻¹⁵ a row
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def cost_of(used_bytes: int, cost_per_gb: Decimal, bytes_per_gb: int) -> Decimal:
    """The cost of ``used_bytes`` at a price per GB of ``bytes_per_gb`` bytes, to 15 places."""
    exact = EXACT.divide(EXACT.multiply(Decimal(used_bytes), cost_per_gb), Decimal(bytes_per_gb))
    return exact.quantize(COST_SCALE, context=EXACT)


def gb(used_bytes: int) -> float:
    """Bytes as GB of 10⁹, for display."""
    return used_bytes / GB


def limit_bytes(limit_gb: Decimal | None) -> int | None:
    """A plan's limit in bytes; None is unlimited, 0 is nothing."""
    return None if limit_gb is None else int(EXACT.multiply(limit_gb, Decimal(GB)))
