"""What came of the chips' attempts to open tunnels: real traffic as the probe of its proxy and of its session.

A hint, not an account: rows that somebody holds at this moment are left out rather than waited for, and a repeated
report counts twice. One statement for a whole report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import CursorResult, DateTime, bindparam, text
from sqlalchemy.orm import Session

from whago.domain.rules.health import EJECT_AFTER, HALF_LIFE_S, LATENCY_WEIGHT
from whago.kit.rows import array_literal


@dataclass(frozen=True, slots=True)
class SessionDials:
    """The attempts of one assignment since the last report.

    ``established`` took ``took_ms`` together. ``failed`` speak against the proxy, ``refused`` may speak against the
    account; what is anybody else's doing is not here.
    """

    assignment_id: UUID
    proxy_id: UUID
    established: int = 0
    took_ms: int = 0
    failed: int = 0
    refused: int = 0


_COLUMNS: Final = ("assignment_id", "proxy_id", "established", "took_ms", "failed", "refused")

# ``dial``: what is told. ``held``: its assignments as they were, where something is to change. ``evidence``: per proxy,
# each session's failures counted up to its share (rules/health.py: session_share) for as long as it does not work.
_TAKE: Final = text(
    """
    WITH dial AS (
        SELECT * FROM unnest(CAST(:assignment_id AS uuid[]), CAST(:proxy_id AS uuid[]), CAST(:established AS int[]),
                             CAST(:took_ms AS bigint[]), CAST(:failed AS int[]), CAST(:refused AS int[]))
            AS told(assignment_id, proxy_id, established, took_ms, failed, refused)
    ), held AS (
        SELECT a.id, a.failures
          FROM chip_proxy_assignments a JOIN dial d ON d.assignment_id = a.id
         WHERE a.released_at IS NULL
           AND (d.failed + d.refused > 0 OR a.failing_since IS NOT NULL OR a.first_ok_at IS NULL)
           FOR NO KEY UPDATE OF a SKIP LOCKED
    ), sessions AS (
        UPDATE chip_proxy_assignments a
           SET failures = CASE WHEN d.established > 0 THEN 0 ELSE a.failures + d.failed END,
               refusals = CASE WHEN d.established > 0 THEN 0 ELSE a.refusals + d.refused END,
               failing_since = CASE WHEN d.established > 0 THEN NULL WHEN a.failures = 0 AND d.failed > 0 THEN :now
                                    ELSE coalesce(a.failing_since, :now) END,
               first_ok_at = CASE WHEN d.established > 0 THEN coalesce(a.first_ok_at, :now) ELSE a.first_ok_at END
          FROM dial d JOIN held ON held.id = d.assignment_id
         WHERE a.id = d.assignment_id
    ), shares AS (
        SELECT p.proxy_id, ceil(:eject_after / greatest(1.0, (
                   SELECT count(*) FROM (SELECT 1 FROM chip_proxy_assignments c
                                          WHERE c.proxy_id = p.proxy_id AND c.released_at IS NULL
                                          LIMIT :eject_after) AS few))) AS share
          FROM (SELECT DISTINCT proxy_id FROM dial WHERE failed + refused > 0) AS p
    ), evidence AS (
        SELECT d.proxy_id, sum(d.established) AS ok, sum(d.took_ms) AS took_ms, sum(d.refused) AS refused,
               sum(least(d.failed, greatest(0, coalesce(s.share, 0) - coalesce(h.failures, 0)))) AS failed
          FROM dial d LEFT JOIN held h ON h.id = d.assignment_id LEFT JOIN shares s ON s.proxy_id = d.proxy_id
         GROUP BY d.proxy_id
    ), free AS (
        SELECT id, credentials <> '{}' AS has_own_login, 0.5 ^ (greatest(0, extract(epoch FROM
                   :now - coalesce(weighed_at, :now))) / :half_life_s) AS fading
          FROM proxies WHERE id IN (SELECT proxy_id FROM evidence) FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE proxies p
       SET ok_weight = p.ok_weight * f.fading + e.ok,
           bad_weight = p.bad_weight * f.fading + e.failed + CASE WHEN f.has_own_login THEN e.refused ELSE 0 END,
           weighed_at = greatest(p.weighed_at, :now),
           latency_ms = CASE WHEN e.ok = 0 THEN p.latency_ms
                             ELSE round(coalesce(p.latency_ms, e.took_ms / e.ok) * (1 - :latency_weight)
                                        + e.took_ms / e.ok * :latency_weight) END,
           consecutive_failures = CASE WHEN e.ok > 0 THEN 0 ELSE p.consecutive_failures + e.failed
                                       + CASE WHEN f.has_own_login THEN e.refused ELSE 0 END END,
           refusals = CASE WHEN e.ok > 0 THEN 0 ELSE p.refusals + e.refused END,
           last_ok_at = CASE WHEN e.ok > 0 THEN :now ELSE p.last_ok_at END,
           last_dial_at = :now
      FROM evidence e JOIN free f ON f.id = e.proxy_id
     WHERE p.id = e.proxy_id
    """
).bindparams(
    bindparam("now", type_=DateTime(timezone=True)),
    eject_after=EJECT_AFTER,
    half_life_s=HALF_LIFE_S,
    latency_weight=LATENCY_WEIGHT,
)


def take_dials(db: Session, dials: Sequence[SessionDials], now: datetime) -> int:
    """Adds attempts to the proxies and assignments that they were made through. Returns how many proxies heard."""
    if not dials:
        return 0
    columns = {name: array_literal([getattr(one, name) for one in dials]) for name in _COLUMNS}
    return cast("CursorResult[Any]", db.execute(_TAKE, {**columns, "now": now})).rowcount
