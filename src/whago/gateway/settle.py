"""Settling what dead boots left in the counters folder: their last counters are committed, then the file goes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from whago.gateway.control import Control, CountersRefused
from whago.gateway.counters import SUFFIX, DeadCounters, NotACounterFile, read_counters

log = structlog.get_logger()

REJECTED_SUFFIX: Final = ".rejected"


async def settle_dead(directory: Path, control: Control) -> int:
    """Settle every counter file in ``directory`` whose boot is dead; returns how many there were.

    Several gateways may do this at once: the lock that tells a boot is dead also keeps the others away. A file that
    cannot be read, or whose rows the ledger never takes, is set aside with the reason in the log, and the others are
    settled. Raises ControlUnavailable, with the files still there.
    """
    settled = 0
    for path in await asyncio.to_thread(_counter_files, directory):
        found = await asyncio.to_thread(_take, path)
        if found is not None:
            settled += await _settle(found, control)
    return settled


@dataclass(frozen=True, slots=True)
class _Found:
    """A dead boot's file, locked while ``file`` is open."""

    path: Path
    file: BinaryIO
    dead: DeadCounters


async def _settle(found: _Found, control: Control) -> bool:
    with found.file:
        try:
            await control.settle(found.dead.boot_id, found.dead.usages)
        except CountersRefused as why:
            _set_aside(found.path, str(why))
            return False
        _dispose(found)
    log.info("counters.settled", boot=str(found.dead.boot_id), rows=len(found.dead.usages))
    return True


def _counter_files(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"*{SUFFIX}"))


def _take(path: Path) -> _Found | None:
    """None: its boot lives, a sibling was faster, or it is not a counter file."""
    try:
        file = path.open("rb+")
    except FileNotFoundError:
        return None
    try:
        dead = _read(path, file) if _is_dead(file) else None
    except NotACounterFile as error:
        _set_aside(path, str(error))
        dead = None
    if dead is None:
        file.close()
        return None
    return _Found(path, file, dead)


def _is_dead(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file.fileno()).st_nlink > 0  # else a sibling settled it between our open and our lock


def _read(path: Path, file: BinaryIO) -> DeadCounters:
    dead = read_counters(file.read())
    if path.name != f"{dead.boot_id}{SUFFIX}":
        raise NotACounterFile(f"its header names another boot, {dead.boot_id}")
    return dead


def _dispose(found: _Found) -> None:
    if found.dead.torn:
        _set_aside(found.path, f"{found.dead.torn} of its slots cannot be read; the others were settled")
    else:
        found.path.unlink()


def _set_aside(path: Path, reason: str) -> None:
    kept = path.with_name(path.name + REJECTED_SUFFIX)
    path.rename(kept)
    log.error("counters.rejected", file=str(kept), reason=f"The counter file was set aside because {reason}.")
