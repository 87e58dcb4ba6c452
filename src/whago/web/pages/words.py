"""The sentences that scripts say, by the key under which they ask."""

from __future__ import annotations

from typing import Final

from whago.web.i18n import Translator
from whago.web.pages.labels import N_

WORDS: Final = {
    "offline_action": N_("The server did not answer. Nothing may have been changed: check, then try again."),
    "broken_answer": N_("The server answered something unexpected. Try again."),
    "file_too_large": N_("This file is too large: at most 10 MB."),
    "copied": N_("Copied"),
    "copy_by_hand": N_("Marked: press Ctrl+C"),
}


def words(translate: Translator) -> dict[str, str]:
    return {key: translate(sentence) for key, sentence in WORDS.items()}
