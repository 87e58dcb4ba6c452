"""The one terminal that all parts share: whole lines, each with the name of the part that said it."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from typing import Final, TextIO

NAME_WIDTH: Final = 13  # of the longest name, demo-provider
COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # ANSI foregrounds that read well on black and on white
OWN_NAME: Final = "whago"


class Console:
    """Writes ``name | line``; in colour on a terminal unless NO_COLOR is set (no-color.org)."""

    def __init__(self, stream: TextIO | None = None, *, colour: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        self._coloured = self._stream.isatty() and "NO_COLOR" not in os.environ if colour is None else colour
        self._palette = itertools.cycle(COLOURS)
        self._colours = {OWN_NAME: 1}
        self._lock = threading.Lock()

    def say(self, line: str, name: str = OWN_NAME) -> None:
        """One line. A reader that went away (``whago up | head``) or a full disk is no reason to stop the product."""
        with self._lock:
            try:
                self._stream.write(f"{self._label(name)} {line}\n")
                self._stream.flush()
            except (OSError, ValueError):
                pass

    def plain(self, text: str) -> None:
        """Text without a name: what people copy from."""
        with self._lock:
            try:
                self._stream.write(f"{text}\n")
                self._stream.flush()
            except (OSError, ValueError):
                pass

    def _label(self, name: str) -> str:
        label = f"{name:<{NAME_WIDTH}} |"
        if not self._coloured:
            return label
        colour = self._colours.setdefault(name, 0) or self._new_colour(name)
        return f"\x1b[{colour}m{label}\x1b[0m"

    def _new_colour(self, name: str) -> int:
        self._colours[name] = next(self._palette)
        return self._colours[name]
