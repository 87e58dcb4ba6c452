"""Calibrations: begun, carried on step by step by a clock, judged, and taken over."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from whago.domain.models import Calibration, Provider
from whago.domain.models.auditing import audit
from whago.domain.models.bills import billing_of
from whago.domain.models.proxies import ProviderPrice
from whago.domain.rules.calibration import Fit, NoFit, Step, fit
from whago.errors import WhagoError
from whago.kit.db import signal, transaction
from whago.kit.ids import new_id

GIVEN_UP_AFTER: Final = timedelta(hours=24)  # by then the vendor's day has turned and its figures are of no use
BUSY_PERCENT: Final = 1  # chips that move more than this beside a step spoil it


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of transfers to make: ``tunnels`` downloads of ``each_bytes``."""

    tunnels: int
    each_bytes: int


# Few large ones tell the scale, many small ones the overhead; about 5 MB and 100 tunnels in all.
BATCHES: Final = (
    Batch(1, 1_000_000),
    Batch(40, 1_000),
    Batch(2, 500_000),
    Batch(40, 5_000),
    Batch(1, 2_000_000),
    Batch(16, 20_000),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A running calibration as the clock sees it. ``batch`` None: nothing is left to transfer."""

    provider_id: UUID
    started_at: datetime
    batch: Batch | None


def begin_calibration(actor_id: UUID | None, provider_id: UUID, *, now: datetime) -> UUID:
    """Raises WhagoError: not_found, calibration_runs (one is under way)."""
    with transaction() as db:
        provider = db.scalars(
            select(Provider).where(Provider.id == provider_id, Provider.deleted_at.is_(None)).with_for_update()
        ).one_or_none()
        if provider is None:
            raise WhagoError("not_found")
        if db.scalar(select(Calibration.id).where(_running(provider_id))) is not None:
            raise WhagoError("calibration_runs")
        steps = [{"tunnels": one.tunnels, "each_bytes": one.each_bytes} for one in BATCHES]
        made = Calibration(
            id=new_id(), provider_id=provider_id, state="running", started_at=now, next_at=now, steps=steps
        )
        db.add(made)
        audit(db, actor_id, "provider.calibrate", "provider", provider_id, now)
        return made.id


def carry_on(calibration_id: UUID, *, vendor_total: int, chip_total: int, now: datetime) -> Moment | None:
    """The vendor's counter at this moment closes the step before. None: the calibration has ended.

    When all steps are there the line is fitted, and what no meter would count is refused.
    """
    with transaction() as db:
        one = _locked(db, calibration_id)
        if one is None:
            return None
        provider = db.get_one(Provider, one.provider_id)
        steps = [dict(step) for step in one.steps]
        pending = next((step for step in steps if "wire_bytes" in step and "vendor_bytes" not in step), None)
        if pending is not None:
            pending["vendor_bytes"] = vendor_total - pending["vendor_before"]
            others = chip_total - pending["chips_before"]
            if others * 100 > BUSY_PERCENT * pending["wire_bytes"]:
                _end(one, steps, now, problem="busy")
                return None
        following = next((step for step in steps if "wire_bytes" not in step), None)
        if following is None:
            _judge(one, steps, provider, now)
            return None
        if now - one.started_at > GIVEN_UP_AFTER:
            _end(one, steps, now, problem="late")
            return None
        following["vendor_before"], following["chips_before"] = vendor_total, chip_total
        one.steps = steps
        return Moment(one.provider_id, one.started_at, Batch(following["tunnels"], following["each_bytes"]))


def record_transfers(calibration_id: UUID, *, wire_bytes: int, tunnels: int, next_at: datetime) -> None:
    """What the batch really moved; the clock comes back when the vendor's figures are complete."""
    with transaction() as db:
        one = _locked(db, calibration_id)
        if one is None:
            return
        steps = [dict(step) for step in one.steps]
        step = next(step for step in steps if "wire_bytes" not in step)
        step["wire_bytes"], step["tunnels"] = wire_bytes, tunnels
        one.steps, one.next_at = steps, next_at


def fail_calibration(calibration_id: UUID, problem: str, *, now: datetime) -> None:
    """The transfers or the vendor's API did not work."""
    with transaction() as db:
        one = _locked(db, calibration_id)
        if one is not None:
            one.state, one.problem, one.ended_at = "failed", problem, now


def apply_calibration(actor_id: UUID | None, calibration_id: UUID, *, now: datetime) -> None:
    """Takes over what was fitted: the size of a GB counts for prices from now on, the overhead for comparisons.

    Raises WhagoError: not_found; calibration_refused for one that was not done or fits no known size.
    """
    with transaction() as db:
        one = db.scalars(select(Calibration).where(Calibration.id == calibration_id).with_for_update()).one_or_none()
        if one is None:
            raise WhagoError("not_found")
        if one.state != "done" or one.fit is None:
            raise WhagoError("calibration_refused")
        provider = db.scalars(select(Provider).where(Provider.id == one.provider_id).with_for_update()).one()
        _take_size(db, provider, int(one.fit["bytes_per_gb"]), now)
        billing_of(db, provider.id).request_overhead_bytes = int(one.fit["overhead_bytes"])
        one.applied_at = now
        audit(db, actor_id, "provider.apply_calibration", "provider", provider.id, now, **one.fit)


def _take_size(db: Session, provider: Provider, bytes_per_gb: int, now: datetime) -> None:
    if provider.bytes_per_gb == bytes_per_gb:
        return
    provider.bytes_per_gb, provider.updated_at = bytes_per_gb, now
    price = ProviderPrice(
        provider_id=provider.id,
        cost_per_gb=provider.cost_per_gb,
        bytes_per_gb=bytes_per_gb,
        currency=provider.currency,
        effective_from=now,
    )
    db.add(price)
    db.flush()
    provider.current_price_id = price.id
    signal(db, "provider", provider.id)


def _judge(one: Calibration, steps: list[dict[str, Any]], provider: Provider, now: datetime) -> None:
    known = [Step(step["wire_bytes"], step["tunnels"], step["vendor_bytes"]) for step in steps]
    try:
        found = fit(known, bytes_per_gb=provider.bytes_per_gb)
    except NoFit as refused:
        one.fit = _json(refused.fit) if refused.fit is not None else None
        _end(one, steps, now, problem=refused.problem)
        return
    one.fit = _json(found)
    if found.is_known:
        one.steps, one.state, one.ended_at = steps, "done", now
    else:
        _end(one, steps, now, problem="unexplained_scale")


def _end(one: Calibration, steps: list[dict[str, Any]], now: datetime, *, problem: str) -> None:
    one.steps, one.state, one.problem, one.ended_at = steps, "refused", problem, now


def _json(found: Fit) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(found).items()}


def _locked(db: Session, calibration_id: UUID) -> Calibration | None:
    return db.scalars(
        select(Calibration).where(Calibration.id == calibration_id, Calibration.state == "running").with_for_update()
    ).one_or_none()


def _running(provider_id: UUID) -> Any:
    return (Calibration.provider_id == provider_id) & (Calibration.state == "running")
