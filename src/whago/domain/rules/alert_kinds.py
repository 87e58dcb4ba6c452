"""Every kind of alert: whom it concerns, and whether a new account gets it by e-mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class AlertKind:
    """``emailed``: on for the first e-mail channel. What a busy pool does every day is off there."""

    to_customers: bool
    to_admins: bool
    emailed: bool = True


ALERT_KINDS: Final[Mapping[str, AlertKind]] = {
    "quota_warning": AlertKind(to_customers=True, to_admins=False),
    "quota_exhausted": AlertKind(to_customers=True, to_admins=False),
    "quota_projected": AlertKind(to_customers=True, to_admins=False),
    "chip_cost_spike": AlertKind(to_customers=True, to_admins=True),
    "chip_waiting_proxy": AlertKind(to_customers=True, to_admins=False),
    "proxy_failed_over": AlertKind(to_customers=True, to_admins=False, emailed=False),
    "exit_ip_changed": AlertKind(to_customers=True, to_admins=False, emailed=False),
    "duplicate_exit_ip": AlertKind(to_customers=True, to_admins=True),
    "provider_down": AlertKind(to_customers=False, to_admins=True),
    "proxy_ejected": AlertKind(to_customers=False, to_admins=True, emailed=False),
    "provider_balance_low": AlertKind(to_customers=False, to_admins=True),
    "bill_mismatch": AlertKind(to_customers=False, to_admins=True),
    "gateway_silent": AlertKind(to_customers=False, to_admins=True),
    "bridge_silent": AlertKind(to_customers=False, to_admins=True),
    "scheduler_silent": AlertKind(to_customers=False, to_admins=True),
    "ledger_mismatch": AlertKind(to_customers=False, to_admins=True),
    "channel_disabled": AlertKind(to_customers=True, to_admins=True),
}
REPORT_KINDS: Final[Mapping[str, AlertKind]] = {
    "monthly_report": AlertKind(to_customers=True, to_admins=False),
    "monthly_summary": AlertKind(to_customers=False, to_admins=True),
    "daily_summary": AlertKind(to_customers=False, to_admins=True, emailed=False),
}
"""Told when a period has ended. Nothing is wrong, so nothing recovers."""

TOLD_KINDS: Final[Mapping[str, AlertKind]] = {**ALERT_KINDS, **REPORT_KINDS}


def kinds_for(*, is_admin: bool) -> list[str]:
    """The kinds that somebody can be told of."""
    return [code for code, kind in TOLD_KINDS.items() if (kind.to_admins if is_admin else kind.to_customers)]


def emailed_kinds() -> list[str]:
    """What the first e-mail channel of an account is told."""
    return [code for code, kind in TOLD_KINDS.items() if kind.emailed]
