"""The control plane behind PostgreSQL: domain actions, called off the gateway's loop, and LISTEN for changes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from whago.domain.actions.gateways import answer_signal, register_boot
from whago.domain.actions.lease_quota import Leased, lease_quota
from whago.domain.actions.record_usage import record_usage
from whago.domain.models.dialled import SessionDials
from whago.domain.queries.passes import chip_at_gate
from whago.domain.rules.health import Blame, blame
from whago.domain.rules.lease import GATEWAY_VALID_S, RECALL_RETRY_S, Give, Recall, Spent
from whago.errors import WhagoError
from whago.gateway.control import (
    Change,
    ChipPass,
    ControlUnavailable,
    CountersRefused,
    Exhausted,
    Grant,
    LeaseAnswer,
    ProxyDials,
    Refused,
    Report,
    TunnelUsage,
    Upstream,
    Wait,
)
from whago.gateway.dial_tally import ESTABLISHED
from whago.kit import clock, tracing
from whago.kit.crypto import Vault
from whago.kit.db import CHANNEL, OutcomeUnknown, driver_url

log = structlog.get_logger()

STATEMENT_TIMEOUT_MS = 5_000  # for kit.db.connect: the database decides late calls itself, so none commits behind us
LOCK_TIMEOUT_MS = 4_000
ANSWER_S = 8.0  # for reads, and longer than both: a client waits no longer
UNDECIDED_RETRY_S = 0.5
LISTEN_RETRY_S = 1.0  # the database restarts within seconds; a change must not be missed for longer than that
LISTEN_IDLE_S = 5.0  # a silent connection is tried this often, so that a dead one is noticed
GATE_THREADS = 4  # authorise: bursts after a restart
LEDGER_THREADS = 4  # leases beside a report that takes its time
KINDS = ("chip", "user", "proxy", "provider", "quota")

_AGAINST = {Blame.PROXY: "failed", Blame.ACCOUNT: "refused", Blame.TARGET: "refused"}  # fields of SessionDials

T = TypeVar("T")


class PostgresControl:
    """Implements ``gateway.control.Control`` for one boot. ``kit.db.connect`` must have been called."""

    def __init__(self, boot_id: UUID, *, database_url: str, vault: Vault, tz: ZoneInfo) -> None:
        self.boot_id = boot_id
        self._listen_url = driver_url(database_url)
        self._vault = vault
        self._tz = tz
        self._gate = ThreadPoolExecutor(GATE_THREADS, "gate")
        self._ledger = ThreadPoolExecutor(LEDGER_THREADS, "ledger")

    async def register(self, *, host: str, pid: int, port: int) -> None:
        await self._call(
            "register",
            self._ledger,
            lambda: register_boot(self.boot_id, host=host, pid=pid, port=port, now=clock.now()),
        )

    async def authorise(self, chip_id: UUID) -> ChipPass | Refused:
        found = await self._call("authorise", self._gate, lambda: chip_at_gate(chip_id, self._vault), ANSWER_S)
        if found is None:
            return Refused("bad_credential")
        way = found.exit
        if way is None:
            return Refused(found.reason or "no_healthy_proxy", found.token_hash)
        return ChipPass(
            chip_id=chip_id,
            user_id=way.user_id,
            assignment_id=way.assignment_id,
            proxy_id=way.proxy_id,
            provider_id=way.provider_id,
            price_id=way.price_id,
            credential_hash=found.token_hash,
            upstream=Upstream(way.protocol, way.host, way.port, way.login.username, way.login.password),
        )

    async def lease(self, user_id: UUID, month: date, want_bytes: int) -> LeaseAnswer:
        def ask() -> Leased:
            return lease_quota(self.boot_id, user_id, month, want=want_bytes, now=clock.now())

        try:
            return _answer(await self._call("lease", self._ledger, ask))
        except OutcomeUnknown as error:  # at worst more is reserved than we know: the next answer tells
            raise ControlUnavailable("unavailable") from error

    async def report(self, report: Report) -> None:
        """A commit whose outcome is not known is repeated until it is: what was released must not be used again."""
        undecided = False
        while True:
            try:
                return await self._record(self.boot_id, report.usages, report)
            except OutcomeUnknown:
                undecided = True
            except ControlUnavailable:
                if not undecided:
                    raise
            await asyncio.sleep(UNDECIDED_RETRY_S)

    async def settle(self, boot_id: UUID, usages: Sequence[TunnelUsage]) -> None:
        try:
            await self._record(boot_id, usages, None)
        except OutcomeUnknown as error:
            raise ControlUnavailable("unavailable") from error
        except ControlUnavailable as error:
            if isinstance(error.__cause__, IntegrityError | DataError):
                raise CountersRefused("the ledger has no such customer or price, or no such number") from error
            raise

    async def changes(self) -> AsyncIterator[Change]:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._listen_url, autocommit=True, connect_timeout=int(ANSWER_S)
                )
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    yield Change("resync")
                    while True:
                        async for notice in connection.notifies(timeout=LISTEN_IDLE_S):
                            change = _change(notice.payload)
                            if change is not None:
                                yield change
                        async with asyncio.timeout(ANSWER_S):
                            await connection.execute("SELECT 1")
            except (OSError, psycopg.Error, TimeoutError) as error:
                log.warning("control.listen_lost", error=type(error).__name__)
                await asyncio.sleep(LISTEN_RETRY_S)

    async def followed(self, token: UUID) -> None:
        await self._call("followed", self._gate, lambda: answer_signal(self.boot_id, token), ANSWER_S)

    def close(self) -> None:
        """Ends the threads; call it after the last answer."""
        self._gate.shutdown(wait=False, cancel_futures=True)
        self._ledger.shutdown(wait=False, cancel_futures=True)

    async def _record(self, boot_id: UUID, usages: Sequence[TunnelUsage], report: Report | None) -> None:
        now = clock.now()
        await self._call(
            "report" if report else "settle",
            self._ledger,
            lambda: record_usage(
                boot_id,
                usages,
                now=now,
                tz=self._tz,
                release=report.release if report else (),
                open_tunnels=report.open_tunnels if report else None,
                dials=_session_dials(report.dials) if report else (),
                is_last=report is None,
            ),
            rows=len(usages),
        )

    async def _call(
        self,
        what: str,
        pool: ThreadPoolExecutor,
        work: Callable[[], T],
        patience_s: float | None = None,
        **noted: int,
    ) -> T:
        """Only reads have patience: giving a write up would let it commit later."""
        with tracing.span(f"gateway {what}", "client", attributes=noted):
            return await self._answered(pool, work, patience_s)

    async def _answered(self, pool: ThreadPoolExecutor, work: Callable[[], T], patience_s: float | None) -> T:
        try:
            async with asyncio.timeout(patience_s):
                return await asyncio.get_running_loop().run_in_executor(pool, work)
        except TimeoutError as error:
            raise ControlUnavailable("the database did not answer in time") from error
        except OutcomeUnknown:
            raise
        except WhagoError as error:
            raise ControlUnavailable(error.code) from error
        except SQLAlchemyError as error:
            log.error("control.failed", error=str(error.__cause__ or error))
            raise ControlUnavailable("the database refused") from error


def _session_dials(dials: Sequence[ProxyDials]) -> list[SessionDials]:
    """By assignment and by whom it speaks against; what speaks against nobody there is left out."""
    counts: dict[tuple[UUID, UUID], Counter[str]] = defaultdict(Counter)
    for one in dials:
        means = ESTABLISHED if one.outcome == ESTABLISHED else _AGAINST.get(blame(one.outcome, one.status))
        if means is not None:
            counts[one.assignment_id, one.proxy_id].update({means: one.count, "took_ms": one.took_ms})
    return [
        SessionDials(*ids, told["established"], told["took_ms"], told["failed"], told["refused"])
        for ids, told in counts.items()
    ]


def _answer(leased: Leased) -> LeaseAnswer:
    match leased.decision:
        case Give(admits=admits):
            return Grant(leased.granted_bytes, admits, GATEWAY_VALID_S)
        case Recall():
            return Wait(RECALL_RETRY_S)
        case Spent():
            return Exhausted()
        case unmetered:
            return Grant(None, unmetered.admits, GATEWAY_VALID_S)


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None


def _change(payload: str) -> Change | None:
    try:
        told = json.loads(payload)
        if told["kind"] not in KINDS:
            return None
        return Change(told["kind"], _uuid(told["id"]), _uuid(told.get("answer_to")))
    except (ValueError, KeyError, TypeError):
        log.warning("control.strange_notice")
        return None
