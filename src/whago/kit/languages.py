"""Languages: catalogs from ``locales/<language>/LC_MESSAGES/*.po``, read at start and compiled in memory.

The message ids are the English sentences, so English needs no catalog.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cached_property
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Any, Final

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LOCALES: Final = Path(__file__).resolve().parents[3] / "locales"
LANGUAGES: Final = ("pt-BR", "en")
DEFAULT_LANGUAGE: Final = "pt-BR"
HEADER_MAX_CHARS: Final = 500  # an Accept-Language header that is longer was not sent by a browser


class Translator:
    """Sentences in one language. Placeholders are ``{name}``."""

    def __init__(self, language: str, catalog: NullTranslations) -> None:
        self.language = language
        self._catalog = catalog

    def __call__(self, message: str, /, **values: Any) -> str:
        """The sentence, with ``values`` put in; an unknown sentence stays English."""
        return fill(self._catalog.gettext(message) if message else "", values)

    def many(self, one: str, many: str, count: int, /, **values: Any) -> str:
        """The singular or plural that ``count`` asks for; ``{count}`` is put in too."""
        return fill(self._catalog.ngettext(one, many, count), {"count": count, **values})

    @property
    def catalog(self) -> NullTranslations:
        """For template engines that install gettext functions."""
        return self._catalog

    @cached_property
    def locale(self) -> Locale:
        """Babel's locale, for numbers and dates."""
        return Locale.parse(self.language, sep="-")


class Translators:
    """One translator per language."""

    def __init__(self, folder: Path) -> None:
        self._by_language = {language: Translator(language, _load(folder, language)) for language in LANGUAGES}

    def get(self, language: str) -> Translator:
        return self._by_language[language]

    def choose(self, user_language: str | None, accept_language: str | None) -> Translator:
        """By the user's setting, then the browser's wish, then the default."""
        return self._by_language[negotiate(user_language, accept_language)]


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Puts values into ``{name}``; a name without a value stays as it is."""
    return template.format_map(_Blank(values)) if values else template


def negotiate(user_language: str | None, accept_language: str | None) -> str:
    """One of ``LANGUAGES``. Accept-Language is read as RFC 9110 section 12.5.4 says."""
    for wish in ([user_language] if user_language else []) + _wishes(accept_language or ""):
        for language in LANGUAGES:
            if language.lower().split("-")[0] == wish.lower().split("-")[0]:
                return language
    return DEFAULT_LANGUAGE


def _wishes(header: str) -> list[str]:
    weighed = []
    for position, part in enumerate(header[:HEADER_MAX_CHARS].split(",")):
        name, _, parameter = part.strip().partition(";")
        weighed.append((-_weight(parameter), position, name.strip()))
    return [name for weight, _position, name in sorted(weighed) if name and weight < 0]


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0


def _load(folder: Path, language: str) -> NullTranslations:
    paths = sorted((folder / language.replace("-", "_") / "LC_MESSAGES").glob("*.po"))
    if not paths:
        return NullTranslations()
    merged = Catalog(locale=language.replace("-", "_"))
    for path in paths:
        with path.open("rb") as file:
            for message in read_po(file, locale=language.replace("-", "_")):
                if message.id and message.string and not message.fuzzy:
                    merged.add(message.id, message.string, context=message.context)
    compiled = io.BytesIO()
    write_mo(compiled, merged)
    compiled.seek(0)
    return GNUTranslations(compiled)


class _Blank(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"
