"""What the fleet says of bridges that do not answer."""

from __future__ import annotations

from structlog.testing import capture_logs

from tests.bridge.conftest import SECRET
from whago.bridge.fleet import BridgeFleet
from whago.domain.actions.bridges import beat_bridge, end_bridge
from whago.kit import clock
from whago.kit.ids import new_id

NOBODY = "http://127.0.0.1:9"


def test_a_bridge_that_does_not_answer_is_told_once_and_not_at_every_look(database: str) -> None:
    bridge_id, now = new_id(), clock.now()
    beat_bridge(bridge_id, url=NOBODY, started_at=now, max_chips=5, is_draining=False, now=now)
    fleet = BridgeFleet(SECRET, now=lambda: now)
    with capture_logs() as told:
        for _ in range(3):
            assert fleet.roll().silent == {NOBODY}
        end_bridge(bridge_id, now=now)
        assert fleet.roll().silent == frozenset()
    fleet.close()
    assert [(line["event"], line["url"]) for line in told] == [
        ("bridge.silent", NOBODY),
        ("bridge.no_longer_silent", NOBODY),
    ]
