"""Who notices that the worker is dead? The web does: it looks at the clocks, says so, and delivers in their place.

Every web process has one; alerts are raised once and deliveries are claimed once, however many look.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import structlog

from whago.domain.actions.alert_checks import check_scheduler
from whago.domain.actions.clock_runs import only_one
from whago.errors import WhagoError
from whago.kit import clock
from whago.notify.courier import Courier
from whago.notify.post_office import CLOCK, Now, deliver_due

log = structlog.get_logger()

EVERY_S: Final = 15.0  # the clocks count as silent after ninety seconds, so that is soon enough


class Watchdog(threading.Thread):
    """Ends with the process, or when ``stop`` is called."""

    def __init__(self, courier: Courier, tz: ZoneInfo, *, now: Now = clock.now) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._courier = courier
        self._tz = tz
        self._now = now
        self._began = now()
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                self.look(self._now())
            except WhagoError as error:
                log.warning("watchdog.cannot_look", reason=error.code)
            except Exception as error:  # a bug in one look must not end all of them
                log.error("watchdog.failed", reason=type(error).__name__, exc_info=True)

    def stop(self) -> None:
        self._stopping.set()

    def look(self, now: datetime) -> bool:
        """Whether the clocks stand still; then what is due is delivered from here."""
        if not check_scheduler(now=now, watched_since=self._began):
            return False
        log.error("scheduler.silent")
        with only_one(CLOCK) as is_mine:
            if is_mine:
                deliver_due(self._courier, now=self._now, tz=self._tz, stopping=self._stopping)
        return True
