"""Python's cyclic garbage collector in a process that serves."""

from __future__ import annotations

import gc


def spare_the_collector() -> None:
    """What was loaded at the start stays: looking through all of it takes a tenth of a second, and everybody waits."""
    gc.collect()
    gc.freeze()
