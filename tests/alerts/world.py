"""A customer and an administrator with every channel, a simulated vendor, and the clocks of a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from tests.conftest import SECRET
from tests.factories import NOW, TZ, make_plan, make_provider, make_proxy
from tests.notify.office import Office
from tests.receivers import Customer, customer, mail_server
from tests.spine.conftest import GatewayProcess
from whago.domain.models import Assignment, Notification, Plan, Provider, Proxy, User
from whago.domain.rules.notices import RECOVERED
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.languages import LOCALES, Translators
from whago.notify.wording import notice_text
from whago.simulator import SimulatedProvider
from whago.tasks.clock import Tools

PAGE = "http://ip.simulated.test/json"
TRANSLATORS = Translators(LOCALES)


@dataclass
class World:
    """``owner`` reads English, ``admin`` Portuguese; each has the application, an e-mail address and a webhook."""

    database_url: str
    folder: Path
    office: Office
    simulated: SimulatedProvider
    tools: Tools
    owner: User
    admin: User
    hooks: dict[str, Customer]
    plan: Plan
    gateways: list[GatewayProcess] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        return self.office.now

    def at(self, moment: datetime) -> datetime:
        """Moves everybody's time, the vendor's too."""
        self.office.now = moment
        return moment

    def pool(self, **fields: Any) -> tuple[Provider, Proxy]:
        provider = make_provider(
            self.tools.vault, **({"port": self.simulated.port, "ip_check_url": PAGE, "name": "Vendedor"} | fields)
        )
        return provider, make_proxy(provider)

    def gateway(self) -> GatewayProcess:
        started = GatewayProcess(self.database_url, self.folder)
        self.gateways.append(started)
        started.start()
        return started

    def grow_plan(self, gb: str) -> None:
        execute("UPDATE plans SET proxy_gb_limit = :gb WHERE id = :id", gb=gb, id=self.plan.id)

    def deliver(self) -> None:
        """Several rounds: whoever would deliver twice, does."""
        for _ in range(3):
            self.office.round()

    def person(self, who: str) -> User:
        return self.owner if who == "owner" else self.admin

    def heard(self, who: str, kind: str, *, ended: bool) -> list[tuple[str, str, int, int]]:
        """What one person was told of a kind, at its beginning or its end: title, message, mails and calls of it."""
        person = self.person(who)
        with transaction() as db:
            theirs = select(Notification).where(Notification.user_id == person.id, Notification.in_app)
            rows = db.scalars(theirs.where(Notification.kind == kind)).all()
        found = []
        for one in rows:
            if (one.level == RECOVERED) != ended:
                continue
            language = person.language or "pt-BR"
            title, message = notice_text(kind, one.level, one.data, TRANSLATORS.get(language), TZ)
            mails = sum(_says(mail, message) for mail in self.office.mail.messages if mail["To"] == person.email)
            calls = [call.content for call in self.hooks[who].calls]
            called = sum(one_call["data"].get("notification_id") == str(one.id) for one_call in calls)
            found.append((title, message, mails, called))
        return found


def _says(mail: Any, message: str) -> bool:
    body = mail.get_body(("plain",))
    return message in body.get_content().replace("\r\n", "\n")


@contextmanager
def a_world(database_url: str, folder: Path) -> Iterator[World]:
    with mail_server() as mail, customer() as owners, customer() as admins:
        office = Office(mail)
        with SimulatedProvider(statics=2, now=lambda: office.now) as simulated:
            tools = Tools(
                Vault([SECRET]), TZ, allow_private_upstreams=True, failover_grace_s=30.0, courier=office.courier
            )
            plan = make_plan(proxy_gb_limit="0.002", max_chips=100)
            owner = office.someone(url=owners.url, plan=plan, name="Otto", language="en")
            admin = office.someone(url=admins.url, role="admin", name="Ana", language="pt-BR")
            execute("UPDATE channels SET kinds = NULL")
            hooks = {"owner": owners, "admin": admins}
            world = World(database_url, folder, office, simulated, tools, owner, admin, hooks, plan)
            try:
                yield world
            finally:
                for one in world.gateways:
                    if one.process is not None and one.process.poll() is None:
                        one.kill()


def execute(sql: str, **values: Any) -> None:
    with transaction() as db:
        db.execute(text(sql), values)


def active() -> list[Assignment]:
    with transaction() as db:
        query = select(Assignment).where(Assignment.released_at.is_(None)).order_by(Assignment.assigned_at)
        return list(db.scalars(query))


__all__ = ["NOW", "World", "a_world", "active", "execute"]
