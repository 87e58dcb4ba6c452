"""Alembic's entry: runs the migrations on the connection or URL that ``whago.main.migrate`` hands over."""

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from whago.domain.models import Base
from whago.kit.db import normalise
from whago.main.migrate import LOCK_TIMEOUT_MS


def is_ours(_obj: object, name: str | None, kind: str, _reflected: bool, _compare: object) -> bool:
    """Partitions are made by the product, not by migrations."""
    return not (kind == "table" and (name or "").startswith("proxy_usage_logs_"))


def set_limits(connection: Connection) -> None:
    """Everybody who comes later waits behind whoever waits for a table, so that is not for long; work may last."""
    timeout_ms = context.config.attributes.get("lock_timeout_ms", LOCK_TIMEOUT_MS)
    connection.execute(text("SELECT set_config('lock_timeout', :ms, false)"), {"ms": str(timeout_ms)})
    connection.execute(text("SELECT set_config('statement_timeout', '0', false)"))
    connection.commit()


def run(connection: Connection) -> None:
    set_limits(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=is_ours,
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


handed = context.config.attributes.get("connection")
if handed is not None:
    run(handed)
else:
    url = normalise(context.config.get_main_option("sqlalchemy.url") or "")
    with create_engine(url, poolclass=pool.NullPool).connect() as own:
        run(own)
