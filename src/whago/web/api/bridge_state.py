"""What bridges ask of the backend: signs of life, the right to run a chip, and the keeping of its sealed state.

Bearer only. A bridge reads and writes nothing of a chip that it does not hold; values are sealed with the chip's own
key before they come here.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, AwareDatetime, Base64Bytes, Field, ValidationError

from whago.domain.actions import bridges
from whago.domain.queries.bridges import signal_keys
from whago.domain.rules.holds import BEAT_EVERY_S, FENCED_AFTER_S
from whago.errors import InvalidInput, WhagoError
from whago.web.api.fields import Body
from whago.web.deps import Now, Parted
from whago.web.parts import parts_of

URL_MAX_CHARS: Final = 300
NAME_BYTES: Final = 32  # an HMAC-SHA256
NAMES_MAX: Final = 5_000  # read at once: the sessions of a group's devices
KEYS_MAX: Final = 20_000  # written at once: a first login has 812, a large group's sessions some thousands
CREDS_MAX_BYTES: Final = 1_000_000  # 2 kB, and the list of history messages that were processed
CHIPS_MAX: Final = 10_000


def require_bridge(request: Request) -> None:
    """Raises WhagoError("not_authenticated") for who does not know the bridges' secret."""
    secret = parts_of(request).config.bridge_secret
    given = request.headers.get("Authorization", "")
    if secret is None or not hmac.compare_digest(given.encode(), f"Bearer {secret}".encode()):
        raise WhagoError("not_authenticated")


router = APIRouter(prefix="/internal/bridge", include_in_schema=False, dependencies=[Depends(require_bridge)])


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("An http or https URL is expected here.")
    return value


def _name(value: bytes) -> bytes:
    if len(value) != NAME_BYTES:
        raise ValueError("A name has 32 bytes.")
    return value


KeyName = Annotated[Base64Bytes, AfterValidator(_name)]


class BeatBody(Body):
    bridge_id: UUID
    url: Annotated[str, Field(max_length=URL_MAX_CHARS), AfterValidator(_http_url)]
    started_at: AwareDatetime
    max_chips: Annotated[int, Field(ge=1, le=CHIPS_MAX)]
    draining: bool = False


class BridgeBody(Body):
    bridge_id: UUID


class HoldBody(BridgeBody):
    """``epoch``: of the claim under which the bridge runs the chip."""

    epoch: Annotated[int, Field(ge=1)]


class ReadBody(HoldBody):
    names: Annotated[list[KeyName], Field(max_length=NAMES_MAX)]


class WriteBody(HoldBody):
    """``keys``: pairs of name and sealed value, null to remove; ``clear`` removes all others first."""

    creds: Annotated[Base64Bytes, Field(max_length=CREDS_MAX_BYTES)] | None = None
    keys: Annotated[list[tuple[KeyName, Base64Bytes | None]], Field(max_length=KEYS_MAX)] = Field(default_factory=list)
    clear: bool = False


class ReleaseBody(HoldBody):
    wipe: bool = False


@router.post("/beat")
def beat(body: BeatBody, now: Now) -> dict[str, int]:
    """A sign of life; the answer says how often, and after how long a silence of ours the bridge closes its chips."""
    bridges.beat_bridge(
        body.bridge_id,
        url=body.url,
        started_at=body.started_at,
        max_chips=body.max_chips,
        is_draining=body.draining,
        now=now,
    )
    return {"beat_every_s": BEAT_EVERY_S, "fenced_after_s": FENCED_AFTER_S}


@router.post("/bye", status_code=204)
def bye(body: BridgeBody, now: Now) -> Response:
    """The bridge ends: its chips are free at once."""
    bridges.end_bridge(body.bridge_id, now=now)
    return Response(status_code=204)


@router.post("/chips/{chip_id}/claim")
def claim(chip_id: UUID, body: BridgeBody, parts: Parted, now: Now) -> dict[str, str | int | None]:
    """Asks for the chip; 409 ``chip_held`` while another living bridge has it."""
    claimed = bridges.claim_chip(chip_id, body.bridge_id, vault=parts.vault, now=now)
    return {
        "epoch": claimed.epoch,
        "last_event_no": claimed.last_event_no,
        "state_key": claimed.state_key,
        "creds": _base64(claimed.creds) if claimed.creds is not None else None,
    }


@router.post("/chips/{chip_id}/read")
def read(chip_id: UUID, body: ReadBody) -> dict[str, list[tuple[str, str]]]:
    """Those of the named keys that there are."""
    found = signal_keys(chip_id, body.bridge_id, body.epoch, body.names)
    return {"keys": [(_base64(name), _base64(value)) for name, value in found.items()]}


async def _write_body(request: Request, _bridge: Annotated[None, Depends(require_bridge)]) -> WriteBody:
    """Read after the bearer was looked at: this is the one large body."""
    try:
        return WriteBody.model_validate_json(await request.body())
    except ValidationError as error:
        raise InvalidInput(body="This is no state of a chip.") from error


@router.post("/chips/{chip_id}/write", status_code=204)
def write(chip_id: UUID, body: Annotated[WriteBody, Depends(_write_body)], now: Now) -> Response:
    """In one transaction; 409 ``hold_lost`` for a bridge that does not hold the chip any more."""
    bridges.write_state(
        chip_id, body.bridge_id, body.epoch, creds=body.creds, keys=dict(body.keys), clear=body.clear, now=now
    )
    return Response(status_code=204)


@router.post("/chips/{chip_id}/release", status_code=204)
def release(chip_id: UUID, body: ReleaseBody) -> Response:
    """The chip is nobody's; with ``wipe`` its linked device is forgotten."""
    bridges.release_chip(chip_id, body.bridge_id, body.epoch, wipe=body.wipe)
    return Response(status_code=204)


@router.post("/chips/{chip_id}/forget", status_code=204)
def forget(chip_id: UUID, body: BridgeBody, now: Now) -> Response:
    """Forgets the linked device of a chip that does not run."""
    bridges.forget_chip(chip_id, body.bridge_id, now=now)
    return Response(status_code=204)


def _base64(value: bytes) -> str:
    return b64encode(value).decode()
