"""The pool of proxies, for administrators."""

from __future__ import annotations

from typing import Annotated, Final, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from whago.domain.actions.house import record_house_traffic
from whago.domain.actions.pool import ProxyFields, create_proxies, delete_proxy, update_proxy
from whago.domain.actions.pool_health import Attempt, record_probe
from whago.domain.queries.paging import Page
from whago.domain.queries.probing import trial_of_proxy
from whago.domain.queries.proxies import ProviderView, ProxyView, get_provider, get_proxy, list_pool, logins_at
from whago.domain.queries.proxy_health import proxy_health
from whago.domain.rules.upstream_urls import proxy_url
from whago.errors import InvalidInput, WhagoError
from whago.kit.addresses import is_private_host
from whago.providers.static_list import read_static_list
from whago.web.api.fields import (
    PAGE,
    Answer,
    Body,
    Cursor,
    Limit,
    ListAnswer,
    Moment,
    OptionalRegion,
    Search,
    blank_is_none,
    encodable,
    printable,
)
from whago.web.api.providers import ADMIN, CHANGED, DeletedAnswer, ProbeAnswer, probe_answer
from whago.web.deps import Admin, Looker, Now, Parted, Translate, Zone
from whago.web.errors import problems
from whago.web.health_terms import term_sentence
from whago.web.parts import Parts
from whago.web.upstreams import GivenProxy, read_proxy_url, try_out

URL_MAX_CHARS: Final = 1_000
LIST_MAX_CHARS: Final = 600_000  # ten thousand lines of sixty characters
PRIVATE: Final = "The address is private. Only public hosts are accepted here."
MAX_CHIPS: Final = 100_000

router = APIRouter(prefix="/admin/proxies/pool", tags=["admin: proxies"])

Blank = BeforeValidator(blank_is_none)
Address = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=URL_MAX_CHARS), AfterValidator(printable)]
    | None,
    Blank,
]
ProxyType = Literal["rotating", "static"]


class ProxyBody(Body):
    """``proxy_url``: left out, the provider's address; a user and password in it are sealed and never shown again."""

    provider_id: UUID | None = None
    proxy_type: ProxyType | None = None
    proxy_url: Address = None
    region: OptionalRegion = None
    max_chips: Annotated[Annotated[int, Field(ge=1, le=MAX_CHIPS)] | None, Blank] = None
    is_active: bool | None = None
    is_draining: bool | None = None


class NewProxyBody(ProxyBody):
    provider_id: UUID
    proxy_type: ProxyType


class StaticListBody(Body):
    """``text``: one proxy a line, as ``host:port``, ``host:port:user:password`` or a URL."""

    provider_id: UUID
    text: Annotated[str, StringConstraints(max_length=LIST_MAX_CHARS), AfterValidator(encodable)]
    region: OptionalRegion = None


class ProxyAnswer(Answer):
    """``healthy``: it takes new chips. ``max_chips`` null is without bound. ``has_credentials``: own ones.

    ``state``: in the pool, out (ejected until a time), or on trial after it. ``is_draining``: it takes no new chips,
    and its chips move to others little by little; the same when its provider drains.
    """

    id: UUID
    provider_id: UUID
    provider: str
    proxy_type: ProxyType
    proxy_url: str
    has_credentials: bool
    region: str | None
    max_chips: int | None
    chips: int
    health_score: int
    healthy: bool
    state: Literal["in", "trial", "out"]
    ejected_until: Moment | None
    is_active: bool
    is_draining: bool
    provider_is_draining: bool
    total_bytes_used: int
    latency_ms: int | None
    consecutive_failures: int
    last_checked_at: Moment | None
    last_error: str | None
    created_at: Moment
    updated_at: Moment


class TermAnswer(Answer):
    """``points``: 0 or less, of 100. ``text`` says why, in the caller's language; ``facts`` are its figures."""

    code: Literal["success", "latency", "ip_stability"]
    points: int
    text: str
    facts: dict[str, float]


class ProxyHealthAnswer(Answer):
    """Where a proxy stands and why. ``streak`` and ``refusals`` count since its last success.

    ``score`` is 100 and the points of all terms. ``provider_trouble``: a diagnosis of the provider's account.
    """

    id: UUID
    score: int
    terms: list[TermAnswer]
    state: Literal["in", "trial", "out"]
    streak: int
    refusals: int
    ejected_until: Moment | None
    ejections: int
    returned_at: Moment | None
    last_ok_at: Moment | None
    last_dial_at: Moment | None
    last_checked_at: Moment | None
    last_error: str | None
    provider_trouble: str | None
    is_draining: bool


class BadLineAnswer(Answer):
    number: int
    reason: str


class ImportedAnswer(Answer):
    """``bad_lines`` were left out. ``duplicates`` are the numbers of lines that name an address again, ``existing`` of
    those that are in the pool already; ``skipped`` counts both."""

    created: int
    bad_lines: list[BadLineAnswer]
    duplicates: list[int]
    existing: list[int]
    skipped: int


@router.get("", response_model=ListAnswer[ProxyAnswer], responses=problems(*ADMIN))
def get_pool(
    _admin: Looker,
    parts: Parted,
    provider_id: Annotated[UUID | None, Query()] = None,
    search: Search = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Page[ProxyView]:
    """Newest first."""
    return list_pool(parts.vault, provider_id=provider_id, search=search, limit=limit, cursor=cursor)


@router.post(
    "", status_code=201, response_model=ProxyAnswer, responses=problems(*CHANGED, "not_found", "private_upstream")
)
def post_proxy(body: NewProxyBody, admin: Admin, parts: Parted, now: Now) -> ProxyView:
    """Adds a proxy; chips may be assigned to it at once."""
    provider = _provider(parts, body.provider_id)
    given = _given(body, provider, parts)
    _check_sticky(provider, body.proxy_type, given)
    wanted = ProxyFields(
        proxy_type=body.proxy_type,
        proxy_url=given.url,
        region=body.region,
        max_chips=body.max_chips if body.proxy_type == "rotating" else None,
        is_active=body.is_active is not False,
        credentials=given.credentials,
        is_draining=body.is_draining is True,
    )
    made = create_proxies(admin.id, provider.id, [wanted], vault=parts.vault, now=now)
    return get_proxy(parts.vault, made[0])


@router.post(
    "/import",
    status_code=201,
    response_model=ImportedAnswer,
    responses=problems(*CHANGED, "not_found", "private_upstream"),
)
def import_list(body: StaticListBody, admin: Admin, parts: Parted, now: Now, translate: Translate) -> ImportedAnswer:
    """Adds every readable line that is new as a static proxy, one chip each; the others are told by number."""
    found = read_static_list(body.text)
    allow_private = parts.config.allow_private_upstreams
    private = [one for one in found.proxies if not allow_private and is_private_host(one.host)]
    known = logins_at(parts.vault, [one.url for one in found.proxies])
    existing = [one for one in found.proxies if one not in private and (one.address, one.username) in known]
    left_out = {one.number for one in (*private, *existing)}
    wanted = [
        ProxyFields("static", one.url, body.region, None, True, one.credentials)
        for one in found.proxies
        if one.number not in left_out
    ]
    made = create_proxies(admin.id, body.provider_id, wanted, vault=parts.vault, now=now)
    bad = [(line.number, line.reason) for line in found.bad_lines] + [(one.number, PRIVATE) for one in private]
    return ImportedAnswer(
        created=len(made),
        bad_lines=[BadLineAnswer(number=number, reason=translate(reason)) for number, reason in sorted(bad)],
        duplicates=list(found.duplicates),
        existing=[one.number for one in existing],
        skipped=len(found.duplicates) + len(existing),
    )


@router.get("/{proxy_id}", response_model=ProxyAnswer, responses=problems(*ADMIN, "not_found"))
def get_one_proxy(proxy_id: UUID, _admin: Looker, parts: Parted) -> ProxyView:
    """One proxy."""
    return get_proxy(parts.vault, proxy_id)


@router.get("/{proxy_id}/health", response_model=ProxyHealthAnswer, responses=problems(*ADMIN, "not_found"))
def get_proxy_health(proxy_id: UUID, _admin: Looker, now: Now, translate: Translate) -> ProxyHealthAnswer:
    """Every term of its score, and whether it is in, out or on trial."""
    found = proxy_health(proxy_id, now=now)
    terms = [
        TermAnswer(
            code=cast("Literal['success', 'latency', 'ip_stability']", term.code),
            points=term.points,
            text=term_sentence(term, translate),
            facts=dict(term.facts),
        )
        for term in found.terms
    ]
    known = {name: getattr(found, name) for name in ProxyHealthAnswer.model_fields if name != "terms"}
    return ProxyHealthAnswer(**known, terms=terms)


@router.put("/{proxy_id}", response_model=ProxyAnswer, responses=problems(*CHANGED, "not_found", "private_upstream"))
def put_proxy(proxy_id: UUID, body: ProxyBody, admin: Admin, parts: Parted, now: Now) -> ProxyView:
    """Changes what is given; a proxy stays with its provider."""
    current = get_proxy(parts.vault, proxy_id)
    if body.provider_id not in (None, current.provider_id):
        raise InvalidInput(provider_id="A proxy stays with its provider. Add it to the other one instead.")
    given = GivenProxy(current.proxy_url, None)
    if body.proxy_url is not None and body.proxy_url != current.proxy_url:
        given = read_proxy_url(body.proxy_url, allow_private=parts.config.allow_private_upstreams)
    proxy_type = body.proxy_type or current.proxy_type
    _check_sticky(get_provider(parts.vault, current.provider_id), proxy_type, given)
    max_chips = body.max_chips if "max_chips" in body.model_fields_set else current.max_chips
    wanted = ProxyFields(
        proxy_type=proxy_type,
        proxy_url=given.url,
        region=body.region if "region" in body.model_fields_set else current.own_region,
        max_chips=max_chips if proxy_type == "rotating" else None,
        is_active=body.is_active if body.is_active is not None else current.is_active,
        credentials=given.credentials,
        is_draining=body.is_draining if body.is_draining is not None else current.is_draining,
    )
    update_proxy(admin.id, proxy_id, wanted, vault=parts.vault, now=now)
    return get_proxy(parts.vault, proxy_id)


@router.delete("/{proxy_id}", response_model=DeletedAnswer, responses=problems(*CHANGED, "not_found", "proxy_in_use"))
def remove_proxy(proxy_id: UUID, admin: Admin, now: Now, force: bool = False) -> DeletedAnswer:
    """Removes a proxy. With `force` its chips move to other proxies first, or wait for one."""
    return DeletedAnswer(moved_chips=delete_proxy(admin.id, proxy_id, force=force, now=now))


@router.post("/{proxy_id}/test", response_model=ProbeAnswer, responses=problems(*ADMIN, "csrf", "not_found"))
def try_proxy(proxy_id: UUID, _admin: Admin, parts: Parted, now: Now, tz: Zone, translate: Translate) -> ProbeAnswer:
    """One real attempt through the proxy; its health score takes it into account, and the house pays for it."""
    result = try_out(trial_of_proxy(proxy_id, parts.vault), allow_private=parts.config.allow_private_upstreams)
    tried = Attempt(result.success, result.latency_ms, result.error, result.diagnosis, result.speaks_against)
    record_probe(proxy_id, tried, now=now)
    record_house_traffic(get_proxy(parts.vault, proxy_id).provider_id, "test", result.bytes_moved, now=now, tz=tz)
    return probe_answer(result, translate)


def _provider(parts: Parts, provider_id: UUID) -> ProviderView:
    try:
        return get_provider(parts.vault, provider_id)
    except WhagoError as error:
        if error.code != "not_found":
            raise
        raise InvalidInput(provider_id="There is no provider with this identifier.") from error


def _given(body: ProxyBody, provider: ProviderView, parts: Parts) -> GivenProxy:
    if body.proxy_url is not None:
        return read_proxy_url(body.proxy_url, allow_private=parts.config.allow_private_upstreams)
    if provider.host is None or provider.port is None:
        raise InvalidInput(proxy_url="This provider has no address of its own, so the proxy needs one.")
    return GivenProxy(proxy_url(provider.protocol, provider.host, provider.port), None)


def _check_sticky(provider: ProviderView, proxy_type: str, given: GivenProxy) -> None:
    """Chips on a rotating proxy are told apart by their session alone."""
    templates = provider.username_template + provider.password_template
    if proxy_type == "rotating" and (given.credentials is not None or "{session}" not in templates):
        raise InvalidInput(
            proxy_type="Chips would share an IP: a rotating proxy needs {session} in its provider's templates and no"
            " login of its own. Add it as static instead."
        )
