"""Where a customer stands against the month's limit."""

from __future__ import annotations

from enum import StrEnum

WARNING_PERCENT = 80
MIN_USEFUL_BYTES = 1_024  # less than one CONNECT exchange with TLS's first flight: nothing can be opened with it


class OnLimit(StrEnum):
    """What happens at 100 %: everything stops, only new tunnels and chips stop, or nothing does."""

    BLOCK = "block"
    BLOCK_NEW = "block_new"
    BILL = "bill"


class QuotaState(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BLOCKED = "blocked"


def is_spent(used_bytes: int, limit: int | None) -> bool:
    """Whether nothing useful is left. A limit of 0 is always spent, no limit never is."""
    return limit is not None and limit - used_bytes < min(MIN_USEFUL_BYTES, max(limit, 1))


def is_warned(used_bytes: int, limit: int | None) -> bool:
    """Whether the warning line is reached."""
    return bool(limit) and limit is not None and used_bytes * 100 >= limit * WARNING_PERCENT


def quota_state(used_bytes: int, limit: int | None, on_limit: OnLimit) -> QuotaState:
    """The state that the customer sees; a plan that bills on is never blocked."""
    if is_spent(used_bytes, limit):
        return QuotaState.WARNING if on_limit is OnLimit.BILL else QuotaState.BLOCKED
    return QuotaState.WARNING if is_warned(used_bytes, limit) else QuotaState.OK


def percentage(used_bytes: int, limit: int | None) -> float:
    """Used share of the limit in percent, two places; 0 without a limit, 100 when nothing is allowed."""
    if limit is None:
        return 0.0
    if limit == 0:
        return 100.0
    return round(used_bytes * 100 / limit, 2)
