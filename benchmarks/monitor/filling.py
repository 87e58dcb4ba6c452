"""An installation of any size, made by the database itself: chips on proxies, and their ledger hour by hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import text

from whago.domain.actions.partitions import make_partitions
from whago.domain.models import ensure_partition
from whago.domain.rules.months import HOUR, billing_month, previous_month, usage_hour
from whago.kit import db

CHIPS_PER_CUSTOMER: Final = 10
CHIPS_PER_PROXY: Final = 100
PROVIDERS: Final = 5
TUNNELS_PER_HOUR: Final = 2  # of a chip: its long connection to WhatsApp, and one for media
HOURS_PER_STEP: Final = 10
STATEMENT_S: Final = 900  # of filling only

_MADE = (
    """
    INSERT INTO proxy_providers (id, name, provider_type, preset, protocol, username_template, password_template,
                                 cost_per_gb, created_at, updated_at)
    SELECT gen_random_uuid(), 'Provider ' || n, 'residential', 'custom', 'http', '{username}-{session}', '{password}',
           20 + n, now(), now()
    FROM generate_series(1, :providers) n
    """,
    """
    INSERT INTO proxy_provider_prices (provider_id, cost_per_gb, bytes_per_gb, currency, effective_from)
    SELECT id, cost_per_gb, 1000000000, 'BRL', now() FROM proxy_providers
    """,
    "UPDATE proxy_providers p SET current_price_id = x.id FROM proxy_provider_prices x WHERE x.provider_id = p.id",
    """
    INSERT INTO proxies (id, provider_id, proxy_type, proxy_url, created_at, updated_at, last_checked_at)
    SELECT gen_random_uuid(), p.id, 'rotating', 'http://proxy-' || n || '.example:3120', now(), now(), now()
    FROM generate_series(1, :proxies) n
    JOIN (SELECT id, row_number() OVER () AS at FROM proxy_providers) p ON p.at = n % :providers + 1
    """,
    """
    INSERT INTO users (id, name, email, password_hash, created_at)
    SELECT gen_random_uuid(), 'Customer ' || n, 'customer' || n || '@example.com', '!', now()
    FROM generate_series(1, :customers) n
    """,
    "UPDATE plans SET proxy_gb_limit = NULL WHERE is_default",
    """
    INSERT INTO chips (id, user_id, alias, engine, status, gateway_token_hash, created_at, connected_at,
                       last_activity_at)
    SELECT gen_random_uuid(), u.id, 'chip ' || n, 'external', 'connected', decode(repeat('00', 32), 'hex'),
           now() - interval '400 days', now(), now()
    FROM generate_series(1, :chips) n
    JOIN (SELECT id, row_number() OVER () AS at FROM users) u ON u.at = n % :customers + 1
    """,
    """
    INSERT INTO chip_proxy_assignments (id, chip_id, proxy_id, provider_id, session_identifier, session_token,
                                        is_exclusive, assigned_at, assign_reason)
    SELECT gen_random_uuid(), c.id, p.id, p.provider_id, 'chip-' || c.id, left(md5(c.id::text), 20), false, now(),
           'created'
    FROM (SELECT id, row_number() OVER () AS at FROM chips) c
    JOIN (SELECT id, provider_id, row_number() OVER () AS at FROM proxies) p ON p.at = c.at % :proxies + 1
    """,
    """
    CREATE UNLOGGED TABLE bench_chips AS
    SELECT row_number() OVER () AS n, c.id AS chip_id, c.user_id, a.id AS assignment_id, a.proxy_id, a.provider_id,
           p.current_price_id AS price_id, p.cost_per_gb, p.bytes_per_gb, gen_random_uuid() AS boot_id
    FROM chips c JOIN chip_proxy_assignments a ON a.chip_id = c.id JOIN proxy_providers p ON p.id = a.provider_id
    """,
)
_LEDGER: Final = text(f"""
INSERT INTO proxy_usage_logs (month_year, boot_id, tunnel_id, hour, price_id, user_id, chip_id, proxy_id, provider_id,
    assignment_id, bytes_up, bytes_down, overhead, bytes_transferred, session_start, session_end, cost_per_gb,
    bytes_per_gb, cost)
SELECT :month, boot_id, tunnel, hour, price_id, user_id, chip_id, proxy_id, provider_id, assignment_id,
       20000 + n, 80000, 420, 100420 + n, hour, hour + interval '50 minutes', cost_per_gb, bytes_per_gb,
       round((100420 + n) * cost_per_gb / bytes_per_gb, 15)
FROM generate_series(CAST(:first AS timestamptz), :last, interval '1 hour') hour
CROSS JOIN generate_series(1, {TUNNELS_PER_HOUR}) tunnel CROSS JOIN bench_chips
""")
_HOURS: Final = text(f"""
INSERT INTO usage_hours (chip_id, provider_id, hour, user_id, total_bytes, total_cost, changed_at)
SELECT chip_id, provider_id, hour, user_id, {TUNNELS_PER_HOUR} * (100420 + n),
       {TUNNELS_PER_HOUR} * round((100420 + n) * cost_per_gb / bytes_per_gb, 15), hour + interval '50 minutes'
FROM generate_series(CAST(:first AS timestamptz), :last, interval '1 hour') hour CROSS JOIN bench_chips
""")
_PRICE_MONTHS: Final = """
    INSERT INTO usage_price_months (month_year, chip_id, proxy_id, price_id, provider_id, user_id, total_bytes,
                                    total_cost)
    SELECT CAST(date_trunc('month', h.hour AT TIME ZONE :zone) AS date) AS month_year, b.chip_id, b.proxy_id,
           b.price_id, b.provider_id, b.user_id, sum(h.total_bytes), sum(h.total_cost)
    FROM usage_hours h JOIN bench_chips b USING (chip_id)
    GROUP BY 1, 2, 3, 4, 5, 6
"""
TOTALS: Final = (  # of usage_price_months
    """
    INSERT INTO chip_usage_months (chip_id, month_year, user_id, total_bytes, total_cost, changed_at)
    SELECT chip_id, month_year, user_id, total_bytes, total_cost, CAST(:filled AS timestamptz) FROM usage_price_months
    """,
    """
    INSERT INTO user_proxy_costs (user_id, month_year, total_bytes, total_cost, last_updated)
    SELECT user_id, month_year, sum(total_bytes), sum(total_cost), CAST(:filled AS timestamptz)
    FROM usage_price_months GROUP BY 1, 2
    """,
    """
    UPDATE proxies p SET total_bytes_used = x.bytes
    FROM (SELECT proxy_id, sum(total_bytes) AS bytes FROM usage_price_months GROUP BY 1) x WHERE x.proxy_id = p.id
    """,
)
FORGET_TOTALS: Final = "TRUNCATE chip_usage_months, user_proxy_costs, usage_checkpoints, proxy_usage_totals CASCADE"


@dataclass(frozen=True, slots=True)
class Size:
    """``rows`` of the ledger, rounded to whole hours of all chips."""

    chips: int
    rows: int

    @property
    def hours(self) -> int:
        return max(1, self.rows // (self.chips * TUNNELS_PER_HOUR))

    @property
    def customers(self) -> int:
        return max(1, self.chips // CHIPS_PER_CUSTOMER)

    @property
    def proxies(self) -> int:
        return max(1, self.chips // CHIPS_PER_PROXY)


class Installation:
    """Grows from one size to the next by adding older hours; the newest hour is the one before ``began``."""

    def __init__(self, chips: int, began: datetime, tz: ZoneInfo) -> None:
        self.chips = chips
        self.tz = tz
        self.newest = usage_hour(began, tz) - HOUR
        self.hours = 0
        made = Size(chips, 0)
        make_partitions(now=began, tz=tz)
        with db.transaction() as tx:
            for statement in _MADE:
                names = text(statement).compile().params
                counts = {"chips": chips, "customers": made.customers, "proxies": made.proxies, "providers": PROVIDERS}
                tx.execute(text(statement), {name: counts[name] for name in names})

    def grow(self, size: Size) -> int:
        """Fills up to ``size``; returns how many rows the ledger holds."""
        while self.hours < size.hours:
            hours = min(HOURS_PER_STEP, size.hours - self.hours)
            last = self.newest - self.hours * HOUR
            self._fill(last - (hours - 1) * HOUR, last)
            self.hours += hours
        self._sum_up()
        for table in ("proxy_usage_logs", "usage_hours", "usage_price_months", "chip_usage_months", "user_proxy_costs"):
            _outside(f"VACUUM (ANALYZE) {table}")
        _outside("ANALYZE")
        return self.hours * self.chips * TUNNELS_PER_HOUR

    def _fill(self, first: datetime, last: datetime) -> None:
        month = billing_month(last, self.tz)
        while month >= billing_month(first, self.tz):
            hours = [first + n * HOUR for n in range(int((last - first) / HOUR) + 1)]
            mine = [hour for hour in hours if billing_month(hour, self.tz) == month]
            with db.transaction() as tx:
                tx.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'"))
                ensure_partition(tx, month)
                tx.execute(_LEDGER, {"month": month, "first": mine[0], "last": mine[-1]})
                tx.execute(_HOURS, {"first": mine[0], "last": mine[-1]})
            month = previous_month(month)

    def _sum_up(self) -> None:
        with db.transaction() as tx:
            tx.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'"))
            for statement in (FORGET_TOTALS, "TRUNCATE usage_price_months"):
                tx.execute(text(statement))
            values = {"zone": self.tz.key, "filled": self.newest + timedelta(minutes=50)}
            for statement in (_PRICE_MONTHS, *TOTALS):
                names = text(statement).compile().params
                tx.execute(text(statement), {name: values[name] for name in names})


def _outside(statement: str) -> None:
    """A statement that runs in no transaction."""
    with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text(statement))
