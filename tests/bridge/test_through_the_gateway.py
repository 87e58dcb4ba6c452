"""The whole way of a chip: bridge → gateway → counting relay → simulated provider → WhatsApp's stand-in, all real but
the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.bridge.conftest import SECRET, Backend, Edge, eventually, start_bridge
from tests.factories import TZ, make_plan, make_provider, make_proxy, make_user
from tests.spine.conftest import GatewayProcess, ledger_of, month_of, wait_equal
from tests.spine.wire import CountingRelay
from whago.bridge.client import BridgeClient
from whago.bridge.wire import BridgeChip, LastError
from whago.domain.actions.chips import create_chip, renew_gateway_token
from whago.domain.actions.users import UserFields, update_user
from whago.domain.models import Assignment, Chip, Engine, Plan, Proxy, User
from whago.domain.queries.bridge_chips import CREDENTIAL_PAUSE
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.simulator import SimulatedProvider
from whago.tasks.bridge import resume_chips
from whago.tasks.clock import Tools

# Two connections end here (pairing, then login). The last TLS alert of each side, 24 bytes, crosses the wire and finds
# the other side gone.
LOST_AT_CLOSE_BYTES = 2 * 2 * 24

pytestmark = pytest.mark.timeout(900)  # several processes are started; each takes seconds, or many on a busy machine


@dataclass
class Way:
    """Every part between a chip and WhatsApp, and one customer."""

    provider: SimulatedProvider
    relay: CountingRelay
    gateway: GatewayProcess
    client: BridgeClient
    edge: Edge
    backend: Backend
    user: User

    def chip(self, alias: str) -> tuple[UUID, str]:
        """A chip and its proxy URL."""
        chip = create_chip(self.user.id, alias=alias, engine=Engine.BRIDGE, region=None, now=clock.now(), tz=TZ)
        return chip.chip_id, self.proxy_url(chip.chip_id, chip.gateway_token)

    def proxy_url(self, chip_id: UUID, token: str) -> str:
        return f"http://{chip_id}:{token}@127.0.0.1:{self.gateway.port}"

    def tunnel_bytes(self) -> int:
        """What is billed, without the exchange with the provider before a tunnel."""
        return sum(entry.bytes_transferred - entry.overhead for entry in ledger_of(self.user.id))

    def seen_bytes(self) -> int:
        state = self.edge.state()
        return int(state["bytes_up"] + state["bytes_down"])

    def becomes(self, chip_id: UUID, state: str) -> BridgeChip:
        chip = eventually(
            lambda: self.client.get(chip_id), lambda chip: chip is not None and chip.state == state, state
        )
        assert chip is not None
        return chip

    def pair(self, chip_id: UUID, phone: str) -> None:
        self.becomes(chip_id, "qr")
        pairing = self.client.qr(chip_id)
        assert pairing is not None
        self.edge.tell("scan", qr=pairing.qr, phone=phone)
        self.becomes(chip_id, "open")


@pytest.fixture
def way(database: str, vault: Vault, edge: Edge, backend: Backend, tmp_path: Path) -> Iterator[Way]:
    with SimulatedProvider(targets=[f"*.whatsapp.com:443=127.0.0.1:{edge.port}"]) as provider:
        relay = CountingRelay(provider.port)
        make_proxy(make_provider(vault, port=relay.port))
        gateway = GatewayProcess(database, tmp_path)
        gateway.start()
        bridge = start_bridge(edge, f"127.0.0.1:{gateway.port}", backend.url)
        try:
            with BridgeClient(bridge.url, SECRET) as client:
                yield Way(provider, relay, gateway, client, edge, backend, make_user("enterprise"))
        finally:
            assert bridge.stop() == 0
            gateway.stop()
            relay.close()


def test_a_pairing_is_billed_to_the_byte_and_the_edge_saw_the_same(way: Way) -> None:
    before = way.seen_bytes()
    chip_id, proxy_url = way.chip("one")
    way.client.create(chip_id, proxy_url)
    way.becomes(chip_id, "qr")
    wait_equal(lambda: month_of(way.user.id).total_bytes, lambda: way.relay.total)
    wait_equal(way.tunnel_bytes, lambda: way.seen_bytes() - before)

    way.pair(chip_id, "5511900000001")
    way.client.stop(chip_id)
    wait_equal(lambda: month_of(way.user.id).total_bytes, lambda: way.relay.total)
    seen = way.seen_bytes() - before
    assert seen > 40_000  # the first pre-keys alone
    assert abs(way.tunnel_bytes() - seen) <= LOST_AT_CLOSE_BYTES


def test_two_chips_never_share_an_exit_and_each_keeps_its_own_over_reconnects(way: Way) -> None:
    chips = [way.chip("one"), way.chip("two")]
    for number, (chip_id, proxy_url) in enumerate(chips):
        way.client.create(chip_id, proxy_url)
        way.pair(chip_id, f"551190000001{number}")
    for chip_id, proxy_url in chips:
        way.client.use_proxy(chip_id, proxy_url)
        way.becomes(chip_id, "open")
    used = way.provider.sessions()
    assert len(used) == 2
    assert len({one["exit_ip"] for one in used}) == 2


def test_a_credential_that_died_blocks_the_chip_until_it_gets_the_new_one(way: Way) -> None:
    chip_id, proxy_url = way.chip("one")
    token = renew_gateway_token(way.user.id, chip_id, now=clock.now())
    way.client.create(chip_id, proxy_url)
    error = way.becomes(chip_id, "proxy_blocked").last_error
    assert error is not None
    assert (error.layer, error.code) == ("proxy", 407)
    way.client.use_proxy(chip_id, way.proxy_url(chip_id, token))
    way.becomes(chip_id, "qr")


def test_a_spent_quota_blocks_the_chip_and_a_larger_plan_lets_it_go_on_by_itself(way: Way, vault: Vault) -> None:
    chip_id, proxy_url = way.chip("one")
    tools = Tools(vault, TZ, bridge=way.backend.fleet, gateway_address=f"127.0.0.1:{way.gateway.port}")
    way.client.create(chip_id, proxy_url)
    way.pair(chip_id, "5511900000041")
    _told(chip_id, ("connected", None))

    small = make_plan(proxy_gb_limit=Decimal("0.000001"), on_limit="block")  # less than the pairing has used
    _move_to(way.user, small)
    error = way.becomes(chip_id, "proxy_blocked").last_error
    assert error is not None
    assert (error.code, error.reason) == (402, "quota_exhausted")
    _told(chip_id, ("blocked_quota", "quota_exhausted"))
    assert resume_chips(tools, clock.now())["resumed"] == 0  # nothing is left: it stays blocked

    _move_to(way.user, make_plan(proxy_gb_limit=Decimal(1)))
    eventually(lambda: resume_chips(tools, clock.now())["resumed"], bool, "the clock to notice")
    way.becomes(chip_id, "open")
    _told(chip_id, ("connected", None))


def test_a_credential_that_died_is_replaced_by_the_clock(way: Way, vault: Vault) -> None:
    chip_id, proxy_url = way.chip("one")
    way.client.create(chip_id, proxy_url)
    way.becomes(chip_id, "qr")
    renew_gateway_token(way.user.id, chip_id, now=clock.now())  # by somebody who did not tell the bridge
    way.becomes(chip_id, "proxy_blocked")
    _told(chip_id, ("error", "bad_credential"))
    tools = Tools(vault, TZ, bridge=way.backend.fleet, gateway_address=f"127.0.0.1:{way.gateway.port}")
    with transaction() as db:
        refused_at = db.get_one(Chip, chip_id).last_activity_at
    assert refused_at is not None
    assert resume_chips(tools, refused_at)["resumed"] == 0  # not in a loop: a gateway may refuse every credential
    eventually(
        lambda: resume_chips(tools, clock.now() + CREDENTIAL_PAUSE)["resumed"], bool, "the clock to hand over a new one"
    )
    way.becomes(chip_id, "qr")


def test_whatsapp_out_of_the_proxy_s_reach_is_told_and_harms_no_proxy(way: Way) -> None:
    """As in the demo on a machine without internet: the provider itself says that the target does not answer."""
    with SimulatedProvider(targets=["web.whatsapp.com=127.0.0.1:9"]) as dead_end:
        with transaction() as db:
            db.scalars(select(Proxy)).one().proxy_url = f"http://127.0.0.1:{dead_end.port}"
        chip_id, proxy_url = way.chip("one")
        way.client.create(chip_id, proxy_url)
        chip = eventually(
            lambda: way.client.get(chip_id), lambda chip: chip is not None and chip.attempt >= 3, "three attempts"
        )
        assert chip is not None
        assert chip.last_error == LastError(layer="proxy", code=502, reason="target_unreachable")
        _told(chip_id, ("connecting", "target_unreachable"))
        eventually(lambda: month_of(way.user.id).total_bytes, lambda moved: moved > 0, "the gateway's report")
        outcomes = dead_end.state()["outcomes"]
        assert set(outcomes) == {"502"}
    with transaction() as db:
        proxy, session = db.scalars(select(Proxy)).one(), db.scalars(select(Assignment)).one()
    assert (proxy.consecutive_failures, proxy.refusals, proxy.bad_weight) == (0, 0, 0)
    assert (proxy.health_score, proxy.ejected_until) == (100, None)
    assert (session.failures, session.refusals, session.failing_since) == (0, 0, None)


def _told(chip_id: UUID, wanted: tuple[str, str | None]) -> None:
    def status() -> tuple[str, str | None]:
        with transaction() as db:
            chip = db.get_one(Chip, chip_id)
            return chip.status, chip.status_reason

    eventually(status, lambda seen: seen == wanted, str(wanted))


def _move_to(user: User, plan: Plan) -> None:
    update_user(
        user.id,
        user.id,
        UserFields(user.name, user.email, "user", plan.id, is_active=True, language=None, password_hash=None),
        now=clock.now(),
        tz=TZ,
    )
