"""Languages, as the web uses them; they live in ``kit.languages``, because e-mails speak them too."""

from __future__ import annotations

from whago.kit.languages import DEFAULT_LANGUAGE, LANGUAGES, Translator, Translators, fill, negotiate

__all__ = ["DEFAULT_LANGUAGE", "LANGUAGES", "Translator", "Translators", "fill", "negotiate"]
