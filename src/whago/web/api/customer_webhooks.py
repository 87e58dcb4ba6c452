"""What customers' own systems receive, for the OpenAPI document. docs/webhooks.md explains it with an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header
from pydantic import AwareDatetime, BaseModel

router = APIRouter()

Signed = Annotated[
    str,
    Header(
        alias="X-Whago-Signature",
        description="`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over `<t>.<body>` with the channel's secret. While a"
        " secret is being renewed there are two `v1`.",
    ),
]
Delivered = Annotated[
    UUID, Header(alias="X-Whago-Delivery", description="The same as `id`, for every attempt of this message.")
]
Tried = Annotated[int, Header(alias="X-Whago-Attempt", description="1 for the first.")]


class Message(BaseModel):
    """``id`` stays the same when a message is repeated: take each id once."""

    id: UUID
    created_at: AwareDatetime


class Happened(Message):
    """``number`` grows in the order in which things happened; messages may arrive in another order."""

    number: int


class Threshold(BaseModel):
    """``month`` such as 2026-11; ``limit_bytes`` of the plan; ``on_limit``: what happens at 100 %."""

    threshold_percent: int
    month: str
    used_bytes: int
    limit_bytes: int
    percentage: float
    on_limit: Literal["block", "block_new", "bill"]


class ChipStatusFacts(BaseModel):
    """``before`` null: the chip is new. ``after`` deleted: it is gone."""

    chip_id: UUID
    alias: str
    before: str | None
    after: str
    reason: str | None


class ChipExitIpFacts(BaseModel):
    """``before`` null: the first exit IP of the chip."""

    chip_id: UUID
    alias: str
    before: str | None
    after: str


class ChipProxyFacts(BaseModel):
    """``reason``: why the chip has this proxy."""

    chip_id: UUID
    alias: str
    session_identifier: str
    reason: str
    assigned_at: AwareDatetime


class NoticeFacts(BaseModel):
    """``title`` and ``message`` are in the account's language; ``kind`` and ``details`` are for programs."""

    notification_id: UUID
    kind: str
    level: Literal["info", "warning", "error", "success"]
    title: str
    message: str
    details: dict[str, Any]


class UsageThreshold(Happened):
    type: Literal["usage.threshold"]
    data: Threshold


class ChipStatusChanged(Happened):
    type: Literal["chip.status_changed"]
    data: ChipStatusFacts


class ChipExitIpChanged(Happened):
    type: Literal["chip.exit_ip_changed"]
    data: ChipExitIpFacts


class ChipProxyChanged(Happened):
    type: Literal["chip.proxy_changed"]
    data: ChipProxyFacts


class Notified(Message):
    type: Literal["alert.raised", "alert.recovered", "notification"]
    data: NoticeFacts


@router.post("usage.threshold", status_code=204)
def usage_threshold(body: UsageThreshold, signature: Signed, delivery: Delivered, attempt: Tried) -> None:
    """A threshold of the month's quota is reached: 80 and 100 %, and those that the account's channels name."""


@router.post("chip.status_changed", status_code=204)
def chip_status_changed(body: ChipStatusChanged, signature: Signed, delivery: Delivered, attempt: Tried) -> None:
    """A chip has another status."""


@router.post("chip.exit_ip_changed", status_code=204)
def chip_exit_ip_changed(body: ChipExitIpChanged, signature: Signed, delivery: Delivered, attempt: Tried) -> None:
    """A chip leaves from another address."""


@router.post("chip.proxy_changed", status_code=204)
def chip_proxy_changed(body: ChipProxyChanged, signature: Signed, delivery: Delivered, attempt: Tried) -> None:
    """A chip was given a proxy: its first one, or another one."""


@router.post("alert", status_code=204)
def alert(body: Notified, signature: Signed, delivery: Delivered, attempt: Tried) -> None:
    """Something is wrong (`alert.raised`), right again (`alert.recovered`), or worth knowing (`notification`)."""
