"""When chips last moved bytes: one statement for a whole report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from whago.domain.models.chips import ChipStatus, Engine
from whago.kit.rows import array_literal

ACTIVITY_STEP: Final = timedelta(seconds=10)  # finer than anybody looks, coarse enough to spare a write at each report
AT_REST: Final = (ChipStatus.CREATED, ChipStatus.DISCONNECTED, ChipStatus.BLOCKED_QUOTA)

# A chip whose row somebody holds is left out: the next report comes soon.
_SHOW: Final = text(
    """
    WITH told AS (
        SELECT * FROM unnest(CAST(:chip_id AS uuid[]), CAST(:at AS timestamptz[]), CAST(:may_go_on AS boolean[]))
            AS row (chip_id, at, may_go_on)
    ), news AS (
        SELECT c.id, told.at, told.may_go_on AND c.engine = :external AND c.status = ANY(:at_rest) AS comes_back,
               c.last_activity_at IS NULL OR c.last_activity_at <= told.at - CAST(:step AS interval) AS is_later
          FROM told JOIN chips c ON c.id = told.chip_id
         WHERE c.deleted_at IS NULL
           AND (c.last_activity_at IS NULL OR c.last_activity_at <= told.at - CAST(:step AS interval)
                OR (told.may_go_on AND c.engine = :external AND c.status = ANY(:at_rest)))
         ORDER BY c.id
           FOR NO KEY UPDATE OF c SKIP LOCKED
    )
    UPDATE chips c
       SET last_activity_at = CASE WHEN news.is_later THEN news.at ELSE c.last_activity_at END,
           status = CASE WHEN news.comes_back THEN :connected ELSE c.status END,
           status_reason = CASE WHEN news.comes_back THEN NULL ELSE c.status_reason END,
           connected_at = CASE WHEN news.comes_back THEN news.at ELSE c.connected_at END
      FROM news WHERE c.id = news.id
    """
)


def show_activity(db: Session, latest: Mapping[UUID, datetime], stopped: Collection[UUID]) -> None:
    """``latest``: each chip's newest byte. An external engine that moves bytes is connected, unless it is ``stopped``.

    Nobody but the gateway sees what an external engine does, so its bytes are what says that it is connected.
    """
    if not latest:
        return
    db.flush()  # what was just decided of these chips counts
    told = {
        "chip_id": array_literal(list(latest)),
        "at": array_literal(list(latest.values())),
        "may_go_on": array_literal([chip_id not in stopped for chip_id in latest]),
    }
    words = {"external": Engine.EXTERNAL.value, "connected": ChipStatus.CONNECTED.value}
    db.execute(_SHOW, {**told, **words, "at_rest": [status.value for status in AT_REST], "step": ACTIVITY_STEP})
