"""NOUNS: the tables. Importing this package registers all of them."""

from whago.domain.models.accounts import ApiKey, PasswordReset, Plan, RecoveryCode, RefreshToken, TotpFactor, User
from whago.domain.models.alerting import Alert, Severity, clear_alert, raise_alert
from whago.domain.models.base import Base
from whago.domain.models.billing import Calibration, ProviderBilling, ProviderReading, ProviderUsageDay
from whago.domain.models.bridges import Bridge, ChipHold, ChipSignalKey
from whago.domain.models.channels import Channel, CustomerEvent, Delivery, DeliveryAttempt
from whago.domain.models.chips import (
    Assignment,
    Chip,
    ChipEvent,
    ChipStatus,
    ChipStatusChange,
    Engine,
    ExitIpObservation,
)
from whago.domain.models.days import UsageChipDay, UsageDay, UsageDayMark, UsageProviderDay
from whago.domain.models.exits import ExitIpDay, ExitIpDuplicate, ExitIpLives
from whago.domain.models.proxies import ProbeDay, Provider, ProviderPrice, Proxy
from whago.domain.models.records import AuditEntry, ClockEntry, ClockRun, Notification
from whago.domain.models.reporting import ArchiveState, LedgerArchive, ReportRun, RunState
from whago.domain.models.usage import (
    ChipUsageMonth,
    GatewayBoot,
    ProxyUsageMonth,
    ProxyUsageTotal,
    QuotaLease,
    UsageCheckpoint,
    UsageHour,
    UsageLog,
    UsagePriceMonth,
    UserProxyCost,
    ensure_partition,
)

__all__ = [
    "Alert",
    "ApiKey",
    "ArchiveState",
    "Assignment",
    "AuditEntry",
    "Base",
    "Bridge",
    "Calibration",
    "Channel",
    "Chip",
    "ChipEvent",
    "ChipHold",
    "ChipSignalKey",
    "ChipStatus",
    "ChipStatusChange",
    "ChipUsageMonth",
    "ClockEntry",
    "ClockRun",
    "CustomerEvent",
    "Delivery",
    "DeliveryAttempt",
    "Engine",
    "ExitIpDay",
    "ExitIpDuplicate",
    "ExitIpLives",
    "ExitIpObservation",
    "GatewayBoot",
    "LedgerArchive",
    "Notification",
    "PasswordReset",
    "Plan",
    "ProbeDay",
    "Provider",
    "ProviderBilling",
    "ProviderPrice",
    "ProviderReading",
    "ProviderUsageDay",
    "Proxy",
    "ProxyUsageMonth",
    "ProxyUsageTotal",
    "QuotaLease",
    "RecoveryCode",
    "RefreshToken",
    "ReportRun",
    "RunState",
    "Severity",
    "TotpFactor",
    "UsageCheckpoint",
    "UsageChipDay",
    "UsageDay",
    "UsageDayMark",
    "UsageHour",
    "UsageLog",
    "UsagePriceMonth",
    "UsageProviderDay",
    "User",
    "UserProxyCost",
    "clear_alert",
    "ensure_partition",
    "raise_alert",
]
