"""When chips last moved bytes: one statement for a whole report."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import timedelta
from itertools import chain, repeat
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from whago.domain.models.chips import ChipStatus, Engine
from whago.domain.models.ledger import MovedMonth
from whago.domain.models.usage import CustomerMonth
from whago.kit.rows import array_literal, arrays_literal

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


def show_activity(db: Session, moved: Sequence[MovedMonth], stopped: Container[CustomerMonth]) -> None:
    """An external engine that moves bytes is connected, unless its customer's month is ``stopped``.

    Nobody but the gateway sees what an external engine does, so its bytes are what says that it is connected.
    """
    if not moved:
        return
    db.flush()  # what was just decided of these chips counts
    may_go_on = [repeat(one.key not in stopped, one.chip_count) for one in moved]
    told = {
        "chip_id": arrays_literal([one.chips for one in moved]),
        "at": arrays_literal([one.last_at for one in moved]),
        "may_go_on": array_literal(list(chain.from_iterable(may_go_on))),
    }
    words = {"external": Engine.EXTERNAL.value, "connected": ChipStatus.CONNECTED.value}
    db.execute(_SHOW, {**told, **words, "at_rest": [status.value for status in AT_REST], "step": ACTIVITY_STEP})
