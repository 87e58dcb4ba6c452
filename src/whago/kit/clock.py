"""The only place that reads the wall clock. Times are aware and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def microseconds(moment: datetime) -> int:
    """An aware time as whole microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND
