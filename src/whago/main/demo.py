"""``up --demo``: three customers at the simulated provider, with chips, a past, and traffic that goes on.

Everything is made once. A start that was killed in the middle is taken up where it stopped; afterwards nothing is added
any more, whatever people change or delete. The rows are marked as the demo's (``is_demo``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import httpx

from whago.domain.actions.accounts import change_password
from whago.domain.actions.chips import create_chip, renew_gateway_token, set_chip_status
from whago.domain.actions.demo import mark_demo, point_demo_at
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.pool import ProxyFields, create_proxies
from whago.domain.actions.providers import ProviderFields, create_provider
from whago.domain.actions.record_usage import record_usage
from whago.domain.actions.users import UserFields, create_user
from whago.domain.models import ChipStatus, Engine
from whago.domain.queries.demo import (
    DemoChip,
    DemoPlan,
    chips_of,
    demo_provider,
    has_proxies,
    has_usage,
    living_user,
    plan_called,
)
from whago.domain.rules.months import billing_month, month_start, previous_month
from whago.kit import clock, db
from whago.kit.crypto import Vault
from whago.kit.passwords import hash_password
from whago.main.data_folder import default_data_dir, new_password
from whago.main.demo_bills import seed_bills
from whago.main.demo_file import DemoFile, KeptChip, KeptCustomer
from whago.main.demo_past import past_usage
from whago.main.secret import secret_keys
from whago.providers.presets import PRESETS
from whago.providers.static_list import ListedProxy, read_static_list
from whago.settings import Settings
from whago.simulator.state import DEFAULT_ACCOUNT

PROVIDER_NAME: Final = "Smartproxy (simulado)"
COST_PER_GB: Final = Decimal("25.00")
IP_CHECK_URL: Final = "http://ip.simulated.test/json"
STATIC_PROXIES: Final = 2  # enough to show that they serve one chip each
UNLIMITED_AS_BYTES: Final = 10**9  # what percentages are of when somebody made a plan unlimited
STATIC_LIST_S: Final = 5.0  # the simulator is up and answers in milliseconds
INSTANT: Final = timedelta(microseconds=1)
PREVIOUS_MONTH_PERCENT: Final = 70  # of what this month shows: last month raises no notification now


@dataclass(frozen=True, slots=True)
class Wish:
    """A customer as the demo wants it; ``percent`` of its plan's limit is used this month.

    ``chips`` talk by themselves (``demo_traffic``); ``bridged`` ones are run by our bridge, and dial WhatsApp itself.
    """

    name: str
    email: str
    plan: str
    percent: int
    pace: str
    chips: tuple[str, ...]
    bridged: tuple[str, ...] = ()


WISHES: Final = (
    Wish(
        "Central de Atendimento Ipê", "central@demo.whago.local", "enterprise", 20, "brisk",
        ("Vendas 1", "Vendas 2", "Suporte", "Cobrança", "Entregas", "Pós-venda"), ("WhatsApp de verdade",),
    ),
    Wish(
        "Clínica Sorriso Vivo", "clinica@demo.whago.local", "business", 85, "calm",
        ("Recepção", "Agendamento", "Financeiro"),
    ),
    Wish("Padaria Pão Dourado", "padaria@demo.whago.local", "free", 100, "calm", ("Balcão",)),
)  # fmt: skip


def seed(settings: Settings, *, simulator_host: str, simulator_port: int) -> Sequence[str]:
    """Makes what is missing; returns a line for each demo account, with its password, to show to whoever started it."""
    assert settings.database_url is not None
    db.connect(settings.database_url)
    try:
        seeding = _Seeding(settings, clock.now())
        seeding.provider(simulator_host, simulator_port)
        lines = [line for wish in WISHES if (line := seeding.customer(wish)) is not None]
        seeding.bills()
        return lines
    finally:
        db.engine().dispose()


class _Seeding:
    def __init__(self, settings: Settings, now: datetime) -> None:
        self._now = now
        self._tz: ZoneInfo = settings.tz
        self._vault = Vault(secret_keys(settings))
        self._file = DemoFile(settings.data_dir or default_data_dir(demo=True))
        self._simulator_admin = settings.simulator_admin_url
        this_month = billing_month(now, self._tz)
        self._month_begins = month_start(this_month, self._tz)
        self._past_begins = month_start(previous_month(this_month), self._tz)

    def provider(self, host: str, port: int) -> None:
        provider_id = demo_provider()
        if provider_id is None and self._file.customers:
            return  # somebody deleted it, and meant it
        if provider_id is None:
            provider_id = self._create_provider(host, port)
        point_demo_at(provider_id, host=host, port=port, now=self._now)
        if not has_proxies(provider_id):
            self._create_pool(provider_id, host, port)

    def bills(self) -> None:
        provider_id = demo_provider()
        if provider_id is not None:
            seed_bills(provider_id, now=self._now, tz=self._tz)

    def customer(self, wish: Wish) -> str | None:
        """None for a customer that somebody deleted."""
        kept = self._file.customers.get(wish.email)
        user_id = living_user(wish.email)
        if user_id is None and kept is not None and kept.done:
            return None
        plan = plan_called(wish.plan)
        if kept is None:
            kept = KeptCustomer(wish.email, new_password(), wish.name, plan.name, wish.percent, wish.pace)
            kept.done = user_id is not None and has_usage(user_id)
            self._file.keep(kept)
            if user_id is not None:
                self._regain(user_id, kept)
        if user_id is None:
            user_id = self._create_user(wish, kept, plan)
        if not kept.done:
            mark_demo([user_id])
            self._create_chips(user_id, wish, kept, plan)
            self._give_past(user_id, wish, plan)
            kept.done = True
            self._file.keep(kept)
        return f"{kept.email}  password {kept.password}  ({kept.name}: plan {kept.plan}, {kept.percent} % used)"

    def _create_provider(self, host: str, port: int) -> UUID:
        preset = PRESETS["smartproxy"]
        username, _, password = DEFAULT_ACCOUNT.partition(":")
        return create_provider(
            None,
            ProviderFields(
                name=PROVIDER_NAME,
                provider_type="residential",
                preset=preset.key,
                protocol="http",
                host=host,
                port=port,
                username_template=preset.username_template,
                password_template=preset.password_template,
                country="BR",
                region="BR",
                cost_per_gb=COST_PER_GB,
                currency="BRL",
                bytes_per_gb=preset.bytes_per_gb,
                priority=100,
                is_active=True,
                lifetime_min=1440,
                ip_check_url=IP_CHECK_URL,
                credentials={"username": username, "password": password},
                is_demo=True,
            ),
            vault=self._vault,
            now=self._past_begins,
        )

    def _create_pool(self, provider_id: UUID, host: str, port: int) -> None:
        rotating = ProxyFields("rotating", f"http://{host}:{port}", "BR", None, is_active=True)
        statics = [
            ProxyFields("static", one.url, "BR", 1, is_active=True, credentials=one.credentials)
            for one in self._static_proxies()
        ]
        create_proxies(None, provider_id, [rotating, *statics], vault=self._vault, now=self._past_begins)

    def _regain(self, user_id: UUID, kept: KeptCustomer) -> None:
        """The file is lost but the customer stands: a new password, and new credentials for the traffic."""
        change_password(user_id, hash_password(kept.password), now=self._now)
        for chip in _talkers_of(user_id):
            token = renew_gateway_token(user_id, chip.id, now=self._now)
            kept.chips.append(KeptChip(str(chip.id), chip.alias, token))
        self._file.keep(kept)

    def _create_user(self, wish: Wish, kept: KeptCustomer, plan: DemoPlan) -> UUID:
        wanted = UserFields(
            name=wish.name,
            email=wish.email,
            role="user",
            plan_id=plan.id,
            is_active=True,
            language="pt-BR",
            password_hash=hash_password(kept.password),
        )
        return create_user(None, wanted, now=self._past_begins)

    def _create_chips(self, user_id: UUID, wish: Wish, kept: KeptCustomer, plan: DemoPlan) -> None:
        there = {chip.alias: chip.id for chip in chips_of(user_id)}
        known = {chip.alias for chip in kept.chips}
        for alias in wish.chips[: plan.max_chips]:
            if alias in known:
                continue
            if alias in there:  # killed between the chip and the file
                chip_id, token = there[alias], renew_gateway_token(user_id, there[alias], now=self._now)
            else:
                made = create_chip(
                    user_id, alias=alias, engine=Engine.EXTERNAL, region=None, now=self._past_begins, tz=self._tz
                )
                chip_id, token = made.chip_id, made.gateway_token
            kept.chips.append(KeptChip(str(chip_id), alias, token))
            self._file.keep(kept)
        for alias in wish.bridged[: max(0, plan.max_chips - len(wish.chips))]:
            if alias not in there:  # a clock gives it to a bridge, with a credential that only the bridge knows
                now = self._now
                made = create_chip(user_id, alias=alias, engine=Engine.BRIDGE, region=None, now=now, tz=self._tz)
                set_chip_status(made.chip_id, ChipStatus.CONNECTING, now=now)

    def _give_past(self, user_id: UUID, wish: Wish, plan: DemoPlan) -> None:
        """Both months in one transaction, so that a start that was killed has given all of it or nothing."""
        if has_usage(user_id):
            return
        chips = _talkers_of(user_id)
        limit = plan.limit_bytes if plan.limit_bytes is not None else UNLIMITED_AS_BYTES
        used = limit * wish.percent // 100
        before = past_usage(
            user_id, chips, begins=self._past_begins, ends=self._month_begins - INSTANT, tz=self._tz,
            total_bytes=used * PREVIOUS_MONTH_PERCENT // 100, first_tunnel=1,
        )  # fmt: skip
        lately = past_usage(
            user_id, chips, begins=self._month_begins, ends=self._now, tz=self._tz, total_bytes=used,
            first_tunnel=len(before) + 1_000_000,
        )  # fmt: skip
        boot_id = uuid5(user_id, "demo's past")
        register_boot(boot_id, host="demo", pid=0, port=0, now=self._now, is_demo=True)
        record_usage(boot_id, [*before, *lately], now=self._now, tz=self._tz, is_last=True, is_demo=True)

    def _static_proxies(self) -> Sequence[ListedProxy]:
        """Those that the simulator serves, if it serves any."""
        if self._simulator_admin is None:
            return ()
        try:
            answer = httpx.get(f"{self._simulator_admin}/static-list", timeout=STATIC_LIST_S, trust_env=False)
        except httpx.TransportError:
            return ()
        return read_static_list(answer.text).proxies[:STATIC_PROXIES] if answer.status_code == 200 else ()


def _talkers_of(user_id: UUID) -> Sequence[DemoChip]:
    """The chips that the demo's traffic speaks for."""
    return [chip for chip in chips_of(user_id) if chip.engine == Engine.EXTERNAL]
