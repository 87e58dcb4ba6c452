"""More at once than can be answered soon: told so at once, and everything is as before when it is over."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from tests.web.api_setup import config
from whago.errors import WhagoError
from whago.kit.passwords import Places
from whago.web.app import create_app
from whago.web.shedding import Shedding


class Slow:
    """An application that answers when it may; ``host`` puts the web's own parts where its errors look for them."""

    def __init__(self, app: FastAPI, at_once: int) -> None:
        self.may = asyncio.Event()
        self.busy = 0
        self._app = app
        self._shedding = Shedding(self._answer, at_once)

    async def host(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self._app
        await self._shedding(scope, receive, send)

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.busy += 1
        if scope["path"] != "/healthz":
            await self.may.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def test_whoever_finds_no_room_is_told_when_to_come_back(app: FastAPI) -> None:
    async def crowd() -> list[httpx.Response]:
        slow = Slow(app, at_once=2)
        transport = httpx.ASGITransport(app=slow.host)
        async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
            let_in = [asyncio.create_task(client.get("/api/v1/chips")) for _ in range(2)]
            while slow.busy < 2:
                await asyncio.sleep(0)
            refused = await client.get("/api/v1/chips")
            alive = await client.get("/healthz")
            slow.may.set()
            return [refused, alive, *await asyncio.gather(*let_in), await client.get("/api/v1/chips")]

    refused, alive, *others = asyncio.run(crowd())
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert int(refused.headers["Retry-After"]) > 0
    assert alive.status_code == 200, "whoever looks after the process still sees it"
    assert [one.status_code for one in others] == [200, 200, 200], "and then there is room again"


def test_a_page_is_refused_as_a_page(database: str) -> None:
    """The application as it is served, when it lets nobody in."""
    full = create_app(config())
    (shedding,) = [one for one in full.user_middleware if one.cls is Shedding]
    shedding.kwargs["at_once"] = 0
    client = TestClient(full)
    page = client.get("/dashboard", headers={"Accept-Language": "en"})
    assert page.status_code == 503
    assert page.headers["Content-Type"].startswith("text/html")
    assert "Too many people ask at this moment." in page.text
    assert int(page.headers["Retry-After"]) > 0
    assert client.get("/healthz").status_code == 200


def test_logins_do_not_wait_in_the_threads_that_others_need() -> None:
    places = Places(1, 1)
    leave = threading.Event()

    def check() -> None:
        with places:
            leave.wait(60)

    threads = [threading.Thread(target=check, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while places.room:
        assert time.monotonic() < deadline, "one works and one waits"
        time.sleep(0.01)
    with pytest.raises(WhagoError) as told, places:
        raise AssertionError("there was no place")
    assert told.value.code == "overloaded"
    leave.set()
    for thread in threads:
        thread.join(60)
    with places:
        assert places.room == 1
