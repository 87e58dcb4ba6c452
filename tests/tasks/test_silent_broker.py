"""A broker that is connected and says nothing: whoever sends a tick is told in bounded time."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from kombu.exceptions import OperationalError

from tests.faults.between import Between
from whago.tasks import app as tasks
from whago.tasks.app import make_beat_app, tick
from whago.tasks.clock import Clock
from whago.tasks.upkeep import beat

SOON_S = 0.5


def test_a_silent_broker_does_not_hold_the_scheduler(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "ANSWER_S", SOON_S)
    address = urlsplit(broker_url)
    assert address.port is not None
    clock = Clock("of-this-test", every_s=3600, work=beat)
    with Between(address.port) as line:
        url = broker_url.replace(f":{address.port}/", f":{line.port}/")
        app = make_beat_app(url, [clock])
        app.conf.task_default_queue = "of-this-test"
        tick(app, clock)
        line.fall_silent()
        with pytest.raises(OperationalError):
            tick(app, clock)
        line.heal()
        tick(app, clock)
