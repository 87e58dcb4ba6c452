"""``whago rotate-keys``: seals again, under the newest secret, what an earlier one sealed. Beside a running system.

It may be ended at any moment and started again: every batch is a transaction of its own, and what is done is passed
over. What cannot be opened is named by its table and id, and left as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from whago.domain.actions.sealing import note_rotation, reseal
from whago.domain.models.sealing import SEALED_COLUMNS, SealedColumn
from whago.domain.queries.sealing import BATCH_ROWS, look_at_seals
from whago.errors import SettingsError
from whago.kit import clock, db
from whago.kit.crypto import Vault
from whago.main.data_folder import default_data_dir
from whago.main.private_files import read_secret
from whago.main.secret import FILE_NAME, secret_keys
from whago.settings import Settings, load
from whago.web.security import ACCESS_LASTS

STATEMENT_MS: Final = 600_000  # a walk through millions of deliveries of which hardly one holds a code
TOLD_EVERY_ROWS: Final = 2_000  # a line of progress: about a second of work
ATTEMPTS: Final = 30  # at rows that somebody else holds
PAUSE_S: Final = 1.0  # between attempts; a transaction of ours lasts milliseconds
SHOWN_SHUT: Final = 20  # ids, of what cannot be opened; the rest is counted
PORT_LINE: Final = 3  # of postmaster.pid, from 0 (PostgreSQL, src/include/utils/pidfile.h)


@dataclass(slots=True)
class Count:
    """What was found of one kind. ``old`` rows are still under an earlier secret; ``shut`` ones under none we have."""

    noun: str
    table: str
    rows: int = 0
    old: int = 0
    resealed: int = 0
    shut: list[UUID] = field(default_factory=list)


def run(*, check: bool, data: Path | None = None) -> int:
    """0 when nothing is left under an earlier secret, else 1. ``check``: only looks.

    Raises SettingsError when database or secret are not named: a secret made up here would be known to nobody else.
    """
    settings = load()
    folder = (data or settings.data_dir or default_data_dir()).expanduser()
    url = settings.database_url or running_database(folder)
    if url is None:
        raise SettingsError(
            "WHAGO_DATABASE_URL is not set, and no database of whago up runs: start it, and name its folder by --data."
        )
    vault = Vault(secret_keys(_with_secret(settings, folder)))
    db.connect(url, pool_size=1, statement_timeout_ms=STATEMENT_MS)
    try:
        resealed = {} if check else _rotate(vault)
        return _report(count_seals(vault), resealed)
    finally:
        db.engine().dispose()


def running_database(folder: Path) -> str | None:
    """The URL of the database that ``whago up`` runs on this folder; None when none does."""
    postgres = folder / "postgres"
    told = read_secret(postgres / "cluster" / "postmaster.pid")
    password = read_secret(postgres / "password")
    if told is None or password is None or len(told.splitlines()) <= PORT_LINE:
        return None
    port = int(told.splitlines()[PORT_LINE])
    return f"postgresql+psycopg://whago:{password}@127.0.0.1:{port}/whago"


def count_seals(vault: Vault) -> list[Count]:
    """How much there is of each kind, and under which key. Changes nothing."""
    counts = [Count(column.noun, column.table) for column in SEALED_COLUMNS]
    for column, count in zip(SEALED_COLUMNS, counts, strict=True):
        _walk(column, vault, count, lambda _old: None)
    return counts


def rotate(column: SealedColumn, vault: Vault, say: Callable[[Count], None] = lambda _count: None) -> Count:
    """Seals all of one kind again. ``say`` hears of the progress."""
    count = Count(column.noun, column.table)
    held: set[UUID] = set()

    def take(old: Sequence[UUID]) -> None:
        done, busy = reseal(column, old, vault=vault)
        count.resealed += done
        held.update(busy)
        if count.rows % TOLD_EVERY_ROWS == 0:
            say(count)

    _walk(column, vault, count, take)
    for _ in range(ATTEMPTS):
        if not held:
            break
        time.sleep(PAUSE_S)
        for batch in _batches(sorted(held)):
            done, busy = reseal(column, batch, vault=vault)
            count.resealed += done
            held.difference_update(set(batch) - busy)
    return count


def _with_secret(settings: Settings, folder: Path) -> Settings:
    if settings.secret_key is None and not (folder / FILE_NAME).is_file():
        raise SettingsError(
            f"WHAGO_SECRET_KEY is not set, and {folder} keeps none: give the one that the product uses."
        )
    return settings.model_copy(update={"data_dir": folder})


def _walk(column: SealedColumn, vault: Vault, count: Count, take: Callable[[Sequence[UUID]], None]) -> None:
    last: UUID | None = None
    while True:
        look = look_at_seals(column, last, vault=vault)
        count.rows += look.rows
        count.old += len(look.old)
        count.shut.extend(look.shut)
        take(look.old)
        if look.last is None:
            return
        last = look.last


def _batches(keys: Sequence[UUID]) -> list[Sequence[UUID]]:
    return [keys[start : start + BATCH_ROWS] for start in range(0, len(keys), BATCH_ROWS)]


def _rotate(vault: Vault) -> dict[str, int]:
    def say(count: Count) -> None:
        print(f"{count.noun}: {count.rows} looked at, {count.resealed} sealed again …", flush=True)

    resealed = {column.noun: rotate(column, vault, say).resealed for column in SEALED_COLUMNS}
    if any(resealed.values()):
        note_rotation(resealed, now=clock.now())
    return resealed


def _report(counts: Sequence[Count], resealed: Mapping[str, int]) -> int:
    for count in counts:
        done = f", {resealed[count.noun]} sealed again" if resealed else ""
        closed = f", {len(count.shut)} CANNOT BE OPENED" if count.shut else ""
        print(f"{count.noun}: {count.rows}{done}, {count.old} under an earlier secret{closed}")
    for count in counts:
        for key in count.shut[:SHOWN_SHUT]:
            print(f"  no secret given here opens {count.table} {key}")
        if len(count.shut) > SHOWN_SHUT:
            print(f"  … and {len(count.shut) - SHOWN_SHUT} more of {count.table}")
    old, shut = sum(count.old for count in counts), sum(len(count.shut) for count in counts)
    print(_verdict(old, shut, has_tried=bool(resealed)))
    return 1 if old or shut else 0


def _verdict(old: int, shut: int, *, has_tried: bool) -> str:
    if shut:
        return (
            f"{shut} cannot be opened and were left as they are: add the secret they were sealed with to "
            "WHAGO_SECRET_KEY_PREVIOUS, or enter them anew. Drop no secret yet."
        )
    if old and has_tried:
        return (
            f"{old} are under an earlier secret again: a process that still runs with it has written them. "
            "Restart every process with the new WHAGO_SECRET_KEY, then run this once more."
        )
    if old:
        return f"{old} are under an earlier secret: run whago rotate-keys."
    return (
        "Nothing is left under an earlier secret. Once every process has the new one as WHAGO_SECRET_KEY, "
        f"WHAGO_SECRET_KEY_PREVIOUS may be dropped, from {clock.now() + ACCESS_LASTS:%Y-%m-%d %H:%M} UTC on; "
        "keep the old secret with the backups that were made before."
    )
