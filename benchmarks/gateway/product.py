"""The product as an operator runs it: an embedded PostgreSQL with customers and chips, and ``whago gateway`` on it."""

from __future__ import annotations

import shutil
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import InstrumentedAttribute

from benchmarks.gateway.ends import PROVIDER_PASSWORD, PROVIDER_USER, TARGET, USER_PREFIX
from benchmarks.gateway.peer import CLIENTS, Client, Command
from benchmarks.gateway.processes import cpu_of_tree_s
from whago.domain.actions.chips import create_chip
from whago.domain.actions.partitions import make_partitions
from whago.domain.models import Engine, Plan, Provider, ProviderPrice, Proxy, UsageLog, User, UserProxyCost
from whago.kit import clock, db
from whago.kit.crypto import Vault
from whago.kit.ids import new_id
from whago.main.embedded import EmbeddedPostgres, private_data_dir
from whago.main.migrate import upgrade

SECRET: Final = "a-secret-key-that-only-the-benchmark-uses"
TZ: Final = ZoneInfo("America/Sao_Paulo")
CHIPS_PER_USER: Final = 25  # ten customers: leases are asked for and shared as in production
COST_PER_GB: Final = Decimal(25)  # in reais; nothing here depends on it
ROOMY_GB: Final = Decimal(1_000_000)  # a real limit, so that every byte is leased; no run reaches it


class ProductDatabase:
    """A durable PostgreSQL for one run. ``clients``: chips whose customers have room."""

    def __init__(self) -> None:
        self._folder = private_data_dir()
        self._server = EmbeddedPostgres(self._folder)
        self.clients: list[Client] = []

    def __enter__(self) -> Self:
        try:
            self._server.start()
            upgrade(self._server.url)
            db.connect(self._server.url)
            make_partitions(now=clock.now(), tz=TZ)
            self._make_pool()
            self.clients = self._make_chips()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def cpu_s(self) -> float:
        """CPU seconds of PostgreSQL so far: the price of the control plane."""
        assert self._server.pid is not None
        return cpu_of_tree_s(self._server.pid)

    def point_at(self, provider_port: int) -> None:
        """Where the provider listens in this round. No gateway runs while it changes."""
        with db.transaction() as tx:
            tx.execute(update(Proxy).values(proxy_url=f"http://127.0.0.1:{provider_port}"))

    def gateway(self, folder: Path, port: int, processes: int = 1) -> Command:
        """The command that an operator starts, in a data folder of its own."""
        argv = [sys.executable, "-P", "-m", "whago", "gateway", "--host", "127.0.0.1", "--port", str(port)]
        argv += ["--status-port", "0", "--processes", str(processes)]
        env = {
            "WHAGO_DATABASE_URL": self._server.url,
            "WHAGO_SECRET_KEY": SECRET,
            "WHAGO_DATA_DIR": str(folder),
            "WHAGO_ALLOW_PRIVATE_UPSTREAMS": "1",
            "WHAGO_EGRESS_HOSTS": TARGET.partition(":")[0],
            "WHAGO_LOG_FORMAT": "json",
        }
        return Command(argv, env)

    def customer(self, limit_gb: Decimal, chips: int) -> tuple[UUID, list[Client]]:
        """A new customer with a plan of its own."""
        now = clock.now()
        with db.transaction() as tx:
            plan_id, user_id = new_id(), new_id()
            tx.add(_plan(plan_id, limit_gb, now))
            tx.flush()
            tx.add(_user(user_id, plan_id, now))
        return user_id, [self._chip(user_id, number) for number in range(chips)]

    def committed_bytes(self, user_id: UUID) -> int:
        """What the customer is billed for in all months (a run may cross one's end)."""
        return _sum(UserProxyCost.total_bytes, UserProxyCost.user_id == user_id)

    def bytes_down(self, user_id: UUID) -> int:
        """Tunnel bytes towards the chips in the ledger: comparable with what the chips received."""
        return _sum(UsageLog.bytes_down, UsageLog.user_id == user_id)

    def _make_pool(self) -> None:
        now = clock.now()
        provider_id = new_id()
        with db.transaction() as tx:
            provider, price = _provider(provider_id, now), _price(provider_id, now)
            tx.add(provider)
            tx.flush()
            tx.add(price)
            tx.flush()
            provider.current_price_id = price.id
            tx.add(_proxy(provider_id, now))

    def _make_chips(self) -> list[Client]:
        return [
            client for _ in range(CLIENTS // CHIPS_PER_USER) for client in self.customer(ROOMY_GB, CHIPS_PER_USER)[1]
        ]

    def _chip(self, user_id: UUID, number: int) -> Client:
        chip = create_chip(user_id, alias=f"chip {number}", engine=Engine.EXTERNAL, region=None, now=clock.now(), tz=TZ)
        return Client(str(chip.chip_id), chip.gateway_token, "")


def _plan(plan_id: UUID, limit_gb: Decimal, now: datetime) -> Plan:
    return Plan(
        id=plan_id,
        name="Bench",
        slug=str(plan_id),
        price=Decimal(1),
        max_chips=CLIENTS,
        proxy_gb_limit=limit_gb,
        created_at=now,
        updated_at=now,
    )


def _user(user_id: UUID, plan_id: UUID, now: datetime) -> User:
    return User(
        id=user_id,
        name="Bench",
        email=f"{user_id}@example.com",
        password_hash="!",
        plan_id=plan_id,
        created_at=now,
    )


def _provider(provider_id: UUID, now: datetime) -> Provider:
    return Provider(
        id=provider_id,
        name="Far end",
        provider_type="residential",
        preset="custom",
        protocol="http",
        host="127.0.0.1",
        port=1,
        credentials=Vault([SECRET]).seal({"username": PROVIDER_USER, "password": PROVIDER_PASSWORD}),
        username_template=USER_PREFIX.replace(PROVIDER_USER, "{username}", 1) + "{session}",
        password_template="{password}",
        cost_per_gb=COST_PER_GB,
        created_at=now,
        updated_at=now,
    )


def _price(provider_id: UUID, now: datetime) -> ProviderPrice:
    return ProviderPrice(
        provider_id=provider_id, cost_per_gb=COST_PER_GB, bytes_per_gb=10**9, currency="BRL", effective_from=now
    )


def _proxy(provider_id: UUID, now: datetime) -> Proxy:
    """Its address is set by ``point_at`` before anybody dials it."""
    return Proxy(
        provider_id=provider_id,
        proxy_type="rotating",
        proxy_url="http://127.0.0.1:1",
        created_at=now,
        updated_at=now,
    )


def _sum(column: InstrumentedAttribute[int], of: ColumnElement[bool]) -> int:
    with db.reading() as tx:
        return int(tx.scalar(select(func.sum(column)).where(of)) or 0)
