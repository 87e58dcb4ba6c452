"""Where a page finds its files: addresses that change with the content, and icons written into the page."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from markupsafe import Markup

STATIC: Final = Path(__file__).resolve().parent.parent / "static"
BUILD_CHARS: Final = 12  # 48 bits tell two builds apart


@cache
def build() -> str:
    """A name for the static files as they are: it changes when any of them does."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(STATIC)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:BUILD_CHARS]


@cache
def icon(name: str) -> Markup:
    """A vendored icon as inline SVG. It is decoration: the words beside it say what it means."""
    source = (STATIC / "vendor/lucide" / f"{name}.svg").read_text()
    drawing = source[source.index(">", source.index("<svg")) + 1 : source.rindex("</svg>")]
    return Markup(
        '<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-linecap="round"'
        ' stroke-linejoin="round" aria-hidden="true" focusable="false">{}</svg>'
    ).format(Markup("".join(line.strip() for line in drawing.splitlines())))  # noqa: S704 - our own file
