"""The containers end when they are asked to. This file is the last of its folder: afterwards none of them runs."""

from __future__ import annotations

import signal

import pytest

from tests.deploy.composition import OURS
from tests.deploy.conftest import PATIENCE_S, Running

BY_SIGNAL = -signal.SIGTERM  # how uvicorn ends after it has closed everything: it passes the signal on to itself

pytestmark = pytest.mark.timeout(900)  # the set-up waits for six processes, on a machine that may be busy


def test_every_container_stops_in_order_when_it_is_asked_to(running: Running) -> None:
    for name in reversed(OURS[1:]):
        running.processes[name].terminate()
    codes = {name: running.processes[name].wait(PATIENCE_S) for name in OURS[1:]}
    assert codes.pop("web") in (0, BY_SIGNAL)
    assert set(codes.values()) == {0}, {name: running.machine.log(name)[-2000:] for name in OURS}
