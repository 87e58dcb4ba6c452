"""What traffic costs: bytes × the price in force when they flowed, exact. The ledger multiplies (models/ledger.py)."""

from __future__ import annotations

from decimal import Context, Decimal

GB = 10**9  # for plans and users; a provider states its own
EXACT = Context(prec=60)  # a plan's limit in bytes never reaches 60 digits


def gb(used_bytes: int) -> float:
    """Bytes as GB of 10⁹, for display."""
    return used_bytes / GB


def limit_bytes(limit_gb: Decimal | None) -> int | None:
    """A plan's limit in bytes; None is unlimited, 0 is nothing."""
    return None if limit_gb is None else int(EXACT.multiply(limit_gb, Decimal(GB)))
