"""Rows that pages can be looked at with: accounts that can sign in, a pool, chips, a month of usage."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from tests.factories import TZ, make_chip, make_provider, make_proxy, make_user
from whago.domain.actions.chips import CreatedChip, set_chip_status
from whago.domain.actions.exit_ips import observe_exit_ip
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import Assignment, Chip, ChipStatus, Provider, Proxy, User
from whago.domain.rules.months import usage_hour
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import reading, transaction
from whago.kit.ids import new_id
from whago.kit.passwords import hash_password

PASSWORD = "correct horse battery"
_HASH = hash_password(PASSWORD)
_tunnels = itertools.count(1)


def make_account(plan: str = "business", **fields: Any) -> User:
    """A user who can sign in with ``PASSWORD``."""
    return make_user(plan, **{"password_hash": _HASH, "created_at": clock.now()} | fields)


def make_admin(**fields: Any) -> User:
    return make_account(**{"role": "admin", "name": "Ana Ribeiro", "email": "ana@whago.example"} | fields)


def ready_pool(vault: Vault, **fields: Any) -> tuple[Provider, Proxy]:
    """A provider with one proxy that has room for everybody."""
    provider = make_provider(
        vault,
        **{"name": "Smartproxy Brasil", "preset": "smartproxy", "region": "BR", "created_at": clock.now()} | fields,
    )
    return provider, make_proxy(provider, created_at=clock.now())


def new_chip(owner: User, alias: str, **fields: Any) -> CreatedChip:
    return make_chip(owner, alias, now=clock.now(), **fields)


def settle(chip_id: UUID, status: ChipStatus, *, phone: str | None = None, exit_ip: str | None = None) -> None:
    """What the engine and the first connection would tell of a chip."""
    set_chip_status(chip_id, status, now=clock.now(), phone_number=phone)
    if exit_ip is not None:
        observe_exit_ip(assignment_of(chip_id).id, exit_ip, country="BR", asn="AS28573 Claro", now=clock.now())


def assignment_of(chip_id: UUID) -> Assignment:
    with reading() as db:
        return db.scalars(
            select(Assignment).where(Assignment.chip_id == chip_id, Assignment.released_at.is_(None))
        ).one()


@dataclass(slots=True)
class Meter:
    """A gateway's reports, without its sockets: every call is one more tunnel."""

    boot_id: UUID

    @classmethod
    def start(cls) -> Meter:
        boot_id = new_id()
        register_boot(boot_id, host="127.0.0.1", pid=1, port=3128, now=clock.now())
        return cls(boot_id)

    def move(self, chip_id: UUID, count: int, *, at: datetime | None = None) -> None:
        """Records ``count`` bytes of a chip."""
        now = clock.now()
        moment = at or now
        with reading() as db:
            chip = db.get_one(Chip, chip_id)
            assignment = db.scalars(select(Assignment).where(Assignment.chip_id == chip_id)).first()
            assert assignment is not None
            price_id = db.get_one(Provider, assignment.provider_id).current_price_id
        usage = MeteredUsage(
            tunnel_id=next(_tunnels),
            user_id=chip.user_id,
            chip_id=chip_id,
            proxy_id=assignment.proxy_id,
            assignment_id=assignment.id,
            price_id=price_id or 0,
            hour=usage_hour(moment, TZ),
            bytes_up=count // 5,
            bytes_down=count - count // 5 - count // 50,
            overhead=count // 50,
            started_at=moment,
            last_at=moment,
        )
        record_usage(self.boot_id, [usage], now=now, tz=TZ, open_tunnels=3)


def past_usage(meter: Meter, chip_ids: list[UUID], *, days: int = 29, daily: int = 18_000_000) -> None:
    """A plausible month behind: weekdays busier than Sundays."""
    today = clock.now()
    for back in range(days, 0, -1):
        at = today - timedelta(days=back)
        weight = Decimal("0.35") if at.weekday() == 6 else Decimal(80 + (back * 37) % 60) / 100
        for place, chip_id in enumerate(chip_ids):
            meter.move(chip_id, int(daily * weight / (place + 1)), at=at)


def backdate(chip_id: UUID, days: int) -> None:
    """An older chip than it is."""
    then = clock.now() - timedelta(days=days)
    with transaction() as db:
        db.execute(update(Chip).where(Chip.id == chip_id).values(created_at=then))
        db.execute(update(Assignment).where(Assignment.chip_id == chip_id).values(assigned_at=then))
