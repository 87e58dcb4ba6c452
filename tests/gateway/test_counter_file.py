"""The counter file by itself: what was stored is read back, and what is torn is told apart."""

from __future__ import annotations

import asyncio
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.conftest import Rig
from tests.gateway.control_double import Bank, Control
from tests.gateway.wire import eventually, open_http, read_exactly
from whago.gateway import server
from whago.gateway.control import ControlUnavailable, TunnelUsage
from whago.gateway.counters import (
    DOWN,
    FIRST_SLOTS,
    HEADER_BYTES,
    OVERHEAD,
    SLOT_BYTES,
    UP,
    CounterFile,
    CounterFileFull,
    NotACounterFile,
    Slot,
    pack_identity,
    read_counters,
)
from whago.gateway.settle import settle_dead

MOMENT_US = 1_762_178_706_789_012  # 2025-11-03 14:05:06.789012 UTC


def usage(tunnel_id: int = 1, price_id: int = 5) -> TunnelUsage:
    return TunnelUsage(
        tunnel_id=tunnel_id,
        user_id=uuid4(),
        chip_id=uuid4(),
        proxy_id=uuid4(),
        assignment_id=uuid4(),
        price_id=price_id,
        hour=datetime(2025, 11, 3, 14, tzinfo=UTC),
        bytes_up=0,
        bytes_down=0,
        overhead=0,
        started_us=MOMENT_US,
        last_us=MOMENT_US,
    )


def open_slot(file: CounterFile, opened: TunnelUsage) -> Slot:
    whose = b"".join(one.bytes for one in (opened.user_id, opened.chip_id, opened.proxy_id, opened.assignment_id))
    identity = pack_identity(opened.tunnel_id, whose, opened.price_id, int(opened.hour.timestamp()), opened.started_us)
    return file.open_slot(identity, opened.started_us)


@pytest.fixture
def file(tmp_path: Path) -> CounterFile:
    return CounterFile(tmp_path, uuid4())


def count(file: CounterFile, opened: TunnelUsage, up: int, down: int, overhead: int) -> TunnelUsage:
    cells, base = open_slot(file, opened)
    cells[base + UP] += up
    cells[base + DOWN] += down
    cells[base + OVERHEAD] += overhead
    return replace(opened, bytes_up=up, bytes_down=down, overhead=overhead)


def test_what_was_counted_is_read_back(file: CounterFile) -> None:
    wanted = [count(file, usage(number), number, number * 2, 300) for number in range(1, 20)]
    dead = read_counters(file.path.read_bytes())
    assert dead.torn == 0
    assert sorted(dead.usages, key=lambda row: row.tunnel_id) == wanted
    assert file.path.name == f"{dead.boot_id}.counters"


def test_a_freed_slot_is_not_read_and_is_used_again(file: CounterFile) -> None:
    slot = open_slot(file, usage())
    slot[0][slot[1] + UP] = 12345
    file.free_slot(*slot)
    assert read_counters(file.path.read_bytes()).usages == []
    again = usage(2)
    assert open_slot(file, again) == slot
    assert read_counters(file.path.read_bytes()).usages == [again]


def test_it_grows_and_running_slots_stay_where_they_are(file: CounterFile) -> None:
    first = open_slot(file, usage(0))
    for number in range(1, FIRST_SLOTS * 4):
        open_slot(file, usage(number))
    first[0][first[1] + UP] += 77
    dead = read_counters(file.path.read_bytes())
    assert {row.tunnel_id for row in dead.usages} == set(range(FIRST_SLOTS * 4))
    assert next(row.bytes_up for row in dead.usages if row.tunnel_id == 0) == 77
    assert file.live_slots == FIRST_SLOTS * 4


def test_a_full_file_says_so(file: CounterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whago.gateway.counters.MAX_SLOTS", FIRST_SLOTS)
    for number in range(FIRST_SLOTS):
        open_slot(file, usage(number))
    with pytest.raises(CounterFileFull):
        open_slot(file, usage())


def test_a_negative_price_id_and_great_counters_survive(file: CounterFile) -> None:
    wanted = count(file, usage(1 << 62, price_id=-3), 1 << 60, (1 << 64) - 1, 0)
    assert read_counters(file.path.read_bytes()).usages == [wanted]


@given(st.data())
def test_a_slot_cut_at_any_byte_while_it_is_filled_is_free(data: st.DataObject) -> None:
    """The seal is written last: whatever part of the identity was there at the kill, the slot does not count."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = CounterFile(Path(folder), uuid4())
        slot = open_slot(file, usage())
        file.free_slot(*slot)
        content = bytearray(file.path.read_bytes())
    start = HEADER_BYTES + slot[1] * 8
    cut = data.draw(st.integers(8, SLOT_BYTES))
    content[start + 8 : start + cut] = data.draw(st.binary(min_size=cut - 8, max_size=cut - 8))
    assert read_counters(bytes(content)).usages == []


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:100], "less than its header"),
        (lambda content: b"X" + content[1:], "does not begin"),
        (lambda content: content[:20] + b"\xff" + content[21:], "checksum"),
        (lambda content: content[:0], "0 bytes"),
    ],
)
def test_a_damaged_header_is_refused_with_a_sentence(file: CounterFile, damage, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NotACounterFile, match=sentence):
        read_counters(damage(file.path.read_bytes()))


@given(st.binary(max_size=HEADER_BYTES + 3 * SLOT_BYTES))
def test_any_bytes_are_either_read_or_refused(content: bytes) -> None:
    with pytest.raises(NotACounterFile):
        read_counters(content)


def dead_file(folder: Path) -> tuple[Path, UUID, list[TunnelUsage]]:
    boot_id = uuid4()
    file = CounterFile(folder, boot_id)
    rows = [count(file, usage(number), number * 10, 5, 300) for number in range(1, 4)]
    file.close()
    return file.path, boot_id, rows


def test_a_dead_boot_is_settled_and_its_file_removed(tmp_path: Path) -> None:
    path, boot_id, rows = dead_file(tmp_path)
    bank = Bank()
    assert asyncio.run(settle_dead(tmp_path, Control(bank))) == 1
    assert bank.settled == [boot_id]
    assert sorted(bank.rows.values(), key=lambda row: row.tunnel_id) == rows
    assert not path.exists()


def test_a_file_stays_until_the_control_plane_has_answered(tmp_path: Path) -> None:
    path, boot_id, _ = dead_file(tmp_path)
    bank = Bank()
    control = Control(bank)
    control.down = True
    with pytest.raises(ControlUnavailable):
        asyncio.run(settle_dead(tmp_path, control))
    assert path.exists()
    control.down = False
    assert asyncio.run(settle_dead(tmp_path, control)) == 1
    assert bank.settled == [boot_id]


def test_of_a_damaged_slot_the_others_are_settled_and_the_file_is_kept(tmp_path: Path) -> None:
    path, boot_id, _ = dead_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 5 * 8 + 3] ^= 0xFF
    path.write_bytes(content)
    bank = Bank()
    assert asyncio.run(settle_dead(tmp_path, Control(bank))) == 1
    assert len(bank.rows) == 2
    assert bank.settled == [boot_id]
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{path.name}.rejected"]


def test_a_file_under_another_boots_name_is_set_aside(tmp_path: Path) -> None:
    path, _, _ = dead_file(tmp_path)
    path.rename(tmp_path / f"{uuid4()}.counters")
    bank = Bank()
    assert asyncio.run(settle_dead(tmp_path, Control(bank))) == 0
    assert bank.rows == {}
    assert [entry.suffix for entry in tmp_path.iterdir()] == [".rejected"]


def test_two_settlers_settle_once(tmp_path: Path) -> None:
    dead_file(tmp_path)
    bank = Bank()
    slow, quick = Control(bank), Control(bank)
    slow.slow_s = 0.2

    async def both() -> list[int]:
        return await asyncio.gather(settle_dead(tmp_path, slow), settle_dead(tmp_path, quick))

    assert sorted(asyncio.run(both())) == [0, 1]
    assert len(bank.settled) == 1


def test_a_file_that_the_ledger_never_takes_is_set_aside_and_holds_nobody_up(tmp_path: Path) -> None:
    """It comes from another installation, say; whatever its name, the files behind it are settled."""
    dead = [dead_file(tmp_path) for _ in range(3)]
    bank = Bank()
    foreign = min(dead)
    bank.unknown_boots.add(foreign[1])
    with structlog.testing.capture_logs() as lines:
        assert asyncio.run(settle_dead(tmp_path, Control(bank))) == 2
    assert set(bank.settled) == {boot_id for _, boot_id, _ in dead} - {foreign[1]}
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{foreign[0].name}.rejected"]
    (line,) = [line for line in lines if line["event"] == "counters.rejected"]
    assert line["reason"] == "The counter file was set aside because the bank knows no such customer."


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not ours" * 1000, "it does not begin as a counter file does"),
        (b"", "it has 0 bytes, less than its header"),
        (b"WHAGOCNT" + b"\xff" * HEADER_BYTES, "the checksum of its header is wrong"),
    ],
)
def test_a_foreign_file_is_set_aside_with_a_sentence(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / f"{uuid4()}.counters"
    path.write_bytes(content)
    with structlog.testing.capture_logs() as lines:
        assert asyncio.run(settle_dead(tmp_path, Control(Bank()))) == 0
    (line,) = lines
    assert line["log_level"] == "error"
    assert line["reason"] == f"The counter file was set aside because {why}."
    assert Path(line["file"]).read_bytes() == content, "it is kept for whoever wants to look"
    assert not path.exists()


def test_a_file_of_another_format_is_set_aside_with_a_sentence(tmp_path: Path) -> None:
    path, _, _ = dead_file(tmp_path)
    plain = struct.pack("<8sII16s", b"WHAGOCNT", 99, SLOT_BYTES, UUID(path.stem).bytes)
    path.write_bytes((plain + struct.pack("<I", zlib.crc32(plain))).ljust(HEADER_BYTES, b"\0"))
    with structlog.testing.capture_logs() as lines:
        assert asyncio.run(settle_dead(tmp_path, Control(Bank()))) == 0
    assert "it is of format 99" in lines[0]["reason"]


def test_a_sibling_settles_a_dead_boot_while_it_serves(plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SETTLE_EVERY_S", 0.1)
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    with open_http(gateway.port, chip, "token", plain_rig.target()) as client:
        path, boot_id, rows = dead_file(plain_rig.counters_dir)
        broken = plain_rig.counters_dir / f"{uuid4()}.counters"
        broken.write_bytes(b"torn")
        assert eventually(lambda: plain_rig.bank.settled == [boot_id])
        assert eventually(lambda: not path.exists() and not broken.exists())
        assert sum(row.bytes_up for row in plain_rig.bank.rows.values()) == sum(row.bytes_up for row in rows)
        client.sendall(b"still here")
        assert read_exactly(client, 10) == b"still here"
