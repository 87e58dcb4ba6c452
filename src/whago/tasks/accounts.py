"""The clock of the accounts: letters with a link to a new password."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from whago.kit import clock as wall
from whago.notify.reset_letters import ResetWriter
from whago.tasks.clock import Counts, Tools

RESETS_EVERY_S: Final = 5  # somebody waits for the letter


def send_reset_letters(tools: Tools, _now: datetime) -> Counts:
    """What was asked for since the last round. Without a mail server the letters lie in the mail folder."""
    if tools.courier is None:
        return {}
    writer = ResetWriter(tools.courier.mailer, tools.courier.translators, tools.courier.public_url)
    return writer.send_due(now=wall.now)
