"""Plausible past traffic: by day more than by night, on weekdays more than on Sundays, and exact in its sum. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from whago.domain.actions.record_usage import MeteredUsage
from whago.domain.queries.demo import DemoChip
from whago.domain.rules.months import HOUR, usage_hour

SEED: Final = 20_260_214  # the same installation always gets the same past
OVERHEAD_BYTES: Final = 420  # one CONNECT exchange with a sticky username
SHARE_UP_PERCENT: Final = 22  # chats receive more than they send
FINE_HOURS: Final = 72  # the last days hour by hour, as the hourly chart shows them
COARSE_STEP_HOURS: Final = 4  # before that days are what is looked at, and rows cost time at the first start
BY_DAY: Final = (1, 0, 0, 0, 0, 1, 2, 5, 9, 12, 13, 12, 9, 11, 13, 13, 12, 10, 8, 6, 5, 4, 3, 2)  # weight of each hour
SUNDAY_DIVISOR: Final = 4


def past_usage(
    owner_id: UUID, chips: Sequence[DemoChip], *, begins: datetime, ends: datetime, total_bytes: int, tz: ZoneInfo,
    first_tunnel: int,
) -> list[MeteredUsage]:  # fmt: skip
    """Tunnels of these chips between two moments of one billing month that add up to ``total_bytes``."""
    dice = random.Random(f"{SEED}:{begins:%Y-%m}:{[chip.alias for chip in chips]}")  # noqa: S311 - a look, no secret
    slots = [(chip, hour) for hour in _hours(begins, ends, tz) for chip in chips if chip.assignment_id is not None]
    weights = [_weight(hour, tz) * dice.randint(60, 140) + 1 for _chip, hour in slots]
    usages = []
    for number, ((chip, hour), count) in enumerate(zip(slots, _split(total_bytes, weights), strict=True)):
        if count > OVERHEAD_BYTES:
            usages.append(_tunnel(owner_id, chip, hour, count, first_tunnel + number, ends, dice))
    if not usages and slots and total_bytes > 0:  # too little for more than one tunnel
        usages.append(_tunnel(owner_id, *slots[-1], total_bytes, first_tunnel, ends, dice))
    return _made_exact(usages, total_bytes)


def _hours(begins: datetime, ends: datetime, tz: ZoneInfo) -> list[datetime]:
    """The last hour is always among them, so that there is one even in a month's first minute."""
    last = usage_hour(ends, tz)
    span = int((last - begins) / HOUR)
    back = [*range(min(span, FINE_HOURS)), *range(min(span, FINE_HOURS), span + 1, COARSE_STEP_HOURS)]
    return [last - hours * HOUR for hours in reversed(back)]


def _weight(hour: datetime, tz: ZoneInfo) -> int:
    local = hour.astimezone(tz)
    weight = BY_DAY[local.hour] * 10
    return weight // SUNDAY_DIVISOR if local.weekday() == 6 else weight


def _split(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares in proportion, whose sum is the total."""
    whole, given, passed = sum(weights), 0, 0
    shares = []
    for weight in weights:
        passed += weight
        share = total * passed // whole - given
        given += share
        shares.append(share)
    return shares


def _tunnel(
    owner_id: UUID, chip: DemoChip, hour: datetime, count: int, tunnel_id: int, ends: datetime, dice: random.Random
) -> MeteredUsage:
    assert chip.proxy_id is not None
    assert chip.assignment_id is not None
    overhead = min(count, OVERHEAD_BYTES)
    payload = count - overhead
    up = payload * SHARE_UP_PERCENT // 100
    begun = min(hour + timedelta(seconds=dice.randint(0, 600)), ends)
    return MeteredUsage(
        tunnel_id=tunnel_id,
        user_id=owner_id,
        chip_id=chip.id,
        proxy_id=chip.proxy_id,
        assignment_id=chip.assignment_id,
        price_id=chip.price_id or 0,
        hour=hour,
        bytes_up=up,
        bytes_down=payload - up,
        overhead=overhead,
        started_at=max(begun, hour),
        last_at=max(min(begun + timedelta(minutes=dice.randint(20, 49)), ends), begun, hour),
    )


def _made_exact(usages: list[MeteredUsage], total_bytes: int) -> list[MeteredUsage]:
    """What the slots too small for a tunnel would have had goes to the largest one."""
    if not usages:
        return usages  # nothing to use, or no chip that could have used it
    missing = total_bytes - sum(one.bytes_up + one.bytes_down + one.overhead for one in usages)
    largest = max(range(len(usages)), key=lambda index: usages[index].bytes_down)
    usages[largest] = replace(usages[largest], bytes_down=usages[largest].bytes_down + missing)
    return usages
