"""What an e-mail says, in the reader's language, as text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from whago.kit.languages import Translator

COLORS: Final = {"info": "#2563eb", "warning": "#d97706", "error": "#dc2626", "success": "#16a34a"}
USUAL_COLOR: Final = COLORS["info"]

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parent / "templates"),
    autoescape=select_autoescape(("html",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, slots=True)
class Writing:
    """The parts of a letter, in words already. ``level`` colours it; ``code`` is shown large; links may be missing."""

    name: str
    title: str
    paragraphs: tuple[str, ...]
    footer: str
    level: str = "info"
    code: str | None = None
    link: str | None = None
    link_text: str = ""
    settings_link: str | None = None

    @property
    def color(self) -> str:
        return COLORS.get(self.level, USUAL_COLOR)


def written(writing: Writing, translate: Translator) -> tuple[str, str]:
    """Text and HTML."""
    context = {"letter": writing, "_": translate, "language": translate.language}
    return (
        _environment.get_template("letter.txt").render(context),
        _environment.get_template("letter.html").render(context),
    )
