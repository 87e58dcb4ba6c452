"""A disk that is full, as a tiny file system of its own: what each part does, and that nothing is lost by it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.faults.far_end import SMALL_HOST, Reconnects
from tests.gateway.conftest import Rig, plain_rig
from tests.gateway.wire import eventually, http_connect, open_http, read_exactly, read_head
from tests.topology.conftest import Site
from tests.topology.debian import DebianPostgres
from tests.topology.installation import soon
from whago.gateway import counters

__all__ = ["plain_rig"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NO_MOUNT = "a small file system of one's own takes root and the right to mount"


@contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[Path]:
    """A mounted tmpfs. Skips the test where that is not allowed."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip(NO_MOUNT)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(NO_MOUNT)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_gateway_does_not_start_without_room_for_its_counters(site: Site, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "64k") as disk:
        refused = site.installation.gateway(data=str(disk))
        assert refused.part.wait() == 1, "a later start may find room"
        told = refused.part.said
        assert "No space left on device" in told
        assert "Traceback" not in told


def test_a_counter_file_that_cannot_grow_refuses_new_tunnels_and_keeps_the_others(
    plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 1 << 30)
    monkeypatch.setattr(counters, "MAX_SLOTS", counters.FIRST_SLOTS)
    file = gateway.gateway._counters
    with open_http(gateway.port, chip, "token", plain_rig.target()) as running:
        gateway.call(lambda: setattr(file, "_fresh_left", 0))
        with http_connect(gateway.port, chip, "token", plain_rig.target()) as late:
            told = read_head(late)
        assert told.startswith("HTTP/1.1 503 ")
        assert "X-Gateway-Reason: too_many_tunnels\r\n" in told
        running.sendall(b"goes on")
        assert read_exactly(running, 7) == b"goes on"
    assert eventually(lambda: opens(plain_rig, gateway.port, chip), 30), "a slot that became free is used again"


def opens(rig: Rig, port: int, chip: str) -> bool:
    with http_connect(port, chip, "token", rig.target()) as client:
        return read_head(client).startswith("HTTP/1.1 200 ")


def test_a_database_whose_disk_is_full_delays_the_bill_and_loses_nothing(
    site: Site, debian_postgres: DebianPostgres
) -> None:
    customer = site.office.customer()
    site.provider.forget()
    with tiny_disk(debian_postgres.folder / "tiny", "4m") as disk, ledger_on(debian_postgres, site, disk) as admin:
        fill(admin)
        chip = Reconnects(site.gateways[0].port, *customer.new_chip(site.webs[0]).credential, size=2_000)
        chip.start()
        try:
            soon(lambda: any(word in said(site) for word in ("No space left", "DiskFull", "report.unanswered")))
            assert customer.ask(site.webs[1], "GET", "/user/proxy/usage"), "reading goes on"
            admin.execute("DROP TABLE filler")
        finally:
            chip.stop()
        wire = sum(one.received + one.sent for one in site.provider.towards(SMALL_HOST))
        soon(lambda: customer.used_bytes(site.webs[1]) == wire)


def said(site: Site) -> str:
    return site.gateways[0].part.said


@contextmanager
def ledger_on(postgres: DebianPostgres, site: Site, disk: Path) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The running month's ledger lies on ``disk``, and comes back afterwards. Yields the server's administrator."""
    postgres._hand_over(disk)
    database = site.installation.database_url.rpartition("/")[2]
    with psycopg.connect(postgres.url(database, "postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE TABLESPACE tiny LOCATION '{disk}'")
        row = admin.execute(
            "SELECT format('%I', c.relname) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
            " WHERE inhparent = 'proxy_usage_logs'::regclass AND c.relname ="
            " 'proxy_usage_logs_' || to_char(now() AT TIME ZONE 'America/Sao_Paulo', 'YYYY_MM')"
        ).fetchone()
        assert row is not None
        admin.execute(f"ALTER TABLE {row[0]} SET TABLESPACE tiny")
        try:
            yield admin
        finally:
            admin.execute("DROP TABLE IF EXISTS filler")
            admin.execute(f"ALTER TABLE {row[0]} SET TABLESPACE pg_default")
            admin.execute("DROP TABLESPACE tiny")


def fill(admin: psycopg.Connection[tuple[object, ...]]) -> None:
    """Not a page is left."""
    admin.execute("CREATE TABLE filler (word text) TABLESPACE tiny")
    for words in (100, 1):
        try:
            while True:
                admin.execute("INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, %s)", [words])
        except psycopg.errors.DiskFull:
            continue
