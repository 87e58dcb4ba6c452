"""An installation of a given size, written by a handful of statements: customers, pool, chips, a month of usage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import text

from whago.domain.models import ensure_partition
from whago.domain.rules.months import billing_month
from whago.kit import clock
from whago.kit.db import engine, transaction

CHIPS_PER_CUSTOMER: Final = 50
PROXIES: Final = 20
PROVIDERS: Final = 5
DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Size:
    """``hours_a_day``: how many hours of each day every chip moves bytes in."""

    chips: int
    hours_a_day: int

    @property
    def customers(self) -> int:
        return max(1, self.chips // CHIPS_PER_CUSTOMER)


_PLAN: Final = """
INSERT INTO plans (id, name, slug, price, max_chips, proxy_gb_limit, on_limit, is_default, created_at, updated_at)
VALUES (gen_random_uuid(), 'Large', 'large', 1000, 100000, 100, 'block', false, now(), now())
"""
_CUSTOMERS: Final = """
INSERT INTO users (id, name, email, password_hash, role, plan_id, is_active, token_generation, created_at)
SELECT gen_random_uuid(), 'Customer ' || n, 'customer' || n || '@example.com', '!', 'user',
       (SELECT id FROM plans WHERE slug = 'large'), true, 0, now() - n * interval '1 hour'
FROM generate_series(1, :customers) n
"""
_PROVIDERS: Final = """
INSERT INTO proxy_providers (id, name, provider_type, preset, protocol, host, port, username_template,
                             password_template, region, cost_per_gb, created_at, updated_at)
SELECT gen_random_uuid(), 'Provider ' || n, 'residential', 'custom', 'http', 'proxy' || n || '.example.com', 3120,
       '{username}-session-{session}', '{password}', 'BR', 20 + n, now(), now()
FROM generate_series(1, :providers) n
"""
_PROXIES: Final = """
INSERT INTO proxies (id, provider_id, proxy_type, proxy_url, health_score, created_at, updated_at)
SELECT gen_random_uuid(), p.id, 'rotating', 'http://' || p.host || ':' || (3120 + n), 100 - n, now(), now()
FROM (SELECT *, row_number() OVER (ORDER BY name) AS place FROM proxy_providers) p
JOIN generate_series(1, :proxies) n ON (n - 1) % :providers + 1 = p.place
"""
_CHIPS: Final = """
INSERT INTO chips (id, user_id, alias, engine, status, phone_number, gateway_token_hash, created_at, connected_at)
SELECT gen_random_uuid(), u.id, 'Chip ' || n, 'external',
       (ARRAY['connected', 'connected', 'connected', 'disconnected', 'waiting_qr'])[n % 5 + 1],
       '+55119' || lpad(n::text, 8, '0'), sha256(n::text::bytea), now() - n * interval '1 minute', now()
FROM (SELECT *, row_number() OVER (ORDER BY email) AS place FROM users WHERE role = 'user') u
JOIN generate_series(1, :chips) n ON (n - 1) % :customers + 1 = u.place
"""
_ASSIGNMENTS: Final = """
INSERT INTO chip_proxy_assignments (id, chip_id, proxy_id, provider_id, session_identifier, session_token,
                                    is_exclusive, assigned_at, assign_reason, exit_ip)
SELECT gen_random_uuid(), c.id, x.id, x.provider_id, 'chip-' || c.id, c.place::text, false, c.created_at, 'created',
       ('10.' || c.place / 65536 || '.' || c.place / 256 % 256 || '.' || c.place % 256)::inet
FROM (SELECT *, row_number() OVER (ORDER BY id) AS place FROM chips) c
JOIN (SELECT *, row_number() OVER (ORDER BY id) AS place FROM proxies) x ON c.place % :proxies + 1 = x.place
"""
_EXITS: Final = """
INSERT INTO exit_ip_observations (id, chip_id, assignment_id, exit_ip, country, first_seen_at, last_seen_at)
SELECT gen_random_uuid(), a.chip_id, a.id, CASE n WHEN 1 THEN a.exit_ip ELSE a.exit_ip + n END, 'BR',
       now() - n * interval '9 days', now() - (n - 1) * interval '9 days'
FROM chip_proxy_assignments a, generate_series(1, 3) n
"""
_HOURS: Final = """
INSERT INTO usage_hours (chip_id, provider_id, hour, user_id, total_bytes, total_cost, changed_at)
SELECT c.id, a.provider_id, date_trunc('hour', now()) - d * interval '1 day' - h * interval '1 hour', c.user_id,
       100000 + (d * 7919 + h * 104729) % 900000, 0.01, now() - d * interval '1 day'
FROM chips c JOIN chip_proxy_assignments a ON a.chip_id = c.id,
     generate_series(0, :days - 1) d, generate_series(0, :hours - 1) h
"""
_CHIP_MONTHS: Final = """
INSERT INTO chip_usage_months (chip_id, month_year, user_id, total_bytes, total_cost, changed_at)
SELECT chip_id, date_trunc('month', hour AT TIME ZONE :zone)::date, user_id, sum(total_bytes), sum(total_cost), now()
FROM usage_hours GROUP BY 1, 2, 3
"""
_PRICE_MONTHS: Final = """
INSERT INTO usage_price_months (month_year, chip_id, proxy_id, price_id, provider_id, user_id, total_bytes, total_cost)
SELECT m.month_year, m.chip_id, a.proxy_id, 1, a.provider_id, m.user_id, m.total_bytes, m.total_cost
FROM chip_usage_months m JOIN chip_proxy_assignments a ON a.chip_id = m.chip_id
"""
_MONTHS: Final = """
INSERT INTO user_proxy_costs (user_id, month_year, total_bytes, total_cost, last_updated)
SELECT user_id, month_year, sum(total_bytes), sum(total_cost), now() FROM chip_usage_months GROUP BY 1, 2
"""
_EVENTS: Final = """
INSERT INTO chip_events (chip_id, kind, data, created_at)
SELECT id, 'status_connected', '{}', now() - n * interval '1 day' FROM chips, generate_series(1, 5) n
"""
_NOTICES: Final = """
INSERT INTO notifications (user_id, kind, level, data, dedupe_key, created_at)
SELECT id, 'quota_warning', 'warning', '{"used_bytes": 80000000, "limit_bytes": 100000000, "month": "2026-11"}',
       n::text, now() - n * interval '1 hour'
FROM users, generate_series(1, 20) n
"""
_AUDIT: Final = """
INSERT INTO audit_log (at, action, target_kind, target_id, data)
SELECT now() - n * interval '1 minute', (ARRAY['plan.update', 'user.create', 'proxy.update'])[n % 3 + 1], 'user',
       gen_random_uuid()::text, '{"name": "x"}'
FROM generate_series(1, :chips) n
"""
AROUND: Final = (_EXITS, _EVENTS, _NOTICES, _AUDIT)  # what else there is to see of chips and customers
_STEPS: Final = (
    _PLAN, _CUSTOMERS, _PROVIDERS, _PROXIES, _CHIPS, _ASSIGNMENTS, _HOURS, _CHIP_MONTHS, _PRICE_MONTHS, _MONTHS,
    *AROUND,
)  # fmt: skip


def fill(size: Size, zone: str) -> None:
    """Writes everything but what the clocks add up."""
    values = {
        "customers": size.customers,
        "chips": size.chips,
        "hours": size.hours_a_day,
        "days": DAYS,
        "proxies": PROXIES,
        "providers": PROVIDERS,
        "zone": zone,
    }
    with transaction() as db:
        ensure_partition(db, billing_month(clock.now(), ZoneInfo(zone)))
        db.execute(text("SET LOCAL statement_timeout = 0"))
        for step in _STEPS:
            db.execute(text(step), values)


def keep_house() -> None:
    """What PostgreSQL does by itself within minutes: it looks at what was written and tidies up."""
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM (ANALYZE)"))
