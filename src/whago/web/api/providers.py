"""Providers, for administrators. Credentials go in and never come out."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from whago.domain.actions.house import record_house_traffic
from whago.domain.actions.providers import ProviderFields, create_provider, delete_provider, update_provider
from whago.domain.queries.gateways import living_boots
from whago.domain.queries.paging import Page
from whago.domain.queries.probing import trial_of_provider
from whago.domain.queries.proxies import ProviderView, get_provider, list_providers
from whago.domain.rules.dialect import DEFAULT_LIFETIME_MIN
from whago.domain.rules.selection import USUAL_WEIGHT
from whago.errors import InvalidInput
from whago.kit.answers import Answers
from whago.providers.presets import PRESETS, Preset
from whago.providers.probe import ProbeResult
from whago.web.api.fields import (
    PAGE,
    Answer,
    Body,
    Cursor,
    Limit,
    ListAnswer,
    Moment,
    Money,
    Name,
    OptionalRegion,
    blank_is_none,
    printable,
)
from whago.web.deps import Admin, CostReader, Now, Parted, Translate, Zone
from whago.web.errors import problems
from whago.web.i18n import Translator
from whago.web.upstreams import checked_host, refuse_private, try_out

ADMIN = ("not_authenticated", "account_suspended", "forbidden", "invalid_input", "unavailable")
CHANGED = (*ADMIN, "csrf", "conflict")
CHECKED = ("unknown_placeholder", "private_upstream")

TEMPLATE_MAX_CHARS: Final = 255  # what it makes must fit into 255 bytes anyway (RFC 1929)
CREDENTIAL_MAX_CHARS: Final = 255
API_KEY_MAX_CHARS: Final = 500
URL_MAX_CHARS: Final = 500
LIFETIME_MAX_MIN: Final = 43_200  # thirty days: longer than any vendor keeps an IP
PRIORITY_MAX: Final = 10_000
WEIGHT_MAX: Final = 10_000
GB_SIZES: Final = (10**9, 2**30)
BRL: Final = "BRL"
DEFAULT_PRIORITY: Final = 100
FOLLOWED_S: Final = 1.0  # a living gateway follows a change within this; one that just died is not waited for longer
CLEARABLE: Final = frozenset({"country", "region", "ip_check_url", "host", "port"})  # null empties these
OF_THE_VENDOR: Final = frozenset(
    {
        "protocol",
        "host",
        "port",
        "username_template",
        "password_template",
        "bytes_per_gb",
        "lifetime_min",
        "ip_check_url",
        "country_form",
    }
)

router = APIRouter(prefix="/admin/proxies/providers", tags=["admin: proxies"])


def _http_url(value: str) -> str:
    try:
        url = urlsplit(printable(value))
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and url.username is None
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("An http or https URL is expected here.")
    return value


def _country(value: str) -> str:
    if not (len(value) == 2 and value.isascii() and value.isalpha()):
        raise ValueError("A country is two letters, such as BR (ISO 3166-1).")
    return value.upper()


def _no_colon(value: str) -> str:
    if ":" in printable(value):
        raise ValueError("A user cannot hold a colon (RFC 7617).")
    return value


def _text(most: int) -> Any:
    return StringConstraints(strip_whitespace=True, max_length=most)


Blank = BeforeValidator(blank_is_none)
Host = Annotated[Annotated[str, _text(253), AfterValidator(printable)] | None, Blank]
Port = Annotated[Annotated[int, Field(ge=1, le=65_535)] | None, Blank]
Template = Annotated[Annotated[str, _text(TEMPLATE_MAX_CHARS), AfterValidator(printable)] | None, Blank]
Username = Annotated[
    Annotated[str, StringConstraints(max_length=CREDENTIAL_MAX_CHARS), AfterValidator(_no_colon)] | None, Blank
]
Secret = Annotated[
    Annotated[str, StringConstraints(max_length=CREDENTIAL_MAX_CHARS), AfterValidator(printable)] | None, Blank
]
ApiKeySecret = Annotated[
    Annotated[str, StringConstraints(max_length=API_KEY_MAX_CHARS), AfterValidator(printable)] | None, Blank
]
Country = Annotated[Annotated[str, _text(10), AfterValidator(_country)] | None, Blank]
PresetKey = Annotated[Annotated[str, _text(40)] | None, Blank]
UpperOrLower = Annotated[Literal["lower", "upper"] | None, Blank]
Price = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=6)]
CheckUrl = Annotated[Annotated[str, _text(URL_MAX_CHARS), AfterValidator(_http_url)] | None, Blank]


class CredentialsBody(Body):
    """What the vendor gave. Sealed at once; never shown again."""

    username: Username = None
    password: Secret = None
    api_key: ApiKeySecret = None


class ProviderBody(CredentialsBody):
    """What is left out keeps its value, or comes from the preset. ``credentials`` may be nested."""

    name: Name | None = None
    provider_type: Literal["residential", "datacenter", "mobile"] | None = None
    preset: PresetKey = None
    host: Host = None
    port: Port = None
    protocol: Annotated[Literal["http", "socks5"] | None, Blank] = None
    username_template: Template = None
    password_template: Template = None
    country: Country = None
    region: OptionalRegion = None
    lifetime_min: Annotated[int, Field(ge=1, le=LIFETIME_MAX_MIN)] | None = None
    ip_check_url: CheckUrl = None
    country_form: UpperOrLower = None
    exit_ip_policy: Annotated[Literal["tolerate", "alert", "pause"] | None, Blank] = None
    exit_ip_every_min: Annotated[Annotated[int, Field(ge=5, le=1440)] | None, Blank] = None
    cost_per_gb: Price | None = None
    currency: Annotated[str, _text(3)] | None = None
    bytes_per_gb: int | None = None
    priority: Annotated[int, Field(ge=0, le=PRIORITY_MAX)] | None = None
    weight: Annotated[Annotated[int, Field(ge=1, le=WEIGHT_MAX)] | None, Blank] = None
    is_active: bool | None = None
    is_draining: bool | None = None
    credentials: CredentialsBody | None = None


class NewProviderBody(ProviderBody):
    """A provider needs a name and a price; the preset knows much of the rest."""

    name: Name
    cost_per_gb: Price


class ProviderAnswer(Answer):
    """``health_score`` is the average of its active proxies. Of credentials it tells only whether there are any.

    ``is_draining``: no new chips, and those on it move to others little by little. ``trouble``: what is wrong with the
    account, a diagnosis; null while all is well. ``proxies_out``: ejected ones.
    """

    id: UUID
    name: str
    provider_type: str
    preset: str
    protocol: str
    host: str | None
    port: int | None
    username_template: str
    password_template: str
    has_credentials: bool
    country: str | None
    region: str | None
    lifetime_min: int
    ip_check_url: str | None
    country_form: str
    exit_ip_policy: str
    exit_ip_every_min: int
    cost_per_gb: Money
    currency: str
    bytes_per_gb: int
    priority: int
    weight: int
    is_active: bool
    is_draining: bool
    trouble: str | None
    trouble_since: Moment | None
    is_demo: bool
    proxies: int
    proxies_out: int
    chips: int
    health_score: int | None
    total_bytes_used: int
    created_at: Moment
    updated_at: Moment


class DeletedAnswer(Answer):
    """How many chips were moved to other proxies, or wait for one."""

    deleted: bool = True
    moved_chips: int


class ProbeAnswer(Answer):
    """``latency_ms``: dial and handshake. ``error`` is a sentence, null on success; ``diagnosis`` its code."""

    success: bool
    exit_ip: str | None
    country: str | None
    latency_ms: int | None
    error: str | None
    diagnosis: str | None = None
    asn: str | None = None


@router.get("", response_model=ListAnswer[ProviderAnswer], responses=problems(*ADMIN))
def get_providers(_admin: CostReader, parts: Parted, limit: Limit = PAGE, cursor: Cursor = None) -> Page[ProviderView]:
    """In the order in which they are asked for a proxy."""
    return list_providers(parts.vault, limit=limit, cursor=cursor)


@router.post("", status_code=201, response_model=ProviderAnswer, responses=problems(*CHANGED, *CHECKED, "name_taken"))
def post_provider(body: NewProviderBody, admin: Admin, parts: Parted, now: Now) -> ProviderView:
    """Makes a provider; it serves as soon as the pool has a proxy of it."""
    wanted = fields_of(body, None, allow_private=parts.config.allow_private_upstreams)
    made = create_provider(admin.id, wanted, vault=parts.vault, now=now)
    return get_provider(parts.vault, made)


@router.get("/{provider_id}", response_model=ProviderAnswer, responses=problems(*ADMIN, "not_found"))
def get_one_provider(provider_id: UUID, _admin: CostReader, parts: Parted) -> ProviderView:
    """One provider."""
    return get_provider(parts.vault, provider_id)


@router.put(
    "/{provider_id}",
    response_model=ProviderAnswer,
    responses=problems(*CHANGED, *CHECKED, "name_taken", "not_found"),
)
def put_provider(provider_id: UUID, body: ProviderBody, admin: Admin, parts: Parted, now: Now) -> ProviderView:
    """Changes what is given. Once this is answered, every living gateway bills at a new price; bytes before it keep
    theirs. Credentials that are left out stay.
    """
    current = get_provider(parts.vault, provider_id)
    wanted = fields_of(body, current, allow_private=parts.config.allow_private_upstreams)
    with Answers() as answers:
        update_provider(admin.id, provider_id, wanted, vault=parts.vault, now=now, answer_to=answers.token)
        answers.wait(living_boots(now=now), FOLLOWED_S)
    return get_provider(parts.vault, provider_id)


@router.delete(
    "/{provider_id}", response_model=DeletedAnswer, responses=problems(*CHANGED, "not_found", "provider_in_use")
)
def remove_provider(provider_id: UUID, admin: Admin, now: Now, force: bool = False) -> DeletedAnswer:
    """Removes a provider with its proxies. With `force` its chips move to other providers first, or wait for one."""
    return DeletedAnswer(moved_chips=delete_provider(admin.id, provider_id, force=force, now=now))


@router.post("/{provider_id}/test", response_model=ProbeAnswer, responses=problems(*ADMIN, "csrf", "not_found"))
def try_provider(
    provider_id: UUID, _admin: Admin, parts: Parted, now: Now, tz: Zone, translate: Translate
) -> ProbeAnswer:
    """One real attempt through the provider; it costs about a kilobyte of its traffic, on the house's account."""
    trial = trial_of_provider(provider_id, parts.vault)
    result = try_out(trial, allow_private=parts.config.allow_private_upstreams)
    record_house_traffic(provider_id, "test", result.bytes_moved, now=now, tz=tz)
    return probe_answer(result, translate)


def probe_answer(result: ProbeResult, translate: Translator) -> ProbeAnswer:
    return ProbeAnswer(
        success=result.success,
        exit_ip=result.exit_ip,
        country=result.country,
        latency_ms=result.latency_ms,
        error=translate(result.error) if result.error else None,
        diagnosis=result.diagnosis.value if result.diagnosis is not None else None,
        asn=result.asn,
    )


def fields_of(body: ProviderBody, current: ProviderView | None, *, allow_private: bool) -> ProviderFields:
    """The whole provider: what was given, else what it had, else what the preset knows.

    Raises InvalidInput, WhagoError("private_upstream").
    """
    preset = _preset(body, current)
    given = {name: getattr(body, name) for name in body.model_fields_set if name not in CredentialsBody.model_fields}
    known = _of_preset(preset, str(given.get("protocol") or (current.protocol if current else preset.protocols[0])))
    if current is not None:
        moved = current.preset != preset.key  # to another vendor: what the preset knows replaces the old vendor's
        kept = {name for name, value in known.items() if not moved or name not in OF_THE_VENDOR or value is None}
        known |= {name: getattr(current, name) for name in kept}
    values = known | {name: value for name, value in given.items() if value is not None or name in CLEARABLE}
    values["preset"] = preset.key
    _check(values, preset)
    if values["host"] is not None:
        values["host"] = checked_host(values["host"], allow_private=allow_private)
    if values["ip_check_url"] is not None:
        refuse_private(urlsplit(values["ip_check_url"]).hostname or "", allow_private=allow_private)
    is_demo = current.is_demo if current is not None else False
    return ProviderFields(**{name: values[name] for name in known}, credentials=_credentials(body), is_demo=is_demo)


def _preset(body: ProviderBody, current: ProviderView | None) -> Preset:
    """Left out: the one that it has; for a new provider Custom with a host, else Smartproxy."""
    key = body.preset or (current.preset if current is not None else ("custom" if body.host else "smartproxy"))
    if key not in PRESETS:
        raise InvalidInput(preset="This preset is not known. See GET /api/v1/admin/proxies/providers/presets.")
    return PRESETS[key]


def _of_preset(preset: Preset, protocol: str) -> dict[str, Any]:
    return {
        "name": "",
        "provider_type": "residential",
        "preset": preset.key,
        "protocol": protocol,
        "host": preset.host,
        "port": preset.port_for(protocol),
        "username_template": preset.username_template,
        "password_template": preset.password_template,
        "country": None,
        "region": None,
        "cost_per_gb": Decimal(0),
        "currency": BRL,
        "bytes_per_gb": preset.bytes_per_gb,
        "priority": DEFAULT_PRIORITY,
        "is_active": True,
        "lifetime_min": min(preset.lifetime_min or DEFAULT_LIFETIME_MIN, DEFAULT_LIFETIME_MIN),
        "ip_check_url": preset.ip_check_url,
        "country_form": "upper" if preset.country_form == "upper" else "lower",
        "exit_ip_policy": "alert",
        "exit_ip_every_min": 60,
        "weight": USUAL_WEIGHT,
        "is_draining": False,
    }


def _check(values: Mapping[str, Any], preset: Preset) -> None:
    wrong: dict[str, str] = {}
    if values["currency"].upper() != BRL:
        wrong["currency"] = "Prices are in BRL: convert the vendor's price."
    if values["bytes_per_gb"] not in GB_SIZES:
        wrong["bytes_per_gb"] = "A GB has 1000000000 or 1073741824 bytes, as the vendor's bill says."
    if values["protocol"] not in preset.protocols:
        wrong["protocol"] = "This vendor does not speak this protocol."
    if preset.host is None and preset.key != "static":
        for name in ("host", "port"):
            if values[name] is None:
                wrong[name] = "This field is required."
    templates = values["username_template"] + values["password_template"]
    if "{country}" in templates and not values["country"]:
        wrong["country"] = "The template uses {country}, so a country is needed."
    if wrong:
        raise InvalidInput(**wrong)


def _credentials(body: ProviderBody) -> dict[str, str] | None:
    nested = body.credentials or CredentialsBody()
    given = {name: getattr(body, name) or getattr(nested, name) for name in CredentialsBody.model_fields}
    return {name: value for name, value in given.items() if value} or None
