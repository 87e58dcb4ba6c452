"""Every column that the vault seals. A new one goes on the list: the rotation of keys knows no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import InstrumentedAttribute

from whago.domain.models.accounts import TotpFactor
from whago.domain.models.bridges import ChipHold
from whago.domain.models.channels import Channel, Delivery
from whago.domain.models.proxies import Provider, Proxy
from whago.errors import WhagoError
from whago.kit.crypto import Vault


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """``content`` holds what ``Vault.seal`` returned, or {} for nothing; ``key`` is the row's primary key."""

    noun: str
    key: InstrumentedAttribute[UUID]
    content: InstrumentedAttribute[dict[str, Any]]

    @property
    def table(self) -> str:
        return str(self.key.class_.__tablename__)


SEALED_COLUMNS: Final = (
    SealedColumn("provider credentials", Provider.id, Provider.credentials),
    SealedColumn("proxy credentials", Proxy.id, Proxy.credentials),
    SealedColumn("webhook secrets", Channel.id, Channel.secret),
    SealedColumn("confirmation codes", Delivery.id, Delivery.secret),
    SealedColumn("two-factor secrets", TotpFactor.user_id, TotpFactor.sealed_secret),
    SealedColumn("keys of chips", ChipHold.chip_id, ChipHold.state_key),
)


class Seal(Enum):
    """Which key opens it: the newest, an earlier one, or none that we have."""

    CURRENT = "current"
    OLD = "old"
    SHUT = "shut"


def seal_of(vault: Vault, stored: Mapping[str, Any]) -> Seal:
    """Never raises: what cannot be opened is an answer here."""
    try:
        return Seal.CURRENT if vault.is_current(stored) else Seal.OLD
    except WhagoError:
        return Seal.SHUT
