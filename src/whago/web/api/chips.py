"""Chips of the caller."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from whago.bridge.wire import BridgePairing, gateway_urls
from whago.domain.actions.assignments import rotate_proxy
from whago.domain.actions.chips import create_chip, delete_chip, renew_gateway_token, update_chip
from whago.domain.actions.exit_ips import accept_exit_ip
from whago.domain.models import Engine
from whago.domain.queries import history
from whago.domain.queries.chips import ChipView, get_chip, list_chips
from whago.domain.queries.history import AssignmentView, EventView, ExitIpView
from whago.domain.queries.paging import Page
from whago.domain.queries.usage import By, Granularity, usage_series
from whago.domain.rules.thrift import KEEP_ALIVE_MAX_S, KEEP_ALIVE_MIN_S, History
from whago.errors import InvalidInput, WhagoError
from whago.web import engines
from whago.web.api.fields import PAGE, Answer, Body, Cursor, Limit, ListAnswer, Moment, Name, OptionalRegion
from whago.web.api.usage import FromMoment, SeriesAnswer, ToMoment, checked_range, series_answer
from whago.web.deps import Month, Now, Parted, User, Zone
from whago.web.errors import problems

SIGNED_IN = ("not_authenticated", "account_suspended", "invalid_input", "unavailable")
OWNED = (*SIGNED_IN, "not_found")
CHANGED = (*OWNED, "csrf", "conflict")
BRIDGED = (*CHANGED, "engine_external", "bridge_unavailable", "bridge_refused")

PHONE_PATTERN: Final = r"^\+?[1-9][0-9]{7,14}$"  # E.164; the shortest national numbers have 8 digits with the country

router = APIRouter(prefix="/chips", tags=["chips"])


class ChipBody(Body):
    """``engine`` external: the client brings its own WhatsApp engine and gets the gateway's credential, once."""

    alias: Name
    engine: Engine = Engine.BRIDGE
    region: OptionalRegion = None


class ThriftBody(Body):
    """What is left out stays as it is."""

    history: History | None = None
    keep_alive_s: Annotated[int, Field(ge=KEEP_ALIVE_MIN_S, le=KEEP_ALIVE_MAX_S)] | None = None
    status_posts: bool | None = None


class ChipChangeBody(Body):
    """``thrift`` is of the bridge's chips alone; one that is connected reconnects with it."""

    alias: Name | None = None
    thrift: ThriftBody | None = None


class PhoneBody(Body):
    """``phone``: its number with the country code. It is asked for after the chip: another's chip does not exist."""

    phone: Annotated[str, StringConstraints(strip_whitespace=True, pattern=PHONE_PATTERN)] | None = None


NO_CHANGE: Final = ChipChangeBody()
NO_PHONE: Final = PhoneBody()


class UnlinkedAnswer(Answer):
    """``unlinked``: whether WhatsApp was told; a chip that was not connected is only forgotten here."""

    unlinked: bool


class ThriftAnswer(Answer):
    """How the chip spares bytes. ``quiet_month_bytes``: what it costs to keep it connected, messages excluded."""

    history: History
    keep_alive_s: int
    status_posts: bool
    quiet_month_bytes: int


class ChipProxyAnswer(Answer):
    """The active assignment."""

    provider: str
    region: str | None
    proxy_type: Literal["rotating", "static"]
    health_score: int
    session_identifier: str
    exit_ip: str | None
    assigned_at: Moment
    expected_exit_ip: str | None
    paused_at: Moment | None


class ChipUsageAnswer(Answer):
    bytes_month: int


class ChipAnswer(Answer):
    """``proxy`` is null while the chip waits for one."""

    id: UUID
    alias: str
    engine: Engine
    phone_number: str | None
    status: str
    status_reason: str | None
    region: str | None
    created_at: Moment
    connected_at: Moment | None
    last_activity_at: Moment | None
    thrift: ThriftAnswer
    proxy: ChipProxyAnswer | None
    usage: ChipUsageAnswer


class GatewayAnswer(Answer):
    """The chip's way out, with its credential: shown this once."""

    proxy_url: str
    socks5_url: str


class ChipWithGatewayAnswer(ChipAnswer):
    """``gateway`` is null for chips on our bridge, which alone is told their credential."""

    gateway: GatewayAnswer | None


class QrAnswer(Answer):
    """``qr`` is the text to draw as a QR code; ``pairing_code`` is what to type into the phone instead."""

    qr: str | None
    pairing_code: str | None
    expires_at: Moment


class EventAnswer(Answer):
    id: int
    kind: str
    data: dict[str, Any]
    created_at: Moment


class ExitIpAnswer(Answer):
    """A stretch of time in which the chip left from this address. ``began``: why it is another than before: the reason
    of a new assignment, or exit_ip_changed for a change that nobody asked for."""

    id: UUID
    exit_ip: str
    country: str | None
    asn: str | None
    session_identifier: str
    provider: str
    first_seen_at: Moment
    last_seen_at: Moment
    observations: int
    began: str
    is_current: bool


class AssignmentAnswer(Answer):
    """``released_at`` null is the active one."""

    id: UUID
    provider: str
    proxy_type: str
    session_identifier: str
    exit_ip: str | None
    assigned_at: Moment
    assign_reason: str
    released_at: Moment | None
    release_reason: str | None


class ChipSeriesAnswer(SeriesAnswer):
    """The chip's month and its course."""

    bytes_month: int


@router.get("", response_model=ListAnswer[ChipAnswer], responses=problems(*SIGNED_IN))
def get_chips(user: User, month: Month, limit: Limit = PAGE, cursor: Cursor = None) -> Page[ChipView]:
    """Newest first."""
    return list_chips(user.id, month=month, limit=limit, cursor=cursor)


@router.post(
    "",
    status_code=201,
    response_model=ChipWithGatewayAnswer,
    responses=problems(
        *CHANGED,
        "quota_exhausted",
        "chip_limit",
        "alias_taken",
        "no_healthy_proxy",
        "bridge_unavailable",
        "bridge_refused",
    ),
)
def post_chip(body: ChipBody, user: User, parts: Parted, now: Now, tz: Zone, month: Month) -> ChipWithGatewayAnswer:
    """Quota check, then a proxy, then the bridge's session. When a step fails nothing is left behind."""
    created = create_chip(user.id, alias=body.alias, engine=body.engine, region=body.region, now=now, tz=tz)
    if body.engine is Engine.BRIDGE:
        engines.start_session(parts, created)
        return _with_gateway(get_chip(user.id, created.chip_id, month=month), None)
    urls = gateway_urls(parts.config.gateway_address, created.chip_id, created.gateway_token)
    return _with_gateway(get_chip(user.id, created.chip_id, month=month), urls)


@router.get("/{chip_id}", response_model=ChipAnswer, responses=problems(*OWNED))
def get_one_chip(chip_id: UUID, user: User, month: Month) -> ChipView:
    """One chip."""
    return get_chip(user.id, chip_id, month=month)


@router.patch("/{chip_id}", response_model=ChipAnswer, responses=problems(*CHANGED, "alias_taken", "engine_external"))
def patch_chip(
    chip_id: UUID, user: User, parts: Parted, now: Now, month: Month, body: ChipChangeBody = NO_CHANGE
) -> ChipView:
    """Another name or other thrift. A bridge that cannot be reached takes the thrift with the chip's next start."""
    before = get_chip(user.id, chip_id, month=month)
    thrift = body.thrift.model_dump(exclude_none=True) if body.thrift is not None else {}
    if thrift:
        _on_bridge(before)
    after = update_chip(user.id, chip_id, alias=body.alias, thrift=thrift, now=now)
    if after != before.thrift:
        engines.apply_thrift(parts, chip_id, after)
    return get_chip(user.id, chip_id, month=month)


@router.delete("/{chip_id}", status_code=204, responses=problems(*CHANGED))
def remove_chip(chip_id: UUID, user: User, parts: Parted, now: Now, month: Month) -> None:
    """Its proxy is free and its tunnels close at once; its usage stays on the bill."""
    if get_chip(user.id, chip_id, month=month).engine == Engine.BRIDGE:
        engines.forget_session(parts, chip_id)  # first: its last words need the tunnel and the keys
    delete_chip(user.id, chip_id, now=now)


@router.post("/{chip_id}/connect", response_model=ChipAnswer, responses=problems(*BRIDGED))
def connect_chip(chip_id: UUID, user: User, parts: Parted, now: Now, month: Month) -> ChipView:
    """Starts the chip's session again; one that runs already is left alone."""
    engines.reconnect(parts, _on_bridge(get_chip(user.id, chip_id, month=month)), now=now)
    return get_chip(user.id, chip_id, month=month)


@router.post("/{chip_id}/disconnect", response_model=ChipAnswer, responses=problems(*BRIDGED))
def disconnect_chip(chip_id: UUID, user: User, parts: Parted, now: Now, month: Month) -> ChipView:
    """Stops the chip's session. Chip, proxy and the linked phone stay."""
    engines.disconnect(parts, _on_bridge(get_chip(user.id, chip_id, month=month)), now=now)
    return get_chip(user.id, chip_id, month=month)


@router.post(
    "/{chip_id}/rotate-proxy",
    response_model=ChipAnswer,
    responses=problems(*CHANGED, "rotation_limit", "no_healthy_proxy"),
)
def rotate_chip_proxy(chip_id: UUID, user: User, parts: Parted, now: Now, month: Month) -> ChipView:
    """A new sticky identifier, so a new exit IP; a static IP is changed for another one. So often a day and no more."""
    rotate_proxy(user.id, chip_id, now=now, per_day=parts.config.rotations_per_day)
    return get_chip(user.id, chip_id, month=month)


@router.post("/{chip_id}/accept-exit-ip", response_model=ChipAnswer, responses=problems(*CHANGED, "not_paused"))
def accept_chip_exit_ip(chip_id: UUID, user: User, now: Now, month: Month) -> ChipView:
    """A chip that is paused because its exit IP changed takes the new one for its own and may leave again."""
    accept_exit_ip(user.id, chip_id, now=now)
    return get_chip(user.id, chip_id, month=month)


@router.post(
    "/{chip_id}/gateway/rotate", response_model=ChipWithGatewayAnswer, responses=problems(*CHANGED, "engine_bridge")
)
def rotate_gateway_token(chip_id: UUID, user: User, parts: Parted, now: Now, month: Month) -> ChipWithGatewayAnswer:
    """A new gateway credential for an external engine; the old one dies at once, with its tunnels."""
    if get_chip(user.id, chip_id, month=month).engine == Engine.BRIDGE:
        raise WhagoError("engine_bridge")
    token = renew_gateway_token(user.id, chip_id, now=now)
    urls = gateway_urls(parts.config.gateway_address, chip_id, token)
    return _with_gateway(get_chip(user.id, chip_id, month=month), urls)


@router.get(
    "/{chip_id}/qr",
    response_model=QrAnswer,
    responses=problems(*OWNED, "engine_external", "no_qr", "bridge_unavailable", "bridge_refused"),
)
def get_chip_qr(chip_id: UUID, user: User, parts: Parted, month: Month) -> BridgePairing:
    """The QR code to scan with the phone, while there is one."""
    _on_bridge(get_chip(user.id, chip_id, month=month))
    pairing = parts.bridge.qr(chip_id)
    if pairing is None:
        raise WhagoError("no_qr")
    return pairing


@router.post("/{chip_id}/pairing-code", response_model=QrAnswer, responses=problems(*BRIDGED))
def make_pairing_code(
    chip_id: UUID, user: User, parts: Parted, month: Month, body: PhoneBody = NO_PHONE
) -> BridgePairing:
    """A code to type into the phone instead of scanning; only while the chip waits to be paired."""
    _on_bridge(get_chip(user.id, chip_id, month=month))
    if body.phone is None:
        raise InvalidInput(phone="This field is required.")
    return parts.bridge.pairing_code(chip_id, body.phone.removeprefix("+"))


@router.post("/{chip_id}/logout", response_model=UnlinkedAnswer, responses=problems(*BRIDGED))
def log_chip_out(chip_id: UUID, user: User, parts: Parted, now: Now, month: Month) -> UnlinkedAnswer:
    """Unlinks the phone and forgets the pairing. Chip and proxy stay; a new QR code pairs it again."""
    chip = _on_bridge(get_chip(user.id, chip_id, month=month))
    return UnlinkedAnswer(unlinked=engines.unlink(parts, chip, now=now))


@router.get("/{chip_id}/events", response_model=ListAnswer[EventAnswer], responses=problems(*OWNED))
def get_chip_events(chip_id: UUID, user: User, limit: Limit = PAGE, cursor: Cursor = None) -> Page[EventView]:
    """What happened to the chip, newest first."""
    return history.chip_events(user.id, chip_id, limit=limit, cursor=cursor)


@router.get("/{chip_id}/exit-ips", response_model=ListAnswer[ExitIpAnswer], responses=problems(*OWNED))
def get_chip_exit_ips(chip_id: UUID, user: User, limit: Limit = PAGE, cursor: Cursor = None) -> Page[ExitIpView]:
    """The addresses that the world saw the chip come from, the latest first."""
    return history.exit_ips(user.id, chip_id, limit=limit, cursor=cursor)


@router.get("/{chip_id}/assignments", response_model=ListAnswer[AssignmentAnswer], responses=problems(*OWNED))
def get_chip_assignments(chip_id: UUID, user: User, limit: Limit = PAGE, cursor: Cursor = None) -> Page[AssignmentView]:
    """The proxies that the chip has had, the latest first."""
    return history.assignments(user.id, chip_id, limit=limit, cursor=cursor)


@router.get("/{chip_id}/usage", response_model=ChipSeriesAnswer, responses=problems(*OWNED))
def get_chip_usage(
    chip_id: UUID,
    user: User,
    now: Now,
    tz: Zone,
    month: Month,
    granularity: Granularity = "hour",
    start: FromMoment = None,
    end: ToMoment = None,
) -> ChipSeriesAnswer:
    """The bytes of the chip: the running month and its course."""
    chip = get_chip(user.id, chip_id, month=month)
    first, last = checked_range(granularity, start, end, now)
    by: By = "provider"
    points = usage_series(user.id, granularity=granularity, start=first, end=last, by=by, tz=tz, chip_id=chip_id)
    series = series_answer(granularity, by, first, last, points)
    return ChipSeriesAnswer(**dict(series), bytes_month=chip.usage.bytes_month)


def _on_bridge(chip: ChipView) -> ChipView:
    if chip.engine == Engine.EXTERNAL:
        raise WhagoError("engine_external")
    return chip


def _with_gateway(chip: ChipView, urls: dict[str, str] | None) -> ChipWithGatewayAnswer:
    known = ChipAnswer.model_validate(chip)
    return ChipWithGatewayAnswer(**dict(known), gateway=GatewayAnswer(**urls) if urls else None)
