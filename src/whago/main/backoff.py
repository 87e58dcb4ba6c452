"""How long to wait before a child is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Doubles from ``first_s`` to ``greatest_s``; a run of ``stable_s`` seconds or more starts anew."""

    first_s: float = 0.5  # a lone crash should hardly be noticed
    greatest_s: float = 15.0  # a lasting fault must not fill the log, yet its end should be noticed soon
    stable_s: float = 30.0  # longer than any start: the crash is not a failed start
    _next_s: float = 0.0

    def after(self, run_s: float) -> float:
        """Seconds to wait after a run of ``run_s`` seconds ended by itself."""
        wait_s = self.first_s if run_s >= self.stable_s or not self._next_s else self._next_s
        self._next_s = min(wait_s * 2, self.greatest_s)
        return wait_s
