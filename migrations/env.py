"""Alembic's entry: runs the migrations on the connection or URL that ``whago.main.migrate`` hands over."""

from alembic import context
from sqlalchemy import Connection, create_engine, pool

from whago.domain.models import Base
from whago.kit.db import normalise


def is_ours(_obj: object, name: str | None, kind: str, _reflected: bool, _compare: object) -> bool:
    """Partitions are made by the product, not by migrations."""
    return not (kind == "table" and (name or "").startswith("proxy_usage_logs_"))


def run(connection: Connection) -> None:
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
