"""Retention: old months of the ledger become packed files in the data folder, and only then leave the database."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import os
import shutil
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import structlog

from whago.domain.actions.retention import (
    Archive,
    LedgerSums,
    begin_archive,
    drop_month,
    export_again,
    keep_export,
    months_to_archive,
    partition_of,
)
from whago.domain.queries.ledger_export import ledger_csv
from whago.errors import WhagoError
from whago.kit import clock as wall
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

FOLDER: Final = "ledger"
PRIVATE: Final = 0o700
FREE_BYTES_MIN: Final = 512 * 2**20  # the database may live on the same disk: it must not stop for an archive
LOOK_EVERY_BYTES: Final = 16 * 2**20  # of what is packed, between looks at the disk
ROWS_PER_LOOK: Final = 10_000  # a tenth of a second
LEVEL: Final = 6  # zlib's own choice: a fifth of the size, at some ten megabytes a second


class Stopped(Exception):
    """The worker shall end; the next run begins with this month again."""


class Retention:
    """``free_bytes_min``: what the disk keeps free in any case."""

    def __init__(self, *, free_bytes_min: int = FREE_BYTES_MIN) -> None:
        self._free_bytes_min = free_bytes_min

    def archive(self, tools: Tools, now: datetime) -> Counts:
        """Month by month, the oldest first. Raises WhagoError: disk_full, ledger_differs; that month stays."""
        if tools.data_dir is None:
            return {}
        counts = {"exported": 0, "dropped": 0}
        refused: WhagoError | None = None
        try:
            for month in months_to_archive(keep_months=tools.ledger_months, now=now, tz=tools.tz):
                try:
                    self._archive_month(month, tools, counts)
                except WhagoError as error:
                    if error.code != "ledger_differs":
                        raise
                    log.error("retention.ledger_differs", month=f"{month:%Y-%m}")
                    refused = error  # the other months need not wait for whoever looks into this one
        except Stopped:
            log.info("retention.stopped")
        if refused is not None:
            raise refused
        return counts

    def _archive_month(self, month: date, tools: Tools, counts: dict[str, int]) -> None:
        assert tools.data_dir is not None
        folder = tools.data_dir / FOLDER
        archive = begin_archive(month, now=wall.now())
        if not _is_whole(folder, archive):
            self._export(folder, month, tools)
            counts["exported"] += 1
        counts["dropped"] += _drop(month)

    def _export(self, folder: Path, month: date, tools: Tools) -> None:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        export_again(month)
        final = folder / f"{partition_of(month)}.csv.gz"
        part = final.with_suffix(".part")
        part.unlink(missing_ok=True)  # of a run that was cut off
        try:
            self._write(part, month, tools)
            sums, digest = _sums_of(part, tools), _digest_of(part)
            part.replace(final)
            _flush(folder)
        except OSError as error:
            log.error("retention.not_written", folder=str(folder), reason=os.strerror(error.errno or 0))
            raise WhagoError("disk_full", folder=str(folder)) from error
        finally:
            part.unlink(missing_ok=True)
        keep_export(month, file_name=final.name, sha256=digest, sums=sums, now=wall.now())
        log.info("retention.exported", month=f"{month:%Y-%m}", rows=sums.rows, file=final.name)

    def _write(self, part: Path, month: date, tools: Tools) -> None:
        looked_at = -LOOK_EVERY_BYTES
        with part.open("xb") as file:
            with (
                closing(ledger_csv(month)) as pieces,
                gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=LEVEL, mtime=0) as packed,
            ):
                for piece in pieces:
                    _stop_if_asked(tools)
                    if file.tell() - looked_at >= LOOK_EVERY_BYTES:
                        looked_at = file.tell()
                        self._check_room(part.parent)
                    packed.write(piece)
            file.flush()
            os.fsync(file.fileno())

    def _check_room(self, folder: Path) -> None:
        if shutil.disk_usage(folder).free < self._free_bytes_min:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_whole(folder: Path, archive: Archive) -> bool:
    """Whether the file that the row tells of is there, byte for byte."""
    if not archive.is_exported or archive.file_name is None:
        return False
    path = folder / archive.file_name
    return path.is_file() and _digest_of(path) == archive.sha256


def _drop(month: date) -> bool:
    try:
        dropped = drop_month(month, now=wall.now())
    except WhagoError as error:
        if error.code != "conflict":
            raise
        log.info("retention.ledger_busy", month=f"{month:%Y-%m}")
        return False
    if not dropped:
        log.warning("retention.month_moved", month=f"{month:%Y-%m}")
        export_again(month)
        return False
    log.info("retention.dropped", month=f"{month:%Y-%m}")
    return True


def _sums_of(path: Path, tools: Tools) -> LedgerSums:
    """Reads the file back, as whoever needs it one day will."""
    rows, used, cost = 0, 0, Decimal(0)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for rows, line in enumerate(csv.DictReader(file), start=1):
            if rows % ROWS_PER_LOOK == 0:
                _stop_if_asked(tools)
            used += int(line["bytes_transferred"])
            cost += Decimal(line["cost"])
    return LedgerSums(rows, used, cost)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """The new name itself must survive the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stop_if_asked(tools: Tools) -> None:
    if tools.stopping.is_set():
        raise Stopped
