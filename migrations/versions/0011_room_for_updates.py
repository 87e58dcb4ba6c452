"""Room on each page for the next version of its rows, in the tables that every report updates.

A row whose new version fits on its own page needs no new index entries (heap-only tuples: PostgreSQL manual, section
66.7). Only pages that are written from now on have the room.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FILLED_PERCENT = {
    "user_proxy_costs": 50,
    "quota_leases": 50,
    "proxies": 50,
    "chip_usage_months": 60,
    "usage_price_months": 60,
    "chips": 75,
    "usage_hours": 75,
}
OF_THE_LEDGER = 80
PARTITIONS = (
    "SELECT CAST(CAST(inhrelid AS regclass) AS text) FROM pg_inherits WHERE inhparent = 'proxy_usage_logs'::regclass"
)


def upgrade() -> None:
    for table, percent in FILLED_PERCENT.items():
        op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")
    for partition in op.get_bind().scalars(text(PARTITIONS)).all():
        op.execute(f"ALTER TABLE {partition} SET (fillfactor = {OF_THE_LEDGER})")


def downgrade() -> None:
    for table in [*FILLED_PERCENT, *op.get_bind().scalars(text(PARTITIONS)).all()]:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
