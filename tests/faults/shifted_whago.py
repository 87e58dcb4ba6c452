"""``whago …`` in a process whose wall clock is off: ``python -m tests.faults.shifted_whago gateway …``.

The file named by CLOCK_FILE holds by how many seconds; SIGUSR1 makes the process read it again and confirm that in
``CLOCK_FILE.read``. The monotonic clock stays as it is, as it does when somebody sets a machine's time.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from whago.kit import clock

CLOCK_FILE = Path(os.environ["CLOCK_FILE"])

_offset_s = [0.0]
_true_time, _true_now = time.time, clock.now


def read_offset(*_: object) -> None:
    _offset_s[0] = float(CLOCK_FILE.read_text())
    CLOCK_FILE.with_suffix(".read").write_text(CLOCK_FILE.read_text())


def main() -> None:
    read_offset()
    time.time = lambda: _true_time() + _offset_s[0]
    clock.now = lambda: _true_now() + timedelta(seconds=_offset_s[0])
    signal.signal(signal.SIGUSR1, read_offset)
    from whago.main.cli import main as whago

    whago()


if __name__ == "__main__":
    main()
