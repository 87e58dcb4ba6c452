"""Alerts for administrators: what is wrong now, what was, and who looks after it."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query

from whago.domain.actions.alerts import acknowledge_alert
from whago.domain.queries.alerts import AlertView, get_alert, list_alerts
from whago.domain.rules.alert_kinds import ALERT_KINDS
from whago.domain.rules.notices import RECOVERED
from whago.errors import InvalidInput
from whago.notify.wording import notice_text
from whago.web.api.fields import PAGE, Answer, Cursor, Limit, ListAnswer, Moment
from whago.web.api.providers import ADMIN
from whago.web.deps import Admin, Looker, Now, ReaderZone, Translate
from whago.web.errors import problems
from whago.web.i18n import Translator

Severity = Literal["info", "warning", "error"]
State = Literal["open", "cleared", "all"]
KIND_MAX_CHARS = 40

router = APIRouter(prefix="/admin/alerts", tags=["admin: alerts"])


class AlertAnswer(Answer):
    """``subject`` is what is wrong; at most one alert is open per kind and subject. ``cleared_at`` null: it still is.

    ``title`` and ``message`` are for people: what is wrong, or, once it is over, that it is.
    """

    id: UUID
    kind: str
    subject: str
    severity: Severity
    title: str
    message: str
    data: dict[str, Any]
    raised_at: Moment
    last_seen_at: Moment
    cleared_at: Moment | None
    acknowledged_at: Moment | None
    acknowledged_by: str | None
    user_id: UUID | None
    user_name: str | None
    user_email: str | None


@router.get("", response_model=ListAnswer[AlertAnswer], responses=problems(*ADMIN))
def get_alerts(
    _admin: Looker,
    translate: Translate,
    tz: ReaderZone,
    state: State = "open",
    kind: Annotated[str | None, Query(max_length=KIND_MAX_CHARS)] = None,
    severity: Severity | None = None,
    user_id: UUID | None = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> ListAnswer[AlertAnswer]:
    """What is wrong now, or was; the newest first."""
    if kind is not None and kind not in ALERT_KINDS:
        raise InvalidInput(kind="There is no such kind of alert.")
    page = list_alerts(
        is_open=None if state == "all" else state == "open",
        kind=kind,
        severity=severity,
        user_id=user_id,
        limit=limit,
        cursor=cursor,
    )
    return ListAnswer(items=[answer_of(one, translate, tz) for one in page.items], next_cursor=page.next_cursor)


@router.post("/{alert_id}/acknowledge", response_model=AlertAnswer, responses=problems(*ADMIN, "csrf", "not_found"))
def acknowledge(alert_id: UUID, admin: Admin, now: Now, translate: Translate, tz: ReaderZone) -> AlertAnswer:
    """Says that somebody looks after it. It stays open until its cause is gone."""
    acknowledge_alert(admin.id, alert_id, now=now)
    return answer_of(get_alert(alert_id), translate, tz)


def answer_of(one: AlertView, translate: Translator, tz: ZoneInfo) -> AlertAnswer:
    level = one.severity if one.cleared_at is None else RECOVERED
    title, message = notice_text(one.kind, level, one.data, translate, tz)
    facts = {name: getattr(one, name) for name in AlertView.__slots__}
    return AlertAnswer(**facts, title=title, message=message)
