"""Fixtures of the delivery machine: receivers, a customer with channels, and a post office with a clock of our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.notify.office import Office
from tests.receivers import Customer, MailServer, customer, mail_server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Customer]:
    with customer() as receiver:
        yield receiver


@pytest.fixture
def office(database: str, mail: MailServer) -> Office:
    return Office(mail)
