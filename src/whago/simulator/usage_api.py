"""The vendor's usage API, in Smartproxy's form.

``GET /pub/user-usage-flow/total?app_key=KEY&start_time=Y-m-d H:i:s&end_time=Y-m-d H:i:s&username=NAME``

* ``app_key`` is required; times are UTC here, to the second, and default to the last 7 days; ``username`` is the
  sub-account (``demo``, not ``demo-session-…``) and defaults to all accounts.
* The HTTP status is 200 also for errors; the body tells::

    {"code": 200, "msg": "success", "data": {"list": [{"day": "2025-03-01", "flow": 1234}]}}
    {"code": 3, "msg": "invalid app_key", "data": {"list": []}}

* ``flow`` is whole KB (1,024 bytes unless set to 1,000), cut off, of both directions, handshakes included, one entry
  per day with traffic. The vendor says that records may be 5 minutes late; ``lag_s`` pretends that, and
  ``overbill_percent`` adds to every day.

Source: the vendor's open API page "Traffic Usage Summary by Day".
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from whago.simulator.http import HttpError, Request, Response
from whago.simulator.ledger import Account
from whago.simulator.state import ProviderState, UsageSettings

PATH: Final = "/pub/user-usage-flow/total"
DEFAULT_SPAN: Final = timedelta(days=7)
TIME_FORM: Final = "%Y-%m-%d %H:%M:%S"
INVALID_KEY_CODE: Final = 3
BAD_PARAMETER_CODE: Final = 400  # the vendor documents none for it


def answer_usage(state: ProviderState, request: Request) -> Response:
    """Answer one call. Raises HttpError when the API is switched to fail."""
    if state.usage.status is not None:
        raise HttpError(state.usage.status, "switched", "The usage API is switched to fail.")
    if request.query.get("app_key") != state.settings.app_key:
        return _body(INVALID_KEY_CODE, "invalid app_key")
    now = state.now()
    try:
        start = _moment(request.query.get("start_time"), now - DEFAULT_SPAN)
        end = _moment(request.query.get("end_time"), now + timedelta(seconds=1))
    except ValueError:
        return _body(BAD_PARAMETER_CODE, "times have the form Y-m-d H:i:s")
    known_until = now - timedelta(seconds=state.usage.lag_s) if state.usage.lag_s else end
    accounts = [account for account in _accounts(state) if request.query.get("username") in (None, "", account.name)]
    return _body(200, "success", _days(accounts, start, min(end, known_until), state.usage))


def _accounts(state: ProviderState) -> list[Account]:
    return [*state.accounts.values(), *state.statics.values()]


def _days(accounts: list[Account], start: datetime, end: datetime, usage: UsageSettings) -> list[dict[str, Any]]:
    total: Counter[str] = Counter()
    for account in accounts:
        total.update(account.flow.by_day(start, end))
    return [{"day": day, "flow": _billed_kb(total[day], usage)} for day in sorted(total)]


def _billed_kb(count: int, usage: UsageSettings) -> int:
    return int(count * (100 + usage.overbill_percent) / Decimal(100 * usage.bytes_per_kb))


def _moment(text: str | None, default: datetime) -> datetime:
    return datetime.strptime(text, TIME_FORM).replace(tzinfo=UTC) if text else default


def _body(code: int, message: str, days: list[dict[str, Any]] | None = None) -> Response:
    return Response.of_json({"code": code, "msg": message, "data": {"list": days or []}})
