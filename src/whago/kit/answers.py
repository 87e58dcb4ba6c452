"""Waiting until every gateway follows what a transaction has changed, on a connection of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Self
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from whago.kit.db import CONNECT_TIMEOUT_S, driver_url, engine
from whago.kit.ids import new_id

CHANNEL = "whago_followed"


def tell_followed(db: Session, boot_id: UUID, token: UUID) -> None:
    """When this transaction commits, whoever waits under ``token`` hears that ``boot_id`` follows."""
    payload = json.dumps({"boot": str(boot_id), "token": str(token)})
    db.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


class Answers:
    """Listens from ``with`` on. Give ``token`` to ``signal(…, answer_to=…)``, commit, then ``wait``.

    A database that cannot be reached for this is no reason to fail the change itself: then nobody is waited for.
    """

    def __init__(self) -> None:
        self.token = new_id()
        self._connection: psycopg.Connection | None = None

    def __enter__(self) -> Self:
        with suppress(psycopg.Error):
            url = driver_url(engine().url.render_as_string(hide_password=False))
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
            self._connection.execute(f"LISTEN {CHANNEL}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def wait(self, boots: Collection[UUID], longest_s: float) -> set[UUID]:
        """Returns those of ``boots`` that have not answered within ``longest_s`` seconds; they follow when they can."""
        missing = set(boots)
        deadline = time.monotonic() + longest_s
        with suppress(psycopg.Error):
            while missing and self._connection is not None and (left := deadline - time.monotonic()) > 0:
                for notice in self._connection.notifies(timeout=left, stop_after=1):
                    missing.discard(self._boot(notice.payload))
        return missing

    def _boot(self, payload: str) -> UUID | None:
        told = json.loads(payload)
        return UUID(told["boot"]) if told["token"] == str(self.token) else None
