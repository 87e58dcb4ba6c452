"""Visits pages of the application in this process, signed in, and takes the time."""

from __future__ import annotations

import gzip
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import select

from whago.domain.actions.accounts import make_admin
from whago.domain.models import Chip, ChipUsageMonth, User
from whago.kit import clock, db
from whago.kit.passwords import hash_password
from whago.web.app import create_app
from whago.web.config import WebConfig

PASSWORD: Final = "a password of the benchmark"
SECRET: Final = "a secret key of the benchmark that is long enough"
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
class Visits:
    """One page: the milliseconds of each visit, and its size on the wire."""

    page: str
    times_ms: tuple[float, ...]
    compressed_bytes: int

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times_ms)

    @property
    def worst_ms(self) -> float:
        return max(self.times_ms)


def visitor(email: str, tz: ZoneInfo) -> TestClient:
    """A browser in which a customer or administrator of the benchmark has signed in."""
    client = TestClient(create_app(WebConfig(tz=tz, secrets=(SECRET,))), base_url="http://whago.example")
    answer = client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    answer.raise_for_status()
    return client


def walk(email: str, pages: Sequence[str], rounds: int, tz: ZoneInfo) -> list[Visits]:
    """Every page ``rounds`` times, after one visit that fills caches of templates and statements."""
    client, chip = visitor(email, tz), chip_of(email)
    return [_visit(client, page, page.replace("{chip}", chip), rounds) for page in pages]


def busiest() -> str:
    """The e-mail of the customer with most usage, who can sign in from now on."""
    with db.transaction() as tx:
        user = tx.scalars(
            select(User)
            .join(ChipUsageMonth, ChipUsageMonth.user_id == User.id)
            .order_by(ChipUsageMonth.total_bytes.desc())
            .limit(1)
        ).one()
        return let_in(user)


def let_in(user: User) -> str:
    """Gives a customer the benchmark's password, inside a transaction."""
    user.password_hash = hash_password(PASSWORD)
    return user.email


def administrator() -> str:
    email = "admin@example.com"
    make_admin(email=email, password_hash=hash_password(PASSWORD), name="Admin", replace=True, now=clock.now())
    return email


def _visit(client: TestClient, name: str, path: str, rounds: int) -> Visits:
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        answer = visit(client, path)
        times.append((time.perf_counter() - began) * 1000)
    return Visits(name, tuple(times[1:]), len(gzip.compress(answer.content)))


def visit(client: TestClient, path: str) -> Response:
    """Raises SystemExit when the page is not there: figures of error pages would look well."""
    answer = client.get(path)
    if answer.status_code != 200:
        raise SystemExit(f"{path} answered {answer.status_code}")
    return answer


def chip_of(email: str) -> str:
    """The identifier of one of a customer's chips; of nobody's, if there is none."""
    with db.reading() as tx:
        return str(tx.scalar(select(Chip.id).join(User, User.id == Chip.user_id).where(User.email == email).limit(1)))
