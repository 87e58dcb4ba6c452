"""The crash-safe counter file: one per gateway boot, one slot per live segment, written as bytes move.

What a process has stored in a shared mapping belongs to the page cache and survives ``kill -9`` (not a power cut).
Every value is an aligned 8-byte store. A slot counts once its seal is there: the seal is written last and is a checksum
of the identity, so a slot that was being filled at the kill is recognised as free. The living boot holds a lock on the
file (flock), which the kernel drops with the process.

    header   4096 bytes: magic, version, slot bytes, boot id, CRC-32 of these
    slots    17 cells of 8 bytes each, in the order of the constants below
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from whago.gateway.control import TunnelUsage

MAGIC: Final = b"WHAGOCNT"
FORMAT_VERSION: Final = 1
HEADER_BYTES: Final = 4096  # a page, because mappings begin at pages
FIRST_SLOTS: Final = 1024  # 136 KiB, whole pages: a small gateway never grows
MAX_SLOTS: Final = 1 << 20  # 136 MiB: more than a process has descriptors for, at any closing rate

_HEADER: Final = struct.Struct("<8sII16sI")
_COUNTS: Final = struct.Struct("<QQQQ")  # last, up, down, overhead
_IDENTITY: Final = struct.Struct("<Q64sqqQ")  # tunnel, whose, price, hour, started
_WHOSE: Final = struct.Struct("16s16s16s16s")  # user, chip, proxy, assignment
_SEALED: Final = 1 << 32  # above the checksum, so that a seal is never 0

SEAL, LAST, UP, DOWN, OVERHEAD, IDENTITY = 0, 1, 2, 3, 4, 5
SLOT_CELLS: Final = IDENTITY + _IDENTITY.size // 8
SLOT_BYTES: Final = SLOT_CELLS * 8

SUFFIX: Final = ".counters"


class CounterFileFull(Exception):
    """There is no slot left, or no room on the disk for more."""


class NotACounterFile(Exception):
    """The message is one sentence that says what is wrong with the file."""


Slot = tuple[memoryview, int]
"""``cells, base``: ``cells[base + UP]`` and so on; ``cells`` is a view of 8-byte unsigned integers."""


class CounterFile:
    """The living boot's file. Raises OSError when the folder cannot be written."""

    def __init__(self, directory: Path, boot_id: UUID) -> None:
        self.path = directory / f"{boot_id}{SUFFIX}"
        self.live_slots = 0
        self._free: list[Slot] = []
        self._slots = 0
        self._fresh_left = 0
        self._extents: list[memoryview] = []
        fresh = directory / f"{boot_id}.new"
        self._file = fresh.open("xb+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.write(_header(boot_id))
            self._file.flush()
            self._grow()
            fresh.rename(self.path)  # nobody ever sees it unlocked or without its header
        except BaseException:
            self._file.close()
            fresh.unlink(missing_ok=True)
            raise

    def open_slot(self, identity: bytes, now_us: int) -> Slot:
        """Take a slot whose counters are 0; ``identity`` comes from ``pack_identity``. Raises CounterFileFull."""
        cells, base = self._free.pop() if self._free else self._fresh()
        cells[base + LAST : base + SLOT_CELLS] = memoryview(_COUNTS.pack(now_us, 0, 0, 0) + identity).cast("Q")
        cells[base + SEAL] = _seal(identity)
        self.live_slots += 1
        return cells, base

    def free_slot(self, cells: memoryview, base: int) -> None:
        """Its last counters are committed."""
        cells[base + SEAL] = 0
        self._free.append((cells, base))
        self.live_slots -= 1

    def remove(self) -> None:
        """Everything in it is committed."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give up the lock; what is not committed is settled by another boot."""
        self._free.clear()
        self._fresh_left = 0
        fcntl.flock(self._file, fcntl.LOCK_UN)  # closing is not enough: each mapping holds the file open, too
        self._file.close()

    def _fresh(self) -> Slot:
        """The next slot that was never used; they are not kept in a list, because most never are."""
        if not self._fresh_left:
            self._grow()
        self._fresh_left -= 1
        cells = self._extents[-1]
        return cells, len(cells) - (self._fresh_left + 1) * SLOT_CELLS

    def _grow(self) -> None:
        """Double. Old mappings stay where they are, so running tunnels notice nothing."""
        more = self._slots or FIRST_SLOTS
        if self._slots + more > MAX_SLOTS:
            raise CounterFileFull(f"the counter file {self.path} has reached its {MAX_SLOTS} slots")
        offset = HEADER_BYTES + self._slots * SLOT_BYTES
        try:
            os.posix_fallocate(self._file.fileno(), offset, more * SLOT_BYTES)  # else a full disk kills us by SIGBUS
            mapping = mmap.mmap(self._file.fileno(), more * SLOT_BYTES, offset=offset)
        except OSError as error:
            raise CounterFileFull(f"the counter file {self.path} cannot grow: {error.strerror}") from error
        self._extents.append(memoryview(mapping).cast("Q"))
        self._fresh_left = more
        self._slots += more


@dataclass(frozen=True, slots=True)
class DeadCounters:
    """What a dead boot left. ``torn``: slots or bytes that cannot be read."""

    boot_id: UUID
    usages: list[TunnelUsage]
    torn: int


def read_counters(content: bytes) -> DeadCounters:
    """Raises NotACounterFile with a sentence."""
    boot_id = _read_header(content)
    body = memoryview(content)[HEADER_BYTES:]
    torn = 1 if len(body) % SLOT_BYTES else 0
    usages = []
    for usage in _read_slots(body[: len(body) - len(body) % SLOT_BYTES]):
        if usage is None:
            torn += 1
        else:
            usages.append(usage)
    return DeadCounters(boot_id, usages, torn)


def _read_slots(body: memoryview) -> Iterator[TunnelUsage | None]:
    cells = body.cast("Q")
    for base in range(0, len(cells), SLOT_CELLS):
        if cells[base + SEAL]:
            yield _read_slot(cells[base : base + SLOT_CELLS])


def _read_slot(cells: memoryview) -> TunnelUsage | None:
    identity = cells[IDENTITY:].tobytes()
    if cells[SEAL] != _seal(identity):
        return None
    try:
        return _usage(cells, identity)
    except (ValueError, OverflowError, OSError):  # no calendar has such a time
        return None


def _usage(cells: memoryview, identity: bytes) -> TunnelUsage:
    tunnel, whose, price, hour, started = _IDENTITY.unpack(identity)
    user, chip, proxy, assignment = _WHOSE.unpack(whose)
    return TunnelUsage(
        tunnel_id=tunnel,
        user_id=UUID(bytes=user),
        chip_id=UUID(bytes=chip),
        proxy_id=UUID(bytes=proxy),
        assignment_id=UUID(bytes=assignment),
        price_id=price,
        hour=datetime.fromtimestamp(hour, UTC),
        bytes_up=cells[UP],
        bytes_down=cells[DOWN],
        overhead=cells[OVERHEAD],
        started_us=_of_a_calendar(started),
        last_us=_of_a_calendar(cells[LAST]),
    )


def _of_a_calendar(micros: int) -> int:
    """The same microseconds since 1970. Raises ValueError, OverflowError or OSError when no calendar has them."""
    datetime.fromtimestamp(micros // 1_000_000, UTC)
    return micros


def pack_identity(tunnel_id: int, whose: bytes, price_id: int, hour_s: int, started_us: int) -> bytes:
    """What a slot is known by: ``whose`` is the pass's, ``hour_s`` in seconds and ``started_us`` in
    microseconds since 1970.
    """
    return _IDENTITY.pack(tunnel_id, whose, price_id, hour_s, started_us)


def _seal(identity: bytes) -> int:
    return _SEALED | zlib.crc32(identity)


def _header(boot_id: UUID) -> bytes:
    plain = _HEADER.pack(MAGIC, FORMAT_VERSION, SLOT_BYTES, boot_id.bytes, 0)[:-4]
    return (plain + struct.pack("<I", zlib.crc32(plain))).ljust(HEADER_BYTES, b"\0")


def _read_header(content: bytes) -> UUID:
    if len(content) < HEADER_BYTES:
        raise NotACounterFile(f"it has {len(content)} bytes, less than its header")
    magic, version, slot_bytes, boot_id, checksum = _HEADER.unpack_from(content)
    if magic != MAGIC:
        raise NotACounterFile("it does not begin as a counter file does")
    if zlib.crc32(content[: _HEADER.size - 4]) != checksum:
        raise NotACounterFile("the checksum of its header is wrong")
    if (version, slot_bytes) != (FORMAT_VERSION, SLOT_BYTES):
        raise NotACounterFile(f"it is of format {version} with slots of {slot_bytes} bytes, unknown to this version")
    return UUID(bytes=boot_id)
