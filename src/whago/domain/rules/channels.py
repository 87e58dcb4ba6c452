"""What a channel wants to be told, and when it may be disturbed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from whago.domain.rules.thresholds import WARNING_PERCENT

EXHAUSTED_PERCENT: Final = 100
STANDARD_THRESHOLDS: Final = (WARNING_PERCENT, EXHAUSTED_PERCENT)
THRESHOLD_MAX: Final = 200  # percent: a plan that bills on passes its limit; past twice the limit it is no longer news
THRESHOLDS_PER_CHANNEL: Final = 10  # each is a message a month
QUOTA_KINDS: Final = frozenset({"quota_warning", "quota_exhausted"})


class ChannelKind(StrEnum):
    IN_APP = "in_app"
    EMAIL = "email"
    WEBHOOK = "webhook"


class EventType(StrEnum):
    """What a customer's own system can be told by webhook."""

    USAGE_THRESHOLD = "usage.threshold"
    CHIP_STATUS = "chip.status_changed"
    CHIP_EXIT_IP = "chip.exit_ip_changed"
    CHIP_PROXY = "chip.proxy_changed"


@dataclass(frozen=True, slots=True)
class Wishes:
    """``kinds`` of alerts, None for all of them; ``thresholds`` of the quota, in percent."""

    kinds: Collection[str] | None
    thresholds: Collection[int]

    def want(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Whether a notification of this kind goes out here. A recovery follows the alert that it ends."""
        if self.kinds is not None and kind not in self.kinds:
            return False
        return kind not in QUOTA_KINDS or threshold_of(kind, data) in self.thresholds


def threshold_of(kind: str, data: Mapping[str, Any]) -> int:
    """The threshold, in percent, that a notification about the quota tells of."""
    usual = EXHAUSTED_PERCENT if kind == "quota_exhausted" else WARNING_PERCENT
    told = data.get("threshold", usual)
    return told if isinstance(told, int) else usual


def extra_thresholds(wished: Collection[Collection[int]]) -> list[int] | None:
    """What the traffic must watch beside 80 and 100, rising; None for nothing."""
    extra = {percent for one in wished for percent in one} - set(STANDARD_THRESHOLDS)
    return sorted(extra) or None


def passed_threshold(used_bytes: int, limit: int | None, extra: Collection[int] | None, told_percent: int) -> int:
    """The highest of the extra thresholds that is reached and above what was told already, else 0."""
    if not extra or not limit:
        return 0
    return max((one for one in extra if one > told_percent and used_bytes * 100 >= limit * one), default=0)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of day to another in a zone; over midnight when the second is not after the first."""

    begins: time
    ends: time
    zone: ZoneInfo

    def over_at(self, moment: datetime) -> datetime:
        """``moment`` itself outside the quiet hours, else when they end, in UTC.

        Times of day are those of the zone's clock, so a day with 23 or 25 hours shifts nothing.
        """
        local = moment.astimezone(self.zone)
        clock = local.time()
        if self.begins < self.ends:
            quiet, tomorrow = self.begins <= clock < self.ends, False
        else:
            quiet, tomorrow = clock >= self.begins or clock < self.ends, clock >= self.begins
        if not quiet or self.begins == self.ends:
            return moment
        day = local.date() + timedelta(days=1 if tomorrow else 0)
        return max(moment, datetime.combine(day, self.ends, tzinfo=self.zone).astimezone(UTC))
