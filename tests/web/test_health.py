"""What machines ask: does it live, can it serve, with which parts."""

from __future__ import annotations

from datetime import timedelta

from fastapi import FastAPI

from tests.web.api_setup import config, new_client, refused
from whago.domain.models import ClockRun
from whago.kit import clock, db
from whago.main.embedded import free_port
from whago.web.app import create_app


def beat(seconds_ago: int) -> None:
    with db.transaction() as tx:
        tx.add(ClockRun(clock="heartbeat", started_at=clock.now() - timedelta(seconds=seconds_ago)))


def test_the_heartbeat_of_the_scheduler_is_seen(app: FastAPI) -> None:
    client = new_client(app)
    assert client.get("/healthz").json() == {"status": "ok"}
    silent = client.get("/readyz")
    assert silent.status_code == 200
    assert silent.json()["status"] == "degraded"
    assert silent.json()["parts"]["scheduler"] == {"status": "silent", "last_beat_at": None, "age_s": None}
    beat(600)
    assert client.get("/readyz").json()["parts"]["scheduler"]["status"] == "silent"
    beat(3)
    ready = client.get("/readyz").json()
    assert ready["status"] == "ok"
    assert ready["parts"]["database"] == {"status": "ok"}
    assert 3 <= ready["parts"]["scheduler"]["age_s"] < 60


def test_a_broker_that_is_away_degrades_and_does_not_stop(app: FastAPI) -> None:
    beat(0)
    other = create_app(config(broker_url=f"redis://127.0.0.1:{free_port()}/0"))
    answer = new_client(other).get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["parts"]["broker"] == {"status": "unavailable"}
    assert answer.json()["status"] == "degraded"


def test_without_a_database_nothing_can_be_served(app: FastAPI, database: str) -> None:
    db.connect(f"postgresql://nobody:x@127.0.0.1:{free_port()}/nothing")
    try:
        answer = new_client(app).get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["parts"]["database"] == {"status": "unavailable"}
        assert new_client(app).get("/healthz").status_code == 200
        plans = new_client(app).get("/api/v1/plans")
        assert refused(plans, 503, "unavailable")["details"] == {"part": "database"}
        assert int(plans.headers["retry-after"]) > 0
    finally:
        db.connect(database)
