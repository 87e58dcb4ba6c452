"""What is done when a day or a month of the billing zone has ended."""

from __future__ import annotations

from datetime import date, datetime

from whago.domain.actions import month_closing
from whago.errors import WhagoError
from whago.tasks.clock import Counts, Tools


def daily_report(tools: Tools, now: datetime, period: date) -> Counts:
    """Administrators are told what flowed."""
    return {"told": month_closing.tell_day(period, now=now, tz=tools.tz)}


def monthly_report(tools: Tools, now: datetime, period: date) -> Counts:
    """Plans and prices are fixed, then customers and administrators are told. Cut off anywhere, it goes on there."""
    closed = month_closing.close_month(period, now=now, tz=tools.tz)
    told = 0
    while (more := month_closing.tell_customers(period, now=now)) > 0:
        told += more
        if tools.stopping.is_set():
            raise WhagoError("unavailable", part="worker")  # not done: the next worker goes on with this month
    return {"closed": closed, "customers": told, "admins": month_closing.tell_admins(period, now=now)}
