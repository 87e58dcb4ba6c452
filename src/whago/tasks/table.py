"""Every clock of the product, in one table."""

from __future__ import annotations

from typing import Final

from whago.tasks import bridge, exit_ips, health, pool, upkeep, usage
from whago.tasks.clock import Clock

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE


def all_clocks() -> tuple[Clock, ...]:
    """Made anew for each process: some clocks remember things between their runs."""
    return (
        Clock("heartbeat", every_s=10, work=upkeep.beat, at_start=True),
        Clock("waiting_chips", every_s=15, work=pool.serve_waiting_chips),
        Clock("bridge_chips", every_s=15, work=bridge.resume_chips),
        Clock("exit_ips", every_s=15, work=exit_ips.ExitWatch().observe, at_start=True),
        Clock("leases", every_s=30, work=upkeep.expire_leases),
        Clock("health", every_s=MINUTE, work=health.sweep),
        Clock("silent_chips", every_s=MINUTE, work=pool.notice_silent_chips),
        Clock("gateways", every_s=MINUTE, work=upkeep.look_for_silent_gateways),
        Clock("usage_monitor", every_s=5 * MINUTE, work=usage.monitor, at_start=True),
        Clock("trim_runs", every_s=HOUR, work=upkeep.trim_runs),
        Clock("usage_audit", every_s=24 * HOUR, work=usage.audit, at_start=True),
        Clock("partitions", every_s=24 * HOUR, work=upkeep.make_partitions, at_start=True),
    )
