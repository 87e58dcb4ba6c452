"""NOUNS: the tables. Importing this package registers all of them."""

from whago.domain.models.accounts import ApiKey, Plan, RefreshToken, User
from whago.domain.models.base import Base
from whago.domain.models.chips import Assignment, Chip, ChipEvent, ChipStatus, Engine, ExitIpObservation
from whago.domain.models.proxies import Provider, ProviderPrice, Proxy
from whago.domain.models.records import AuditEntry, ClockRun, Notification
from whago.domain.models.usage import (
    ChipUsageMonth,
    GatewayBoot,
    ProxyUsageMonth,
    QuotaLease,
    UsageHour,
    UsageLog,
    UserProxyCost,
    ensure_partition,
)

__all__ = [
    "ApiKey",
    "Assignment",
    "AuditEntry",
    "Base",
    "Chip",
    "ChipEvent",
    "ChipStatus",
    "ChipUsageMonth",
    "ClockRun",
    "Engine",
    "ExitIpObservation",
    "GatewayBoot",
    "Notification",
    "Plan",
    "Provider",
    "ProviderPrice",
    "Proxy",
    "ProxyUsageMonth",
    "QuotaLease",
    "RefreshToken",
    "UsageHour",
    "UsageLog",
    "User",
    "UserProxyCost",
    "ensure_partition",
]
