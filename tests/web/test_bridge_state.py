"""The doors of the bridges: open to who knows their secret, and to the holder of a chip alone."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx import Response

from tests.factories import make_chip, make_ready_pool, make_user
from tests.web.api_setup import config, new_client, refused
from whago.domain.models import Engine
from whago.kit import clock
from whago.web.app import create_app
from whago.web.middleware import BODY_MAX_BYTES

SECRET = "the-secret-of-the-bridges-0123456789"
BRIDGE = str(uuid4())
NAME = b64encode(b"n" * 32).decode()
VALUE = b64encode(b"sealed").decode()


@pytest.fixture
def app(database: str) -> FastAPI:
    make_ready_pool()
    return create_app(config(bridge_secret=SECRET))


def ask(app: FastAPI, path: str, body: Any, secret: str | None = SECRET) -> Response:
    headers = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
    return new_client(app).post(f"/internal/bridge{path}", json=body, headers=headers)


def beat(app: FastAPI, bridge_id: str = BRIDGE) -> Response:
    vitals = {
        "bridge_id": bridge_id,
        "url": f"http://127.0.0.1:3130/{bridge_id}",
        "started_at": clock.now().isoformat(),
        "max_chips": 5,
    }
    return ask(app, "/beat", vitals)


def a_chip() -> str:
    return str(make_chip(make_user("enterprise"), engine=Engine.BRIDGE).chip_id)


def test_a_bridge_lives_claims_writes_reads_and_gives_back(app: FastAPI) -> None:
    told = beat(app)
    assert (told.status_code, set(told.json())) == (200, {"beat_every_s", "fenced_after_s"})
    chip_id = a_chip()
    claimed = ask(app, f"/chips/{chip_id}/claim", {"bridge_id": BRIDGE}).json()
    assert (claimed["epoch"], claimed["creds"], claimed["last_event_no"]) == (1, None, 0)
    assert len(claimed["state_key"]) >= 32
    hold = {"bridge_id": BRIDGE, "epoch": 1}
    written = ask(app, f"/chips/{chip_id}/write", hold | {"creds": VALUE, "keys": [[NAME, VALUE]], "clear": False})
    assert written.status_code == 204, written.text
    assert ask(app, f"/chips/{chip_id}/read", hold | {"names": [NAME]}).json() == {"keys": [[NAME, VALUE]]}
    assert ask(app, f"/chips/{chip_id}/release", hold | {"wipe": False}).status_code == 204
    refused(ask(app, f"/chips/{chip_id}/read", hold | {"names": [NAME]}), 409, "hold_lost")
    assert ask(app, f"/chips/{chip_id}/claim", {"bridge_id": BRIDGE}).json()["creds"] == VALUE
    assert ask(app, "/bye", {"bridge_id": BRIDGE}).status_code == 204
    assert ask(app, f"/chips/{chip_id}/forget", {"bridge_id": BRIDGE}).status_code == 204


def test_nobody_comes_in_without_the_secret(app: FastAPI) -> None:
    chip_id = a_chip()
    paths = ["/beat", "/bye", *(f"/chips/{chip_id}/{what}" for what in ("claim", "read", "write", "release", "forget"))]
    for path in paths:
        for secret in (None, "", "wrong", SECRET + "x"):
            refused(ask(app, path, {"bridge_id": BRIDGE, "epoch": 1}, secret), 401, "not_authenticated")
    without = create_app(config())
    refused(ask(without, "/beat", {"bridge_id": BRIDGE}), 401, "not_authenticated")


def test_the_holder_alone_reads_and_writes(app: FastAPI) -> None:
    other = str(uuid4())
    beat(app)
    beat(app, other)
    chip_id = a_chip()
    ask(app, f"/chips/{chip_id}/claim", {"bridge_id": BRIDGE})
    refused(ask(app, f"/chips/{chip_id}/claim", {"bridge_id": other}), 409, "chip_held")
    refused(ask(app, f"/chips/{chip_id}/forget", {"bridge_id": other}), 409, "chip_held")
    for bridge_id, epoch in ((other, 1), (BRIDGE, 2)):
        hold = {"bridge_id": bridge_id, "epoch": epoch}
        refused(ask(app, f"/chips/{chip_id}/write", hold | {"keys": [[NAME, VALUE]]}), 409, "hold_lost")
        refused(ask(app, f"/chips/{chip_id}/read", hold | {"names": [NAME]}), 409, "hold_lost")
        refused(ask(app, f"/chips/{chip_id}/release", hold), 409, "hold_lost")
    refused(ask(app, f"/chips/{uuid4()}/claim", {"bridge_id": BRIDGE}), 404, "not_found")
    refused(ask(app, f"/chips/{chip_id}/claim", {"bridge_id": str(uuid4())}), 409, "bridge_unknown")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/beat", {"bridge_id": BRIDGE}),
        ("/beat", {"bridge_id": BRIDGE, "url": "file:///etc", "started_at": "2026-11-15T12:00:00Z", "max_chips": 1}),
        ("/beat", {"bridge_id": BRIDGE, "url": "http://x", "started_at": "2026-11-15T12:00:00Z", "max_chips": 0}),
        ("/chips/x/claim", {"bridge_id": BRIDGE}),
        ("/chips/{chip}/claim", {"bridge_id": "x"}),
        ("/chips/{chip}/read", {"bridge_id": BRIDGE, "epoch": 1, "names": ["short"]}),
        ("/chips/{chip}/read", {"bridge_id": BRIDGE, "epoch": 0, "names": []}),
        ("/chips/{chip}/write", {"bridge_id": BRIDGE, "epoch": 1, "keys": [["AAAA", VALUE]]}),
        ("/chips/{chip}/write", {"bridge_id": BRIDGE, "epoch": 1, "surprise": 1}),
        ("/chips/{chip}/write", []),
    ],
)
def test_nonsense_is_refused(app: FastAPI, path: str, body: Any) -> None:
    refused(ask(app, path.format(chip=a_chip()), body), 422, "invalid_input")


def test_a_large_step_fits_and_nothing_of_that_size_does_elsewhere(app: FastAPI) -> None:
    beat(app)
    chip_id = a_chip()
    ask(app, f"/chips/{chip_id}/claim", {"bridge_id": BRIDGE})
    keys = [
        [b64encode(number.to_bytes(32, "big")).decode(), b64encode(b"s" * 1_500).decode()] for number in range(1_024)
    ]
    written = ask(app, f"/chips/{chip_id}/write", {"bridge_id": BRIDGE, "epoch": 1, "keys": keys})
    assert written.status_code == 204, written.text
    large = new_client(app).post("/api/v1/auth/login", content=b"x" * (BODY_MAX_BYTES + 1))
    refused(large, 422, "invalid_input")
