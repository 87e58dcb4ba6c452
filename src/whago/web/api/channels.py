"""Channels of the caller: where alerts and events go, what goes there, and the log of what went."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID
from zoneinfo import available_timezones

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema

from whago.domain.actions import channels as actions
from whago.domain.actions.channels import ChannelWishes, Code
from whago.domain.queries.channels import ChannelView, deliveries, get_channel, list_channels, sealed_secret
from whago.domain.rules.alert_kinds import TOLD_KINDS
from whago.domain.rules.channels import (
    STANDARD_THRESHOLDS,
    THRESHOLD_MAX,
    THRESHOLDS_PER_CHANNEL,
    EventType,
)
from whago.errors import InvalidInput
from whago.kit.crypto import Vault
from whago.kit.ids import new_code, new_token, token_hash
from whago.notify.webhook import URL_MAX_CHARS, BadAddress, target_of
from whago.web.api.fields import (
    PAGE,
    Answer,
    Body,
    Cursor,
    Email,
    Limit,
    ListAnswer,
    Moment,
    Name,
    blank_is_none,
    printable,
)
from whago.web.deps import Now, User
from whago.web.errors import problems
from whago.web.parts import parts_of
from whago.web.upstreams import refuse_private

SIGNED_IN = ("not_authenticated", "account_suspended", "invalid_input", "unavailable")
ONE = (*SIGNED_IN, "csrf", "not_found")
SECRET_MARK: Final = "whsec_"  # noqa: S105 - lets secret scanners recognise one
OLD_SECRET_LASTS: Final = timedelta(hours=24)  # both sign meanwhile, so that a receiver can change without a gap
CODE_MAX_CHARS: Final = 40
_zones = frozenset(available_timezones())

router = APIRouter(prefix="/user/channels", tags=["alert channels"])


def _known_kinds(kinds: list[str] | None) -> list[str] | None:
    if kinds is not None and not set(kinds) <= set(TOLD_KINDS):
        raise ValueError("There is no such kind of alert.")
    return kinds


def _known_zone(name: str | None) -> str | None:
    if name is not None and name not in _zones:
        raise ValueError("This is not a time zone of the IANA database, such as America/Sao_Paulo.")
    return name


def _minute(value: time) -> str:
    return f"{value:%H:%M}"


def _time_of_day(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return time.fromisoformat(value)
        except ValueError:
            raise ValueError("A time of day such as 22:00 is expected here.") from None
    return value


def _whole(value: time) -> time:
    if value.tzinfo is not None or value.second or value.microsecond:
        raise ValueError("A time of day such as 22:00 is expected here.")
    return value


TimeOfDay = Annotated[
    time,
    BeforeValidator(_time_of_day),
    AfterValidator(_whole),
    PlainSerializer(_minute),
    WithJsonSchema({"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$"}),
]
OptionalTime = Annotated[TimeOfDay | None, BeforeValidator(blank_is_none)]
OptionalZone = Annotated[str | None, Field(max_length=60), BeforeValidator(blank_is_none), AfterValidator(_known_zone)]
Url = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=URL_MAX_CHARS),
    AfterValidator(printable),
]
Threshold = Annotated[int, Field(ge=1, le=THRESHOLD_MAX)]
Kinds = Annotated[list[str] | None, Field(max_length=len(TOLD_KINDS)), AfterValidator(_known_kinds)]


class WishesBody(Body):
    """``kinds`` null: every kind of alert. ``thresholds``: percents of the month's quota that are told here.

    Between ``quiet_from`` and ``quiet_to`` only urgent alerts go out, the others when it is over. The times are those
    of ``time_zone`` or, without one, of the account.
    """

    name: Name
    kinds: Kinds = None
    events: Annotated[list[EventType], Field(max_length=len(EventType), default_factory=list)]
    thresholds: Annotated[
        list[Threshold], Field(max_length=THRESHOLDS_PER_CHANNEL, default_factory=lambda: [*STANDARD_THRESHOLDS])
    ]
    quiet_from: OptionalTime = None
    quiet_to: OptionalTime = None
    time_zone: OptionalZone = None
    is_active: bool = True

    def wishes(self) -> ChannelWishes:
        """Raises InvalidInput for half of the quiet hours."""
        if (self.quiet_from is None) != (self.quiet_to is None):
            missing = "quiet_from" if self.quiet_from is None else "quiet_to"
            raise InvalidInput(**{missing: "Quiet hours need both a beginning and an end."})
        return ChannelWishes(
            name=self.name,
            kinds=self.kinds,
            events=[event.value for event in self.events],
            thresholds=self.thresholds,
            quiet_from=self.quiet_from,
            quiet_to=self.quiet_to,
            time_zone=self.time_zone,
            is_active=self.is_active,
        )


class EmailBody(WishesBody):
    """``address`` null: the account's own. Any other address is confirmed by a code that is sent there."""

    address: Annotated[Email | None, BeforeValidator(blank_is_none)] = None


class WebhookBody(WishesBody):
    """``url``: where JSON is posted, signed with the channel's secret. Redirects are not followed."""

    url: Url


class ConfirmBody(Body):
    """``code``: from the e-mail."""

    code: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=CODE_MAX_CHARS)]


class ChannelAnswer(Answer):
    """``is_confirmed`` false: an e-mail address whose code was not given yet; nothing goes there.

    ``disabled_at``: switched off by the product after repeated failures; switching it on again clears it.
    """

    id: UUID
    kind: Literal["in_app", "email", "webhook"]
    name: str
    address: str | None
    kinds: list[str] | None
    events: list[str]
    thresholds: list[int]
    quiet_from: TimeOfDay | None
    quiet_to: TimeOfDay | None
    time_zone: str | None
    is_active: bool
    is_confirmed: bool
    failures: int
    failing_since: Moment | None
    disabled_at: Moment | None
    created_at: Moment


class SecretAnswer(ChannelAnswer):
    """``secret`` signs what is sent; it is shown this once."""

    secret: str


class AttemptAnswer(Answer):
    """``outcome``: sent, retry, failed or cut_off (the worker ended; it may have arrived). Null: under way."""

    number: int
    started_at: Moment
    ended_at: Moment | None
    outcome: str | None
    reason: str | None
    status: int | None
    excerpt: str | None


class DeliveryAnswer(Answer):
    """``id`` is what the receiver gets as X-Whago-Delivery; ``about`` the kind of alert or event."""

    id: UUID
    kind: Literal["notice", "event", "test", "confirm"]
    about: str | None
    state: Literal["pending", "sending", "sent", "failed"]
    created_at: Moment
    due_at: Moment
    sent_at: Moment | None
    error: str | None
    attempts: list[AttemptAnswer]


class TestAnswer(Answer):
    """``delivery_id``: to find it in the log."""

    __test__ = False  # not a test for pytest

    delivery_id: UUID


class ChannelsAnswer(Answer):
    items: list[ChannelAnswer]


@router.get("", response_model=ChannelsAnswer, responses=problems(*SIGNED_IN))
def list_own_channels(user: User, now: Now) -> ChannelsAnswer:
    """The application itself, then e-mail addresses and webhooks."""
    actions.ensure_channels(user.id, now=now)
    return ChannelsAnswer(items=[ChannelAnswer.model_validate(one) for one in list_channels(user.id)])


@router.post("/email", status_code=201, response_model=ChannelAnswer, responses=problems(*SIGNED_IN, "csrf"))
def create_email_channel(body: EmailBody, request: Request, user: User, now: Now) -> ChannelView:
    """An e-mail address. Another one than the account's gets a code first."""
    code = _new_code(parts_of(request).vault)
    channel_id, _works = actions.create_email(user.id, body.address, body.wishes(), code=code, now=now)
    return get_channel(user.id, channel_id)


@router.post(
    "/webhook",
    status_code=201,
    response_model=SecretAnswer,
    responses=problems(*SIGNED_IN, "csrf", "private_upstream"),
)
def create_webhook_channel(body: WebhookBody, request: Request, user: User, now: Now) -> SecretAnswer:
    """A web address of the caller's own system, and the secret that signs what is sent there."""
    parts = parts_of(request)
    url = _checked(body.url, allow_private=parts.config.allow_private_upstreams)
    secret = SECRET_MARK + new_token()
    channel_id = actions.create_webhook(
        user.id, url, body.wishes(), sealed_secret=parts.vault.seal({"secret": secret}), now=now
    )
    return _with_secret(user.id, channel_id, secret)


@router.get("/{channel_id}", response_model=ChannelAnswer, responses=problems(*SIGNED_IN, "not_found"))
def get_own_channel(channel_id: UUID, user: User) -> ChannelView:
    """One channel."""
    return get_channel(user.id, channel_id)


@router.put("/{channel_id}", response_model=ChannelAnswer, responses=problems(*ONE))
def change_own_channel(channel_id: UUID, body: WishesBody, user: User, now: Now) -> ChannelView:
    """What goes there. Switching it on again forgets earlier failures."""
    actions.change_channel(user.id, channel_id, body.wishes(), now=now)
    return get_channel(user.id, channel_id)


@router.delete("/{channel_id}", status_code=204, responses=problems(*ONE))
def remove_own_channel(channel_id: UUID, user: User, now: Now) -> None:
    """Nothing more goes there, nor what waits."""
    actions.remove_channel(user.id, channel_id, now=now)


@router.post("/{channel_id}/test", status_code=202, response_model=TestAnswer, responses=problems(*ONE))
def try_own_channel(channel_id: UUID, user: User, now: Now) -> TestAnswer:
    """Sends a test within seconds; the log of deliveries tells how it went."""
    return TestAnswer(delivery_id=actions.send_test(user.id, channel_id, now=now))


@router.post("/{channel_id}/confirm", response_model=ChannelAnswer, responses=problems(*ONE))
def confirm_own_address(channel_id: UUID, body: ConfirmBody, user: User, now: Now) -> ChannelView:
    """Proves that the address is the caller's."""
    actions.confirm_address(user.id, channel_id, body.code.upper().replace("-", ""), now=now)
    return get_channel(user.id, channel_id)


@router.post("/{channel_id}/confirm/again", status_code=202, response_model=ChannelAnswer, responses=problems(*ONE))
def send_own_code_again(channel_id: UUID, request: Request, user: User, now: Now) -> ChannelView:
    """Another code; the one before is worth nothing any more."""
    actions.send_code_again(user.id, channel_id, code=_new_code(parts_of(request).vault), now=now)
    return get_channel(user.id, channel_id)


@router.post("/{channel_id}/secret/renew", response_model=SecretAnswer, responses=problems(*ONE))
def renew_own_secret(channel_id: UUID, request: Request, user: User, now: Now) -> SecretAnswer:
    """A new secret, shown this once. For 24 hours requests carry signatures of both."""
    vault = parts_of(request).vault
    before = vault.open(sealed_secret(user.id, channel_id))
    secret = SECRET_MARK + new_token()
    actions.renew_secret(user.id, channel_id, sealed_secret=vault.seal(_renewed(before, secret, now)), now=now)
    return _with_secret(user.id, channel_id, secret)


@router.get(
    "/{channel_id}/deliveries", response_model=ListAnswer[DeliveryAnswer], responses=problems(*SIGNED_IN, "not_found")
)
def get_own_deliveries(channel_id: UUID, user: User, limit: Limit = PAGE, cursor: Cursor = None) -> Any:
    """What was sent there in the last 30 days and how each attempt went, newest first."""
    return deliveries(user.id, channel_id, limit=limit, cursor=cursor)


def _checked(url: str, *, allow_private: bool) -> str:
    try:
        target = target_of(url)
    except BadAddress as error:
        raise InvalidInput(url=str(error)) from None
    refuse_private(target.host, allow_private=allow_private)
    return url


def _new_code(vault: Vault) -> Code:
    code = new_code()
    return Code(token_hash(code), vault.seal({"code": f"{code[:5]}-{code[5:]}"}))


def _renewed(before: dict[str, Any], secret: str, now: datetime) -> dict[str, Any]:
    return {"secret": secret, "previous": before["secret"], "previous_until": (now + OLD_SECRET_LASTS).isoformat()}


def _with_secret(user_id: UUID, channel_id: UUID, secret: str) -> SecretAnswer:
    shown = ChannelAnswer.model_validate(get_channel(user_id, channel_id))
    return SecretAnswer(**dict(shown), secret=secret)
