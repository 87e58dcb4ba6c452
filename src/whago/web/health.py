"""For machines: does the process live, can it serve, and its figures."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from whago.domain.queries.system import has_schema, last_beat
from whago.errors import WhagoError
from whago.web.deps import Now, Parted
from whago.web.parts import Parts

SCHEDULER_SILENT: Final = timedelta(minutes=2)  # the heartbeat comes every few seconds

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process lives. Nothing else is asked."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(response: Response, parts: Parted, now: Now) -> dict[str, Any]:
    """200 while requests can be served, also when a part is degraded; 503 without a migrated database."""
    told = _parts(parts, now)
    if told["database"]["status"] != "ok":
        response.status_code = 503
        return {"status": "unavailable", "parts": told}
    degraded = any(part["status"] != "ok" for part in told.values())
    return {"status": "degraded" if degraded else "ok", "parts": told}


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(request.app.state.figures.registry), media_type=CONTENT_TYPE_LATEST)


def _parts(parts: Parts, now: datetime) -> dict[str, dict[str, Any]]:
    broker = {"status": "ok" if parts.attempts.broker_answers() else "unavailable"}
    try:
        ready, beat = has_schema(), last_beat()
    except WhagoError:
        unknown = {"status": "unknown", "last_beat_at": None, "age_s": None}
        return {"database": {"status": "unavailable"}, "broker": broker, "scheduler": unknown}
    return {
        "database": {"status": "ok" if ready else "not_migrated"},
        "broker": broker,
        "scheduler": _scheduler(beat, now),
    }


def _scheduler(beat: datetime | None, now: datetime) -> dict[str, Any]:
    if beat is None:
        return {"status": "silent", "last_beat_at": None, "age_s": None}
    age = max(now - beat, timedelta(0))
    return {
        "status": "ok" if age <= SCHEDULER_SILENT else "silent",
        "last_beat_at": beat.isoformat().replace("+00:00", "Z"),
        "age_s": round(age.total_seconds(), 1),
    }
