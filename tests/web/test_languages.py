"""Every sentence that the API can say exists in Portuguese, with the same placeholders."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from whago.domain.rules.notices import (
    CHIPS_WAITING,
    NOTICES,
    QUOTA_EXHAUSTED,
    QUOTA_THRESHOLD,
    RECOVERIES,
    UNKNOWN,
)
from whago.errors import MESSAGES
from whago.providers.diagnosis import SENTENCES as DIAGNOSES
from whago.web.config import LOCALES
from whago.web.i18n import Translators, negotiate
from whago.web.sentences import FALLBACK, SENTENCES

SOURCE = Path(__file__).resolve().parents[2] / "src" / "whago"


def invalid_input_sentences() -> Iterator[str]:
    """The literal sentences of every ``InvalidInput(field="…")`` and of every ValueError of the API's own checks."""
    for path in sorted([*SOURCE.glob("domain/**/*.py"), *SOURCE.glob("web/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == "InvalidInput":
                yield from _literals(keyword.value for keyword in node.keywords)
            elif node.func.id == "ValueError" and path.parent.name == "api":
                yield from _literals(node.args)


def _literals(nodes: Iterator[ast.expr] | list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value:
                yield part.value


def notices() -> Iterator[str]:
    for notice in [
        *NOTICES.values(),
        *RECOVERIES.values(),
        *QUOTA_EXHAUSTED.values(),
        QUOTA_THRESHOLD,
        CHIPS_WAITING,
        UNKNOWN,
    ]:
        yield from filter(None, (notice.title, notice.message))


ALL = sorted(
    {
        *MESSAGES.values(),
        *SENTENCES.values(),
        FALLBACK,
        *DIAGNOSES.values(),
        *notices(),
        *invalid_input_sentences(),
    }
)


def placeholders(text: str) -> set[str]:
    return {name for _text, name, _spec, _conversion in string.Formatter().parse(text) if name}


def test_there_is_something_to_translate() -> None:
    assert len(ALL) > 100


@pytest.mark.parametrize("sentence", ALL)
def test_a_sentence_is_translated(sentence: str) -> None:
    translated = Translators(LOCALES).get("pt-BR")(sentence)
    assert translated != sentence
    assert placeholders(translated) == placeholders(sentence)


@pytest.mark.parametrize(
    ("user", "header", "language"),
    [
        (None, None, "pt-BR"),
        (None, "", "pt-BR"),
        (None, "en", "en"),
        (None, "en-GB,en;q=0.9", "en"),
        (None, "pt;q=0.2, en;q=0.8", "en"),
        (None, "fr, de", "pt-BR"),
        (None, "en;q=0, *", "pt-BR"),
        (None, "en;q=abc", "pt-BR"),
        (None, ",,;;q", "pt-BR"),
        ("en", "pt-BR", "en"),
        ("pt-BR", "en", "pt-BR"),
    ],
)
def test_the_language_is_the_users_then_the_browsers(user: str | None, header: str | None, language: str) -> None:
    assert negotiate(user, header) == language


def test_a_value_that_looks_like_a_placeholder_is_left_alone() -> None:
    translate = Translators(LOCALES).get("en")
    assert (
        translate(MESSAGES["alias_taken"], alias="{limit} {0.__class__}")
        == "You already have a chip called {limit} {0.__class__}."
    )
