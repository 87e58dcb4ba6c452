"""The letters with a link to a new password."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from whago.domain.actions.password_resets import LINK_LASTS, ResetLetter, claim_reset_letters, finish_reset_letter
from whago.domain.rules.outcomes import Sent
from whago.kit.languages import Translator, Translators
from whago.notify.email import Letter, Mailer
from whago.notify.letters import Writing, written

log = structlog.get_logger()

RESET_PATH: Final = "/reset-password/"
LINK_MINUTES: Final = int(LINK_LASTS.total_seconds()) // 60

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class ResetWriter:
    """``public_url``: where people reach this installation; without it the letter tells the path alone."""

    mailer: Mailer
    translators: Translators
    public_url: str | None = None

    def send_due(self, *, now: Now) -> Mapping[str, int]:
        """One round over what is due; returns what came of it."""
        counts = {"sent": 0, "failed": 0}
        for due in claim_reset_letters(now=now()):
            outcome = self.mailer.send(self._letter(due))
            sent = isinstance(outcome, Sent)
            finish_reset_letter(due.id, sent=sent, again=not isinstance(outcome, Sent) and outcome.again, now=now())
            counts["sent" if sent else "failed"] += 1
            if not sent:
                log.warning("reset_letter.failed", reset=str(due.id), reason=outcome.reason, status=outcome.status)
        return counts

    def _letter(self, due: ResetLetter) -> Letter:
        translate = self.translators.choose(due.language, None)
        writing = self._writing(due, translate)
        text, html = written(writing, translate)
        return Letter(due.id, due.to, writing.title, text, html, translate.language, due.at)

    def _writing(self, due: ResetLetter, translate: Translator) -> Writing:
        path = RESET_PATH + due.token
        link = self.public_url.rstrip("/") + path if self.public_url else None
        paragraphs = [
            translate("Somebody asked for a new password for your account on WHAGO."),
            translate("The link works once, for {minutes} minutes.", minutes=LINK_MINUTES),
        ]
        if link is None:
            paragraphs.append(translate("Open this address on your WHAGO: {path}", path=path))
        return Writing(
            due.name,
            translate("A new password"),
            tuple(paragraphs),
            translate("If it was not you, ignore this e-mail: your password stays as it is."),
            link=link,
            link_text=translate("Choose a new password"),
        )
