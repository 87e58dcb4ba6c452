"""A worker that runs the clock of deliveries once and dies by SIGKILL at a step of the way, as by a power cut.

``python -m tests.faults.delivery_process DATABASE_URL MAIL STEP LATER_S``: MAIL is an smtp:// URL or a folder; STEP
``none`` lives; LATER_S is added to the clock, so that a claim of the one who died has run out.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from tests.conftest import SECRET
from tests.factories import TZ
from whago.kit import clock, db
from whago.kit.crypto import Vault
from whago.kit.languages import LOCALES, Translators
from whago.notify import post_office
from whago.notify.courier import Courier
from whago.notify.email import Mailer, MailFolder, SmtpMailer, smtp_server
from whago.tasks import alerts
from whago.tasks.clock import Clock, Outcome, Tools, run_clock
from whago.tasks.metrics import ClockMetrics

SENDER = "WHAGO <alerts@whago.example>"


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def die_after(module: Any, name: str) -> None:
    original: Callable[..., Any] = getattr(module, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if result or name != "claim_deliveries":
            die()
        return result

    setattr(module, name, dying)


def main(url: str, mail: str, step: str, later_s: str) -> None:
    clock.now = lambda: datetime.now(UTC) + timedelta(seconds=float(later_s))
    db.connect(url)
    mailer: Mailer = SmtpMailer(smtp_server(mail), SENDER) if "://" in mail else MailFolder(Path(mail), SENDER)
    courier = Courier(mailer, Vault([SECRET]), Translators(LOCALES), TZ, "https://whago.example", allow_private=True)
    match step:
        case "routed":
            die_after(post_office, "route")
        case "claimed":
            die_after(post_office, "claim_deliveries")
        case "answered":
            post_office.finish_attempt = lambda *_args, **_kwargs: die()
        case "finished":
            die_after(post_office, "finish_attempt")
    tools = Tools(Vault([SECRET]), TZ, courier=courier)
    outcome = run_clock(Clock("deliveries", every_s=5, work=alerts.deliver), tools, ClockMetrics())
    assert outcome is Outcome.DONE, outcome


if __name__ == "__main__":
    main(*sys.argv[1:])
