"""``python -m benchmarks.pages``: how long the server works on each page, in a small and in a large installation.

Every page is asked of the application in this process, without a network: what is measured is routing, queries,
templates and compression. A page that must not grow with the installation shows it by its ratio.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from fastapi.testclient import TestClient
from sqlalchemy import select

from benchmarks.gateway.machine import describe
from benchmarks.pages.filling import DAYS, Size, fill
from whago.domain.actions.accounts import make_admin
from whago.domain.actions.usage_days import roll_days
from whago.domain.models import Chip, ChipUsageMonth, User
from whago.kit import clock, db
from whago.kit.passwords import hash_password
from whago.main.embedded import EmbeddedPostgres, private_data_dir
from whago.main.migrate import upgrade
from whago.web.app import create_app
from whago.web.config import WebConfig

FOLDER: Final = Path(__file__).parent
ZONE: Final = "America/Sao_Paulo"
PASSWORD: Final = "a password of the benchmark"
SECRET: Final = "a secret key of the benchmark that is long enough"
SMALL: Final = Size(chips=50, hours_a_day=8)
TARGET_MS: Final = 100.0
MISSED: Final = 1
CUSTOMER_PAGES: Final = (
    "/dashboard",
    "/dashboard?by=chip",
    "/dashboard/usage",
    "/dashboard/aside",
    "/chips",
    "/chips?sort=usage",
    "/chips?search=99",
    "/chips/{chip}",
    "/usage",
    "/notifications",
    "/settings",
)
ADMIN_PAGES: Final = (
    "/admin",
    "/admin?by=provider",
    "/admin/proxies",
    "/admin/proxies?tab=pool",
    "/admin/proxies?tab=stats",
    "/admin/users",
    "/admin/chips",
    "/admin/chips?sort=usage",
    "/admin/chips?search=99",
    "/admin/plans",
    "/admin/alerts",
    "/admin/audit",
    "/admin/audit?search=nothing-like-it",
    "/admin/reports",
    "/admin/system",
)


@dataclass(frozen=True, slots=True)
class Figure:
    """Median and greatest time of one page, in milliseconds, and its size on the wire."""

    page: str
    median_ms: float
    worst_ms: float
    compressed_bytes: int


def main() -> int:
    options = _options()
    large = Size(options.chips, options.hours)
    small, big = (_measured(size, options.rounds) for size in (SMALL, large))
    options.out.write_text(_markdown(small, big, large, options))
    for one in big:
        _say(f"{'PASS' if one.median_ms <= TARGET_MS else 'FAIL'}: {one.page} {one.median_ms:.0f} ms")
    return 0 if all(one.median_ms <= TARGET_MS for one in big) else MISSED


def _measured(size: Size, rounds: int) -> list[Figure]:
    folder = private_data_dir()
    try:
        with EmbeddedPostgres(folder, durable=False) as server:
            upgrade(server.url)
            engine = db.connect(server.url)
            began = time.monotonic()
            fill(size, ZONE)
            roll_days(now=clock.now(), tz=ZoneInfo(ZONE))  # as the worker's clock does
            _say(f"{size.chips:,} chips written in {time.monotonic() - began:.0f} s")
            try:
                return [*_walk(_busiest(), CUSTOMER_PAGES, rounds), *_walk(_administrator(), ADMIN_PAGES, rounds)]
            finally:
                engine.dispose()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _walk(email: str, pages: Sequence[str], rounds: int) -> list[Figure]:
    client = TestClient(create_app(WebConfig(tz=ZoneInfo(ZONE), secrets=(SECRET,))), base_url="http://whago.example")
    answer = client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    answer.raise_for_status()
    chip = _chip_of(email)
    return [_figure(client, page, page.replace("{chip}", chip), rounds) for page in pages]


def _figure(client: TestClient, name: str, path: str, rounds: int) -> Figure:
    times = []
    for _ in range(rounds + 1):  # the first fills caches of templates and statements
        began = time.perf_counter()
        answer = client.get(path)
        times.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise SystemExit(f"benchmarks.pages: {path} answered {answer.status_code}")
    return Figure(name, statistics.median(times[1:]), max(times[1:]), len(gzip.compress(answer.content)))


def _busiest() -> str:
    """The customer with most usage, who can sign in from now on."""
    with db.transaction() as tx:
        user = tx.scalars(
            select(User)
            .join(ChipUsageMonth, ChipUsageMonth.user_id == User.id)
            .order_by(ChipUsageMonth.total_bytes.desc())
            .limit(1)
        ).one()
        user.password_hash = hash_password(PASSWORD)
        return user.email


def _administrator() -> str:
    email = "admin@example.com"
    make_admin(email=email, password_hash=hash_password(PASSWORD), name="Admin", replace=True, now=clock.now())
    return email


def _chip_of(email: str) -> str:
    with db.reading() as tx:
        return str(tx.scalar(select(Chip.id).join(User, User.id == Chip.user_id).where(User.email == email).limit(1)))


def _markdown(small: Sequence[Figure], big: Sequence[Figure], size: Size, options: argparse.Namespace) -> str:
    hours = size.chips * size.hours_a_day * DAYS
    lines = [
        "# Pages",
        "",
        f"{describe()}. `python -m benchmarks.pages --chips {options.chips} --hours {options.hours}"
        f" --rounds {options.rounds}`, {clock.now():%Y-%m-%d}.",
        "",
        f"{size.chips:,} chips of {size.customers:,} customers with {hours:,} hours of usage behind them, beside"
        f" {SMALL.chips} chips of one customer. Median of {options.rounds} visits, in the process itself; the browser's"
        " work and the network come on top.",
        "",
        f"| page | {SMALL.chips} chips | {size.chips:,} chips | worst | ratio | on the wire |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one, other in zip(small, big, strict=True):
        lines.append(
            f"| `{other.page}` | {one.median_ms:.0f} ms | {other.median_ms:.0f} ms | {other.worst_ms:.0f} ms"
            f" | {other.median_ms / one.median_ms:.1f} | {other.compressed_bytes / 1000:.1f} kB |"
        )
    slow = [one.page for one in big if one.median_ms > TARGET_MS]
    lines += ["", f"Within {TARGET_MS:.0f} ms: {len(big) - len(slow)} of {len(big)}."]
    return "\n".join(lines + ([f"Slower: {', '.join(slow)}."] if slow else [])) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--chips", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=8, help="hours of each day in which every chip moves bytes")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=FOLDER / "results.md")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
