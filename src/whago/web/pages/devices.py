"""What a browser's ``User-Agent`` tells people: which browser, on what."""

from __future__ import annotations

from typing import Final

NAME_MAX_CHARS: Final = 60

# The first that fits: what builds on another names that one too.
BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
PHONES: Final = ("iPhone", "Android")


def device_name(agent: str) -> str | None:
    """``Chrome · Windows``; what is no browser by its own first word; None for nothing."""
    parts = [_first(agent, BROWSERS), _first(agent, SYSTEMS)] if agent.startswith("Mozilla/") else [agent.split(" ")[0]]
    return " · ".join(part for part in parts if part)[:NAME_MAX_CHARS] or None


def is_phone(agent: str) -> bool:
    """Whether it is something for the hand."""
    return any(mark in agent for mark in PHONES)


def _first(agent: str, known: tuple[tuple[str, str], ...]) -> str | None:
    return next((name for mark, name in known if mark in agent), None)
