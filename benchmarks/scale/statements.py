"""What fills the installation, as statements that the database carries out by itself.

Every identifier and figure is drawn from ``:seed`` and the row's number, so that two fillings of one seed and one
moment hold the same customers, chips and bytes. (``proxy_usage_logs.id``, which nothing refers to, is random.)
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

TUNNELS_PER_HOUR: Final = 4  # of a chip in an hour: its long connection to WhatsApp, and three for media
OVERHEAD_BYTES: Final = 420  # what opening a tunnel at a provider costs

WORLD: Final = (
    """
    INSERT INTO plans (id, name, slug, price, max_chips, proxy_gb_limit, on_limit, is_default, created_at, updated_at)
    SELECT CAST(md5(CAST(:seed AS text) || 'plan' || n) AS uuid),
           'Plan ' || n, 'scale-' || n, 100 * n, 1000000, NULL, 'block', false,
           now(), now() FROM generate_series(1, 3) n
    """,
    """
    INSERT INTO proxy_providers (id, name, provider_type, preset, protocol, host, port, username_template,
                                 password_template, region, cost_per_gb, created_at, updated_at)
    SELECT CAST(md5(CAST(:seed AS text) || 'provider' || n) AS uuid), 'Provider ' || n, 'residential', 'custom',
           'http', 'proxy' || n || '.example.com', 3120, '{username}-session-{session}', '{password}', 'BR', 20 + n,
           now(), now()
    FROM generate_series(1, :providers) n
    """,
    """
    INSERT INTO proxy_provider_prices (provider_id, cost_per_gb, bytes_per_gb, currency, effective_from)
    SELECT id, cost_per_gb + raised, 1000000000, 'BRL', CASE raised WHEN 0 THEN CAST(:new_price_from AS timestamptz)
           ELSE CAST(:begins AS timestamptz) END
    FROM proxy_providers CROSS JOIN generate_series(0, 1) raised ORDER BY raised DESC, name
    """,
    """
    UPDATE proxy_providers p SET current_price_id = x.id FROM proxy_provider_prices x
    WHERE x.provider_id = p.id AND x.cost_per_gb = p.cost_per_gb
    """,
    """
    INSERT INTO proxies (id, provider_id, proxy_type, proxy_url, region, health_score, created_at, updated_at,
                         last_checked_at)
    SELECT CAST(md5(CAST(:seed AS text) || 'proxy' || n) AS uuid),
           p.id, 'rotating', 'http://' || p.host || ':' || 3120 + n, 'BR',
           100 - n % 20, now(), now(), now()
    FROM generate_series(1, :proxies) n
    JOIN (SELECT *, row_number() OVER (ORDER BY name) AS place FROM proxy_providers) p ON p.place = n % :providers + 1
    """,
    """
    INSERT INTO users (id, name, email, password_hash, plan_id, has_channels, created_at)
    SELECT CAST(md5(CAST(:seed AS text) || 'user' || n) AS uuid),
           'Customer ' || n, 'customer' || n || '@example.com', '!', p.id, true,
           CAST(:begins AS timestamptz) - n * interval '1 minute'
    FROM generate_series(1, :customers) n
    JOIN (SELECT id, row_number() OVER (ORDER BY slug) AS place FROM plans WHERE slug LIKE 'scale-%') p
      ON p.place = n % 3 + 1
    """,
    # The n-th customer's share is that of a square: a few have thousands of chips, most have some dozens.
    """
    INSERT INTO chips (id, user_id, alias, engine, status, phone_number, region, gateway_token_hash, created_at,
                       connected_at, last_activity_at)
    SELECT CAST(md5(CAST(:seed AS text) || 'chip' || n) AS uuid), u.id, 'Chip ' || n, 'external',
           (ARRAY['connected', 'connected', 'connected', 'connected', 'disconnected'])[n % 5 + 1],
           '+5511' || lpad(CAST(900000000 + n AS text), 9, '0'), 'BR',
           sha256(convert_to(CAST(:seed AS text) || n, 'UTF8')),
           CAST(:begins AS timestamptz) + n * interval '1 second', now(), now()
    FROM generate_series(1, :chips) n
    JOIN (SELECT id, CAST(substr(name, 10) AS int) AS place FROM users WHERE email LIKE 'customer%') u
      ON u.place = CAST(floor(:customers * power((n - 0.5) / :chips, 2)) AS int) + 1
    """,
    """
    INSERT INTO chip_proxy_assignments (id, chip_id, proxy_id, provider_id, session_identifier, session_token,
                                        is_exclusive, assigned_at, assign_reason, exit_ip, first_ok_at)
    SELECT CAST(md5(CAST(:seed AS text) || 'assignment' || c.n) AS uuid), c.id, p.id, p.provider_id, 'chip-' || c.id,
           left(md5(c.id::text), 20), false, c.created_at, 'created', CAST('10.0.0.0' AS inet) + c.n, c.created_at
    FROM (SELECT id, created_at, CAST(substr(alias, 6) AS bigint) AS n FROM chips) c
    JOIN (SELECT id, provider_id, row_number() OVER (ORDER BY id) AS place FROM proxies) p
      ON p.place = c.n % :proxies + 1
    """,
    """
    CREATE TABLE bench_chips AS
    SELECT CAST(substr(c.alias, 6) AS bigint) AS n, CAST(substr(c.alias, 6) AS bigint) % :stride AS slot,
           c.id AS chip_id, c.user_id, a.id AS assignment_id, a.proxy_id, a.provider_id, p.current_price_id AS price_id
    FROM chips c JOIN chip_proxy_assignments a ON a.chip_id = c.id JOIN proxy_providers p ON p.id = a.provider_id
    ORDER BY 1
    """,
    """
    CREATE TABLE bench_hours (
        hours bigint NOT NULL, summed bigint NOT NULL, newest timestamptz NOT NULL, seed text NOT NULL
    )
    """,
    "INSERT INTO bench_hours VALUES (0, 0, CAST(:newest AS timestamptz), CAST(:seed AS text))",
)

# A chip moves bytes in every ``:stride``-th hour, one after the other, so that each hour has as many. ``at`` counts the
# hours back from the newest. The fence keeps PostgreSQL from working the price out once for every tunnel.
_ACTIVE: Final = f"""
    FROM (
        SELECT h.at, CAST(:newest AS timestamptz) - h.at * interval '1 hour' AS hour, b.*, x.id AS paid, x.cost_per_gb,
               x.bytes_per_gb,
               {OVERHEAD_BYTES} + 20000 + (b.n * 7919 + h.at * 104729) % 900000 AS bytes,
               round(({OVERHEAD_BYTES} + 20000 + (b.n * 7919 + h.at * 104729) % 900000)
                     * x.cost_per_gb / x.bytes_per_gb, 15) AS cost
        FROM generate_series(CAST(:from_at AS bigint), CAST(:to_at AS bigint), -1) AS h(at)
        JOIN bench_chips b ON b.slot = h.at % :stride
        JOIN proxy_provider_prices x ON x.provider_id = b.provider_id
             AND (x.id = b.price_id)
                 = (CAST(:newest AS timestamptz) - h.at * interval '1 hour' >= CAST(:new_price_from AS timestamptz))
        OFFSET 0
    ) a
"""

LEDGER: Final = f"""
INSERT INTO {{table}} (month_year, boot_id, tunnel_id, hour, price_id, user_id, chip_id, proxy_id, provider_id,
    assignment_id, bytes_up, bytes_down, overhead, bytes_transferred, session_start, session_end, cost_per_gb,
    bytes_per_gb, cost)
SELECT CAST(:month AS date), CAST(md5(CAST(:boots AS text) || a.n % :gateways) AS uuid),
       (a.at * :chips + a.n) * {TUNNELS_PER_HOUR} + t, a.hour, a.paid, a.user_id, a.chip_id, a.proxy_id, a.provider_id,
       a.assignment_id, 8000, a.bytes - 8000 - {OVERHEAD_BYTES}, {OVERHEAD_BYTES}, a.bytes, a.hour,
       a.hour + interval '50 minutes', a.cost_per_gb, a.bytes_per_gb, a.cost
{_ACTIVE} CROSS JOIN generate_series(1, {TUNNELS_PER_HOUR}) t
"""

HOURS: Final = text(f"""
INSERT INTO usage_hours (chip_id, provider_id, hour, user_id, total_bytes, total_cost, changed_at)
SELECT a.chip_id, a.provider_id, a.hour, a.user_id, {TUNNELS_PER_HOUR} * a.bytes, {TUNNELS_PER_HOUR} * a.cost,
       a.hour + interval '50 minutes'
{_ACTIVE}
""")

PRICE_MONTHS: Final = text(f"""
INSERT INTO usage_price_months AS old (month_year, chip_id, proxy_id, price_id, provider_id, user_id, total_bytes,
                                       total_cost)
SELECT CAST(:month AS date), a.chip_id, a.proxy_id, a.paid, a.provider_id, a.user_id,
       sum({TUNNELS_PER_HOUR} * a.bytes), sum({TUNNELS_PER_HOUR} * a.cost)
{_ACTIVE} GROUP BY 2, 3, 4, 5, 6
ON CONFLICT (month_year, chip_id, proxy_id, price_id) DO UPDATE
   SET total_bytes = old.total_bytes + excluded.total_bytes, total_cost = old.total_cost + excluded.total_cost
""")

DAYS: Final = text(f"""
INSERT INTO usage_days AS old (day, user_id, provider_id, total_bytes, total_cost)
SELECT CAST(a.hour AT TIME ZONE :zone AS date) AS day, a.user_id, a.provider_id, sum({TUNNELS_PER_HOUR} * a.bytes),
       sum({TUNNELS_PER_HOUR} * a.cost)
{_ACTIVE} WHERE a.hour < CAST(:today AS timestamptz) GROUP BY 1, 2, 3
ON CONFLICT (user_id, day, provider_id) DO UPDATE
   SET total_bytes = old.total_bytes + excluded.total_bytes, total_cost = old.total_cost + excluded.total_cost
""")
