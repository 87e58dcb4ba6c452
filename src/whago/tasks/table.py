"""Every clock of the product, in one table."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from whago.domain.rules.periods import Missed, Period
from whago.notify.post_office import CLOCK
from whago.tasks import (
    accounts,
    alerts,
    bills,
    bridge,
    calibrations,
    exit_ips,
    failover,
    health,
    months,
    pool,
    reports,
    retention,
    upkeep,
    usage,
)
from whago.tasks.clock import AnyClock, CalendarClock, Clock

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
FOR_LATE_REPORTS: Final = timedelta(hours=1)  # a gateway that was cut off from the database reports when it is back


def all_clocks() -> tuple[AnyClock, ...]:
    """Made anew for each process: some clocks remember things between their runs."""
    return (
        Clock("heartbeat", every_s=10, work=upkeep.beat, at_start=True),
        Clock("waiting_chips", every_s=15, work=pool.serve_waiting_chips),
        Clock("bridge_chips", every_s=bridge.EVERY_S, work=bridge.resume_chips),
        Clock("bridges", every_s=bridge.LOOK_EVERY_S, work=bridge.look_for_silent_bridges),
        Clock("exit_ips", every_s=15, work=exit_ips.ExitWatch().observe, at_start=True),
        Clock("exit_ip_days", every_s=10 * MINUTE, work=exit_ips.roll_days, at_start=True),
        Clock("leases", every_s=30, work=upkeep.expire_leases),
        Clock("pool_guard", every_s=failover.GUARD_EVERY_S, work=failover.guard, at_start=True),
        Clock("drain", every_s=failover.DRAIN_EVERY_S, work=failover.drain),
        Clock("health", every_s=5, work=health.sweep),
        Clock("reset_letters", every_s=accounts.RESETS_EVERY_S, work=accounts.send_reset_letters),
        Clock("exit_changes", every_s=MINUTE, work=health.count_changes),
        Clock("silent_chips", every_s=MINUTE, work=pool.notice_silent_chips),
        Clock("gateways", every_s=MINUTE, work=upkeep.look_for_silent_gateways),
        Clock("calibrations", every_s=MINUTE, work=calibrations.carry_on_calibrations),
        Clock("bills", every_s=5 * MINUTE, work=bills.reconcile, at_start=True),
        Clock("usage_monitor", every_s=5 * MINUTE, work=usage.monitor, at_start=True),
        Clock("usage_days", every_s=5 * MINUTE, work=usage.add_up_days, at_start=True),
        Clock(CLOCK, every_s=5, work=alerts.deliver, at_start=True),
        Clock("quota_alerts", every_s=MINUTE, work=alerts.look_at_quotas),
        Clock("waiting_alerts", every_s=MINUTE, work=alerts.look_for_waiting_chips),
        Clock("cost_spikes", every_s=15 * MINUTE, work=alerts.look_for_spikes),
        Clock("delivery_log", every_s=HOUR, work=alerts.keep_log_short),
        CalendarClock(
            "daily_report",
            every_s=5 * MINUTE,
            work=months.daily_report,
            period=Period.DAY,
            missed=Missed.CATCH_UP,
            grace=FOR_LATE_REPORTS,
        ),
        CalendarClock(
            "monthly_report",
            every_s=5 * MINUTE,
            work=months.monthly_report,
            period=Period.MONTH,
            missed=Missed.CATCH_UP,
            grace=FOR_LATE_REPORTS,
        ),
        Clock("reports", every_s=5, work=reports.make_reports, at_start=True),
        Clock("report_files", every_s=HOUR, work=reports.forget_reports),
        Clock("retention", every_s=6 * HOUR, work=retention.Retention().archive, at_start=True),
        Clock("trim_runs", every_s=HOUR, work=upkeep.trim_runs),
        Clock("usage_audit", every_s=24 * HOUR, work=usage.audit, at_start=True),
        Clock("partitions", every_s=24 * HOUR, work=upkeep.make_partitions, at_start=True),
    )
