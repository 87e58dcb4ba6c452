from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator.counting_client import EchoOrigin
from whago.simulator import SimulatedProvider


@pytest.fixture
def provider() -> Iterator[SimulatedProvider]:
    with SimulatedProvider(accounts=("demo:demo-password", "acme-br:demo-password")) as running:
        yield running


@pytest.fixture
def origin() -> Iterator[EchoOrigin]:
    echo = EchoOrigin()
    yield echo
    echo.close()
