"""The benchmark's own PostgreSQL: the embedded one, with the memory that a server of this size is given."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from whago.main.embedded import EmbeddedPostgres

MEMORY: Final = {
    "shared_buffers": "1GB",
    "effective_cache_size": "8GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "random_page_cost": "1.1",  # SSD
}
FILLING: Final = {  # nothing of it is needed twice: a filling that was cut off begins again
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "checkpoint_timeout": "30min",
    "work_mem": "256MB",
}


class FillingPostgres(EmbeddedPostgres):
    """For writing as fast as the disk takes it: nothing waits for the disk, and new tables are not logged."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, durable=False)

    def _settings(self) -> dict[str, str]:
        return super()._settings() | MEMORY | FILLING


class MeasuredPostgres(EmbeddedPostgres):
    """For measuring: every commit waits for the disk, as in production."""

    def _settings(self) -> dict[str, str]:
        return super()._settings() | MEMORY
