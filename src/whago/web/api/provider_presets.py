"""The vendors that are known, and what one of them would be told for an example chip."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter
from pydantic import Field

from whago.domain.rules.dialect import DEFAULT_LIFETIME_MIN, Login, UnknownPlaceholder, build_login, check_template
from whago.errors import InvalidInput, WhagoError
from whago.providers.presets import PRESETS, Preset
from whago.web.api.fields import Answer, Body, ListAnswer, OptionalRegion
from whago.web.api.providers import (
    ADMIN,
    CHECKED,
    LIFETIME_MAX_MIN,
    Country,
    PresetKey,
    Template,
    UpperOrLower,
    Username,
)
from whago.web.deps import Admin, Looker
from whago.web.errors import problems

EXAMPLE_TOKEN: Final = "48213907"  # a sticky token has eight digits  # noqa: S105
EXAMPLE_USER: Final = "user"
HIDDEN: Final = "•••"

router = APIRouter(prefix="/admin/proxies/providers", tags=["admin: proxies"])


class PresetAnswer(Answer):
    """What a vendor's preset fills in; ``needs`` are the fields to ask for. Strict: a lost exit is an error."""

    key: str
    label: str
    host: str | None
    port: int | None
    socks5_port: int | None
    protocols: list[str]
    username_template: str
    password_template: str
    strict_username_template: str | None
    strict_password_template: str | None
    needs: list[str]
    country_form: str
    session_charset: str
    session_min: int
    session_max: int
    lifetime_min: int | None
    bytes_per_gb: int
    min_bytes_per_request: int
    has_usage_api: bool
    ip_check_url: str | None
    notes: str


class PreviewBody(Body):
    """What the form holds so far; what is left out comes from the preset. A password is neither asked for nor shown."""

    preset: PresetKey = None
    username: Username = None
    username_template: Template = None
    password_template: Template = None
    country: Country = None
    country_form: UpperOrLower = None
    region: OptionalRegion = None
    lifetime_min: Annotated[int, Field(ge=1, le=LIFETIME_MAX_MIN)] | None = None


class PreviewAnswer(Answer):
    """What the vendor would see for an example chip, its password hidden. ``bytes``: SOCKS5 carries 255 of a name."""

    username: str
    password: str
    session: str
    bytes: int


@router.get("/presets", response_model=ListAnswer[PresetAnswer], responses=problems(*ADMIN))
def get_presets(_admin: Looker) -> ListAnswer[PresetAnswer]:
    """The vendors that are known."""
    return ListAnswer(items=[PresetAnswer.model_validate(preset) for preset in PRESETS.values()], next_cursor=None)


@router.post("/preview", response_model=PreviewAnswer, responses=problems(*ADMIN, "csrf", *CHECKED))
def preview_login(body: PreviewBody, _admin: Admin) -> PreviewAnswer:
    """The login of an example chip, made by the same rule as a real one's. Nothing is stored."""
    preset = PRESETS.get(body.preset or "smartproxy")
    if preset is None:
        raise InvalidInput(preset="This preset is not known. See GET /api/v1/admin/proxies/providers/presets.")
    login = _login(body, preset)
    return PreviewAnswer(
        username=login.username,
        password=login.password,
        session=EXAMPLE_TOKEN,
        bytes=len(login.username.encode()),
    )


def _login(body: PreviewBody, preset: Preset) -> Login:
    templates = {
        "username_template": body.username_template or preset.username_template,
        "password_template": body.password_template or preset.password_template,
    }
    for name, template in templates.items():
        try:
            check_template(template)
        except UnknownPlaceholder as error:
            raise WhagoError("unknown_placeholder", placeholder=error.args[0], field=name) from error
        except ValueError as error:
            raise InvalidInput(**{name: "The braces of the template do not match."}) from error
    form = body.country_form or ("upper" if preset.country_form == "upper" else "lower")
    lifetime = body.lifetime_min or min(preset.lifetime_min or DEFAULT_LIFETIME_MIN, DEFAULT_LIFETIME_MIN)
    try:
        return build_login(
            **templates,
            credentials={"username": body.username or EXAMPLE_USER, "password": HIDDEN},
            token=EXAMPLE_TOKEN,
            country=body.country,
            region=body.region,
            lifetime_min=lifetime,
            country_form=form,
        )
    except ValueError as error:
        raise InvalidInput(username_template="The username that it makes is too long.") from error
